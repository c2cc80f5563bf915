r"""Conditioning on observed coordinates: kernels that restore them, and combinators that use these.

Let O be the observed coordinates and U the rest. We want draws of p(x_U | x_O) from a score of the
joint. At t = 0 the joint score restricted to U *is* the conditional score. At t > 0 it is not: the
right one is the gradient of ln p_t(x_U(t) | x_O(0)) in x_U, but the joint score gives that of
ln p_t(x_U(t), x_O(t)) at an x_O(t) of our choice:

    clamp       x_O(t) = x_O: too much trust, at points where no network was trained; biased
    renoise     x_O(t) = alpha x_O + sigma eps: in distribution, but U reacts only to what the
                noise leaves visible, and cannot correct itself later; biased towards the prior
    + langevin  correctors at every level, with O redrawn for each: the more, the less bias
    repaint     jump back and step again, so that U can react to O; again the more, the less bias
    amortised   a score trained with the mask as an input: no bias but the network's own error

`mask` is an array of bool that broadcasts to x, True where observed, so one compiled sampler serves
all subsets, and rows may observe different ones. With an empty mask sampling is unconditional; with
a full one every kernel returns what is observed.

Wrapping makes a kernel conditional. A whole conditional predictor-corrector reads

    put = renoise(sde, value, mask)
    step = chain(
        given(ancestral(sde, score), put),
        repeat(given(langevin(sde, score, mask=mask), put), 4),  # O redrawn for each of four
    )
    x = sample(key, step, x, times, last=chain(denoise(sde, score), clamp(value, mask)))

where the last line makes the observed entries come back bit for bit.

Sources: Song et al. 2021 (arXiv:2011.13456), appendix I.2; Lugmayr et al. 2022 (arXiv:2201.09865),
algorithm 1, for RePaint; Bounoua et al. 2024 (arXiv:2306.04445) for one time per modality.
"""

from collections.abc import Callable
from typing import overload

import jax
import jax.numpy as jnp

from sbmae_jax import _check as checks
from sbmae_jax._placement import normal_like
from sbmae_jax.sampling.leaves import SDETree, leaf_keys, leafwise, require_each, require_masks
from sbmae_jax.sampling.samplers import AnyStep, combined, iterate, with_memory
from sbmae_jax.types import Array, MemoryStep, ScoreFn, State, Step, StepFn

# ---------------------------------------------------------------- kernels that restore


def clamp(value: Array, mask: Array) -> StepFn:
    """Set the observed coordinates to their clean value.

    Args:
        value: `[D]` or `[B, D]`, read only where mask is True. NaN is not looked for.
        mask: `[D]` or `[B, D]` of bool, True where observed.

    Returns:
        A kernel that raises ValueError where value or mask do not fit x.

    Raises:
        ValueError: for a mask that is not of bool, or a value that is not of numbers.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from sbmae_jax import clamp
        >>> put = clamp(jnp.asarray([5.0, 0.0]), jnp.asarray([True, False]))
        >>> put(jax.random.key(0), jnp.ones((4, 2)), 0.4, 0.4)[0].tolist()
        [5.0, 1.0]
    """
    require_masks(mask)
    require_each(checks.require_numbers, "value", value)

    def kernel(key, x, t, t_next):
        del key, t, t_next

        def put(x, value, mask):
            clean = checks.broadcast_like(value, x, "value").astype(x.dtype)
            return jnp.where(checks.mask_like(mask, x), clean, x)

        return leafwise(put, x, value=value, mask=mask)

    return kernel


