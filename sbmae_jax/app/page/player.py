"""What the page draws with a model, compiled once for each number of samples.

Temperature and weights of guidance are traced, so that moving a slider compiles nothing.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from sbmae_jax._check import require_int, require_number, require_seed
from sbmae_jax.models import generation
from sbmae_jax.models.autoencoder import as_float
from sbmae_jax.models.likelihoods import LIKELIHOODS
from sbmae_jax.models.model import Model
from sbmae_jax.types import Array, Key

MAX_SAMPLES = 16
"""Samples side by side; more do not fit on a screen."""

MAX_WEIGHT = 10.0
"""The largest weight of guidance on the page."""


@dataclass(frozen=True, kw_only=True)
class Dials:
    """How samples are drawn.

    Attributes:
        num_samples: Samples of each modality, in 1..16.
        seed: In 0..2^32 - 1; the same seed gives the same samples.
        temperature: In 0..1, see `SamplingConfig`.
        classifier_free: Weight of classifier-free guidance, in 0..10; 1 is none.
        guidance: Weight of the coherence energy, in 0..10; 0 is none.

    Raises:
        ValueError: For a value out of range.

    Example:
        >>> Dials(num_samples=4, temperature=0.7).seed
        0
    """

    num_samples: int = 8
    seed: int = 0
    temperature: float = 1.0
    classifier_free: float = 1.0
    guidance: float = 0.0

    def __post_init__(self):
        require_int("the number of samples", self.num_samples, 1, MAX_SAMPLES)
        require_seed("the seed", self.seed)
        require_number("the temperature", self.temperature, 0, 1)
        require_number("the weight of guidance", self.classifier_free, 0, MAX_WEIGHT)
        require_number("the weight of the energy", self.guidance, 0, MAX_WEIGHT)


class Moves(NamedTuple):
    """How far each generated modality moves if one that was given is removed.

    Attributes:
        given: The modalities that were removed, one at a time.
        made: The modalities that were generated every time.
        shares: `[len(given), len(made)]`; 0 does not move, and 1 moves as far as two samples from nothing
            are apart.
    """

    given: tuple[str, ...]
    made: tuple[str, ...]
    shares: np.ndarray


class Player:
    """Draws samples of one model, for any number of visitors at once.

    Args:
        model: A trained model.

    Example:
        Eight samples of all modalities, and how far the others move without one of two that were given::

            player = Player(sbmae_jax.load("runs/polydigits"))
            made = player.generate({}, Dials())
            given = {"hubble": made["hubble"][0], "rocket": made["rocket"][0]}
            player.moves(given, Dials()).shares
    """

    def __init__(self, model: Model):
        self.model = model
        # By config, `particles` has no temperature, nor have steps without noise.
        sampling = model.sampling
        exact = sampling.conditioning == "particles"
        noiseless = sampling.sampler == "dpm_solver" and sampling.eta == 0
        self.has_temperature = not exact and (not noiseless or sampling.num_corrections > 0)
        self.has_classifier_free = sampling.conditioning == "amortised"
        self.has_guidance = model.energy_network is not None and not exact
        self._compiled: set[tuple] = set()
        self._turn = threading.Lock()  # two visitors at once would only slow each other down

    def first_dials(self) -> Dials:
        """Return what the model samples with unless a visitor changes it."""
        sampling = self.model.sampling
        return Dials(
            temperature=float(sampling.temperature),
            classifier_free=min(float(sampling.classifier_free), MAX_WEIGHT),
            guidance=min(float(sampling.guidance), MAX_WEIGHT),
        )

    def needs_compiling(self, dials: Dials) -> bool:
        """Return whether `generate` has to compile something first, which takes seconds."""
        return self._pattern(dials) not in self._compiled

    def generate(self, given: Mapping[str, np.ndarray], dials: Dials) -> dict[str, np.ndarray]:
        """Generate all modalities from some.

        Args:
            given: `{name: example}`, without a batch axis, in the units of the data; may be empty.
            dials: How.

        Returns:
            `{name: [S, ...]}`; those of `given` are repeated, unchanged.

        Raises:
            ValueError: Naming the modality, for an example that does not fit.
        """
        noise = bool(self.model.scalings)  # as `Model.generate` does
        draw = partial(_draw, noise=noise)

        def draw_rows(model, key, batch, observed):
            return draw(model, key, batch, observed, self._traced(dials))

        rows = {name: np.asarray(example)[None] for name, example in given.items()}
        with self._using(dials):
            made = generation.generate(self.model, draw_rows, rows, dials.seed, dials.num_samples)
        return {name: x[0] for name, x in made.items()} if given else made

    def moves(self, given: Mapping[str, np.ndarray], dials: Dials) -> Moves:
        """Measure how far generated modalities move without one of those that were given.

        The samples with and without it have the same noise. They are compared as the networks see them, by
        the root mean square difference, or by the share of other tokens for text.

        Args:
            given: As for `generate`, at least one and not all.
            dials: How.

        Raises:
            ValueError: If nothing is given, or everything; and as `generate`.
        """
        names = self.model.layout.names
        made = tuple(name for name in names if name not in given)
        if not given or not made:
            raise ValueError("give at least one modality, and leave at least one to be generated")
        example = {
            m.name: self.model.prepare(m, np.asarray(given[m.name])[None])
            if m.name in given
            else np.zeros((1, *m.shape), np.float32)
            for m in self.model.modalities
        }
        num = max(dials.num_samples, 2)  # a distance between samples from nothing needs two
        num_drawn = 1 << (num - 1).bit_length()
        batch = {
            name: np.repeat(as_float(x).astype(np.float32), num_drawn, axis=0)
            for name, x in example.items()
        }
        with self._using(dials):
            apart = partial(self._draw_means, batch, dials, num_drawn)
            nothing, whole = apart(()), apart(tuple(given))
            shares = [
                [
                    self._distance(name, whole[name], without[name], nothing[name], num)
                    for name in made
                ]
                for without in (apart(tuple(set(given) - {name})) for name in given)
            ]
        return Moves(tuple(given), made, np.array(shares))

    def _draw_means(
        self, batch: Mapping[str, np.ndarray], dials: Dials, num: int, given: Sequence[str]
    ) -> dict[str, np.ndarray]:
        observed = np.repeat(self.model.layout.observed(given, 1), num, axis=0)
        key = jax.random.fold_in(jax.random.key(dials.seed), 0)
        return jax.device_get(
            _draw(self.model, key, batch, observed, self._traced(dials), noise=False)
        )

    def _distance(
        self, name: str, whole: np.ndarray, without: np.ndarray, nothing: np.ndarray, num: int
    ) -> float:
        """Return how far samples are apart, relative to samples from nothing."""
        modality = next(m for m in self.model.modalities if m.name == name)
        tokens = LIKELIHOODS[modality.likelihood].values == "tokens"

        def apart(a, b):
            a, b = (x[:num].astype(np.float64) for x in (a, b))
            return (a != b).mean() if tokens else np.sqrt(np.square(a - b).mean())

        unrelated = apart(nothing, np.roll(nothing[:num], 1, axis=0))
        return float(apart(whole, without) / unrelated) if unrelated else 0.0

    def _traced(self, dials: Dials) -> dict[str, np.float32]:
        """Return the numbers that the compiled function takes; a weight that does nothing costs nothing."""
        found = {}
        if self.has_temperature:
            found["temperature"] = np.float32(dials.temperature)
        if self.has_classifier_free and dials.classifier_free != 1:
            found["classifier_free"] = np.float32(dials.classifier_free)
        if self.has_guidance and dials.guidance:
            found["guidance"] = np.float32(dials.guidance)
        return found

    def _pattern(self, dials: Dials) -> tuple:
        """Return what decides on the executable."""
        return (dials.num_samples - 1).bit_length(), *self._traced(dials)

    @contextmanager
    def _using(self, dials: Dials) -> Iterator[None]:
        """Wait for one's turn, and note what is compiled."""
        with self._turn:
            yield
            self._compiled.add(self._pattern(dials))


@partial(jax.jit, static_argnames="noise")
def _draw(
    model: Model, key: Key, batch: Mapping[str, Array], observed: Array,
    dials: Mapping[str, Array], *, noise: bool,
) -> dict[str, Array]:  # fmt: skip
    """Draw what is not observed, with traced settings."""
    neutral = {"classifier_free": 1.0, "guidance": 0.0}
    sampling = replace(model.sampling, **{**neutral, **dials})
    turned = replace(model, sampling=sampling)
    return (
        turned.draw(key, batch, observed, strings=False)
        if noise
        else turned.complete(key, batch, observed)
    )
