"""Which rows are for training, which for validation, and which for the test."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sbmae_jax.data.tables import SPLITS, Table

SHARES = {"train": 0.8, "test": 0.1}  # of the rows; the rest is for validation
FEWEST = 10  # rows that training can start with


class Classes(NamedTuple):
    """What must be known from training: labels, or a category.

    codes: [N] int, -1 where it is not measured.  values: what the codes stand for, ascending.
    """

    codes: np.ndarray
    values: tuple[Any, ...]


def classes_of(values: np.ndarray, present: np.ndarray) -> Classes:
    """Return the classes of an array [N], of the rows that are `present` [N] bool."""
    found, codes = np.unique(values[present], return_inverse=True)
    all_codes = np.full(len(values), -1, np.int32)
    all_codes[present] = codes
    return Classes(all_codes, tuple(found.tolist()))


def split_rows(
    table: Table, kept: np.ndarray, classes: Mapping[str, Classes], seed: int
) -> dict[str, np.ndarray]:
    """Return the rows of each split, in an order drawn from the seed.

    kept: [N] bool, rows that are used.

    The splits are those of the data, or else 80, 10 and 10 per cent at random, but that the rows of a class
    of which training would have none go there.

    Raises ValueError for fewer than FEWEST training rows, for no test rows, and if the data's own split
    leaves a class to validation or test alone.
    """
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(kept))
    if table.split is not None:
        splits = {split: rows[table.split[rows] == split] for split in SPLITS}
        check_classes(splits, classes)
    else:
        num_train = round(SHARES["train"] * len(rows))
        in_train = np.arange(len(rows)) < num_train
        for codes, _ in classes.values():
            in_train |= ~np.isin(codes[rows], [*codes[rows[in_train]], -1])
        others = rows[~in_train]
        num_test = max(1, round(SHARES["test"] * len(rows)))
        splits = {"train": rows[in_train], "valid": others[num_test:], "test": others[:num_test]}
    for split, fewest in (("train", FEWEST), ("test", 1)):
        if len(splits[split]) < fewest:
            raise ValueError(
                f"{table.path} has {len(splits[split])} rows for the split {split!r}, and at least {fewest} "
                "are needed: add rows, or leave out the array split if there is one"
            )
    return splits


def check_classes(splits: Mapping[str, np.ndarray], classes: Mapping[str, Classes]) -> None:
    """Raise ValueError if training has no row of a class."""
    for name, (codes, values) in classes.items():
        for split in ("valid", "test"):
            strange = np.setdiff1d(codes[splits[split]], [*codes[splits["train"]], -1])
            if len(strange):
                raise ValueError(
                    f"{name}: the class {values[strange[0]]!r} has rows in the split {split!r} but none in "
                    "'train': put some of them there, or leave these rows out"
                )
