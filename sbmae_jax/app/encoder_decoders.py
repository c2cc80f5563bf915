"""From a config to modalities, their networks and their autoencoders."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from sbmae_jax.app.sections import Section
from sbmae_jax.data.description import Description
from sbmae_jax.models.autoencoder import Autoencoder, Modality
from sbmae_jax.models.task import Params, Task, stacked
from sbmae_jax.nets.dense import DenseDecoder, DenseEncoder
from sbmae_jax.nets.patch import PatchDecoder, PatchEncoder
from sbmae_jax.nets.resnet import ResNetDecoder, ResNetEncoder
from sbmae_jax.nets.vector import VectorDecoder, VectorEncoder
from sbmae_jax.training.config import TrainingConfig

# The classes of encoder and decoder, by name. The encoder gets `num_heads` and `latent_size`, the decoder
# `shape`; the other arguments come from the section of `config.encoder_decoders` that a modality names.
ENCODER_DECODERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "patch": (PatchEncoder, PatchDecoder),
    "resnet": (ResNetEncoder, ResNetDecoder),
    "dense": (DenseEncoder, DenseDecoder),
    "vector": (VectorEncoder, VectorDecoder),
}

# Modalities that differ only by name share these functions, and so the compiled training step.
_shared_autoencoder = functools.cache(Autoencoder)


@dataclasses.dataclass(frozen=True)
class Group:
    """Autoencoders that are trained as one: that of a single modality, or alike ones, stacked.

    Attributes:
        names: The modalities.
        autoencoder: The autoencoder that all of them have.
        training: How it is trained.
    """

    names: tuple[str, ...]
    autoencoder: Autoencoder
    training: TrainingConfig

    @property
    def stage(self) -> str:
        """The name of the training, and of its folder."""
        return "autoencoder/" + "+".join(self.names)

    @property
    def is_stacked(self) -> bool:
        """Whether there are several, whose parameters are stacked along a first axis."""
        return len(self.names) > 1

    @property
    def task(self) -> Task:
        """What is trained, on batches that are a `view` of the data."""
        task = self.autoencoder.task
        return stacked(task, self.names) if self.is_stacked else task

    @property
    def view(self) -> dict[str, str]:
        """For each name in a batch, the array of the data."""
        return {name if self.is_stacked else "x": name for name in self.names}

    def members(self, params: Params) -> dict[str, Params]:
        """Return the parameters of each modality's autoencoder."""
        if not self.is_stacked:
            return {self.names[0]: params}
        stack = enumerate(self.names)
        return {name: jax.tree.map(lambda leaf, m=m: leaf[m], params) for m, name in stack}


def build_groups(
    config: Mapping[str, Any],
    modalities: tuple[Modality, ...],
    autoencoders: tuple[Autoencoder, ...],
) -> tuple[Group, ...]:
    """Build the trainings of the autoencoders: each alone or, if the config says so, alike ones as one."""
    alike: dict[Any, list[str]] = {}
    for modality, trained in zip(modalities, autoencoders, strict=True):
        training = _build_training(config, modality.name)
        alone = "" if config["stack_autoencoders"] else modality.name
        alike.setdefault((trained, training, alone), []).append(modality.name)
    return tuple(
        Group(tuple(names), trained, training) for (trained, training, _), names in alike.items()
    )


def build_modalities(config: Mapping[str, Any], data: Description) -> tuple[Modality, ...]:
    """Build the modalities, ordered by name. Each must be an array of the data."""
    sections = Section("config", config).part("modalities")
    if not sections.values:
        raise ValueError("config.modalities: name at least one array of the data")
    for name in sections.values:
        if name not in data.shapes:
            raise ValueError(
                f"{sections.place}.{name}: the data have no such array, only {', '.join(data.shapes)}"
            )
    return tuple(
        sections.part(name).without("training").build(Modality, name=name, shape=data.shapes[name])
        for name in sorted(sections.values)
    )


def build_autoencoder(config: Mapping[str, Any], modality: Modality) -> Autoencoder:
    """Build the autoencoder of a modality, of the networks that the modality names."""
    section = Section("config", config).part("autoencoder")
    # An unknown kind is refused below.
    num_heads = 2 if section.values.get("kind") == "vae" else 1
    encoder = build_encoder(config, modality, num_heads)
    decoder = build_decoder(config, modality)
    unnamed = dataclasses.replace(modality, name="")
    return section.build(_shared_autoencoder, modality=unnamed, encoder=encoder, decoder=decoder)


def build_encoder(config: Mapping[str, Any], modality: Modality, num_heads: int) -> Any:
    """Build an encoder of a modality, with `num_heads` outputs of the size of its latent."""
    section = _networks(config, modality)
    make, _ = section.look_up(ENCODER_DECODERS)
    sizes = {"num_heads": num_heads, "latent_size": modality.latent_size}
    encoder = section.part("encoder").build(make, **sizes)
    check_network(encoder, section.place, floats(*modality.shape))
    return encoder


def build_decoder(config: Mapping[str, Any], modality: Modality) -> Any:
    """Build a decoder of a modality."""
    section = _networks(config, modality)
    _, make = section.look_up(ENCODER_DECODERS)
    decoder = section.part("decoder").build(make, shape=modality.shape)
    check_network(decoder, section.place, floats(modality.latent_size))
    return decoder


def floats(*shape: int) -> jax.ShapeDtypeStruct:
    """Return the shape and type of one row of floats."""
    return jax.ShapeDtypeStruct((1, *shape), jnp.float32)


def check_network(network: Any, place: str, *arrays: jax.ShapeDtypeStruct, **options: Any) -> None:
    """Raise ValueError if a network cannot take arrays of these shapes.

    Args:
        network: A Flax module.
        place: Its section of the config, for the message.
        *arrays: Its inputs.
        **options: Further arguments of its call.
    """
    try:
        _init_shapes(network, arrays, tuple(sorted(options.items())))
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _build_training(config: Mapping[str, Any], name: str) -> TrainingConfig:
    """Build the training of an autoencoder: the shared values, overridden by those of its modality."""
    root = Section("config", config)
    modality = root.part("modalities", name)
    place, changes = f"{modality.place}.training", modality.values.get("training", {})
    shared = root.part("autoencoder_training").values
    section = Section(
        f"config.autoencoder_training, with {place}", {**shared, **Section(place, changes).values}
    )
    return section.build(TrainingConfig)


def _networks(config: Mapping[str, Any], modality: Modality) -> Section:
    """Return the section of the networks that a modality names."""
    sections = Section("config", config).part("encoder_decoders")
    if modality.network not in sections.values:
        raise ValueError(
            f"config.modalities.{modality.name}.network: {sections.place} has no {modality.network!r}; "
            f"choose one of {', '.join(sections.values)}"
        )
    return sections.part(modality.network).require_known("name", "encoder", "decoder")


@functools.cache
def _init_shapes(
    network: Any, arrays: tuple[jax.ShapeDtypeStruct, ...], options: tuple[tuple[str, Any], ...]
) -> Any:
    """Trace the shapes of a network's parameters, without computing anything."""
    init = functools.partial(network.init, **dict(options))
    return jax.eval_shape(init, jax.random.key(0), *arrays)
