"""From a config to modalities, their networks and their autoencoders."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax._io import one_line
from sbmae_jax.app.imported import import_part, is_import_path
from sbmae_jax.app.sections import Section
from sbmae_jax.data.description import Description
from sbmae_jax.models import codec
from sbmae_jax.models.autoencoder import Autoencoder, Modality
from sbmae_jax.models.coders import FrozenAutoencoder
from sbmae_jax.models.likelihoods import LIKELIHOODS, Likelihood, add_likelihood
from sbmae_jax.models.task import Params, Task, stacked
from sbmae_jax.nets.dense import DenseDecoder, DenseEncoder
from sbmae_jax.nets.patch import PatchDecoder, PatchEncoder
from sbmae_jax.nets.resnet import ResNetDecoder, ResNetEncoder
from sbmae_jax.nets.text import TextDecoder, TextEncoder
from sbmae_jax.nets.vector import VectorDecoder, VectorEncoder
from sbmae_jax.training.config import TrainingConfig

# The classes of encoder and decoder, by name. The encoder gets `num_heads` and `latent_size`, the decoder
# `shape`; the other arguments come from the section of `config.encoder_decoders` that a modality names. There
# the sections `encoder` and `decoder` may have names of their own, such as the import path of a class.
ENCODER_DECODERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "patch": (PatchEncoder, PatchDecoder),
    "resnet": (ResNetEncoder, ResNetDecoder),
    "dense": (DenseEncoder, DenseDecoder),
    "vector": (VectorEncoder, VectorDecoder),
    "text": (TextEncoder, TextDecoder),
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
    autoencoders: tuple[Autoencoder | FrozenAutoencoder, ...],
) -> tuple[Group, ...]:
    """Build the trainings of the autoencoders: each alone or, if the config says so, alike ones as one.

    Frozen ones have none.
    """
    alike: dict[Any, list[str]] = {}
    for modality, trained in zip(modalities, autoencoders, strict=True):
        if isinstance(trained, FrozenAutoencoder):
            continue
        training = _build_training(config, modality.name)
        alone = "" if config["stack_autoencoders"] else modality.name
        alike.setdefault((trained, training, alone), []).append(modality.name)
    return tuple(
        Group(tuple(names), trained, training) for (trained, training, _), names in alike.items()
    )


def build_modalities(
    config: Mapping[str, Any], data: Description, frozen: Mapping[str, FrozenAutoencoder]
) -> tuple[Modality, ...]:
    """Build the modalities, ordered by name. Each must be an array of the data, and may be frozen."""
    sections = Section("config", config).part("modalities")
    if not sections.values:
        raise ValueError("config.modalities: name at least one array of the data")
    for name in sections.values:
        if name not in data.shapes:
            raise ValueError(
                f"{sections.place}.{name}: the data have no such array, only {', '.join(data.shapes)}"
            )
    return tuple(
        dataclasses.replace(frozen[name].modality, name=name)
        if name in frozen
        else _build_modality(sections.part(name), name, data.shapes[name])
        for name in sorted(sections.values)
    )


def _build_modality(section: Section, name: str, shape: tuple[int, ...]) -> Modality:
    """Build a modality whose autoencoder is trained."""
    add_imported_likelihood(section)
    return section.without("training", "coder").build(Modality, name=name, shape=shape)


def add_imported_likelihood(section: Section) -> None:
    """Make the likelihood of a modality known, if its section names one by an import path."""
    path, place = section.values.get("likelihood"), f"{section.place}.likelihood"
    if isinstance(path, Likelihood):
        raise ValueError(
            f"{place}: name the likelihood by its import path, as in 'my_package.kinds:LAPLACE', or by the "
            "name that add_likelihood has for it"
        )
    if isinstance(path, str) and is_import_path(path):
        found = import_part(place, path)
        try:
            add_likelihood(path, found)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None


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
    place, size = f"config.encoder_decoders.{modality.network}", modality.latent_size
    encoder = _build(config, modality, "encoder", num_heads=num_heads, latent_size=size)
    check_network(encoder, place, floats(*modality.shape), outputs=[(num_heads * size,)])
    return encoder


def build_decoder(config: Mapping[str, Any], modality: Modality) -> Any:
    """Build a decoder of a modality."""
    place = f"config.encoder_decoders.{modality.network}"
    decoder = _build(config, modality, "decoder", shape=modality.shape)
    # Of tokens there is a logit for each of the vocabulary.
    is_tokens = LIKELIHOODS[modality.likelihood].values == "tokens"
    output = (*modality.shape, -1) if is_tokens else modality.shape
    check_network(decoder, place, floats(modality.latent_size), outputs=[output])
    return decoder


def floats(*shape: int) -> jax.ShapeDtypeStruct:
    """Return the shape and type of one row of floats."""
    return jax.ShapeDtypeStruct((1, *shape), jnp.float32)


def check_network(
    network: Any, place: str, *arrays: jax.ShapeDtypeStruct, outputs: Sequence[tuple[int, ...]],
    saved: bool = True, **options: Any,
) -> None:  # fmt: skip
    """Raise ValueError if a network does not take arrays of these shapes, returns others, or cannot be saved.

    Args:
        network: A Flax module.
        place: Its section of the config, for the message.
        *arrays: Its inputs, of one row.
        outputs: The shape for one row of each array that it must return; -1 stands for any length.
        saved: Whether it is part of a model, which must not refuse to be saved once it is trained.
        **options: Further arguments of its call.
    """
    what = type(network).__name__
    if not hasattr(network, "init_with_output") or not hasattr(network, "apply"):
        raise ValueError(f"{place}: {what} is not a Flax module: derive it from flax.linen.Module")
    try:
        found = _output_shapes(network, arrays, tuple(sorted(options.items())))
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    except Exception as error:  # a network of one's own raises anything
        raise ValueError(
            f"{place}: {what} fails on arrays of shape {', '.join(str(a.shape) for a in arrays)} "
            f"({type(error).__name__}: {one_line(error, 300)})"
        ) from error
    wanted = [(1, *shape) for shape in outputs]
    if not _fit(found, wanted):
        shapes = [" and ".join(map(str, shapes)) for shapes in (found, wanted)]
        raise ValueError(
            f"{place}: {what} returns shape {shapes[0]} for one row, and must return {shapes[1]}"
        )
    if saved:
        try:
            codec.encode(network, what)
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


def _build(config: Mapping[str, Any], modality: Modality, part: str, **sizes: Any) -> Any:
    """Build the encoder or the decoder of a modality, of what its section or the one around it names."""
    section = _networks(config, modality)
    own, index = section.part(part), ("encoder", "decoder").index(part)
    if "name" in own.values:
        return own.choose({name: pair[index] for name, pair in ENCODER_DECODERS.items()}, **sizes)
    return own.build(section.look_up(ENCODER_DECODERS)[index], **sizes)


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
def _output_shapes(
    network: Any, arrays: tuple[jax.ShapeDtypeStruct, ...], options: tuple[tuple[str, Any], ...]
) -> list[tuple[int, ...]]:
    """Trace the shapes of what a network returns, without computing anything."""
    call = functools.partial(network.init_with_output, **dict(options))
    output, _ = jax.eval_shape(call, jax.random.key(0), *arrays)
    return [np.shape(one) for one in (output if isinstance(output, tuple) else (output,))]


def _fit(found: Sequence[tuple[int, ...]], wanted: Sequence[tuple[int, ...]]) -> bool:
    """Return whether shapes are those that are wanted, where -1 stands for any length."""
    return [len(shape) for shape in found] == [len(shape) for shape in wanted] and all(
        want in (-1, have)
        for shapes in zip(found, wanted, strict=True)
        for have, want in zip(*shapes, strict=True)
    )
