import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax.models.latents import Layout, moments

LAYOUT = Layout(("a", "b", "c"), (2, 1, 3))


def test_unpack_undoes_pack(key):
    latents = {
        name: jax.random.normal(jax.random.fold_in(key, i), (4, size))
        for i, (name, size) in enumerate(zip(LAYOUT.names, LAYOUT.sizes, strict=True))
    }
    x = LAYOUT.pack(latents)
    assert x.shape == (4, LAYOUT.size)
    for name, z in LAYOUT.unpack(x).items():
        np.testing.assert_array_equal(z, latents[name])


def test_spread_gives_each_coordinate_the_value_of_its_modality():
    spread = LAYOUT.expand(jnp.array([[True, False, True]]))
    np.testing.assert_array_equal(spread, [[True, True, False, True, True, True]])


def test_observed_marks_modalities_in_order():
    np.testing.assert_array_equal(LAYOUT.observed(["c", "a"], 2), [[True, False, True]] * 2)
    assert not LAYOUT.observed([], 3).any()


def test_observing_an_unknown_modality_names_it_and_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown modality 'sound'.* a, b, c"):
        LAYOUT.observed(["sound"], 1)


def test_standardised_latents_have_mean_0_and_variance_1(key):
    x = 3 + 2 * jax.random.normal(key, (1000, 5))
    scale = moments(x)
    z = scale.standardise(x)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(scale.restore(z), x, atol=1e-5)


def test_a_collapsed_coordinate_is_not_blown_up():
    x = jnp.concatenate([jnp.ones((10, 1)), 1e-4 * jnp.arange(10.0)[:, None]], axis=1)
    assert float(jnp.abs(moments(x).standardise(x)).max()) < 0.02


def test_moments_are_taken_over_the_rows_where_a_coordinate_is_present():
    rng = np.random.default_rng(0)
    present = rng.random((200, 3)) < 0.5
    x = rng.normal(3, 2, (200, 3))
    # Of what is absent any value may stand there.
    scale = moments(jnp.asarray(np.where(present, x, np.nan)), jnp.asarray(present))
    for i in range(3):
        rows = x[present[:, i], i]
        np.testing.assert_allclose(
            [scale.mean[i], scale.std[i]], [rows.mean(), rows.std()], rtol=1e-5
        )
    everything = moments(jnp.asarray(x), jnp.ones((200, 3), bool))
    np.testing.assert_allclose(everything, moments(jnp.asarray(x)), rtol=1e-6)
