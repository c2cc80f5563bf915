"""The split of a user's rows into training, validation and test."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sbmae_jax.data.source import SPLITS
from sbmae_jax.data.user.tables import Table

TRAIN_SHARE, TEST_SHARE = 0.8, 0.1  # of the rows; the others are for validation
VALID_SHARE = 0.1  # of the training rows, where the data have a split without validation
MIN_TRAIN_ROWS = 10


class Classes(NamedTuple):
    """Classes that training must have seen: those of labels, or of a category.

    Attributes:
        codes: The class of each row, as an index into `values`: [N] int32, -1 where it is missing.
        values: The classes, ascending.
    """

    codes: np.ndarray
    values: tuple[Any, ...]


def classes_of(values: np.ndarray, present: np.ndarray) -> Classes:
    """Number the classes of an array.

    Args:
        values: The class of each row: [N].
        present: The rows that have one: [N] bool.

    Returns:
        The codes of all rows and the classes.

    Example:
        >>> classes_of(np.array(["b", "", "a"]), np.array([True, False, True]))
        Classes(codes=array([ 1, -1,  0], dtype=int32), values=('a', 'b'))
    """
    found, codes = np.unique(values[present], return_inverse=True)
    all_codes = np.full(len(values), -1, np.int32)
    all_codes[present] = codes
    return Classes(all_codes, tuple(found.tolist()))


def split_rows(
    table: Table, present: np.ndarray, classes: Mapping[str, Classes], seed: int
) -> dict[str, np.ndarray]:
    """Split rows into training, validation and test, in an order drawn from the seed.

    The data's own array `split` is kept. Where it has no rows for validation, VALID_SHARE of the training
    rows are taken. Without it, 80, 10 and 10 per cent are drawn at random.

    Args:
        table: The user's arrays.
        present: Which modalities each row has: [N, M] bool. Rows that have none are in no split.
        classes: The labels and categories whose classes training must have seen, by name.
        seed: Decides the order of the rows, and random splits.

    Returns:
        The row numbers of each split.

    Raises:
        ValueError: If fewer than MIN_TRAIN_ROWS rows are for training or none is for the test, or if the
            data's own split leaves a class to validation or test alone.
    """
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(present.any(axis=1)))
    if table.split is not None:
        splits = _given_splits(table.split, rows, classes)
    else:
        splits = _random_splits(rows, present[rows], classes)
    for split, fewest in (("train", MIN_TRAIN_ROWS), ("test", 1)):
        if len(splits[split]) < fewest:
            raise ValueError(
                f"{table.path} has {len(splits[split])} rows for the split {split!r}, but at least {fewest} "
                "are needed: add rows, or remove the array split if there is one"
            )
    return splits


def _random_splits(
    rows: np.ndarray, present: np.ndarray, classes: Mapping[str, Classes]
) -> dict[str, np.ndarray]:
    """Split rows, in random order, into 80, 10 and 10 per cent; then move as few as necessary.

    A modality that no validation or test row has is given one of its training rows, if it has enough. All
    rows of a class without training rows go to training.
    """
    num_train = round(TRAIN_SHARE * len(rows))
    num_test = max(1, round(TEST_SHARE * len(rows)))
    train, valid, test = range(len(SPLITS))
    part = np.full(len(rows), valid)
    part[:num_train] = train
    part[num_train : num_train + num_test] = test
    for has in present.T:
        for split in (valid, test):
            spare = np.flatnonzero(has & (part == train))
            if not (has & (part == split)).any() and len(spare) > MIN_TRAIN_ROWS:
                part[spare[-1]] = split
    for codes, _ in classes.values():
        part[~np.isin(codes[rows], _codes_in(codes, rows[part == train]))] = train
    return {split: rows[part == i] for i, split in enumerate(SPLITS)}


def _given_splits(
    split: np.ndarray, rows: np.ndarray, classes: Mapping[str, Classes]
) -> dict[str, np.ndarray]:
    """Return the rows of each split as the data have it; raises ValueError as `_check_classes`."""
    splits = {name: rows[split[rows] == name] for name in SPLITS}
    _check_classes(splits, classes)
    train = splits["train"]
    if not len(splits["valid"]) and len(train) > MIN_TRAIN_ROWS:
        held_out = np.arange(len(train)) >= len(train) - max(1, round(VALID_SHARE * len(train)))
        for codes, _ in classes.values():
            held_out &= np.isin(codes[train], _codes_in(codes, train[~held_out]))
        splits |= {"train": train[~held_out], "valid": train[held_out]}
    return splits


def _codes_in(codes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the codes of these rows, and that of a missing class."""
    return np.append(np.unique(codes[rows]), -1)


def _check_classes(splits: Mapping[str, np.ndarray], classes: Mapping[str, Classes]) -> None:
    """Raise ValueError if a class has no training row."""
    for name, (codes, values) in classes.items():
        for split in ("valid", "test"):
            unseen = np.setdiff1d(codes[splits[split]], _codes_in(codes, splits["train"]))
            if len(unseen):
                raise ValueError(
                    f"{name}: the class {values[unseen[0]]!r} has rows in the split {split!r} but none in "
                    "'train': move some of them there, or leave these rows out"
                )
