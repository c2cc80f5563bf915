"""From a section of a config to a call, so that what does not fit is named by its key."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sbmae_jax._check import require_int, require_type, short_repr

T = TypeVar("T")

# What every config has; what an evaluation needs beyond it is its own.
KEYS = (
    "seed", "data", "num_train", "resident_bytes", "num_state_shards", "modalities", "autoencoder",
    "stack_autoencoders", "encoder_decoders", "autoencoder_training", "sde", "network", "score",
    "score_training",
    "energy", "sampling", "evaluation",
)  # fmt: skip


def check_keys(config: Mapping[str, Any]) -> None:
    """Raise ValueError if a config lacks keys, as one of an older version does, or values are no such."""
    missing = [key for key in KEYS if key not in config]
    if missing:
        raise ValueError(
            f"the config has no {', '.join(missing)}: compare it with configs/polydigits.py; a run of an "
            "older version needs that version, or a new --workdir"
        )
    require_int("config.seed", config["seed"], high=2**32 - 1)
    require_int("config.num_train", config["num_train"])
    require_int("config.resident_bytes", config["resident_bytes"])
    require_int("config.num_state_shards", config["num_state_shards"], low=1)
    require_type("config.stack_autoencoders", config["stack_autoencoders"], bool)
    plain = (
        "seed", "num_train", "resident_bytes", "num_state_shards", "stack_autoencoders", "energy"
    )  # fmt: skip
    for key in KEYS:
        if key not in plain:
            part(config, key)
    for name in config["modalities"]:
        part(config, "modalities", name)


def choose(
    table: Mapping[str, Callable[..., T]], section: Mapping[str, Any], where: str, **given
) -> T:
    """Call the entry of a table that `section["name"]` names with the rest of the section.

    Raises ValueError, naming the key, as `fill`, and for a name that the table has not.
    """
    make = chosen(table, section, where)
    return fill(make, without(section, "name"), where, **given)


def chosen(table: Mapping[str, T], section: Any, where: str) -> T:
    """Return the entry of a table that `section["name"]` names; raises ValueError if there is none."""
    name = entries(section, where).get("name")
    if not isinstance(name, str) or name not in table:
        raise ValueError(
            f"config.{where}.name: no {short_repr(name)}; choose one of {', '.join(table)}"
        )
    return table[name]


def fill(make: Callable[..., T], section: Mapping[str, Any], where: str, **given) -> T:
    """Call `make` with the values of a section.

    Raises ValueError, naming the key of the config, for a section that is none, for keys that `make` does not
    take or lacks, for values that are not of the types it says, and for what it raises itself.
    """
    parameters = inspect.signature(make).parameters
    # Those of Flax's own that every network has are not of the config.
    hidden = ("parent", "name") if "parent" in parameters else ()
    known = [name for name in parameters if name not in given and name not in hidden]
    hint = f"its keys are {', '.join(known)}" if known else "it has no keys"
    values = {key: as_tuples(value) for key, value in entries(section, where).items()}
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"config.{where}: there is no key {key!r}; {hint}")
        require_type(f"config.{where}: {key}", value, parameters[key].annotation)
    for key in known:
        if key not in values and parameters[key].default is inspect.Parameter.empty:
            raise ValueError(f"config.{where}: the key {key!r} is missing; {hint}")
    try:
        return make(**given, **values)
    except ValueError as error:
        raise ValueError(f"config.{where}: {error}") from None


def entries(section: Any, where: str) -> Mapping[str, Any]:
    """Return a section as it is; raises ValueError if it is not one of keys and values."""
    if not isinstance(section, Mapping) or not all(isinstance(key, str) for key in section):
        raise ValueError(
            f"config.{where}: must be a section of keys and values, got {short_repr(section)}"
        )
    return section


def part(config: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """Return a section of a config, or one within it; raises ValueError if it is none, or not there."""
    section: Any = config
    for depth, key in enumerate(keys):
        if key not in section:
            above = ".".join(["config", *keys[:depth]])
            raise ValueError(f"{above}: the key {key!r} is missing")
        section = entries(section[key], ".".join(keys[: depth + 1]))
    return section


def needed(config: Mapping[str, Any], key: str, by: str) -> Mapping[str, Any]:
    """Return a section that only another one needs; raises ValueError, naming both, if it is not there."""
    if key not in config:
        raise ValueError(f"config.{by}: it needs a section config.{key}, which is missing")
    return part(config, key)


def as_tuples(value: Any) -> Any:
    """Turn lists, at any depth, into tuples: parts of a run must be hashable, and JSON has only lists."""
    return tuple(map(as_tuples, value)) if isinstance(value, list | tuple) else value


def without(section: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a section but for one key."""
    return {name: value for name, value in section.items() if name != key}
