"""Which rows are for training, which for validation, and which for the test."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sbmae_jax.data.user.checks import SPLITS
from sbmae_jax.data.user.tables import Table

SHARES = {"train": 0.8, "test": 0.1}  # of the rows; the rest is for validation
VALID_SHARE = 0.1  # of the training rows for validation, where the data split off none
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
    table: Table, present: np.ndarray, classes: Mapping[str, Classes], seed: int
) -> dict[str, np.ndarray]:
    """Return the rows of each split, in an order drawn from the seed; rows that have nothing are in none.

    present: [N, M] bool, which modalities a row has.

    The splits are those of the data, or else as `random_splits`. Where the data's own have no rows for
    validation, VALID_SHARE of the training rows are.

    Raises ValueError for fewer than FEWEST training rows, for no test rows, and if the data's own split
    leaves a class to validation or test alone.
    """
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(present.any(axis=1)))
    if table.split is not None:
        splits = own_splits(table.split, rows, classes)
    else:
        splits = random_splits(rows, present[rows], classes)
    for split, fewest in (("train", FEWEST), ("test", 1)):
        if len(splits[split]) < fewest:
            raise ValueError(
                f"{table.path} has {len(splits[split])} rows for the split {split!r}, and at least {fewest} "
                "are needed: add rows, or leave out the array split if there is one"
            )
    return splits


def random_splits(
    rows: np.ndarray, present: np.ndarray, classes: Mapping[str, Classes]
) -> dict[str, np.ndarray]:
    """Split rows in random order into 80, 10 and 10 per cent, moving as few as it takes to learn and judge.

    A modality that many training rows have, and none for validation or for the test, gives one of them
    away; the rows of a class of which training has none go there.
    """
    num_train = round(SHARES["train"] * len(rows))
    num_test = max(1, round(SHARES["test"] * len(rows)))
    part = np.full(len(rows), SPLITS.index("valid"))
    part[:num_train] = SPLITS.index("train")
    part[num_train : num_train + num_test] = SPLITS.index("test")
    for has in present.T:
        for split in (SPLITS.index("valid"), SPLITS.index("test")):
            spare = np.flatnonzero(has & (part == 0))
            if not (has & (part == split)).any() and len(spare) > FEWEST:
                part[spare[-1]] = split
    for codes, _ in classes.values():
        part[~np.isin(codes[rows], known(codes, rows[part == 0]))] = 0
    return {split: rows[part == i] for i, split in enumerate(SPLITS)}


def own_splits(
    split: np.ndarray, rows: np.ndarray, classes: Mapping[str, Classes]
) -> dict[str, np.ndarray]:
    """Return the rows of each split as the data have it; raises ValueError as `check_classes`."""
    splits = {name: rows[split[rows] == name] for name in SPLITS}
    check_classes(splits, classes)
    train = splits["train"]
    if not len(splits["valid"]) and len(train) > FEWEST:
        held_out = np.arange(len(train)) >= len(train) - max(1, round(VALID_SHARE * len(train)))
        for codes, _ in classes.values():
            held_out &= np.isin(codes[train], known(codes, train[~held_out]))
        splits |= {"train": train[~held_out], "valid": train[held_out]}
    return splits


def known(codes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the codes that these rows know, with that of rows that have no class."""
    return np.append(np.unique(codes[rows]), -1)


def check_classes(splits: Mapping[str, np.ndarray], classes: Mapping[str, Classes]) -> None:
    """Raise ValueError if training has no row of a class."""
    for name, (codes, values) in classes.items():
        for split in ("valid", "test"):
            strange = np.setdiff1d(codes[splits[split]], known(codes, splits["train"]))
            if len(strange):
                raise ValueError(
                    f"{name}: the class {values[strange[0]]!r} has rows in the split {split!r} but none in "
                    "'train': put some of them there, or leave these rows out"
                )
