"""One run: a config and its folder, what is trained there, and what is loaded from there."""

import zipfile
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax._io import as_path, remove, write_atomically
from sbmae_jax.app.build import Parts, build, build_source
from sbmae_jax.app.changes import find_changes, outputs
from sbmae_jax.app.coders import check_coders, load_residuals, measure_residuals
from sbmae_jax.app.folder import RunFolder
from sbmae_jax.app.race_result import read_winner, with_values
from sbmae_jax.app.run_data import MAX_HELD_OUT_ROWS, RunData, one_batch
from sbmae_jax.app.sections import Config, check_keys, plain
from sbmae_jax.app.trainer import Trainer
from sbmae_jax.data import description
from sbmae_jax.data.description import Description
from sbmae_jax.data.source import PRESENT, Source
from sbmae_jax.models.coders import coder_errors
from sbmae_jax.models.factor_gaussian import FactorGaussian
from sbmae_jax.models.latents import Moments, moments_of_tree
from sbmae_jax.models.model import Model, encode
from sbmae_jax.models.task import Params
from sbmae_jax.models.tensors import unflatten
from sbmae_jax.training import distributed, sharding
from sbmae_jax.training.log import forget_metrics
from sbmae_jax.training.loop import Callback
from sbmae_jax.training.preemption import Notice
from sbmae_jax.training.workdir import CONFIG, DATA, MOMENTS, REDO, check_names, write_config

ENCODE_BATCH = 250  # rows in one call of the encoders


