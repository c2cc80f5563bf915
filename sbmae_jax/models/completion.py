r"""Rows that lack modalities, completed by the network in training, so that they too train the joint score.

A row has the modalities A of all M, with the latents z_A. By itself it trains the score of p(z_A) alone: the
others are shown as pure noise. Now draw the others, at the noise level of the row, from what the network has
learned of p(x_others | z_A), and train on A in their company:

    L = E |F(x, t) - target_m|^2,    m in A but not in S,                                             (1)

where S inside A is observed clean, x_A is alpha z_A + sigma eps, and the rest of x is what a sampler with the
averaged network draws given z_A, from t = 1 down to t, in a few steps without noise. Each row starts from
noise of its own. Only measured values are targets.

If modalities are missing completely at random, and the network draws exactly, then x is noised from p(z), and
the minimiser of (1) is the exact joint score given S, for every modality that some row has. So the exact
score is a fixed point; this is stochastic EM, whose E-step is the draw and whose M-step are the optimiser's
steps. What the network has not yet learned of how modalities go together it would confirm to itself. So for
the first part of the training rows train as available cases only.

Why it helps. Available cases teach the marginals of the patterns that there are. Where no row has all, or
few have, the joint score is what the network makes of these: modalities agree, but classes get shares that no
row showed. Rows that are completed teach the joint score with the shares that they have.

Another choice for (1) is to train on the others too, towards what the network expects of them given z_A
(self-distillation). It needs another evaluation.

Source: stochastic EM as in Celeux and Diebolt 1985 (Computational Statistics Quarterly 2, 73-82); a teacher
that is the average of the network itself as in Tarvainen and Valpola 2017 (arXiv:1703.01780).
"""

import jax
import jax.numpy as jnp

from sbmae_jax.models.denoiser import ask, denoised
from sbmae_jax.models.factor_gaussian import FactorGaussian, standard_gaussian
from sbmae_jax.models.noise_levels import LatentNetwork
from sbmae_jax.types import Array, Key


def draw_missing(
    key: Key,
    teacher: LatentNetwork,
    covariance: FactorGaussian | None,
    z: Array,
    present: Array,
    t: Array,
    num_steps: int,
) -> Array:
    """Draw noised latents of the modalities that rows lack, given those that they have.

    Args:
        key: A typed key, for the noise from which they are drawn.
        teacher: The score network, with averaged parameters, trained with observed modalities.
        covariance: The Gaussian that it starts from; None stands for the covariance I.
        z: Latents `[B, D]`, finite; not used where absent.
        present: `[B, M]` bool, the modalities that each row has.
        t: Times `[B, 1]` to which the latents are noised.
        num_steps: Evaluations of the teacher from t = 1 to t, equally spaced in log-SNR: steps of DDIM.

    Returns:
        `[B, D]`: drawn where absent, and z where present. No gradient goes through it.
    """
    sde, here = teacher.sde, teacher.layout.expand(present)
    posterior = (covariance or standard_gaussian(teacher.layout.size)).posterior
    first, none = jnp.ones_like(t), jnp.zeros_like(present)
    start, end = sde.log_snr(first), sde.log_snr(t)

    def step(carry, share):
        x, now = carry
        alpha, sigma = sde.alpha(now), sde.sigma(now)
        known, output = ask(teacher, covariance, x, now, present, none, posterior)
        mean = denoised(known, output, x, alpha, sigma)
        later = jnp.clip(sde.time(start + share * (end - start)), t, 1)
        x = sde.alpha(later) * mean + sde.sigma(later) * (x - alpha * mean) / sigma
        return (jnp.where(here, z, x), later), None

    scale = jnp.hypot(sde.alpha(first), sde.sigma(first))
    x = jnp.where(here, z, scale * jax.random.normal(key, z.shape))
    shares = jnp.arange(1, num_steps + 1) / num_steps
    (x, _), _ = jax.lax.scan(step, (x, first), shares)
    return jax.lax.stop_gradient(x)
