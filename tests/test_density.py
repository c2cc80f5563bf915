"""Densities and information of latents, against a joint Gaussian whose score is known exactly."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from sbmae_jax import VP
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.latents import Moments
from sbmae_jax.models.model import Model
from sbmae_jax.models.noise_levels import MAX_LOG_SNR
from sbmae_jax.sampling.generate import SamplingConfig

NAMES = ("a", "b", "c")
MIX = np.array([[1.0, 0, 0], [0.6, 0.8, 0], [0, 0.6, 0.8], [0.6, 0, 0.8]])
COV = 0.9 * MIX @ MIX.T + 0.1 * np.eye(4)  # of variance 1; a has two latents
SIZES = (2, 1, 1)
OWNER = np.repeat(np.arange(3), SIZES)


@dataclasses.dataclass(frozen=True)
class Identity:
    """A coder whose latents are the values themselves."""

    def encode(self, params, x):
        return x

    def decode(self, params, z):
        return z


@dataclasses.dataclass(frozen=True)
class ExactNetwork:
    """The network whose denoiser is E[z | x] of the Gaussian, by equation (1) of `models/score.py`."""

    def apply(self, params, x, log_snr):
        clean = (log_snr >= MAX_LOG_SNR)[:, OWNER]
        snr = jnp.exp(log_snr)[:, OWNER]
        alpha, sigma = jnp.sqrt(snr / (1 + snr)), jnp.sqrt(1 / (1 + snr))
        h, r = jnp.where(clean, 1.0, alpha), jnp.where(clean, 1e-6, sigma**2)
        cov = jnp.asarray(COV, x.dtype)
        noisy = h[:, :, None] * cov[None] * h[:, None, :] + jnp.eye(4)[None] * r[:, None, :]
        denoised = jnp.einsum("ij,bj->bi", cov, h * jnp.linalg.solve(noisy, x[:, :, None])[:, :, 0])
        return (denoised - alpha * x) / sigma


def gaussian_model(**sampling):
    return Model(
        params={"autoencoders": {name: {} for name in NAMES}, "score": {}},
        moments=Moments(mean=jnp.zeros(4), std=jnp.ones(4)),
        modalities=tuple(
            Modality(name, (size,), "normal", "", latent_size=size, weight=1.0)
            for name, size in zip(NAMES, SIZES, strict=True)
        ),
        autoencoders=(Identity(),) * 3,
        score_network=ExactNetwork(),
        sde=VP(),
        sampling=SamplingConfig("dpm_solver", num_levels=16, **sampling),
    )


def rows(num=6, seed=0):
    x = np.random.default_rng(seed).multivariate_normal(np.zeros(4), COV, num).astype(np.float32)
    return {name: x[:, m == OWNER] for m, name in enumerate(NAMES)}


def exact(data, of, given=()):
    """Return ln p(of | given) of the Gaussian."""

    def joint(names):
        chosen = np.isin(OWNER, [NAMES.index(name) for name in names])
        x = np.concatenate([data[name] for name in NAMES if name in names], axis=1)
        return stats.multivariate_normal(
            np.zeros(chosen.sum()), COV[np.ix_(chosen, chosen)]
        ).logpdf(x)

    return joint([*of, *given]) - (joint(given) if given else 0)


SUBSETS = [s for n in (1, 2, 3) for s in itertools.combinations(NAMES, n)]


@pytest.mark.parametrize(
    ("of", "given"),
    [(of, given) for of in SUBSETS for given in [(), *SUBSETS] if not set(of) & set(given)],
)
def test_densities_of_all_subsets_given_all_others(of, given):
    data = rows()
    asked = {name: data[name] for name in (*of, *given)}
    found = gaussian_model().log_density(asked, of=of, num_levels=100)
    np.testing.assert_allclose(found.value, exact(data, of, given), atol=0.03)
    whole = len(of) + len(given) == 3
    assert (found.se == 0).all() if whole else (found.se < 0.03).all()


def test_probes_estimate_the_divergence_of_many_latents(monkeypatch):
    monkeypatch.setattr("sbmae_jax.models.density.MAX_EXACT_SIZE", 3)
    data = rows()
    found = gaussian_model().log_density(data, num_levels=100, num_draws=50)
    assert (found.se > 0).all()
    assert (np.abs(found.value - exact(data, NAMES)) < 4 * found.se + 0.03).all()


def test_outliers_surprise_most():
    data = rows(20)
    data["b"][7] += 8
    surprise = gaussian_model().surprise(data)
    assert surprise.argmax() == 7
    np.testing.assert_allclose(surprise, -exact(data, NAMES), rtol=2e-2, atol=0.05)


@pytest.mark.slow
def test_information_is_that_of_the_gaussian():
    found = gaussian_model().information(rows(400, seed=1))
    assert set(found) == set(itertools.permutations(NAMES, 2))
    assert found["b", "a"] == found["a", "b"]
    for (a, b), estimate in found.items():
        parts = [np.isin(OWNER, [NAMES.index(n) for n in names]) for names in ((a,), (b,), (a, b))]
        log_det = [np.linalg.slogdet(COV[np.ix_(p, p)])[1] for p in parts]
        true = 0.5 * (log_det[0] + log_det[1] - log_det[2])
        assert abs(estimate.value - true) < 4 * estimate.se + 0.02
        assert estimate.se < 0.1


def test_a_kernel_of_the_library_runs_on_the_score_of_a_model():
    from sbmae_jax import clamp, euler_maruyama, given, log_snr_times, sample

    model, key = gaussian_model(), jax.random.key(0)
    observed = model.layout.observed(["a"], 4000)
    mask = model.layout.expand(observed)
    value = jnp.broadcast_to(jnp.array([1.0, -0.5, 0, 0]), (4000, 4))

    @jax.jit
    def draw(key):
        observe = clamp(value, mask)
        prior_key, sample_key = jax.random.split(key)
        step = given(euler_maruyama(model.sde, model.conditional_score(observed)), observe)
        x = observe(prior_key, model.sde.prior(prior_key, value.shape), 1.0, 1.0)
        return sample(sample_key, step, x, log_snr_times(model.sde, 200))

    z = np.asarray(draw(key))
    gain = COV[2:, :2] @ np.linalg.inv(COV[:2, :2])
    np.testing.assert_allclose(z[:, 2:].mean(axis=0), gain @ [1.0, -0.5], atol=0.06)


@pytest.mark.parametrize("observed", [np.ones((2, 5), bool), [True], np.zeros((2, 3))])
def test_a_mask_that_does_not_fit_is_refused(observed):
    with pytest.raises(ValueError, match=r"mask|observed must be \[B, 3\]"):
        gaussian_model().conditional_score(observed)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ({}, {}, "at least one modality"),
        (None, {}, "given must be"),
        ({"d": np.zeros((2, 1))}, {}, "'d'"),
        (rows(), {"of": ["d"]}, "of names 'd', which is not given"),
        (rows(), {"of": []}, "of must name at least one"),
        (rows() | {"a": np.zeros((3, 2))}, {}, "same number of rows"),
        (rows() | {"a": np.full((6, 2), np.nan)}, {}, "a"),
        (rows(), {"num_levels": 1}, "num_levels"),
        (rows(), {"num_draws": 1}, "num_draws"),
        (rows(), {"key": -1}, "key"),
    ],
)
def test_what_does_not_fit_is_refused(given, options, message):
    with pytest.raises(ValueError, match=message):
        gaussian_model().log_density(given, **options)


def test_a_score_that_does_not_know_what_is_observed_has_no_conditional_density():
    model = gaussian_model(conditioning="renoise", num_corrections=1)
    np.testing.assert_allclose(model.log_density(rows()).value, exact(rows(), NAMES), atol=0.1)
    with pytest.raises(ValueError, match=r"config\.score\.conditioning_prob above 0"):
        model.log_density(rows(), of=["a"])
    with pytest.raises(ValueError, match="at least two modalities"):
        gaussian_model().information({"a": rows()["a"]})
