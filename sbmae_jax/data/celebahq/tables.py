"""The tables of CelebAMask-HQ, and a collection of everything wrong with them and with other files."""

import re
from pathlib import Path

from sbmae_jax.data.celebahq.layout import (
    ATTRIBUTE_FILE,
    ATTRIBUTES,
    MAPPING_FILE,
    NUM_ORIGINALS,
)

NUM_FACES = 30_000  # of the official data
NUMBER = r"(0|[1-9]\d*)"  # in the names of files
_NUM_EXAMPLES = 3


class Problems:
    """Everything that is wrong with a folder, by kind, to be reported at once with a few examples each."""

    def __init__(self):
        self._found: dict[str, list[str]] = {}

    def add(self, kind: str, example: object) -> None:
        """Add one problem of a kind."""
        self._found.setdefault(kind, []).append(str(example))

    def raise_any(self, folder: Path, advice: str) -> None:
        """Raise one ValueError for all problems, if there are any."""
        if not self._found:
            return
        parts = []
        for kind, examples in self._found.items():
            more = ", ..." if len(examples) > _NUM_EXAMPLES else ""
            parts.append(f"{len(examples):,} {kind} ({', '.join(examples[:_NUM_EXAMPLES])}{more})")
        raise ValueError(f"{folder} is damaged: {'; '.join(parts)}. {advice}")


def _read_table(path: Path, problems: Problems) -> list[str]:
    """Return the lines of a table that are not blank."""
    if not path.is_file():
        problems.add("tables missing", path.name)
        return []
    return [line for line in path.read_text(errors="replace").splitlines() if line.strip()]


def read_attributes(folder: Path, official: bool, problems: Problems) -> dict[int, bytes]:
    """Return the attributes of each face by its number, as 40 bytes 0 or 1."""
    lines = _read_table(folder / ATTRIBUTE_FILE, problems)
    if len(lines) < 2:
        if lines:
            problems.add("tables without rows", ATTRIBUTE_FILE)
        return {}
    num_faces = int(lines[0]) if lines[0].strip().isdigit() else -1
    if num_faces < 1 or (official and num_faces != NUM_FACES):
        wanted = f"{NUM_FACES:,}" if official else "the number of rows"
        problems.add("wrong first lines of the attribute file", f"{lines[0][:40]!r}, not {wanted}")
    if lines[1].split() != list(ATTRIBUTES):
        problems.add("wrong second lines of the attribute file", "not the 40 names in order")
    rows: dict[int, bytes] = {}
    for i, line in enumerate(lines[2:]):
        name, *values = line.split()
        number = re.fullmatch(NUMBER + r"\.jpg", name)
        if not number or len(values) != len(ATTRIBUTES):
            problems.add("rows of attributes that cannot be read", f"row {i}: {line[:20]}")
            continue
        if not set(values) <= {"1", "-1"}:
            problems.add("rows of attributes with values other than -1 and 1", name)
        n = int(number[1])
        if n in rows:
            problems.add("faces with two rows of attributes", n)
        elif n >= num_faces > 0:
            problems.add("rows of attributes numbered beyond the first line", name)
        rows[n] = bytes(value == "1" for value in values)
    if len(lines) - 2 != num_faces > 0:
        found = f"{len(lines) - 2:,} instead of {num_faces:,}"
        problems.add("wrong numbers of rows of attributes", found)
    for n in set(range(num_faces)) - rows.keys():
        problems.add("faces without a row of attributes", n)
    return rows


def read_mapping(folder: Path, problems: Problems) -> dict[int, int]:
    """Return the number of each face's CelebA image, by the number of the face."""
    mapping: dict[int, int] = {}
    originals: set[int] = set()
    for i, line in enumerate(_read_table(folder / MAPPING_FILE, problems)):
        if i == 0 and not line.split()[0].isdigit():
            continue  # some copies have a header
        row = re.fullmatch(r"\s*(\d+)\s+(\d+)\s+(\d+)\.jpg\s*", line)
        if not row:
            problems.add("rows of the mapping that cannot be read", f"row {i}: {line[:30]}")
            continue
        n, original, file = map(int, row.groups())
        if file != original + 1:
            problems.add("rows of the mapping where orig_file is not orig_idx + 1", n)
        if original >= NUM_ORIGINALS:
            problems.add("rows of the mapping with an orig_idx that CelebA does not have", n)
        if n in mapping:
            problems.add("faces with two rows of the mapping", n)
        if original in originals:
            problems.add("rows of the mapping with the orig_idx of another", n)
        mapping[n] = original
        originals.add(original)
    return mapping
