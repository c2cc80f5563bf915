r"""Energies of the joint latents by noise-contrastive estimation: how coherent a target is with the rest.

An energy E(z_u, z_O, t) is low where the target z_u, noised to time t, goes with the observed z_O. A
classifier that tells coherent rows from others learns it without any label. Two kinds of others:

`two`   Each coherent row is set against two others, each worth half: one whose targets come from another
        row of the batch, and one of pure noise, both with a time of their own:

            L = softplus(E(own)) + 1/2 [softplus(-E(shuffled)) + softplus(-E(noise))].

        Write p for the density of the first and q = 1/2 p_t(z_u) p(z_O) + 1/2 N(z_u) N(z_O) for that of the
        others. At one point the loss is p softplus(E) + q softplus(-E); its derivative is
        p s(E) - q s(-E), with s the logistic function, and s(E) / s(-E) = exp(E), so it is 0 at

            E = -ln [ p_t(z_u, z_O) / (1/2 p_t(z_u) p(z_O) + 1/2 N(z_u) N(z_O)) ].                      (1)

        Each target alone with each condition of the network: single modalities for `PairEnergy`, all that
        is observed for `TowerEnergy`. The noise has the variance alpha^2 + sigma^2 of what it stands for.

`batch` For each row's z_O and each of its targets, the own target is to be found among those of all rows,
        by a softmax of -E. Targets are drawn with their times, (z_u, t) from p(t) p_t(z_u), the own one from
        p(t) p_t(z_u | z_O), and the best answer is the posterior that a candidate is the own one, which is
        proportional to p_t(z_u | z_O) / p_t(z_u). So

            -E = ln [ p_t(z_u | z_O) / p_t(z_u) ] + c(z_O),                                             (2)

        whose gradient in z_u has no unknown part. Were the softmax over conditions, c would depend on z_u.
        For the same reason t must say nothing of z_O: candidates have their own times, and an observed
        side that is noised has one independent of all targets'.

What a strength means (`guidance.guide`). By (2), -grad E = grad ln p_t(z_u | z_O) - grad ln p_t(z_u).

    on the marginal score of z_u    strength 1 is Bayes' rule, and gives the conditional score
    on an amortised score, which    strength lambda sharpens, like a classifier-free weight of 1 + lambda:
    is conditional already          p_t(z_u | z_O)^(1 + lambda) / p_t(z_u)^lambda; 0 is unbiased
    on a joint score fed with       in between: such a score holds a part of the conditioning, less the more
    observed latents                noise there is, and the energy counts that part twice

All this is approximate: tilted densities at different t do not belong to one diffusion, each target has an
energy of its own, as if the others were not generated with it, and `PairEnergy` averages over what is
observed instead of combining it. (1) differs from (2) where noise is likelier than a shuffled row: there it
also pulls towards the data. Watch the diversity of samples as the strength grows.

Sources: Wesego and Rooshenas 2023 (arXiv:2305.15708) and their code for the energies and `two`; Gutmann and
Hyvärinen 2010 for (1); van den Oord et al. 2018 (arXiv:1807.03748), section 2.3, for (2).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from sbmae_jax._check import require_number, require_one_of, require_type
from sbmae_jax.models.latents import Layout
from sbmae_jax.models.score import (
    MAX_LEVEL,
    MAX_LOG_SNR,
    ScoreMatchingConfig,
    draw_observed,
    draw_times,
)
from sbmae_jax.models.task import Params, Task
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, EnergyFn, Key

NEGATIVES = ("two", "batch")
TIMES = ("level", "uniform")


@dataclass(frozen=True)
class NCEConfig:
    """What an energy is trained on; see the head of this file.

    negatives: "two", the reference's, for both networks; "batch" for `TowerEnergy` only.
    observed_clean: whether observed latents are clean, as conditioning "amortised" and "clamp" feed them, or
        noised too, as "renoise" does: for "two" to the time of the target, as in the reference.
    times: "level" draws ln(sigma / alpha) from a normal with `level_mean`, `level_std`; "uniform" draws t.

    Raises ValueError for a name that there is not, and for a value out of its range or of another type.
    """

    negatives: str = "batch"
    observed_clean: bool = True
    times: str = "level"
    level_mean: float = -0.4
    level_std: float = 1.4

    def __post_init__(self):
        require_one_of("nce.negatives", self.negatives, NEGATIVES)
        require_one_of("nce.times", self.times, TIMES)
        require_type("nce.observed_clean", self.observed_clean, bool)
        require_number("nce.level_mean", self.level_mean, -MAX_LEVEL, MAX_LEVEL)
        require_number("nce.level_std", self.level_std, 0, MAX_LEVEL)

    def draw_times(self, key: Key, sde: SDE, num: int) -> Array:
        """Draw training times: [num] in score.T_MIN..1."""
        weighting = "unit" if self.times == "level" else "noise"
        return draw_times(
            key, sde, ScoreMatchingConfig(weighting, self.level_mean, self.level_std), num
        )


def energy_task(network: Any, sde: SDE, layout: Layout, nce: NCEConfig) -> Task:
    """Bind an energy network to a contrastive loss.

    network: a Flax module of `nets.energy`, (x [B, D], ln snr [B, M], observed [B, M]) -> (terms [B, T],
        weights [B, T]); for negatives "batch" also with methods `embed_given` and `embed_target`.
    The batch is {"z": [B, D]}, standardised latents. Metric `nce_accuracy`: share of targets whose
    own row has a
    lower energy than the shuffled one ("two") or than all others ("batch").

    Raises ValueError for a single modality, for negatives "batch" with a network that has no embeddings,
    and, from the loss, for a batch of one row.
    """
    if len(layout.sizes) < 2:
        raise ValueError(f"an energy needs at least two modalities, got {layout.names}")
    if nce.negatives == "batch" and not hasattr(network, "embed_target"):
        raise ValueError(
            "nce.negatives 'batch' needs an energy that embeds both sides, TowerEnergy (name 'tower'), "
            f"got {type(network).__name__}: choose that one, or negatives 'two'"
        )
    compare = {"two": _against_two, "batch": _against_batch}[nce.negatives]

    def init(key, batch):
        z = batch["z"][:1]
        shape = (1, len(layout.sizes))
        return network.init(key, z, jnp.zeros(shape), jnp.zeros(shape, bool))

    def loss(params, key, batch):
        z = batch["z"]
        if len(z) < 2:
            raise ValueError(
                "an energy is trained on at least two rows at a time, got a batch of 1"
            )
        observed_key, loss_key = jax.random.split(key)
        subsets = ScoreMatchingConfig(conditioning_prob=1.0)
        observed = draw_observed(observed_key, subsets, jnp.ones((len(z), len(layout.sizes)), bool))
        return compare(network, sde, layout, nce, params, loss_key, z, observed)

    return Task(init, loss)


def energy_fn(
    network_apply: Callable[..., tuple[Array, Array]], params: Params, sde: SDE, layout: Layout,
    observed: Array, *, observed_clean: bool = True,
) -> EnergyFn:  # fmt: skip
    """Return the learned energy (x [B, D], t) -> [B], in nats, of the unobserved given the observed.

    observed: [B, M] bool, an array, so that one compiled function serves every subset; rows may differ. A
        row with nothing or everything observed has energy 0 and gradient 0. The gradient in observed
        coordinates is not 0: pass their mask to `guidance.guide`.
    observed_clean: as in training (`NCEConfig`), which must be how x holds observed latents.
    """

    def energy(x, t):
        t = jnp.broadcast_to(t, observed.shape)
        inputs = _inputs(sde, layout, x, t, observed & observed_clean)
        terms, weights = network_apply(params, *inputs, observed)
        return jnp.sum(weights * terms, axis=-1)

    return energy


def _against_two(network, sde, layout, nce, params, key, z, observed):
    keys = jax.random.split(key, 5)
    shuffled = jnp.where(layout.expand(observed), z, jnp.roll(z, 1, axis=0))
    clean = observed & nce.observed_clean
    t, shuffled_t = (
        jnp.broadcast_to(nce.draw_times(k, sde, len(z))[:, None], observed.shape) for k in keys[:2]
    )
    own = _noised(keys[2], sde, layout, z, t, clean)
    other, log_snr = _noised(keys[3], sde, layout, shuffled, shuffled_t, clean)
    noise = jax.random.normal(keys[4], other.shape)
    own_terms, weights = network.apply(params, *own, observed)
    other_terms, _ = network.apply(params, other, log_snr, observed)
    noise_terms, _ = network.apply(params, noise, log_snr, observed)
    others = jax.nn.softplus(-other_terms) + jax.nn.softplus(-noise_terms)
    loss = jax.nn.softplus(own_terms) + 0.5 * others
    nce_accuracy = (own_terms < other_terms).astype(loss.dtype)
    return _mean(loss, weights), {"nce_accuracy": _mean(nce_accuracy, weights)}


def _against_batch(network, sde, layout, nce, params, key, z, observed):
    keys = jax.random.split(key, 4)
    clean = observed & nce.observed_clean
    given_t, t = (
        jnp.broadcast_to(nce.draw_times(k, sde, len(z))[:, None], observed.shape) for k in keys[:2]
    )
    given = _noised(keys[2], sde, layout, z, given_t, clean)
    target = _noised(keys[3], sde, layout, z, t, jnp.zeros_like(observed))
    given = network.apply(params, *given, observed, method="embed_given")
    target = network.apply(params, *target, method="embed_target")
    logits = jnp.einsum("bk,cmk->mbc", given, target)  # condition b, candidate c, of modality m
    loss = -jnp.diagonal(jax.nn.log_softmax(logits, axis=-1), axis1=1, axis2=2).T
    nce_accuracy = (jnp.argmax(logits, axis=-1) == jnp.arange(len(z))[None]).T.astype(loss.dtype)
    hidden = (~observed).astype(loss.dtype)
    return _mean(loss, hidden), {"nce_accuracy": _mean(nce_accuracy, hidden)}


def _noised(key, sde: SDE, layout: Layout, z, t, clean) -> tuple[Array, Array]:
    """Noise z [B, D] to times t [B, M] except where clean [B, M]; return the inputs of a network."""
    eps = jax.random.normal(key, z.shape)
    x = layout.expand(sde.alpha(t)) * z + layout.expand(sde.sigma(t)) * eps
    return _inputs(sde, layout, jnp.where(layout.expand(clean), z, x), t, clean)


def _inputs(sde: SDE, layout: Layout, x, t, clean) -> tuple[Array, Array]:
    """Scale x [B, D] at times t [B, M] to unit variance, and return it with ln snr [B, M]."""
    scale = jnp.where(clean, 1.0, jnp.sqrt(sde.alpha(t) ** 2 + sde.sigma(t) ** 2))
    log_snr = jnp.where(clean, MAX_LOG_SNR, jnp.minimum(sde.log_snr(t), MAX_LOG_SNR))
    return x / layout.expand(scale), log_snr


def _mean(values: Array, weights: Array) -> Array:
    return jnp.sum(weights * values, axis=-1) / jnp.sum(weights, axis=-1)
