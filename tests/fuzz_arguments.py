"""What the arguments of a fuzzed function may be given, right and wrong."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from sbmae_jax import EDM, VE, VP, SubVP, sample

SDES = (VP(), SubVP(), VE(), EDM())
X = jnp.asarray([[0.5, -1.0, 0.3], [0.1, 0.2, -0.7]])
ROW, MASK, T = X[0], jnp.asarray([True, False, False]), jnp.asarray(0.5)
TIMES = jnp.asarray([1.0, 0.5, 0.25, 0.1])
SHAPES = ((), (0,), (1,), (2,), (3,), (2, 3), (3, 2), (0, 3), (2, 0), (1, 3), (2, 3, 1), (3, 3))
DTYPES = ("float32", "float16", "int32", "bool", "uint8", "complex64")
NUMBERS = (
    0, 1, 2, -1, 7, 0.0, 0.5, 1.0, -0.5, 1e-30, 1e30, 1e300, 10**30, float("nan"), float("inf"), True,
    None, "a", (), (1, 2),
)  # fmt: skip


def score(x, t):
    return -1.0 * x


def network(x, t, observed):
    return -1.0 * x


SCORES = (
    lambda x, t: jnp.zeros(7), lambda x, t: jnp.sum(x), lambda x, t: -x[None], lambda x, t: 0.0,
)  # fmt: skip
STEPS = (
    lambda key, x, t, t_next: jnp.zeros(7), lambda key, x, t, t_next: x.astype(jnp.float16),
    lambda key, x, t, t_next: (x, x), lambda key, x, t, t_next: None,
)  # fmt: skip


@st.composite
def arrays(draw):
    """Draw an array, small, of any shape and type, maybe with NaN."""
    shape, dtype = draw(st.sampled_from(SHAPES)), draw(st.sampled_from(DTYPES))
    values = np.random.default_rng(draw(st.integers(0, 3))).normal(size=shape)
    if draw(st.integers(0, 4)) == 0:
        values = np.full(shape, draw(st.sampled_from([0.0, 1.0, np.nan, np.inf])))
    with np.errstate(all="ignore"):
        values = values.astype(dtype)
    return jnp.asarray(values) if draw(st.booleans()) else values


def odd(kind):
    """Return values that an argument of a kind may not have, and some that it may."""
    numbers = st.one_of(st.sampled_from(NUMBERS), st.integers(-3, 50), st.floats(width=32))
    wrong = st.sampled_from([None, "a", [1.0, 2.0, 3.0], ("a",), {}])
    return {
        "array": st.one_of(arrays(), arrays(), arrays(), wrong),
        "number": st.one_of(numbers, arrays()),
        "whole": st.one_of(numbers, arrays()),
        "key": st.one_of(
            st.sampled_from([0, None, "a", 1.5]), arrays(), st.just(jax.random.split(jax.random.key(0), 2))
        ),
        "score": st.sampled_from(SCORES),
        "step": st.sampled_from(STEPS),
        "name": st.sampled_from(["", "noise", "likelihood", "unit", None, 3]),
        "shape": st.sampled_from([(), (2, 3), (-1,), (0,), 3, None, ("a",), (2.5,)]),
        "window": st.sampled_from(
            [(0, 1), (1, 0), (0.5,), (), None, 3, ("a", "b"), (float("nan"), 1), (0, 1, 2)]
        ),
        "sde": st.sampled_from(SDES),
        "fixed": st.nothing(),
    }[kind]  # fmt: skip


class Call:
    """A function, and for each of its arguments (kind, a value that is right).

    traced: whether the call is traced, not computed.  like: what comes out of right values has this shape.
    """

    def __init__(self, function, like, traced=True, **arguments):
        self.function, self.like, self.traced = function, like, traced
        self.arguments = {"key": ("key", jax.random.key(0)), **arguments}
        wanted = inspect.signature(function).parameters
        self.arguments = {name: self.arguments[name] for name in wanted}

    def run(self, values):
        def call():
            return self.function(**values)

        return jax.eval_shape(call) if self.traced else call()


def sampled(kernel, key, x, times=TIMES):
    return sample(key, kernel, x, times)


x = ("array", X)
sde = ("sde", VP())
s = ("score", score)
mask = ("array", MASK)
value = ("array", ROW)
t = ("array", T)
whole = ("whole", 2)


# Arguments of which an error may speak where another is wrong: they must fit together.
TOGETHER = {
    "beta_min": ("beta_max",),
    "sigma_min": ("sigma_max",),
    "sizes": ("x",),
    "t": ("x",),
    "times": ("step",),
    "value": ("x", "mask"),
    "operator": ("x", "mask", "value"),
    "shape": ("score",),
    "x": (
        "step",
        "state",
        "score",
        "mask",
        "value",
        "weights",
        "energy",
        "noise",
        "sizes",
        "t ",
        "covariance",
        "present",
        "weight",
        "strength",
    ),
    "mask": ("value", "covariance"),
}
