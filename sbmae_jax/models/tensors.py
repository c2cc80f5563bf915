"""Arrays of a model by name, and the files that hold them.

A name is the path to the array in the model, as in "params/score/params/Dense_0/kernel". In its keys "~" is
written ~0 and "/" is written ~1, as in JSON pointers (RFC 6901).
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from sbmae_jax._check import short_repr
from sbmae_jax._io import checksum, one_line, write_atomically

_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64",
    "I32": "int32", "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16",
    "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


def flatten(tree: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the name and the leaf of each leaf of a tree, and None for an empty dict.

    Args:
        tree: An array, the shape and dtype of one, or dicts of these at any depth.
        name: The name of the tree.

    Raises:
        ValueError: For a leaf that is no array that a file can hold, and for a key that is not a string.

    Example:
        >>> list(flatten({"a/b": {"c": {}}}, "params"))
        [('params/a~1b/c', None)]
    """
    if isinstance(tree, Mapping):
        for key, branch in tree.items():
            if not isinstance(key, str):
                raise ValueError(f"{name}: keys of parameters must be strings, got {key!r}")
            yield from flatten(branch, f"{name}/{key.replace('~', '~0').replace('/', '~1')}")
        if not tree:
            yield name, None
    elif getattr(getattr(tree, "dtype", None), "name", None) in _DTYPES.values():
        yield name, tree
    else:
        raise ValueError(
            f"{name} cannot be saved: parameters must be arrays in dicts, got {_kind_of(tree)}"
        )


def _kind_of(tree: Any) -> str:
    """Say what is no array that a file can hold."""
    if hasattr(tree, "dtype"):
        return f"an array of {tree.dtype}"
    return f"a {type(tree).__name__}" if isinstance(tree, list | tuple) else short_repr(tree)


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Return the trees that `flatten` took apart, by their names.

    Example:
        >>> unflatten({"params/a~1b": 1, "params/c": None, "moments/mean": 2})
        {'params': {'a/b': 1, 'c': {}}, 'moments': {'mean': 2}}
    """
    trees: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *parents, last = (p.replace("~1", "/").replace("~0", "~") for p in name.split("/"))
        branch = trees
        for key in parents:
            branch = branch.setdefault(key, {})
        branch[last] = {} if leaf is None else leaf
    return trees


def write_tensors(
    path: Path, arrays: Mapping[str, np.ndarray], metadata: dict[str, str] | None = None
) -> None:
    """Write arrays in the format of safetensors, atomically, and read them back.

    Args:
        path: The file, which is replaced if it exists.
        arrays: The arrays by name.
        metadata: Strings that the head of the file holds.

    Raises:
        OSError: The file could not be written.
    """
    ready = {name: np.require(array, requirements="C") for name, array in arrays.items()}
    content, wanted = safetensors.numpy.save(ready, metadata), digest(arrays)
    write_atomically(
        path,
        lambda file: file.write(content),
        lambda part: digest(read_tensors(part)[0]) == wanted,
    )


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read what `write_tensors` wrote: the arrays by name, and the metadata.

    Raises:
        ValueError: In one sentence, for a file that is missing, truncated or damaged.
    """
    try:
        content = path.read_bytes()
        arrays = {
            name: np.frombuffer(found["data"], jnp.dtype(_DTYPES[found["dtype"]])).reshape(
                found["shape"]
            )
            for name, found in safetensors.deserialize(content)
        }
        head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return arrays, head.get("__metadata__", {})
    except (OSError, safetensors.SafetensorError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} is missing, truncated or damaged ({one_line(error, 200)}): copy it again, or save the "
            "model again"
        ) from None


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of arrays, whatever file they are in."""
    of_numpy = {
        name: array.view(np.uint16) if array.dtype == jnp.bfloat16 else array
        for name, array in arrays.items()
    }
    return checksum(of_numpy)
