r"""Denoising score matching on the joint latent vector.

A standardised latent z is noised, x = alpha z + sigma eps, and the score of the noised distribution is
the minimiser of E |s(x, t) + eps / sigma|^2. The raw score grows without bound as sigma falls, so the
network F is asked for something that always has unit variance, as its input has. With unit-variance
data, v = alpha^2 + sigma^2 and the denoiser

    den(x, t) = (alpha / v) x + (sigma / sqrt v) F(x / sqrt v, ln snr),                            (1)

the best F is the conditional mean of (sigma z - alpha eps) / sqrt v, which has variance 1 at each noise
level; and s = (alpha den - x) / sigma^2. In terms of the error of F,

    sigma^2 |s + eps / sigma|^2 = (alpha^2 / v) |F - (sigma z - alpha eps) / sqrt v|^2.            (2)

Weightings of the loss, each a distribution of noise levels and a factor on the error of F:

    noise        t uniform, factor alpha^2 / v: sigma^2-weighted score matching
    likelihood   ln snr uniform, factor alpha^2 / v: g^2-weighted, at lower variance
    unit         ln(sigma / alpha) normal with `level_mean`, `level_std`, factor 1

One time per modality. The network gets ln snr for each modality, so the same network also serves when
some modalities are observed and clean: a share `conditioning_prob` of the training rows has a random
proper subset of modalities at time 0, and the loss on the others only.

Rows that lack modalities. A row with only the modalities P is a draw of the marginal p(z_P). The network gets
pure noise for the others, at the largest noise level, which marginalises them out; the loss is on P alone:

    L = E over rows, t, eps, O inside P of  |F(x_P, noise elsewhere)_m - target_m|^2,  m in P \ O.   (3)

Its minimiser, for each pattern P, is the score of p(z_P | P is what was measured). That is the score of the
marginal itself if modalities are missing completely at random (Rubin 1976), whatever the shares: no value
is imputed, so none is learned. Where missingness depends on the values, it is the score of such rows. How
modalities that are never measured together go together is not in the data: there the network interpolates.

Sources: Vincent 2011; Song et al. 2021 (arXiv:2011.13456, 2101.09258) for the weightings; Karras et al.
2022 (arXiv:2206.00364) for (1), there as c_skip, c_out, c_in with sigma_data = 1, and for `unit`;
Bounoua et al. 2024 (arXiv:2306.04445) for a time per modality.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from sbmae_jax._check import require_number, require_one_of
from sbmae_jax.models.latents import Layout
from sbmae_jax.models.task import Params, Task
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, Key, ScoreFn

WEIGHTINGS = ("noise", "likelihood", "unit")
T_MIN = 1e-5
MAX_LEVEL = 20.0  # of ln(sigma / alpha), in which no process spans more
MAX_POWER = 8.0  # beyond which nearly nothing but one modality is observed
MAX_LOG_SNR = 14.0  # what the network is told of a clean modality, whose ln snr is infinite


@dataclass(frozen=True)
class ScoreMatchingConfig:
    """How noise levels are drawn in training; see the head of this file.

    level_mean, level_std: of ln(sigma / alpha), for weighting "unit".
    conditioning_prob: share of the rows that have observed modalities, in 0..1; 0 trains a joint score only.
    subset_size_power: in 0..8; k are observed in proportion to k^-subset_size_power. 0: every
    number alike; 1: one
        modality k times as often as k. What one modality alone says of the others is hardest to learn and, of
        many modalities, the rarest to be seen.

    Raises ValueError for a name that there is not, and for a value out of its range or of another type.
    """

    weighting: str = "unit"
    level_mean: float = -0.4
    level_std: float = 1.4
    conditioning_prob: float = 0.0
    subset_size_power: float = 0.0

    def __post_init__(self):
        require_one_of("score.weighting", self.weighting, WEIGHTINGS)
        require_number("score.level_mean", self.level_mean, -MAX_LEVEL, MAX_LEVEL)
        require_number("score.level_std", self.level_std, 0, MAX_LEVEL)
        require_number("score.conditioning_prob", self.conditioning_prob, 0, 1)
        require_number("score.subset_size_power", self.subset_size_power, 0, MAX_POWER)


def score_task(network: Any, sde: SDE, layout: Layout, matching: ScoreMatchingConfig) -> Task:
    """Bind a score network to the denoising loss.

    network: a Flax module, (x [B, D], ln snr [B, M]) -> [B, D].
    The batch is {"z": [B, D]}, standardised latents, and, where rows lack modalities, `present` [B, M] bool,
    with at least one in each row; see (3). Latents of what is not present are not used.
    """

    def init(key, batch):
        z = batch["z"][:1]
        return network.init(key, z, jnp.zeros((1, len(layout.sizes))))

    def loss(params, key, batch):
        z = batch["z"]
        present = batch.get("present", jnp.ones((len(z), len(layout.sizes)), bool))
        time_key, noise_key, observed_key = jax.random.split(key, 3)
        t = draw_times(time_key, sde, matching, len(z))
        observed = draw_observed(observed_key, matching, present)
        absent, hidden = layout.expand(~present), layout.expand(present & ~observed)
        eps = jax.random.normal(noise_key, z.shape)
        alpha, sigma, v = _coefficients(sde, t[:, None])
        x = jnp.where(hidden, alpha * z + sigma * eps, jnp.where(absent, eps, z))
        target = (sigma * z - alpha * eps) / jnp.sqrt(v)
        output = apply(network.apply, params, sde, layout, x, t, observed, ~present)
        factor = jnp.ones_like(t) if matching.weighting == "unit" else (alpha**2 / v)[:, 0]
        error = jnp.where(hidden, (output - target) ** 2, 0)
        return factor * jnp.sum(error, axis=-1) / jnp.sum(hidden, axis=-1), {}

    return Task(init, loss)


def score_fn(
    network_apply: Callable[..., Array], params: Params, sde: SDE, layout: Layout,
    observed: Array | None = None,
) -> ScoreFn:  # fmt: skip
    """Return the learned score (x [B, D], t) -> [B, D].

    observed: [B, M] bool, modalities that are clean in x; the score is then that of the others given
        these, and 0 on these. By default all modalities are at time t.
    """

    def score(x, t):
        nothing = jnp.zeros((len(x), len(layout.sizes)), bool)
        known = nothing if observed is None else observed
        t = jnp.broadcast_to(t, len(x))
        alpha, sigma, v = _coefficients(sde, t[:, None])
        output = apply(network_apply, params, sde, layout, x, t, known, nothing)
        denoised = (alpha / v) * x + (sigma / jnp.sqrt(v)) * output
        return jnp.where(layout.expand(known), 0, (alpha * denoised - x) / sigma**2)

    return score


def apply(network_apply, params, sde: SDE, layout: Layout, x, t, observed, absent) -> Array:
    """Call the network F of equation (1) on x [B, D] at times t [B].

    observed [B, M]: at time 0.  absent [B, M]: pure noise of variance 1, at the last time.
    """
    unscaled = layout.expand(observed | absent)
    _, _, v = _coefficients(sde, t[:, None])
    log_snr = jnp.where(observed, MAX_LOG_SNR, jnp.minimum(sde.log_snr(t), MAX_LOG_SNR)[:, None])
    log_snr = jnp.where(absent, sde.log_snr(jnp.ones(())), log_snr)
    return network_apply(params, jnp.where(unscaled, x, x / jnp.sqrt(v)), log_snr)


def draw_times(key: Key, sde: SDE, matching: ScoreMatchingConfig, num: int) -> Array:
    """Draw times for the weighting: [num] in T_MIN..1."""
    if matching.weighting == "unit":
        level = matching.level_mean + matching.level_std * jax.random.normal(key, (num,))
        return jnp.clip(sde.time(-2 * level), T_MIN, 1.0)
    return sde.sample_time(key, (num,), matching.weighting, T_MIN)


def draw_observed(key: Key, matching: ScoreMatchingConfig, present: Array) -> Array:
    """Draw which modalities of each row are observed, [B, M] bool; never all that are present [B, M].

    The number observed is k in 1..n-1 of the n that are present, with a probability in proportion to
    k^-subset_size_power; then the subset is uniform among those of that size. With power 0 one and
    all but one
    are seen as often as the many subsets in the middle.
    """
    if matching.conditioning_prob == 0 or present.shape[1] == 1:
        return jnp.zeros_like(present)
    row_key, size_key, rank_key = jax.random.split(key, 3)
    rows = jax.random.bernoulli(row_key, matching.conditioning_prob, (len(present), 1))
    num_present = jnp.sum(present, axis=1, keepdims=True)
    number = jnp.arange(1, present.shape[1])[None]
    logits = -matching.subset_size_power * jnp.log(number)
    logits = jnp.where(number < jnp.maximum(num_present, 2), logits, -jnp.inf)
    size = 1 + jax.random.categorical(size_key, logits)[:, None]
    draws = jax.random.uniform(rank_key, present.shape)
    rank = jnp.argsort(jnp.argsort(jnp.where(present, draws, 2.0), axis=-1), axis=-1)
    return rows & (rank < size) & (num_present > 1)


def _coefficients(sde: SDE, t: Array) -> tuple[Array, Array, Array]:
    alpha, sigma = sde.alpha(t), sde.sigma(t)
    return alpha, sigma, alpha**2 + sigma**2
