"""What the data of a run are, without the data: enough to load its model elsewhere."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sbmae_jax._io import write
from sbmae_jax.data import scaling
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.source import Source


class Description(NamedTuple):
    """shapes, dtypes: of one example of each array.

    entries: names of the classes of `label`, and of the entries of a vector, where they have names.
    scalings: how the modalities of a user's files are prepared; none for data that need it not.
    """

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, np.dtype]
    entries: Mapping[str, tuple[str, ...]]
    scalings: Mapping[str, Scaling] = {}


def describe(source: Source) -> Description:
    """Describe a source."""
    return Description(
        dict(source.shapes), dict(source.dtypes), dict(source.entries), dict(source.scalings)
    )


def save(path: Path, description: Description) -> None:
    """Write a description as JSON."""
    values = {
        "shapes": description.shapes,
        "dtypes": {name: np.dtype(dtype).name for name, dtype in description.dtypes.items()},
        "entries": description.entries,
        "scalings": {name: scaling.to_json(s) for name, s in description.scalings.items()},
    }
    write(path, lambda file: file.write(json.dumps(values, indent=1).encode()))


def load(path: Path) -> Description:
    """Read a description. Raises ValueError if the file is damaged."""
    try:
        values = json.loads(path.read_text())
        return Description(
            {name: tuple(shape) for name, shape in values["shapes"].items()},
            {name: np.dtype(dtype) for name, dtype in values["dtypes"].items()},
            {name: tuple(names) for name, names in values["entries"].items()},
            # Runs of older versions have none.
            {name: scaling.from_json(s) for name, s in values.get("scalings", {}).items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f"{path} is damaged: delete it, and the next run with these data writes it again"
        ) from None
