"""Frozen coders: functions of a user in the place of an autoencoder, in the user's units."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA

import sbmae_jax
from sbmae_jax import FrozenCoder, heun
from sbmae_jax.app.coders import check_latents, measure_residuals
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.coder_units import in_units, prepared
from sbmae_jax.models.coders import as_coder, coder_errors
from sbmae_jax.models.freezing import freeze, require_same_coder
from sbmae_jax.models.latents import Layout
from sbmae_jax.training.workdir import MOMENTS

SHORT = {
    "autoencoder_training.steps_per_call": 10, "autoencoder_training.patience": 0,
    "score_training.steps_per_call": 10, "score_training.patience": 0, "sampling.num_levels": 4,
    "network.name": "mlp", "network.width": 16, "network.num_blocks": 1, "network.level_width": 8,
}  # fmt: skip


def own_data(num=60):
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(num, 2))
    spectrum = 1000 + 50 * factors @ rng.normal(size=(2, 5)) + rng.normal(size=(num, 5))
    lab = factors * 1e-4
    lab[::7] = np.nan
    return {"spectrum": spectrum, "lab": lab, "latents": 30 * factors + 7}


def pca_of(data):
    return PCA(2).fit(data["spectrum"])


def lab_coder(scale=2.0):
    return FrozenCoder(
        lambda params, x: x * params["scale"],
        lambda params, z: z / params["scale"],
        params={"scale": jnp.asarray(scale)},
    )


def short_fit(data, coders, **options):
    options = {"num_steps": 20, "quiet": True, "config": SHORT} | options
    return sbmae_jax.fit(data, coders=coders, **options)


@pytest.fixture(scope="module")
def coders():
    return {"spectrum": pca_of(own_data()), "lab": lab_coder(), "latents": "identity"}


@pytest.fixture(scope="module")
def fitted(coders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("coders") / "run"
    return folder, short_fit(own_data(), coders, workdir=folder)


def functions(coders):
    return {name: coder for name, coder in coders.items() if coder != "identity"}


# ------------------------------------------------------------------- units


SCALINGS = {
    "vector": Scaling("vector", (2,), "float64", np.array([5.0, 1.0]), np.array([2.0, 0.5])),
    "constant": Scaling(
        "vector", (2,), "float32", np.array([5.0, 1.0]), constant=np.array([False, True])
    ),
    "signal": Scaling("signal", (4,), "int16", np.array([3.0]), np.array([10.0])),
    "image": Scaling("image", (5, 4), "uint8", scale=np.array(255.0)),
    "float image": Scaling("image", (4, 4, 3), "float32", np.array(-1.0), np.array(2.0)),
    "mask": Scaling("mask", (4, 4), "bool"),
    "binary": Scaling("binary", (3,), "int64"),
    "counts": Scaling("counts", (3,), "int64"),
    "large_counts": Scaling("large_counts", (3,), "float64", np.array(2.0), np.array(3.0)),
}


@pytest.mark.parametrize("name", SCALINGS)
def test_a_coder_sees_what_the_user_has(name):
    scaling = SCALINGS[name]
    x = np.random.default_rng(0).uniform(size=(6, *scaling.shape)).astype(np.float32)
    raw = scaling.restore(x)
    on_host = in_units(np, scaling, x.astype(np.float64))
    on_device = in_units(jnp, scaling, jnp.asarray(x))
    assert on_host.dtype == raw.dtype
    assert on_host.shape == on_device.shape == raw.shape
    np.testing.assert_allclose(on_host, raw)
    np.testing.assert_allclose(on_device, raw, rtol=1e-5, atol=1e-5)
    seen = scaling.prepare(raw).astype(np.float32) / (
        255 if scaling.prepared_dtype == np.uint8 else 1
    )
    np.testing.assert_allclose(prepared(np, scaling, raw), seen, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(prepared(jnp, scaling, jnp.asarray(raw)), seen, rtol=1e-4, atol=1e-4)


def test_means_between_the_values_of_the_data_are_kept():
    raw = np.array([[0.2, 0.5, 0.9]])
    np.testing.assert_allclose(prepared(np, SCALINGS["binary"], raw), raw)
    np.testing.assert_allclose(prepared(np, SCALINGS["counts"], raw), raw)


def test_a_category_is_one_hot():
    modality = Modality("town", (3,), "categorical", "", latent_size=1, weight=0.0)
    scaling = Scaling("category", (), "str", classes=("a", "b", "c"))
    coder = FrozenCoder(
        lambda x: x[:, :2], lambda z: jnp.concatenate([z, 1 - z.sum(1)[:, None]], 1)
    )
    frozen = freeze(modality, "given", coder, scaling)
    x = jnp.eye(3)
    np.testing.assert_allclose(frozen.decode({}, frozen.encode({}, x)), x)
    drawn = frozen.draw(frozen.make_params(None), jax.random.key(0), frozen.encode({}, x))
    np.testing.assert_allclose(drawn, x)


# --------------------------------------------------------------- functions


def vector(size=3):
    return Modality("lab", (size,), "normal", "", latent_size=1, weight=0.0)


def test_what_jax_can_trace_is_traced_and_has_gradients():
    frozen = freeze(
        vector(), "given", FrozenCoder(lambda x: 2 * x[:, :2], lambda z: z @ jnp.ones((2, 3))), None
    )
    assert frozen.on_host == (False, False)
    grad = jax.grad(lambda z: frozen.decode({}, z).sum())(jnp.zeros((1, 2)))
    np.testing.assert_allclose(grad, [[3.0, 3.0]])


def test_what_numpy_computes_runs_on_the_host_in_compiled_and_mapped_code():
    def encode(x):
        assert isinstance(x, np.ndarray)
        return np.cumsum(x, axis=1)[:, 1:]

    frozen = freeze(
        vector(), "given", as_coder("lab", (encode, lambda z: np.asarray(z)[:, [0, 0, 0]])), None
    )
    assert frozen.on_host == (True, True)
    x = jnp.arange(12.0).reshape(4, 3)
    expected = np.cumsum(x, axis=1)[:, 1:]
    np.testing.assert_allclose(jax.jit(frozen.encode)({}, x), expected)
    mapped = jax.vmap(lambda row: frozen.encode({}, row[None])[0])(x)
    np.testing.assert_allclose(mapped, expected)


@pytest.mark.parametrize(
    ("encode", "decode", "message"),
    [
        (lambda x: x[:, 0], lambda z: z, r"encode must return latents \[B, d\], got \(3,\)"),
        (lambda x: x[:1], lambda z: z, r"encode must return latents"),
        (lambda x: x.T, lambda z: z, r"encode must return latents"),
        (lambda x: x - x.mean(0)[None], lambda z: z, r"it must map each row on its own"),
        (lambda x: x, lambda z: z[:, :2], r"decode must return rows \(3,\), .*, got \(2,\)"),
        (lambda x: x, lambda z: z[:1], r"decode must return rows"),
        (lambda x: str(x), lambda z: z, r"encode must return an array of numbers"),
        (lambda x: x @ np.ones((4, 2)), lambda z: z, r"encode failed on 3 rows of shape \(3,\)"),
        (lambda x: x, lambda z: 1 / 0, r"decode failed .* \(ZeroDivisionError: division by zero\)"),
    ],
)  # fmt: skip
def test_a_coder_that_does_not_fit_is_refused(encode, decode, message):
    with pytest.raises(ValueError, match=message):
        freeze(vector(), "given", FrozenCoder(encode, decode), None)


@pytest.mark.parametrize("given", [3, "pca", (len,), (len, 3), object()])
def test_what_is_no_coder_is_refused(given):
    with pytest.raises(ValueError, match=r"the coder of lab must be a FrozenCoder, a pair"):
        as_coder("lab", given)
    with pytest.raises(ValueError, match="decode must be a function"):
        FrozenCoder(len, given if not callable(given) else 3)  # pyright: ignore[reportArgumentType]


# ---------------------------------------------------------------------- fit


def test_only_the_score_is_trained(fitted, coders):
    folder, model = fitted
    assert not (folder / "autoencoder").exists()
    assert model.layout.sizes == (2, 2, 2)
    assert "frozen (identity)" in repr(model)
    rows = {name: values[1:6] for name, values in own_data().items()}
    latents = dict(zip(model.layout.names, np.split(np.asarray(model.moments.restore(model.encode(
        {m.name: model.prepare(m, rows[m.name]) for m in model.modalities}
    ))), 3, axis=1), strict=True))  # fmt: skip
    np.testing.assert_allclose(
        latents["spectrum"], coders["spectrum"].transform(rows["spectrum"]), rtol=1e-3, atol=1e-2
    )
    np.testing.assert_allclose(latents["lab"], 2 * rows["lab"], rtol=1e-4, atol=1e-9)


def test_latents_of_any_scale_are_standardised(fitted):
    _, model = fitted
    data = own_data()
    rows = {name: values[~np.isnan(data["lab"][:, 0])] for name, values in data.items()}
    z = np.asarray(model.encode({m.name: model.prepare(m, rows[m.name]) for m in model.modalities}))
    np.testing.assert_allclose(z.std(axis=0), 1, atol=0.2)


def test_samples_are_in_the_users_units_and_draws_have_the_residuals(fitted, coders):
    folder, model = fitted
    made = model.generate({"lab": own_data()["lab"][1:3]}, num_samples=200, noise=False)
    assert made["spectrum"].shape == (2, 200, 5)
    assert 800 < made["spectrum"].mean() < 1200
    pca = coders["spectrum"]
    flat = made["spectrum"].reshape(-1, 5)
    kept = pca.inverse_transform(pca.transform(flat))
    np.testing.assert_allclose(flat, kept, rtol=1e-4)  # without noise it is what the coder decodes
    with np.load(folder / MOMENTS) as arrays:
        std = arrays["residual_std/spectrum"]
    assert not np.allclose(std, 0)
    drawn = model.generate({}, num_samples=2000, noise=True)["spectrum"]
    off = drawn - pca.inverse_transform(pca.transform(drawn))
    expected = std * dict(model.scalings)["spectrum"].scale
    projected = np.eye(5) - pca.components_.T @ pca.components_
    variance = np.diag(projected @ np.diag(expected**2) @ projected)
    np.testing.assert_allclose(off.std(axis=0), np.sqrt(variance), rtol=0.1)


def test_identity_draws_add_no_noise(fitted):
    _, model = fitted
    key = jax.random.key(3)
    z = jnp.zeros((2, model.layout.size))
    index = model.layout.names.index("latents")
    autoencoder, params = model.autoencoders[index], model.params["autoencoders"]["latents"]
    np.testing.assert_allclose(autoencoder.draw(params, key, z[:, :2]), z[:, :2], atol=1e-6)


def test_holes_are_filled(fitted):
    _, model = fitted
    filled = model.impute(own_data()).filled["lab"]
    assert np.isfinite(filled).all()


def test_a_saved_model_gets_its_functions_again(fitted, coders, tmp_path):
    _, model = fitted
    model.save(tmp_path / "model")
    again = sbmae_jax.load(tmp_path / "model", coders=functions(coders))
    made = [m.generate({}, num_samples=3, key=1)["spectrum"] for m in (model, again)]
    np.testing.assert_allclose(*made, rtol=1e-5)
    with pytest.raises(
        ValueError, match=r"lab was encoded by a coder of your own.*coders={'lab': coder}"
    ):
        sbmae_jax.load(tmp_path / "model")
    other = functions(coders) | {"spectrum": PCA(2).fit(own_data()["spectrum"][:, ::-1])}
    with pytest.raises(ValueError, match="the coder of spectrum encodes or decodes in another way"):
        sbmae_jax.load(tmp_path / "model", coders=other)
    with pytest.raises(ValueError, match="coders: town has no coder of your own in this model"):
        sbmae_jax.load(tmp_path / "model", coders=functions(coders) | {"town": lab_coder()})


def test_a_run_needs_the_same_coders_again(fitted, coders):
    folder, model = fitted
    again = sbmae_jax.load(folder, coders=functions(coders))
    for one, other in zip(jax.tree.leaves(model), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(
        ValueError, match=r"the coder of lab is passed from Python, to fit and load"
    ):
        sbmae_jax.load(folder)
    steps = []
    short_fit(own_data(), coders, workdir=folder, callbacks=lambda *call: steps.append(call))
    assert not steps  # it is resumed
    with pytest.raises(
        ValueError, match="the coder of lab encodes or decodes in another way than the one"
    ):
        short_fit(own_data(), coders | {"lab": lab_coder(3.0)}, workdir=folder)


def test_what_runs_in_python_cannot_be_exported(fitted, tmp_path):
    with pytest.raises(
        ValueError, match=r"the coder of spectrum runs in Python: write it with jax.numpy"
    ):
        fitted[1].export(tmp_path / "model.jax")
    assert not list(tmp_path.iterdir())


def test_nan_latents_are_refused_before_anything_is_trained(tmp_path):
    def encode(x):
        return jnp.where(x > 1000, jnp.nan, x)

    data = own_data()
    with pytest.raises(
        ValueError, match=r"spectrum: NaN or infinite latents in \d+ of 48 rows, the first"
    ):
        short_fit(
            data, {"spectrum": (encode, lambda z: z)}, workdir=tmp_path / "run", leave_out=("lab",)
        )
    assert not (tmp_path / "run" / "score").exists()


@pytest.mark.parametrize(
    ("coders", "options", "message"),
    [
        ({"town": lab_coder()}, {}, "town"),
        ({"lab": 3}, {}, "the coder of lab must be a FrozenCoder"),
        ({"lab": "pca"}, {}, r"lab.coder must be 'identity' or an import path"),
        ([1], {}, "coders must be a dict"),
        ({"lab": lab_coder()}, {"latent_size": 5}, "latent_size is 5, but the coder returns latents of 2"),
        ({"lab": lab_coder()}, {"network": "vector-64"}, "a frozen coder, to which network does not apply"),
    ],
)  # fmt: skip
def test_coders_that_cannot_be_are_refused(coders, options, message):
    modalities = {"lab": options} if options else None
    with pytest.raises(ValueError, match=message):
        short_fit(own_data(), coders, modalities=modalities)


# ------------------------------------------------------- what a tester has broken


def picture():
    return Modality("photo", (4, 4, 3), "gaussian", "", latent_size=1, weight=0.0)


def test_pictures_with_channels_first_are_refused():
    def decode(z):
        return jnp.zeros((z.shape[0], 3, 4, 4))

    with pytest.raises(
        ValueError, match=r"decode must return rows \(4, 4, 3\), .*, got \(3, 4, 4\)"
    ):
        freeze(picture(), "given", FrozenCoder(lambda x: x.reshape(x.shape[0], -1), decode), None)


def test_a_random_coder_is_refused():
    rng = np.random.default_rng(0)

    def encode(x):
        return np.asarray(x) + rng.normal(size=x.shape)

    with pytest.raises(ValueError, match="in the same way each time"):
        freeze(vector(), "given", FrozenCoder(encode, lambda z: z), None)


def test_decode_always_gets_floats_of_32_bits():
    seen = set()

    def decode(z):
        seen.add(np.asarray(z).dtype)
        return np.asarray(z, np.float64)

    frozen = freeze(
        vector(), "given", FrozenCoder(lambda x: np.asarray(x, np.float64), decode), None
    )
    frozen.decode({}, jnp.zeros((5, 3))).block_until_ready()
    assert seen == {np.dtype(np.float32)}


def test_an_offset_that_float32_cannot_hold():
    scaling = Scaling("vector", (3,), "float64", np.full(3, 1e8), np.ones(3))
    mean = np.full(3, 1e8)
    on_host = freeze(
        vector(), "given", FrozenCoder(lambda x: x - mean, lambda z: z + mean), scaling
    )
    assert on_host.on_host[0]
    x = jnp.array([[0.5, -1.0, 2.0]])
    np.testing.assert_allclose(on_host.encode({}, x), x, rtol=1e-5)
    with pytest.raises(ValueError, match="encode computes in float32, which cannot hold values"):
        freeze(
            vector(),
            "given",
            FrozenCoder(lambda x: jnp.asarray(x, jnp.float32), lambda z: z),
            scaling,
        )


@pytest.mark.parametrize("change", [lambda z: z + 1e6, lambda z: z * 1e30, lambda z: z * 0])
def test_latents_that_float32_cannot_hold_are_refused(change):
    layout = Layout(("lab",), (2,))
    z = change(np.random.default_rng(0).normal(size=(50, 2)))
    with pytest.raises(ValueError, match=r"lab: its (latents are too large|coder gives the same)"):
        check_latents({"lab": freeze(vector(2), "identity", None, None)}, layout, z)


def test_one_latent_that_does_not_vary_is_no_fault():
    z = np.random.default_rng(0).normal(size=(50, 2)) * [[0, 1e-12]] + [[3e7, 0]]
    check_latents({"lab": freeze(vector(2), "identity", None, None)}, Layout(("lab",), (2,)), z)


def test_another_decode_and_a_flipped_small_latent_are_noticed():
    axes = np.diag([1000.0, 1.0, 1.0])
    one = freeze(vector(), "given", FrozenCoder(lambda x: x @ axes, lambda z: z @ np.eye(3)), None)
    flipped = axes * [[1, -1, 1]]
    for encode, decode in [
        (lambda x: x @ flipped, lambda z: z @ np.eye(3)),
        (lambda x: x @ axes, lambda z: z @ np.zeros((3, 3))),
    ]:
        other = freeze(vector(), "given", FrozenCoder(encode, decode), None)
        with pytest.raises(ValueError, match="the coder of lab encodes or decodes in another way"):
            require_same_coder("lab", other, one.probe)


def test_a_failure_in_compiled_code_is_one_sentence():
    def encode(x):
        if len(x) > 3:
            raise OSError("no more rows")
        return np.asarray(x)

    frozen = freeze(vector(), "given", FrozenCoder(encode, lambda z: z), None)
    with (
        pytest.raises(
            ValueError, match=r"^lab: encode failed on 5 rows \(OSError: no more rows\)$"
        ),
        coder_errors(),
    ):
        jax.block_until_ready(jax.jit(frozen.encode)({}, jnp.zeros((5, 3))))


@pytest.mark.slow
def test_a_failure_is_one_sentence_wherever_a_model_calls_a_coder(fitted, coders):
    def encode(x):
        if len(x) > 3:
            raise OSError("no more rows")
        return coders["spectrum"].transform(x)

    model = fitted[1]
    failing = FrozenCoder(encode, coders["spectrum"].inverse_transform)
    changed = tuple(
        dataclasses.replace(a, coder=failing) if a.modality.name == "spectrum" else a
        for a in model.autoencoders
    )
    model = dataclasses.replace(model, autoencoders=changed)
    rows = {name: values[1:6] for name, values in own_data().items()}
    message = r"^spectrum: encode failed on \d+ rows \(OSError: no more rows\)$"
    for call in (
        model.surprise,
        model.generate,
        lambda given: model.sample_with(heun, given),
        lambda given: model.impute(own_data()),
    ):
        with pytest.raises(ValueError, match=message):
            call({"spectrum": rows["spectrum"], "latents": rows["latents"]})


def test_nan_of_decode_is_refused():
    frozen = freeze(
        vector(), "given", FrozenCoder(lambda x: x, lambda z: jnp.where(z > 2, jnp.nan, z)), None
    )
    rows = np.array([[0, 1, 2], [0, 1, 3]], np.float32)
    with pytest.raises(
        ValueError, match="lab: decode returns NaN or infinity for the latents of 1 of 2"
    ):
        measure_residuals({"lab": frozen}, {"lab": rows}, {})


def test_a_category_is_tried_with_one_hot_rows():
    def encode(x):
        if not np.isin(x, (0, 1)).all():
            raise ValueError("not one-hot")
        return np.asarray(x)[:, 1:]

    modality = Modality("town", (3,), "categorical", "", latent_size=1, weight=0.0)
    decode = lambda z: np.concatenate([1 - z.sum(axis=1, keepdims=True), z], axis=1)  # noqa: E731
    assert freeze(modality, "given", FrozenCoder(encode, decode), None).modality.latent_size == 2


def test_parameters_must_be_arrays():
    with pytest.raises(ValueError, match="params must be arrays in dicts, got 'hello'"):
        FrozenCoder(lambda p, x: x, lambda p, z: z, params={"a": "hello"})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ([(np.ones(2), np.ones(3))], r"params .* got a list; name what .* as in \{'0': first"),
        ({"a": (np.ones(2),)}, "params/a cannot be saved: .* got a tuple"),
        ({1: np.ones(2)}, "params: keys of parameters must be strings, got 1"),
        ({"a": None}, "params/a cannot be saved: .* got None"),
        ({"a": np.ones(2, complex)}, "params/a cannot be saved: .* got an array of complex128"),
        ({"a": jax.random.key(0)}, "params/a cannot be saved: .* got an array of key<fry>"),
    ],
)
def test_parameters_that_cannot_be_saved_are_refused_before_anything_is_trained(params, message):
    with pytest.raises(ValueError, match=message):
        FrozenCoder(lambda p, x: x, lambda p, z: z, params=params)


@pytest.mark.parametrize("params", [np.ones(2), {}, {"a": {"b": 1.5, "c": jnp.ones(2)}}, None])
def test_parameters_that_can_be_saved_are_taken(params):
    assert FrozenCoder(lambda p, x: x, lambda p, z: z, params=params).params is params


def test_a_failure_in_compiled_code_of_ones_own_is_logged(caplog):
    def encode(x):
        if len(x) > 3:
            raise OSError("no more rows")
        return np.asarray(x)

    frozen = freeze(vector(), "given", FrozenCoder(encode, lambda z: z), None)
    found = jax.jit(frozen.encode)({}, jnp.zeros((5, 3)))
    assert np.isnan(found).all()
    assert "lab: encode failed on 5 rows (OSError: no more rows): NaN is returned" in caplog.text
