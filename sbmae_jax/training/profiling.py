"""A trace of a few calls of a training, which TensorBoard's profile plugin shows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

FIRST, LAST = 2, 4  # the first call compiles


@contextmanager
def traced(directory: Path | None) -> Iterator[Callable[[], None]]:
    """Give a function to be called before each call of a training; calls FIRST..LAST are traced.

    directory: of the trace; None traces nothing. A training of fewer calls leaves a shorter trace, or none.
    """
    call, running = 0, False

    def tick() -> None:
        nonlocal call, running
        call += 1
        if call == FIRST and directory is not None:
            jax.profiler.start_trace(str(directory))
            running = True
        if call == LAST + 1 and running:
            jax.profiler.stop_trace()
            running = False

    try:
        yield tick
    finally:
        if running:
            jax.profiler.stop_trace()
