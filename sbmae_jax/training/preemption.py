"""Stopping on request: SIGTERM, which announces that a machine will be taken away, loses no work."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Preempted(Exception):
    """The run stopped on request and saved its work. Run the same command to resume."""


class Notice:
    """Whether this process has been asked to stop.

    Inside `watched`, SIGTERM raises `Preempted` at once. Inside `deferred`, it only sets `given`, for a loop
    that saves first.

    Attributes:
        given: True once SIGTERM has arrived.

    Example:
        >>> with Notice().watched() as notice, notice.deferred():
        ...     signal.raise_signal(signal.SIGTERM)
        ...     notice.given
        True
    """

    def __init__(self):
        self.given = False
        self._deferring = False

    @contextmanager
    def watched(self) -> Iterator["Notice"]:
        """Handle SIGTERM inside this context; outside the main thread, which gets all signals, do nothing."""
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
        """Do not raise inside this context, but only set `given`."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    def _receive(self, number, frame) -> None:
        del number, frame
        self.given = True
        if not self._deferring:
            raise Preempted("stopped on request; run the same command to resume")
