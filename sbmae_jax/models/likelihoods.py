r"""What a decoder says of the data: p(x|z), for each kind of values.

    gaussian      pictures in [0, 1]; variance 1/2, so -ln p = sum (x - y)^2 + const. That is no model of the
                  noise: a draw is the mean
    normal        real vectors; a learned variance s^2, -ln p = sum (x - y)^2 / (2 s^2) + ln s
                  + const
    bernoulli     bits; y are logits
    categorical   one-hot; y are logits along the last axis
    poisson       counts; y is the logarithm of the rate

Sources: Rybkin et al. 2021 (arXiv:2006.13202) for learned variances in VAE.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sbmae_jax.types import Array, Key

MIN_VARIANCE = (
    1e-3  # of standardised data: a decoder that knows its data by heart must not divide by zero
)
# Adam moves every parameter by about its learning rate, and a logarithm has farther to go than a weight.
LOG_VARIANCE_SCALE = 10.0
MAX_LOG_RATE = 15.0  # three million: a rate beyond it is a network that went astray


class Observation(NamedTuple):
    """One kind of p(x|z). y [B, *shape] is the decoder's output.

    features: x -> what the encoder sees, of the same shape.
    error: (x, y, log_var) -> -ln p(x|z) in nats, up to a constant, one value for each entry of x; for
        "categorical" the entries of a category share it.
    mean: y -> the mean of p(x|z).
    draw: (key, y, log_var) -> a draw from p(x|z).
    has_variance: whether `log_var` is learned, [*shape], or of ones for what entries share: the logarithm of
        the variance over LOG_VARIANCE_SCALE; otherwise it is None.
    """

    features: Callable[[Array], Array]
    error: Callable[[Array, Array, Array | None], Array]
    mean: Callable[[Array], Array]
    draw: Callable[[Key, Array, Array | None], Array]
    has_variance: bool = False


def variance(log_var: Array, like: Array) -> Array:
    """Return the variance of each entry, not below MIN_VARIANCE, with the rank of `like` [B, *shape]."""
    return (MIN_VARIANCE + jnp.exp(LOG_VARIANCE_SCALE * log_var))[None] + jnp.zeros_like(like)


def _unchanged(x: Array) -> Array:
    return x


def _normal_error(x, y, log_var):
    s2 = variance(log_var, y)
    return 0.5 * ((x - y) ** 2 / s2 + jnp.log(s2))


def _normal_draw(key, y, log_var):
    return y + jnp.sqrt(variance(log_var, y)) * jax.random.normal(key, y.shape)


def _bernoulli_draw(key, y, log_var):
    del log_var
    return jax.random.bernoulli(key, jax.nn.sigmoid(y)).astype(jnp.float32)


def _categorical_draw(key, y, log_var):
    del log_var
    return jax.nn.one_hot(jax.random.categorical(key, y), y.shape[-1])


def _categorical_error(x, y, log_var):
    del log_var
    return -x * jax.nn.log_softmax(y)


def _rate(y: Array) -> Array:
    return jnp.exp(jnp.minimum(y, MAX_LOG_RATE))


def _poisson_error(x, y, log_var):
    del log_var
    return _rate(y) - x * jnp.minimum(y, MAX_LOG_RATE)


def _poisson_draw(key, y, log_var):
    del log_var
    return jax.random.poisson(key, _rate(y)).astype(jnp.float32)


def _in_range(y: Array) -> Array:
    return jnp.clip(y, 0, 1)


OBSERVATIONS: dict[str, Observation] = {
    "gaussian": Observation(
        _unchanged, lambda x, y, _: (x - y) ** 2, _in_range, lambda key, y, _: _in_range(y)
    ),
    "bernoulli": Observation(
        _unchanged, lambda x, y, _: optax.sigmoid_binary_cross_entropy(y, x), jax.nn.sigmoid,
        _bernoulli_draw,
    ),
    "normal": Observation(
        _unchanged, _normal_error, _unchanged, _normal_draw, has_variance=True
    ),
    "categorical": Observation(_unchanged, _categorical_error, jax.nn.softmax, _categorical_draw),
    "poisson": Observation(jnp.log1p, _poisson_error, _rate, _poisson_draw),
}  # fmt: skip


def reconstruction_error(
    likelihood: str, x: Array, output: Array, log_var: Array | None = None
) -> Array:
    """Return -ln p(x|z) up to a constant, summed over the dimensions of each example: [B]."""
    error = OBSERVATIONS[likelihood].error(x, output, log_var)
    return jnp.sum(error, axis=tuple(range(1, x.ndim)))


def output_mean(likelihood: str, output: Array) -> Array:
    """Return the mean of p(x|z) from the decoder's output."""
    return OBSERVATIONS[likelihood].mean(output)


def check_values(likelihood: str, name: str, array: np.ndarray) -> None:
    """Raise ValueError if values are not such as a likelihood is for: finite, and in its range."""
    if not array.size:
        return
    flat = array.reshape(len(array), -1)
    bad_rows = np.flatnonzero(~np.isfinite(flat).all(axis=1))
    if len(bad_rows):
        raise ValueError(
            f"{name}: NaN or infinite values in {len(bad_rows)} of {len(array)} rows, the first in "
            f"row {bad_rows[0]}: remove these rows or mend them"
        )
    low, high = array.min(), array.max()
    if likelihood == "poisson" and low < 0:
        raise ValueError(
            f"{name}: counts must be at least 0, got {low:.4g}: mend them, or use likelihood 'normal'"
        )
    if likelihood not in ("normal", "poisson") and (low < 0 or high > 1):
        raise ValueError(
            f"{name}: values must be in 0..1, got {low:.4g} to {high:.4g}: divide pictures in 0..255 by "
            "255, or pass them as uint8"
        )
