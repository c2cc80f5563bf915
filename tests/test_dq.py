"""Two shared factors: the data, and rows that lack views."""

import numpy as np
import pytest

from sbmae_jax.data import quadrants
from sbmae_jax.data.polydigits_dq import polydigits_dq


def test_a_digit_stands_in_its_quadrant_with_a_margin():
    masks = np.ones((4, 3, 3), bool)
    placed = quadrants.place(masks, np.arange(4), margin=1)
    assert placed.shape == (4, 10, 10)
    corners = [(1, 1), (1, 6), (6, 1), (6, 6)]  # in the order of the names
    for picture, (y, x) in zip(placed, corners, strict=True):
        assert picture.sum() == 9
        assert picture[y : y + 3, x : x + 3].all()
    assert quadrants.ENTRIES["quadrant"][1:3] == ("top right", "bottom left")


def test_every_pair_of_factors_is_as_frequent_and_labels_are_always_there():
    source = polydigits_dq("train", 400, ("coffee", "hubble"))
    pairs = source.arrays["digit"].argmax(axis=1) * 4 + source.arrays["quadrant"].argmax(axis=1)
    assert (np.bincount(pairs, minlength=40) == 10).all()
    assert source.arrays["coffee"].shape == (400, 32, 32, 3)
    assert source.entries["digit"] == tuple("0123456789")
    again = polydigits_dq("train", 400, ("coffee", "hubble"))
    assert all((again.arrays[name] == array).all() for name, array in source.arrays.items())


def test_views_are_missing_by_their_shares_in_training_alone():
    whole = polydigits_dq("train", 6000)
    source = polydigits_dq("train", 6000, holes=True)
    np.testing.assert_array_equal(whole.arrays["retina"], source.arrays["retina"])
    present = source.arrays["present"]
    assert present[:, [1, 3]].all()  # digit and quadrant, in the order of the names
    seen, counts = np.unique(present[:, [0, 2, 4]], axis=0, return_counts=True)
    assert len(seen) == len(quadrants.HOLES)
    for pattern, count in zip(seen.astype(int).tolist(), counts, strict=True):
        share = quadrants.HOLES[tuple(pattern)]
        assert abs(count - 6000 * share) < 4 * (6000 * share * (1 - share)) ** 0.5
    assert polydigits_dq("test", 20, holes=True).arrays["present"].all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "dev"}, "split must be one of"),
        ({"names": ("moon", "digit")}, "unknown photograph 'moon'"),
        ({"names": ("digit", "quadrant")}, "names must have at least one photograph"),
        ({"names": ("coffee", "digit"), "holes": True}, "three views, got 1: set holes to False"),
        ({"holes": 0.5}, "holes must be True or False"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        polydigits_dq(**{"split": "train", "num_rows": 5, **arguments})
