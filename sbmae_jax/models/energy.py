r"""Energies of the joint latents by noise-contrastive estimation: how well a target fits the rest.

An energy E(z_u, z_O, t) is low where the target z_u, noised to time t, is coherent with the observed z_O. A
classifier that tells coherent rows from others learns it without labels. There are two kinds of others, or
negatives:

`two`   Each coherent row has two negatives, each of weight 1/2: one whose targets come from another row
        of the batch, and one of pure noise. Both have a time of their own:

            L = softplus(E(own)) + 1/2 [softplus(-E(shuffled)) + softplus(-E(noise))].

        Write p for the density of coherent rows and q = 1/2 p_t(z_u) p(z_O) + 1/2 N(z_u) N(z_O) for that
        of the negatives. At one point the loss is p softplus(E) + q softplus(-E). Its derivative is
        p s(E) - q s(-E), with s the logistic function, and s(E) / s(-E) = exp(E), so it is 0 at

            E = -ln [ p_t(z_u, z_O) / (1/2 p_t(z_u) p(z_O) + 1/2 N(z_u) N(z_O)) ].                      (1)

        This holds for each target alone with each condition of the network: single modalities for
        `PairEnergy`, all that is observed for `TowerEnergy`. The noise has the variance
        alpha^2 + sigma^2 of the latents it replaces.

`batch` For each row's z_O and each of its targets, a softmax of -E over all rows must find the row's own
        target. Targets are drawn with their times, (z_u, t) from p(t) p_t(z_u), the own one from
        p(t) p_t(z_u | z_O). The best answer is the posterior that a candidate is the own one, which is
        proportional to p_t(z_u | z_O) / p_t(z_u). So

            -E = ln [ p_t(z_u | z_O) / p_t(z_u) ] + c(z_O),                                             (2)

        whose gradient in z_u has no unknown part. A softmax over conditions would make c depend on z_u.
        For the same reason t must carry no information on z_O: candidates have their own times, and where
        the observed side is noised its time is independent of all targets' times.

What a strength means (`guidance.guide`). By (2), -grad E = grad ln p_t(z_u | z_O) - grad ln p_t(z_u).

    on the marginal score of z_u    strength 1 is Bayes' rule and gives the conditional score
    on an amortised score           this is conditional already, and 0 is unbiased; strength lambda sharpens
                                    like a classifier-free weight of 1 + lambda:
                                    p_t(z_u | z_O)^(1 + lambda) / p_t(z_u)^lambda
    on a joint score fed with       in between: such a score holds a part of the conditioning, less of it
    observed latents                the more noise there is, and the energy counts that part twice

All this is approximate. Tilted densities at different t do not belong to one diffusion. Each target has an
energy of its own, as if the others were not generated with it, and `PairEnergy` averages over what is
observed instead of combining it. (1) differs from (2) where noise is likelier than a shuffled row: there it
also pulls towards the data. Watch the diversity of samples as the strength grows.

Sources: Wesego and Rooshenas 2023 (arXiv:2305.15708) and their code for the energies and `two`; Gutmann and
Hyvärinen 2010 for (1); van den Oord et al. 2018 (arXiv:1807.03748), section 2.3, for (2).
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from sbmae_jax._check import require_number, require_one_of, require_type
from sbmae_jax.models.latents import Layout
from sbmae_jax.models.noise_levels import MAX_LEVEL, T_MIN, LatentNetwork, lognormal_times
from sbmae_jax.models.score import draw_observed
from sbmae_jax.models.task import Task
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, EnergyFn, Key

NEGATIVES = ("two", "batch")
"""Kinds of negative examples; the head of this file defines them."""

TIMES = ("level", "uniform")
"""How training times are drawn: log-normal noise levels, or uniform times."""


@dataclass(frozen=True)
class NCEConfig:
    """What an energy is trained on: its negative examples and its noise levels.

    Attributes:
        negatives: "two", the reference's choice, for `PairEnergy` and `TowerEnergy`; "batch", for
            `TowerEnergy` only.
        observed_clean: True if observed latents are clean, as conditioning "amortised" and "clamp" feed
            them. False if they are noised too, as "renoise" does; with "two" they are noised to the time
            of the target, as in the reference.
        times: "level" draws ln(sigma / alpha) from a normal distribution, "uniform" draws t.
        level_mean: Mean of ln(sigma / alpha), for times "level".
        level_std: Standard deviation of ln(sigma / alpha), for times "level".

    Raises:
        ValueError: For an unknown name, and for a value that is out of range or of the wrong type.

    Example:
        >>> NCEConfig(negatives="two").times
        'level'
    """

    negatives: str = "batch"
    observed_clean: bool = True
    times: str = "level"
    level_mean: float = -0.4
    level_std: float = 1.4

    def __post_init__(self):
        require_one_of("negatives", self.negatives, NEGATIVES)
        require_one_of("times", self.times, TIMES)
        require_type("observed_clean", self.observed_clean, bool)
        require_number("level_mean", self.level_mean, -MAX_LEVEL, MAX_LEVEL)
        require_number("level_std", self.level_std, 0, MAX_LEVEL)

    def draw_times(self, key: Key, sde: SDE, num: int) -> Array:
        """Draw training times `[num]` in `T_MIN`..1."""
        if self.times == "level":
            return lognormal_times(key, sde, num, self.level_mean, self.level_std)
        return sde.sample_time(key, (num,), t_min=T_MIN)


def energy_task(network: Any, sde: SDE, layout: Layout, nce: NCEConfig) -> Task:
    """Bind an energy network to a noise-contrastive loss.

    Args:
        network: A Flax module of `nets.energy`, `(x [B, D], ln snr [B, M], observed [B, M]) -> (terms
            [B, T], weights [B, T])`; for negatives "batch" also with the methods `embed_given` and
            `embed_target`.
        sde: The process that noises the latents.
        layout: The order and the sizes of the modalities in x.
        nce: What the network is trained on.

    Returns:
        A task on batches `{"z": [B, D]}` of standardised latents. Its metric `nce_accuracy` is the share
        of targets whose own row has a lower energy than the shuffled one ("two"), or than all others
        ("batch"). Its loss raises ValueError for a batch of one row.

    Raises:
        ValueError: For a single modality, and for negatives "batch" with a network without embeddings.

    Example:
        The shapes of the loss of a small network, without computing it:

        >>> from sbmae_jax import VP
        >>> from sbmae_jax.nets.energy import TowerEnergy
        >>> layout = Layout(("picture", "caption"), (2, 1))
        >>> task = energy_task(TowerEnergy(sizes=layout.sizes, width=8), VP(), layout, NCEConfig())
        >>> key, batch = jax.random.key(0), {"z": jnp.zeros((4, 3))}
        >>> params = jax.eval_shape(task.init, key, batch)
        >>> jax.eval_shape(task.loss, params, key, batch)[0].shape
        (4,)
    """
    if len(layout.sizes) < 2:
        raise ValueError(f"an energy needs at least two modalities, got {layout.names}")
    if nce.negatives == "batch" and not hasattr(network, "embed_target"):
        raise ValueError(
            "negatives 'batch' needs an energy that embeds both sides, TowerEnergy (name 'tower'), got "
            f"{type(network).__name__}: choose TowerEnergy, or negatives 'two'"
        )
    contrast = {"two": _against_two, "batch": _against_batch}[nce.negatives]

    def init(key, batch):
        z = batch["z"][:1]
        shape = (1, len(layout.sizes))
        return network.init(key, z, jnp.zeros(shape), jnp.zeros(shape, bool))

    def loss(params, key, batch):
        z = batch["z"]
        if len(z) < 2:
            raise ValueError("an energy needs batches of at least 2 rows, got a batch of 1")
        observed_key, loss_key = jax.random.split(key)
        observed = draw_observed(observed_key, jnp.ones((len(z), len(layout.sizes)), bool))
        latent_network = LatentNetwork(network.apply, params, sde, layout)
        return contrast(loss_key, latent_network, nce, z, observed)

    return Task(init, loss)


def energy_fn(network: LatentNetwork, observed: Array, *, observed_clean: bool = True) -> EnergyFn:
    """Return the learned energy of the unobserved given the observed, `(x [B, D], t) -> [B]`, in nats.

    A row with nothing or everything observed has energy 0 and gradient 0. The gradient in observed
    coordinates is not 0: pass their mask to `guidance.guide`.

    Args:
        network: The trained energy network.
        observed: `[B, M]` bool; rows may differ. It is an array, so that one compiled function serves
            every subset.
        observed_clean: Whether x holds observed latents without noise. It must be as in training
            (`NCEConfig`).

    Returns:
        The energy, which `guide` takes.

    Example:
        With an energy of two terms that is the squared norm of x:

        >>> from sbmae_jax import VP
        >>> def terms(params, x, log_snr, observed):
        ...     return x**2, jnp.ones_like(x)
        >>> network = LatentNetwork(terms, None, VP(), Layout(("picture", "caption"), (1, 1)))
        >>> observed = jnp.array([[True, False]])
        >>> jax.jit(energy_fn(network, observed))(jnp.zeros((1, 2)), 0.5).tolist()
        [0.0]
    """

    def energy(x, t):
        t = jnp.broadcast_to(t, observed.shape)
        terms, weights = network(x, t, observed & observed_clean, observed)
        return jnp.sum(weights * terms, axis=-1)

    return energy


def _against_two(key, network, nce, z, observed):
    own_key, shuffled_key, noise_key = jax.random.split(key, 3)
    clean = observed & nce.observed_clean
    shuffled = jnp.where(network.layout.expand(observed), z, jnp.roll(z, 1, axis=0))
    own = _noised(own_key, network, nce, z, clean)
    other, log_snr = _noised(shuffled_key, network, nce, shuffled, clean)
    noise = jax.random.normal(noise_key, other.shape)
    own_terms, weights = network.apply(network.params, *own, observed)
    other_terms, _ = network.apply(network.params, other, log_snr, observed)
    noise_terms, _ = network.apply(network.params, noise, log_snr, observed)
    others = jax.nn.softplus(-other_terms) + jax.nn.softplus(-noise_terms)
    loss = jax.nn.softplus(own_terms) + 0.5 * others
    return _mean(loss, weights), {"nce_accuracy": _mean(own_terms < other_terms, weights)}


def _against_batch(key, network, nce, z, observed):
    given_key, target_key = jax.random.split(key)
    given = _noised(given_key, network, nce, z, observed & nce.observed_clean)
    target = _noised(target_key, network, nce, z, jnp.zeros_like(observed))
    given = network.apply(network.params, *given, observed, method="embed_given")
    target = network.apply(network.params, *target, method="embed_target")
    logits = jnp.einsum("bk,cmk->mbc", given, target)  # condition b, candidate c, of modality m
    loss = -jnp.diagonal(jax.nn.log_softmax(logits, axis=-1), axis1=1, axis2=2).T
    found = (jnp.argmax(logits, axis=-1) == jnp.arange(len(z))[None]).T
    hidden = (~observed).astype(loss.dtype)
    return _mean(loss, hidden), {"nce_accuracy": _mean(found, hidden)}


def _noised(key, network: LatentNetwork, nce: NCEConfig, z, clean) -> tuple[Array, Array]:
    """Noise each row of z [B, D] to a time of its own, except where clean; return network inputs."""
    time_key, noise_key = jax.random.split(key)
    sde, expand = network.sde, network.layout.expand
    t = jnp.broadcast_to(nce.draw_times(time_key, sde, len(z))[:, None], clean.shape)
    eps = jax.random.normal(noise_key, z.shape)
    x = expand(sde.alpha(t)) * z + expand(sde.sigma(t)) * eps
    return network.inputs(jnp.where(expand(clean), z, x), t, clean)


def _mean(values: Array, weights: Array) -> Array:
    return jnp.sum(weights * values, axis=-1) / jnp.sum(weights, axis=-1)
