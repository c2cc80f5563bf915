"""The few types that carry the design; everything else is built from them.

A sampler is a `Step`, and combinators such as `chain` take steps and return a step. A network
enters the mathematics as a `ScoreFn` or an `EnergyFn`, a plain callable, and guidance takes
scores and returns a score. A whole model, or a baseline, is evaluated as a `CompleteFn`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

Array = jax.Array
Key = jax.Array
"""A typed key, as made by `jax.random.key`."""

Latents = dict[str, Array]
"""One array per modality, `[B, d_m]`."""

ScoreFn = Callable[[Array, Array], Array]
"""`(x, t) -> score`: the gradient of ln p_t at `x: [B, ...]`, of x's shape; t is a scalar."""

EnergyFn = Callable[[Array, Array], Array]
"""`(x, t) -> [B]`: one energy per row of `x`, in nats, low where the row is wanted."""

State = Any
"""What a sampler moves: an array of floats `[B, ...]`, or a pytree of them."""

Memory = Any
"""What a step remembers of those before it: a pytree of arrays, whose shapes and dtypes stay."""

StepFn = Callable[[Key, State, Array, Array], State]
"""`(key, x, t, t_next) -> x`: move the state from time `t` to `t_next`, which is at most `t`."""


@dataclasses.dataclass(frozen=True)
class MemoryStep:
    """A step that remembers something of the steps before it, such as its last prediction or their number.

    `sample`, `chain`, `repeat`, `given`, `repaint` and `substeps` take it wherever they take a plain step,
    and keep its memory. Call `step` to take one step by hand.

    Attributes:
        init: `x -> memory`, called once, with the state at the start. The memory is a pytree of arrays.
        step: `(key, x, memory, t, t_next) -> (x, memory)`, with a memory of the same shapes and dtypes.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, MemoryStep, ancestral, sample, uniform_times
        >>> plain = ancestral(VP(), lambda x, t: -x)
        >>> def every_other(key, x, i, t, t_next):  # its memory is the number of the step
        ...     scale = jax.numpy.where(i % 2 == 0, 0.9, 1.0)
        ...     return scale * plain(key, x, t, t_next), i + 1
        >>> step = MemoryStep(lambda x: 0, every_other)
        >>> run = jax.jit(lambda x: sample(jax.random.key(0), step, x, uniform_times(4)))
        >>> run(jax.numpy.ones((4, 2))).shape
        (4, 2)
    """

    init: Callable[[State], Memory]
    step: Callable[[Key, State, Memory, Array, Array], tuple[State, Memory]]


Step = StepFn | MemoryStep
"""What moves a state by one step: a plain function, or one with a memory."""

CompleteFn = Callable[[Key, Mapping[str, Any], Any], Mapping[str, Array]]
"""`(key, batch, observed) -> all modalities`: generate modality m of row b unless `observed[b, m]`."""
