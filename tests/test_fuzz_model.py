"""Anything given to a model to complete either comes back completed, or is refused by its name."""

import functools

import jax
import numpy as np
from fuzzing import attempt, counts, fuzz
from hypothesis import strategies as st
from networks import filled

from sbmae_jax.data.scaling import Scaling
from sbmae_jax.models.autoencoder import Autoencoder, Modality
from sbmae_jax.models.latents import Moments
from sbmae_jax.models.model import Model
from sbmae_jax.nets.mlp import MLPScore
from sbmae_jax.nets.vector import VectorDecoder, VectorEncoder
from sbmae_jax.sampling.generate import SamplingConfig
from sbmae_jax.sampling.sde import VP

MODALITIES = (
    Modality("colour", (3,), "categorical", "vector", 2, 0.1),
    Modality("count", (2,), "poisson", "vector", 2, 0.1),
    Modality("picture", (2, 2, 1), "gaussian", "vector", 2, 0.1),
    Modality("value", (2,), "normal", "vector", 1, 0.1),
)
SCALINGS = (
    ("colour", Scaling("category", (), "str", classes=("blue", "green", "red"))),
    ("count", Scaling("counts", (2,), "int64")),
    ("value", Scaling("vector", (2,), "float64", np.array([1.0, 2.0]), np.array([3.0, 4.0]))),
)
RIGHT = {
    "colour": np.array(["red", "blue"]), "count": np.array([[0, 3], [1, 2]]),
    "picture": np.full((2, 2, 2, 1), 0.5), "value": np.array([[0.5, -1.0], [4.0, 0.0]]),
}  # fmt: skip


@functools.cache
def model():
    params, autoencoders = {}, []
    for modality in MODALITIES:
        encoder = VectorEncoder(2, modality.latent_size, 4)
        autoencoders.append(Autoencoder(modality, "vae", encoder, VectorDecoder(modality.shape, 4)))
        batch = {"x": np.zeros((1, *modality.shape), np.float32)}
        params[modality.name] = filled(autoencoders[-1].task, batch)
    network, size = MLPScore((2, 2, 2, 1), 8, 1, 8), 7
    score = filled(network, np.zeros((1, size)), np.zeros((1, 4)))
    return Model(
        params={"autoencoders": params, "score": score}, moments=Moments(np.zeros(size), np.ones(size)),
        modalities=MODALITIES, autoencoders=tuple(autoencoders), scalings=SCALINGS, score_network=network,
        sde=VP(), sampling=SamplingConfig(num_levels=2),
    )  # fmt: skip


@st.composite
def odd(draw, value):
    """Draw what is given for a modality, right or not."""
    how = draw(st.integers(0, 6))
    if how == 0:
        return draw(
            st.sampled_from([None, 1.0, "red", [], ["red", "pink"], [[1.0], [1.0, 2.0]], {}])
        )
    if how == 1:
        return value[: draw(st.integers(0, 2))]
    if how == 2:
        return value.astype(draw(st.sampled_from(["U5", "S5", "object"])))
    numbers = np.ones(
        draw(st.sampled_from([value.shape, value.shape[1:], (2, 3), (2, 1), (2,), (2, 0)]))
    )
    numbers = numbers * draw(st.sampled_from([0, 1, 0.5, -1, 300, np.nan, np.inf, 1e300]))
    with np.errstate(all="ignore"):
        return numbers.astype(
            draw(st.sampled_from(["float32", "float64", "int64", "uint8", "bool", "complex64"]))
        )


@st.composite
def cases(draw):
    names = draw(st.lists(st.sampled_from([*RIGHT, "other"]), max_size=2, unique=True))
    given = {n: RIGHT.get(n, RIGHT["value"]) for n in names}
    for name in names:
        if draw(st.booleans()):
            given[name] = draw(odd(given[name]))
    if draw(st.integers(0, 20)) == 0:
        given = draw(st.sampled_from([None, 3, "value", [], tuple(RIGHT)]))
    options = {"num_samples": 2 if given == {} else None}
    if draw(st.booleans()):
        options["num_samples"] = draw(st.sampled_from([None, 0, -1, 1, 2, 2.0, "2", True, 10**12]))
    if draw(st.integers(0, 3)) == 0:
        options["key"] = draw(
            st.sampled_from([0, 7, -1, 2**32, None, "0", 1.5, True, np.int64(3), jax.random.key(1)])
        )
    return given, options


@counts(25, 500)
def test_what_a_model_is_given_is_completed_or_refused_by_name(num):
    def check(case):
        given, options = case
        names = [*(given if isinstance(given, dict) else ()), "given", *options]
        made = attempt(lambda: model().generate(given, **options), names)
        if made is None:
            return
        assert set(made) == set(RIGHT)
        for name, values in made.items():
            assert len(values) == (
                len(next(iter(given.values()))) if given else options["num_samples"]
            )
            assert values.dtype.kind == "U" or np.isfinite(values).all()
            if name in given:
                x = np.asarray(given[name])
                if options["num_samples"] is not None:
                    x = np.repeat(x[:, None], options["num_samples"], axis=1)
                np.testing.assert_array_equal(values, x)

    fuzz(num, cases(), check)
