"""From a config to the diffusion decoders of its modalities."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from sbmae_jax.app.encoder_decoders import check_network, floats
from sbmae_jax.app.sections import Section
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.diffusion_decoder import (
    DecodingConfig,
    DiffusionDecoder,
    require_decodable,
)
from sbmae_jax.models.likelihoods import LIKELIHOODS
from sbmae_jax.nets.conv_denoiser import ConvDenoiser
from sbmae_jax.nets.mixer import MixerDenoiser

DENOISERS: dict[str, Callable[..., Any]] = {"mixer": MixerDenoiser, "conv": ConvDenoiser}
"""The networks of diffusion decoders, by name."""

PICTURES = ("gaussian", "bernoulli")
"""Values that are diffused, where they have axes along which neighbours are alike: pictures and masks."""


def build_decoders(
    config: Mapping[str, Any], modalities: tuple[Modality, ...]
) -> dict[str, DiffusionDecoder]:
    """Build the diffusion decoders that a config has, by modality.

    A section of `config.decoder_diffusion` is for the modality of its name, or for those whose `network` has
    that name.

    Raises:
        ValueError: Naming the section, for one that no modality has, or one whose values have no diffusion
            decoder; and for a network that does not fit the pictures.
    """
    sections, found = Section("config.decoder_diffusion", config.get("decoder_diffusion", {})), {}
    sections.require_known(*(m.name for m in modalities), *{m.network for m in modalities})
    for modality in modalities:
        keys = [key for key in (modality.name, modality.network) if key in sections.values]
        if not keys:
            continue
        section = sections.part(keys[0])
        values = LIKELIHOODS[modality.likelihood].values
        if values not in PICTURES or len(modality.shape) != 3:
            raise ValueError(
                f"{section.place}: {modality.name} has {values} values of shape {modality.shape}, and there "
                "are diffusion decoders for pictures and masks alone: name the sections after modalities"
            )
        found[modality.name] = _build_decoder(section, modality)
    return found


def build_decoding(
    config: Mapping[str, Any], decoders: Mapping[str, DiffusionDecoder]
) -> DecodingConfig:
    """Build how the diffusion decoders of a run decode."""
    section = Section("config.decoding", config.get("decoding", {}))
    decoding = section.build(DecodingConfig)
    if not decoders and not section.values:
        return decoding
    try:
        require_decodable(decoding, decoders)
    except ValueError as error:
        raise ValueError(f"{section.place}: {error}") from None
    return decoding


def _build_decoder(section: Section, modality: Modality) -> DiffusionDecoder:
    """Build one decoder, and check that its network takes the pictures."""
    own = ("latent_noise", "drop_latent")
    network = section.without(*own).choose(DENOISERS)
    pictures, one = floats(*modality.shape), jax.ShapeDtypeStruct((1,), np.float32)
    arrays = pictures, pictures, floats(modality.latent_size), one, one
    check_network(network, section.place, *arrays, outputs=[modality.shape])
    numbers = {key: value for key, value in section.values.items() if key in own}
    return Section(section.place, numbers).build(DiffusionDecoder, network=network)
