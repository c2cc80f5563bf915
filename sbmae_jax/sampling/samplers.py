r"""Samplers as kernels `(key, x, t, t_next) -> x`, and one scan that runs them.

Every sampler of a diffusion walks a falling grid of times and applies the same small kernel to each
pair (t, t_next). The kernels are closures over a process and a score; they are combined, not configured:

    step = chain(euler_maruyama(sde, score), langevin(sde, score))        # predictor-corrector
    x = sample(key, step, sde.prior(prior_key, shape), uniform_times(100))

In a chain the first kernel moves x from t to t_next. All others find it there and are called as
`step(key, x, t_next, t_next)`, so a corrector reads t_next only. `sample` gives step i the key
`fold_in(key, i)`, and `chain` and `repeat` give kernel j `fold_in(key, j)`, so any noise can be drawn
again alone.

A kernel that remembers its earlier steps is a `MemoryStep`, a pair `init(x) -> memory` and
`step(key, x, memory, t, t_next) -> (x, memory)`. Whatever takes a kernel takes both kinds. A combination is a
plain function if all its parts are; otherwise its memory is that of its parts. `sample` starts the
memory, carries it, and returns x alone.

Some kernels take a `temperature`, by which they multiply the standard deviation of the noise that a
step adds. 1 samples the distribution; less noise draws samples nearer to its modes, and 0 adds none.

Kernels are in `predictors`, `correctors`, `ode` and `conditioning`, grids of times in `grids`.

Sources: Song et al. 2021 (arXiv:2011.13456), algorithms 2 to 5.
"""

from collections.abc import Callable
from typing import Any, TypeVar, overload

import jax
import jax.numpy as jnp
from jax.experimental import checkify

from sbmae_jax import _check as checks
from sbmae_jax._placement import settled
from sbmae_jax.types import Array, Key, Memory, MemoryStep, State, Step, StepFn

AnyStep = TypeVar("AnyStep", bound=Step)

# ---------------------------------------------------------------- running


def sample(
    key: Key,
    step: Step,
    x: State,
    times: Array,
    *,
    every: int | None = None,
    last: Step | None = None,
    check: bool = False,
    rising: bool = False,
) -> State:
    """Run a kernel over consecutive pairs of times, in one `lax.scan`.

    Call it inside your own `jax.jit`. Outside, each call is traced and compiled anew, which takes
    seconds where the compiled program takes milliseconds, and JAX keeps each program. It is not cached here:
    a kernel closes over arrays, and only you know whether they are the same in the next call.

    Args:
        key: a typed key; step i gets `fold_in(key, i)`.
        step: the kernel, plain or with a memory, which starts anew.
        x: the state at times[0], usually `sde.prior(key, (B, D))`; any pytree of floats.
        times: `[N + 1]`, never rising, from 1 to nearly 0; step i goes from times[i] to times[i + 1]. They
            are cast to the dtype of x, or to float32 where that is wider.
        every: also return the trajectory: the start, each `every`-th state, and the end; in 1..N.
        last: a kernel that is called once at the end, at time times[-1], e.g. `denoise(sde, score)`.
        check: raise at the first step after which x is not finite, and say which. Inside your own
            `jit`, wrap that with `jax.experimental.checkify.checkify`.

        rising: run over rising times, from data to noise. That is for kernels of the probability-flow ODE,
            `probability_flow`, `heun`, and `dpm_solver` with eta 0, which then encode data as the noise that
            they would be drawn from. Kernels that add noise return NaN.

    Returns:
        The state at times[-1], of the structure, shapes and dtypes of x. With `every`, `(x, path)`, where
        path[0] is the start, path[k] the state after k * every steps, and path[-1] that at times[-1], before
        `last`: `[N // every + 1, B, D]`, and one more where every does not divide N.

    Raises:
        ValueError: for an untyped key; a state that is not of floats; a kernel that changes the shape or
            dtype of the state; an `every` out of range; or times that rise, are not one-dimensional, or are
            fewer than two.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, ancestral, denoise, log_snr_times, sample
        >>> sde, score = VP(), lambda x, t: -x  # the score of standard normal data
        >>> prior_key, loop_key = jax.random.split(jax.random.key(0))
        >>> x = sde.prior(prior_key, (4, 2))
        >>> step, last = ancestral(sde, score), denoise(sde, score)
        >>> run = jax.jit(lambda key, x: sample(key, step, x, log_snr_times(sde, 20), last=last))
        >>> run(loop_key, x).shape
        (4, 2)
    """
    checks.require_key(key)
    checks.require_times(times, falling=not rising)
    checks.require_state(x)
    times = narrowed(times, x)
    num_steps = times.shape[0] - 1
    if every is not None:
        checks.require_int("every", every, 1)
    if every is not None and every > num_steps:
        raise ValueError(
            f"every must be at most the number of steps in times, {num_steps}, got {every}"
        )
    kernel = with_memory(step)

    def advance(carry, i):
        x, memory = carry
        moved = kernel.step(jax.random.fold_in(key, i), x, memory, times[i], times[i + 1])
        x, memory = same_carry((x, memory), moved)
        if check:
            message = "x is not finite after step {i}, at t = {t}"
            checkify.check(checks.all_finite(x), message, i=i, t=times[i + 1])
        return x, memory

    def walk(carry, first, num):
        return jax.lax.scan(
            lambda carry, i: (advance(carry, i), None), carry, first + jnp.arange(num)
        )[0]

    def run(x):
        start = settled(lambda carry: advance(carry, jnp.asarray(0)), (x, kernel.init(x)))
        if every is None:
            return walk(start, 0, num_steps)[0], None

        def keep(carry, first):
            carry = walk(carry, first, every)
            return carry, carry[0]

        whole = num_steps - num_steps % every
        carry, path = jax.lax.scan(keep, start, jnp.arange(0, whole, every))
        ends = [start[0]]
        if whole < num_steps:
            carry = walk(carry, whole, num_steps - whole)
            ends.append(carry[0])
        return carry[0], jax.tree.map(_joined, path, *ends)

    if check:
        error, (x, path) = checkify.checkify(run)(x)
        checkify.check_error(error)
    else:
        x, path = run(x)
    if last is not None:
        x = once(last)(jax.random.fold_in(key, num_steps), x, times[-1], times[-1])
    return x if every is None else (x, path)


