"""SIGTERM, and two processes in one workdir."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from sbmae_jax.training.preemption import Notice, Preempted
from sbmae_jax.training.workdir import LOCK, locked

# Another process that locks a file until it is killed; it does without the package, and starts at once.
HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("locked", flush=True)
time.sleep(600)
"""


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_notice_stops_at_once_outside_a_training():
    notice = Notice()
    with pytest.raises(Preempted, match="run the same command to resume"), notice.watched():
        terminate()
    assert notice.given


def test_a_notice_is_deferred_inside_a_training():
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


def test_a_workdir_is_locked_against_other_processes_until_they_end(tmp_path):
    hold = [sys.executable, "-c", HOLD, str(tmp_path / LOCK)]
    with locked(tmp_path):
        refused = subprocess.run(hold, capture_output=True, text=True)
        assert "BlockingIOError" in refused.stderr
    with subprocess.Popen(hold, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        with (
            pytest.raises(ValueError, match="is in use by another process: wait until"),
            locked(tmp_path),
        ):
            pass
        other.kill()
    with locked(tmp_path):
        pass
