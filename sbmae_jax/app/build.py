"""From a config, which is values only, to the parts of a run. Below here nobody sees a config."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np

from sbmae_jax.app.encoder_decoders import (
    Group,
    build_autoencoder,
    build_groups,
    build_modalities,
    check_network,
    floats,
)
from sbmae_jax.app.evaluations import build_protocol
from sbmae_jax.app.sections import check_keys as check_keys
from sbmae_jax.app.sections import choose, fill, needed, part
from sbmae_jax.data.celebahq.source import celebahq
from sbmae_jax.data.description import Description
from sbmae_jax.data.polydigits import polydigits
from sbmae_jax.data.polymnist import polymnist
from sbmae_jax.data.source import PRESENT, Source
from sbmae_jax.data.toyfaces.source import toyfaces
from sbmae_jax.data.user.files import files
from sbmae_jax.evaluation.base import EvaluationProtocol
from sbmae_jax.models.autoencoder import Autoencoder, Modality
from sbmae_jax.models.energy import NCEConfig, energy_task
from sbmae_jax.models.latents import Layout
from sbmae_jax.models.model import check_array, check_shape, layout
from sbmae_jax.models.score import ScoreMatchingConfig, score_task
from sbmae_jax.models.task import Task
from sbmae_jax.nets.energy import PairEnergy, TowerEnergy
from sbmae_jax.nets.hub import HubScore
from sbmae_jax.nets.mlp import MLPScore
from sbmae_jax.nets.transformer import TransformerScore
from sbmae_jax.nets.unet import UNetScore
from sbmae_jax.sampling.generate import SamplingConfig
from sbmae_jax.sampling.sde import SDE, VE, VP, SubVP
from sbmae_jax.training.config import TrainingConfig

SOURCES: dict[str, Callable[..., Source]] = {
    "polydigits": polydigits, "polymnist": polymnist, "celebahq": celebahq, "toyfaces": toyfaces,
    "files": files,
}  # fmt: skip
SDES: dict[str, Callable[..., SDE]] = {"vp": VP, "sub_vp": SubVP, "ve": VE}
SCORES: dict[str, Callable[..., Any]] = {
    "hub": HubScore, "mlp": MLPScore, "transformer": TransformerScore, "unet": UNetScore,
}  # fmt: skip
ENERGIES: dict[str, Callable[..., Any]] = {"tower": TowerEnergy, "pair": PairEnergy}


class EnergyParts(NamedTuple):
    """The coherence energy, its loss and its training."""

    network: Any
    nce: NCEConfig
    training: TrainingConfig


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
    matching: ScoreMatchingConfig
    score_training: TrainingConfig
    energy: EnergyParts | None
    sampling: SamplingConfig
    protocol: EvaluationProtocol

    @property
    def layout(self) -> Layout:
        """The layout of the joint latents."""
        return layout(self.modalities)

    @cached_property
    def score_task(self) -> Task:
        """The score network and its loss."""
        return score_task(self.network, self.sde, self.layout, self.matching)

    @cached_property
    def energy_task(self) -> Task:
        """The energy network and its loss, for a config that has an energy."""
        if self.energy is None:
            raise ValueError("config.energy: this run has no energy to train")
        return energy_task(self.energy.network, self.sde, self.layout, self.energy.nce)


def build(config: Mapping[str, Any], data: Description) -> Parts:
    """Build all parts of a run.

    config: as `configs/polydigits.py` returns it.  data: of what the run learns.

    Raises ValueError, naming the key, for anything in the config that does not fit.
    """
    check_missing(config, data)
    modalities = build_modalities(config["modalities"], data)
    autoencoders = tuple(build_autoencoder(config, m) for m in modalities)
    joint, sde = layout(modalities), choose(SDES, config["sde"], "sde")
    parts = Parts(
        modalities=modalities,
        autoencoders=autoencoders,
        groups=build_groups(config, modalities, autoencoders),
        network=build_score(config["network"], joint),
        sde=sde,
        matching=fill(ScoreMatchingConfig, config["score"], "score"),
        score_training=fill(TrainingConfig, config["score_training"], "score_training"),
        energy=build_energy(config, sde, joint),
        sampling=fill(SamplingConfig, config["sampling"], "sampling"),
        protocol=build_protocol(config, modalities, data),
    )
    check_conditioning(parts)
    return parts


def check_conditioning(parts: Parts) -> None:
    """Raise ValueError if the samples ask for something that is not trained."""
    sampling, conditioning_prob = parts.sampling, parts.matching.conditioning_prob
    if sampling.conditioning == "amortised" and not conditioning_prob:
        raise ValueError(
            "config.sampling.conditioning: 'amortised' needs a score trained with observed modalities: "
            "set config.score.conditioning_prob above 0, or choose 'renoise' with corrections"
        )
    if conditioning_prob and not getattr(parts.network, "per_modality_levels", True):
        raise ValueError(
            "config.network.per_modality_levels: a score trained with observed modalities must be told "
            "which are clean: set it to True, or config.score.conditioning_prob to 0"
        )
    if parts.energy is None:
        if sampling.guidance:
            raise ValueError(
                "config.sampling.guidance: there is no energy to guide with: set config.energy, or "
                "config.sampling.guidance to 0"
            )
    elif parts.energy.nce.observed_clean == (sampling.conditioning == "renoise"):
        raise ValueError(
            "config.nce.observed_clean: an energy must see observed latents in training as in "
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


def build_score(section: Mapping[str, Any], joint: Layout) -> Any:
    """Build the score network, and see that it takes the latents."""
    network = choose(SCORES, section, "network", sizes=joint.sizes)
    check_network(network, "network", floats(joint.size), floats(len(joint.sizes)))
    return network


def build_energy(config: Mapping[str, Any], sde: SDE, joint: Layout) -> EnergyParts | None:
    """Build the coherence energy, where there is one."""
    if config["energy"] is None:
        return None
    network = choose(ENERGIES, config["energy"], "energy", sizes=joint.sizes)
    levels = floats(len(joint.sizes))
    observed = jax.ShapeDtypeStruct(levels.shape, bool)
    check_network(network, "energy", floats(joint.size), levels, observed)
    nce = fill(NCEConfig, needed(config, "nce", "energy"), "nce")
    # What the two cannot do together is to be known before the stages that come first.
    fill(energy_task, {}, "nce", network=network, sde=sde, layout=joint, nce=nce)
    training = fill(TrainingConfig, needed(config, "energy_training", "energy"), "energy_training")
    if training.batch_size < 2:
        raise ValueError("config.energy_training: batch_size must be at least 2, got 1")
    return EnergyParts(network, nce, training)


def build_source(config: Mapping[str, Any], split: str, num_rows: int) -> Source:
    """Open one split of the data that a config names, with the modalities of the config."""
    return choose(
        SOURCES, part(config, "data"), "data",
        split=split, num_rows=num_rows, names=sorted(part(config, "modalities")), seed=config["seed"],
    )  # fmt: skip


def check_source(source: Source, modalities: tuple[Modality, ...]) -> None:
    """Raise ValueError if the arrays of a source are not what its modalities say."""
    for modality in modalities:
        if source.dtypes[modality.name] == np.uint8 or modality.name in source.scalings:
            # Any value will do, or was looked at when the scaling was fitted: the array need not be read.
            check_shape(modality, source.shapes[modality.name])
        else:
            check_array(modality, source.arrays[modality.name])
