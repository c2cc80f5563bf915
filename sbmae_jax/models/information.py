"""Information between modalities of a trained model, from its score.

The score network is asked for the score of some modalities while others are clean or absent, and
`sampling.information` compares the answers. All of it concerns the latents: what encoders drop is not
counted, so that with an exact score the estimates are lower bounds of the information between the data
(data processing). Errors of the network go both ways.

Mutual information is total correlation of two groups: the joint score of both with noise, beside those of
each alone. Its standard error is smaller than that of a score of one given the other, and it also serves
networks that never saw clean modalities. The Gaussian that a score may start from has exact marginals, so
that only what the network adds can err.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax._check import as_key, require_int, short_repr
from sbmae_jax.data.parts import split_given, vectors_of
from sbmae_jax.models.density import encode_prepared, latents_of_rows
from sbmae_jax.sampling.information import Information
from sbmae_jax.sampling.information import o_information as o_information_of
from sbmae_jax.sampling.information import total_correlation as total_correlation_of
from sbmae_jax.types import Array, Key

MAX_ROWS = 2048
"""Rows in one compiled call; more are cut into equal parts, whose estimates are averaged."""

Names = str | Sequence[str]
"""One modality, or several."""


def require_marginals(model: Any) -> None:
    """Raise ValueError for a model whose score does not know some modalities without the others."""
    if not model.marginals:
        raise ValueError(
            "the score of this model was not trained with absent modalities, so that it has no marginals: "
            "train with config.score.absent_prob above 0, such as 0.3"
        )


def mutual_information(
    model: Any, rows: Mapping[str, Any], a: Names, b: Names, given: Names, key: Key | int,
    num_levels: int,
) -> Information:  # fmt: skip
    """Return I(a; b | given); `Model.mutual_information` documents the arguments."""
    groups = {"a": _names("a", a), "b": _names("b", b)}
    held = _names("given", given) if given else ()
    x, masks = _prepare(model, rows, groups | ({"given": held} if held else {}), num_levels)
    none = np.zeros(len(model.layout.names), bool)
    return _pooled(
        partial(_total_correlation, num_levels=num_levels), model, as_key(key), x, masks[:2],
        masks[2] if held else none,
    )  # fmt: skip


def total_correlation(
    model: Any, rows: Mapping[str, Any], groups: Sequence[Names] | None, key: Key | int,
    num_levels: int,
) -> Information:  # fmt: skip
    """Return the total correlation of groups; `Model.total_correlation` documents the arguments."""
    x, masks = _prepare(model, rows, _groups(model, rows, groups, 2), num_levels)
    none = np.zeros(len(model.layout.names), bool)
    run = partial(_total_correlation, num_levels=num_levels)
    return _pooled(run, model, as_key(key), x, masks, none)


def o_information(
    model: Any, rows: Mapping[str, Any], groups: Sequence[Names] | None, key: Key | int,
    num_levels: int,
) -> Information:  # fmt: skip
    """Return the O-information of groups; `Model.o_information` documents the arguments."""
    if model.sampling.conditioning != "amortised":
        raise ValueError(
            "o_information needs a score that was trained with observed modalities: train with "
            "config.score.conditioning_prob above 0 and config.sampling.conditioning 'amortised'"
        )
    x, masks = _prepare(model, rows, _groups(model, rows, groups, 3), num_levels)
    static = tuple(map(tuple, masks.tolist()))
    run = partial(_o_information, num_levels=num_levels, groups=static)
    return _pooled(run, model, as_key(key), x)


def all_pairs(
    model: Any, rows: Mapping[str, Any], key: Key | int, num_levels: int
) -> dict[tuple[str, str], Information]:
    """Return the information of all pairs of modalities, each in both orders.

    Raises:
        ValueError: As `Model.mutual_information`, and for fewer than two modalities.
    """
    groups, key = _groups(model, rows, None, 2), as_key(key)
    x, masks = _prepare(model, rows, groups, num_levels)
    return _pairs(model, list(groups), x, masks, key, num_levels)


def summarise(
    model: Any, key: Key, prepared: Mapping[str, Any], num_levels: int = 24
) -> dict[str, Any]:
    """Return what a report says of the information between all modalities.

    Args:
        model: The `Model`; it must have marginals.
        key: A typed key.
        prepared: Complete rows as the networks see them, at least two; the first `MAX_ROWS` are used.
        num_levels: As for `Model.mutual_information`.

    Returns:
        Ready for JSON: `pairs`, `{name: {other: estimate}}`, `total_correlation`, and for three modalities or
        more `o_information`. An estimate has a mean and its error, se, and whether it is `doubtful`: by
        the errors of the score it is smaller by more than three standard errors.
    """
    names = model.layout.names
    num_rows = min(len(prepared[names[0]]), MAX_ROWS)
    x = encode_prepared(model, {name: prepared[name][:num_rows] for name in names}, num_rows)
    masks = np.eye(len(names), dtype=bool)
    pair_key, total_key, o_key = jax.random.split(key, 3)
    found = _pairs(model, names, x, masks, pair_key, num_levels)
    pairs = {a: {b: _entry(found[a, b]) for b in names if b != a} for a in names}
    run = partial(_total_correlation, num_levels=num_levels)
    total = _pooled(run, model, total_key, x, masks, np.zeros(len(names), bool))
    made = {"num_rows": num_rows, "pairs": pairs, "total_correlation": _entry(total)}
    if len(names) > 2 and model.sampling.conditioning == "amortised":
        run = partial(
            _o_information, num_levels=num_levels, groups=tuple(map(tuple, masks.tolist()))
        )
        made["o_information"] = _entry(_pooled(run, model, o_key, x))
    return made


def _pairs(
    model: Any, names: Sequence[str], x: np.ndarray, masks: np.ndarray, key: Key, num_levels: int
) -> dict[tuple[str, str], Information]:
    """Return the information of all pairs of names, whose masks are `[G, M]`."""
    run = partial(_total_correlation, num_levels=num_levels)
    found, none = {}, np.zeros(masks.shape[1], bool)
    for i, a in enumerate(names):
        row_key = jax.random.fold_in(key, i)
        for j in range(i):
            one = _pooled(run, model, jax.random.fold_in(row_key, j), x, masks[[i, j]], none)
            found[a, names[j]] = found[names[j], a] = one
    return found


def _entry(found: Information) -> dict[str, Any]:
    gap, error = found.value - found.by_error, np.hypot(found.se, found.by_error_se)
    return {"mean": found.value, "se": found.se, "doubtful": bool(gap > 3 * error)}


def _names(place: str, names: Names) -> tuple[str, ...]:
    """Return names of modalities, or raise ValueError."""
    found = (names,) if isinstance(names, str) else names
    if not isinstance(found, Sequence) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{place} must be a name or a list of names, got {short_repr(names)}")
    if not found:
        raise ValueError(f"{place} must name at least one modality, got none")
    return tuple(found)


def _require_rows(rows: Any) -> None:
    if not isinstance(rows, Mapping):
        raise ValueError(f"rows must be {{name: array}}, got {short_repr(rows)}")


def _parts(names: Sequence[str], vectors: Mapping[str, Any]) -> tuple[str, ...]:
    """Return names with those of vectors that are learned in parts replaced by their parts."""
    return tuple(part for name in names for part in vectors.get(name, (name,)))


def _groups(
    model: Any, rows: Mapping[str, Any], groups: Sequence[Names] | None, least: int
) -> dict[str, tuple[str, ...]]:
    """Return groups by what messages call them: by default each modality of the rows."""
    _require_rows(rows)
    if groups is None:
        scalings = dict(model.scalings)
        whole = dict(zip(model.layout.names, model.layout.names, strict=True))
        whole |= {p: v for v, parts in vectors_of(scalings).items() for p in parts if v in rows}
        found = {whole[name]: (whole[name],) for name in model.layout.names if whole[name] in rows}
    elif isinstance(groups, str):
        raise ValueError(
            f"groups must be a list of modalities, or of lists of them, got {groups!r}"
        )
    else:
        found = {f"groups[{i}]": _names(f"groups[{i}]", names) for i, names in enumerate(groups)}
    if len(found) < least:
        raise ValueError(f"there must be at least {least} groups of modalities, got {len(found)}")
    return found


def _prepare(
    model: Any, rows: Mapping[str, Any], groups: Mapping[str, Sequence[str]], num_levels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return latents [B, D] and groups [G, M], or raise ValueError for what cannot be estimated."""
    require_marginals(model)
    _require_rows(rows)
    require_int("num_levels", num_levels, 2, 10_000)
    scalings = dict(model.scalings)
    vectors, rows = vectors_of(scalings), split_given(rows, scalings)
    groups = {place: _parts(names, vectors) for place, names in groups.items()}
    owner: dict[str, str] = {}
    for place, names in groups.items():
        model.layout.observed(names, 1)  # refuses names that are unknown
        for name in names:
            if name not in rows:
                raise ValueError(f"{place} names {name!r}, which rows do not have: give its values")
            if name in owner:
                raise ValueError(f"{name!r} is named twice, in {owner[name]} and in {place}")
            owner[name] = place
    x, _ = latents_of_rows(model, {name: rows[name] for name in owner}, "rows")
    if len(x) < 2:
        raise ValueError(f"rows must be at least two, for a standard error, got {len(x)}")
    return x, np.concatenate([model.layout.observed(names, 1) for names in groups.values()])


