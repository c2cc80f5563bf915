"""A trained model: what it takes to encode, to generate and to decode."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax._check import require_int, require_key, require_one_of, require_type, short_repr
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.models.autoencoder import Autoencoder, Modality
from sbmae_jax.models.energy import energy_fn
from sbmae_jax.models.latents import Layout, Moments
from sbmae_jax.models.likelihoods import check_values
from sbmae_jax.models.score import score_fn
from sbmae_jax.models.task import Params
from sbmae_jax.sampling.generate import SamplingConfig, generate_latents
from sbmae_jax.sampling.guidance import classifier_free, guide, noise_condition
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, Key, ScoreFn

MAX_SAMPLES = 1_000_000  # in one call: they are drawn at once
GUIDANCE = 1  # what the key of its noise is folded with


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("params", "moments"),
    meta_fields=(
        "modalities",
        "autoencoders",
        "network",
        "sde",
        "sampling",
        "energy",
        "scalings",
    ),
)
@dataclass(frozen=True)
class Model:
    """Autoencoders and the score of their joint latents.

    params: {"autoencoders": {name: parameters}, "score": parameters}, and "energy" where there is one.
    moments: mean and deviation of the latents, by which they are standardised.
    autoencoders: in the order of `modalities`.
    network: the score network, a Flax module.
    energy: the network of the coherence energy, or None; used with `sampling.guidance` above 0.
    scalings: (name, scaling) of the modalities whose data the networks see in other units.

    As a pytree its leaves are the arrays, so that a model can be an argument of a compiled function.
    """

    params: dict[str, Params]
    moments: Moments
    modalities: tuple[Modality, ...]
    autoencoders: tuple[Autoencoder, ...]
    network: Any
    sde: SDE
    sampling: SamplingConfig
    energy: Any = None
    scalings: tuple[tuple[str, Scaling], ...] = ()

    @property
    def layout(self) -> Layout:
        """The order and the sizes of the latents."""
        return layout(self.modalities)

    def encode(self, batch: Mapping[str, Array]) -> Array:
        """Return the standardised latents [B, D] of all modalities."""
        return self.moments.standardise(
            encode(self.modalities, self.autoencoders, self.params["autoencoders"], batch)
        )

    def decode(self, x: Array) -> dict[str, Array]:
        """Return the modalities, in [0, 1], of standardised latents [B, D]."""
        latents = self.layout.unpack(self.moments.restore(x))
        return {
            modality.name: autoencoder.decode(
                self.params["autoencoders"][modality.name], latents[modality.name]
            )
            for modality, autoencoder in zip(self.modalities, self.autoencoders, strict=True)
        }

    def score(self, key: Key, observed: Array) -> ScoreFn:
        """Return the score of the unobserved latents, guided where the sampling says so.

        observed: [B, M] bool.  key: of the noise that classifier-free guidance adds to what is observed.
        """
        known = observed if self.sampling.conditioning == "amortised" else None
        mask = self.layout.expand(observed)
        network = self.network.apply, self.params["score"], self.sde, self.layout
        score = score_fn(*network, known)
        if self.sampling.classifier_free != 1:
            noise = jax.random.normal(key, mask.shape)
            joint = noise_condition(score_fn(*network), self.sde, noise, mask)
            score = classifier_free(score, joint, self.sampling.classifier_free)
        if not self.sampling.guidance:
            return score
        energy = energy_fn(
            self.energy.apply, self.params["energy"], self.sde, self.layout, observed,
            observed_clean=self.sampling.conditioning != "renoise",
        )  # fmt: skip
        return guide(score, energy, self.sampling.guidance, mask=mask)

    def sample(self, key: Key, x: Array, observed: Array) -> Array:
        """Draw the unobserved latents: x [B, D] standardised, observed [B, M] bool -> [B, D]."""
        # A key of its own, and the other as it is: without guidance this draws what it always drew.
        score = self.score(jax.random.fold_in(key, GUIDANCE), observed)
        mask = self.layout.expand(observed)
        return generate_latents(key, self.sde, score, self.sampling, x, mask)

    def complete(self, key: Key, batch: Mapping[str, Array], observed: Array) -> dict[str, Array]:
        """Generate what is not observed; pure, to be compiled.

        batch: all modalities, [B, *shape]; the values of unobserved ones are not used.
        observed: [B, M] bool, in the order of `modalities`; rows may differ.
        Returns all modalities decoded, in [0, 1]; observed ones are their reconstructions.
        """
        return self.decode(self.sample(key, self.encode(batch), observed))

    def draw(self, key: Key, batch: Mapping[str, Array], observed: Array) -> dict[str, Array]:
        """Generate what is not observed with the noise of p(x|z), not its mean; otherwise as `complete`."""
        sample_key, noise_key = jax.random.split(key)
        x = self.sample(sample_key, self.encode(batch), observed)
        latents = self.layout.unpack(self.moments.restore(x))
        return {
            modality.name: autoencoder.draw(
                self.params["autoencoders"][modality.name],
                jax.random.fold_in(noise_key, m),
                latents[modality.name],
            )
            for m, (modality, autoencoder) in enumerate(
                zip(self.modalities, self.autoencoders, strict=True)
            )
        }

    def reconstruct(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Encode and decode all modalities [B, *shape]."""
        return self.decode(self.encode(batch))

    def generate(
        self, given: Mapping[str, Any], *, key: Key | int = 0, num_samples: int | None = None,
        noise: bool = False,
    ) -> dict[str, np.ndarray]:  # fmt: skip
        """Generate all modalities from any subset of them, which may be empty.

        given: {name: [B, *shape]}, bytes or floats in [0, 1]; for data of one's own in their units.
        key: a typed key, or a seed.
        num_samples: how many samples to draw where nothing is given; otherwise each row of `given` gets
            one.
        noise: draw from p(x|z) rather than take its mean.

        Returns {name: [B, *shape]}, in [0, 1] or in their units; what was given comes back as it was given.
        Raises ValueError for an unknown modality, for a shape, a range or a NaN that does not fit, for
        different batch sizes or none, where both `given` and `num_samples` say how many, or neither does, and
        for a key that is neither a typed one nor a seed in 0..2^32 - 1.
        """
        if not isinstance(given, Mapping):
            raise ValueError(f"given must be {{name: array}}, got {short_repr(given)}")
        if isinstance(key, int):
            require_int("key", key, 0, 2**32 - 1)
        else:
            require_key(key)
        require_type("noise", noise, bool)
        observed = self.layout.observed(given, 1)
        num_rows = self._num_rows(given, num_samples)
        observed = np.repeat(observed, num_rows, axis=0)
        batch = {
            m.name: jnp.asarray(
                self.prepare(m, given[m.name])
                if m.name in given
                else np.zeros((num_rows, *m.shape), np.float32)
            )
            for m in self.modalities
        }
        if isinstance(key, int):
            key = jax.random.key(key)
        made = (draw if noise else complete)(self, key, batch, jnp.asarray(observed))
        return {
            name: np.asarray(given[name]) if name in given else self.restore(name, array)
            for name, array in made.items()
        }

    def with_sampling(self, **changes: Any) -> "Model":
        """Return the same model, sampled in another way: `model.with_sampling(temperature=0.7)`.

        changes: to fields of `SamplingConfig`. Raises ValueError for one that it does not have,
        and as `SamplingConfig`.
        """
        for name in changes:
            require_one_of("sampling", name, [field.name for field in fields(SamplingConfig)])
        return replace(self, sampling=replace(self.sampling, **changes))

    def prepare(self, modality: Modality, values: Any) -> np.ndarray:
        """Return values [B, ...] as the networks see them. Raises ValueError for what does not fit."""
        name, scalings = modality.name, dict(self.scalings)
        values = as_array(name, values)
        if name not in scalings:
            check_array(modality, values)
            return values
        try:
            return scalings[name].prepare(values)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    def restore(self, name: str, made: Any) -> np.ndarray:
        """Return what the networks made of a modality in the units of the data."""
        made, scalings = np.asarray(made), dict(self.scalings)
        return scalings[name].restore(made) if name in scalings else made

    def _num_rows(self, given: Mapping[str, Any], num_samples: int | None) -> int:
        if num_samples is not None:
            require_int("num_samples", num_samples, 1, MAX_SAMPLES)
        sizes = {name: np.shape(as_array(name, array))[:1] for name, array in given.items()}
        if () in sizes.values() or (0,) in sizes.values():
            raise ValueError(f"given: arrays must be [B, ...] with B at least 1, got {sizes}")
        if len(set(sizes.values())) > 1:
            raise ValueError(f"given: arrays must have the same number of rows, got {sizes}")
        if bool(sizes) == (num_samples is not None):
            raise ValueError(
                "num_samples says how many to draw when nothing is given; otherwise each row of "
                "`given` gets one sample: pass either arrays or num_samples"
            )
        return num_samples if num_samples is not None else next(iter(sizes.values()))[0]


