"""Optional packages: whatever needs one that is not installed says in one sentence how to install it."""

import importlib.util
import sys


def require_extra(needed_by: str, extra: str, *packages: str) -> None:
    """Check that optional packages are installed.

    Args:
        needed_by: What needs them, for the message.
        extra: The extra of this project that installs them.
        *packages: Their names, as they are imported.

    Raises:
        ImportError: In one sentence, if one of them is not installed, or cannot be on Windows.

    Example:
        >>> require_extra("the example", "train", "numpy")
        >>> require_extra("the example", "train", "no_such_package")
        Traceback (most recent call last):
        ImportError: the example needs no_such_package, which is not installed: pip install 'sbmae_jax[train]'
    """
    if extra == "train" and sys.platform == "win32":  # which ArrayRecord and file locks do not know
        raise ImportError(
            f"{needed_by} does not run on Windows itself: use the Windows Subsystem for Linux; the samplers "
            "and metrics run anywhere"
        )
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ImportError(
                f"{needed_by} needs {package}, which is not installed: pip install 'sbmae_jax[{extra}]'",
                name=package,
            )
