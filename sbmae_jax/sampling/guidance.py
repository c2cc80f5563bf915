r"""Guidance: functions that take a score and return a guided score.

Tilting p_t by an energy, p_t(x) exp(-w E(x, t)), adds -w grad E to the score. If E is the negative
log-ratio of a conditional to a marginal density, weight 1 is Bayes' rule. Larger weights sharpen it,
but then the tilted densities at different t no longer come from one diffusion: samples are guided,
not exact. A quadratic E on Gaussian data stays Gaussian at each t, which the tests use.

The gradient is of the sum of the energies over the batch. Each row's energy depends on that row
alone, so this is each row's own gradient, and a strength means the same at every batch size; the
gradient of a batch mean would divide it by B.

Classifier-free guidance needs no energy: the difference of a conditional and an unconditional
score is the gradient of ln p(c | x), up to a constant in x, so with weight w

    s = s_u + w (s_c - s_u) = (1 - w) s_u + w s_c,      w = 1 plainly conditional, 0 unconditional.

A joint score gives an unconditional one without more training: noise the observed part as much as the
rest is noised. The score then knows only what is left of it at time t, which at first is nothing.

Sources: Dhariwal and Nichol 2021 (arXiv:2105.05233), section 4; Ho and Salimans 2022
(arXiv:2207.12598), equation 6, where their weight is our w - 1.
"""

from collections.abc import Callable

import jax
import jax.core
import jax.numpy as jnp

from sbmae_jax import _check as checks
from sbmae_jax.sampling.leaves import SDETree, leafwise, require_each, require_masks
from sbmae_jax.sampling.sde import expand
from sbmae_jax.types import Array, EnergyFn, ScoreFn, State


def guide(
    score: ScoreFn,
    energy: EnergyFn,
    strength: float | Callable[[Array], Array] = 1.0,
    *,
    mask: State | None = None,
    weights: State | None = None,
    window: tuple[float, float] = (0.0, 1.0),
) -> ScoreFn:
    """Subtract the gradient of an energy from a score: s - strength weights grad E.

    Args:
        score: `(x, t) -> score`, for `x: [B, ...]`, or a pytree of them, and a scalar t.
        energy: `(x, t) -> [B]`, in nats, low where rows are wanted; each entry depends on its row alone.
        strength: a number, or a function of the scalar t, e.g. `lambda t: 2 * (1 - t)`, which grows as the
            noise goes. It may return one number per row.
        mask: `[D]` or `[B, D]` of bool; observed coordinates feel no gradient. One for all arrays of x, or a
            pytree with one for each.
        weights: broadcasts to x; one number per coordinate, usually the same within a modality. One for all
            arrays of x, or a pytree with one for each.
        window: times `(low, high)`, both included; outside them the score is left alone.

    Returns:
        A score that costs one evaluation of the score, and the energy with its gradient. It raises
        ValueError for an energy that is not one number per row, and for arrays that do not fit x.

    Raises:
        ValueError: for an empty window, a strength or weights that are not numbers, or a mask that is not
            of bool.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import guide
        >>> score = guide(lambda x, t: -x, lambda x, t: jnp.sum((x - 3.0) ** 2, axis=1), strength=0.5)
        >>> score(jnp.ones((4, 2)), 0.5)[0].tolist()  # -x - 0.5 * 2 (x - 3)
        [1.0, 1.0]

    Source: Dhariwal and Nichol 2021 (arXiv:2105.05233), section 4.
    """
    score = checks.checked_score(score)
    require_window(window)
    low, high = window
    if not callable(strength):
        checks.require_numbers("strength", strength)
    if weights is not None:
        require_each(checks.require_numbers, "weights", weights)
    if mask is not None:
        require_masks(mask)

    def total(x, t):
        values = energy(x, t)
        checks.require_numbers("energy", values, floating=True)
        if jnp.shape(values) != (num := _rows_of(x)):
            raise ValueError(
                f"energy must return one number per row, {num}, got {jnp.shape(values)}"
            )
        return jnp.sum(values)

    def guided(x, t):
        num = _rows_of(x, floating=True)
        checks.require_numbers("t", t)
        size = strength(t) if callable(strength) else strength
        if jnp.shape(size) not in ((), num):
            raise ValueError(
                f"strength must be one number, or one per row of x, {num}, got shape {jnp.shape(size)}"
            )
        size = jnp.where((low <= t) & (t <= high), size, 0.0)

        def one(x, slope, score_x, mask, weights):
            push = expand(size, x) * slope
            if weights is not None:
                push = checks.broadcast_like(weights, x, "weights") * push
            return score_x - jnp.where(checks.mask_like(mask, x), 0.0, push)

        slope = jax.grad(total)(x, t)
        return leafwise(one, x, slope, score(x, t), mask=mask, weights=weights)

    return guided


