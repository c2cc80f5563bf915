"""The parts of a model as JSON, and back, without a pickle.

An object becomes `{"class": NAME, FIELD: VALUE, ...}` with all fields of its dataclass. Those at their
defaults are included, so that a model does not change when a default does. NAME is a name in `CLASSES`,
which stays the same when the class moves, or "MODULE:CLASS" for a class from outside of this package. Lists
and tuples become lists, and come back as tuples.

Reading imports nothing that a file names. A class is either in `CLASSES` or one that the caller passes.
"""

import dataclasses
import functools
import importlib
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeGuard

import jax.numpy as jnp
import numpy as np

from sbmae_jax._check import short_repr
from sbmae_jax.data import scaling
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.models.coders import FrozenCoder

CLASSES = {
    "model": "sbmae_jax.models.model:Model",
    "modality": "sbmae_jax.models.autoencoder:Modality",
    "autoencoder": "sbmae_jax.models.autoencoder:Autoencoder",
    "frozen": "sbmae_jax.models.coders:FrozenAutoencoder",
    "sampling": "sbmae_jax.sampling.generate:SamplingConfig",
    "decoder": "sbmae_jax.models.diffusion_decoder:DiffusionDecoder",
    "decoding": "sbmae_jax.models.diffusion_decoder:DecodingConfig",
    "denoiser/conv": "sbmae_jax.nets.conv_denoiser:ConvDenoiser",
    "denoiser/mixer": "sbmae_jax.nets.mixer:MixerDenoiser",
    "sde/vp": "sbmae_jax.sampling.sde:VP",
    "sde/sub_vp": "sbmae_jax.sampling.sde:SubVP",
    "sde/ve": "sbmae_jax.sampling.sde:VE",
    "sde/edm": "sbmae_jax.sampling.sde:EDM",
    "encoder/patch": "sbmae_jax.nets.patch:PatchEncoder",
    "decoder/patch": "sbmae_jax.nets.patch:PatchDecoder",
    "encoder/resnet": "sbmae_jax.nets.resnet:ResNetEncoder",
    "decoder/resnet": "sbmae_jax.nets.resnet:ResNetDecoder",
    "encoder/dense": "sbmae_jax.nets.dense:DenseEncoder",
    "decoder/dense": "sbmae_jax.nets.dense:DenseDecoder",
    "encoder/vector": "sbmae_jax.nets.vector:VectorEncoder",
    "decoder/vector": "sbmae_jax.nets.vector:VectorDecoder",
    "encoder/text": "sbmae_jax.nets.text:TextEncoder",
    "decoder/text": "sbmae_jax.nets.text:TextDecoder",
    "score/hub": "sbmae_jax.nets.hub:HubScore",
    "score/mlp": "sbmae_jax.nets.mlp:MLPScore",
    "score/transformer": "sbmae_jax.nets.transformer:TransformerScore",
    "score/unet": "sbmae_jax.nets.unet:UNetScore",
    "energy/pair": "sbmae_jax.nets.energy:PairEnergy",
    "energy/tower": "sbmae_jax.nets.energy:TowerEnergy",
}
"""Where the class of each name is. Names are for ever, because files hold them; places may change."""

_NAMES = {place: name for name, place in CLASSES.items()}
_OWN = ("dtype", "scaling")  # classes that are written in a way of their own


class UnknownClassError(ValueError):
    """A file names a class that is neither in `CLASSES` nor passed by the caller."""