def _joined(path: Array, start: Array, *end: Array) -> Array:
    """Return a trajectory [K, ...] with the state before it, and one after it, if any."""
    return jnp.concatenate([start[None], path, *(x[None] for x in end)])


def narrowed(times: Array, x: State) -> Array:
    """Return times that do not widen the arrays of a state in arithmetic, but are float32 at least."""
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(x)]
    widest = jnp.result_type(*dtypes, jnp.float32)
    times = jnp.asarray(times)
    return times.astype(widest) if jnp.promote_types(times.dtype, widest) != widest else times


# ---------------------------------------------------------------- memories


def with_memory(step: Step) -> MemoryStep:
    """Return a kernel as one with a memory, which is empty for a plain one and an array or more otherwise."""
    if not isinstance(step, MemoryStep):
        return MemoryStep(
            lambda x: (), lambda key, x, memory, t, t_next: (step(key, x, t, t_next), memory)
        )
    # Numbers of the user's own become arrays, which a compiled loop can carry.
    return MemoryStep(
        lambda x: jax.tree.map(jnp.asarray, step.init(x)),
        lambda key, x, memory, t, t_next: _pair(step.step(key, x, memory, t, t_next)),
    )


def once(step: Step) -> StepFn:
    """Return a kernel as a plain one, which starts its memory at each call and drops it."""
    if not isinstance(step, MemoryStep):
        return step
    return lambda key, x, t, t_next: _pair(step.step(key, x, step.init(x), t, t_next))[0]


def combined(step: MemoryStep, *parts: Step) -> Any:
    """Return a combination as a plain kernel if none of its parts has a memory."""
    return step if any(isinstance(part, MemoryStep) for part in parts) else once(step)


def same_carry(before: tuple[State, Memory], after: tuple[State, Memory]) -> tuple[State, Memory]:
    """Return the state and the memory after a step, or raise ValueError if they are not like those before."""
    x = checks.same_state(before[0], after[0])
    return x, checks.same_state(before[1], after[1], "memory")


def _pair(after: Any) -> tuple[State, Memory]:
    if not isinstance(after, tuple) or len(after) != 2:
        raise ValueError(
            "step must return (x, memory) for a MemoryStep, got " + checks.short_repr(after)
        )
    return after


def iterate(
    body: Callable[[Array, State, Memory], tuple[State, Memory]], num: int, x: State, memory: Memory
) -> tuple[State, Memory]:
    """Apply `body(j, x, memory) -> (x, memory)` for j = 0 to num - 1, in one compiled loop.

    Raises ValueError for a body that does not return a state and a memory like those it was given.
    """
    start = settled(lambda carry: body(jnp.asarray(0), *carry), (x, memory))
    return jax.lax.fori_loop(0, num, lambda j, carry: same_carry(carry, body(j, *carry)), start)


# ---------------------------------------------------------------- combining


@overload
def chain(*steps: StepFn) -> StepFn: ...


@overload
def chain(*steps: Step) -> Step: ...


def chain(*steps: Step) -> Step:
    """Apply kernels in turn: the first moves x from t to t_next, the others act on it there.

    Args:
        *steps: kernels for the same state, plain or with a memory; the first a predictor, the others
            correctors.

    Returns:
        One kernel, which gives kernel j the key `fold_in(key, j)`.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, chain, euler_maruyama, langevin
        >>> sde, score = VP(), lambda x, t: -x
        >>> step = chain(euler_maruyama(sde, score), langevin(sde, score))
        >>> step(jax.random.key(0), jax.numpy.ones((4, 2)), 0.5, 0.4).shape
        (4, 2)

    Source: Song et al. 2021 (arXiv:2011.13456), algorithms 2 and 3, for predictor and corrector.
    """
    kernels = [with_memory(step) for step in steps]

    def init(x):
        return tuple(kernel.init(x) for kernel in kernels)

    def move(key, x, memory, t, t_next):
        memories = list(memory)
        for j, kernel in enumerate(kernels):
            begin = t if j == 0 else t_next
            x, memories[j] = kernel.step(jax.random.fold_in(key, j), x, memories[j], begin, t_next)
        return x, tuple(memories)

    return combined(MemoryStep(init, move), *steps)


def repeat(step: AnyStep, num: int) -> AnyStep:
    """Apply a kernel `num` times: `chain(step, ..., step)`, traced once.

    Args:
        step: the kernel.
        num: how often, in 0..1,000,000.

    Returns:
        One kernel, which gives call j the key `fold_in(key, j)`.

    Raises:
        ValueError: for a num out of range.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, langevin, repeat
        >>> step = repeat(langevin(VP(), lambda x, t: -x), 3)
        >>> step(jax.random.key(0), jax.numpy.ones((4, 2)), 0.4, 0.4).shape
        (4, 2)
    """
    checks.require_int("num", num, 0, checks.MAX_COUNT)
    kernel = with_memory(step)

    def move(key, x, memory, t, t_next):
        def body(j, x, memory):
            begin = jnp.where(j == 0, t, t_next)
            return kernel.step(jax.random.fold_in(key, j), x, memory, begin, t_next)

        return iterate(body, num, x, memory)

    return combined(MemoryStep(kernel.init, move), step)