def _rows_of(x: State, floating: bool = False) -> tuple[int, ...]:
    """Return `(B,)`, or raise ValueError for what has no rows."""
    leaves = jax.tree.leaves(x) or [x]
    for leaf in leaves:
        checks.require_numbers("x", leaf, floating=floating)
        if not jnp.ndim(leaf):
            raise ValueError("x must be [B, ...], one sample per row, got a single number")
    return jnp.shape(leaves[0])[:1]


def require_window(window: tuple[float, float]) -> None:
    """Raise ValueError for a window of times that is not `(low, high)`; traced numbers are not compared."""
    checks.require_type("window", window, tuple[float, float])
    if not any(isinstance(t, jax.core.Tracer) for t in window) and not window[0] <= window[1]:
        raise ValueError(f"window must be (low, high) with low <= high, got {window}")


def classifier_free(
    conditional: ScoreFn,
    unconditional: ScoreFn,
    weight: State | Callable[[Array], State] = 1.0,
    *,
    window: tuple[float, float] = (0.0, 1.0),
) -> ScoreFn:
    """Mix two scores: (1 - weight) unconditional + weight conditional.

    Args:
        conditional: the score given what is observed, e.g. by `amortised`.
        unconditional: the score without it, e.g. by `noise_condition`.
        weight: a number, or an array that broadcasts to x, e.g. a weight per modality; a pytree with one for
            each array of x; or a function of the scalar t that returns one of these. 0 is the unconditional
            score, 1 the conditional one, and above 1 is sharper than it.
        window: times `(low, high)`, both included; outside them the weight is 1. A window in the middle keeps
            most of the diversity that guidance at high noise costs.

    Returns:
        A score that costs one evaluation of each. It raises ValueError for a weight that does not fit x, or a
        score that does not return the shape of x.

    Raises:
        ValueError: for a weight that is not of numbers, or an empty window.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import classifier_free
        >>> score = classifier_free(lambda x, t: -2 * x, lambda x, t: -x, weight=3.0)
        >>> score(jnp.ones((4, 2)), 0.5)[0].tolist()
        [-4.0, -4.0]

    Source: Ho and Salimans 2022 (arXiv:2207.12598), equation 6, where their weight is ours minus 1;
    Kynkaanniemi et al. 2024 (arXiv:2404.07724) for the window.
    """
    if not callable(weight):
        require_each(checks.require_numbers, "weight", weight)
    require_window(window)
    low, high = window
    conditional = checks.checked_score(conditional, "conditional")
    unconditional = checks.checked_score(unconditional, "unconditional")

    def mixed(x, t):
        require_each(checks.require_numbers, "x", x)
        w = weight(t) if callable(weight) else weight
        require_each(checks.require_numbers, "weight", w)

        def one(x, without, told, weight):
            w = weight if jnp.ndim(weight) == 0 else checks.broadcast_like(weight, x, "weight")
            w = jnp.where((low <= t) & (t <= high), w, 1.0)
            return (1 - w) * without + w * told

        return leafwise(one, x, unconditional(x, t), conditional(x, t), weight=w)

    return mixed


def noise_condition(score: ScoreFn, sde: SDETree, noise: State, mask: State) -> ScoreFn:
    """Make an unconditional score from a joint one, by noising what is observed as much as the rest.

    At large t it is the unconditional score of Ho and Salimans; later it still knows what the noise leaves
    of the observed part.

    Args:
        score: the joint score, `(x, t) -> score`, for `x: [B, D]`, or a pytree of them, and a scalar t.
        sde: the process. It, noise and mask are one for all arrays of x, or a pytree with one for each.
        noise: `[D]` or `[B, D]`, standard normal; the same at all times, so that the result is a function.
        mask: `[D]` or `[B, D]` of bool, True where observed.

    Returns:
        A score, 0 where observed, that takes observed coordinates clean and costs one evaluation. It raises
        ValueError where an array does not fit x.

    Raises:
        ValueError: for a noise that is not of floats, or a mask that is not of bool.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from sbmae_jax import VP, noise_condition
        >>> noise, mask = jax.random.normal(jax.random.key(0), (4, 2)), jnp.asarray([True, False])
        >>> score = noise_condition(lambda x, t: -x, VP(), noise, mask)
        >>> score(jnp.ones((4, 2)), 0.5)[0].tolist()
        [0.0, -1.0]
    """
    score = checks.checked_score(score)
    require_each(checks.require_numbers, "noise", noise, floating=True)
    require_masks(mask)

    def noised(x, t):
        require_each(checks.require_numbers, "x", x, floating=True)

        def put(x, sde, noise, mask):
            perturbed = sde.perturb(x, checks.broadcast_like(noise, x, "noise"), t)
            return jnp.where(checks.mask_like(mask, x), perturbed, x)

        def free(x, score_x, mask):
            return jnp.where(checks.mask_like(mask, x), 0.0, score_x)

        score_x = score(leafwise(put, x, sde=sde, noise=noise, mask=mask), t)
        return leafwise(free, x, score_x, mask=mask)

    return noised
