"""From the sections of a config to modalities, their networks and their autoencoders."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sbmae_jax.app.sections import chosen, entries, fill, part, without
from sbmae_jax.data.description import Description
from sbmae_jax.models.autoencoder import Autoencoder, Modality, autoencoder
from sbmae_jax.models.task import Params, Task, stacked
from sbmae_jax.nets.dense import DenseDecoder, DenseEncoder
from sbmae_jax.nets.patch import PatchDecoder, PatchEncoder
from sbmae_jax.nets.resnet import ResNetDecoder, ResNetEncoder
from sbmae_jax.nets.vector import VectorDecoder, VectorEncoder
from sbmae_jax.training.config import TrainingConfig

# For each name the modules of encoder and decoder. The encoder gets `num_heads` and `latent_size`, the
# decoder `shape`; the rest is in the section of `config.encoder_decoders` that a modality names.
ENCODER_DECODERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "patch": (PatchEncoder, PatchDecoder),
    "resnet": (ResNetEncoder, ResNetDecoder),
    "dense": (DenseEncoder, DenseDecoder),
    "vector": (VectorEncoder, VectorDecoder),
}

shared_autoencoder = functools.cache(autoencoder)


class Group(NamedTuple):
    """Autoencoders that are trained as one: that of a single modality, or alike ones, stacked."""

    names: tuple[str, ...]
    autoencoder: Autoencoder
    training: TrainingConfig

    @property
    def stage(self) -> str:
        """The name of the training, and of its folder."""
        return "autoencoder/" + "+".join(self.names)

    @property
    def task(self) -> Task:
        """What is trained, on batches that are a `view` of the data."""
        alone = len(self.names) == 1
        return self.autoencoder.task if alone else stacked(self.autoencoder.task, self.names)

    @property
    def view(self) -> dict[str, str]:
        """For each name in a batch the array of the data."""
        alone = len(self.names) == 1
        return {"x": self.names[0]} if alone else {name: name for name in self.names}

    def members(self, params: Params) -> dict[str, Params]:
        """Return the parameters of each modality's autoencoder."""
        if len(self.names) == 1:
            return {self.names[0]: params}
        return {
            name: jax.tree.map(lambda leaf, m=m: leaf[m], params)
            for m, name in enumerate(self.names)
        }


def build_groups(
    config: Mapping[str, Any],
    modalities: tuple[Modality, ...],
    autoencoders: tuple[Autoencoder, ...],
) -> tuple[Group, ...]:
    """Build the trainings of the autoencoders: each alone or, if the config says so, alike ones as one."""
    groups = [
        Group((m.name,), autoencoder, build_training(config, m.name))
        for m, autoencoder in zip(modalities, autoencoders, strict=True)
    ]
    if not config["stack_autoencoders"]:
        return tuple(groups)
    alike: dict[Any, list[str]] = {}
    for group in groups:
        alike.setdefault((group.autoencoder, group.training), []).extend(group.names)
    return tuple(Group(tuple(names), *key) for key, names in alike.items())


def build_modalities(sections: Mapping[str, Any], data: Description) -> tuple[Modality, ...]:
    """Build the modalities, ordered by name, and match them with what the data have."""
    if not entries(sections, "modalities"):
        raise ValueError("config.modalities: name at least one array of the data")
    for name in sections:
        if name not in data.shapes:
            raise ValueError(
                f"config.modalities.{name}: the data have no such array, but {', '.join(data.shapes)}"
            )
    return tuple(
        fill(
            Modality, without(entries(section, f"modalities.{name}"), "training"), f"modalities.{name}",
            name=name, shape=data.shapes[name],
        )
        for name, section in sorted(sections.items())
    )  # fmt: skip


def build_training(config: Mapping[str, Any], name: str) -> TrainingConfig:
    """Build the training of an autoencoder: that of all, with what its modality changes in it."""
    changes = config["modalities"][name].get("training", {})
    section = {
        **part(config, "autoencoder_training"),
        **entries(changes, f"modalities.{name}.training"),
    }
    return fill(TrainingConfig, section, f"autoencoder_training, with modalities.{name}.training")


def build_autoencoder(config: Mapping[str, Any], modality: Modality) -> Autoencoder:
    """Build the autoencoder of a modality from the networks that the modality names."""
    # What is not there is named where the autoencoder is made.
    num_heads = 2 if part(config, "autoencoder").get("kind") == "vae" else 1
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
    (make, _), where = coder(config, modality)
    sizes = {"num_heads": num_heads, "latent_size": modality.latent_size}
    encoder = fill(make, part(config, *where, "encoder"), ".".join((*where, "encoder")), **sizes)
    check_network(encoder, ".".join(where), floats(*modality.shape))
    return encoder


def build_decoder(config: Mapping[str, Any], modality: Modality) -> Any:
    """Build a decoder of a modality."""
    (_, make), where = coder(config, modality)
    section = part(config, *where, "decoder")
    decoder = fill(make, section, ".".join((*where, "decoder")), shape=modality.shape)
    check_network(decoder, ".".join(where), floats(modality.latent_size))
    return decoder


def coder(config: Mapping[str, Any], modality: Modality) -> tuple[Any, tuple[str, str]]:
    """Return the modules of the networks that a modality names, and the place of their section."""
    name, sections = modality.network, part(config, "encoder_decoders")
    if name not in sections:
        raise ValueError(
            f"config.modalities.{modality.name}.network: config.encoder_decoders has no {name!r}; choose "
            "one of "
            f"{', '.join(sections)}"
        )
    return chosen(ENCODER_DECODERS, sections[name], f"encoder_decoders.{name}"), (
        "encoder_decoders",
        name,
    )


def floats(*shape: int) -> jax.ShapeDtypeStruct:
    """Return the shape of a batch of one."""
    return jax.ShapeDtypeStruct((1, *shape), jnp.float32)


def check_network(network: Any, where: str, *arrays: jax.ShapeDtypeStruct, **options: Any) -> None:
    """Raise ValueError, naming the section, if a network cannot take arrays of these shapes."""
    try:
        initialised(network, arrays, tuple(sorted(options.items())))
    except ValueError as error:
        raise ValueError(f"config.{where}: {error}") from None


@functools.cache
def initialised(
    network: Any, arrays: tuple[jax.ShapeDtypeStruct, ...], options: tuple[tuple[str, Any], ...]
) -> Any:
    """Return the shapes of the parameters of a network; nothing is computed."""
    init = functools.partial(network.init, **dict(options))
    return jax.eval_shape(init, jax.random.key(0), *arrays)