def encode(value: Any, place: str) -> Any:
    """Return a value as what JSON can hold.

    Args:
        value: None, a number, a string, a dtype, a `Scaling`, a dataclass or a Flax module, or a tuple or
            list of these. A field with a function is left out if the function is the default.
        place: What the value is, for messages.

    Returns:
        Values that `decode` reads.

    Raises:
        ValueError: For a value of another type, and for a number that is not finite.

    Example:
        >>> from sbmae_jax import VE
        >>> encode(VE(), "sde")
        {'class': 'sde/ve', 'sigma_min': 0.01, 'sigma_max': 50.0}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, tuple | list):
        return [encode(entry, f"{place}[{i}]") for i, entry in enumerate(value)]
    if isinstance(value, FrozenCoder):
        return None  # functions are not saved: `load` is given them again
    if isinstance(value, Scaling):
        return {"class": "scaling", **scaling.to_json(value)}
    if _is_dtype(value):
        return {"class": "dtype", "name": jnp.dtype(value).name}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return encode_object(value, place)
    raise ValueError(
        f"{place} cannot be saved, because it is {short_repr(value)}: make it a finite number, a string, or "
        "a dataclass of these, for example the name of a function instead of the function"
    )


def encode_object(instance: Any, place: str, leave_out: Collection[str] = ()) -> dict[str, Any]:
    """Return a dataclass or a Flax module as `encode` does, without some of its fields."""
    fields = {
        field.name: encode(getattr(instance, field.name), f"{place}.{field.name}")
        for field in _fields(type(instance))
        if field.name not in leave_out and not _is_default(field, instance)
    }
    return {"class": name_of(type(instance)), **fields}


def decode(value: Any, classes: Mapping[str, type]) -> Any:
    """Return the value that `encode` wrote.

    Args:
        value: What JSON holds.
        classes: Classes from outside of this package, by their names, see `classes_by_name`.

    Raises:
        UnknownClassError: For a class that is not known.
        ValueError, TypeError, KeyError, AttributeError: For values that do not fit a class.
    """
    if isinstance(value, list):
        return tuple(decode(entry, classes) for entry in value)
    if not isinstance(value, Mapping):
        return value
    name, fields = value["class"], {key: v for key, v in value.items() if key != "class"}
    if name == "scaling":
        return scaling.from_json(fields)
    if name == "dtype":
        return jnp.dtype(fields["name"])
    return decode_object(value, classes)


def decode_object(value: Mapping[str, Any], classes: Mapping[str, type], **more: Any) -> Any:
    """Make the object that `encode_object` wrote.

    Args:
        value: What JSON holds. Fields that are missing get their defaults.
        classes: As for `decode`.
        **more: The fields that were left out.

    Raises:
        UnknownClassError: For a class that is not known.
        ValueError, TypeError, KeyError, AttributeError: For values that do not fit the class.
    """
    found = _find(value["class"], classes)
    fields = {key: v for key, v in value.items() if key != "class"}
    known = [field.name for field in _fields(found)]
    for field in fields:
        if field not in known:
            raise ValueError(f"{value['class']} has no field {field!r}")
    return found(**{key: decode(v, classes) for key, v in fields.items()}, **more)


def classes_by_name(classes: Sequence[type]) -> dict[str, type]:
    """Return classes by the names that files have for them.

    Raises:
        ValueError: For anything but classes.
    """
    if isinstance(classes, type | str) or not all(isinstance(c, type) for c in classes):
        raise ValueError(
            f"classes must be a list of classes, as in classes=[MyEncoder], got {short_repr(classes)}"
        )
    return {name_of(one): one for one in classes}


def name_of(cls: type) -> str:
    """Return the name of a class in files: that of `CLASSES`, or "MODULE:CLASS"."""
    place = f"{cls.__module__}:{cls.__qualname__}"
    return _NAMES.get(place, place)


def _find(name: Any, classes: Mapping[str, type]) -> type:
    """Return the class that a file names."""
    if isinstance(name, str) and name in CLASSES:
        module, _, attribute = CLASSES[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    if not isinstance(name, str) or name in _OWN:
        raise TypeError(f"a part cannot be of the class {short_repr(name)}")
    if name in classes:
        return classes[name]
    _, colon, short = name.partition(":")
    if not colon:
        raise UnknownClassError(
            f"the class {name!r} is unknown to this version of sbmae_jax: install a newer version"
        )
    # A class may have moved since, from a script to a module for example.
    alike = [one for other, one in classes.items() if other.partition(":")[2] == short]
    if len(alike) == 1:
        return alike[0]
    simple = short.rpartition(".")[2]
    raise UnknownClassError(
        f"the class {name!r} is not part of sbmae_jax: import it, and pass it as "
        f"load(..., classes=[{simple}])"
    )


@functools.cache
def _fields(cls: type) -> tuple[dataclasses.Field, ...]:
    """Return the fields of a class that a model depends on."""
    fields = tuple(field for field in dataclasses.fields(cls) if field.init)
    is_module = any(field.name == "parent" for field in fields)  # of Flax
    return tuple(f for f in fields if not (is_module and f.name == "parent"))


def _is_default(field: dataclasses.Field, instance: Any) -> bool:
    """Return whether a field has nothing to write: a default function, or no name of a Flax module."""
    value = getattr(instance, field.name)
    if field.name == "name" and hasattr(instance, "parent"):
        return value is None
    return callable(value) and not _is_dtype(value) and value is field.default


def _is_dtype(value: Any) -> TypeGuard[type]:
    """Return whether a value is a dtype, or a type of numbers such as `jnp.float32` or `np.float32`."""
    if isinstance(value, type) and issubclass(value, np.generic):
        return True
    found = getattr(value, "dtype", value)
    return isinstance(found, np.dtype) and not hasattr(value, "__array__")
