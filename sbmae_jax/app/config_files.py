"""Configs from Python files, and those that are installed with the package."""

import importlib.resources
import importlib.util
import os
import re
from typing import Any

from sbmae_jax.app.sections import plain


def load_config(place: str) -> dict[str, Any]:
    """Load a config by its function `get_config`: FILE or NAME, or FILE:VARIANT or NAME:VARIANT.

    Args:
        place: A Python file, or the name of a config that is installed, of `sbmae_jax.configs`.

    Raises:
        ValueError: In one sentence, if there is no such config, or if it cannot be read or raises an error.
    """
    found = re.fullmatch(r"(.*?\.py|[^:]*)(?::(.*))?", place, re.DOTALL)
    path, variant = found.groups() if found else (place, None)
    if not path.endswith(".py"):
        path = _installed_config(path, place)
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise ValueError(f"--config: there is no file {path}")
    spec = importlib.util.spec_from_file_location("sbmae_jax_config", path)
    assert spec is not None
    assert spec.loader is not None
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise ValueError("the file has no function get_config")
        config = module.get_config() if variant is None else module.get_config(variant)
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ValueError(f"--config={place}: {kind}{error}") from error
    config = plain(config)
    if not isinstance(config, dict):
        raise ValueError(f"--config={place}: get_config must return a config, got {config!r}")
    return config


def _installed_config(name: str, place: str) -> str:
    """Return the file of an installed config; raises ValueError if there is none of this name."""
    known = sorted(
        file.name.removesuffix(".py")
        for file in importlib.resources.files("sbmae_jax.configs").iterdir()
        if file.name.endswith(".py") and not file.name.startswith("_")
    )
    if name not in known:
        raise ValueError(
            f"--config={place}: write a Python file, as in --config=configs/custom.py, or one of "
            f"{', '.join(known)}"
        )
    return str(importlib.resources.files("sbmae_jax.configs") / f"{name}.py")
