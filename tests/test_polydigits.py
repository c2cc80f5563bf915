import hashlib

import numpy as np
import pytest

from sbmae_jax.data.captions import DIGITS
from sbmae_jax.data.polydigits import (
    digit_masks,
    draw_instances,
    polydigits,
    split_instances,
)
from sbmae_jax.data.source import SPLITS

NAMES = ("hubble", "rocket")
GOLDEN = "849b8b007fec33fdee8765a1f2602d56637417d96fdd45551eff5897eaad8ac5"


def checksum(source):
    digest = hashlib.sha256()
    for name, array in source.arrays.items():
        digest.update(name.encode() + array.tobytes())
    return digest.hexdigest()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    # The first only detects change: made with scikit-learn 1.9, scikit-image 0.26, numpy 2.4.
    assert checksum(polydigits("test", 50, NAMES)) == GOLDEN
    assert checksum(polydigits("test", 50, NAMES, seed=1)) != GOLDEN


def test_splits_share_no_digit_instance_and_cover_all():
    _, classes = digit_masks()
    parts = split_instances(classes, seed=0)
    everything = np.concatenate([parts[split] for split in SPLITS])
    assert len(everything) == len(set(everything)) == len(classes)


def test_all_modalities_of_a_row_show_different_instances_of_its_class():
    _, classes = digit_masks()
    members = split_instances(classes, 0)["train"]
    rng = np.random.default_rng(0)
    label = np.arange(200) % 10
    instance = draw_instances(rng, label, classes, members, 5)
    assert (classes[instance] == label[:, None]).all()
    assert all(len(set(row)) == 5 for row in instance)
    assert set(instance.ravel()) <= set(members)


def test_classes_are_balanced_and_arrays_are_rgb_bytes():
    source = polydigits("train", 100, NAMES)
    assert (np.bincount(source.arrays["label"]) == 10).all()
    for name in NAMES:
        assert source.arrays[name].shape == (100, 28, 28, 3)
        assert source.arrays[name].dtype == np.uint8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tset", 5), "split must be one of train, valid, test, got 'tset'"),
        (("test", 5, ("moon",)), "unknown photograph 'moon'"),
        (("train", 5, NAMES, 0, 1.0), r"missing must be .*below 1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        polydigits(*arguments)


def test_missing_modalities_are_drawn_alike_and_tests_are_complete():
    source = polydigits("train", 3000, ("hubble", "coffee"), missing=0.4)
    present = source.arrays["present"]
    assert present.any(axis=1).all()
    # Of all rows 1 - 0.4² have something; of these 0.6 / 0.84 have the first.
    assert len(source) == pytest.approx(3000 * 0.84, abs=4 * (3000 * 0.84 * 0.16) ** 0.5)
    np.testing.assert_allclose(present.mean(axis=0), 0.6 / 0.84, atol=0.04)
    assert polydigits("test", 20, ("hubble", "coffee"), missing=0.4).arrays["present"].all()


def test_rows_that_are_left_are_those_of_the_complete_data():
    whole = polydigits("train", 200, ("hubble", "coffee"))
    source = polydigits("train", 200, ("hubble", "coffee"), missing=0.5, complete_only=True)
    assert source.arrays.keys() == {"hubble", "coffee", "label"}
    assert 20 < len(source) < 80
    originals = {row.tobytes() for row in whole.arrays["hubble"]}
    assert all(row.tobytes() in originals for row in source.arrays["hubble"])


def test_all_rows_may_be_left_out():
    source = polydigits("train", 20, ("hubble", "coffee"), missing=0.99, complete_only=True)
    assert len(source) == 0
    assert source.shapes["hubble"] == (28, 28, 3)


def test_captions_say_what_the_first_photograph_shows():
    names = ("caption", "coffee", "digit", "hubble")
    source = polydigits("test", 200, names)
    strings = source.scalings["caption"].restore(source.arrays["caption"])
    factors = [DIGITS.parse(string) for string in strings.tolist()]
    assert all(len(some) == 3 for some in factors)
    label = source.arrays["label"]
    assert [int(some["digit"]) for some in factors] == label.tolist()
    np.testing.assert_array_equal(source.arrays["digit"].argmax(axis=1), label)
    # The corners of a light photograph are light, as no digit reaches them.
    corners = source.arrays["coffee"][:, [0, 0, -1, -1], [0, -1, 0, -1]].astype(int)
    is_light = np.array([some["background"] == "light" for some in factors])
    assert np.median(corners[is_light]) >= 128 > np.median(corners[~is_light])
    plain = polydigits("test", 200, ("coffee", "hubble"))
    np.testing.assert_array_equal(plain.arrays["hubble"], source.arrays["hubble"])
    again = polydigits("test", 200, names)
    for name, array in source.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)
    assert len(set(strings.tolist())) > 150


def test_captions_may_be_missing():
    source = polydigits("train", 100, ("caption", "coffee"), missing=0.5)
    present = source.arrays["present"]
    assert present.shape == (len(source), 2)
    assert 0 < present[:, 0].mean() < 1


def test_captions_alone_show_no_digits():
    with pytest.raises(ValueError, match="names must have at least one photograph"):
        polydigits("test", 10, ("caption", "digit"))


def test_modalities_are_missing_in_the_pattern_that_is_asked_for():
    def present(holes, missing=0.0):
        source = polydigits("train", 900, NAMES, missing=missing, holes=holes)
        return source.arrays["present"], source.arrays["label"]

    pairs, _ = present("pairs")
    assert (pairs.sum(axis=1) == 2).all()
    together = pairs.T.astype(int) @ pairs
    assert together[np.triu_indices(len(NAMES), 1)].min() > 0
    chain, _ = present("chain")
    assert {tuple(np.flatnonzero(row)) for row in chain} == {
        (m, m + 1) for m in range(len(NAMES) - 1)
    }
    single, _ = present("single", 0.9)
    assert set(single.sum(axis=1)) == {1, len(NAMES)}
    assert 0.05 < single.all(axis=1).mean() < 0.15
    by_value, label = present("by_value", 0.4)
    assert by_value[:, 0].all()
    assert by_value[label == 0].all()
    assert by_value[label == 9, 1:].mean() == pytest.approx(0.2, abs=0.1)
