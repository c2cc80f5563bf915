r"""Conditioning on observed coordinates: kernels that restore them, wrappers that use those.

Let O be the observed coordinates, U the rest. Wanted are draws of p(x_U | x_O) from a score of the
joint. At t = 0 the joint score restricted to U *is* the conditional score. At t > 0 it is not: the
right one is the gradient of ln p_t(x_U(t) | x_O(0)) in x_U; the joint score offers that of
ln p_t(x_U(t), x_O(t)) at an x_O(t) of our choice.

    clamp       x_O(t) = x_O: too much faith, at a place where no network was trained; biased
    renoise     x_O(t) = alpha x_O + sigma eps: in distribution, but U reacts only to what the
                noise leaves visible, and cannot correct itself later; biased to the prior
    + langevin  correctors at every level, O redrawn at each: less bias the more there are
    resample    RePaint: jump back and step again, so that U can react to O; likewise
    amortised   a score trained with the mask as an input: no bias but its own error

`mask` is an array of bool that broadcasts to x, True where observed, so one compiled sampler serves
all subsets, and rows may observe different ones. With an empty mask sampling is unconditional; with
a full one every kernel returns what is observed.

A kernel becomes conditional by wrapping; a whole conditional predictor-corrector reads

    put = renoise(sde, value, mask)
    step = chain(
        given(ancestral(sde, score), put),
        repeat(given(langevin(sde, score, mask=mask), put), 4),  # O redrawn at each inner step
    )
    x = sample(key, step, x, times, last=chain(denoise(sde, score), clamp(value, mask)))

and it is the last line that returns the observed entries bit for bit.

Sources: Song et al. 2021 (arXiv:2011.13456), appendix I.2; Lugmayr et al. 2022 (arXiv:2201.09865),
algorithm 1, for resampling; Bounoua et al. 2024 (arXiv:2306.04445) for one time per modality.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from sbmae_jax._check import (
    MAX_COUNT,
    broadcast_like,
    checked_score,
    require_int,
    require_mask,
    require_numbers,
)
from sbmae_jax.sampling.samplers import iterate
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, ScoreFn, Step


def clamp(value: Array, mask: Array) -> Step:
    """Set the observed coordinates to their clean value; no noise, no evaluation.

    value: `[D]` or `[B, D]`, read only where mask is True.  mask: `[D]` or `[B, D]` of bool.
    Raises ValueError for a mask that is not boolean, a value that is not of numbers, or shapes that do not
    fit x. The numbers themselves are not looked at.
    """
    require_mask(mask)
    require_numbers("value", value)

    def kernel(key, x, t, t_next):
        del key, t, t_next
        return jnp.where(
            broadcast_like(mask, x, "mask"), broadcast_like(value, x, "value").astype(x.dtype), x
        )

    return kernel


def renoise(sde: SDE, value: Array, mask: Array, noise: Array | None = None) -> Step:
    """Set the observed coordinates to their value, noised to the level of t_next; no evaluation.

    noise: `[D]` or `[B, D]`, one draw for the whole run, which keeps an ODE kernel on one path. By
        default it is fresh at each call, as correctors need.
    At t_next = 0 it is `clamp`, if the process has no noise there. Shapes and errors as there.
    """
    require_mask(mask)
    require_numbers("value", value)
    if noise is not None:
        require_numbers("noise", noise)

    def kernel(key, x, t, t_next):
        del t
        eps = (
            jax.random.normal(key, x.shape, x.dtype)
            if noise is None
            else broadcast_like(noise, x, "noise")
        )
        noised = sde.perturb(broadcast_like(value, x, "value").astype(x.dtype), eps, t_next)
        return jnp.where(broadcast_like(mask, x, "mask"), noised, x)

    return kernel


def given(step: Step, observe: Step) -> Step:
    """Make a kernel conditional: restore the observed coordinates before it and after it.

    observe: `clamp` or `renoise`, called at t and then at t_next. Wrap each kernel of a chain
        rather than the chain, whose correctors would see what its predictor has moved.
    """

    def kernel(key, x, t, t_next):
        before, move, after = (jax.random.fold_in(key, j) for j in range(3))
        x = observe(before, x, t, t)
        x = step(move, x, t, t_next)
        return observe(after, x, t_next, t_next)

    return kernel


def forward_transition(sde: SDE) -> Step:
    """Move x forwards in time, to a t_next above t, by the exact transition; no evaluation."""

    def kernel(key, x, t, t_next):
        ratio = sde.alpha(t_next) / sde.alpha(t)
        added = jnp.maximum(sde.sigma(t_next) ** 2 - (ratio * sde.sigma(t)) ** 2, 0.0)
        return ratio * x + jnp.sqrt(added) * jax.random.normal(key, x.shape, x.dtype)

    return kernel


def repaint(step: Step, sde: SDE, num: int) -> Step:
    """Take a step `num` times, jumping back in between: RePaint; `num` times the evaluations.

    The wrapped step is the conditional one: `repaint(given(ancestral(sde, score), put), sde, 10)`.
    Visit j has the key `fold_in(key, 2 j)`, the jump after it `fold_in(key, 2 j + 1)`.

    Raises ValueError for a num that is not a whole number from 1.
    """
    require_int("num", num, 1, MAX_COUNT)
    back = forward_transition(sde)

    def kernel(key, x, t, t_next):
        def visit(j, x):
            x = jnp.where(j > 0, back(jax.random.fold_in(key, 2 * j - 1), x, t_next, t), x)
            return step(jax.random.fold_in(key, 2 * j), x, t, t_next)

        return iterate(visit, num, x)

    return kernel


def substeps(step: Step, num: int) -> Step:
    """Take a step in `num` parts of equal time; `num` times the evaluations.

    RePaint jumps back over several levels: `repaint(substeps(step, 10), sde, 10)`.

    Raises ValueError for a num that is not a whole number from 1.
    """
    require_int("num", num, 1, MAX_COUNT)

    def kernel(key, x, t, t_next):
        def part(j, x):
            begin, end = (t + (t_next - t) * k / num for k in (j, j + 1))
            return step(jax.random.fold_in(key, j), x, begin, end)

        return iterate(part, num, x)

    return kernel


def amortised(network: Callable[[Array, Array, Array], Array], mask: Array) -> ScoreFn:
    """Make a score of a network that takes the mask, `network(x, t, mask)`; zero where observed.

    The network gets the mask as `[B, D]` of bool. Observed coordinates are clean in training, so
    sample with `given(step, clamp(value, mask))`.

    Raises ValueError for a mask that is not boolean or does not fit x, and a network that does not return the
    shape of x.
    """
    require_mask(mask)

    def score(x, t):
        require_numbers("x", x)
        observed = broadcast_like(mask, x, "mask")
        return jnp.where(
            observed, 0.0, checked_score(lambda x, t: network(x, t, observed), "network")(x, t)
        )

    return score


def amortised_by_time(network: Callable[[Array, Array], Array], mask: Array) -> ScoreFn:
    """Make a score of a network that takes a time per coordinate: 0 where observed, else t.

    `network(x, times)` gets times of the shape of x. Otherwise as `amortised`.
    """

    def timed(x, t, observed):
        require_numbers("t", t)
        return network(x, jnp.where(observed, 0.0, broadcast_like(t, x, "t")))

    return amortised(timed, mask)
