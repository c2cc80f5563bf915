r"""Likelihoods p(x|z) of a modality given its latent, one for each kind of values.

y is the decoder's output:

    gaussian      pictures in [0, 1]; variance 1/2, so -ln p = sum (x - y)^2 + const. This does not model
                  the noise: a draw is the mean
    normal        real vectors; a learned variance s^2, -ln p = sum (x - y)^2 / (2 s^2) + ln s + const
    bernoulli     bits; y are logits
    categorical   one-hot vectors; y are logits along the last axis
    pixel_classes pictures of classes, one-hot along the last axis; y are logits along it. As with
                  pictures, the noise of single pixels is not drawn: a draw is the most probable class of each
    poisson       counts; y is the logarithm of the rate
    tokens        strings as the numbers of their tokens [T], of which 0 ends the string; y are logits
                  [T, V]. Given the latent, tokens are independent, and what follows the end does not count
    negative_binomial
                  counts that vary more; y is the logarithm of the mean m, a learned dispersion a makes the
                  variance m + a m^2
    ordinal       one of L ordered levels, as the bits [.., L - 1] "it exceeds level k"; y_k is the logit of
                  exceeding level k for a value that exceeds all levels below (continuation ratios), so that
                  every draw is a level
    zero_inflated real numbers or nothing, [.., 2]: i, 1 for a number and 0 for nothing, and the number v, 0
                  for nothing. y_0 is the logit of i, and v is "normal" around y_1

Sources: Rybkin et al. 2021 (arXiv:2006.13202) for learned variances in VAEs; Lopez et al. 2018, Nature
Methods 15, for negative binomial counts; Agresti, Categorical Data Analysis, for continuation ratios.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sbmae_jax._check import require_one_of, short_repr
from sbmae_jax.data.tokens import END
from sbmae_jax.types import Array, Key

MIN_VARIANCE = 1e-3
"""The smallest variance of standardised data: a decoder that memorised its data must not divide by 0."""

LOG_VARIANCE_SCALE = 10.0
"""What a learned parameter is multiplied by to give a log-variance.