def _pooled(run: Any, model: Any, key: Key, x: np.ndarray, *args: Any) -> Information:
    """Return an estimate of all rows, from those of equal parts."""
    parts = np.array_split(x, -(-len(x) // MAX_ROWS))
    found = [run(model, jax.random.fold_in(key, i), part, *args) for i, part in enumerate(parts)]
    found, shares = jax.device_get(found), np.array([len(part) / len(x) for part in parts])

    def mean(values):
        return np.tensordot(shares, np.stack(values), 1)

    def error(values):
        return float(np.sqrt(np.sum((shares * np.stack(values)) ** 2)))

    value, se, by_error, by_error_se, levels, curve = zip(*found, strict=True)
    return Information(
        float(mean(value)), error(se), float(mean(by_error)), error(by_error_se), levels[0],
        mean(curve),
    )  # fmt: skip


def _score(model: Any, x: Array, t: Array, clean: Any, known: Any) -> Array:
    """Return the score of modalities that are known but not clean, and 0 elsewhere; masks are [M]."""
    clean, absent = (jnp.broadcast_to(mask, (len(x), len(mask))) for mask in (clean, ~known))
    return model.conditional_score(clean, absent)(x, t)


@partial(jax.jit, static_argnames="num_levels")
def _total_correlation(
    model: Any, key: Key, x: Array, groups: Array, held: Array, *, num_levels: int
) -> Information:
    """Estimate the total correlation of groups [G, M] of modalities, given those that are held [M]."""
    mask, involved = model.layout.expand(held)[None], held | jnp.any(groups, axis=0)

    def alone(noised, t):
        noised = jnp.where(mask, x, noised)
        scores = jax.lax.map(lambda group: _score(model, noised, t, held, group | held), groups)
        return jnp.sum(scores, axis=0)

    def joint(noised, t):
        return _score(model, jnp.where(mask, x, noised), t, held, involved)

    return total_correlation_of(
        key, model.sde, joint, alone, x, num_levels=num_levels,
        t_min=model.sampling.t_min,
    )  # fmt: skip


@partial(jax.jit, static_argnames=("num_levels", "groups"))
def _o_information(
    model: Any, key: Key, x: Array, *, num_levels: int, groups: tuple[tuple[bool, ...], ...]
) -> Information:
    """Estimate the O-information of groups [G, M] of modalities."""
    masks = np.array(groups, bool)
    involved, sizes = np.any(masks, axis=0), np.array(model.layout.sizes)
    none, first = np.zeros_like(involved), np.cumsum(sizes) - sizes

    def alone(noised, t):
        scores = jax.lax.map(lambda one: _score(model, noised, t, none, one), jnp.asarray(masks))
        return jnp.sum(scores, axis=0)

    def joint(noised, t):
        return _score(model, noised, t, none, involved)

    def given(noised, t, clean):
        return _score(model, noised, t, clean[0][first] & involved, involved)

    # What is not involved is a group of its own, all scores of which are 0.
    parts = masks if involved.all() else np.concatenate([masks, ~involved[None]])
    return o_information_of(
        key, model.sde, joint, alone, given, x, np.repeat(parts, sizes, axis=1),
        num_levels=num_levels, t_min=model.sampling.t_min,
    )  # fmt: skip
