"""From a section of a config to a call, so that what does not fit is named by its key."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def choose(
    table: Mapping[str, Callable[..., T]], section: Mapping[str, Any], where: str, **given
) -> T:
    """Call the entry of a table that `section["name"]` names with the rest of the section."""
    values = dict(section)
    name = values.pop("name", None)
    if name not in table:
        raise ValueError(f"config.{where}.name: no {name!r}; choose one of {', '.join(table)}")
    return fill(table[name], values, where, **given)


def fill(make: Callable[..., T], section: Mapping[str, Any], where: str, **given) -> T:
    """Call `make` with the values of a section, and say which key of the config does not fit."""
    values = {key: as_tuples(value) for key, value in section.items()}
    try:
        return make(**given, **values)
    except TypeError as error:
        known = [f.name for f in dataclasses.fields(make)] if dataclasses.is_dataclass(make) else []
        hint = f"; its keys are {', '.join(k for k in known if k not in given)}" if known else ""
        raise ValueError(f"config.{where}: {error}{hint}") from None
    except ValueError as error:
        raise ValueError(f"config.{where}: {error}") from None


def as_tuples(value: Any) -> Any:
    """Turn lists, at any depth, into tuples: parts of a run must be hashable, and JSON has only lists."""
    return tuple(map(as_tuples, value)) if isinstance(value, list | tuple) else value


def without(section: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a section but for one key."""
    return {name: value for name, value in section.items() if name != key}
