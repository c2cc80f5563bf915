"""Autoencoders of an earlier run in the place of trainings, for modalities that are the same there.

An autoencoder depends on its own modality alone, so one that is trained stays right when other modalities are
added. It is taken only where nothing of it would be another: its networks and its latent, its scaling, and
the rows that trained it. A run notes these rows as checksums.
"""

import hashlib
import json
from typing import Any

import numpy as np

from sbmae_jax._io import as_path
from sbmae_jax.app.coders import GIVEN
from sbmae_jax.app.encoder_decoders import Group
from sbmae_jax.app.run import Run, load_autoencoders
from sbmae_jax.data import scaling
from sbmae_jax.data.source import Source
from sbmae_jax.models.task import Params
from sbmae_jax.training.loop import Stage, is_finished, save_finished
from sbmae_jax.training.workdir import CONFIG, ROWS, read_config

BYTES_COMPARED = 2**28  # of the rows of one modality; of more rows, some are compared


KEY = "config.autoencoders_from"


def take_autoencoders(run: Run) -> None:
    """Store autoencoders of the run that `config.autoencoders_from` names as finished ones of this run.

    The log says which ones, and why others are trained anew. Those that are finished stay as they are.

    Args:
        run: The run.

    Raises:
        ValueError: Naming the key, if it is not the workdir of a run whose autoencoders are trained, or if
            none of them fits.
    """
    left = [g for g in run.parts.groups if not is_finished(_stage(run, g))]
    if not (run.config.get("autoencoders_from") and left):
        return
    if run.config["stack_autoencoders"]:
        raise ValueError(
            f"{KEY}: stacked autoencoders are trained as one: set config.stack_autoencoders to False"
        )
    earlier, params = _open_earlier(run)
    place = earlier.folder.path
    reasons = {group.names[0]: find_difference(run, earlier, group) for group in left}
    if all(reasons.values()):
        told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        if (seed := run.config["seed"]) != (other := earlier.config["seed"]):
            told += f"; rows are drawn from the seed, which is {other} there, and {seed} here"
        raise ValueError(f"{KEY}: no autoencoder of {place} is that of this run: {told}")
    for group in left:
        name = group.names[0]
        if reasons[name]:
            run.folder.log.line(f"{group.stage}: trained anew, because {reasons[name]}")
            continue
        save_finished(_stage(run, group), params[name], run.mesh)
        run.folder.log.line(f"{group.stage}: taken from {place}")


def find_difference(run: Run, earlier: Run, group: Group) -> str:
    """Return why the autoencoder of a modality is not that of an earlier run; "" if it is."""
    name, here, there = group.names[0], run.data.description, earlier.data.description
    others = {g.names[0]: g.autoencoder for g in earlier.parts.groups if not g.is_stacked}
    if name not in others:
        return f"{earlier.folder.path} has no autoencoder of it alone"
    values = [
        (d.shapes[name], d.dtypes[name], _as_json(d.scalings.get(name))) for d in (here, there)
    ]
    if values[0] != values[1]:
        return "its values or their scaling are others there"
    one, other = group.autoencoder.modality, others[name].modality
    for key in ("likelihood", "network", "latent_size", "weight", "code_noise"):
        if getattr(one, key) != getattr(other, key):
            return f"its {key} is {getattr(other, key)!r} there, and {getattr(one, key)!r} here"
    if group.autoencoder != others[name]:
        return "its networks, or the kind of its autoencoder, are others there"
    path = earlier.folder.path / ROWS
    if not path.exists():
        return "that run has not noted its rows, as an earlier version did not"
    if json.loads(path.read_text()).get(name) != checksum(run, name):
        return "its training rows are others there"
    return ""


def note_rows(run: Run) -> None:
    """Write the checksums of the rows of each modality into the folder of a run."""
    if not run.folder.has(ROWS):
        found = {name: checksum(run, name) for name in run.parts.layout.names}
        text = json.dumps(found, indent=1)
        run.folder.write(ROWS, lambda file: file.write(text.encode()))


def checksum(run: Run, name: str) -> str:
    """Return a checksum of the rows of a modality that train its autoencoder."""
    sha256, source = hashlib.sha256(), run.data.train_loaded
    rows = run.data.rows_of(source, {"x": name})
    for piece in _some(source, name, np.arange(len(source)) if rows is None else rows):
        sha256.update(np.ascontiguousarray(piece).tobytes())
    return sha256.hexdigest()


def _some(source: Source, name: str, rows: np.ndarray) -> Any:
    """Yield the number of rows, and then rows of a modality in pieces, as many as are compared."""
    yield np.array([len(rows)])
    row_bytes = max(1, source.nbytes(name) // len(source))
    num = min(len(rows), max(64, BYTES_COMPARED // row_bytes))
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, num).astype(np.int64))]
    size = max(1, 2**24 // row_bytes)
    for start in range(0, len(chosen), size):
        yield source.arrays[name][chosen[start : start + size]]


def _open_earlier(run: Run) -> tuple[Run, dict[str, Params]]:
    """Open the run that the config names, and load its autoencoders."""
    path = run.config["autoencoders_from"]
    place = as_path(path)
    if place == run.folder.path:
        raise ValueError(f"{KEY}: {path} is the workdir of this run: name another one")
    try:
        config = read_config(place)
        if config is None:
            raise ValueError(f"it has no {CONFIG}")
        given = {n for n, s in config["modalities"].items() if s.get("coder") == GIVEN}
        earlier = Run(config, place, coders={n: c for n, c in run.coders.items() if n in given})
        return earlier, load_autoencoders(earlier)
    except ValueError as error:
        raise ValueError(f"{KEY}: {path} is not the workdir of a trained run: {error}") from None


def _stage(run: Run, group: Group) -> Stage:
    return run.trainer.stage(group.stage, group.task, group.training)


def _as_json(found: scaling.Scaling | None) -> Any:
    """Return what a scaling does to values, as values of JSON."""
    values = {} if found is None else scaling.to_json(found)
    return {key: value for key, value in values.items() if key != "typical"}
