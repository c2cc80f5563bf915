"""Frozen coders: functions of a user in the place of an autoencoder, in the user's units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA

import sbmae_jax
from sbmae_jax import FrozenCoder
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.coders import as_coder, freeze, in_units, prepared
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
        (lambda x: x[:, 0], lambda z: z, r"lab: encode must return latents \[B, d\], got \(2,\)"),
        (lambda x: x[:1], lambda z: z, r"encode must return latents"),
        (lambda x: x, lambda z: z[:, :2], r"decode must return rows \(3,\), .*, got \(2,\)"),
        (lambda x: x, lambda z: z[:1], r"decode must return rows"),
        (lambda x: str(x), lambda z: z, r"encode must return an array of numbers"),
        (lambda x: x @ np.ones((4, 2)), lambda z: z, r"encode failed on rows of shape \(3,\)"),
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
    made = model.generate({"lab": own_data()["lab"][1:3]}, num_samples=200)
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
    with pytest.raises(ValueError, match="the coder of spectrum gives other latents than the one"):
        sbmae_jax.load(tmp_path / "model", coders=other)
    with pytest.raises(ValueError, match="coders: town has no coder of your own in this model"):
        sbmae_jax.load(tmp_path / "model", coders=functions(coders) | {"town": lab_coder()})


def test_a_run_needs_the_same_coders_again(fitted, coders):
    folder, model = fitted
    again = sbmae_jax.load(folder, coders=functions(coders))
    for one, other in zip(jax.tree.leaves(model), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match=r"lab was encoded by a coder of your own: pass it again"):
        sbmae_jax.load(folder)
    steps = []
    short_fit(own_data(), coders, workdir=folder, callbacks=lambda *call: steps.append(call))
    assert not steps  # it is resumed
    with pytest.raises(ValueError, match="the coder of lab gives other latents than the one"):
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
        ({"lab": lab_coder()}, {"network": "vector-64"}, "unknown key 'network'; its keys are coder"),
    ],
)  # fmt: skip
def test_coders_that_cannot_be_are_refused(coders, options, message):
    modalities = {"lab": options} if options else None
    with pytest.raises(ValueError, match=message):
        short_fit(own_data(), coders, modalities=modalities)
