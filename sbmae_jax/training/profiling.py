"""Profiling a few calls of a training, for TensorBoard's profile plugin."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

FIRST_CALL, LAST_CALL = 2, 4  # call 1 compiles


@contextmanager
def traced(directory: Path | None) -> Iterator[Callable[[], None]]:
    """Yield a function to call before each compiled call; calls FIRST_CALL..LAST_CALL are traced.

    Args:
        directory: Where the trace is written; None disables tracing. A training with fewer calls leaves a
            shorter trace, or none.
    """
    call, running = 0, False

    def tick() -> None:
        nonlocal call, running
        call += 1
        if call == FIRST_CALL and directory is not None:
            jax.profiler.start_trace(str(directory))
            running = True
        if call == LAST_CALL + 1 and running:
            jax.profiler.stop_trace()
            running = False

    try:
        yield tick
    finally:
        if running:
            jax.profiler.stop_trace()
