"""From a config, which is values only, to the parts of a run. Below here nobody sees a config."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sbmae_jax.autoencoder import Autoencoder, Modality, autoencoder
from sbmae_jax.classifier import Classifier, classifier
from sbmae_jax.data.polydigits import NUM_CLASSES, polydigits
from sbmae_jax.data.source import ArraySource
from sbmae_jax.evaluate import Evaluation
from sbmae_jax.generate import Sampling
from sbmae_jax.latents import Layout
from sbmae_jax.model import check_array, layout
from sbmae_jax.nets.hub import HubScore
from sbmae_jax.nets.mlp import MLPScore
from sbmae_jax.nets.patch import PatchClassifier, PatchDecoder, PatchEncoder
from sbmae_jax.score import Matching
from sbmae_jax.sde import SDE, VE, VP, SubVP
from sbmae_jax.train import Training

T = TypeVar("T")

SOURCES: dict[str, Callable[..., ArraySource]] = {"polydigits": polydigits}
SDES: dict[str, Callable[..., SDE]] = {"vp": VP, "sub_vp": SubVP, "ve": VE}
# For each name the modules of encoder and decoder; both get the sizes from the modality, and the widths
# from the section `config.coders`.
CODERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "patch": (PatchEncoder, PatchDecoder)
}
SCORES: dict[str, Callable[..., Any]] = {"hub": HubScore, "mlp": MLPScore}

shared_autoencoder = functools.cache(autoencoder)


@dataclass(frozen=True)
class Parts:
    """Everything that a config stands for, checked."""

    modalities: tuple[Modality, ...]
    autoencoders: tuple[Autoencoder, ...]
    autoencoder_training: Training
    network: Any
    sde: SDE
    matching: Matching
    score_training: Training
    classifier: Classifier
    classifier_training: Training
    sampling: Sampling
    evaluation: Evaluation

    @property
    def layout(self) -> Layout:
        """The layout of the joint latents."""
        return layout(self.modalities)


def build(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Parts:
    """Build all parts of a run.

    config: as `configs/polydigits.py` returns it.  shapes: of one example of each modality.

    Raises ValueError, naming the key, for anything in the config that does not fit.
    """
    if config["sampling"]["conditioning"] == "amortised" and not config["score"]["observed_share"]:
        raise ValueError(
            "config.sampling.conditioning: 'amortised' needs a score trained with observed modalities: "
            "set config.score.observed_share above 0, or choose 'renoise' with corrections"
        )
    modalities = build_modalities(config["modalities"], shapes)
    coders = {name: dict(section) for name, section in config["coders"].items()}
    return Parts(
        modalities=modalities,
        autoencoders=tuple(build_autoencoder(m, config["autoencoder"], coders) for m in modalities),
        autoencoder_training=fill(Training, config["autoencoder_training"], "autoencoder_training"),
        network=choose(SCORES, config["network"], "network", sizes=layout(modalities).sizes),
        sde=choose(SDES, config["sde"], "sde"),
        matching=fill(Matching, config["score"], "score"),
        score_training=fill(Training, config["score_training"], "score_training"),
        classifier=classifier(
            fill(PatchClassifier, config["classifier"], "classifier", num_classes=NUM_CLASSES)
        ),
        classifier_training=fill(Training, config["classifier_training"], "classifier_training"),
        sampling=fill(Sampling, config["sampling"], "sampling"),
        evaluation=fill(Evaluation, config["evaluation"], "evaluation"),
    )


def build_modalities(
    sections: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Modality, ...]:
    """Build the modalities, ordered by name, and match them with what the data have."""
    for name in sections:
        if name not in shapes:
            raise ValueError(
                f"config.modalities.{name}: the data have no such array, but {', '.join(shapes)}"
            )
    return tuple(
        fill(Modality, section, f"modalities.{name}", name=name, shape=shapes[name])
        for name, section in sorted(sections.items())
    )


def build_autoencoder(
    modality: Modality, section: Mapping[str, Any], coders: Mapping[str, Mapping[str, Any]]
) -> Autoencoder:
    """Build the autoencoder of a modality from the networks that the modality names."""
    if modality.network not in CODERS:
        raise ValueError(
            f"config.modalities.{modality.name}.network: no network {modality.network!r}; choose one "
            f"of {', '.join(CODERS)}"
        )
    kind = section["kind"]
    num_outputs = modality.latent_size * (2 if kind == "vae" else 1)
    where, widths = f"coders.{modality.network}", coders[modality.network]
    make_encoder, make_decoder = CODERS[modality.network]
    encoder = fill(make_encoder, widths, where, num_outputs=num_outputs)
    decoder = fill(make_decoder, widths, where, shape=modality.shape)
    # Modalities that differ only by name share the functions, and so the compiled training step.
    unnamed = dataclasses.replace(modality, name="")
    return fill(
        shared_autoencoder, section, "autoencoder",
        modality=unnamed, encoder=encoder, decoder=decoder,
    )  # fmt: skip


def build_source(config: Mapping[str, Any], split: str, num_rows: int) -> ArraySource:
    """Load one split of the data that a config names, with the modalities of the config."""
    return choose(
        SOURCES, config["data"], "data",
        split=split, num_rows=num_rows, names=sorted(config["modalities"]), seed=config["seed"],
    )  # fmt: skip


def check_source(source: ArraySource, modalities: tuple[Modality, ...]) -> None:
    """Raise ValueError if the arrays of a source are not what its modalities say."""
    for modality in modalities:
        check_array(modality, source.arrays[modality.name])


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
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in dict(section).items()}
    try:
        return make(**given, **values)
    except TypeError as error:
        known = [f.name for f in dataclasses.fields(make)] if dataclasses.is_dataclass(make) else []
        hint = f"; its keys are {', '.join(k for k in known if k not in given)}" if known else ""
        raise ValueError(f"config.{where}: {error}{hint}") from None
    except ValueError as error:
        raise ValueError(f"config.{where}: {error}") from None
