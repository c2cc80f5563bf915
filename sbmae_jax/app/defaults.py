"""The keys that a config may leave out, and the values that they then have.

A later version may add a key to what a section of the config builds. Its default must be what earlier
versions did. Then a config without the key and one with the key at its default are the same config, and a
run of an earlier version is resumed.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sbmae_jax.app.build import ENERGIES, SCORES, SDES, SOURCES
from sbmae_jax.app.encoder_decoders import ENCODER_DECODERS
from sbmae_jax.app.evaluations import CLASSIFIERS
from sbmae_jax.app.sections import OPTIONAL_KEYS
from sbmae_jax.evaluation.faces.protocol import FaceProtocol
from sbmae_jax.evaluation.labels.factor_protocol import FactorProtocol
from sbmae_jax.evaluation.labels.protocol import SharedLabelProtocol
from sbmae_jax.evaluation.paired.protocol import PairedProtocol
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.diffusion_decoder import DecodingConfig
from sbmae_jax.models.energy import NCEConfig
from sbmae_jax.models.score import ScoreMatchingConfig
from sbmae_jax.sampling.generate import SamplingConfig
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.race import RaceConfig

Make = Callable[..., Any]
Built = Make | Mapping[str, Make] | Mapping[str, tuple[Make, Make]]

# What a section builds: one thing, or one that its key `name` chooses. A star stands for any key.
_BUILT: dict[str, Built] = {
    "data": SOURCES,
    "modalities.*": Modality,
    "encoder_decoders.*": ENCODER_DECODERS,
    "autoencoder_training": TrainingConfig,
    "sde": SDES,
    "network": SCORES,
    "score": ScoreMatchingConfig,
    "score_training": TrainingConfig,
    "race": RaceConfig,
    "energy": ENERGIES,
    "nce": NCEConfig,
    "energy_training": TrainingConfig,
    "decoder_training": TrainingConfig,
    "sampling": SamplingConfig,
    "decoding": DecodingConfig,
    "classifier": CLASSIFIERS,
    "classifier_training": TrainingConfig,
    "predictor_training.*": TrainingConfig,
    "evaluation": {
        "classes": SharedLabelProtocol, "factors": FactorProtocol, "faces": FaceProtocol,
        "paired": PairedProtocol,
    },
}  # fmt: skip
_HIDDEN = ("parent", "name")  # that Flax adds to every network
_VALUES = (bool, int, float, str, tuple, type(None))


def with_defaults(config: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with the keys that it leaves out and another one has, at their defaults.

    Args:
        config: Dicts and values. Sections that are not as they should be stay as they are.
        other: The other config.

    Example:
        >>> with_defaults({"sde": {"name": "vp"}}, {"sde": {"name": "vp", "beta_min": 0.2}})
        {'sde': {'name': 'vp', 'beta_min': 0.1}}
    """
    filled = {key: value for key, value in OPTIONAL_KEYS.items() if key in other} | dict(config)
    for place, built in _BUILT.items():
        key, _, star = place.partition(".")
        fill = _fill_each if star else _fill
        if key in config and key in other:
            filled[key] = fill(config[key], other[key], built)
    return filled


def _fill(section: Any, other: Any, built: Built) -> Any:
    """Return a section with the defaults of what it builds, for keys that the other section has."""
    if not isinstance(section, Mapping) or not isinstance(other, Mapping):
        return section
    if isinstance(built, Mapping):
        name = section.get("name")
        make = built.get(name) if isinstance(name, str) else None
    else:
        make = built
    if isinstance(make, tuple):  # an encoder and a decoder
        pairs = zip(("encoder", "decoder"), make, strict=True)
        parts = {key: _fill(section.get(key), other.get(key), one) for key, one in pairs}
        return dict(section) | {key: part for key, part in parts.items() if key in section}
    if make is None:
        return section
    defaults = {key: value for key, value in _defaults(make) if key in other and key not in section}
    return dict(section) | defaults


def _fill_each(sections: Any, others: Any, built: Built) -> Any:
    """Return the sections within a section as `_fill` does, those that both have."""
    if not isinstance(sections, Mapping) or not isinstance(others, Mapping):
        return sections
    return {
        key: _fill(part, others[key], built) if key in others else part
        for key, part in sections.items()
    }


def _defaults(make: Make) -> Iterator[tuple[str, Any]]:
    """Yield the arguments that may be left out, with their defaults, as far as a config can hold them."""
    for name, parameter in inspect.signature(make).parameters.items():
        if isinstance(parameter.default, _VALUES) and name not in _HIDDEN:
            yield name, parameter.default
