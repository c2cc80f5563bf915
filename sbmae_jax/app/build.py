"""From a config, which is values only, to the parts of a run. Nothing below this module sees a config."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from sbmae_jax.app.coders import freeze_coders
from sbmae_jax.app.diffusion_decoders import build_decoders, build_decoding
from sbmae_jax.app.encoder_decoders import (
    Group,
    build_autoencoder,
    build_groups,
    build_modalities,
    check_network,
    floats,
)
from sbmae_jax.app.evaluations import build_protocol
from sbmae_jax.app.sections import Section
from sbmae_jax.data.celebahq.source import celebahq
from sbmae_jax.data.description import Description
from sbmae_jax.data.polydigits import polydigits
from sbmae_jax.data.polydigits_dq import polydigits_dq
from sbmae_jax.data.polymnist import polymnist
from sbmae_jax.data.polymnist_dq import polymnist_dq
from sbmae_jax.data.source import PRESENT, Source
from sbmae_jax.data.toyfaces.source import toyfaces
from sbmae_jax.data.user.files import files
from sbmae_jax.evaluation.base import EvaluationProtocol
from sbmae_jax.models.autoencoder import Autoencoder, Modality
from sbmae_jax.models.coders import FrozenAutoencoder
from sbmae_jax.models.diffusion_decoder import (
    DecodingConfig,
    DiffusionDecoder,
    Spreads,
    no_spreads,
)
from sbmae_jax.models.energy import NCEConfig, energy_task
from sbmae_jax.models.factor_gaussian import FactorGaussian
from sbmae_jax.models.latents import Layout
from sbmae_jax.models.model import layout
from sbmae_jax.models.score import ScoreMatchingConfig, score_task
from sbmae_jax.models.task import Params, Task
from sbmae_jax.models.values import check_array, check_shape
from sbmae_jax.nets.energy import PairEnergy, TowerEnergy
from sbmae_jax.nets.hub import HubScore
from sbmae_jax.nets.mlp import MLPScore
from sbmae_jax.nets.transformer import TransformerScore
from sbmae_jax.nets.unet import UNetScore
from sbmae_jax.sampling.generate import SamplingConfig
from sbmae_jax.sampling.sde import SDE, VE, VP, SubVP
from sbmae_jax.training.config import TrainingConfig

SOURCES: dict[str, Callable[..., Source]] = {
    "polydigits": polydigits, "polydigits_dq": polydigits_dq, "polymnist": polymnist,
    "polymnist_dq": polymnist_dq, "celebahq": celebahq, "toyfaces": toyfaces, "files": files,
}  # fmt: skip
SDES: dict[str, Callable[..., SDE]] = {"vp": VP, "sub_vp": SubVP, "ve": VE}
SCORES: dict[str, Callable[..., Any]] = {
    "hub": HubScore, "mlp": MLPScore, "transformer": TransformerScore, "unet": UNetScore,
}  # fmt: skip
ENERGIES: dict[str, Callable[..., Any]] = {"tower": TowerEnergy, "pair": PairEnergy}


@dataclass(frozen=True, kw_only=True)
class EnergyParts:
    """The coherence energy.

    Attributes:
        network: A Flax module.
        nce: Its loss.
        training: How it is trained.
    """

    network: Any
    nce: NCEConfig
    training: TrainingConfig


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything that a config stands for, checked.

    Attributes:
        modalities: What is learned, ordered by name.
        autoencoders: One for each modality, in the same order; some may be frozen.
        groups: The trainings of the autoencoders.
        network: The score network, a Flax module.
        sde: The noise process.
        matching: The loss of the score.
        score_training: How the score is trained.
        energy: The coherence energy, or None without guidance.
        sampling: How samples are drawn.
        decoders: The diffusion decoders, by modality.
        decoder_training: How each of them is trained; None without one.
        decoding: How they decode.
        protocol: How the model is evaluated.
    """

    modalities: tuple[Modality, ...]
    autoencoders: tuple[Autoencoder | FrozenAutoencoder, ...]
    groups: tuple[Group, ...]
    network: Any
    sde: SDE
    matching: ScoreMatchingConfig
    score_training: TrainingConfig
    energy: EnergyParts | None
    sampling: SamplingConfig
    decoders: Mapping[str, DiffusionDecoder]
    decoder_training: TrainingConfig | None
    decoding: DecodingConfig
    protocol: EvaluationProtocol

    @property
    def layout(self) -> Layout:
        """The layout of the joint latents."""
        return layout(self.modalities)

    @property
    def frozen(self) -> dict[str, FrozenAutoencoder]:
        """The autoencoders that are frozen, by modality."""
        pairs = zip(self.modalities, self.autoencoders, strict=True)
        return {m.name: a for m, a in pairs if isinstance(a, FrozenAutoencoder)}

    def score_task(self, covariance: FactorGaussian | None = None) -> Task:
        """Return the score network and its loss, which needs the covariance for base "gaussian"."""
        return score_task(self.network, self.sde, self.layout, self.matching, covariance)

    def autoencoder(self, name: str) -> Autoencoder | FrozenAutoencoder:
        """Return the autoencoder of a modality."""
        return self.autoencoders[self.layout.names.index(name)]

    def decoder_task(
        self, name: str, params: Params = None, spreads: Spreads | None = None
    ) -> Task:
        """Return the diffusion decoder of a modality and its loss.

        Args:
            name: The modality.
            params: Those of its autoencoder; None for a task that only tells what parameters there are.
            spreads: What was measured of the modality; None as before.
        """
        if spreads is None:
            spreads = no_spreads(self.layout.sizes[self.layout.names.index(name)])
        return self.decoders[name].task(self.autoencoder(name), params, spreads)

    @cached_property
    def energy_task(self) -> Task:
        """The energy network and its loss, for a config that has an energy."""
        if self.energy is None:
            raise ValueError("config.energy: this run has no energy to train")
        return energy_task(self.energy.network, self.sde, self.layout, self.energy.nce)


