import numpy as np
import pytest

from sbmae_jax.data.patterns import (
    connected_groups,
    count_pairs,
    describe_coupling,
    weigh_rows,
)

NAMES = ("a", "b", "c", "d")


def rows(*patterns):
    """Return rows by their patterns, given as (modalities, number of rows)."""
    return np.repeat(
        [[n in names for n in NAMES] for names, _ in patterns], [k for _, k in patterns], axis=0
    )


def test_at_least_half_of_what_is_drawn_of_each_modality_comes_with_another():
    present = rows(("abcd", 2), ("ab", 10), ("a", 5), ("c", 60), ("d", 30))
    weights = weigh_rows(present)
    coupled = present.sum(axis=1) > 1
    share = (weights * coupled) @ present / (weights @ present)
    assert share.min() >= 0.5
    np.testing.assert_array_equal(weights[~coupled], 1)
    assert weights[2] < weights[0]  # of a and b most come with another as it is


@pytest.mark.parametrize("pattern", [("abcd", 5), ("ab", 5)])
def test_rows_that_couple_modalities_are_drawn_alike(pattern):
    np.testing.assert_array_equal(weigh_rows(rows(pattern, ("bcd", 3))), 1)


def test_half_of_what_is_drawn_couples_modalities_if_anything_does():
    weights = weigh_rows(rows(("ab", 5), ("c", 900)))
    assert weights[:5].sum() == weights[5:].sum() == 900
    np.testing.assert_array_equal(weigh_rows(rows(("a", 5), ("c", 900))), 1)


def test_groups_are_connected_through_others():
    assert connected_groups(count_pairs(rows(("ab", 1), ("bc", 1), ("cd", 1))), NAMES) == [NAMES]
    apart = connected_groups(count_pairs(rows(("ad", 1), ("bc", 1))), NAMES)
    assert apart == [("a", "d"), ("b", "c")]


def test_what_rows_leave_open_is_said_by_name():
    assert describe_coupling(rows(("abcd", 900), ("a", 9000)), NAMES) == []
    (groups,) = describe_coupling(rows(("ab", 600), ("cd", 600)), NAMES)
    assert groups.endswith("generated independently of each other: a, b | c, d")
    (chain,) = describe_coupling(rows(("ab", 900), ("bc", 900), ("cd", 900)), NAMES)
    assert "never measured together: a and c; a and d; b and d" in chain
    (few,) = describe_coupling(rows(("abc", 900), ("ad", 7), ("bd", 8), ("cd", 900)), NAMES)
    assert few.startswith("a and d: only 7 training rows have both, and 1 more pairs")
