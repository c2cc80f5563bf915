"""A model whose score starts from the covariance of its latents: made, trained, kept and asked."""

import dataclasses
import json
import pickle

import chex
import golden_model
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_density
import tiny

from sbmae_jax import load
from sbmae_jax.app import pipeline
from sbmae_jax.app.run import Run, load_moments
from sbmae_jax.data.source import PRESENT
from sbmae_jax.models.factor_gaussian import FactorGaussian
from sbmae_jax.models.model import complete
from sbmae_jax.training.workdir import CONFIG, MOMENTS

SIZE = sum(golden_model.SIZES.values())


def with_covariance(model, loadings, noise):
    """Return a model with a covariance, whose latents are rotated by some angle within each modality."""
    covariance = FactorGaussian(jnp.asarray(loadings, jnp.float32), jnp.asarray(noise, jnp.float32))
    rng, sizes = np.random.default_rng(1), model.layout.sizes
    rotation = tuple(
        jnp.asarray(np.linalg.qr(rng.normal(size=(d, d)))[0], jnp.float32) for d in sizes
    )
    scale = model.moments._replace(rotation=rotation, covariance=covariance)
    return dataclasses.replace(model, moments=scale)


def model():
    rng = np.random.default_rng(0)
    loadings, noise = 0.5 * rng.normal(size=(SIZE, 3)), rng.uniform(0.2, 1, SIZE)
    return with_covariance(golden_model.build(), loadings, noise)


@pytest.mark.parametrize("name", [pytest.param("mine", marks=pytest.mark.slow), "mine.safetensors"])
def test_the_covariance_is_saved_and_the_samples_are_the_same(tmp_path, name):
    model().save(tmp_path / name)
    loaded = load(tmp_path / name)
    chex.assert_trees_all_equal(loaded.moments, model().moments)
    chex.assert_trees_all_equal(golden_model.samples(loaded), golden_model.samples(model()))
    copied = pickle.loads(pickle.dumps(loaded))
    chex.assert_trees_all_equal(copied.moments, model().moments)
    # It matters, and a model without one has none.
    other = golden_model.samples(golden_model.build())
    assert any((other[k] != x).any() for k, x in golden_model.samples(model()).items())
    assert load(golden_model.FOLDER).moments.covariance is None


@pytest.mark.parametrize(("loadings", "noise"), [((SIZE - 1, 3), SIZE), ((SIZE, 3), SIZE + 1)])
def test_a_covariance_of_another_size_is_refused(tmp_path, loadings, noise):
    with_covariance(golden_model.build(), np.ones(loadings), np.ones(noise)).save(tmp_path / "mine")
    with pytest.raises(ValueError, match=r"the array moments/covariance/\w+ has shape"):
        load(tmp_path / "mine")


@pytest.mark.slow
def test_it_is_exported_with_the_covariance(tmp_path):
    model().export(tmp_path / "model.jax", platforms=["cpu", "cuda", "tpu"])
    run = jax.export.deserialize(bytearray((tmp_path / "model.jax").read_bytes())).call
    rows, observed = golden_model.given()
    made = run(np.array([0, 7], np.uint32), rows, observed)
    chex.assert_trees_all_close(
        made, complete(model(), jax.random.key(7), rows, observed), atol=1e-4
    )


class Zero:
    """A network that says nothing."""

    def apply(self, params, x, log_snr):
        return jnp.zeros_like(x)


def gaussian_start():
    """Return a model before training, whose Gaussian is the distribution of `test_density.rows`."""
    values, vectors = np.linalg.eigh(test_density.COV)
    noise = 0.9 * values[0]
    loadings = vectors * np.sqrt(values - noise)
    start = dataclasses.replace(test_density.gaussian_model(), score_network=Zero())
    start = with_covariance(start, loadings, np.full(4, noise))
    rotated = [np.asarray(r).T for r in start.moments.rotation]
    turned = np.concatenate(
        [r @ w for r, w in zip(rotated, np.split(loadings, [2, 3]), strict=True)]
    )
    scale = start.moments
    scale = scale._replace(
        covariance=scale.covariance._replace(loadings=jnp.asarray(turned, jnp.float32))
    )
    return dataclasses.replace(start, moments=scale)


def test_densities_are_exact_before_training():
    start = gaussian_start()
    data = test_density.rows()
    for of, given in ((("a", "b", "c"), ()), (("a",), ("c",)), (("b",), ())):
        names = [*of, *given]
        some = {name: data[name] for name in names}
        found = start.log_density(some, of=of, key=0)
        error = np.abs(found.value - test_density.exact(data, of, given))
        assert (error < 0.05 + 4 * found.se).all()


