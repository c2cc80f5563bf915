"""From a section of a config to a call, so that every refusal names the key, once.

The types of values are checked here, against the annotations of what is called. Their ranges are checked by
what is called.
"""

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any, TypeVar

import jax
import ml_collections
import numpy as np

from sbmae_jax._check import (
    did_you_mean,
    require_int,
    require_one_of,
    require_seed,
    require_type,
    short_repr,
)
from sbmae_jax._io import one_line
from sbmae_jax.app.imported import PATH, import_part, is_import_path, path_of

T = TypeVar("T")
Config = Mapping[str, Any] | ml_collections.ConfigDict
"""What a user passes as a config; `plain` turns it into dicts and values."""

# The least value of each integer, other than the seed, that every config has.
INTEGERS = {"num_train": 0, "resident_bytes": 0, "num_state_shards": 1}
# The sections that every config has. An evaluation or an energy may need more.
SECTIONS = (
    "data", "modalities", "autoencoder", "encoder_decoders", "autoencoder_training", "sde", "network",
    "score", "score_training", "sampling", "evaluation",
)  # fmt: skip
KEYS = ("seed", *INTEGERS, *SECTIONS, "stack_autoencoders", "energy")
OPTIONAL_SECTIONS = ("race", "decoder_diffusion", "decoder_training", "decoding")
OPTIONAL_KEYS: dict[str, Any] = {"autoencoders_from": "", **{key: {} for key in OPTIONAL_SECTIONS}}
"""Keys that a config may leave out, and the values that they then have."""


@dataclass(frozen=True)
class Section:
    """A section of a config, with its place in it.

    Attributes:
        place: Its keys, as messages name it: "config.sampling".
        values: Its keys and values.

    Raises:
        ValueError: If the values are not a mapping with strings for keys.

    Example:
        >>> from sbmae_jax import VP
        >>> Section("config.sde", {"beta_min": 0.1, "beta_max": 20.0}).build(VP)
        VP(beta_min=0.1, beta_max=20.0)
    """

    place: str
    values: Mapping[str, Any]

    def __post_init__(self):
        values = self.values
        if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
            raise ValueError(
                f"{self.place} must be a section of keys and values, got {short_repr(values)}"
            )

    def part(self, *keys: str) -> "Section":
        """Return the section within this one at which the keys point."""
        section = self
        for key in keys:
            if key not in section.values:
                raise ValueError(f"{section.place}: the key {key!r} is missing")
            section = Section(f"{section.place}.{key}", section.values[key])
        return section

    def require_known(self, *keys: str) -> "Section":
        """Return the section, or raise ValueError if it has other keys than these."""
        for key in self.values:
            if key not in keys:
                near = did_you_mean(key, keys)
                hint = f"its keys are {', '.join(keys)}" if keys else "it has no keys"
                raise ValueError(f"{self.place}: unknown key {key!r}{near}; {hint}")
        return self

    def needed(self, key: str, by: str) -> "Section":
        """Return a section that only another one needs. The error names both if it is missing."""
        if key not in self.values:
            raise ValueError(f"{self.place}.{by} needs a section {self.place}.{key}: add it")
        return self.part(key)

    def without(self, *keys: str) -> "Section":
        """Return the section without some of its keys."""
        left = {key: value for key, value in self.values.items() if key not in keys}
        return Section(self.place, left)

    def look_up(self, table: Mapping[str, T]) -> T:
        """Return the entry of a table that the key `name` chooses, or what its import path names."""
        name = self.values.get("name")
        if isinstance(name, str) and is_import_path(name):
            return import_part(f"{self.place}.name", name)
        require_one_of(f"{self.place}.name", name, [*table, PATH])
        return table[str(name)]

    def choose(self, table: Mapping[str, Callable[..., T]], **given: Any) -> T:
        """Build the entry of a table that the key `name` chooses from the other keys.

        What `name` imports gets those of the given arguments that it has.
        """
        make, options = self.look_up(table), self.without("name")
        if not is_import_path(self.values["name"]):
            return options.build(make, **given)
        place, path = f"{self.place}.name", self.values["name"]
        if not callable(make):
            raise ValueError(f"{place}: {path!r} is {short_repr(make)}: name a class or a function")
        try:
            parameters = inspect.signature(make).parameters
            takes_all = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
            return options.build(
                make, **{key: v for key, v in given.items() if takes_all or key in parameters}
            )
        except ValueError:
            raise
        except Exception as error:  # the code of others raises anything
            raise ValueError(
                f"{place}: {path!r} failed ({type(error).__name__}: {one_line(error, 300)})"
            ) from error

    def build(self, make: Callable[..., T], **given: Any) -> T:
        """Call a function or class with the values of this section.

        Args:
            make: What to call. Lists become tuples on the way.
            **given: Arguments that are no business of the config.

        Raises:
            ValueError: Naming the section and the key, for a key that `make` does not have or that is
                missing, for a value of another type than its annotation says, and for what `make` refuses.
        """
        parameters = inspect.signature(make).parameters
        # Every Flax network has these two, which are not for a config to set.
        hidden = ("parent", "name") if "parent" in parameters else ()
        known = [name for name in parameters if name not in given and name not in hidden]
        hint = f"its keys are {', '.join(known)}" if known else "it has no keys"
        self.require_known(*known)
        values = {key: as_tuples(value) for key, value in self.values.items()}
        for key, value in values.items():
            require_type(f"{self.place}: {key}", value, parameters[key].annotation)
        for key in known:
            if key not in values and parameters[key].default is inspect.Parameter.empty:
                raise ValueError(f"{self.place}: the key {key!r} is missing; {hint}")
        try:
            return make(**given, **values)
        except ValueError as error:
            raise ValueError(f"{self.place}: {error}") from None


