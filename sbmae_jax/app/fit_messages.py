"""Messages about values of a config in the words of `fit`, whose arguments have set them."""

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager


def _names_in(word: str) -> list[str]:
    """Return the names that a word of a command line lists."""
    return "".join(shlex.split(word)).split(",")


# What a message says, and what `fit` calls it; the first ones come first. Keys without an argument of their
# own stay as they are: `config` is an argument, and takes them.
_ARGUMENTS = (
    (r"\bconfig\.data: kinds: ", "modalities: "),
    (r"\bconfig\.data: ", ""),
    (r"--config\.data\.leave_out=(.+)", lambda found: f"leave_out={_names_in(found[1])}"),
    (r"\bconfig\.data\.leave_out\b", "leave_out"),
    (r"\bconfig\.modalities\b", "modalities"),
    (r"\bconfig\.seed\b", "seed"),
    (r"\bconfig\.autoencoders_from\b", "autoencoders_from"),
    (
        r"\bset config\.data\.partial_rows to 'missing'",
        "set config={'data.partial_rows': 'missing'}",
    ),
)


@contextmanager
def about_arguments() -> Iterator[None]:
    """Let messages name the arguments of `fit` where they name keys of a config."""
    try:
        yield
    except ValueError as error:
        told = str(error)
        for key, argument in _ARGUMENTS:
            told = re.sub(key, argument, told)
        if told == str(error):
            raise
        raise ValueError(told) from None
