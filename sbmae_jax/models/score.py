r"""Denoising score matching on the joint latent vector.

A standardised latent z is noised, x = alpha z + sigma eps. The score of the noised distribution is the
minimiser of E |s(x, t) + eps / sigma|^2. This score grows without bound as sigma falls, so the network F
predicts something of unit variance instead, from an input of unit variance: what is left of z, once what a
Gaussian knows is taken away. Let the Gaussian have the covariance W W^T + diag(psi), which latents can be
rotated to have (`factor_fit`). Let g(x) and sigma^2 b^2 be the mean and the variance of z given x under it
(`factor_gaussian`, equation 2). With the denoiser

    den(x, t) = g(x) + sigma b F(g(x) / std g, ln snr),                                            (1)

the best F is the conditional mean of (z - g) / (sigma b), which has variance 1 at every noise level as far as
the latents have that covariance. F = 0 is the exact score of the Gaussian, jointly and given any subset. F is
shown g and not x, so that each modality sees what all others say of it. With the covariance I this is the
usual preconditioning: with v = alpha^2 + sigma^2, g = alpha x / v has the deviation alpha / sqrt v, b is
1 / sqrt v, and F predicts (sigma z - alpha eps) / sqrt v from x / sqrt v. The score is
s = (alpha den - x) / sigma^2, and its error in terms of that of F is, for each coordinate,

    sigma^2 |s + eps / sigma|^2 = alpha^2 b^2 |F - (z - g) / (sigma b)|^2.                         (2)

A weighting of the loss is a distribution of noise levels and a factor on the error of F:

    noise        t uniform, factor alpha^2 b^2: sigma^2-weighted score matching
    likelihood   ln snr uniform, factor alpha^2 b^2: g^2-weighted, at lower variance
    unit         ln(sigma / alpha) normal with `level_mean`, `level_std`, factor 1

One time per modality. The network gets ln snr for each modality, so the same network also serves when
some modalities are observed and clean. With probability `conditioning_prob` a training row has a random
proper subset of its modalities at time 0, and its loss is on the others only.

Rows that lack modalities. A row with only the modalities P is a draw of the marginal p(z_P). The network
gets pure noise for the others, at the last time, which marginalises them out; a Gaussian with factors is told
that they say nothing, and F is shown its guess. The loss is on P alone:

    L = E over rows, t, eps, O inside P of  |F(x_P, noise elsewhere)_m - target_m|^2,  m in P \ O.   (3)

Its minimiser, for each pattern P, is the score of p(z_P | P is what was measured). If modalities are missing
completely at random (Rubin 1976) this is the score of the marginal itself, whatever the proportions of the
patterns. No value is imputed, so no imputed value is learned. If missingness depends on the values, it is the
score of the rows with this pattern. The data do not tell how modalities go together that are never measured
together: there the network interpolates. With `absent_prob`, modalities that a row has are hidden at random
in the same way, so that complete rows also teach the marginals, which `information` compares.

Sources: Vincent 2011; Song et al. 2021 (arXiv:2011.13456, 2101.09258) for the weightings; Karras et al.
2022 (arXiv:2206.00364) for (1) with the covariance I, there as c_skip, c_out, c_in with sigma_data = 1, and
for `unit`;
Bounoua et al. 2024 (arXiv:2306.04445) for a time per modality.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from sbmae_jax._check import require_int, require_number, require_one_of
from sbmae_jax.models.completion import complete_rows, mix_losses
from sbmae_jax.models.denoiser import ask, network_target
from sbmae_jax.models.factor_gaussian import FactorGaussian, standard_gaussian
from sbmae_jax.models.latents import Layout
from sbmae_jax.models.noise_levels import MAX_LEVEL, T_MIN, LatentNetwork, lognormal_times
from sbmae_jax.models.task import Batch, Task
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, Key, ScoreFn

WEIGHTINGS = ("noise", "likelihood", "unit")
"""Weightings of the loss over noise levels; the head of this file defines them."""

BASES = ("none", "gaussian")
"""Covariances that the score starts from: I, or that of the latents."""

GROUP_SIZE = 8
"""Complete rows of a batch that share a time and what is observed, so that they share a posterior too."""

MAX_POWER = 8.0
"""The largest `subset_size_power`, beyond which nearly all subsets hold one modality."""


@dataclass(frozen=True)
class ScoreMatchingConfig:
    """What the score network is trained on: noise levels, and the modalities it sees clean.

    Attributes:
        weighting: "noise", "likelihood" or "unit"; the head of this file defines them.
        level_mean: Mean of ln(sigma / alpha), for weighting "unit".
        level_std: Standard deviation of ln(sigma / alpha), for weighting "unit".
        conditioning_prob: Probability that a row has observed modalities, in 0..1; 0 trains a joint
            score only.
        subset_size_power: In 0..8. k modalities are observed with a probability in proportion to
            k^-subset_size_power: 0 makes all numbers equally likely, 1 makes one modality k times as
            likely as k. One modality says the least of the others, which makes this case the hardest
            to learn, and of many modalities it is the one that training sees least.
        absent_prob: Probability that a row shows the network only some of its modalities, in 0..1: a random
            proper subset, each size equally likely. The score then knows the marginals, which
            `Model.mutual_information` compares. 0 shows all that a row has.
        completed_share: Share of the rows of a batch, at least 0 and below 1, whose missing modalities the
            averaged network draws, so that these rows train the joint score too, see `completion`. Needs
            `conditioning_prob` above 0. Complete data are not affected. 0 trains on available cases only.
        completion_start: Share of the steps of the training before the first that completes rows, in 0..1.
        completion_steps: Evaluations of the network by which missing modalities are drawn, in 1..1000.
        base: "none" or "gaussian". With "gaussian" the score starts from that of a Gaussian with the
            covariance of the training latents, so that all linear relations are known before the first
            step, and the network learns the rest.

    Raises:
        ValueError: For an unknown weighting, and for a value that is out of range or of the wrong type.

    Example:
        >>> ScoreMatchingConfig(conditioning_prob=0.5).weighting
        'unit'
    """

    weighting: str = "unit"
    level_mean: float = -0.4
    level_std: float = 1.4
    conditioning_prob: float = 0.0
    subset_size_power: float = 0.0
    absent_prob: float = 0.0
    base: str = "none"
    completed_share: float = 0.0
    completion_start: float = 0.3
    completion_steps: int = 6

    def __post_init__(self):
        require_one_of("weighting", self.weighting, WEIGHTINGS)
        require_number("level_mean", self.level_mean, -MAX_LEVEL, MAX_LEVEL)
        require_number("level_std", self.level_std, 0, MAX_LEVEL)
        require_number("conditioning_prob", self.conditioning_prob, 0, 1)
        require_number("subset_size_power", self.subset_size_power, 0, MAX_POWER)
        require_number("absent_prob", self.absent_prob, 0, 1)
        require_one_of("base", self.base, BASES)
        require_number("completed_share", self.completed_share, 0, below=1)
        require_number("completion_start", self.completion_start, 0, 1)
        require_int("completion_steps", self.completion_steps, 1, 1000)
        if self.completed_share and not self.conditioning_prob:
            raise ValueError(
                "completed_share draws what rows lack given what they have, and needs a score trained with "
                "observed modalities: set conditioning_prob above 0"
            )

    def draw_times(self, key: Key, sde: SDE, num: int) -> Array:
        """Draw training times `[num]` in `T_MIN`..1, as the weighting asks for."""
        if self.weighting == "unit":
            return lognormal_times(key, sde, num, self.level_mean, self.level_std)
        return sde.sample_time(key, (num,), self.weighting, T_MIN)


def score_task(
    network: Any,
    sde: SDE,
    layout: Layout,
    config: ScoreMatchingConfig,
    covariance: FactorGaussian | None = None,
) -> Task:
    """Bind a score network to the denoising loss.

    Args:
        network: A Flax module, `(x [B, D], ln snr [B, M]) -> [B, D]`: F of equation (1).
        sde: The process that noises the latents.
        layout: The order and the sizes of the modalities in x.
        config: What the network is trained on.
        covariance: The Gaussian of equation (1), for base "gaussian", as `Moments` has it; None stands for
            the covariance I.

    Returns:
        A task on batches `{"z": [B, D]}` of standardised latents. Where rows lack modalities, the batch
        also has `present`, `[B, M]` bool, true at least once in each row; see (3). Latents of absent
        modalities are not used. With base "gaussian" and no `present`, groups of 8 rows share a time and what
        is observed, which makes a step several times cheaper. There are no metrics.

    Example:
        The shapes of the loss of a small network, without computing it:

        >>> from sbmae_jax import VP
        >>> from sbmae_jax.nets.mlp import MLPScore
        >>> layout = Layout(("picture", "caption"), (2, 1))
        >>> network = MLPScore(sizes=layout.sizes, width=8, num_blocks=1)
        >>> task = score_task(network, VP(), layout, ScoreMatchingConfig(conditioning_prob=0.5))
        >>> key, batch = jax.random.key(0), {"z": jnp.zeros((4, 3))}
        >>> params = jax.eval_shape(task.init, key, batch)
        >>> jax.eval_shape(task.loss, params, key, batch)[0].shape
        (4,)
    """
    gaussian = covariance if config.base == "gaussian" else None

    def init(key, batch):
        z = batch["z"][:1]
        return network.init(key, z, jnp.zeros((1, len(layout.sizes))))

    def observe(key, present):
        return draw_observed(key, present, config.conditioning_prob, config.subset_size_power)

    def errors(params, x, z, eps, t, observed, absent, learned, size=1):
        """Return equation (2), its mean over what is learned in each row; groups of rows share all masks."""
        latent_network = LatentNetwork(network.apply, params, sde, layout)
        posterior = partial(
            (gaussian or standard_gaussian(layout.size)).posterior_of_groups, size=size
        )
        known, output = ask(latent_network, gaussian, x, t, observed, absent, posterior)
        target = network_target(known, z, eps, sde.sigma(t))
        factor = 1.0 if config.weighting == "unit" else (sde.alpha(t) * known.spread) ** 2
        learned = layout.expand(learned)
        error = jnp.where(learned, factor * (output - target) ** 2, 0)
        return jnp.sum(error, axis=-1) / jnp.sum(learned, axis=-1)

    def loss(params, key, batch):
        if gaussian is None and config.base == "gaussian":
            raise ValueError("base 'gaussian' needs the covariance of the latents: pass it")
        z, present = _rows(batch, layout)
        time_key, noise_key, observed_key = jax.random.split(key, 3)
        group = 1 if gaussian is None or "present" in batch else math.gcd(len(z), GROUP_SIZE)
        t = config.draw_times(time_key, sde, len(z) // group)[:, None]
        if config.absent_prob:
            observed_key, absent_key = jax.random.split(observed_key)
            gone = draw_observed(absent_key, present[::group], config.absent_prob)
            present &= ~jnp.repeat(gone, group, axis=0)
        observed = observe(observed_key, present[::group])
        t, observed = (jnp.repeat(array, group, axis=0) for array in (t, observed))
        eps = jax.random.normal(noise_key, z.shape)
        last_scale = jnp.hypot(sde.alpha(jnp.ones(())), sde.sigma(jnp.ones(())))
        x = jnp.where(layout.expand(observed), z, sde.alpha(t) * z + sde.sigma(t) * eps)
        x = jnp.where(layout.expand(~present), last_scale * eps, x)
        return errors(params, x, z, eps, t, observed, ~present, present & ~observed, group), {}

    def completed_loss(params, teacher, key, batch):
        """Return equation (1) of `completion`."""
        z, present = _rows(batch, layout)
        time_key, noise_key, observed_key, missing_key = jax.random.split(key, 4)
        averaged = LatentNetwork(network.apply, teacher, sde, layout)
        of_missing = score_fn(averaged, present, gaussian)
        z = complete_rows(
            missing_key, sde, of_missing, z, layout.expand(present), config.completion_steps
        )
        t = config.draw_times(time_key, sde, len(z))[:, None]
        eps = jax.random.normal(noise_key, z.shape)
        observed = observe(observed_key, jnp.ones_like(present))
        # Something that was measured is left to learn.
        observed &= ~present | jnp.any(present & ~observed, axis=1, keepdims=True)
        x = jnp.where(layout.expand(observed), z, sde.alpha(t) * z + sde.sigma(t) * eps)
        return errors(params, x, z, eps, t, observed, jnp.zeros_like(present), present & ~observed)

    if not config.completed_share:
        return Task(init, loss)
    share, start = config.completed_share, config.completion_start
    return Task(init, loss, training_loss=mix_losses(loss, completed_loss, share, start))


def _rows(batch: Batch, layout: Layout) -> tuple[Array, Array]:
    """Return the latents of a batch, finite, and which modalities each row has, `[B, M]`."""
    z = batch["z"]
    present = batch.get("present", jnp.ones((len(z), len(layout.sizes)), bool))
    # NaN may stand for what is absent: it must not reach the gradient, even with the factor 0.
    return jnp.where(layout.expand(present), z, 0), present


def score_fn(
    network: LatentNetwork,
    observed: Array | None = None,
    covariance: FactorGaussian | None = None,
    absent: Array | None = None,
) -> ScoreFn:
    """Return the learned score, `(x [B, D], t) -> [B, D]`.

    Args:
        network: The trained score network.
        observed: `[B, M]` bool, the modalities that are clean in x. The score is then that of the others
            given these, and 0 on these. None takes all modalities to be noised to time t.
        covariance: The Gaussian that the network was trained with; None stands for the covariance I.
        absent: `[B, M]` bool, modalities that the score is not told of, for a network that was trained with
            rows that lack some. The score is that of the marginal of the others, and 0 on these. None takes
            none to be absent.

    Returns:
        The score, which has no state: use it in any sampler.

    Example:
        A network that knows nothing beyond the Gaussian, whose covariance is I here:

        >>> from sbmae_jax import VP
        >>> layout = Layout(("picture", "caption"), (2, 1))
        >>> network = LatentNetwork(lambda params, x, log_snr: 0 * x, None, VP(), layout)
        >>> jax.jit(score_fn(network))(jnp.ones((1, 3)), 0.5).round(3).tolist()
        [[-1.0, -1.0, -1.0]]
    """
    gaussian = covariance or standard_gaussian(network.layout.size)
    has_masks = observed is not None or absent is not None
    has_patterns = has_masks and covariance is not None
    posterior = gaussian.posterior_of_batch if has_patterns else gaussian.posterior

    def score(x, t):
        all_alike = not has_masks and jnp.ndim(t) == 0
        num_rows = 1 if all_alike else x.shape[0]
        nothing = jnp.zeros((num_rows, len(network.layout.sizes)), bool)
        clean = nothing if observed is None else observed
        unknown = nothing if absent is None else absent
        if absent is not None:
            # Training shows noise, whose mean is 0; with noise the score would be random.
            x = jnp.where(network.layout.expand(absent), 0, x)
        t = jnp.broadcast_to(t, (num_rows,))[:, None]
        alpha, sigma = network.sde.alpha(t), network.sde.sigma(t)
        known, output = ask(network, covariance, x, t, clean, unknown, posterior)
        # Equation (3) of `factor_gaussian`, over sigma^2, is the score of the Gaussian.
        of_gaussian = known.gain * (alpha * known.common - x)
        found = of_gaussian + alpha / sigma * known.spread * output
        return jnp.where(network.layout.expand(clean | unknown), 0, found)

    return score


def draw_observed(
    key: Key, present: Array, conditioning_prob: float = 1.0, subset_size_power: float = 0.0
) -> Array:
    """Draw which modalities of each row are observed; never all that are present.

    Of a row with n present modalities, k in 1..n-1 are observed, with a probability in proportion to
    k^-subset_size_power; each subset of that size is equally likely. So with power 0 a single modality is
    as likely as all but one, however few such subsets there are.

    Args:
        key: A typed key.
        present: `[B, M]` bool, the modalities that each row has.
        conditioning_prob: Probability that a row has observed modalities at all.
        subset_size_power: How much more likely small subsets are; 0 makes all sizes equally likely.

    Returns:
        `[B, M]` bool.
    """
    if conditioning_prob == 0 or present.shape[1] == 1:
        return jnp.zeros_like(present)
    row_key, size_key, rank_key = jax.random.split(key, 3)
    rows = jax.random.bernoulli(row_key, conditioning_prob, (len(present), 1))
    num_present = jnp.sum(present, axis=1, keepdims=True)
    number = jnp.arange(1, present.shape[1])[None]
    logits = -subset_size_power * jnp.log(number)
    logits = jnp.where(number < jnp.maximum(num_present, 2), logits, -jnp.inf)
    size = 1 + jax.random.categorical(size_key, logits)[:, None]
    draws = jax.random.uniform(rank_key, present.shape)
    rank = jnp.argsort(jnp.argsort(jnp.where(present, draws, 2.0), axis=-1), axis=-1)
    return rows & (rank < size) & (num_present > 1)
