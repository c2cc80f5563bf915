"""Names of modalities, of columns and of files, as all systems write them."""

import re
import unicodedata

RESERVED = ("label", "split", "present")
NOT_MODELLED = (
    "label is not modelled: it is the class of each row, by which coherence is measured; to model it, give "
    "it another name, such as class"
)
"""What a user may not expect of data with an array `label`."""
_NAME = re.compile(r"[\w-]+")


def as_name(name: str) -> str:
    r"""Return a name in Unicode's composed form (NFC), so that it is the same from whatever system it comes.

    macOS and some programs write an accented letter as two characters, a letter and its accent.

    Example:
        >>> len("cafe\u0301"), len(as_name("cafe\u0301"))
        (5, 4)
    """
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def problem_of_name(name: str, what: str, suffix: str = "") -> str:
    """Say why a name cannot be that of a modality, and propose another.

    Args:
        name: The name.
        what: What has it, in words: "the column 'blood type' of lab.csv".
        suffix: What a file's name has after it.

    Returns:
        The end of a sentence that begins with the name; "" if it can be the name of a modality.

    Example:
        >>> problem_of_name("age", "the array"), problem_of_name("present", "the array")
        ('', 'is a reserved name: rename the array, for example to present_values')
    """
    if name in RESERVED:
        return f"is a reserved name: rename {what}, for example to {name}_values{suffix}"
    if _NAME.fullmatch(name):
        return ""
    other = re.sub(r"[^\w-]+", "_", name).strip("_") or "x"
    return (
        "cannot be the name of a modality, which is part of keys such as config.modalities.NAME.kind: rename "
        f"{what}, for example to {other}{suffix}, or name it in config.data.leave_out"
    )