def renoise(sde: SDETree, value: Array, mask: Array, noise: Array | None = None) -> StepFn:
    """Set the observed coordinates to their value, noised to the level of t_next.

    Args:
        sde: the process.
        value: `[D]` or `[B, D]`, read only where mask is True. NaN is not looked for.
        mask: `[D]` or `[B, D]` of bool, True where observed.
        noise: `[D]` or `[B, D]`, one draw for the whole run, which keeps an ODE kernel on one path. By
            default each call draws afresh, as correctors need.

    Returns:
        A kernel that is `clamp` at a t_next without noise, and raises ValueError where an array does
        not fit x.

    Raises:
        ValueError: for a mask that is not of bool, or a value or noise that is not of numbers.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from sbmae_jax import VP, renoise
        >>> put = renoise(VP(), jnp.asarray([5.0, 0.0]), jnp.asarray([True, False]))
        >>> put(jax.random.key(0), jnp.ones((4, 2)), 0.4, 0.4)[:, 1].tolist()
        [1.0, 1.0, 1.0, 1.0]

    Source: Song et al. 2021 (arXiv:2011.13456), appendix I.2.
    """
    require_masks(mask)
    require_each(checks.require_numbers, "value", value)
    if noise is not None:
        require_each(checks.require_numbers, "noise", noise)

    def kernel(key, x, t, t_next):
        del t

        def put(x, key, sde, value, mask, noise):
            fresh = noise is None
            eps = normal_like(key, x) if fresh else checks.broadcast_like(noise, x, "noise")
            clean = checks.broadcast_like(value, x, "value").astype(x.dtype)
            noised = sde.perturb(clean, eps, t_next).astype(x.dtype)
            return jnp.where(checks.mask_like(mask, x), noised, x)

        options = {"sde": sde, "value": value, "mask": mask, "noise": noise}
        return leafwise(put, x, leaf_keys(key, x), **options)

    return kernel


# ---------------------------------------------------------------- combinators


@overload
def given(step: StepFn, observe: StepFn) -> StepFn: ...


@overload
def given(step: Step, observe: Step) -> Step: ...


def given(step: Step, observe: Step) -> Step:
    """Make a kernel conditional: restore the observed coordinates before it and after it.

    Args:
        step: the kernel. Wrap each kernel of a chain rather than the chain, whose correctors would see
            what its predictor has moved.
        observe: `clamp` or `renoise`, called at t and then at t_next.

    Returns:
        One kernel, which gives `observe`, step and `observe` the keys `fold_in(key, j)` for j = 0, 1, 2.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from sbmae_jax import VP, ancestral, clamp, given
        >>> put = clamp(jnp.asarray([5.0, 0.0]), jnp.asarray([True, False]))
        >>> step = given(ancestral(VP(), lambda x, t: -x), put)
        >>> step(jax.random.key(0), jnp.ones((4, 2)), 0.5, 0.4)[:, 0].tolist()
        [5.0, 5.0, 5.0, 5.0]
    """
    mover, restorer = with_memory(step), with_memory(observe)

    def init(x):
        return mover.init(x), restorer.init(x)

    def move(key, x, memory, t, t_next):
        before, during, after = (jax.random.fold_in(key, j) for j in range(3))
        moved, restored = memory
        x, restored = restorer.step(before, x, restored, t, t)
        x, moved = mover.step(during, x, moved, t, t_next)
        x, restored = restorer.step(after, x, restored, t_next, t_next)
        return x, (moved, restored)

    return combined(MemoryStep(init, move), step, observe)


def forward_transition(sde: SDETree) -> StepFn:
    """Move x forwards in time, to a t_next above t, by a draw from p(x_next | x).

    Args:
        sde: the process.

    Returns:
        A kernel that adds noise and evaluates no score.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, forward_transition
        >>> forward_transition(VP())(jax.random.key(0), jax.numpy.ones((4, 2)), 0.4, 0.5).shape
        (4, 2)
    """

    def kernel(key, x, t, t_next):
        def add(x, key, sde):
            ratio = sde.alpha(t_next) / sde.alpha(t)
            added = jnp.maximum(sde.sigma(t_next) ** 2 - (ratio * sde.sigma(t)) ** 2, 0.0)
            return (ratio * x + jnp.sqrt(added) * normal_like(key, x)).astype(x.dtype)

        return leafwise(add, x, leaf_keys(key, x), sde=sde)

    return kernel


