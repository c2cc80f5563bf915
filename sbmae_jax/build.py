"""From a config, which is values only, to the parts of a run. Below here nobody sees a config."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sbmae_jax.autoencoder import Autoencoder, Modality
from sbmae_jax.classifier import classifier
from sbmae_jax.coders import (
    Group,
    build_autoencoder,
    build_decoder,
    build_encoder,
    build_groups,
    build_modalities,
)
from sbmae_jax.data.celebahq import celebahq
from sbmae_jax.data.description import Description
from sbmae_jax.data.files import files
from sbmae_jax.data.polydigits import polydigits
from sbmae_jax.data.polymnist import polymnist
from sbmae_jax.data.source import PRESENT, Source
from sbmae_jax.data.toyfaces_source import toyfaces
from sbmae_jax.energy import Contrast, energy_task
from sbmae_jax.generate import Sampling
from sbmae_jax.latents import Layout
from sbmae_jax.model import check_array, check_shape, layout
from sbmae_jax.nets.conv import ConvClassifier
from sbmae_jax.nets.energy import PairEnergy, TowerEnergy
from sbmae_jax.nets.hub import HubScore
from sbmae_jax.nets.mlp import MLPScore
from sbmae_jax.nets.patch import PatchClassifier
from sbmae_jax.nets.transformer import TransformerScore
from sbmae_jax.nets.unet import UNetScore
from sbmae_jax.predictor import predictor
from sbmae_jax.protocols.base import EvaluationProtocol
from sbmae_jax.protocols.classes import ClassProtocol
from sbmae_jax.protocols.faces import FaceProtocol
from sbmae_jax.protocols.paired import PairedProtocol
from sbmae_jax.score import Matching
from sbmae_jax.sde import SDE, VE, VP, SubVP
from sbmae_jax.sections import choose, fill
from sbmae_jax.training import Training

SOURCES: dict[str, Callable[..., Source]] = {
    "polydigits": polydigits, "polymnist": polymnist, "celebahq": celebahq, "toyfaces": toyfaces,
    "files": files,
}  # fmt: skip
SDES: dict[str, Callable[..., SDE]] = {"vp": VP, "sub_vp": SubVP, "ve": VE}
SCORES: dict[str, Callable[..., Any]] = {
    "hub": HubScore, "mlp": MLPScore, "transformer": TransformerScore, "unet": UNetScore,
}  # fmt: skip
ENERGIES: dict[str, Callable[..., Any]] = {"tower": TowerEnergy, "pair": PairEnergy}
CLASSIFIERS: dict[str, Callable[..., Any]] = {"patch": PatchClassifier, "conv": ConvClassifier}


# What every config has; what an evaluation needs beyond it is its own.
KEYS = (
    "seed", "data", "num_train", "resident_bytes", "num_state_shards", "modalities", "autoencoder",
    "stack_autoencoders", "coders", "autoencoder_training", "sde", "network", "score", "score_training",
    "energy", "sampling", "evaluation",
)  # fmt: skip


class EnergyParts(NamedTuple):
    """The coherence energy, its loss and its training."""

    network: Any
    contrast: Contrast
    training: Training


@dataclass(frozen=True)
class Parts:
    """Everything that a config stands for, checked.

    autoencoders: in the order of `modalities`.  groups: how they are trained.
    energy: None where there is no guidance.
    """

    modalities: tuple[Modality, ...]
    autoencoders: tuple[Autoencoder, ...]
    groups: tuple[Group, ...]
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
    check_missing(config, data)
    modalities = build_modalities(config["modalities"], data)
    autoencoders = tuple(build_autoencoder(config, m) for m in modalities)
    joint, sde = layout(modalities), choose(SDES, config["sde"], "sde")
    return Parts(
        modalities=modalities,
        autoencoders=autoencoders,
        groups=build_groups(config, modalities, autoencoders),
        network=choose(SCORES, config["network"], "network", sizes=joint.sizes),
        sde=sde,
        matching=fill(Matching, config["score"], "score"),
        score_training=fill(Training, config["score_training"], "score_training"),
        energy=build_energy(config, sde, joint),
        sampling=fill(Sampling, config["sampling"], "sampling"),
        protocol=choose(
            PROTOCOLS, config["evaluation"], "evaluation",
            config=config, modalities=modalities, data=data,
        ),
    )  # fmt: skip


def check_keys(config: Mapping[str, Any]) -> None:
    """Raise ValueError if a config lacks keys, as one of an older version does."""
    missing = [key for key in KEYS if key not in config]
    if missing:
        raise ValueError(
            f"the config has no {', '.join(missing)}: compare it with configs/polydigits.py; a run of an "
            "older version needs that version, or a new --workdir"
        )


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


def check_missing(config: Mapping[str, Any], data: Description) -> None:
    """Raise ValueError if rows lack modalities, and a training needs rows that have several."""
    if PRESENT not in data.shapes:
        return
    if config["energy"] is not None:
        raise ValueError(
            "config.energy: an energy is not trained on rows that lack modalities: set it to None"
        )
    if config["stack_autoencoders"]:
        raise ValueError(
            "config.stack_autoencoders: autoencoders are not trained as one where rows lack modalities: set "
            "it to False"
        )


def build_energy(config: Mapping[str, Any], sde: SDE, joint: Layout) -> EnergyParts | None:
    """Build the coherence energy, where there is one."""
    if config["energy"] is None:
        return None
    network = choose(ENERGIES, config["energy"], "energy", sizes=joint.sizes)
    contrast = fill(Contrast, config["contrast"], "contrast")
    # What the two cannot do together is to be known before the stages that come first.
    fill(energy_task, {}, "contrast", network=network, sde=sde, layout=joint, contrast=contrast)
    training = fill(Training, config["energy_training"], "energy_training")
    return EnergyParts(network, contrast, training)


def class_protocol(
    config: Mapping[str, Any], modalities: tuple[Modality, ...], data: Description, **options
) -> ClassProtocol:
    """Build the evaluation of modalities that share a class."""
    num_classes = len(data.entries["label"])
    network = choose(CLASSIFIERS, config["classifier"], "classifier", num_classes=num_classes)
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
    if config["predictor"].keys() != {"attributes", "mask"}:
        raise ValueError(
            "needs in config.predictor the coders by which pictures are read for attributes and for mask, "
            f"got {', '.join(config['predictor'])}"
        )
    predictors = {}
    for name, network in config["predictor"].items():
        if network not in config["coders"]:
            known = ", ".join(config["coders"])
            raise ValueError(
                f"config.predictor.{name}: config.coders has no {network!r}; choose one of {known}"
            )
        encoder = build_encoder(config, dataclasses.replace(named["image"], network=network), 1)
        decoder = build_decoder(config, named[name])
        predictors[name] = predictor(named["image"], named[name], encoder, decoder)
    trainings = {
        name: fill(Training, section, f"predictor_training.{name}")
        for name, section in config["predictor_training"].items()
    }
    return FaceProtocol(predictors, trainings, data.entries["attributes"], **options)


def paired_protocol(
    config: Mapping[str, Any], modalities: tuple[Modality, ...], data: Description, **options
) -> PairedProtocol:
    """Build the evaluation of any paired data."""
    return PairedProtocol(
        {modality.name: modality.likelihood for modality in modalities}, **options
    )


PROTOCOLS: dict[str, Callable[..., EvaluationProtocol]] = {
    "classes": class_protocol,
    "faces": face_protocol,
    "paired": paired_protocol,
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
        if source.dtypes[modality.name] == np.uint8 or modality.name in source.scalings:
            # Any value will do, or was looked at when the scaling was fitted: the array need not be read.
            check_shape(modality, source.shapes[modality.name])
        else:
            check_array(modality, source.arrays[modality.name])