def check_keys(config: Mapping[str, Any]) -> None:
    """Raise ValueError if keys that every config has are missing, or if one has a value that cannot be."""
    missing = [key for key in KEYS if key not in config]
    if missing:
        raise ValueError(
            f"the config has no {', '.join(missing)}: compare it with configs/polydigits.py. To resume a run "
            "of an older version, install that version, or choose a new workdir to start afresh"
        )
    for key, low in INTEGERS.items():
        require_int(f"config.{key}", config[key], low)
    require_seed("config.seed", config["seed"])
    require_type("config.stack_autoencoders", config["stack_autoencoders"], bool)
    require_type("config.autoencoders_from", config.get("autoencoders_from", ""), str)
    root = Section("config", config)
    for key in (*SECTIONS, *[key for key in OPTIONAL_SECTIONS if key in config]):
        root.part(key)
    for name in config["modalities"]:
        root.part("modalities", name)


def plain(value: Any, place: str = "config") -> Any:
    """Return a config, or a value of one, as Python's own types.

    Args:
        value: A `ConfigDict`, frozen or not, or any mapping; sections, tuples and lists within it may be of
            these too. Numbers may be NumPy's or JAX's, paths may be objects. Classes and functions become
            their import paths. Other values stay as they are, and are refused where they are used.
        place: Its key, for messages.

    Raises:
        ValueError: For a class or a function that no import finds.

    Example:
        >>> from pathlib import Path
        >>> plain(ml_collections.ConfigDict({"data": {"path": Path("own.npz")}, "seed": np.int64(3)}))
        {'data': {'path': 'own.npz'}, 'seed': 3}
    """
    if isinstance(value, ml_collections.FieldReference):
        return plain(value.get(), place)
    if isinstance(value, ml_collections.ConfigDict | Mapping):
        return {key: plain(inner, f"{place}.{key}") for key, inner in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return value  # an object, not a value: it is refused where it is used
    if isinstance(value, tuple | list):
        entries = [plain(entry, place) for entry in value]
        return tuple(entries) if isinstance(value, tuple) else entries
    if isinstance(value, type | FunctionType) and not hasattr(value, "dtype"):
        return path_of(place, value)
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        return as_tuples(np.asarray(value).tolist())
    return str(value) if isinstance(value, os.PathLike) else value


def as_tuples(value: Any) -> Any:
    """Turn lists, at any depth, into tuples: parts of a run must be hashable, and JSON has only lists."""
    return tuple(map(as_tuples, value)) if isinstance(value, list | tuple) else value
