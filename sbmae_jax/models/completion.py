r"""Rows that lack modalities, completed by the network in training, so that they too train the joint score.

A row has the modalities A of all M, with the latents z_A. By itself it trains the score of p(z_A) alone: the
others are shown as pure noise. Now draw the others from what the network has learned of p(z_others | z_A),
and train on A in their company:

    L = E |F(x, t) - target_m|^2,    m in A but not in S,                                             (1)

where z is the completed row, S is any set of modalities that x shows clean, drawn ones too, and the rest of x
is alpha z + sigma eps. Only measured values are targets.

If modalities are missing completely at random, and the network draws exactly, then completed rows are draws
of p(z). So the minimiser of (1) is the exact score of every modality that some row has, jointly and given
every S; the exact score is a fixed point. It is one too where what is missing depends on z_A alone, because
every row is there, with its own z_A. This is stochastic EM: the E-step is the draw, by the averaged network,
and the M-steps are the optimiser's. What the network has not yet learned of how modalities go together it
would confirm to itself. So for the first part of the training rows train as available cases only.

Why S may hold drawn modalities: where rows have pairs alone, no row shows the network two clean modalities
and a third one to learn, yet a row is completed given two. Without such S the network would complete rows by
what it was never trained on, and in a chain of neighbours its errors grow from draw to draw.

Another choice for (1) is to train on the others too, towards what the network expects of them given z_A
(self-distillation). It did no better, for another evaluation.

Source: stochastic EM as in Celeux and Diebolt 1985 (Computational Statistics Quarterly 2, 73-82); a teacher
that is the average of the network itself as in Tarvainen and Valpola 2017 (arXiv:1703.01780).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sbmae_jax.models.task import Average, Batch, Params
from sbmae_jax.sampling.generate import SamplingConfig, generate_latents
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, Key, ScoreFn


def complete_rows(
    key: Key, sde: SDE, score: ScoreFn, z: Array, here: Array, num_levels: int
) -> Array:
    """Draw the latents that rows lack, given those that they have.

    Args:
        key: A typed key.
        sde: The process.
        score: The score of what is missing, given what is there, by the averaged network.
        z: Latents `[B, D]`, finite; not used where absent.
        here: `[B, D]` bool, the latents that each row has.
        num_levels: Steps of the sampler, DPM-Solver++ of order 2 on the ODE, which needs few of them.

    Returns:
        `[B, D]`, with z where it is present. No gradient goes through it.
    """
    sampling = SamplingConfig("dpm_solver", num_levels=num_levels, eta=0.0)
    return jax.lax.stop_gradient(generate_latents(key, sde, score, sampling, z, here))


def mix_losses(
    available: Callable[[Params, Key, Batch], Any],
    completed: Callable[[Params, Params, Key, Batch], Array],
    share: float,
    start: float,
) -> Callable[[Params, Key, Batch, Average], Any]:
    """Return the loss that a training takes: of available cases at first, then of some completed rows too.

    Args:
        available: `(params, key, batch) -> (loss [B], metrics)`, of rows as they are.
        completed: `(params, averaged params, key, batch) -> loss [B]`, of rows that are completed.
        share: Share of the rows of a batch that are completed, below 1.
        start: Share of the training before rows are completed.

    Returns:
        A `Task.training_loss`, without metrics. Rows that lack nothing train as ever.
    """

    def loss(params, key, batch, average):
        num = int(share * len(batch["z"]))
        if not num or "present" not in batch:
            return available(params, key, batch)

        def mixed(key):
            keys = jax.random.split(key)
            first, rest = (
                jax.tree.map(lambda a, rows=rows: a[rows], batch)
                for rows in (slice(num), slice(num, None))
            )
            of_first = completed(params, average.params, keys[0], first)
            return jnp.concatenate([of_first, available(params, keys[1], rest)[0]])

        def early(key):
            return available(params, key, batch)[0]

        return jax.lax.cond(average.progress < start, early, mixed, key), {}

    return loss
