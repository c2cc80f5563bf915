"""Settings under which every test runs; they must be in place before JAX starts."""

import atexit
import fcntl
import importlib.metadata
import os
import shutil
import tempfile

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + (
    " --xla_force_host_platform_device_count=8"
    # Most of the time goes into compiling programs that run once.
    " --xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
)
if importlib.metadata.version("jaxlib").startswith("0.10."):
    # The older code generator compiles in half the time; later versions of XLA do not know the flag.
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # The same program is compiled once for all tests, workers, and processes that tests start.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="sbmae_jax-tests-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
# Matrices are small here: more threads of NumPy and scikit-learn would only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


@pytest.fixture
def key():
    """Give a fresh typed key; the checker refuses to use it twice, so fold or split it."""
    return jax.random.key(0)


@pytest.fixture
def x64():
    """Run one test in float64, for comparisons with a closed form."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """Give the workdir of a tiny run with all stages done. All tests and processes share it: only read it."""
    import tiny

    from sbmae_jax.app import pipeline

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # that of all workers
    with open(folder / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not (folder / "finished_run" / "report" / "index.html").exists():
            pipeline.run(tiny.config(), folder / "finished_run")
    return folder / "finished_run"


@pytest.fixture
def own_file(tmp_path):
    """Write data as a user brings them, and give the path."""
    import numpy as np
    from own_files import arrays

    np.savez(tmp_path / "own.npz", **arrays())
    return tmp_path / "own.npz"


@pytest.fixture
def celeba(tmp_path, monkeypatch):
    """Write a small folder in CelebAMask-HQ's layout, where it is looked for, and give its path."""
    from celeba_folder import write_folder

    from sbmae_jax.data.celebahq import source as celebahq_source

    monkeypatch.setenv("SBMAE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(celebahq_source, "SHARD_SIZE", 2)  # faces in a shard
    root = tmp_path / celebahq_source.FOLDER
    write_folder(root)
    return root
