"""What the fuzz tests share: how many cases, how long one may take, and what an error must be like."""

import contextlib
import signal
from pathlib import Path

import hypothesis
import pytest
from hypothesis import HealthCheck

import sbmae_jax

PACKAGE = str(Path(sbmae_jax.__file__).parent)
SEED = 0
# A case takes milliseconds, and seconds where something is compiled: more is a hang. What counts is the time
# of this process alone, as a busy machine may let it wait; what sleeps is stopped too, later.
SECONDS, SECONDS_ASLEEP = 60, 1200


def counts(few, many):
    """Give a test few cases in `make test`, and many in `make test-slow`."""
    return pytest.mark.parametrize("num", [few, pytest.param(many, marks=pytest.mark.slow)])


def fuzz(num, strategy, check):
    """Call `check` on `num` cases, always the same ones, and on ever simpler ones where it fails."""

    def limited(case):
        with time_limit():
            check(case)

    settings = hypothesis.settings(
        max_examples=num, derandomize=True, database=None, deadline=None, print_blob=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    hypothesis.seed(SEED)(settings(hypothesis.given(strategy)(limited)))()


@contextlib.contextmanager
def time_limit():
    """Raise TimeoutError in a case that hangs."""

    def stop(*_):
        raise TimeoutError(f"a case took more than {SECONDS} s")

    timers = (
        (signal.ITIMER_PROF, signal.SIGPROF, SECONDS),
        (signal.ITIMER_REAL, signal.SIGALRM, SECONDS_ASLEEP),
    )
    before = [signal.signal(number, stop) for _, number, _ in timers]
    for timer, _, seconds in timers:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for (timer, number, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def attempt(call, names=(), errors=(ValueError,)):
    """Return what a call returns, or None if it was refused as it should be.

    That is: by an error of a documented type, raised by a line of this package and by none that it calls, in
    one line of text in which one of `names` stands.
    """
    try:
        return call()
    except errors as error:
        fault = fault_of(error, names, errors)
        if fault:
            raise AssertionError(f"{fault}: {error!r}") from error
        return None


def fault_of(error, names, errors):
    """Return what is wrong with an error, or nothing."""
    message = str(error)
    if type(error) not in errors:  # a subclass, which we never raise
        return "not documented"
    if not raised_by(error).startswith(PACKAGE):
        return "from the inside"
    if not message or "\n" in message:
        return "not one sentence"
    if names and not any(name in message for name in names):
        return f"none of {names} is named"
    return ""


def raised_by(error):
    """Return the file in which an error was raised."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename
