r"""Samples by adaptive steps of the probability-flow ODE, through diffrax.

The flow is that of `ode`, equation 1: z = x / s moves with the velocity v over the angle phi, from nearly
pi / 2 at the noisiest level down to t_min. For data of about unit scale v is small and smooth there, so that
few steps are needed. A step is that of Bogacki and Shampine: order 3, with an error estimate of order 2 and
three evaluations of the score.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sbmae_jax import _check as checks
from sbmae_jax.sampling.leaves import leafwise, require_masks
from sbmae_jax.sampling.ode import angle_and_scale, angular_velocity
from sbmae_jax.sampling.rows import Rows
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, ScoreFn, State


class AdaptiveSamples(NamedTuple):
    """What `sample_adaptive` returns.

    Attributes:
        x: samples at t_min, of the shape and type of the start.
        num_evaluations: of the score for each row, `[B]`. A batch takes as long as its slowest row.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import AdaptiveSamples
        >>> found = AdaptiveSamples(jnp.zeros((2, 3)), jnp.array([31, 40]))
        >>> int(found.num_evaluations.max())  # what the batch has cost
        40
    """

    x: State
    num_evaluations: Array


def sample_adaptive(
    sde: SDE,
    score: ScoreFn,
    x: State,
    *,
    t_min: float = 1e-3,
    rtol: float = 1e-3,
    atol: float = 1e-3,
    max_steps: int = 4096,
    mask: State | None = None,
    data_scale: float = 1.0,
) -> AdaptiveSamples:
    """Follow the probability-flow ODE from noise to data by steps whose error is kept below a tolerance.

    No grid and no number of steps has to be chosen. Each row takes its own steps, so it does not depend on
    the other rows of the batch. The score sees one row at a time: what it closes over has to be the same for
    all rows. For rows with a condition of their own, `jax.vmap` over both.

    Args:
        sde: the process, one for all arrays of x.
        score: `(x, t) -> score`, for `x: [1, ...]` and a scalar t.
        x: the start at the noisiest level, as from `sde.prior`, `[B, ...]`; or a pytree of such arrays.
        t_min: where the path ends, above 0 and below 1.
        rtol: relative tolerance of a step, above 0.
        atol: absolute tolerance of a step, above 0, in units of the data where their scale is `data_scale`.
        max_steps: at most this many steps for a row, in 1..1,000,000.
        mask: of bool; these coordinates stay as they are in x. Meant for scores that read clean observed
            values, such as `amortised`. It broadcasts to x; one for all arrays, or a pytree with one for
            each.
        data_scale: standard deviation that the data are assumed to have, above 0; on Gaussian data of this
            deviation, one step is exact.

    Returns:
        The samples, and how often the score was evaluated for each.

    Raises:
        ImportError: without diffrax, which `pip install 'sbmae_jax[ode]'` installs.
        ValueError: for a number out of range, several processes, or a mask that is not of bool or does not
            fit x.
        RuntimeError: by diffrax, if max_steps do not suffice.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, sample_adaptive
        >>> sde = VP()
        >>> run = jax.jit(lambda x: sample_adaptive(sde, lambda x, t: -x, x))
        >>> run(sde.prior(jax.random.key(0), (4, 2))).x.shape
        (4, 2)

    Source: Bogacki and Shampine 1989, in the coordinates of `ode`, equation 1.
    """
    if not isinstance(sde, SDE):
        raise ValueError("sde must be one process for all arrays of x, whose angle is the path")
    for name, value in (("rtol", rtol), ("atol", atol), ("data_scale", data_scale)):
        checks.require_number(name, value, above=0)
    checks.require_number("t_min", t_min, above=0, below=1)
    checks.require_int("max_steps", max_steps, 1, checks.MAX_COUNT)
    checks.require_state(x)
    if mask is not None:
        require_masks(mask)
        mask = leafwise(lambda x, mask: checks.mask_like(mask, x), x, mask=mask)
    try:
        import diffrax
    except ImportError as error:
        raise ImportError(
            "sample_adaptive needs diffrax: pip install 'sbmae_jax[ode]', or use adams or dpm_solver"
        ) from error
    rows = Rows(x)
    start, of_rows = rows.join(x), rows.score(score)
    start = jnp.asarray(
        start, jnp.promote_types(start.dtype, jnp.float32)
    )  # a smaller type is stored
    held = jnp.zeros(start.shape, bool) if mask is None else rows.join(mask)
    ends = jnp.asarray([sde.t_max, t_min], start.dtype)
    (angle, last), scales = angle_and_scale(sde, ends, data_scale)

    def one(start, held):
        def placed(z, scale):
            return jnp.where(held, start, scale * z)

        def field(phi, z, args):
            t = jnp.clip(sde.time(-2 * jnp.log(data_scale * jnp.tan(phi))), t_min, sde.t_max)
            x = placed(z, angle_and_scale(sde, t, data_scale)[1])[None]
            velocity = angular_velocity(sde, of_rows(x, t), x, t, data_scale)[0]
            return jnp.where(held, 0.0, velocity).astype(z.dtype)

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Bosh3(),
            angle,
            last,
            None,
            start / scales[0],
            stepsize_controller=diffrax.PIDController(rtol, atol),
            max_steps=max_steps,
        )
        # The last of a step's evaluations is the first of the next one.
        num = 3 * solution.stats["num_steps"] + 1
        return placed(jax.tree.leaves(solution.ys)[0][-1], scales[1]), num

    end, num = jax.vmap(one)(start, held)
    return AdaptiveSamples(rows.split(end), num)
