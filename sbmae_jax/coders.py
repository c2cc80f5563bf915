"""From the sections of a config to modalities, their networks and their autoencoders."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sbmae_jax.autoencoder import Autoencoder, Modality, autoencoder
from sbmae_jax.data.description import Description
from sbmae_jax.nets.dense import DenseDecoder, DenseEncoder
from sbmae_jax.nets.patch import PatchDecoder, PatchEncoder
from sbmae_jax.nets.resnet import ResNetDecoder, ResNetEncoder
from sbmae_jax.nets.vector import VectorDecoder, VectorEncoder
from sbmae_jax.sections import fill, without
from sbmae_jax.task import Params, Task, stacked
from sbmae_jax.training import Training

# For each name the modules of encoder and decoder. The encoder gets `num_heads` and `latent_size`, the
# decoder `shape`; the rest is in the section of `config.coders` that a modality names.
CODERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
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
    training: Training

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
