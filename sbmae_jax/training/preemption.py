"""Being asked to stop: SIGTERM, which comes before a machine is taken away, loses nothing."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Preempted(Exception):
    """The run was asked to stop, and what it had is saved: start it again."""


class Notice:
    """Whether this process was asked to stop.

    Inside `watched` SIGTERM raises Preempted at once, but inside `deferred` it is only noted in `given`, for
    a loop that saves first.
    """

    def __init__(self):
        self.given = False
        self._deferring = False

    @contextmanager
    def watched(self) -> Iterator["Notice"]:
        """Heed SIGTERM; in a thread other than the main one, which gets no signals, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = signal.signal(signal.SIGTERM, self._receive)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, before)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Only note a SIGTERM that comes here."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    def _receive(self, number, frame) -> None:
        del number, frame
        self.given = True
        if not self._deferring:
            raise Preempted("stopped, as was asked for; the same command goes on")
