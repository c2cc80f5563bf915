r"""Log-densities of latents under a trained model: of all, of a subset, or of one subset given another.

The flow of a score that knows what is observed gives ln p(z_A | z_O) directly where A and O are all latents
(`sampling.likelihood`). Otherwise the rest R is neither asked for nor known, and the chain rule removes it:

    ln p(z_A | z_B) = ln p(z_A, z_R | z_B) - ln p(z_R | z_A, z_B)      for any z_R                       (1)

With exact scores (1) does not depend on z_R. With learned ones it does: z_R is drawn from the model, several
times, and the spread of the results is the standard error. The information that two subsets have of each
other is a mean of differences of such densities over rows of the data,

    I(A; B) = E [ ln p(z_A | z_B) - ln p(z_A) ].                                                        (2)

Sources: Song et al. 2021 (arXiv:2011.13456), equation 39, for the flow; (1) is the identity of Chib
(1995, JASA 90, page 1313).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax._batches import padded_batches
from sbmae_jax._check import as_key, require_int
from sbmae_jax.data.parts import split_given, vectors_of
from sbmae_jax.models.coders import coder_errors
from sbmae_jax.models.values import count_rows
from sbmae_jax.sampling.grids import log_snr_times
from sbmae_jax.sampling.information import Information
from sbmae_jax.sampling.likelihood import log_density as log_density_of
from sbmae_jax.types import Array, Key

MAX_EXACT_SIZE = 64
"""Up to so many latents the divergence is computed exactly; of more, it is estimated with random probes."""

NUM_PROBES = 8
MAX_ROWS = 256  # in one compiled call


class LogDensity(NamedTuple):
    """Log-densities of rows, as `Model.log_density` returns them.

    Attributes:
        value: ln p for each row, [B], in nats.
        se: The standard error of what was drawn to estimate it, [B]; 0 where nothing was drawn. It does not
            hold the error of the learned score.
    """

    value: np.ndarray
    se: np.ndarray


def log_density(
    model: Any, given: Mapping[str, Any], of: Sequence[str] | None, key: Key | int, num_levels: int,
    num_draws: int,
) -> LogDensity:  # fmt: skip
    """Return log-densities of latents; `Model.log_density` documents the arguments."""
    require_int("num_levels", num_levels, 2, 10_000)
    require_int("num_draws", num_draws, 2, 10_000)
    given, of = _in_parts(model, given, of)
    x, known = latents_of_rows(model, given)
    asked = _mask(model, given, tuple(given) if of is None else of)
    return _log_density(model, x, asked, known & ~asked, as_key(key), num_levels, num_draws)


def information(
    model: Any, rows: Mapping[str, Any], key: Key | int, num_levels: int, num_draws: int
) -> dict[tuple[str, str], Information]:
    """Return the information of all pairs; `Model.information` documents the arguments."""
    require_int("num_levels", num_levels, 2, 10_000)
    require_int("num_draws", num_draws, 2, 10_000)
    vectors = vectors_of(dict(model.scalings))
    rows, _ = _in_parts(model, rows, None)
    x, known = latents_of_rows(model, rows, "rows")
    owner = {part: vector for vector, parts in vectors.items() for part in parts}
    given: list[str] = [name for name in model.layout.names if name in rows]
    names = list(dict.fromkeys(owner.get(name, name) for name in given))
    if len(names) < 2:
        raise ValueError(
            f"rows must have at least two modalities, got {', '.join(names) or 'none'}"
        )
    key, found, nothing = as_key(key), {}, np.zeros_like(known)
    for i, a in enumerate(names):
        of_a = _mask(model, rows, _given_of(a, vectors, rows))
        pair_key = jax.random.fold_in(key, i)
        alone = _log_density(
            model, x, of_a, nothing, jax.random.fold_in(pair_key, i), num_levels, num_draws
        )
        for j, b in list(enumerate(names))[i + 1 :]:
            of_b = _mask(model, rows, _given_of(b, vectors, rows))
            drawn_key = jax.random.fold_in(pair_key, j)
            told = _log_density(model, x, of_a, of_b, drawn_key, num_levels, num_draws)
            gain = told.value - alone.value
            se = float(np.std(gain, ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else np.inf
            found[a, b] = found[b, a] = Information(float(gain.mean()), se)
    return found


def _given_of(name: str, vectors: Mapping[str, Any], rows: Mapping[str, Any]) -> list[str]:
    """Return the parts of a vector that are given, or the modality itself."""
    return [part for part in vectors.get(name, (name,)) if part in rows]


def _in_parts(model: Any, given: Any, of: Sequence[str] | None) -> tuple[Any, Sequence[str] | None]:
    """Return what is given and what is asked, with the parts of vectors that are learned in parts."""
    scalings = dict(model.scalings)
    vectors = vectors_of(scalings)
    if not vectors or not isinstance(given, Mapping):
        return given, of
    names = [of] if isinstance(of, str) else of
    if names is not None:
        names = [part for name in names for part in vectors.get(name, (name,))]
    return split_given(given, scalings), names


def latents_of_rows(
    model: Any, given: Mapping[str, Any], place: str = "given"
) -> tuple[np.ndarray, np.ndarray]:
    """Return standardised latents [B, D], 0 for what is not given, and which modalities are given [M]."""
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f"{place} must be {{name: array}} of at least one modality")
    known = model.layout.observed(given, 1)[0]  # refuses names that are unknown
    num_rows = count_rows(given, can_impute=bool(model.scalings))
    prepared = {
        m.name: model.prepare(m, given[m.name]) for m in model.modalities if m.name in given
    }
    return encode_prepared(model, prepared, num_rows), known


def encode_prepared(model: Any, prepared: Mapping[str, Any], num_rows: int) -> np.ndarray:
    """Return standardised latents [B, D] of rows as the networks see them, of some or all modalities.

    Those of other modalities are of no use.
    """
    parts = []
    for rows, num_kept in padded_batches(num_rows, MAX_ROWS, powers_of_two=True):
        absent = {m.name: np.zeros((len(rows), *m.shape), np.float32) for m in model.modalities}
        batch = absent | {name: values[rows] for name, values in prepared.items()}
        with coder_errors():
            parts.append(np.asarray(_encode(model, batch))[:num_kept])
    return np.concatenate(parts)


def _mask(model: Any, given: Mapping[str, Any], names: Sequence[str]) -> np.ndarray:
    """Return which modalities are named [M]; raises ValueError for one that is not given."""
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise ValueError("of must name at least one modality")
    for name in names:
        if name not in given:
            raise ValueError(f"of names {name!r}, which is not given: give its values")
    return model.layout.observed(names, 1)[0]


def _log_density(
    model: Any,
    x: np.ndarray,
    asked: np.ndarray,
    held: np.ndarray,
    key: Key,
    num_levels: int,
    num_draws: int,
) -> LogDensity:
    """Return ln p(x_asked | x_held) of rows [B, D], by (1)."""
    rest = ~(asked | held)
    conditional = held.any() or rest.any()
    if conditional and model.sampling.conditioning != "amortised":
        raise ValueError(
            "a density of some modalities needs a score that was trained with observed ones: train with "
            "config.score.conditioning_prob above 0 and config.sampling.conditioning 'amortised'"
        )
    exact = x.shape[1] <= MAX_EXACT_SIZE
    drawn = rest.any() or not exact
    values = []
    for rows, num_kept in padded_batches(len(x), MAX_ROWS, powers_of_two=True):
        piece_key = jax.random.fold_in(key, int(rows[0]))
        some = [
            _compiled(
                model, jax.random.fold_in(piece_key, i), x[rows], held, asked | held,
                num_levels=num_levels, exact=exact, has_rest=bool(rest.any()),
            )
            for i in range(num_draws if drawn else 1)
        ]  # fmt: skip
        values.append(np.stack([np.asarray(value)[:num_kept] for value in some]))
    draws = np.concatenate(values, axis=1)
    se = draws.std(axis=0, ddof=1) / np.sqrt(len(draws)) if drawn else np.zeros(len(x))
    return LogDensity(draws.mean(axis=0), se)


def _density_once(
    model: Any, key: Key, x: Array, held: Array, told: Array, *, num_levels: int, exact: bool,
    has_rest: bool,
) -> Array:  # fmt: skip
    """Return one estimate of ln p(x_A | x_held) [B], where `told` [M] are the modalities of A and `held`."""
    rest_key, first_key, second_key = jax.random.split(key, 3)
    times = log_snr_times(model.sde, num_levels, model.sampling.t_min)[::-1]

    def along_the_flow(probe_key, x, observed):
        observed = jnp.broadcast_to(observed, (len(x), len(observed)))
        score = model.conditional_score(observed)
        mask = model.layout.expand(observed)
        options = {} if exact else {"key": probe_key, "num_probes": NUM_PROBES}
        return log_density_of(model.sde, score, x, times, mask=mask, **options)

    if has_rest:
        x = model.sample(rest_key, x, jnp.broadcast_to(told, (len(x), len(told))))
    value = along_the_flow(first_key, x, held)
    return value - along_the_flow(second_key, x, told) if has_rest else value


_compiled = partial(jax.jit, static_argnames=("num_levels", "exact", "has_rest"))(_density_once)
_encode = jax.jit(lambda model, batch: model.encode(batch))
