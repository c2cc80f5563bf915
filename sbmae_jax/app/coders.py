"""From a config to frozen coders, and what a run keeps of them: residuals, and latents that identify them."""

import json
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
    coder_errors,
)
from sbmae_jax.models.freezing import MAX_OFFSET, freeze, require_same_coder
from sbmae_jax.models.latents import Layout

GIVEN = "given"
"""What a config says of a coder that a caller passes from Python."""

RESIDUAL_ROWS = 10_000
"""Training rows of which residuals are measured, at most."""

_BATCH = 250
_ROUNDING = 1e-6  # relative spread that floats of 32 bits make of one value
_MAX_STD = 1e15  # whose square they hold
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
        rows = present[name][:RESIDUAL_ROWS] if name in present else slice(RESIDUAL_ROWS)
        x = np.asarray(arrays[name][rows])
        reconstruct = jax.jit(lambda p, x, a=autoencoder: a.decode(p, a.encode(p, x)))
        with coder_errors():
            pieces = [
                np.asarray(reconstruct(params, x[i : i + _BATCH])) for i in range(0, len(x), _BATCH)
            ]
        error = as_float(x) - np.concatenate(pieces)
        bad = np.flatnonzero(~np.isfinite(error).reshape(len(error), -1).all(axis=1))
        if len(bad):
            raise ValueError(
                f"{name}: decode returns NaN or infinity for the latents of {len(bad):,} of {len(error):,} "
                "training rows: it must return finite numbers for every row"
            )
        if "residual_std" not in params:
            continue
        found[name] = np.sqrt(np.mean(error.astype(np.float64) ** 2, axis=0)).astype(np.float32)
    return found


def check_latents(frozen: Mapping[str, FrozenAutoencoder], layout: Layout, z: np.ndarray) -> None:
    """Raise ValueError if frozen coders give latents of which nothing can be learned in float32.

    Args:
        frozen: The coders by modality.
        layout: The order and the sizes of the latents.
        z: Latents of the training rows `[N, D]`, NaN where a row lacks a modality.
    """
    starts = np.cumsum([0, *layout.sizes])
    for name, start, end in zip(layout.names, starts[:-1], starts[1:], strict=True):
        if name not in frozen:
            continue
        latents = np.asarray(z[:, start:end], np.float64)
        std, size = np.nanstd(latents, axis=0), np.abs(np.nanmean(latents, axis=0))
        if (std <= _ROUNDING * size).all():
            raise ValueError(
                f"{name}: its coder gives the same latents for all rows, at least in float32: leave it out, "
                "or let encode subtract the mean of its latents"
            )
        varies = std > _ROUNDING * size  # a latent that does not is harmless beside others
        if std.max() > _MAX_STD or (size > MAX_OFFSET * std)[varies].any():
            raise ValueError(
                f"{name}: its latents are too large, or too far from 0 beside their spread, for float32: let "
                "encode subtract their mean, and divide by their standard deviation"
            )


def as_arrays(
    frozen: Mapping[str, FrozenAutoencoder], residuals: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return what a run keeps of its frozen coders, as arrays of the file of moments."""
    probes = {_PROBE + n: np.asarray(json.dumps(a.probe)) for n, a in frozen.items() if a.probe}
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
            require_same_coder(name, frozen[name], json.loads(str(probe)))


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
        return origin, _import_coder(place, name, origin)
    if origin != GIVEN:
        raise ValueError(
            f"{place} must be {IDENTITY!r} or an import path such as 'my_package.coders:pca', got {origin!r}"
        )
    if given is None:
        raise ValueError(
            f"the coder of {name} is passed from Python, to fit and load, as in coders={{{name!r}: coder}}; "
            "a command needs a coder that has an import path"
        )
    return origin, as_coder(name, given)


def _import_coder(place: str, name: str, path: str) -> FrozenCoder:
    """Return the coder that an import path names, or that the function returns which it names."""
    found = import_part(place, path)
    if callable(found) and not hasattr(found, "transform"):
        try:
            found = found()
        except Exception as error:  # the code of others raises anything
            raise ValueError(
                f"{place}: {path!r} failed ({type(error).__name__}: {one_line(error, 300)})"
            ) from error
    return as_coder(name, found)


def functions_of(coders: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return coders that a caller of `load` passes, without "identity", and with paths imported."""
    require_mapping("coders", coders)
    return {
        name: _import_coder(f"coders: {name}", name, coder) if is_import_path(coder) else coder
        for name, coder in (coders or {}).items()
        if coder != IDENTITY
    }


def _freeze(
    section: Section, name: str, origin: str, coder: FrozenCoder | None, data: Description
) -> FrozenAutoencoder:
    """Put a coder in the place of the autoencoder of a modality."""
    for key in ("network", "weight", "code_noise", "training"):
        if key in section.values:
            raise ValueError(
                f"{section.place}: {name} has a frozen coder, to which {key} does not apply: remove it"
            )
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
