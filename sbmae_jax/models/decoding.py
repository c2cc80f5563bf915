"""From latents to data: each modality by its own decoder."""

from functools import partial
from typing import Any

import jax

from sbmae_jax.models.diffusion_decoder import as_values
from sbmae_jax.models.likelihoods import LIKELIHOODS
from sbmae_jax.types import Array, Key


def decode(model: Any, x: Array, key: Key | None, strings: bool, noise: bool) -> dict[str, Array]:
    """Decode standardised latents; `Model.decode` documents the arguments."""
    decoders, decoded = dict(model.decoders) if model.decoding.decoder == "diffusion" else {}, {}
    latents = model.layout.unpack(model.moments.restore(x))
    for m, (modality, trained) in enumerate(zip(model.modalities, model.autoencoders, strict=True)):
        name, likelihood = modality.name, LIKELIHOODS[modality.likelihood]
        params, z = model.params["autoencoders"][name], latents[name]
        own = None if key is None else jax.random.fold_in(key, m)
        if own is not None and name in decoders:
            mean = partial(trained.decode, params)
            drawn = decoders[name].draw(
                model.params["decoders"][name], own, mean, z, model.decoding
            )
            decoded[name] = as_values(likelihood, drawn)
        elif own is None or not noise or (not strings and likelihood.values == "tokens"):
            decoded[name] = trained.decode(params, z)
        else:
            decoded[name] = trained.draw(params, own, z)
    return decoded