def repaint(step: AnyStep, sde: SDETree, num: int) -> AnyStep:
    """Take a step `num` times and jump back in between, as RePaint does; `num` times the evaluations.

    Args:
        step: the conditional kernel, e.g. `given(ancestral(sde, score), put)`. One with a memory finds, after
            a jump, a memory of less noise than x; `dpm_solver` sees that, and does not use it.
        sde: the process, by which x jumps back.
        num: how often the step is taken, in 1..1,000,000.

    Returns:
        One kernel, whose step j has the key `fold_in(key, 2 j)` and the jump after it
        `fold_in(key, 2 j + 1)`.

    Raises:
        ValueError: for a num out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from sbmae_jax import VP, ancestral, clamp, given, repaint
        >>> sde, put = VP(), clamp(jnp.asarray([5.0, 0.0]), jnp.asarray([True, False]))
        >>> step = repaint(given(ancestral(sde, lambda x, t: -x), put), sde, 3)
        >>> step(jax.random.key(0), jnp.ones((4, 2)), 0.5, 0.4)[:, 0].tolist()
        [5.0, 5.0, 5.0, 5.0]

    Source: Lugmayr et al. 2022 (arXiv:2201.09865), algorithm 1.
    """
    checks.require_int("num", num, 1, checks.MAX_COUNT)
    back, kernel = forward_transition(sde), with_memory(step)

    def move(key, x, memory, t, t_next):
        def visit(j, x, memory):
            # The step comes last, so that `iterate` checks what it returns.
            noised = back(jax.random.fold_in(key, 2 * j - 1), x, t_next, t)
            x = jax.tree.map(lambda a, b: jnp.where(j > 0, a, b), noised, x)
            return kernel.step(jax.random.fold_in(key, 2 * j), x, memory, t, t_next)

        return iterate(visit, num, x, memory)

    return combined(MemoryStep(kernel.init, move), step)


def substeps(step: AnyStep, num: int) -> AnyStep:
    """Take a step in `num` parts of equal time; `num` times the evaluations.

    With it RePaint jumps back over several levels: `repaint(substeps(step, 10), sde, 10)`.

    Args:
        step: the kernel.
        num: how many parts, in 1..1,000,000.

    Returns:
        One kernel, which gives part j the key `fold_in(key, j)`.

    Raises:
        ValueError: for a num out of range.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, ancestral, substeps
        >>> step = substeps(ancestral(VP(), lambda x, t: -x), 3)
        >>> step(jax.random.key(0), jax.numpy.ones((4, 2)), 0.5, 0.4).shape
        (4, 2)
    """
    checks.require_int("num", num, 1, checks.MAX_COUNT)
    kernel = with_memory(step)

    def move(key, x, memory, t, t_next):
        def part(j, x, memory):
            begin, end = (t + (t_next - t) * k / num for k in (j, j + 1))
            return kernel.step(jax.random.fold_in(key, j), x, memory, begin, end)

        return iterate(part, num, x, memory)

    return combined(MemoryStep(kernel.init, move), step)


# ---------------------------------------------------------------- amortised scores


def amortised(network: Callable[[State, Array, State], State], mask: State) -> ScoreFn:
    """Make a conditional score from a network that takes the mask as an input.

    In training, observed coordinates are clean; so sample with `given(step, clamp(value, mask))`.

    Args:
        network: `(x, t, mask) -> score`, with the mask as `[B, D]` of bool; where x is a pytree, so are they.
        mask: `[D]` or `[B, D]` of bool, True where observed; one for all arrays of x, or a pytree.

    Returns:
        A score that is 0 where observed. It raises ValueError where the mask does not fit x, or the network
        does not return the shape of x.

    Raises:
        ValueError: for a mask that is not of bool.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import amortised
        >>> score = amortised(lambda x, t, mask: -x, jnp.asarray([True, False]))
        >>> score(jnp.ones((4, 2)), 0.5)[0].tolist()
        [0.0, -1.0]
    """
    require_masks(mask)

    def score(x, t):
        require_each(checks.require_numbers, "x", x)
        observed = leafwise(lambda x, mask: checks.mask_like(mask, x), x, mask=mask)
        masked = checks.checked_score(lambda x, t: network(x, t, observed), "network")
        return jax.tree.map(lambda seen, s: jnp.where(seen, 0.0, s), observed, masked(x, t))

    return score


def amortised_by_time(network: Callable[[State, State], State], mask: State) -> ScoreFn:
    """Make a conditional score from a network that takes one time per coordinate.

    Args:
        network: `(x, times) -> score`, with times of the shape of x: 0 where observed, else t.
        mask: as for `amortised`.

    Returns:
        A score that is 0 where observed, as that of `amortised`.

    Raises:
        ValueError: for a mask that is not of bool.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import amortised_by_time
        >>> score = amortised_by_time(lambda x, times: -x * times, jnp.asarray([True, False]))
        >>> score(jnp.ones((4, 2)), 0.5)[0].tolist()
        [0.0, -0.5]

    Source: Bounoua et al. 2024 (arXiv:2306.04445).
    """

    def timed(x, t, observed):
        checks.require_numbers("t", t)

        def timed_of(x, seen):
            return jnp.where(seen, 0.0, checks.broadcast_like(t, x, "t"))

        return network(x, leafwise(timed_of, x, observed))

    return amortised(timed, mask)
