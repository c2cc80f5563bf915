"""Parts of your own in a config: classes and functions by their import path, "MODULE:NAME".

A config is values only. So where it names a network, a coder, a likelihood, a data source or an evaluation,
it may name one of yours as "my_package.nets:Encoder". From Python the class or the function itself may stand
there: `sections.plain` puts its path in its place.
"""

import importlib
from typing import Any

from sbmae_jax._check import short_repr
from sbmae_jax._io import one_line

EXAMPLE = "my_package.nets:Encoder"
PATH = "MODULE:NAME"
"""What an import path looks like, for messages."""


def is_import_path(name: Any) -> bool:
    """Return whether a value of a config is the import path of something.

    Example:
        >>> is_import_path("my_package.nets:Encoder"), is_import_path("patch")
        (True, False)
    """
    return isinstance(name, str) and ":" in name


def import_part(place: str, path: str) -> Any:
    """Import what a path names.

    Args:
        place: The key of the config, for messages.
        path: "MODULE:NAME", where NAME may have dots, as for a class in a class.

    Raises:
        ValueError: Naming the key, if the module cannot be imported or does not define the name.

    Example:
        >>> import_part("config.sde.name", "sbmae_jax.sampling.sde:VP").__name__
        'VP'
    """
    module_name, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # a module may raise anything when it is first imported
        raise ValueError(
            f"{place}: the module {module_name!r} of {path!r} cannot be imported "
            f"({type(error).__name__}: {one_line(error, 300)}): install it, or run where Python finds it"
        ) from error
    for attribute in name.split("."):
        if not hasattr(found, attribute):
            raise ValueError(
                f"{place}: {module_name} defines no {name!r}: write MODULE:NAME, as in {EXAMPLE!r}"
            )
        found = getattr(found, attribute)
    return found


def path_of(place: str, part: Any) -> str:
    """Return the import path of a class or a function.

    Args:
        place: The key of the config, for messages.
        part: The class or the function.

    Raises:
        ValueError: If importing the path would not find it, as for a function within a function.

    Example:
        >>> path_of("config.evaluation.name", is_import_path)
        'sbmae_jax.app.imported:is_import_path'
    """
    module = getattr(part, "__module__", None)
    name = getattr(part, "__qualname__", None)
    if module and name and "<" not in name:
        path = f"{module}:{name}"
        try:
            if import_part(place, path) is part:
                return path
        except ValueError:
            pass
    raise ValueError(
        f"{place}: an import does not find {short_repr(part)}: define it at the top level of a module or a "
        "notebook"
    )
