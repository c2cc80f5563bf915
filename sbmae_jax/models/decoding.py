"""From latents to data: each modality by its own decoder."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from sbmae_jax.models.diffusion_decoder import as_values
from sbmae_jax.models.likelihoods import LIKELIHOODS
from sbmae_jax.types import Array, Key


def decode(
    model: Any, x: Array, key: Key | None, strings: bool, noise: bool, observed: Array | None = None
) -> dict[str, Array]:
    """Decode standardised latents; `Model.decode` documents the arguments.

    observed: `[B, M]` bool, of which diffusion decoders draw nothing: it is decoded to its mean.
    """
    decoders, decoded = dict(model.decoders) if model.decoding.decoder == "diffusion" else {}, {}
    latents = model.layout.unpack(model.moments.restore(x))
    for m, (modality, trained) in enumerate(zip(model.modalities, model.autoencoders, strict=True)):
        name, likelihood = modality.name, LIKELIHOODS[modality.likelihood]
        params, z = model.params["autoencoders"][name], latents[name]
        own = None if key is None else jax.random.fold_in(key, m)
        if own is not None and name in decoders:
            given = None if observed is None else observed[:, m]
            decoded[name] = _by_diffusion(model, m, own, z, given)
        elif own is None or not noise or (not strings and likelihood.values == "tokens"):
            decoded[name] = trained.decode(params, z)
        else:
            decoded[name] = trained.draw(params, own, z)
    return decoded


def _by_diffusion(model: Any, m: int, key: Key, z: Array, given: Array | None) -> Array:
    """Draw modality m in rows that are not given it, `[B]` bool; if all are, nothing is drawn."""
    modality = model.modalities[m]
    mean = partial(model.autoencoders[m].decode, model.params["autoencoders"][modality.name])
    params, decoder = model.params["decoders"][modality.name], dict(model.decoders)[modality.name]

    def draw(z):
        drawn = decoder.draw(params, key, mean, z, model.decoding)
        return as_values(LIKELIHOODS[modality.likelihood], drawn)

    if given is None:
        return draw(z)

    def draw_others(z):
        drawn = draw(z)
        return jnp.where(given.reshape(-1, *(1,) * (drawn.ndim - 1)), mean(z), drawn)

    return jax.lax.cond(given.all(), mean, draw_others, z)