def build(
    config: Mapping[str, Any], data: Description, coders: Mapping[str, Any] | None = None
) -> Parts:
    """Build all parts of a run, without training anything.

    Args:
        config: Plain dicts, as `configs/polydigits.py` returns them.
        data: What the run learns: shapes, types and names.
        coders: Frozen coders from Python, by modality, where the config says "given".

    Raises:
        ValueError: Naming the key, for anything in the config that does not fit.

    Example:
        Count the latents of the demo, given the run's folder::

            from sbmae_jax.app.build import build
            from sbmae_jax.configs import polydigits
            from sbmae_jax.data.description import load

            data = load(Path("runs/polydigits/data.json"))
            parts = build(polydigits.get_config().to_dict(), data)
            print(parts.layout.size)
    """
    _check_missing(config, data)
    root, frozen = Section("config", config), freeze_coders(config, data, coders)
    modalities = build_modalities(config, data, frozen)
    autoencoders = tuple(frozen.get(m.name) or build_autoencoder(config, m) for m in modalities)
    joint, sde = layout(modalities), root.part("sde").choose(SDES)
    decoders = build_decoders(config, modalities)
    parts = Parts(
        modalities=modalities,
        autoencoders=autoencoders,
        groups=build_groups(config, modalities, autoencoders),
        network=_build_score(root, joint),
        sde=sde,
        matching=root.part("score").build(ScoreMatchingConfig),
        score_training=root.part("score_training").build(TrainingConfig),
        energy=_build_energy(root, sde, joint),
        sampling=root.part("sampling").build(SamplingConfig),
        decoders=decoders,
        decoder_training=(
            root.needed("decoder_training", by="decoder_diffusion").build(TrainingConfig)
            if decoders
            else None
        ),
        decoding=build_decoding(config, decoders),
        protocol=build_protocol(config, modalities, data),
    )
    _check_conditioning(parts)
    return parts


def build_source(config: Mapping[str, Any], split: str, num_rows: int) -> Source:
    """Open one split of the data that a config names.

    Args:
        config: The config; `data`, `modalities` and `seed` are used.
        split: "train", "valid" or "test".
        num_rows: How many rows to take; 0 takes all.
    """
    root = Section("config", config)
    names = sorted(root.part("modalities").values)
    return root.part("data").choose(
        SOURCES, split=split, num_rows=num_rows, names=names, seed=config["seed"]
    )


