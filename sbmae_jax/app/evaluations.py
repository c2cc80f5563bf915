"""From a config to the protocol that evaluates a run, and to the networks that judge."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from sbmae_jax._check import require_type
from sbmae_jax.app.encoder_decoders import build_decoder, build_encoder, check_network, floats
from sbmae_jax.app.factors import VERIFIER_TRAINING, build_factors, build_verifiers
from sbmae_jax.app.imported import is_import_path
from sbmae_jax.app.sections import Section
from sbmae_jax.data.captions import Grammar
from sbmae_jax.data.description import Description
from sbmae_jax.evaluation.base import EvaluationProtocol
from sbmae_jax.evaluation.faces.protocol import FaceProtocol
from sbmae_jax.evaluation.labels.factor_protocol import FactorProtocol
from sbmae_jax.evaluation.labels.protocol import SharedLabelProtocol
from sbmae_jax.evaluation.paired.protocol import PairedProtocol
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.classifier import Classifier
from sbmae_jax.models.likelihoods import LIKELIHOODS
from sbmae_jax.models.predictor import Predictor
from sbmae_jax.nets.conv import ConvClassifier
from sbmae_jax.nets.patch import PatchClassifier
from sbmae_jax.nets.vector import VectorClassifier
from sbmae_jax.training.config import TrainingConfig

CLASSIFIERS: dict[str, Callable[..., Any]] = {
    "patch": PatchClassifier, "conv": ConvClassifier, "vector": VectorClassifier,
}  # fmt: skip


def _shared_label_protocol(
    config: Mapping[str, Any], modalities: tuple[Modality, ...], data: Description
) -> SharedLabelProtocol:
    """Build the evaluation of modalities that share a class."""
    if "label" not in data.entries:
        raise ValueError("config.evaluation: 'classes' needs data with a `label`: choose 'paired'")
    shapes = {modality.shape for modality in modalities}
    if len(shapes) > 1:
        raise ValueError(
            f"config.evaluation: 'classes' needs modalities of one shape, got {sorted(shapes)}: choose "
            "'paired'"
        )
    root = Section("config", config)
    section = root.needed("classifier", by="evaluation")
    network = section.choose(CLASSIFIERS, num_classes=len(data.entries["label"]))
    outputs = [(len(data.entries["label"]),), (-1,)]
    pictures = floats(*modalities[0].shape)
    check_network(network, section.place, pictures, outputs=outputs, saved=False, train=False)
    training = root.needed("classifier_training", by="evaluation").build(TrainingConfig)
    return _options(config).build(
        SharedLabelProtocol,
        names=tuple(modality.name for modality in modalities),
        classifier=Classifier(network),
        training=training,
    )


def _factor_protocol(
    config: Mapping[str, Any], modalities: tuple[Modality, ...], data: Description
) -> FactorProtocol:
    """Build the evaluation of modalities that share several labels."""
    section = _options(config)
    factors, views = build_factors(section, modalities, data)
    options = {
        **section.values,
        "factors": tuple(factor.name for factor in factors),
        "views": tuple(view.name for view in views),
    }
    root = Section("config", config)
    training = (
        root.part("classifier_training").build(TrainingConfig)
        if "classifier_training" in config
        else VERIFIER_TRAINING
    )
    return Section(section.place, options).build(
        FactorProtocol,
        names=tuple(modality.name for modality in modalities),
        labels=factors,
        verifiers=build_verifiers(root, CLASSIFIERS, factors, views),
        training=training,
    )


def _face_protocol(
    config: Mapping[str, Any], modalities: tuple[Modality, ...], data: Description
) -> FaceProtocol:
    """Build the evaluation of image, mask and attributes."""
    named = {modality.name: modality for modality in modalities}
    if named.keys() != {"image", "mask", "attributes"}:
        raise ValueError(
            "config.evaluation: 'faces' needs the modalities image, mask and attributes, got "
            f"{', '.join(named)}"
        )
    root = Section("config", config)
    readers = root.needed("predictor", by="evaluation")
    if readers.values.keys() != {"attributes", "mask"}:
        raise ValueError(
            "config.predictor must name the networks that read attributes and mask from an image, got "
            f"{', '.join(readers.values) or 'none'}"
        )
    predictors, trainings = {}, {}
    training_sections = root.needed("predictor_training", by="evaluation")
    training_sections.require_known(*readers.values)
    for name, network in readers.values.items():
        require_type(f"{readers.place}.{name}", network, str)
        if network not in config["encoder_decoders"]:
            raise ValueError(
                f"{readers.place}.{name}: config.encoder_decoders has no {network!r}; choose one of "
                f"{', '.join(config['encoder_decoders'])}"
            )
        encoder = build_encoder(config, dataclasses.replace(named["image"], network=network), 1)
        decoder = build_decoder(config, named[name])
        predictors[name] = Predictor(named[name], encoder, decoder)
        trainings[name] = training_sections.part(name).build(TrainingConfig)
    return _options(config).build(
        FaceProtocol,
        predictors=predictors,
        trainings=trainings,
        attributes=data.entries["attributes"],
    )


def _paired_protocol(
    config: Mapping[str, Any], modalities: tuple[Modality, ...], data: Description
) -> PairedProtocol:
    """Build the evaluation of any paired data."""
    likelihoods = {m.name: LIKELIHOODS[m.likelihood].values for m in modalities}
    strings = {
        name: scaling.restore
        for name, scaling in data.scalings.items()
        if name in likelihoods and scaling.value_kind.is_text
    }
    grammars = {
        name: Grammar(**data.scalings[name].details["grammar"])
        for name in strings
        if "grammar" in data.scalings[name].details
    }
    classes = {
        name: data.scalings[name].classes
        for name, values in likelihoods.items()
        if values == "pixel_classes" and name in data.scalings
    }
    options = _options(config)
    _check_sounds(options, modalities)
    return options.build(
        PairedProtocol,
        likelihoods=likelihoods,
        strings=strings,
        grammars=grammars,
        classes=classes,
    )


def _check_sounds(options: Section, modalities: tuple[Modality, ...]) -> None:
    """Raise ValueError if a sampling rate is that of no signal."""
    signals = [m.name for m in modalities if len(m.shape) == 2 and m.likelihood == "normal"]
    rates = options.values.get("sampling_rates", {})
    require_type(f"{options.place}.sampling_rates", rates, Mapping[str, float])
    for name in rates:
        if name not in signals:
            raise ValueError(
                f"{options.place}.sampling_rates: {name!r} is no signal of the data, and only signals are "
                f"played: name {' or '.join(signals) or 'none, as there is no signal'}"
            )


def _options(config: Mapping[str, Any]) -> Section:
    """Return the section of the evaluation without its name."""
    return Section("config", config).part("evaluation").without("name")


PROTOCOLS: dict[str, Callable[..., EvaluationProtocol]] = {
    "classes": _shared_label_protocol,
    "factors": _factor_protocol,
    "faces": _face_protocol,
    "paired": _paired_protocol,
}


def build_protocol(
    config: Mapping[str, Any], modalities: tuple[Modality, ...], data: Description
) -> EvaluationProtocol:
    """Build the evaluation that `config.evaluation.name` chooses, or imports.

    Args:
        config: The whole config: networks that judge have sections of their own.
        modalities: What the model learns.
        data: Shapes, and the names of classes and attributes.

    Raises:
        ValueError: Naming the key, for anything that does not fit.
    """
    section = Section("config", config).part("evaluation")
    if is_import_path(section.values.get("name")):
        return section.choose({}, modalities=modalities, data=data)
    return section.look_up(PROTOCOLS)(config, modalities, data)
