"""The folder in which data are looked for, and in which prepared data are kept."""

import os
from pathlib import Path

from sbmae_jax._io import as_path


def data_dir() -> Path:
    """Return the folder of all data: $SBMAE_DATA_DIR, or `data` in the current directory."""
    return as_path(os.environ.get("SBMAE_DATA_DIR") or "data")
