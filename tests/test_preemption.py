"""SIGTERM, and two processes in one workdir."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from sbmae_jax.training.preemption import Notice, Preempted
from sbmae_jax.training.workdir import locked

HOLD = (
    "import sys, pathlib; from sbmae_jax.training.workdir import locked\n"
    "with locked(pathlib.Path(sys.argv[1])): pass"
)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_notice_stops_at_once_where_nothing_is_to_be_saved():
    notice = Notice()
    with pytest.raises(Preempted, match="run the same command to resume"), notice.watched():
        terminate()
    assert notice.given


def test_a_notice_is_only_noted_where_something_is_to_be_saved():
    with Notice().watched() as notice:
        assert not notice.given
        with notice.deferred():
            terminate()
            assert notice.given


def test_the_old_handler_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    with Notice().watched():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_thread_that_gets_no_signals_can_be_watched():
    seen = []

    def watch():
        with Notice().watched() as notice:
            seen.append(notice.given)

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join()
    assert seen == [False]


def test_a_second_process_is_refused_until_the_first_lets_go(tmp_path):
    hold = [sys.executable, "-c", HOLD, str(tmp_path)]
    with locked(tmp_path):
        refused = subprocess.run(hold, capture_output=True, text=True)
        assert refused.returncode != 0
        assert "is in use by another process: wait until" in refused.stderr
    assert subprocess.run(hold).returncode == 0
