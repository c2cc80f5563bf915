"""The few types that carry the design; everything else is built from them.

A sampler is a `Step`, and combinators such as `chain` take steps and return a step. A network
enters the mathematics as a `ScoreFn` or an `EnergyFn`, a plain callable, and guidance takes
scores and returns a score. A whole model, or a baseline, is evaluated as a `CompleteFn`.
"""

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
"""What a sampler moves: an array `[B, ...]`, or for a multistep kernel a tuple of arrays."""

Step = Callable[[Key, State, Array, Array], State]
"""`(key, x, t, t_next) -> x`: move the state from time `t` to `t_next`, which is at most `t`."""

CompleteFn = Callable[[Key, Mapping[str, Any], Any], Mapping[str, Array]]
"""`(key, batch, observed) -> all modalities`: generate modality m of row b unless `observed[b, m]`."""
