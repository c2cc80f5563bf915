"""What ends a training of `fit` before its last step: a user's callbacks, a limit of time, and Ctrl-C."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from sbmae_jax.training.loop import Callback


def any_of(callbacks: Sequence[Callback]) -> Callback:
    """Return a callback that calls all of them, and ends a training if one of them does."""

    def callback(stage, step, metrics):
        ends = [f(stage, step, metrics) for f in callbacks]  # all are called
        return any(ends)

    return callback


def time_limit(
    seconds: float, num_trained: int, num_modalities: int,
    clock: Callable[[], float] = time.monotonic,
) -> Callback:  # fmt: skip
    """Return a callback that ends each training when its share of the time is over.

    What a training leaves unused is shared by those that follow. That of an autoencoder has the weight 1,
    and that of the score one and a half for each modality.
    """
    end = clock() + seconds
    weights_left = num_trained + 1.5 * num_modalities
    limits: dict[str, float] = {}
    last = clock()

    def callback(stage, step, metrics):
        nonlocal last, weights_left
        del step, metrics
        if stage not in limits:
            weight = (
                stage.count("+") + 1 if stage.startswith("autoencoder/") else 1.5 * num_modalities
            )
            # Autoencoders that an earlier run has trained have left their time to the score.
            is_last = not stage.startswith("autoencoder/")
            share = 1.0 if is_last or weights_left <= 0 else min(1.0, weight / weights_left)
            limits[stage] = last + share * (end - last)
            weights_left -= weight
        last = clock()
        return last >= limits[stage]

    return callback


@contextlib.contextmanager
def interrupts_noted() -> Iterator[Callback]:
    """Give a callback that ends every training after the first Ctrl-C; a second one is raised."""
    interrupted = threading.Event()

    def receive(number, frame):
        if interrupted.is_set():
            signal.default_int_handler(number, frame)
        interrupted.set()

    def callback(stage, step, metrics):
        del stage, step, metrics
        return interrupted.is_set()

    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield callback
        return
    before = signal.signal(signal.SIGINT, receive)
    try:
        yield callback
    finally:
        signal.signal(signal.SIGINT, before)
