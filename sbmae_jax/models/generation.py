"""Generate rows for a user: read what is given, draw in batches, and restore what was drawn.

`Model.generate` and `Model.sample_with` differ only in the compiled function that draws a batch.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax._batches import padded_batches
from sbmae_jax._check import as_key, require_times, same_state, short_repr
from sbmae_jax.data.names import as_name
from sbmae_jax.data.parts import merged, split_given
from sbmae_jax.data.units import in_training_dtype
from sbmae_jax.data.user.frames import frame_package
from sbmae_jax.models.autoencoder import as_float
from sbmae_jax.models.coders import coder_errors
from sbmae_jax.models.rows import complete_columns
from sbmae_jax.models.values import as_prepared, as_trained_on, count_rows
from sbmae_jax.sampling.conditioning import clamp, renoise
from sbmae_jax.sampling.conditioning import given as given_of
from sbmae_jax.sampling.grids import log_snr_times
from sbmae_jax.sampling.samplers import once, sample
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, Key, MemoryStep, ScoreFn, Step

MAX_BATCH = 512
"""Rows that are drawn at once. More are drawn in pieces, so that they fit on the device."""

StepMaker = Callable[[SDE, ScoreFn], Step]
"""`(sde, score) -> step`, such as `heun`."""

DrawRows = Callable[[Any, Key, Mapping[str, Any], Any], Mapping[str, Array]]
"""`(model, key, batch, observed) -> all modalities`, as `Model.complete`, compiled."""


def generate(
    model: Any, draw_rows: DrawRows, given: Any, key: Key | int, num_samples: int | None
) -> dict[str, np.ndarray]:
    """Generate all modalities from some; `Model.generate` documents the arguments.

    Args:
        model: The `Model`.
        draw_rows: Draws what is not observed.
        given: `{name: [B, *shape]}`, or a data frame.
        key: A typed key, or a seed.
        num_samples: Samples of each row, or None.
    """
    if frame_package(given):
        given = complete_columns(given, model.entries, model.ignored)
    if not isinstance(given, Mapping):
        raise ValueError(
            "given must be {name: array}, or a data frame of pandas or polars, got "
            + short_repr(given)
        )
    given, key = {as_name(str(name)): array for name, array in given.items()}, as_key(key)
    given = split_given(given, dict(model.scalings))
    model.layout.observed(given, 1)  # refuses names that are unknown
    num_rows = count_rows(given, num_samples, can_impute=bool(model.scalings))
    repeats = num_samples if given and num_samples else 1
    known, prepared, scalings = {}, {}, dict(model.scalings)
    for m in model.modalities:
        if m.name in given:
            scaling = scalings.get(m.name)
            known[m.name] = as_trained_on(m, scaling, given[m.name], stacklevel=4)
            prepared[m.name] = as_prepared(m, scaling, known[m.name])
    generated = _generate_rows(model, draw_rows, key, prepared, num_rows * repeats, repeats)
    made = generated | {
        name: in_training_dtype(scalings[name], x) if name in scalings else x
        for name, x in known.items()
    }
    if given and num_samples is not None:
        for name, x in made.items():
            rows = (num_rows, num_samples, *(x.shape[1:]))
            made[name] = np.broadcast_to(x[:, None], rows) if name in given else x.reshape(rows)
    return merged({name: made[name] for name in model.layout.names}, scalings)


def _generate_rows(
    model: Any, draw_rows: DrawRows, key: Key, prepared: Mapping[str, np.ndarray], num: int,
    repeats: int,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Generate the modalities that are not given, for `num` rows; each given row is repeated."""
    observed = model.layout.observed(prepared, 1)
    parts: dict[str, list[np.ndarray]] = {n: [] for n in model.layout.names if n not in prepared}
    batches = padded_batches(num, MAX_BATCH, powers_of_two=True) if parts else ()
    for i, (numbers, num_kept) in enumerate(batches):
        # Floats alone, so that one executable serves bytes as well.
        batch = {
            m.name: as_float(prepared[m.name][numbers // repeats]).astype(np.float32)
            if m.name in prepared
            else np.zeros((len(numbers), *m.shape), np.float32)
            for m in model.modalities
        }
        known = np.repeat(observed, len(numbers), axis=0)
        with coder_errors():
            made = jax.device_get(draw_rows(model, jax.random.fold_in(key, i), batch, known))
        for name, pieces in parts.items():
            pieces.append(model.restore(name, made[name][:num_kept]))
    return {name: np.concatenate(pieces) for name, pieces in parts.items()}


# ---------------------------------------------------------------- steps of the user's


def by_steps(model: Any, make_step: StepMaker, times: Any, noise: bool | None) -> DrawRows:
    """Return a function that draws rows by any step; `Model.sample_with` documents the arguments.

    Raises:
        ValueError: For a `make_step` that does not make steps, for times that are no grid from 1 to nearly
            0, and for a model whose conditioning has steps of its own.
    """
    if model.sampling.conditioning == "particles":
        raise ValueError(
            "sample_with takes the steps of make_step, and conditioning 'particles' has its own: use "
            "generate, or another conditioning by with_sampling(conditioning=...)"
        )
    wanted = "make_step must be a function (sde, score) -> step, such as heun"
    if not callable(make_step) or not _takes(make_step, 2):
        raise ValueError(
            f"{wanted}, got {short_repr(make_step)}"
            + ", which takes other arguments: wrap it, as in lambda sde, score: step"
            * callable(make_step)
        )
    if times is None:
        times = log_snr_times(model.sde, model.sampling.num_levels, model.sampling.t_min)
    require_times(times, falling=True)
    if not np.isclose(times[0], 1) or not 0 <= times[-1] < 1:
        raise ValueError(
            f"times must fall from 1, where latents are noise, to nearly 0, got {times[0]:g} to {times[-1]:g}"
        )

    def draw_rows(model, key, batch, observed):
        made, finite = _draw_by_steps(
            model, key, batch, observed, jnp.asarray(times), make_step=make_step, noise=noise
        )
        if not finite:
            raise ValueError(
                "make_step: its steps led to values that are not finite: take smaller steps, or more times"
            )
        return made

    return draw_rows


def _takes(function: Callable, num: int) -> bool:
    """Return whether a function can be called with so many positional arguments, as far as one can know."""
    try:
        inspect.signature(function).bind(*range(num))
    except TypeError:
        return False
    except ValueError:  # it has no signature
        return True
    return True


@partial(jax.jit, static_argnames=("make_step", "noise"))
def _draw_by_steps(
    model: Any, key: Key, batch: Mapping[str, Array], observed: Array, times: Array, *,
    make_step: StepMaker, noise: bool | None,
) -> tuple[dict[str, Array], Array]:  # fmt: skip
    """Return all modalities, and whether all latents are finite."""
    sample_key, noise_key = jax.random.split(key)
    x = _sample_by_steps(model, sample_key, model.encode(batch), observed, times, make_step)
    drawn_by = None if noise is False else noise_key
    return model.decode(x, drawn_by, bool(noise)), jnp.all(jnp.isfinite(x))


def _sample_by_steps(
    model: Any, key: Key, x: Array, observed: Array, times: Array, make_step: StepMaker
) -> Array:
    """Draw the unobserved latents [B, D], as `Model.sample`, by steps of the user's."""
    prior_key, score_key, loop_key, last_key = jax.random.split(key, 4)
    sde, mask = model.sde, model.layout.expand(observed)
    learned, clamped = model.score(score_key, observed), clamp(x, mask)
    if model.sampling.conditioning == "renoise":
        score, observe = learned, renoise(sde, x, mask)
    else:
        # Some steps move to a trial point, or are chains: what is observed is clean there too.
        score, observe = (lambda y, t: learned(jnp.where(mask, x, y), t)), clamped
    step = make_step(sde, score)
    if not isinstance(step, MemoryStep) and not (callable(step) and _takes(step, 4)):
        raise ValueError(
            "make_step must return a step, a function (key, x, t, t_next) -> x or a MemoryStep, got "
            + short_repr(step)
        )
    start = sde.prior(prior_key, x.shape)
    moved = jax.eval_shape(once(step), loop_key, start, times[0], times[1])
    same_state(start, moved)  # before `observe` meets another shape
    x = sample(loop_key, given_of(step, observe), start, times)
    t = times[-1]
    # At sigma = 0 there may be no score, and nothing to denoise.
    safe = jnp.where(sde.sigma(t) > 0, t, times[0])
    denoised = jnp.where(
        sde.sigma(t) > 0, sde.denoised_from_score(score(x, safe), x, safe), x / sde.alpha(t)
    )
    return clamped(last_key, denoised, t, t)
