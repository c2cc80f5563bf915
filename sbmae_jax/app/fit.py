"""Train a model from Python on data in memory. Inside, it is the pipeline of the command line."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sbmae_jax._check import require_mapping, require_number, require_seed, require_type, short_repr
from sbmae_jax._io import as_path, is_remote
from sbmae_jax.app import pipeline
from sbmae_jax.app.choices import choose_values
from sbmae_jax.app.coders import GIVEN
from sbmae_jax.app.fit_callbacks import any_of, interrupts_noted, time_limit
from sbmae_jax.app.fit_data import FOLDER, removed_on_failure, write_data
from sbmae_jax.app.fit_messages import about_arguments
from sbmae_jax.app.loading import load
from sbmae_jax.app.overrides import Override, with_overrides
from sbmae_jax.app.sections import plain
from sbmae_jax.configs import custom  # pyright: ignore[reportMissingImports] (the folder configs)
from sbmae_jax.data.user.spool import named_as_given
from sbmae_jax.data.user.survey import forget_files
from sbmae_jax.models.coders import as_coder
from sbmae_jax.models.model import Model
from sbmae_jax.training.loop import Callback


def fit(
    data: Any,
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    modalities: Mapping[str, Mapping[str, Any]] | None = None,
    coders: Mapping[str, Any] | None = None,
    leave_out: Sequence[str] = (),
    autoencoders_from: str | Path | None = None,
    num_steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    config: Mapping[str, Any] | None = None,
    workdir: str | Path | None = None,
    redo: str = "",
    evaluate: bool = False,
    callbacks: Callback | Sequence[Callback] = (),
    keep_on_interrupt: bool = False,
    quiet: bool = False,
) -> Model:
    """Train a model that generates each modality of your data from any others.

    What is not set is chosen from the data, and printed with the reason. Kinds are inferred by the rules of
    `docs/your_data.md`; rows are split into 80, 10 and 10 per cent for training, validation and test, unless
    the data have an array `split`. With one seed, the same data give the same parameters bit for bit, in
    memory or in files, from Python or from the command line.

    Args:
        data: `{name: [N, ...]}` of arrays or lists; a data frame of pandas or polars; a data set of Hugging
            Face, or a dict of its splits; anything with `len` whose `data[i]` is a row, a dict; an iterable
            of batches `{name: [B, ...]}`, which is read once and need not fit into memory; or the path of
            files, as on the command line. None, NaN and masked values are missing.
        groups: `{name: columns}` of a data frame, or of tables at a path, that form one vector. Every other
            column is a modality of its own. None groups the columns of a table at a path by their file.
        modalities: `{name: {option: value}}`, for example `{"lab": {"latent_size": 8, "kind": "counts"}}`.
        coders: `{name: coder}` of modalities whose autoencoder is not trained: a `FrozenCoder`, a pair of
            functions `(encode, decode)`, an object with `transform` and `inverse_transform` as those of
            scikit-learn, or "identity" for data that are latents already.
        leave_out: Names of arrays and columns that are not modelled. They may hold anything: dates, objects.
        autoencoders_from: The workdir of an earlier run, whose autoencoders take the place of trainings where
            nothing of a modality has changed, neither its rows nor their split; the others are trained, and
            the log says why. For modalities that are added to a trained model. None trains all.
        num_steps: Steps of each training, at least 1; None chooses them.
        minutes: How long all trainings together may take, compiling included, above 0; None for no limit. A
            training whose time is over ends with what it has learned, after one compiled call at the
            earliest. The autoencoders share two fifths of the time, and the score has the rest.
        seed: Seed of the splits, the initial parameters, the batches and the noise, in 0..2**32 - 1.
        config: `{key: value}` of further values, with the keys of `configs/custom.py`, for example
            `{"sampling.temperature": 0.8}`. What has an argument here is set by that argument.
        workdir: A folder for the checkpoints, the log and a copy of the data, from which an interrupted call
            resumes, and which `load` and the command line read. None keeps nothing: a temporary folder is
            used, and removed.
        redo: A stage that is done again, with all that depends on it, where the workdir has it already:
            "autoencoders", "score", "energy", or with `evaluate` also "evaluators", "evaluate" and "report".
            Needed where an argument has changed since; the message that says so names the stage. With
            "autoencoders" the data may be others as well.
        evaluate: Measure the model on test rows as well, and write a report; this needs a workdir.
        callbacks: Called after each compiled call, some tens of steps, with the name of the training, the
            number of its steps so far, and its metrics, as floats by name. If one returns True, that training
            ends with what it has learned. If one raises an exception, the state is saved first: the same call
            with a workdir resumes there.
        keep_on_interrupt: Let Ctrl-C, or a notebook's stop button, end the training rather than the call: the
            remaining trainings take one compiled call each, and the model is returned. A second Ctrl-C stops
            at once.
        quiet: Print nothing, and show no progress bars.

    Returns:
        The model.

    Raises:
        ValueError: In one sentence that names the array or the key, for data that cannot be learned from and
            for values out of range.

    Example:
        Two measurements of the same plants, some of them missing::

            import sbmae_jax

            model = sbmae_jax.fit({"leaf": leaves, "soil": soil})  # [N, H, W, 3] bytes; [N, 12] with NaNs
            model.generate({"soil": soil[:5]}, num_samples=3)["leaf"]  # [5, 3, H, W, 3]
    """
    require_type("keep_on_interrupt", keep_on_interrupt, bool)
    require_type("quiet", quiet, bool)
    require_type("evaluate", evaluate, bool)
    if minutes is not None:
        require_number("minutes", minutes, above=0)
    stage = "all" if evaluate else "train"
    if redo in pipeline.STAGES and redo not in pipeline.SEVERAL[stage]:
        raise ValueError(f"redo={redo!r} needs evaluate=True, without which that stage is not run")
    if evaluate and workdir is None:
        raise ValueError("evaluate writes a report: choose a folder for it, workdir='runs/NAME'")
    called = [callbacks] if callable(callbacks) else list(callbacks or ())
    if not all(map(callable, called)):
        raise ValueError(f"callbacks must be functions, got {short_repr(callbacks)}")
    if workdir is not None and not is_remote(as_path(workdir)) and as_path(workdir).is_file():
        raise ValueError(f"workdir {workdir} is a file: choose a folder")
    with contextlib.ExitStack() as stack:
        folder = _folder(workdir, stack)
        stack.enter_context(about_arguments())
        values, notes = _config(modalities, coders, leave_out, num_steps, seed, config, groups)
        if autoencoders_from is not None:
            if values.get("autoencoders_from"):
                raise ValueError(
                    "config: autoencoders_from is set by an argument of fit: set it there alone"
                )
            values["autoencoders_from"] = _workdir_of("autoencoders_from", autoencoders_from)
        given = {name: one for name, one in (coders or {}).items() if not isinstance(one, str)}
        if notes and not quiet:
            print("\n".join(notes))
        if not isinstance(data, str | Path):
            stack.enter_context(named_as_given(folder / FOLDER))
            stack.enter_context(removed_on_failure(folder))
            values["data"]["path"] = str(write_data(data, folder, groups, leave_out, redo))
        else:
            values["data"]["path"] = str(as_path(data))
            require_mapping("groups", groups)
            if groups:
                values["data"]["groups"] = dict(groups)
        if minutes is not None:
            sections = choose_values(values)[0]["modalities"].values()
            num_trained = sum("coder" not in section for section in sections)
            called.append(time_limit(60 * minutes, num_trained, len(sections)))
        if keep_on_interrupt:
            called.append(stack.enter_context(interrupts_noted()))
        callback = any_of(called) if called else None
        pipeline.run(values, folder, stage, callback=callback, quiet=quiet, redo=redo, coders=given)
        return load(folder, coders=given)


def _workdir_of(name: str, given: Any) -> str:
    """Return the workdir of an earlier run as a config names it."""
    if not isinstance(given, str | Path):
        raise ValueError(
            f"{name} must be the workdir of a run, which knows the rows that trained it, got "
            f"{short_repr(given)}"
        )
    return str(as_path(given))


def _folder(workdir: str | Path | None, stack: contextlib.ExitStack) -> Path:
    """Return the workdir, or a temporary folder that is removed with the stack."""
    if workdir is not None:
        return as_path(workdir)
    stack.callback(forget_files)  # they are mapped into memory
    return Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))


def _config(
    modalities: Mapping[str, Mapping[str, Any]] | None, coders: Mapping[str, Any] | None,
    leave_out: Sequence[str], num_steps: int | None, seed: int, config: Mapping[str, Any] | None,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> tuple[dict[str, Any], list[str]]:  # fmt: skip
    """Return the config of `configs/custom.py` with what the caller sets, and what this has replaced."""
    values: dict[str, Any] = custom.get_config().to_dict()
    values["seed"] = require_seed("seed", seed)
    values["data"]["leave_out"] = (leave_out,) if isinstance(leave_out, str) else tuple(leave_out)
    require_mapping("modalities", modalities)
    for name, options in (modalities or {}).items():
        require_mapping(f"modalities: {name}", options)
    values["modalities"] = plain(
        {name: dict(options) for name, options in (modalities or {}).items()}, "modalities"
    )
    require_mapping("coders", coders)
    for name, coder in (coders or {}).items():
        found = coder if isinstance(coder, str) else GIVEN
        if found is GIVEN:
            as_coder(name, coder)  # refuses what is none
        values["modalities"].setdefault(name, {})["coder"] = found
    if num_steps is not None:
        for training in ("autoencoder_training", "score_training"):
            values[training]["num_steps"] = num_steps
    require_mapping("config", config)
    set_here = {"data.path", "data.leave_out", "seed"}
    if groups:
        set_here.add("data.groups")
    if num_steps is not None:
        set_here |= {"autoencoder_training.num_steps", "score_training.num_steps"}
    for name, options in values["modalities"].items():
        set_here |= {f"modalities.{name}.{option}" for option in options}
    overrides = []
    for key, value in _flat(plain(dict(config or {}))):
        if key in set_here:
            raise ValueError(f"config: {key} is set by an argument of fit: set it there alone")
        overrides.append(Override(key, repr(value)))
    return with_overrides(values, overrides)


def _flat(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys of nested sections, with dots between them, and their values."""
    for name, value in config.items():
        key = f"{before}{name}".removeprefix("config.")
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{key}.")
        else:
            yield key, value
