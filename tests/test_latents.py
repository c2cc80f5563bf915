import chex
import numpy as np
import pytest
from networks import jit

from sbmae_jax.models.latents import Layout, moments

LAYOUT = Layout(("a", "b", "c"), (2, 1, 3))
estimate = jit(moments)


def test_unpack_undoes_pack():
    latents = {
        name: np.float32(i + np.arange(4 * size).reshape(4, size))
        for i, (name, size) in enumerate(zip(LAYOUT.names, LAYOUT.sizes, strict=True))
    }
    x = LAYOUT.pack(latents)
    assert x.shape == (4, LAYOUT.size)
    for name, z in LAYOUT.unpack(x).items():
        np.testing.assert_array_equal(z, latents[name])


def test_each_coordinate_gets_the_value_of_its_modality():
    expanded = LAYOUT.expand(np.array([[True, False, True]]))
    np.testing.assert_array_equal(expanded, [[True, True, False, True, True, True]])


def test_observed_modalities_are_marked_in_order():
    np.testing.assert_array_equal(LAYOUT.observed(["c", "a"], 2), [[True, False, True]] * 2)
    assert not LAYOUT.observed([], 3).any()


def test_observing_an_unknown_modality_names_it_and_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown modality 'sound'.* a, b, c"):
        LAYOUT.observed(["sound"], 1)
    with pytest.raises(ValueError, match=r"'label': this model has a, b, c; label is not modelled"):
        LAYOUT.observed(["label"], 1)


def test_standardised_latents_have_mean_0_and_variance_1():
    x = np.random.default_rng(0).normal(3, 2, (1000, 5)).astype(np.float32)
    scale = estimate(x)
    z = np.asarray(scale.standardise(x))
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(scale.restore(z), x, atol=1e-5)


def test_a_collapsed_coordinate_is_not_scaled_up():
    x = np.float32(np.stack([np.ones(10), 1e-4 * np.arange(10)], axis=1))
    assert np.abs(estimate(x).standardise(x)).max() < 0.02


def test_moments_are_taken_over_the_rows_where_a_coordinate_is_present():
    rng = np.random.default_rng(0)
    present = rng.random((200, 3)) < 0.5
    x = rng.normal(3, 2, (200, 3))
    # Any value may stand for an absent one.
    scale = estimate(np.where(present, x, np.nan), present)
    rows = [x[present[:, i], i] for i in range(3)]
    np.testing.assert_allclose(scale.mean, [r.mean() for r in rows], rtol=1e-5)
    np.testing.assert_allclose(scale.std, [r.std() for r in rows], rtol=1e-5)
    everything = estimate(x, np.ones((200, 3), bool))
    chex.assert_trees_all_close(everything, estimate(x), rtol=1e-6)
