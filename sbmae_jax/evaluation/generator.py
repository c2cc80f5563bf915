"""What is measured: a generator of all modalities from any of them, for any number of rows.

Generation and reconstruction are plain functions, so that our model and any baseline are measured by the
same code.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from sbmae_jax.models.information import summarise
from sbmae_jax.models.model import Model
from sbmae_jax.training.sharding import batched, replicated
from sbmae_jax.types import Array, CompleteFn, Key

Arrays = Mapping[str, np.ndarray]
"""`{name: [N, ...]}`: the rows of some modalities."""

Read = Callable[[Mapping[str, Array]], Mapping[str, Any]]
"""`{name: [B, ...]} -> {name: [B, ...]}`: what to keep of a batch of samples."""


@dataclass(frozen=True, kw_only=True)
class Generator:
    """A generator of all modalities from any of them.

    The functions `complete`, `draw` and `reconstruct` work on one batch. The methods, which end in `_rows`,
    work on any number of rows, and return what `read` keeps of each batch.

    Attributes:
        names: The modalities, in their order.
        complete: `(key, batch, observed) -> batch`, as `Model.complete`: generate what `observed`, `[B, M]`
            bool, does not mark.
        reconstruct: `batch -> batch`: encode and decode all modalities.
        batch_size: Rows in one call of these functions.
        draw: As `complete`, but from p(x|z) rather than its mean. The default is `complete` itself.
        mesh: Devices that share the rows of a batch; see `sharding.batched`.
        read: What to keep of each batch of samples, by default all of it. Keep less where the samples of all
            rows do not fit into memory.
        information: `(key, complete rows) -> results`, as `models.information.summarise`; None for a
            generator without marginal scores.
        finely: `number of levels -> complete` with so many ancestral steps at temperature 1, which draw what
            the score has learned; None for a generator without a score, or where the steps need corrections.
        seconds: How long each call took, by its function. The first call of a function compiles.

    Example:
        A generator that copies one modality to the other:

        >>> def complete(key, batch, observed):
        ...     return {"left": batch["right"], "right": batch["right"]}
        >>> copy = Generator(names=("left", "right"), complete=complete, reconstruct=dict, batch_size=2)
        >>> rows = {"left": np.zeros(3), "right": np.arange(3.0)}
        >>> copy.complete_rows(jax.random.key(0), rows, np.array([False, True]))["left"].tolist()
        [0.0, 1.0, 2.0]
    """

    names: tuple[str, ...]
    complete: CompleteFn
    reconstruct: Callable[[Arrays], Mapping[str, Array]]
    batch_size: int
    draw: CompleteFn | None = None
    mesh: Mesh | None = None
    read: Read = dict
    information: Callable[[Key, Arrays], dict[str, Any]] | None = None
    finely: Callable[[int], CompleteFn] | None = None
    seconds: dict[CompleteFn, list[float]] = field(default_factory=dict)

    def reading(self, read: Read) -> "Generator":
        """Return the same generator, but with another `read`."""
        return replace(self, read=read)

    def fine(self, num_levels: int) -> "Generator | None":
        """Return the same generator with as many ancestral steps; None where it has no `finely`."""
        if self.finely is None:
            return None
        complete = self.finely(num_levels)
        return replace(self, complete=complete, draw=None, finely=None, seconds={})

    def complete_rows(self, key: Key, rows: Arrays, observed: np.ndarray) -> dict[str, Any]:
        """Generate what is not observed.

        Args:
            key: A typed key; batch `i` gets `fold_in(key, i)`.
            rows: `{name: [N, ...]}`, all modalities. Values that are not observed are not used.
            observed: `[N, M]` bool, or `[M]` where it is the same for all rows.

        Returns:
            What `read` keeps of the samples, `{name: [N, ...]}`.
        """
        return self._generate(self.complete, key, rows, observed)

    def draw_rows(self, key: Key, rows: Arrays, observed: np.ndarray) -> dict[str, Any]:
        """Generate what is not observed, with the noise of p(x|z); otherwise as `complete_rows`."""
        return self._generate(self.draw or self.complete, key, rows, observed)

    def seconds_per_call(self, rows: Arrays) -> float:
        """Return the median duration of a call of `complete` or `draw` without compilation.

        Where no function was called twice, one is called once more.

        Args:
            rows: Rows `{name: [N, ...]}` whose shapes and types to take.
        """
        function = next(iter(self.seconds), self.complete)
        while not (warm := [s for taken in self.seconds.values() for s in taken[1:]]):
            blank = blank_rows(rows, self.names, self.batch_size)
            self._generate(function, jax.random.key(0), *blank)
        return float(np.median(warm))

    def reconstruct_rows(self, rows: Arrays) -> dict[str, Any]:
        """Encode and decode rows `{name: [N, ...]}`."""
        call = batched(self.reconstruct, self.batch_size, self.mesh, read=self.read)
        return call(self._modalities(rows))

    def _generate(self, function: CompleteFn, key, rows, observed) -> dict[str, Any]:
        seconds = self.seconds.setdefault(function, [])
        call = batched(function, self.batch_size, self.mesh, read=self.read, seconds=seconds)
        shape = (len(rows[self.names[0]]), len(self.names))
        return call(self._modalities(rows), np.broadcast_to(observed, shape), key=key)

    def _modalities(self, rows: Arrays) -> dict[str, np.ndarray]:
        return {name: rows[name] for name in self.names}


def make_generator(model: Model, batch_size: int, mesh: Mesh) -> Generator:
    """Make a generator of a trained model.

    Args:
        model: The model; its parameters are arguments of the compiled functions, not constants in them.
        batch_size: Rows in one call of the model.
        mesh: Devices that share the rows of a batch.
    """

    def compiled(method, model=model):
        return partial(jax.jit(method, out_shardings=replicated(mesh)), model)

    def finely(num_levels):
        steps = {"sampler": "predictor_corrector", "num_levels": num_levels, "num_corrections": 0}
        return compiled(Model.complete, model.with_sampling(**steps, temperature=1.0))

    return Generator(
        names=model.layout.names, complete=compiled(Model.complete), draw=compiled(Model.draw),
        reconstruct=partial(compiled(Model.reconstruct), key=jax.random.key(0)),
        batch_size=batch_size, mesh=mesh,
        information=partial(summarise, model) if model.marginals else None,
        finely=finely if model.sampling.conditioning == "amortised" else None,
    )  # fmt: skip


def blank_rows(rows: Arrays, names: tuple[str, ...], num: int) -> tuple[Arrays, np.ndarray]:
    """Return rows of zeros, to generate from nothing.

    Args:
        rows: Rows whose shapes and types to take.
        names: The modalities.
        num: How many rows to return.

    Returns:
        `{name: [num, ...]}`, and what is observed of them, nothing: `[num, M]` bool.
    """
    blank = {name: np.zeros((num, *rows[name].shape[1:]), rows[name].dtype) for name in names}
    return blank, np.zeros((num, len(names)), bool)
