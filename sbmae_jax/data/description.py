"""A description of a run's data, without the data: enough to load its model elsewhere."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sbmae_jax._io import write_atomically
from sbmae_jax.data import scaling
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.source import Source


class Description(NamedTuple):
    """The shapes, dtypes and names of a data set, and how its modalities are scaled.

    A run keeps it in its workdir, so that its model can be loaded where the data are not.

    Attributes:
        shapes: The shape of one example of each array.
        dtypes: The dtype of each array.
        entries: The names of the classes of `label`, and of the entries of vectors that have names.
        scalings: How each modality of a user's files is scaled; empty for data that come prepared.
        ignored: The arrays and columns of a user's files that are not modelled.
        fingerprint: What tells a user's files from others, wherever they are; "" for other data.

    Example:
        >>> from sbmae_jax.data.source import ArraySource
        >>> describe(ArraySource({"x": np.zeros((5, 2), np.float32)})).shapes
        {'x': (2,)}
    """

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, np.dtype]
    entries: Mapping[str, tuple[str, ...]]
    scalings: Mapping[str, Scaling] = {}
    ignored: tuple[str, ...] = ()
    fingerprint: str = ""


def describe(source: Source) -> Description:
    """Describe a data set."""
    return Description(
        dict(source.shapes), dict(source.dtypes), dict(source.entries), dict(source.scalings),
        source.ignored, source.fingerprint,
    )  # fmt: skip


def save(path: Path, description: Description) -> None:
    """Write a description as JSON."""
    values = {
        "shapes": description.shapes,
        "dtypes": {name: np.dtype(dtype).name for name, dtype in description.dtypes.items()},
        "entries": description.entries,
        "scalings": {name: scaling.to_json(s) for name, s in description.scalings.items()},
        "ignored": description.ignored,
        "fingerprint": description.fingerprint,
    }
    write_atomically(
        path, lambda file: file.write(json.dumps(values, indent=1, allow_nan=False).encode())
    )


def load(path: Path) -> Description:
    """Read a description that `save` wrote.

    Args:
        path: The JSON file.

    Returns:
        The description.

    Raises:
        ValueError: If the file is damaged.
    """
    try:
        values = json.loads(path.read_text())
        return Description(
            {name: tuple(shape) for name, shape in values["shapes"].items()},
            {name: np.dtype(dtype) for name, dtype in values["dtypes"].items()},
            {name: tuple(names) for name, names in values["entries"].items()},
            {name: scaling.from_json(s) for name, s in values["scalings"].items()},
            tuple(values.get("ignored", ())),
            values.get("fingerprint", ""),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f"{path} is damaged: delete it, and the next run on these data will write it again"
        ) from None