class Run:
    """A config and its folder. Nothing is written before `claim`.

    Attributes:
        config: The config, without open values.
        parts: The networks, losses and trainings that the config stands for.
        mesh: The devices.
        folder: The folder and its files.
        data: The splits of the data, and batches of them.
        trainer: Trains networks, and loads trained ones.
        coders: The frozen coders that it was given, by modality.

    Args:
        config: As `configs/polydigits.py` returns it, or dicts and values.
        workdir: The folder, a path or the URL of a bucket.
        notice: A request to stop; a training then saves, and raises `Preempted`.
        callback: Called after each call of a training, see `loop.train`.
        quiet: Whether to print nothing.
        profile: Whether to trace a few calls of each training.
        redo: A stage to do again, with all that depends on it; "" for none.
        data_at_hand: Whether to check that the data are those of the folder.
        coders: Frozen coders by modality, where the config says "given".

    Raises:
        ValueError: As `build`, and as `find_changes` and `check_coders` if the folder does not fit.
    """

    def __init__(
        self, config: Config, workdir: str | Path, *, notice: Notice | None = None,
        callback: Callback | None = None, quiet: bool = False, profile: bool = False,
        redo: str = "", data_at_hand: bool = False, coders: Mapping[str, Any] | None = None,
    ):  # fmt: skip
        self.config: dict[str, Any] = plain(config)
        self.coders = dict(coders or {})
        self.folder = RunFolder(as_path(workdir), quiet)
        check_keys(self.config)
        path = self.folder.path
        self.changes = find_changes(path, self.config, redo, self._has_same_data, data_at_hand)
        kept = (path / DATA).exists() and not self.changes.data
        found = (
            description.load(path / DATA) if kept
            else description.describe(build_source(self.config, "train", 1))
        )  # fmt: skip
        raced = {} if "score" in self.changes.stale else read_winner(path)
        self.parts = build(with_values(self.config, raced), found, coders)
        if "score" not in self.changes.stale:
            check_coders(path / MOMENTS, self.parts.frozen)
        self.mesh = sharding.make_mesh(num_state_shards=self.config["num_state_shards"])
        self.data = RunData(
            config=self.config, description=found, modalities=self.parts.modalities,
            num_test=self.parts.protocol.num_rows, mesh=self.mesh,
        )  # fmt: skip
        self.trainer = Trainer(
            folder=self.folder, key=jax.random.key(self.config["seed"]), mesh=self.mesh,
            notice=notice or Notice(), callback=callback,
            profile=path / "profile" if profile and distributed.is_first() else None,
        )  # fmt: skip

    def use(self, parts: Parts) -> None:
        """Go on with other parts, which differ in how the score is trained alone."""
        self.parts = parts

    def claim(self) -> None:
        """Take the folder for this config, remove what is to be done again, and describe the data there."""
        distributed.barrier("claim")  # all processes have seen the folder as it was
        if distributed.is_first():
            path, changes = self.folder.path, self.changes
            # What is stale goes before the config that it is from: after an interruption it is still known.
            gone = [file for stage in changes.stale for file in outputs(path)[stage]]
            for file in gone:
                remove(file)
            if changes.stale:
                forget_metrics(path, [file.name for file in gone])
                write_atomically(path / REDO, lambda file: file.write(changes.redo.encode()))
            if changes.differences or not (path / CONFIG).exists():
                write_config(path, self.config)
            check_names(path, self.parts.layout.names)
            if changes.data or not (path / DATA).exists():
                description.save(path / DATA, self.data.description)
        distributed.barrier("claimed")

    def _has_same_data(self, stored: Mapping[str, Any]) -> bool | None:
        """Return whether the files that the config names are those that the folder describes, if known.

        All else is as in the stored config: another seed does not make other data.
        """
        path, data = self.folder.path / DATA, self.config["data"]
        known = description.load(path).fingerprint if path.exists() else ""
        if not known or data.get("name") != stored["data"].get("name"):
            return None
        there = dict(stored) | {"data": {**stored["data"], "path": data.get("path")}}
        try:
            return known == description.describe(build_source(there, "train", 1)).fingerprint
        except ValueError:  # arrays that are not there, or do not have the stored kinds
            return False

    @cached_property
    def train_latents(self) -> dict[str, np.ndarray]:
        """The latents of the training split, encoded once for all stages."""
        return self.latents(self.data.train_loaded)

    def latents(self, source: Source, max_rows: int | None = None) -> dict[str, np.ndarray]:
        """Encode rows, the first `max_rows` if it is given.

        Returns:
            `z` [N, D], not standardised, and `present` [N, M] bool where some rows lack modalities.
        """
        parts, params = self.parts, load_autoencoders(self)
        encoding = partial(encode, parts.modalities, parts.autoencoders)
        compiled = jax.jit(encoding, out_shardings=sharding.replicated(self.mesh))
        rows = {name: source.arrays[name][:max_rows] for name in parts.layout.names}
        with coder_errors():
            z = sharding.batched(partial(compiled, params), ENCODE_BATCH, self.mesh)(rows)
        missing = PRESENT in source.shapes
        for m, (name, latents) in enumerate(parts.layout.unpack(z).items()):
            finite = np.isfinite(np.asarray(latents)).all(axis=1)
            bad = np.flatnonzero(
                ~finite & source.arrays[PRESENT][:max_rows, m] if missing else ~finite
            )
            if len(bad):
                raise ValueError(
                    f"{name}: NaN or infinite latents in {len(bad):,} of {len(z):,} rows, the first in row "
                    f"{bad[0]:,}: its encoder must return finite numbers for every row"
                )
        return {"z": z} | ({PRESENT: source.arrays[PRESENT][:max_rows]} if missing else {})

    def residuals(self) -> dict[str, np.ndarray]:
        """Measure how far frozen coders are off, on rows of the training split."""
        source = self.data.train_loaded
        rows = {name: self.data.rows_of(source, {"x": name}) for name in self.parts.frozen}
        present = {name: found for name, found in rows.items() if found is not None}
        return measure_residuals(self.parts.frozen, source.arrays, present)

    def standardised(self, latents: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Standardise latents by the moments of the training split."""
        scale = load_moments(self.folder.path / MOMENTS)
        return {**latents, "z": np.asarray(scale.standardise(jnp.asarray(latents["z"])))}

    def held_out_latents(self) -> dict[str, np.ndarray]:
        """Return one batch of standardised latents of validation rows, for early stopping."""
        return one_batch(self.standardised(self.latents(self.data.valid, MAX_HELD_OUT_ROWS)))


def load_autoencoders(run: Run) -> dict[str, Params]:
    """Load the parameters of all autoencoders; frozen ones have those that they came with."""
    residuals = load_residuals(run.folder.path / MOMENTS) if run.parts.frozen else {}
    params = {n: a.make_params(residuals.get(n)) for n, a in run.parts.frozen.items()}
    for group in run.parts.groups:
        example = run.data.example(group.view)
        params |= group.members(run.trainer.load(group.stage, group.task, group.training, example))
    return params


def load_model(run: Run) -> Model:
    """Load all trained networks but the evaluators, and the moments of the latents."""
    parts, load = run.parts, run.trainer.load
    example = {"z": jax.ShapeDtypeStruct((1, parts.layout.size), np.float32)}
    params = {
        "autoencoders": load_autoencoders(run),
        "score": load("score", parts.score_task(), parts.score_training, example),
    }
    if parts.energy is not None:
        params["energy"] = load("energy", parts.energy_task, parts.energy.training, example)
    if parts.decoder_training is not None:
        params["decoders"] = {
            name: load(
                decoder_stage(name), parts.decoder_task(name), parts.decoder_training,
                run.data.example({"x": name}),
            )
            for name in parts.decoders
        }  # fmt: skip
    return Model(
        params=params,
        moments=load_moments(run.folder.path / MOMENTS),
        modalities=parts.modalities,
        autoencoders=parts.autoencoders,
        scalings=tuple(sorted(run.data.description.scalings.items())),
        entries=_entries_of_vectors(run.data.description),
        ignored=run.data.description.ignored,
        score_network=parts.network,
        energy_network=None if parts.energy is None else parts.energy.network,
        sde=parts.sde,
        sampling=parts.sampling,
        marginals=parts.matching.absent_prob > 0,
        decoders=tuple(parts.decoders.items()),
        decoding=parts.decoding,
    )


def _entries_of_vectors(data: Description) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the names of the entries of vectors, sorted; classes are in the scalings."""
    named = {
        name: entries
        for name, entries in data.entries.items()
        if name in data.scalings and data.scalings[name].raw_shape
    }
    return tuple(sorted(named.items()))


def decoder_stage(name: str) -> str:
    """Return the name of the training of a modality's diffusion decoder, and of its folder."""
    return f"decoder/{name}"


def load_evaluators(run: Run) -> dict[str, Params]:
    """Load the parameters of the networks that the evaluation needs."""
    return {
        name: run.trainer.load(
            name, evaluator.task, evaluator.training, run.data.example(evaluator.views[0])
        )
        for name, evaluator in run.parts.protocol.evaluators().items()
    }


def load_moments(path: Path) -> Moments:
    """Load the moments of the latents. Raises ValueError if the file is missing or damaged."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            # The first covariances were written without the name before their arrays.
            names = {
                n: f"covariance/{n}" if n in FactorGaussian._fields else n for n in arrays.files
            }
            owned = {n: key for n, key in names.items() if key.split("/")[0] in Moments._fields}
            return moments_of_tree(
                unflatten({key: jnp.asarray(arrays[n]) for n, key in owned.items()})
            )
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile):
        raise ValueError(
            f"{path} is missing or damaged: delete the folder {path.parent / 'score'}, and the stage "
            "score writes it again"
        ) from None
