"""Where a figure comes from: the versions, the commit and the device that made it."""

import os
import platform
import re
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax

PACKAGES = (
    "sbmae_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scikit-image",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Return {name: version} of Python and of the packages that matter.

    A package that is not installed has the version "not installed". That may be this one, in a checkout.
    """
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    """Return the version of an installed package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def commit() -> str:
    """Return the commit of this checkout, with "-dirty" if files have changed, or "unknown" outside of one.

    Changes in results/ and docs/ do not count, as benchmarks write figures and tables there. For a copy
    without a history of its own, set SBMAE_COMMIT.
    """
    if said := os.environ.get("SBMAE_COMMIT"):
        return said
    written = [f":(exclude,top){folder}" for folder in ("results", "docs")]
    try:
        # This file must be in it: not just any repository around site-packages.
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        found = _git("describe", "--always", "--abbrev=12", "--exclude=*").strip()
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", *written)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{found}-dirty" if changed else found


def _git(*arguments: str) -> str:
    """Return what git prints for this checkout."""
    command = ["git", *arguments]
    return subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    ).stdout


def device() -> str:
    """Return the number and the kind of the devices."""
    devices = jax.devices()
    name = platform.machine() if devices[0].platform == "cpu" else devices[0].device_kind
    return f"{len(devices)} x {devices[0].platform} ({name})"


def peak_memory_bytes() -> int:
    """Return the largest resident size of this process so far."""
    status = Path("/proc/self/status")
    # On Linux `getrusage` begins with the size of the process that started this one.
    if status.exists():
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if peak is not None:
            return int(peak[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