Adam moves every parameter by about its learning rate, and a log-variance has farther to go than a weight.
"""

MIN_PROBABILITY = 1e-6
"""The smallest probability, or mean of a count, of which a logarithm is taken."""

TOKEN_DTYPE = jnp.uint16
"""The dtype of drawn tokens, which is that of prepared ones."""

MIN_DISPERSION = 1e-3
"""The smallest dispersion of negative binomial counts, which are then nearly Poisson."""

MAX_LOG_RATE = 15.0
"""The largest log-rate, three million counts: beyond it a network has diverged."""


def _unchanged(x: Array) -> Array:
    return x


class Likelihood(NamedTuple):
    """One kind of p(x|z), as functions of the decoder's output y `[B, *shape]`, for "tokens" `[B, T, V]`.

    `log_var` is the learned log-variance divided by `LOG_VARIANCE_SCALE`: `[*shape]`, with an axis of
    length 1 where entries share a variance, or None for likelihoods without a learned variance.

    Attributes:
        features: `x -> what the encoder sees`, of the same shape.
        nll: `(x, y, log_var) -> -ln p(x|z)` in nats up to a constant, one value for each entry of x; for
            "categorical" the values of one category add up to it, for "pixel_classes" those of a pixel.
        mean: `y -> mean of p(x|z)`; for "tokens" the most probable ones.
        draw: `(key, y, log_var) -> draw from p(x|z)`.
        has_variance: Whether `log_var` is learned.
        link: The inverse of `mean`: mean of p(x|z) -> y.
        values: The name of the likelihood in this module with the same values: "normal" for real numbers,
            "poisson" for counts, and so on. It decides which data are valid, and how errors are measured.
    """

    features: Callable[[Array], Array]
    nll: Callable[[Array, Array, Array | None], Array]
    mean: Callable[[Array], Array]
    draw: Callable[[Key, Array, Array | None], Array]
    has_variance: bool = False
    link: Callable[[Array], Array] = _unchanged
    values: str = "normal"


def variance(log_var: Array, like: Array) -> Array:
    """Return the variance of each entry, at least `MIN_VARIANCE`, in the shape of `like` `[B, *shape]`."""
    return (MIN_VARIANCE + jnp.exp(LOG_VARIANCE_SCALE * log_var))[None] + jnp.zeros_like(like)


def _normal_nll(x, y, log_var):
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


def _categorical_nll(x, y, log_var):
    del log_var
    return -x * jax.nn.log_softmax(y)


def _pixel_class_draw(key, y, log_var):
    del key, log_var
    return jax.nn.one_hot(jnp.argmax(y, axis=-1), y.shape[-1])


def _rate(y: Array) -> Array:
    return jnp.exp(jnp.minimum(y, MAX_LOG_RATE))


def _poisson_nll(x, y, log_var):
    del log_var
    return _rate(y) - x * jnp.minimum(y, MAX_LOG_RATE)


def _poisson_draw(key, y, log_var):
    del log_var
    return jax.random.poisson(key, _rate(y)).astype(jnp.float32)


def _until_end(tokens: Array) -> Array:
    """Return which tokens `[B, T]` belong to their string, its end included."""
    is_end = tokens == END
    return jnp.cumsum(is_end, axis=-1) - is_end == 0


def _ended(tokens: Array) -> Array:
    return jnp.where(_until_end(tokens), tokens, END).astype(TOKEN_DTYPE)


def _token_nll(x, y, log_var):
    del log_var
    right = jnp.take_along_axis(jax.nn.log_softmax(y), x.astype(jnp.int32)[..., None], axis=-1)
    return -right[..., 0] * _until_end(x)


def _most_probable_tokens(y: Array) -> Array:
    return _ended(jnp.argmax(y, axis=-1))


def _token_draw(key, y, log_var):
    del log_var
    return _ended(jax.random.categorical(key, y))


def _token_link(tokens: Array) -> Array:
    raise ValueError("tokens have no mean from which logits could be computed")


def _dispersion(log_var: Array) -> Array:
    return jnp.clip(jnp.exp(LOG_VARIANCE_SCALE * log_var), MIN_DISPERSION, 1 / MIN_DISPERSION)


def _negative_binomial_nll(x, y, log_var):
    r = (1 / _dispersion(log_var))[None] + jnp.zeros_like(y)
    mean = _rate(y)
    from_gammas = jax.lax.lgamma(x + r) - jax.lax.lgamma(r)
    return (
        (x + r) * jnp.log1p(mean / r)
        + x * jnp.log(r)
        - x * jnp.minimum(y, MAX_LOG_RATE)
        - from_gammas
    )


def _negative_binomial_draw(key, y, log_var):
    gamma_key, poisson_key = jax.random.split(key)
    r = (1 / _dispersion(log_var))[None] + jnp.zeros_like(y)
    rate = _rate(y) * jax.random.gamma(gamma_key, r) / r
    return jax.random.poisson(poisson_key, rate).astype(jnp.float32)


def _ordinal_nll(x, y, log_var):
    del log_var
    reached = jnp.concatenate([jnp.ones_like(x[..., :1]), x[..., :-1]], axis=-1)
    return reached * optax.sigmoid_binary_cross_entropy(y, x)


def _ordinal_draw(key, y, log_var):
    return jnp.cumprod(_bernoulli_draw(key, y, log_var), axis=-1)


def _ordinal_link(mean):
    below = jnp.concatenate([jnp.ones_like(mean[..., :1]), mean[..., :-1]], axis=-1)
    return _logit(mean / jnp.maximum(below, MIN_PROBABILITY))


def _zero_inflated_nll(x, y, log_var):
    is_number = optax.sigmoid_binary_cross_entropy(y[..., 0], x[..., 0])
    number = x[..., 0] * _normal_nll(x, y, log_var)[..., 1]
    return jnp.stack([is_number, number], axis=-1)


def _zero_inflated_mean(y):
    share = jax.nn.sigmoid(y[..., 0])
    return jnp.stack([share, share * y[..., 1]], axis=-1)


def _zero_inflated_draw(key, y, log_var):
    bit_key, number_key = jax.random.split(key)
    bits = _bernoulli_draw(bit_key, y[..., 0], None)
    return jnp.stack([bits, bits * _normal_draw(number_key, y, log_var)[..., 1]], axis=-1)


def _zero_inflated_link(mean):
    share = jnp.maximum(mean[..., 0], MIN_PROBABILITY)
    return jnp.stack([_logit(share), mean[..., 1] / share], axis=-1)


def _clipped(y: Array) -> Array:
    return jnp.clip(y, 0, 1)


def _logit(p: Array) -> Array:
    p = jnp.clip(p, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return jnp.log(p) - jnp.log1p(-p)


def _log(mean: Array) -> Array:
    return jnp.log(jnp.maximum(mean, MIN_PROBABILITY))


LIKELIHOODS: dict[str, Likelihood] = {
    "gaussian": Likelihood(
        _unchanged, lambda x, y, _: (x - y) ** 2, _clipped, lambda key, y, _: _clipped(y),
        values="gaussian",
    ),
    "bernoulli": Likelihood(
        _unchanged, lambda x, y, _: optax.sigmoid_binary_cross_entropy(y, x), jax.nn.sigmoid,
        _bernoulli_draw, link=_logit, values="bernoulli",
    ),
    "normal": Likelihood(_unchanged, _normal_nll, _unchanged, _normal_draw, has_variance=True),
    "categorical": Likelihood(
        _unchanged, _categorical_nll, jax.nn.softmax, _categorical_draw, link=_log,
        values="categorical",
    ),
    "pixel_classes": Likelihood(
        _unchanged, _categorical_nll, jax.nn.softmax, _pixel_class_draw, link=_log,
        values="pixel_classes",
    ),
    "poisson": Likelihood(
        jnp.log1p, _poisson_nll, _rate, _poisson_draw, link=_log, values="poisson"
    ),
    "tokens": Likelihood(
        _unchanged, _token_nll, _most_probable_tokens, _token_draw, link=_token_link, values="tokens"
    ),
    "negative_binomial": Likelihood(
        jnp.log1p, _negative_binomial_nll, _rate, _negative_binomial_draw, has_variance=True,
        link=_log, values="poisson",
    ),
    "ordinal": Likelihood(
        _unchanged, _ordinal_nll, lambda y: jnp.cumprod(jax.nn.sigmoid(y), axis=-1), _ordinal_draw,
        link=_ordinal_link, values="ordinal",
    ),
    "zero_inflated": Likelihood(
        _unchanged, _zero_inflated_nll, _zero_inflated_mean, _zero_inflated_draw, has_variance=True,
        link=_zero_inflated_link,
    ),
}  # fmt: skip
"""The likelihoods by the name that a modality's config has for them."""