complete = jax.jit(Model.complete)
"""`Model.complete`, compiled: one executable for all subsets of a batch size."""

draw = jax.jit(Model.draw)
"""`Model.draw`, compiled."""

reconstruct = jax.jit(Model.reconstruct)
"""`Model.reconstruct`, compiled."""


def as_array(name: str, values: Any) -> np.ndarray:
    """Return values as an array; raises ValueError for rows of different lengths."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError):
        raise ValueError(f"{name}: rows must have one shape, got {short_repr(values)}") from None


def layout(modalities: tuple[Modality, ...]) -> Layout:
    """Return the layout of the joint latents of these modalities."""
    return Layout(tuple(m.name for m in modalities), tuple(m.latent_size for m in modalities))


def encode(
    modalities: tuple[Modality, ...],
    autoencoders: tuple[Autoencoder, ...],
    params: Mapping[str, Params],
    batch: Mapping[str, Array],
) -> Array:
    """Return the latents [B, D] of all modalities, before standardisation."""
    latents = {
        modality.name: autoencoder.encode(params[modality.name], batch[modality.name])
        for modality, autoencoder in zip(modalities, autoencoders, strict=True)
    }
    return layout(modalities).pack(latents)


def check_shape(modality: Modality, shape: tuple[int, ...]) -> None:
    """Raise ValueError if examples of a shape are not those of a modality."""
    if shape != modality.shape:
        raise ValueError(f"{modality.name}: examples must have shape {modality.shape}, got {shape}")


def check_array(modality: Modality, array: np.ndarray) -> None:
    """Raise ValueError if an array does not hold examples of a modality."""
    check_shape(modality, array.shape[1:])
    if array.dtype == np.uint8:
        return
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(
            f"{modality.name}: use uint8 in 0..255 or floats in 0..1, got {array.dtype}"
        )
    check_values(modality.likelihood, modality.name, array)
