"""Where a number comes from: the versions, the commit and the device that made it."""

import os
import platform
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax

PACKAGES = (
    "sbmae_jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "scikit-image",
)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that matter; "not installed" where one is not.

    This package need not be: it runs from a checkout too.
    """
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    """Return the version of an installed package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def commit() -> str:
    """Return the commit of this checkout, marked where files have changed; "unknown" outside of one.

    What benchmarks write, figures in results/ and their tables in docs/, is no such change. Of a copy that
    left its history behind, or has another's, $SBMAE_COMMIT tells the commit.
    """
    if said := os.environ.get("SBMAE_COMMIT"):
        return said
    written = [f":(exclude,top){folder}" for folder in ("results", "docs")]
    try:
        found = _git("describe", "--always", "--abbrev=12", "--exclude=*").strip()
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", *written)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{found}-dirty" if changed else found


def _git(*arguments: str) -> str:
    """Return what git prints of this checkout."""
    command = ["git", *arguments]
    return subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    ).stdout


def device() -> str:
    """Return the kind and the number of devices."""
    devices = jax.devices()
    name = platform.machine() if devices[0].platform == "cpu" else devices[0].device_kind
    return f"{len(devices)} x {devices[0].platform} ({name})"


def peak_memory_bytes() -> int:
    """Return the largest resident size that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
