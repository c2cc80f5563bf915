"""What a change of the config means for the folder of an earlier run.

Each stage is a function of some keys of the config, and of what earlier stages left. A changed key makes
stale what the stages that read it have left, and what the stages after them have. What is stale is done again
only if the user says so, by `redo`; a training of which only the end has moved goes on from its last step.
A key at its default is the same as no key, so a run of a version that did not know the key is resumed.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sbmae_jax.app.defaults import with_defaults
from sbmae_jax.training.workdir import MOMENTS, REDO, RESULTS, ROWS, SAMPLES, read_config

STAGES = ("autoencoders", "score", "energy", "decoders", "evaluators", "evaluate", "report")
FOLLOWERS: dict[str, tuple[str, ...]] = {
    "autoencoders": ("score", "energy", "decoders", "evaluate", "report"),
    "score": ("evaluate", "report"),
    "energy": ("evaluate", "report"),
    "decoders": ("evaluate", "report"),
    "evaluators": ("evaluate", "report"),
    "evaluate": ("report",),
    "report": (),
}
_CONTENT = "content of data"
"""The key of a difference between files at one path."""

# The stages that read a section of the config. Sections that are not here belong to an evaluator.
READERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("data", "modalities", "seed", "num_train", _CONTENT), STAGES),
    **dict.fromkeys(
        ("autoencoder", "encoder_decoders", "autoencoder_training", "stack_autoencoders"),
        ("autoencoders",),
    ),
    **dict.fromkeys(("network", "score", "score_training", "race"), ("score",)),
    **dict.fromkeys(("energy", "nce", "energy_training"), ("energy",)),
    **dict.fromkeys(("decoder_diffusion", "decoder_training"), ("decoders",)),
    "sde": ("score", "energy"),
    "sampling": ("evaluate",),
    "decoding": ("evaluate",),
    "evaluation": ("evaluate",),
    "autoencoders_from": ("autoencoders",),
    "num_state_shards": (),
    "resident_bytes": (),
}
_OF_EVALUATORS = ("evaluators",)
# What the description of the data depends on.
_DATA = ("data", "modalities", "seed", "num_train", _CONTENT)
_FOLDERS = {
    "autoencoder": "autoencoders",
    "score": "score",
    "energy": "energy",
    "decoder": "decoders",
    "report": "report",
    "race": "score",
}
_FILES = {ROWS: "autoencoders", MOMENTS: "score", RESULTS: "evaluate", SAMPLES: "evaluate"}
_NOT_TRAINED = ("tensorboard", "profile", "generated")


class Difference(NamedTuple):
    """A key at which two configs differ.

    Attributes:
        key: Its place, as "score.level_mean"; or `_CONTENT`.
        stored: The value in the folder of the run; None where it has none.
        given: The value that is given now.
    """

    key: str
    stored: Any
    given: Any

    def __str__(self) -> str:
        if self.key == _CONTENT:
            return f"the content of {self.given}"
        return f"config.{self.key} ({self.stored!r} there, {self.given!r} here)"

    @property
    def readers(self) -> tuple[str, ...]:
        """The stages that read the key."""
        if self.key == "evaluation.name":
            return _OF_EVALUATORS
        if self.key == "evaluation.batch_size":
            return ()  # other random numbers, of the same distribution, and nothing is trained on them
        if re.search(
            r"(^|[._])training\.(patience|checkpoint_every|held_out_every|max_minutes)$", self.key
        ):
            return ()  # a finished training does not ask for them again
        return READERS.get(self.key.split(".")[0], _OF_EVALUATORS)

    @property
    def moves_the_end(self) -> bool:
        """Whether a training only goes on for longer."""
        if not re.search(r"(^|[._])training\.", self.key):
            return False
        numbers = isinstance(self.stored, int) and isinstance(self.given, int)
        return self.key.endswith(".num_steps") and numbers and self.given > self.stored


@dataclass(frozen=True, kw_only=True)
class Changes:
    """How a config differs from that in the folder of a run, and what it makes of the folder.

    Attributes:
        differences: The keys that differ.
        stale: The stages that are done again, in their order.
        redo: The stage from which the user wants to do them again; "" for none.
        data: Whether the data must be described again.
    """

    differences: tuple[Difference, ...] = ()
    stale: tuple[str, ...] = ()
    redo: str = ""
    data: bool = False


def find_changes(
    workdir: Path, config: Mapping[str, Any], redo: str,
    same_data: Callable[[Mapping[str, Any]], bool | None],
    data_at_hand: bool = False,
) -> Changes:  # fmt: skip
    """Compare a config with that in a folder, without writing anything.

    Args:
        workdir: The folder of a run, which need not exist.
        config: The config, without open values.
        redo: The stage that is to be done again, with all that depends on it; "" for none. A run that was
            interrupted while it did so is only resumed.
        same_data: Says whether the data at the path that the config names are those of the run, whose config
            it is given; None if unknown.
        data_at_hand: Whether to ask that also where the config names the same data as the run.

    Returns:
        The changes.

    Raises:
        ValueError: If `redo` is no stage, if something in the folder does not fit the config and is not to be
            done again, or if the folder's config cannot be read.
    """
    if redo and redo not in STAGES:
        raise ValueError(f"redo must be one of {', '.join(STAGES)}, got {redo!r}")
    stored = read_config(workdir)
    if stored is None:
        return Changes()
    found = tuple(find_differences(with_defaults(stored, config), with_defaults(config, stored)))
    moved = "data.path" in [d.key for d in found]
    same = same_data(stored) if moved or data_at_hand else None
    told = [d for d in found if not (same and d.key == "data.path")]
    if same is False and not moved:
        path = config["data"].get("path")
        told.append(Difference(_CONTENT, path, path))
    changed = {
        s for d in told if not d.moves_the_end for r in d.readers for s in (r, *FOLLOWERS[r])
    }
    changed |= {s for d in told if d.moves_the_end for r in d.readers for s in FOLLOWERS[r]}
    unfit = _in_order(changed & set(find_done(workdir)))
    pending = (workdir / REDO).read_text() if (workdir / REDO).exists() else ""
    stale: set[str] = set()
    if redo and (redo != pending or unfit):
        later = [stage for stage in unfit if STAGES.index(stage) >= STAGES.index(redo)]
        stale = {redo, *FOLLOWERS[redo], *later}
    left = [stage for stage in unfit if stage not in stale]
    if left:
        raise ValueError(
            f"workdir {workdir} holds a run that differs in {', '.join(map(str, told))}: choose another "
            f"workdir, or set redo={left[0]!r} to do {', '.join(left)} again in this one"
        )
    described = any(d.key.split(".")[0] in _DATA for d in told)
    return Changes(differences=found, stale=tuple(_in_order(stale)), redo=redo, data=described)


def find_differences(stored: Any, given: Any, where: str = "") -> list[Difference]:
    """Return the keys at which two nested dicts differ, in their order."""
    if isinstance(stored, Mapping) and isinstance(given, Mapping):
        keys = sorted({*stored, *given})
        return [
            difference
            for key in keys
            for difference in find_differences(stored.get(key), given.get(key), f"{where}.{key}")
        ]
    # JSON has only lists.
    same = _as_lists(stored) == _as_lists(given)
    return [] if same else [Difference(where.removeprefix("."), stored, given)]


def outputs(workdir: Path) -> dict[str, list[Path]]:
    """Return the files and folders that each stage has left in the folder of a run."""
    found: dict[str, list[Path]] = {stage: [] for stage in STAGES}
    for child in workdir.iterdir() if workdir.exists() else ():
        if child.name in _FILES:
            found[_FILES[child.name]].append(child)
        elif child.is_dir() and child.name in _FOLDERS:
            found[_FOLDERS[child.name]].append(child)
        elif child.is_dir() and child.name not in _NOT_TRAINED and _has_checkpoints(child):
            found["evaluators"].append(child)
    return found


def find_done(workdir: Path) -> list[str]:
    """Return the stages that have left something that a later one, or a user, may read."""
    return [
        stage
        for stage, paths in outputs(workdir).items()
        if any(
            p.name in (RESULTS, "report", "race") or (p.is_dir() and _has_checkpoints(p))
            for p in paths
        )
    ]


def _has_checkpoints(folder: Path) -> bool:
    """Return whether a folder, or one in it, holds checkpoints, which are named after their steps."""
    inside = [child for child in folder.iterdir() if child.is_dir()]
    return any(child.name.isdigit() for child in inside) or any(map(_has_checkpoints, inside))


def _in_order(stages: Iterable[str]) -> list[str]:
    return [stage for stage in STAGES if stage in stages]


def _as_lists(value: Any) -> Any:
    return list(map(_as_lists, value)) if isinstance(value, list | tuple) else value