def config(**score):
    values = tiny.config()
    values["score"] = values["score"] | score
    return values


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Give the folder of a run whose score starts from the covariance."""
    return pipeline.run(config(base="gaussian"), tmp_path_factory.mktemp("run"), stage="train")


@pytest.mark.slow
def test_a_run_keeps_the_covariance_and_its_model_has_it(trained):
    scale, this = load_moments(trained / MOMENTS), Run(config(base="gaussian"), trained)
    size = this.parts.layout.size
    assert scale.covariance.noise.shape == (size,)
    assert scale.covariance.loadings.shape[0] == size
    z = np.asarray(this.standardised(this.train_latents)["z"], np.float64)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-4)
    dense = scale.covariance.loadings @ scale.covariance.loadings.T + np.diag(
        scale.covariance.noise
    )
    assert np.abs(dense - z.T @ z / len(z)).mean() < 0.1
    batch = {name: this.data.train_loaded.arrays[name][:9] for name in this.parts.layout.names}
    loaded = load(trained)
    chex.assert_trees_all_equal(loaded.moments, scale)
    assert all(np.isfinite(x).all() for x in loaded.generate({}, num_samples=2).values())
    np.testing.assert_allclose(loaded.encode(batch), z[:9], atol=1e-4)
    plain = dataclasses.replace(loaded, moments=loaded.moments._replace(rotation=()))
    chex.assert_trees_all_close(loaded.reconstruct(batch), plain.reconstruct(batch), atol=1e-4)
    before = (trained / MOMENTS).stat().st_mtime_ns
    pipeline.run(config(base="gaussian"), trained, stage="train")
    assert (trained / MOMENTS).stat().st_mtime_ns == before


@pytest.mark.slow
def test_another_base_is_another_training(trained):
    with pytest.raises(ValueError, match=r"config\.score\.base \('gaussian' there, 'none' here\)"):
        pipeline.run(config(), trained, stage="train")


def test_a_run_of_before_there_was_a_base_is_one_with_none(finished_run):
    stored = json.loads((finished_run / CONFIG).read_text())
    assert "base" not in stored["score"]
    assert not Run(config(base="none"), finished_run).changes.stale
    assert load(finished_run).moments.covariance is None


def test_rows_that_lack_modalities_count_for_what_they_have(tmp_path):
    this = Run(config(base="gaussian"), tmp_path)
    rng, size = np.random.default_rng(0), this.parts.layout.size
    shared = rng.normal(size=(600, 1))
    z = 2 + 3 * (shared + 0.5 * rng.normal(size=(600, size)))
    present = rng.random((600, 2)) < 0.7
    present[:, 0] |= ~present.any(axis=1)
    wide = np.asarray(this.parts.layout.expand(present))
    this.__dict__["train_latents"] = {
        "z": np.where(wide, z, 1e3).astype(np.float32),
        PRESENT: present,
    }
    pipeline.measure_latents(this)
    this.folder.log.close()
    mean, _, rotation, covariance = load_moments(tmp_path / MOMENTS)
    np.testing.assert_allclose(mean, 2, atol=0.6)
    assert covariance.loadings.shape == (size, 1)
    loadings = np.concatenate(
        [
            np.asarray(r) @ w
            for r, w in zip(rotation, np.split(np.asarray(covariance.loadings), 2), strict=True)
        ]
    )
    np.testing.assert_allclose(loadings**2, 0.8, atol=0.1)


def test_the_first_covariances_were_of_latents_that_are_not_rotated(tmp_path):
    arrays = {"mean": np.zeros(SIZE), "std": np.ones(SIZE), "noise": np.full(SIZE, 0.5)}
    loadings = np.full((SIZE, 2), 0.5)
    np.savez(tmp_path / "moments.npz", **arrays, loadings=loadings)
    scale = load_moments(tmp_path / "moments.npz")
    assert scale.rotation == ()
    np.testing.assert_array_equal(scale.covariance.loadings, loadings)
    np.testing.assert_array_equal(scale.covariance.noise, arrays["noise"])
    first = dataclasses.replace(golden_model.build(), moments=scale)
    first.save(tmp_path / "mine")
    chex.assert_trees_all_equal(load(tmp_path / "mine").moments, scale)
