"""From a config to the protocol by which a run is evaluated, and to the networks that judge."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from sbmae_jax._check import require_type
from sbmae_jax.app.encoder_decoders import build_decoder, build_encoder, check_network, floats
from sbmae_jax.app.sections import choose, chosen, fill, needed, part, without
from sbmae_jax.data.description import Description
from sbmae_jax.evaluation.base import EvaluationProtocol
from sbmae_jax.evaluation.faces.protocol import FaceProtocol
from sbmae_jax.evaluation.labels.protocol import SharedLabelProtocol
from sbmae_jax.evaluation.paired.protocol import PairedProtocol
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.classifier import classifier
from sbmae_jax.models.predictor import predictor
from sbmae_jax.nets.conv import ConvClassifier
from sbmae_jax.nets.patch import PatchClassifier
from sbmae_jax.training.config import TrainingConfig

CLASSIFIERS: dict[str, Callable[..., Any]] = {"patch": PatchClassifier, "conv": ConvClassifier}


def class_protocol(
    config: Mapping[str, Any], modalities: tuple[Modality, ...], data: Description,
    options: Mapping[str, Any],
) -> SharedLabelProtocol:  # fmt: skip
    """Build the evaluation of modalities that share a class."""
    if "label" not in data.entries:
        raise ValueError("config.evaluation: 'classes' needs data with a `label`: choose 'paired'")
    shapes = {modality.shape for modality in modalities}
    if len(shapes) > 1:
        raise ValueError(
            f"config.evaluation: 'classes' needs modalities of one shape, got {sorted(shapes)}: choose "
            "'paired'"
        )
    num_classes = len(data.entries["label"])
    network = choose(
        CLASSIFIERS,
        needed(config, "classifier", "evaluation"),
        "classifier",
        num_classes=num_classes,
    )
    check_network(network, "classifier", floats(*modalities[0].shape), train=False)
    training = fill(
        TrainingConfig, needed(config, "classifier_training", "evaluation"), "classifier_training"
    )
    names = tuple(modality.name for modality in modalities)
    return fill(
        SharedLabelProtocol, options, "evaluation",
        names=names, classifier=classifier(network), training=training,
    )  # fmt: skip


def face_protocol(
    config: Mapping[str, Any], modalities: tuple[Modality, ...], data: Description,
    options: Mapping[str, Any],
) -> FaceProtocol:  # fmt: skip
    """Build the evaluation of image, mask and attributes."""
    named = {modality.name: modality for modality in modalities}
    if named.keys() != {"image", "mask", "attributes"}:
        raise ValueError(
            "config.evaluation: needs the modalities image, mask and attributes, got "
            f"{', '.join(named)}"
        )
    readers = needed(config, "predictor", "evaluation")
    if readers.keys() != {"attributes", "mask"}:
        raise ValueError(
            "config.evaluation: needs in config.predictor the encoder_decoders by which pictures are "
            "read for "
            f"attributes and for mask, got {', '.join(readers) or 'none'}"
        )
    predictors, trainings = {}, {}
    for name, network in readers.items():
        require_type(f"config.predictor.{name}", network, str)
        if network not in config["encoder_decoders"]:
            known = ", ".join(config["encoder_decoders"])
            raise ValueError(
                f"config.predictor.{name}: config.encoder_decoders has no {network!r}; choose one of {known}"
            )
        source = dataclasses.replace(named["image"], network=network)
        encoder = build_encoder(config, source, 1)
        decoder = build_decoder(config, named[name])
        predictors[name] = predictor(named["image"], named[name], encoder, decoder)
        where = "predictor_training", name
        needed(config, where[0], "evaluation")
        trainings[name] = fill(TrainingConfig, part(config, *where), ".".join(where))
    return fill(
        FaceProtocol, options, "evaluation",
        predictors=predictors, trainings=trainings, attributes=data.entries["attributes"],
    )  # fmt: skip


def paired_protocol(
    config: Mapping[str, Any], modalities: tuple[Modality, ...], data: Description,
    options: Mapping[str, Any],
) -> PairedProtocol:  # fmt: skip
    """Build the evaluation of any paired data."""
    likelihoods = {modality.name: modality.likelihood for modality in modalities}
    return fill(PairedProtocol, options, "evaluation", likelihoods=likelihoods)


PROTOCOLS: dict[str, Callable[..., EvaluationProtocol]] = {
    "classes": class_protocol,
    "faces": face_protocol,
    "paired": paired_protocol,
}


def build_protocol(
    config: Mapping[str, Any], modalities: tuple[Modality, ...], data: Description
) -> EvaluationProtocol:
    """Build the evaluation."""
    make = chosen(PROTOCOLS, config["evaluation"], "evaluation")
    return make(config, modalities, data, without(config["evaluation"], "name"))
