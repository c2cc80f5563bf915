"""From a config, which is values only, to the parts of a run. Below here nobody sees a config."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax.autoencoder import Autoencoder, Modality, autoencoder
from sbmae_jax.classifier import classifier
from sbmae_jax.data.celebahq import celebahq
from sbmae_jax.data.description import Description
from sbmae_jax.data.polydigits import polydigits
from sbmae_jax.data.source import Source
from sbmae_jax.data.toyfaces_source import toyfaces
from sbmae_jax.energy import Contrast
from sbmae_jax.generate import Sampling
from sbmae_jax.latents import Layout
from sbmae_jax.model import check_array, check_shape, layout
from sbmae_jax.nets.dense import DenseDecoder, DenseEncoder
from sbmae_jax.nets.energy import PairEnergy, TowerEnergy
from sbmae_jax.nets.hub import HubScore
from sbmae_jax.nets.mlp import MLPScore
from sbmae_jax.nets.patch import PatchClassifier, PatchDecoder, PatchEncoder
from sbmae_jax.nets.resnet import ResNetDecoder, ResNetEncoder
from sbmae_jax.nets.transformer import TransformerScore
from sbmae_jax.nets.unet import UNetScore
from sbmae_jax.predictor import predictor
from sbmae_jax.protocols.base import EvaluationProtocol
from sbmae_jax.protocols.classes import ClassProtocol
from sbmae_jax.protocols.faces import FaceProtocol
from sbmae_jax.score import Matching
from sbmae_jax.sde import SDE, VE, VP, SubVP
from sbmae_jax.train import Training

T = TypeVar("T")

SOURCES: dict[str, Callable[..., Source]] = {
    "polydigits": polydigits, "celebahq": celebahq, "toyfaces": toyfaces,
}  # fmt: skip
SDES: dict[str, Callable[..., SDE]] = {"vp": VP, "sub_vp": SubVP, "ve": VE}
# For each name the modules of encoder and decoder. The encoder gets `num_heads` and `latent_size`, the
# decoder `shape`; the rest is in the section of `config.coders` that a modality names.
CODERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "patch": (PatchEncoder, PatchDecoder),
    "resnet": (ResNetEncoder, ResNetDecoder),
    "dense": (DenseEncoder, DenseDecoder),
}
SCORES: dict[str, Callable[..., Any]] = {
    "hub": HubScore, "mlp": MLPScore, "transformer": TransformerScore, "unet": UNetScore,
}  # fmt: skip
ENERGIES: dict[str, Callable[..., Any]] = {"tower": TowerEnergy, "pair": PairEnergy}

shared_autoencoder = functools.cache(autoencoder)


class EnergyParts(NamedTuple):
    """The coherence energy, its loss and its training."""

    network: Any
    contrast: Contrast
    training: Training


@dataclass(frozen=True)
class Parts:
    """Everything that a config stands for, checked.

    autoencoders, autoencoder_trainings: in the order of `modalities`.
    energy: None where there is no guidance.
    """

    modalities: tuple[Modality, ...]
    autoencoders: tuple[Autoencoder, ...]
    autoencoder_trainings: tuple[Training, ...]
    network: Any
    sde: SDE
    matching: Matching
    score_training: Training
    energy: EnergyParts | None
    sampling: Sampling
    protocol: EvaluationProtocol

    @property
    def layout(self) -> Layout:
        """The layout of the joint latents."""
        return layout(self.modalities)


def build(config: Mapping[str, Any], data: Description) -> Parts:
    """Build all parts of a run.

    config: as `configs/polydigits.py` returns it.  data: of what the run learns.

    Raises ValueError, naming the key, for anything in the config that does not fit.
    """
    check_conditioning(config)
    modalities = build_modalities(config["modalities"], data)
    sizes = layout(modalities).sizes
    return Parts(
        modalities=modalities,
        autoencoders=tuple(build_autoencoder(config, m) for m in modalities),
        autoencoder_trainings=tuple(build_training(config, m.name) for m in modalities),
        network=choose(SCORES, config["network"], "network", sizes=sizes),
        sde=choose(SDES, config["sde"], "sde"),
        matching=fill(Matching, config["score"], "score"),
        score_training=fill(Training, config["score_training"], "score_training"),
        energy=build_energy(config, sizes),
        sampling=fill(Sampling, config["sampling"], "sampling"),
        protocol=choose(
            PROTOCOLS, config["evaluation"], "evaluation",
            config=config, modalities=modalities, data=data,
        ),
    )  # fmt: skip


def check_conditioning(config: Mapping[str, Any]) -> None:
    """Raise ValueError if the samples ask for something that is not trained."""
    sampling, network = config["sampling"], config["network"]
    if sampling["conditioning"] == "amortised" and not config["score"]["observed_share"]:
        raise ValueError(
            "config.sampling.conditioning: 'amortised' needs a score trained with observed modalities: "
            "set config.score.observed_share above 0, or choose 'renoise' with corrections"
        )
    if (
        network["name"] == "unet"
        and config["score"]["observed_share"]
        and not network.get("per_modality_levels")
    ):
        raise ValueError(
            "config.network.per_modality_levels: a score trained with observed modalities must be told "
            "which are clean: set it to True, or config.score.observed_share to 0"
        )
    if config["energy"] is None:
        if sampling.get("guidance"):
            raise ValueError(
                "config.sampling.guidance: there is no energy to guide with: set config.energy, or "
                "config.sampling.guidance to 0"
            )
    elif config["contrast"].get("observed_clean", True) == (sampling["conditioning"] == "renoise"):
        raise ValueError(
            "config.contrast.observed_clean: an energy must see observed latents in training as in "
            "sampling: True for conditioning 'amortised' and 'clamp', False for 'renoise'"
        )


def build_modalities(sections: Mapping[str, Any], data: Description) -> tuple[Modality, ...]:
    """Build the modalities, ordered by name, and match them with what the data have."""
    for name in sections:
        if name not in data.shapes:
            raise ValueError(
                f"config.modalities.{name}: the data have no such array, but {', '.join(data.shapes)}"
            )
    return tuple(
        fill(
            Modality, without(section, "training"), f"modalities.{name}",
            name=name, shape=data.shapes[name],
        )
        for name, section in sorted(sections.items())
    )  # fmt: skip


def build_training(config: Mapping[str, Any], name: str) -> Training:
    """Build the training of an autoencoder: that of all, with what its modality changes in it."""
    changes = config["modalities"][name].get("training", {})
    section = {**config["autoencoder_training"], **changes}
    return fill(Training, section, f"autoencoder_training, with modalities.{name}.training")


def build_autoencoder(config: Mapping[str, Any], modality: Modality) -> Autoencoder:
    """Build the autoencoder of a modality from the networks that the modality names."""
    kind = config["autoencoder"]["kind"]
    num_heads = 2 if kind == "vae" else 1
    encoder = build_encoder(config, modality, num_heads)
    decoder = build_decoder(config, modality)
    # Modalities that differ only by name share the functions, and so the compiled training step.
    unnamed = dataclasses.replace(modality, name="")
    return fill(
        shared_autoencoder, config["autoencoder"], "autoencoder",
        modality=unnamed, encoder=encoder, decoder=decoder,
    )  # fmt: skip


def build_encoder(config: Mapping[str, Any], modality: Modality, num_heads: int) -> Any:
    """Build an encoder of a modality, with `num_heads` outputs of the size of its latent."""
    (make, _), section, where = coder(config, modality)
    sizes = {"num_heads": num_heads, "latent_size": modality.latent_size}
    encoder = fill(make, section["encoder"], f"{where}.encoder", **sizes)
    check_coder(encoder, (1, *modality.shape), where)
    return encoder


def build_decoder(config: Mapping[str, Any], modality: Modality) -> Any:
    """Build a decoder of a modality."""
    (_, make), section, where = coder(config, modality)
    decoder = fill(make, section["decoder"], f"{where}.decoder", shape=modality.shape)
    check_coder(decoder, (1, modality.latent_size), where)
    return decoder


def coder(config: Mapping[str, Any], modality: Modality) -> tuple[Any, Mapping[str, Any], str]:
    """Return the modules, the section and the place of the networks that a modality names."""
    name, sections = modality.network, config["coders"]
    if name not in sections:
        raise ValueError(
            f"config.modalities.{modality.name}.network: config.coders has no {name!r}; choose one of "
            f"{', '.join(sections)}"
        )
    where, kind = f"coders.{name}", sections[name]["name"]
    if kind not in CODERS:
        raise ValueError(f"config.{where}.name: no {kind!r}; choose one of {', '.join(CODERS)}")
    return CODERS[kind], sections[name], where


def check_coder(network: Any, shape: tuple[int, ...], where: str) -> None:
    """Raise ValueError if a network cannot take arrays of a shape."""
    try:
        jax.eval_shape(network.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))
    except ValueError as error:
        raise ValueError(f"config.{where}: {error}") from None


def build_energy(config: Mapping[str, Any], sizes: tuple[int, ...]) -> EnergyParts | None:
    """Build the coherence energy, where there is one."""
    if config["energy"] is None:
        return None
    return EnergyParts(
        choose(ENERGIES, config["energy"], "energy", sizes=sizes),
        fill(Contrast, config["contrast"], "contrast"),
        fill(Training, config["energy_training"], "energy_training"),
    )


def class_protocol(
    config: Mapping[str, Any], modalities: tuple[Modality, ...], data: Description, **options
) -> ClassProtocol:
    """Build the evaluation of modalities that share a class."""
    num_classes = len(data.entries["label"])
    network = fill(PatchClassifier, config["classifier"], "classifier", num_classes=num_classes)
    training = fill(Training, config["classifier_training"], "classifier_training")
    names = tuple(modality.name for modality in modalities)
    return ClassProtocol(names, classifier(network), training, **options)


def face_protocol(
    config: Mapping[str, Any], modalities: tuple[Modality, ...], data: Description, **options
) -> FaceProtocol:
    """Build the evaluation of image, mask and attributes."""
    named = {modality.name: modality for modality in modalities}
    if named.keys() != {"image", "mask", "attributes"}:
        raise ValueError(f"needs the modalities image, mask and attributes, got {', '.join(named)}")
    predictors = {}
    for name, network in config["predictor"].items():
        encoder = build_encoder(config, dataclasses.replace(named["image"], network=network), 1)
        decoder = build_decoder(config, named[name])
        predictors[name] = predictor(named["image"], named[name], encoder, decoder)
    trainings = {
        name: fill(Training, section, f"predictor_training.{name}")
        for name, section in config["predictor_training"].items()
    }
    return FaceProtocol(predictors, trainings, data.entries["attributes"], **options)


PROTOCOLS: dict[str, Callable[..., EvaluationProtocol]] = {
    "classes": class_protocol,
    "faces": face_protocol,
}


def build_source(config: Mapping[str, Any], split: str, num_rows: int) -> Source:
    """Open one split of the data that a config names, with the modalities of the config."""
    return choose(
        SOURCES, config["data"], "data",
        split=split, num_rows=num_rows, names=sorted(config["modalities"]), seed=config["seed"],
    )  # fmt: skip


def check_source(source: Source, modalities: tuple[Modality, ...]) -> None:
    """Raise ValueError if the arrays of a source are not what its modalities say."""
    for modality in modalities:
        if (
            source.dtypes[modality.name] == np.uint8
        ):  # any value will do: the array need not be read
            check_shape(modality, source.shapes[modality.name])
        else:
            check_array(modality, source.arrays[modality.name])


def without(section: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a section but for one key."""
    return {name: value for name, value in section.items() if name != key}


def choose(
    table: Mapping[str, Callable[..., T]], section: Mapping[str, Any], where: str, **given
) -> T:
    """Call the entry of a table that `section["name"]` names with the rest of the section."""
    values = dict(section)
    name = values.pop("name")
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
