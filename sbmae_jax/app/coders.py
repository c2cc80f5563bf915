"""From a config to frozen coders, and what a run keeps of them: residuals, and latents that identify them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sbmae_jax._check import require_mapping, require_type
from sbmae_jax._io import one_line
from sbmae_jax.app.encoder_decoders import add_imported_likelihood
from sbmae_jax.app.imported import import_part, is_import_path
from sbmae_jax.app.sections import Section
from sbmae_jax.data.description import Description
from sbmae_jax.models.autoencoder import Modality, as_float
from sbmae_jax.models.coders import (
    IDENTITY,
    FrozenAutoencoder,
    FrozenCoder,
    as_coder,
    freeze,
    require_same_coder,
)

GIVEN = "given"
"""What a config says of a coder that a caller passes from Python."""

RESIDUAL_ROWS = 10_000
"""Training rows of which residuals are measured, at most."""

_BATCH = 250
_RESIDUAL, _PROBE = "residual_std/", "probe/"


def freeze_coders(
    config: Mapping[str, Any], data: Description, coders: Mapping[str, Any] | None = None
) -> dict[str, FrozenAutoencoder]:
    """Find the frozen coders that a config names, and try each on some rows.

    Args:
        config: The config. The key `coder` of a modality is "identity", the import path of a coder or of a
            function that returns one, or "given".
        data: Shapes, types and units.
        coders: Those that are given from Python, by modality, as `models.coders.as_coder` takes them.

    Returns:
        The frozen autoencoder of each modality that has the key `coder`.

    Raises:
        ValueError: Naming the key, for a coder that is missing, fails or does not fit, for one that no
            modality has, and for keys that have no effect on a frozen coder.
    """
    require_mapping("coders", coders)
    sections, given = Section("config", config).part("modalities"), dict(coders or {})
    frozen = {}
    for name in sorted(sections.values):
        section = sections.part(name)
        if section.values.get("coder") is None or name not in data.shapes:
            continue
        origin, coder = _find(section, name, given.pop(name, None))
        frozen[name] = _freeze(section, name, origin, coder, data)
    if given:
        raise ValueError(
            f"coders: {', '.join(given)} is not a modality whose coder is 'given', "
            f"only {', '.join(frozen) or 'none'} has one"
        )
    return frozen


def measure_residuals(
    frozen: Mapping[str, FrozenAutoencoder],
    arrays: Mapping[str, Any],
    present: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Return how far frozen coders are off: the standard deviation of x - decode(encode(x)).

    Args:
        frozen: The coders by modality.
        arrays: Training rows `{name: [N, *shape]}`.
        present: The numbers of the rows that have each modality, where some rows lack it.

    Returns:
        `{name: [*shape]}` of the modalities whose draws need it.
    """
    found = {}
    for name, autoencoder in frozen.items():
        params = autoencoder.make_params(None)
        if "residual_std" not in params:
            continue
        rows = present[name][:RESIDUAL_ROWS] if name in present else slice(RESIDUAL_ROWS)
        x = np.asarray(arrays[name][rows])
        reconstruct = jax.jit(lambda p, x, a=autoencoder: a.decode(p, a.encode(p, x)))
        pieces = [reconstruct(params, x[i : i + _BATCH]) for i in range(0, len(x), _BATCH)]
        error = as_float(x) - np.concatenate([np.asarray(piece) for piece in pieces])
        found[name] = np.sqrt(np.mean(error.astype(np.float64) ** 2, axis=0)).astype(np.float32)
    return found


def as_arrays(
    frozen: Mapping[str, FrozenAutoencoder], residuals: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return what a run keeps of its frozen coders, as arrays of the file of moments."""
    probes = {_PROBE + name: np.asarray(a.probe) for name, a in frozen.items() if a.probe}
    return {_RESIDUAL + name: x for name, x in residuals.items()} | probes


def load_residuals(path: Path) -> dict[str, np.ndarray]:
    """Return the residuals of frozen coders from the file of moments; none if there is no file."""
    return _load(path, _RESIDUAL)


def check_coders(path: Path, frozen: Mapping[str, FrozenAutoencoder]) -> None:
    """Raise ValueError if the frozen coders are others than those that the file of moments tells of."""
    if not frozen:
        return
    for name, probe in _load(path, _PROBE).items():
        if name in frozen:
            require_same_coder(name, frozen[name], tuple(probe.tolist()))


def _load(path: Path, prefix: str) -> dict[str, np.ndarray]:
    if not path.exists():
        return {}
    with path.open("rb") as file, np.load(file) as arrays:
        return {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}


def _find(section: Section, name: str, given: Any) -> tuple[str, FrozenCoder | None]:
    """Return where the coder of a modality is from, and its functions."""
    place, origin = f"{section.place}.coder", section.values["coder"]
    require_type(place, origin, str)
    if origin == IDENTITY:
        return origin, None
    if is_import_path(origin):
        found = import_part(place, origin)
        if callable(found) and not hasattr(found, "transform"):
            try:
                found = found()
            except Exception as error:  # the code of others raises anything
                raise ValueError(
                    f"{place}: {origin!r} failed ({type(error).__name__}: {one_line(error, 300)})"
                ) from error
        return origin, as_coder(name, found)
    if origin != GIVEN:
        raise ValueError(
            f"{place} must be {IDENTITY!r} or an import path such as 'my_package.coders:pca', got {origin!r}"
        )
    if given is None:
        raise ValueError(
            f"{name} was encoded by a coder of your own: pass it again, as in coders={{{name!r}: coder}}"
        )
    return origin, as_coder(name, given)


def _freeze(
    section: Section, name: str, origin: str, coder: FrozenCoder | None, data: Description
) -> FrozenAutoencoder:
    """Put a coder in the place of the autoencoder of a modality."""
    section.require_known("coder", "likelihood", "latent_size")
    own, size = section.without("coder", "latent_size"), section.values.get("latent_size")
    add_imported_likelihood(section)
    blank = {"network": "", "latent_size": 1, "weight": 0.0}
    modality = own.build(Modality, name=name, shape=data.shapes[name], **blank)
    try:
        frozen = freeze(modality, origin, coder, data.scalings.get(name))
    except ValueError as error:
        raise ValueError(f"{section.place}.coder: {error}") from error
    if jax.process_count() > 1 and any(frozen.on_host):
        raise ValueError(
            f"{section.place}.coder: a coder that runs in Python cannot be used in several processes: start "
            "one process, or write it with jax.numpy, so that JAX can trace it"
        )
    if size not in (None, frozen.modality.latent_size):
        raise ValueError(
            f"{section.place}.latent_size is {size!r}, but the coder returns latents of "
            f"{frozen.modality.latent_size} values: leave it out"
        )
    return frozen
