"""Do independent tasks in processes with cores of their own: small batches leave a second core idle."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import jax
from peers_runs import ROOT


def share_executables() -> None:
    """Let methods of many seeds, and processes, share what is compiled."""
    jax.config.update("jax_compilation_cache_dir", str(ROOT / "runs" / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def do_all(tasks: Sequence[Callable[[], Any]], jobs: int) -> None:
    """Call tasks, which can be pickled and keep what they find on disk. Raises the first error of one.

    jobs: how many processes; each has its share of the cores, so that seconds of tasks can be compared.
    """
    if jobs == 1:
        for task in tasks:
            task()
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with JAX may hang
    numbers = context.Queue()
    for number in range(jobs):
        numbers.put(number)
    with ProcessPoolExecutor(jobs, context, _start, (numbers, jobs)) as pool:
        for waited in [pool.submit(task) for task in tasks]:
            waited.result()


def _start(numbers: Any, jobs: int) -> None:
    share_executables()
    number = numbers.get()
    if hasattr(os, "sched_setaffinity"):  # on Linux; elsewhere they share all cores
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[number::jobs] or cores)