def check_source(source: Source, modalities: tuple[Modality, ...]) -> None:
    """Raise ValueError if the arrays of a source do not fit the modalities."""
    for modality in modalities:
        if source.dtypes[modality.name] == np.uint8 or modality.name in source.scalings:
            # Any byte is valid, and scaled values were checked when the scaling was fitted: nothing to read.
            check_shape(modality, source.shapes[modality.name])
        else:
            check_array(modality, source.arrays[modality.name])


def _check_conditioning(parts: Parts) -> None:
    """Raise ValueError if the sampling asks for something that is not trained."""
    sampling, conditioning_prob = parts.sampling, parts.matching.conditioning_prob
    if sampling.conditioning == "amortised" and not conditioning_prob:
        raise ValueError(
            "config.sampling.conditioning: 'amortised' needs a score trained with observed modalities: "
            "set config.score.conditioning_prob above 0, or choose 'renoise' with corrections"
        )
    if conditioning_prob and not getattr(parts.network, "per_modality_levels", True):
        raise ValueError(
            "config.network.per_modality_levels: a score trained with observed modalities must know which "
            "ones are clean: set it to True, or config.score.conditioning_prob to 0"
        )
    if parts.matching.absent_prob and not getattr(parts.network, "per_modality_levels", True):
        raise ValueError(
            "config.network.per_modality_levels: a score trained with absent modalities must know which "
            "ones there are: set it to True, or config.score.absent_prob to 0"
        )
    if parts.energy is None:
        if sampling.guidance:
            raise ValueError(
                "config.sampling.guidance: there is no energy to guide with: set config.energy, or "
                "config.sampling.guidance to 0"
            )
    elif parts.energy.nce.observed_clean == (sampling.conditioning == "renoise"):
        raise ValueError(
            "config.nce.observed_clean: an energy must see observed latents in training as it does in "
            "sampling: set it to False for config.sampling.conditioning 'renoise', to True for the others"
        )


def _check_missing(config: Mapping[str, Any], data: Description) -> None:
    """Raise ValueError if rows lack modalities, and a training needs complete rows."""
    if PRESENT not in data.shapes:
        return
    if config["energy"] is not None:
        raise ValueError(
            "config.energy: an energy cannot be trained on rows that lack modalities: set it to None"
        )
    if config["stack_autoencoders"]:
        raise ValueError(
            "config.stack_autoencoders: stacked autoencoders cannot be trained on rows that lack "
            "modalities: set it to False"
        )


def _build_score(root: Section, joint: Layout) -> Any:
    """Build the score network, and check that it takes the latents."""
    section = root.part("network")
    network = section.choose(SCORES, sizes=joint.sizes)
    levels = floats(len(joint.sizes))
    check_network(network, section.place, floats(joint.size), levels, outputs=[(joint.size,)])
    return network


def _build_energy(root: Section, sde: SDE, joint: Layout) -> EnergyParts | None:
    """Build the coherence energy, if the config has one."""
    if root.values["energy"] is None:
        return None
    section, nce_section = root.part("energy"), root.needed("nce", by="energy")
    network = section.choose(ENERGIES, sizes=joint.sizes)
    levels = floats(len(joint.sizes))
    observed = jax.ShapeDtypeStruct(levels.shape, bool)
    check_network(
        network, section.place, floats(joint.size), levels, observed, outputs=[(-1,), (-1,)]
    )
    nce = nce_section.build(NCEConfig)
    # Refuse a loss that does not fit the network now rather than after the stages that come first.
    Section(nce_section.place, {}).build(
        energy_task, network=network, sde=sde, layout=joint, nce=nce
    )
    training_section = root.needed("energy_training", by="energy")
    training = training_section.build(TrainingConfig)
    if training.batch_size < 2:
        raise ValueError(f"{training_section.place}: batch_size must be at least 2, got 1")
    return EnergyParts(network=network, nce=nce, training=training)
