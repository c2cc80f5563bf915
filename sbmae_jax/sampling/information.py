r"""Information between parts of data, in nats, from scores: mutual, total correlation, O-information.

Noise x to x_t = alpha x + sigma eps, with snr = alpha^2 / sigma^2 and L = ln snr. Let D be the mean of x
given x_t and whatever else is known. As noise falls, x_t tells more of x, at half the rate of the mean
squared error of D: the I-MMSE relation, d I(x; x_t) / d snr = 1/2 E |x - D|^2. What is known already, x_t
need not tell. So for two states of knowledge, the second of which knows all that the first does, the
difference of the rates is that of the information I which the second has beyond the first:

    I = 1/2 integral snr (E |x - D_1|^2 - E |x - D_2|^2) dL.                                           (1)

D_2 - D_1 is a function of what the second knows, to which x - D_2 is orthogonal. So |x - D_1|^2 has the mean
of |x - D_2|^2 + |D_2 - D_1|^2, and with Tweedie's formula, D = (x_t + sigma^2 s) / alpha,

    I = 1/2 integral snr E |D_2 - D_1|^2 dL = 1/2 integral sigma^2 E |s_2 - s_1|^2 dL.                 (2)

Which information it is depends on the pair of scores alone:

    mutual information    I(a; b):      that of a,                     that of a given b
    conditional           I(a; b | c):  that of a given c,             that of a given b and c
    total correlation     T(x_1 ..):    those of the x_m, each alone,  that of all x_m together        (3)
    its dual              B(x_1 ..):    that of all x_m together,      of each given all others, clean

Total correlation is the divergence of the joint density from the product of the marginals, and for two parts
it is their mutual information. The dual is what at least two parts share, H(x) - sum H(x_m | all others).
Their difference is the O-information T - B: above 0 where redundancy prevails, below 0 where synergy does.

**Correlated unit Gaussians**, to check: E |x - D_1|^2 = 1 / (1 + snr), E |x - D_2|^2 = (1 - r^2) / (1 + snr
(1 - r^2)), and (1) is -1/2 ln(1 - r^2).

**Variance.** (1) and (2) have the same mean if the scores are exact. Per row, (1) has the mean ln p(x | b) /
p(x), whose deviation is large beside a small mean: for a correlation of .3 it is .3 beside .05. (2) is a
square, whose deviation is in proportion to its mean. So `value` is (2). The other, `by_error`, costs
nothing: learned scores that are consistent have the same of both, and one that sees in b what is not there
has (2) too large but (1) too small.

For several parts, total correlation is also a sum of mutual informations, of each part with those before it.
The pair of scores in (3) has a smaller standard error at fewer evaluations: half of the chain's for six
Gaussians with a common factor, in three parts. For two parts it is half of that of the first line of (3)
where I is .1, and about the same where I is 5.

**Levels.** As a function of L the integrand changes on a scale of 1: for Gaussians it is made of logistic
functions. So the midpoint rule over levels of equal width converges exponentially: at a width of 1 its error
for Gaussians is below 1e-7. Levels drawn at random would add variance, or bias where a row has few. Each row
has its own noise at each level, and rows are independent, so `se` is that of a mean over rows.

**Truncation.** The lowest snr is that of t = 1 and the highest that of `t_min`. What is left out below is
about snr / 2 times the variance that b explains of a. What is left out above is what only less noise would
show: by (1), the integral up to some snr is *exactly* I(a_t; b) for the a_t of this snr. So truncation gives
a lower bound, and a finite one where the relation is deterministic and the information infinite. Where the
density is smooth both scores come to agree at both ends, and the integrand falls as exp(-|L|), so that its
end values estimate what is left out: `left_out`.

Sources: Guo, Shamai and Verdu 2005 (IEEE Trans. Inf. Theory 51, 1261) for I-MMSE; Franzese et al. 2024
(MINDE, arXiv:2310.09031) for (2) with scores; Bounoua et al. 2024 (SOI, arXiv:2402.05667) for total
correlation and O-information; Rosas et al. 2019 (arXiv:1902.11239) for the latter.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from sbmae_jax import _check as checks
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, Key, ScoreFn

_Z = 1.96  # of a normal distribution, 95 % of which is within so many deviations

_Errors = Callable[[Array, Array, Array], tuple[Array, Array]]
"""`(noised x, eps, t) -> per row, snr times the square of (2), and snr times the difference of (1)`"""


class Information(NamedTuple):
    """An estimate of information, in nats.

    Attributes:
        value: By equation (2) of this module. O-information may be below 0.
        se: Its standard error over rows and noise. It does not hold the error of learned scores.
        by_error: The same by equation (1), from how much less the better informed score errs. Without errors
            of the scores it differs from `value` by chance alone.
        by_error_se: Its standard error.
        log_snr: The levels of ln(alpha^2 / sigma^2), falling, `[K]`.
        per_level: The integrand at these levels, whose integral is `value`, `[K]`.

    Example:
        >>> Information(0.50, 0.02).interval
        (0.4608, 0.5392)
    """

    value: Any
    se: Any
    by_error: Any = None
    by_error_se: Any = None
    log_snr: Any = None
    per_level: Any = None

    @property
    def interval(self) -> tuple[Any, Any]:
        """The value minus and plus 1.96 standard errors, which holds the truth 19 times in 20."""
        return self.value - _Z * self.se, self.value + _Z * self.se

    @property
    def left_out(self) -> Any:
        """About what truncation leaves out: the integrand at its ends, as it falls exponentially there.

        It is too small where the integrand has hardly begun to fall at the highest ln snr.
        """
        half = (self.log_snr[0] - self.log_snr[1]) / 2  # from the last level to the end
        return jnp.exp(-half) * (self.per_level[0] + self.per_level[-1])


def mutual_information(
    key: Key,
    sde: SDE,
    score: ScoreFn,
    conditional_score: ScoreFn,
    x: Array,
    *,
    mask: Array | None = None,
    num_levels: int = 32,
    t_min: float = 1e-5,
) -> Information:
    """Estimate I(a; b), the mutual information of two parts of data, from two scores of a.

    With both scores given some c as well, it is I(a; b | c). Each score is evaluated `num_levels` times on
    all rows.

    Args:
        key: a typed key.
        sde: the process.
        score: `(x, t) -> score` of a alone, a scalar t; from a denoiser by `sde.score_from_denoised`.
        conditional_score: `(x, t) -> score` of a given b. It reads b from the coordinates of x that are
            held, or has the b of each row from elsewhere.
        x: rows of a, or of a and b, `[B, D]` of floats, with B at least 2; some hundred are needed for a
            few per cent. Learned scores must not have been trained on them.
        mask: `[D]` of bool, True for coordinates that are held, without noise: those of b. None holds none:
            x is a alone.
        num_levels: K, the levels of noise, in 2..1,000,000, equally far apart in ln snr. They should be less
            than 1 apart: the range of `VP` is 24 long. More also average over more noise.
        t_min: the least time, above 0 and below 1. The information is that of a with so little noise.

    Returns:
        The estimate.

    Raises:
        ValueError: for rows that are not `[B, D]` of floats, fewer than two or not finite; for a mask of
            another shape or type, or one that holds everything; for an untyped key; for a number out of
            range; or if a score does not return the shape of x.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from sbmae_jax import VP, mutual_information
        >>> sde, r = VP(), 0.8  # a = r b + noise, with unit variances: -1/2 ln(1 - r^2) = .51 nats
        >>> b, noise = jax.random.normal(jax.random.key(0), (2, 2000, 1))
        >>> a = r * b + (1 - r**2) ** 0.5 * noise
        >>> def given_b(x, t):
        ...     return -(x - sde.alpha(t) * r * b) / (1 - (sde.alpha(t) * r) ** 2)
        >>> score = lambda x, t: -x
        >>> run = jax.jit(lambda key, a: mutual_information(key, sde, score, given_b, a))
        >>> found = run(jax.random.key(1), a)
        >>> abs(found.value - 0.51) < 3 * found.se, found.se < 0.02
        (Array(True, dtype=bool), Array(True, dtype=bool))

    Source: Franzese et al. 2024 (arXiv:2310.09031).
    """
    held = _held(x, mask)
    first = checks.checked_score(score)
    second = checks.checked_score(conditional_score, "conditional_score")

    def errors(noised, eps, t):
        return _compare(sde, first(noised, t), second(noised, t), eps, t, held)

    return _integrate(key, sde, errors, x, held, num_levels, t_min)


def total_correlation(
    key: Key,
    sde: SDE,
    joint_score: ScoreFn,
    marginal_score: ScoreFn,
    x: Array,
    *,
    num_levels: int = 32,
    t_min: float = 1e-5,
) -> Information:
    """Estimate the total correlation of groups of coordinates: how far they are from independent.

    For two groups this is their mutual information, for weakly related ones at half the standard error of
    `mutual_information`.

    Args:
        key: a typed key.
        sde: the process.
        joint_score: `(x, t) -> score` of all coordinates together.
        marginal_score: `(x, t) -> score` of the groups as if they were independent: the score of each group
            alone in its coordinates, as `product_score` makes it.
        x: rows, `[B, D]`; as for `mutual_information`.
        num_levels: as for `mutual_information`.
        t_min: as for `mutual_information`.

    Returns:
        The estimate, at least 0.

    Raises:
        ValueError: as `mutual_information`.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, total_correlation
        >>> x = jax.random.normal(jax.random.key(0), (100, 3))  # three independent numbers
        >>> score = lambda x, t: -x
        >>> run = jax.jit(lambda key, x: total_correlation(key, VP(), score, score, x))
        >>> float(run(jax.random.key(1), x).value)
        0.0

    Source: Bounoua et al. 2024 (arXiv:2402.05667).
    """
    held = _held(x, None)
    first = checks.checked_score(marginal_score, "marginal_score")
    second = checks.checked_score(joint_score, "joint_score")

    def errors(noised, eps, t):
        return _compare(sde, first(noised, t), second(noised, t), eps, t, held)

    return _integrate(key, sde, errors, x, held, num_levels, t_min)


def o_information(
    key: Key,
    sde: SDE,
    joint_score: ScoreFn,
    marginal_score: ScoreFn,
    conditional_score: Callable[[Array, Array, Array], Array],
    x: Array,
    groups: Any,
    *,
    num_levels: int = 32,
    t_min: float = 1e-5,
) -> Information:
    """Estimate the O-information of groups: above 0 where they repeat each other, below 0 for synergy.

    It is total correlation minus its dual, both from the same noise, so that their errors cancel in part.
    For two groups it is 0.

    Args:
        key: a typed key.
        sde: the process.
        joint_score: as for `total_correlation`.
        marginal_score: as for `total_correlation`.
        conditional_score: `(x, t, mask) -> score` given the coordinates where mask `[B, D]` is True, which
            are clean in x: as `amortised` takes it. The mask is traced; for each group, all others are clean.
        x: rows, `[B, D]`; as for `mutual_information`.
        groups: `[G, D]` of bool, True for the coordinates of each of at least two groups; each coordinate is
            in exactly one.
        num_levels: as for `mutual_information`.
        t_min: as for `mutual_information`.

    Returns:
        The estimate.

    Raises:
        ValueError: as `mutual_information`, and for groups that overlap, are empty, or leave something out.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from sbmae_jax import VP, o_information
        >>> x = jax.random.normal(jax.random.key(0), (100, 3))  # three independent numbers
        >>> score, given, groups = lambda x, t: -x, lambda x, t, mask: -x, jnp.eye(3) > 0
        >>> run = jax.jit(lambda key: o_information(key, VP(), score, score, given, x, groups))
        >>> float(run(jax.random.key(1)).value)
        0.0

    Source: Bounoua et al. 2024 (arXiv:2402.05667).
    """
    held = _held(x, None)
    masks = jnp.asarray(_require_groups(groups, x.shape[1]))
    alone = checks.checked_score(marginal_score, "marginal_score")
    joint = checks.checked_score(joint_score, "joint_score")

    def given_others(noised, t):
        def of_group(group):
            clean = jnp.broadcast_to(~group, x.shape)
            score = checks.checked_score(
                lambda x, t: conditional_score(x, t, clean), "conditional_score"
            )
            return jnp.where(clean, 0, score(jnp.where(clean, x, noised), t))

        return jnp.sum(jax.lax.map(of_group, masks), axis=0)

    def errors(noised, eps, t):
        together = joint(noised, t)
        total = _compare(sde, alone(noised, t), together, eps, t, held)
        dual = _compare(sde, together, given_others(noised, t), eps, t, held)
        return total[0] - dual[0], total[1] - dual[1]

    return _integrate(key, sde, errors, x, held, num_levels, t_min)


def product_score(groups: Any, scores: Sequence[ScoreFn]) -> ScoreFn:
    """Return the score of groups of coordinates as if they were independent.

    Args:
        groups: `[G, D]` of bool, True for the coordinates of each group; each coordinate is in exactly one.
        scores: one for each group, `(its coordinates [B, d], t) -> score [B, d]`.

    Returns:
        `(x [B, D], t) -> [B, D]`.

    Raises:
        ValueError: for groups that overlap, are empty, leave something out, or are not as many as scores.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import product_score
        >>> groups = jnp.asarray([[True, False, True], [False, True, False]])
        >>> score = product_score(groups, [lambda x, t: -x, lambda x, t: 0 * x])
        >>> score(jnp.ones((1, 3)), 0.5).tolist()
        [[-1.0, 0.0, -1.0]]
    """
    masks = _require_groups(groups, np.shape(groups)[-1] if np.ndim(groups) else 0)
    if len(scores) != len(masks):
        raise ValueError(
            f"scores must be one for each group, {len(masks)}, got {len(scores)} of them"
        )
    places = [np.flatnonzero(group) for group in masks]

    def score(x, t):
        checks.require_numbers("x", x)
        if x.ndim != 2 or x.shape[1] != masks.shape[1]:
            raise ValueError(f"x must be [B, {masks.shape[1]}], as groups say, got {x.shape}")
        found = jnp.zeros_like(x)
        for m, (place, of_group) in enumerate(zip(places, scores, strict=True)):
            alone = checks.checked_score(of_group, f"scores[{m}]")
            found = found.at[:, place].set(alone(x[:, place], t))
        return found

    return score


def _compare(
    sde: SDE, first: Array, second: Array, eps: Array, t: Array, held: Array
) -> tuple[Array, Array]:
    """Return for each row snr times the square in (2), and snr times the difference in (1).

    By Tweedie's formula x - D is -sigma (eps + sigma s) / alpha.
    """
    sigma = sde.sigma(t)
    first, second, eps = (jnp.where(held, 0, v) for v in (first, second, eps))
    square = (sigma * (second - first)) ** 2
    fall = (eps + sigma * first) ** 2 - (eps + sigma * second) ** 2
    return jnp.sum(square, axis=1), jnp.sum(fall, axis=1)


def _integrate(
    key: Key, sde: SDE, errors: _Errors, x: Array, held: Array, num_levels: int, t_min: float
) -> Information:
    """Integrate over ln snr from t = 1 to t_min, by the midpoint rule."""
    checks.require_key(key)
    checks.require_int("num_levels", num_levels, 2, checks.MAX_COUNT)
    checks.require_number("t_min", t_min, above=0, below=1)
    x = jnp.asarray(x)
    highest, lowest = sde.log_snr(jnp.asarray(t_min)), sde.log_snr(jnp.asarray(sde.t_max))
    width = (highest - lowest) / num_levels
    levels = highest - width * (jnp.arange(num_levels) + 0.5)

    def add(totals, level):
        i, log_snr = level
        t = sde.time(log_snr).astype(x.dtype)
        eps = jax.random.normal(jax.random.fold_in(key, i), x.shape, x.dtype)
        noised = jnp.where(held, x, sde.perturb(x, eps, t)).astype(x.dtype)
        found = jnp.stack(errors(noised, eps, t))
        return totals + 0.5 * width * found, 0.5 * jnp.mean(found[0])

    start = jnp.zeros((2, len(x)), jnp.result_type(x.dtype, jnp.float32))
    rows, curve = jax.lax.scan(add, start, (jnp.arange(num_levels), levels))
    (value, by_error), se = rows.mean(axis=1), rows.std(axis=1, ddof=1) / np.sqrt(len(x))
    return Information(value, se[0], by_error, se[1], levels, curve)


def _held(x: Array, mask: Array | None) -> Array:
    """Return which coordinates of the rows are held, `[1, D]`, or raise ValueError."""
    checks.require_state(x)
    if x.ndim != 2 or not x.shape[1]:
        raise ValueError(f"x must be [B, D], one row of data per row; reshape it, got {x.shape}")
    if len(x) < 2:
        raise ValueError(f"x must have at least two rows, for a standard error, got {len(x)}")
    if not isinstance(x, jax.core.Tracer) and not np.isfinite(np.asarray(x, np.float32)).all():
        raise ValueError("x must be finite: leave out rows with NaN or infinite values")
    if mask is None:
        return jnp.zeros((1, x.shape[1]), bool)
    checks.require_mask(mask)
    if np.shape(mask) != x.shape[1:]:
        raise ValueError(
            f"mask must be [{x.shape[1]}], one for each coordinate of x, got {np.shape(mask)}"
        )
    if not isinstance(mask, jax.core.Tracer) and np.asarray(mask).all():
        raise ValueError("mask holds all coordinates: leave those of one part free")
    return jnp.asarray(mask)[None]


def _require_groups(groups: Any, size: int) -> np.ndarray:
    """Return groups of coordinates `[G, D]`, or raise ValueError."""
    if isinstance(groups, jax.core.Tracer):
        raise ValueError("groups must be known while a function is compiled: do not trace them")
    if getattr(groups, "dtype", None) != jnp.bool_ or np.ndim(groups) != 2:
        raise ValueError("groups must be a boolean array [G, D], a row for each group")
    groups = np.asarray(groups)
    if groups.shape[1] != size or len(groups) < 2:
        raise ValueError(f"groups must be [G, {size}] with at least two groups, got {groups.shape}")
    if not groups.any(axis=1).all():
        raise ValueError(f"groups: group {np.flatnonzero(~groups.any(axis=1))[0]} is empty")
    wrong = np.flatnonzero(groups.sum(axis=0) != 1)
    if len(wrong):
        raise ValueError(
            f"groups must hold each coordinate once, but coordinate {wrong[0]} is in "
            f"{groups[:, wrong[0]].sum()} of them"
        )
    return groups
