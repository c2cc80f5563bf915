"""A model in a folder, or in one file, that outlasts the code that wrote it.

A saved model is a JSON document and the arrays that the document describes. In a folder they are `model.json`
and `model.safetensors`. In a single file, whose name ends in `.safetensors`, the document is in the metadata
under the key "sbmae_jax". The keys of the document:

    format          "sbmae_jax model"
    format_version  an integer; a reader refuses versions that are newer than its own
    provenance      the commit and the versions of packages that wrote the model, for people
    model           the architecture, as `codec` writes it: modalities, networks, scalings, process, sampling
    tensors         {name: {"dtype", "shape"}} of the model's arrays, named as in `tensors`; null for an empty
                    dict of parameters
    sha256          of the arrays as they are stored

Arrays may be stored in fewer bits than the model has, and come back in the dtypes of the model. Reading
executes nothing that a file holds: classes are looked up as `codec` says, and arrays are bytes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax import _provenance
from sbmae_jax._check import require_one_of
from sbmae_jax._io import as_path, one_line, require_folder, require_writable, write_atomically
from sbmae_jax.models import codec
from sbmae_jax.models.diffusion_decoder import no_spreads
from sbmae_jax.models.factor_gaussian import FactorGaussian
from sbmae_jax.models.freezing import with_coders
from sbmae_jax.models.latents import Moments, moments_of_tree
from sbmae_jax.models.tensors import digest, flatten, read_tensors, unflatten, write_tensors

FORMAT, FORMAT_VERSION = "sbmae_jax model", 1
DOCUMENT, TENSORS, SUFFIX = "model.json", "model.safetensors", ".safetensors"
METADATA = "sbmae_jax"
"""The key of the document in the metadata of a single file."""

DTYPES = ("float32", "bfloat16")
"""In which parameters of float32 can be stored."""

AGAIN = "copy it again, or save the model again"
_TREES = ("params", "moments")  # the fields of a model that hold arrays


class _OtherArraysError(Exception):
    """A file of arrays does not have those that it should have."""


def save_model(model: Any, path: str | Path, dtype: str | None = None) -> None:
    """Write a model to a folder or to a file, see `Model.save`."""
    path = as_path(path)
    if dtype is not None:
        require_one_of("dtype", dtype, DTYPES)
    leaves = dict(_leaves(model.params, model.moments))
    arrays = {name: np.asarray(leaf) for name, leaf in leaves.items() if leaf is not None}
    if dtype == "bfloat16":
        arrays = {name: _narrowed(name, array) for name, array in arrays.items()}
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "provenance": {"commit": _provenance.commit(), "versions": _provenance.versions()},
        "model": codec.encode_object(model, "model", leave_out=_TREES),
        "tensors": {
            name: leaf if leaf is None else {"dtype": leaf.dtype.name, "shape": leaf.shape}
            for name, leaf in leaves.items()
        },
        "sha256": digest(arrays),
    }
    if path.suffix == SUFFIX:
        require_writable(path)
        write_tensors(path, arrays, {METADATA: json.dumps(document, allow_nan=False)})
    else:
        _require_own_folder(path)
        text = json.dumps(document, indent=1, allow_nan=False)
        write_tensors(path / TENSORS, arrays)
        write_atomically(path / DOCUMENT, lambda file: file.write(text.encode()))


def is_saved_model(path: Path) -> bool:
    """Return whether a path is that of a saved model, by the names of files alone."""
    if path.suffix == SUFFIX and not path.is_dir():
        return True
    return any((path / name).exists() for name in (DOCUMENT, TENSORS))


def load_saved(
    path: str | Path, classes: Sequence[type] = (), coders: Mapping[str, Any] | None = None
) -> Any:
    """Read a model that `save_model` wrote.

    Args:
        path: The folder or the file.
        classes: Classes from outside of this package that the model has parts of.
        coders: The frozen coders that the model was trained with, by modality.

    Returns:
        The `Model`, on the default device.

    Raises:
        ValueError: In one sentence, for a file that is missing, truncated, damaged or of a newer version of
            the format; for a class that is not known; and for arrays that are missing or have other shapes.

    Example:
        Read a model with an encoder of one's own::

            model = load_saved("models/mine", classes=[MyEncoder])
    """
    path, known = as_path(path), codec.classes_by_name(classes)
    in_folder = path.suffix != SUFFIX or path.is_dir()
    source = tensors = path / TENSORS if in_folder else path
    arrays, metadata = read_tensors(tensors)
    text = metadata.get(METADATA)
    if in_folder and (text is None or (path / DOCUMENT).exists()):
        source = path / DOCUMENT
        text = source.read_text(errors="replace") if source.exists() else None
    document = _parse(text, source)
    trees = unflatten(_restored(document, arrays, source, tensors))
    try:
        moments = moments_of_tree(trees["moments"])
        model = codec.decode_object(
            document["model"], known, params=trees["params"], moments=moments
        )
        _check_networks(model)
    except codec.UnknownClassError as error:
        raise ValueError(f"{source}: {error}") from None
    except Exception as error:  # networks and constructors raise errors of many types
        raise ValueError(
            f"{source} does not fit its networks ({one_line(error, 300)}): {AGAIN}"
        ) from None
    return with_coders(model, coders)


def _narrowed(name: str, array: np.ndarray) -> np.ndarray:
    """Return a parameter of float32 as bfloat16; moments are few, and stay as they are."""
    narrow = name.startswith("params/") and array.dtype == np.float32
    return array.astype(jnp.bfloat16) if narrow else array


def _require_own_folder(path: Path) -> None:
    """Raise ValueError if a model cannot be saved in a folder, which is made if it does not exist."""
    if path.exists() and not path.is_dir():
        raise ValueError(
            f"{path} is a file: choose the name of a folder, or a name that ends in {SUFFIX}"
        )
    if (path / "config.json").exists() and (path / "data.json").exists():
        raise ValueError(f"{path} is the workdir of a run: choose another folder for the model")
    require_folder(path)


def _parse(text: Any, source: Path) -> dict[str, Any]:
    """Return the document that a text holds, of a version that can be read."""
    if text is None:
        raise ValueError(f"{source} is missing, or is not of a model that sbmae_jax has saved")
    try:
        document = json.loads(text)
        found, version = document["format"], int(document["format_version"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError(f"{source} is damaged, its JSON cannot be read: {AGAIN}") from None
    if found != FORMAT:
        raise ValueError(f"{source} is not of a model that sbmae_jax has saved")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{source} has version {version} of the format, and this sbmae_jax reads versions up to "
            f"{FORMAT_VERSION}: install a newer sbmae_jax"
        )
    if not isinstance(document.get("tensors"), dict):
        raise ValueError(f"{source} is damaged, it does not list the arrays: {AGAIN}")
    return document


def _restored(
    document: Mapping[str, Any], arrays: Mapping[str, np.ndarray], source: Path, tensors: Path
) -> dict[str, Any]:
    """Return the arrays that a document lists, in the dtypes of the model, and None for an empty dict.

    Raises:
        ValueError: If the file has other arrays.
    """
    restored: dict[str, Any] = {}
    try:
        for name, entry in document["tensors"].items():
            if entry is None:
                restored[name] = None
                continue
            dtype, shape = jnp.dtype(entry["dtype"]), tuple(entry["shape"])
            if name not in arrays:
                raise _OtherArraysError(f"lacks the array {name}")
            if arrays[name].shape != shape:
                raise _OtherArraysError(f"has the array {name} in shape {arrays[name].shape}")
            restored[name] = arrays[name].astype(dtype)
    except (TypeError, KeyError, AttributeError):
        raise ValueError(f"{source} is damaged, it does not list the arrays: {AGAIN}") from None
    except _OtherArraysError as error:
        raise ValueError(f"{tensors} {error}, other than {source} says: {AGAIN}") from None
    if digest(arrays) != document.get("sha256"):
        raise ValueError(f"{tensors} has other arrays than {source} describes: {AGAIN}")
    return jax.device_put(restored)


def _check_networks(model: Any) -> None:
    """Raise ValueError if arrays are missing that the networks of a model need, or have other shapes.

    Parts that do not make parameters are not asked: a pair of functions has those that it was given.
    """
    size, num = model.layout.size, len(model.modalities)
    key, x, levels = jax.random.key(0), jnp.zeros((1, size)), jnp.zeros((1, num))
    made: dict[Any, Any] = {}  # modalities that are alike are traced once
    for modality, autoencoder in zip(model.modalities, model.autoencoders, strict=True):
        if autoencoder not in made and hasattr(autoencoder, "task"):
            batch = {"x": jnp.zeros((1, *modality.shape))}
            made[autoencoder] = jax.eval_shape(autoencoder.task.init, key, batch)
    names = zip((m.name for m in model.modalities), model.autoencoders, strict=True)
    params: dict[str, Any] = {"autoencoders": {name: made[a] for name, a in names if a in made}}
    for name, decoder in model.decoders:
        modality = model.modalities[model.layout.names.index(name)]
        task = decoder.task(None, None, no_spreads(modality.latent_size))
        shapes = jax.eval_shape(task.init, key, {"x": jnp.zeros((1, *modality.shape))})
        params["decoders"] = params.get("decoders", {}) | {name: shapes}
    if hasattr(model.score_network, "init"):
        params["score"] = jax.eval_shape(model.score_network.init, key, x, levels)
    if hasattr(model.energy_network, "init"):
        observed = jnp.zeros((1, num), bool)
        params["energy"] = jax.eval_shape(model.energy_network.init, key, x, levels, observed)
    moments, covariance = Moments(x[0], x[0]), model.moments.covariance
    if covariance is not None:
        loadings = jnp.zeros((size, jnp.shape(covariance.loadings)[-1]))
        sizes = model.layout.sizes if model.moments.rotation else ()
        rotation = tuple(jnp.zeros((d, d)) for d in sizes)
        moments = Moments(x[0], x[0], rotation, FactorGaussian(loadings, x[0]))
    found = dict(_leaves(model.params, model.moments))
    for name, leaf in _leaves(params, moments):
        shape = None if name not in found else np.shape(found[name])
        if leaf is not None and shape != leaf.shape:
            has = "is missing" if shape is None else f"has shape {shape}"
            raise ValueError(f"the array {name} {has}, and must have {leaf.shape}")


def _leaves(params: Any, moments: Moments) -> Iterator[tuple[str, Any]]:
    """Yield the names and the leaves of all arrays of a model."""
    yield from flatten(params, "params")
    yield from flatten(moments.as_tree(), "moments")
