"""A model by hand: what is given and what is drawn, in the user's units and in those of the networks."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import jit

from sbmae_jax.data.scaling import Scaling
from sbmae_jax.models import generation
from sbmae_jax.models import model as models
from sbmae_jax.models.autoencoder import Autoencoder, Modality, as_float
from sbmae_jax.models.latents import Moments
from sbmae_jax.models.likelihoods import LOG_VARIANCE_SCALE, MIN_VARIANCE
from sbmae_jax.models.model import Model
from sbmae_jax.models.noise_levels import MAX_LOG_SNR
from sbmae_jax.sampling.generate import SamplingConfig
from sbmae_jax.sampling.sde import VP

N = 400
TOWNS = ("Bonn", "Oslo", "Rome")
SCALINGS = {
    "age": Scaling("vector", (), "float64", np.array([40.0]), np.array([10.0])),
    "count": Scaling("counts", (2,), "int64"),
    "photo": Scaling("image", (2, 2), "uint8", scale=np.array(255.0)),
    "town": Scaling("category", (), "str", classes=TOWNS),
}
LIKELIHOODS = {
    "age": "normal", "count": "poisson", "photo": "gaussian", "town": "categorical",
}  # fmt: skip
SIZES = {"age": 1, "count": 2, "photo": 4, "town": 3}
NOISE = 0.5  # variance of an age around its mean, standardised


class Encoder:
    """The latent is what is seen, flat."""

    @staticmethod
    def apply(params, x):
        return x.reshape(len(x), -1)


class Decoder:
    """What is decoded is the latent, in the shape of the data."""

    def __init__(self, shape):
        self.shape = shape

    def apply(self, params, z):
        return z.reshape(len(z), *self.shape)


class Standard:
    """A score network that believes all latents are independent and standard: F = 0."""

    @staticmethod
    def apply(params, x, log_snr):
        return 0 * x


@functools.cache
def model():
    modalities = tuple(
        Modality(name, SCALINGS[name].shape, LIKELIHOODS[name], "none", SIZES[name], weight=1.0)
        for name in sorted(SCALINGS)
    )
    size = sum(SIZES.values())
    noise = jnp.full(1, np.log(NOISE - MIN_VARIANCE) / LOG_VARIANCE_SCALE)
    params = {name: {"encoder": {}, "decoder": {}} for name in SCALINGS}
    params["age"]["noise"] = noise
    return Model(
        params={"autoencoders": params, "score": {}},
        moments=Moments(jnp.zeros(size), jnp.ones(size)),
        modalities=modalities,
        autoencoders=tuple(Autoencoder(m, "rae", Encoder(), Decoder(m.shape)) for m in modalities),
        scalings=tuple(sorted(SCALINGS.items())),
        score_network=Standard(),
        sde=VP(),
        sampling=SamplingConfig("dpm_solver", "amortised", 8),
    )


class Telling:
    """A score network that says 1 where anything is observed, and 0 elsewhere."""

    def apply(self, params, x, log_snr):
        told = jnp.any(log_snr == MAX_LOG_SNR, axis=1, keepdims=True)
        return jnp.broadcast_to(told, x.shape).astype(x.dtype)


def test_classifier_free_guidance_moves_away_from_the_joint_score(key):
    plain = dataclasses.replace(model(), score_network=Telling())
    guided = plain.with_sampling(classifier_free=3.0)
    assert (plain.sampling.classifier_free, guided.sampling.classifier_free) == (1, 3)
    with pytest.raises(
        ValueError, match=r"a sampling setting must be one of .*temperature.*'heat'"
    ):
        plain.with_sampling(heat=0.5)
    with pytest.raises(ValueError, match="temperature must be"):
        plain.with_sampling(temperature=2.0)
    assert guided.sampling.num_evaluations == 2 * plain.sampling.num_evaluations
    observed = jnp.asarray([[True, False, False, False], [False] * 4])
    x = np.random.default_rng(0).normal(size=(2, plain.layout.size)).astype(np.float32)

    @jit
    def scores(key):
        t = jnp.asarray(0.5)
        joint = jnp.where(plain.layout.expand(observed), 0, plain.joint_score(x, t))
        conditional = plain.score(None, observed)(x, t)  # type: ignore[arg-type]: it needs no key
        return joint, conditional, guided.score(key, observed)(x, t)

    joint, conditional, found = scores(key)
    np.testing.assert_allclose(found, joint + 3 * (conditional - joint), rtol=1e-5, atol=1e-6)
    assert float(jnp.abs(found - conditional)[0].max()) > 0.1
    # From nothing there is nothing to be guided by.
    np.testing.assert_allclose(found[1], conditional[1], rtol=1e-5)


def rows(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "age": rng.normal(40, 10, N), "count": rng.poisson(5, (N, 2)),
        "photo": rng.integers(0, 256, (N, 2, 2), np.uint8),
        "town": np.array(TOWNS)[rng.integers(0, 3, N)],
    }  # fmt: skip


def test_what_is_given_comes_back_as_it_was_given():
    given = {name: rows()[name] for name in ("age", "count", "town")}
    generated = model().generate(given, noise=True)
    assert generated.keys() == SCALINGS.keys()
    for name, array in given.items():
        assert generated[name].dtype == array.dtype
        np.testing.assert_array_equal(generated[name], array)


@functools.cache
def made(noise):
    return model().generate({}, num_samples=N, noise=noise)


def test_what_is_generated_is_in_the_units_of_the_data():
    x = made(noise=True)
    assert {name: array.shape for name, array in x.items()} == {
        "age": (N,), "count": (N, 2), "photo": (N, 2, 2), "town": (N,),
    }  # fmt: skip
    # Ages are 40 + 10 (z + noise), each of a known variance.
    deviation = 10 * np.sqrt(1 + NOISE)
    assert abs(x["age"].mean() - 40) < 4.5 * deviation / np.sqrt(N)
    assert x["age"].std() == pytest.approx(deviation, rel=4.5 / np.sqrt(2 * N) + 0.05)
    assert set(x["town"]) == set(TOWNS)
    assert x["photo"].dtype == np.uint8
    np.testing.assert_array_equal(x["count"], np.round(x["count"]))
    assert x["count"].min() >= 0


def test_without_noise_means_are_generated():
    x = made(noise=False)
    assert x["age"].std() == pytest.approx(10, rel=4.5 / np.sqrt(2 * N) + 0.05)
    batch = {m.name: jnp.zeros((N, *m.shape)) for m in model().modalities}
    nothing = jnp.zeros((N, len(model().modalities)), bool)
    rates = models.complete(model(), jax.random.key(0), batch, nothing)["count"]
    assert x["count"].dtype == np.int64
    assert (rates > 0).all()
    np.testing.assert_array_equal(model().restore("count", rates), np.round(rates))


def test_a_part_that_is_given_is_seen_by_the_networks_in_their_units():
    # `prepare` undoes `restore`: the latent of an observed age is the age, standardised.
    given = rows()
    x = {m.name: jnp.asarray(model().prepare(m, given[m.name])) for m in model().modalities}
    np.testing.assert_allclose(x["age"][:, 0], (given["age"] - 40) / 10, rtol=1e-5)
    assert x["photo"].dtype == jnp.uint8
    z = jit(model().encode)(x)
    np.testing.assert_allclose(z[:, 0], x["age"][:, 0], rtol=1e-5)
    np.testing.assert_allclose(z[:, 1:3], np.log1p(given["count"]), rtol=1e-5)
    for name in ("age", "count", "photo"):
        np.testing.assert_allclose(model().restore(name, x[name]), given[name], rtol=1e-5)
    np.testing.assert_array_equal(model().restore("town", x["town"]), given["town"])


def test_a_draw_is_a_completion_with_noise():
    # Of the same latents: the draw's key is split into that of the latents and that of the noise.
    given = {m.name: as_float(model().prepare(m, rows()[m.name])) for m in model().modalities}
    given = {name: jnp.asarray(array) for name, array in given.items()}
    observed = jnp.asarray(model().layout.observed(["age", "count"], N))
    sample_key, noise_key = jax.random.split(jax.random.key(3))
    mean = models.complete(model(), sample_key, given, observed)
    drawn = models.draw(model(), jax.random.key(3), given, observed)
    eps = jax.random.normal(jax.random.fold_in(noise_key, 0), (N, 1))
    wanted = mean["age"] + np.sqrt(NOISE).astype(np.float32) * eps
    np.testing.assert_allclose(drawn["age"], wanted, atol=1e-4)
    # What is observed comes back as its reconstruction, here itself, and is drawn around it.
    np.testing.assert_allclose(mean["age"], given["age"], atol=1e-5)
    np.testing.assert_array_equal(drawn["photo"], mean["photo"])
    np.testing.assert_allclose(mean["town"].sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(np.sort(drawn["town"], axis=1), [[0, 0, 1]] * N)
    # Rates of observed counts are exp(log1p(count)), and the draws have that mean.
    rate = 1 + np.asarray(given["count"])
    np.testing.assert_allclose(mean["count"], rate, rtol=1e-4)
    error = np.sqrt(rate.sum(axis=0)) / N
    assert (np.abs(np.mean(drawn["count"] - rate, axis=0)) < 4.5 * error).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"town": np.array(["Paris"])}, "town: unknown class 'Paris' in row 0: choose from Bonn"),
        ({"age": np.array([[40.0, 41.0]])}, r"age: examples must have shape \(\), got \(2,\)"),
        ({"age": np.array([np.nan])}, "age has a hole in row 0: use impute"),
        (
            {"count": np.array([[1.5, 2]])},
            "count: a count must be an integer from 0, got 1.5 in row 0",
        ),
        ({"photo": np.full((1, 2, 2), 256)}, r"photo: its values are int64 from 256 to 256"),
    ],
)
def test_what_does_not_fit_is_named_in_the_units_of_the_data(given, message):
    with pytest.raises(ValueError, match=message):
        model().generate(given)


def test_each_given_row_gets_as_many_samples_as_asked_for():
    given = {name: rows()[name][:3] for name in ("age", "town")}
    made = model().generate(given, num_samples=5, noise=True)
    assert {name: x.shape for name, x in made.items()} == {
        "age": (3, 5), "count": (3, 5, 2), "photo": (3, 5, 2, 2), "town": (3, 5),
    }  # fmt: skip
    for name, x in given.items():
        assert made[name].dtype == x.dtype
        assert (made[name] == x[:, None]).all()
        assert not made[name].flags.writeable  # a view
    counts = made["count"].reshape(15, 2)
    assert len(np.unique(counts, axis=0)) > 5
    # Sample s of row b is what row 5 b + s of repeated rows gets.
    repeated = {name: np.repeat(x, 5, axis=0) for name, x in given.items()}
    one_each = model().generate(repeated, noise=True)
    for name in ("count", "photo"):
        np.testing.assert_array_equal(made[name].reshape(one_each[name].shape), one_each[name])
    # The only sample has its axis too, so that code need not ask how many there are.
    assert model().generate(given, num_samples=1)["count"].shape == (3, 1, 2)


@pytest.mark.parametrize("sampler", [
    pytest.param("langevin", marks=pytest.mark.slow),
    pytest.param("predictor_corrector", marks=pytest.mark.slow), "dpm_solver",
])  # fmt: skip
def test_a_row_is_drawn_alike_however_many_rows_follow_it(sampler):
    corrections = {"num_levels": 2, "num_corrections": 1}
    drawn = model().with_sampling(sampler=sampler, **corrections)
    given = {name: rows()[name] for name in ("age", "count")}
    few, more = (
        drawn.generate({n: x[:num] for n, x in given.items()}, key=4, noise=True) for num in (3, 9)
    )
    for name in ("photo", "town"):
        np.testing.assert_array_equal(few[name], more[name][:3])
    # Nor do other rows matter.
    changed = {name: np.concatenate([x[:3], x[20:26]]) for name, x in given.items()}
    other = drawn.generate(changed, key=4, noise=True)
    np.testing.assert_array_equal(few["photo"], other["photo"][:3])


def test_many_samples_are_drawn_in_pieces_and_few_sizes_are_compiled(monkeypatch):
    monkeypatch.setattr(generation, "MAX_BATCH", 8)
    plain = model()
    whole = plain.generate({}, num_samples=21, key=2)
    one, two = plain.generate({}, num_samples=8, key=2), plain.generate({}, num_samples=19, key=2)
    for name, x in whole.items():
        assert len(x) == 21
        np.testing.assert_array_equal(x[:8], one[name])
        np.testing.assert_array_equal(x[:19], two[name])
    assert len(np.unique(whole["age"])) == 21  # pieces have keys of their own
    sizes = []
    monkeypatch.setattr(
        models, "draw_values", functools.partial(_recorded, sizes, models.draw_values)
    )
    for num in (1, 2, 3, 5, 6, 7, 8, 9, 20):
        plain.generate({}, num_samples=num)
    assert [size for size, _ in sizes] == [1, 2, 4, 8, 8, 8, 8, 8, 8, 8, 8, 8]
    assert len({key for _, key in sizes}) == 3


def _recorded(sizes, function, model, key, batch, observed):
    sizes.append((len(observed), tuple(jax.random.key_data(key).tolist())))
    return function(model, key, batch, observed)


def test_bytes_and_floats_share_an_executable():
    photo = rows()["photo"][:4]
    plain = dataclasses.replace(model(), scalings=())
    plain.generate({"photo": photo[..., None]})
    compiled = models.complete._cache_size()
    made = plain.generate({"photo": photo[..., None] / 255})
    assert models.complete._cache_size() == compiled
    np.testing.assert_array_equal(made["photo"], photo[..., None] / 255)


def test_nothing_is_drawn_where_everything_is_given(monkeypatch):
    monkeypatch.setattr(models, "complete", None)
    made = model().generate(rows())
    for name, x in rows().items():
        np.testing.assert_array_equal(made[name], x)


@pytest.mark.parametrize("conditioning", ["amortised", "clamp", "renoise"])
@pytest.mark.parametrize("sampler", ["langevin", "predictor_corrector", "dpm_solver"])
def test_what_is_not_observed_may_be_nan(sampler, conditioning, key):
    drawn = model().with_sampling(
        sampler=sampler, conditioning=conditioning, num_levels=2, num_corrections=1
    )
    observed = jnp.asarray([[True, False, False, False], [False, False, True, True], [False] * 4])
    batch = {
        m.name: as_float(jnp.asarray(drawn.prepare(m, rows()[m.name][:3])))
        for m in drawn.modalities
    }
    holes = {
        m.name: jnp.where(
            observed[:, i].reshape(-1, *[1] * len(m.shape)), batch[m.name], jnp.nan
        )
        for i, m in enumerate(drawn.modalities)
    }  # fmt: skip
    keys = jax.random.clone(key)
    filled, clean = (
        models.draw(drawn, keys, holes, observed),
        models.draw(drawn, key, batch, observed),
    )
    for name in filled:
        np.testing.assert_array_equal(filled[name], clean[name])