def add_likelihood(name: str, likelihood: Likelihood) -> None:
    """Add a likelihood of your own, so that a modality can have it by its name.

    A saved model holds the name alone: add the likelihood again before you load the model elsewhere.

    Args:
        name: Its name, which must be new. A config may also name the likelihood by its import path, as in
            "my_package.kinds:STUDENT", and need not add it.
        likelihood: Its functions. With `has_variance` the autoencoder learns a log-variance for it.

    Raises:
        ValueError: If the name is that of another likelihood, and for anything but a `Likelihood`.

    Example:
        Errors that are not squared, for data with outliers:

        >>> LAPLACE = Likelihood(
        ...     features=lambda x: x,
        ...     nll=lambda x, y, _: jnp.abs(x - y),
        ...     mean=lambda y: y,
        ...     draw=lambda key, y, _: y + jax.random.laplace(key, y.shape),
        ... )
        >>> add_likelihood("laplace", LAPLACE)
        >>> negative_log_likelihood("laplace", jnp.zeros((2, 3)), jnp.ones((2, 3))).tolist()
        [3.0, 3.0]
    """
    if not isinstance(likelihood, Likelihood):
        raise ValueError(f"likelihood must be a Likelihood, got {short_repr(likelihood)}")
    if not isinstance(name, str) or name in BUILT_IN:
        raise ValueError(f"name must be a new string, got {short_repr(name)}")
    require_one_of("values", likelihood.values, BUILT_IN)
    LIKELIHOODS[name] = likelihood


BUILT_IN = tuple(LIKELIHOODS)
"""The names of the likelihoods of this module."""


def negative_log_likelihood(
    likelihood: str, x: Array, output: Array, log_var: Array | None = None
) -> Array:
    """Return -ln p(x|z) in nats, summed over the entries of each example, up to a constant.

    Args:
        likelihood: A name in `LIKELIHOODS`.
        x: Data `[B, *shape]`.
        output: The decoder's output `[B, *shape]`, for "tokens" `[B, T, V]`.
        log_var: The learned variance or dispersion, see `Likelihood`; None for likelihoods without one.

    Returns:
        `[B]`.

    Example:
        >>> x, output = jnp.zeros((2, 3)), jnp.ones((2, 3))
        >>> negative_log_likelihood("gaussian", x, output).tolist()
        [3.0, 3.0]
    """
    nll = LIKELIHOODS[likelihood].nll(x, output, log_var)
    if nll.shape != x.shape:
        raise ValueError(
            f"nll of the likelihood {likelihood!r} must return one value for each entry of x, shape "
            f"{x.shape}, got {nll.shape}"
        )
    return jnp.sum(nll, axis=tuple(range(1, x.ndim)))


def check_values(likelihood: str, name: str, array: np.ndarray) -> None:
    """Raise ValueError, naming the modality, for values that are not finite or that p(x|z) excludes."""
    if not array.size:
        return
    flat = array.reshape(len(array), -1)
    bad_rows = np.flatnonzero(~np.isfinite(flat).all(axis=1))
    if len(bad_rows):
        raise ValueError(
            f"{name}: NaN or infinite values in {len(bad_rows)} of {len(array)} rows, the first in "
            f"row {bad_rows[0]}: remove or fix these rows"
        )
    low, high = array.min(), array.max()
    likelihood = LIKELIHOODS[likelihood].values
    if likelihood == "tokens":
        if low < 0 or (array != np.floor(array)).any():
            raise ValueError(f"{name}: tokens must be integers from 0, got {low:.4g} to {high:.4g}")
        return
    if likelihood == "poisson" and low < 0:
        raise ValueError(
            f"{name}: counts must be at least 0, got {low:.4g}: fix them, or use likelihood 'normal'"
        )
    if likelihood not in ("normal", "poisson") and (low < 0 or high > 1):
        raise ValueError(
            f"{name}: values must be in 0..1, got {low:.4g} to {high:.4g}: divide pictures in 0..255 by "
            "255, or pass them as uint8"
        )
