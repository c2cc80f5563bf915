import hashlib

import numpy as np
import pytest

from sbmae_jax.data.backgrounds import PHOTOGRAPHS, photograph
from sbmae_jax.data.polydigits import (
    SPLITS,
    digit_masks,
    paste_at_random,
    polydigits,
    split_instances,
)

NAMES = ("hubble", "rocket")
GOLDEN = "849b8b007fec33fdee8765a1f2602d56637417d96fdd45551eff5897eaad8ac5"


def checksum(source):
    digest = hashlib.sha256()
    for name, array in source.arrays.items():
        digest.update(name.encode() + array.tobytes())
    return digest.hexdigest()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    first, again, other = (polydigits("test", 50, NAMES, seed) for seed in (0, 0, 1))
    assert checksum(first) == checksum(again) != checksum(other)


def test_bytes_have_not_changed():
    # Only detects change: made by this code with scikit-learn 1.9, scikit-image 0.26, numpy 2.4.
    assert checksum(polydigits("test", 50, NAMES)) == GOLDEN


def test_splits_share_no_digit_instance_and_cover_all():
    _, classes = digit_masks()
    parts = split_instances(classes, seed=0)
    everything = np.concatenate([parts[split] for split in SPLITS])
    assert len(everything) == len(set(everything)) == len(classes)


def test_all_modalities_of_a_row_show_different_instances_of_its_class():
    from sbmae_jax.data import polydigits as module

    _, classes = digit_masks()
    members = split_instances(classes, 0)["train"]
    rng = np.random.default_rng(0)
    label = np.arange(200) % 10
    instance = module.draw_instances(rng, label, classes, members, 5)
    assert (classes[instance] == label[:, None]).all()
    assert all(len(set(row)) == 5 for row in instance)
    assert set(instance.ravel()) <= set(members)


def test_classes_are_balanced_and_arrays_are_rgb_bytes():
    source = polydigits("train", 100, NAMES)
    assert (np.bincount(source.arrays["label"]) == 10).all()
    for name in NAMES:
        assert source.arrays[name].shape == (100, 28, 28, 3)
        assert source.arrays[name].dtype == np.uint8


def test_inverting_inside_the_mask_gives_the_background_back():
    background = photograph("hubble")
    rng = np.random.default_rng(3)
    mask = np.zeros((4, 28, 28), bool)
    plain = paste_at_random(np.random.default_rng(3), mask, background)
    mask[:, 5:9] = True
    pasted = paste_at_random(rng, mask, background)
    np.testing.assert_array_equal(np.where(mask[..., None], 255 - pasted, pasted), plain)


def test_every_photograph_can_be_cropped():
    for name in PHOTOGRAPHS:
        image = photograph(name)
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
        assert min(image.shape[:2]) > 28


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("tset", 5), "unknown split 'tset'"), (("test", 5, ("moon",)), "unknown photograph 'moon'")],
)
def test_unknown_names_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        polydigits(*arguments)


def test_missing_pictures_are_drawn_alike_and_tests_are_complete():
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


def test_a_share_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"missing must be at least 0 and less than 1, got 1\.0"):
        polydigits("train", 20, ("hubble", "coffee"), missing=1.0)
