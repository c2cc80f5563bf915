"""The Inception network against PyTorch, on stored numbers.

`golden/inception.npz` was computed by pytorch-fid 0.3.0's own `InceptionV3` on PyTorch 2.15 and torchvision
0.29, with the weights of `random_state` for the shapes that its `state_dict` names: `features` of the
pictures of `probe`, and `shrunk`, every 13th row and column of its resized and scaled input for the picture
of `test_pictures_are_resized_as_in_the_port`. `golden/zip.pth` and `golden/legacy.pth` are `TENSORS`,
written by `torch.save` with and without `_use_new_zipfile_serialization`.
"""

import hashlib
import io
import os
import pickle
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax._io import checksum
from sbmae_jax.evaluation import inception as inception_weights
from sbmae_jax.evaluation.inception import (
    convert,
    features,
    fold,
    kernel_shapes,
    load,
    main,
    params_like,
)
from sbmae_jax.evaluation.torch_file import Tensor, as_array, read_tensors
from sbmae_jax.nets.inception import average, prepare

GOLDEN = Path(__file__).parent / "golden"
TENSORS = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "t": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "part": np.arange(10, dtype=np.float64)[3:7:2],
    "n": np.array(7, np.int64),
    "h": np.array([0.5, -1.0], np.float16),
    "i": np.array([1, 2], np.int32),
    "p": np.ones(2, np.float32),
}


def port_shapes():
    """Return the shapes of the port's tensors that the features need."""
    shapes = {}
    for layer, (height, width, size, outputs) in kernel_shapes().items():
        shapes[f"{layer}.conv.weight"] = (outputs, size, height, width)
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{layer}.bn.{name}"] = (outputs,)
    return shapes


def random_state(shapes):
    """Draw a state dict of the port, its names in sorted order, such that activations keep their size."""
    rng, state = np.random.default_rng(0), {}
    for name in sorted(shapes):
        shape = shapes[name]
        if name.endswith("conv.weight"):
            value = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith(("bn.weight", "running_var")):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = 0.1 * rng.standard_normal(shape)
        state[name] = value.astype(np.float32)
    return state


@pytest.fixture(scope="module")
def state():
    return random_state(port_shapes())


@pytest.fixture(scope="module")
def converted(state, tmp_path_factory):
    """Convert the random state dict, as if it had been read from a file; return source, its hash, target."""
    folder = tmp_path_factory.mktemp("inception")
    source, target = folder / "random.pth", folder / "random.npz"
    source.write_bytes(b"stands for the random state dict")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inception_weights, "read_tensors", lambda data: state)
        convert(source, target, digest)
    return source, digest, target


def test_features_are_those_of_the_port(converted):
    _, digest, target = converted
    expected = np.load(GOLDEN / "inception.npz")["features"]
    load(target, digest)  # checks that the features are still those that were stored
    found = np.load(target)["probe"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * expected.max())


def test_pictures_are_resized_as_in_the_port():
    _, row, column, channel = np.indices((1, 310, 353, 3))
    x = ((row * column + 80 * channel) % 256).astype(np.uint8)
    found = np.asarray(jax.jit(prepare)(x))
    assert found.shape == (1, 299, 299, 3)
    expected = np.load(GOLDEN / "inception.npz")["shrunk"]
    np.testing.assert_allclose(found[:, ::13, ::13], expected, atol=1e-4)
    np.testing.assert_allclose(jax.jit(prepare)(np.float32(x / 255)), found, atol=1e-5)


def test_averages_count_no_padding():
    x = jnp.ones((1, 4, 5, 2))
    np.testing.assert_allclose(jax.jit(average)(x), x, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "dtype", "match"),
    [
        ((8, 8, 3), "uint8", "got .8, 8, 3"),
        ((2, 8, 8, 1), "uint8", "grey"),
        ((2, 8, 8, 3), "int32", "int32"),
    ],
)
def test_other_pictures_are_refused(shape, dtype, match):
    with pytest.raises(ValueError, match=match):
        jax.eval_shape(prepare, jax.ShapeDtypeStruct(shape, dtype))


def test_the_network_has_the_parameters_of_inception():
    x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.uint8)
    assert jax.eval_shape(features, params_like(), x).shape == (2, 2048)
    # 94 convolutions; torchvision's Inception-v3 without its classifiers, BatchNorm folded
    assert len(kernel_shapes()) == 94
    assert sum(leaf.size for leaf in jax.tree.leaves(params_like())) == 21_768_352


@pytest.mark.parametrize("changed", ["bias", "source_sha256"])
def test_a_changed_file_and_another_one_are_refused(changed, tmp_path):
    arrays = {"probe": np.zeros((2, 2048)), "bias": np.zeros(32)}
    seals = {"source_sha256": "one", "arrays_sha256": checksum(arrays)}
    other = {"bias": np.ones(32), "source_sha256": "another"}
    path = tmp_path / "changed.npz"
    np.savez(path, **arrays | seals | {changed: other[changed]})
    with pytest.raises(
        ValueError, match=r"changed.npz is damaged, or was converted from another file"
    ):
        load(path, "one")


def test_a_device_that_computes_otherwise_is_found_out(converted, monkeypatch):
    _, digest, target = converted
    monkeypatch.setattr(inception_weights, "probe", lambda params: np.zeros((2, 2048)))
    with pytest.raises(ValueError, match="differ by 1e\\+00 of the largest"):
        load(target, digest)


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth"])
def test_a_download_is_no_converted_file(name):
    with pytest.raises(ValueError, match="does not hold converted Inception weights"):
        load(GOLDEN / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none.npz cannot be read: No such file"):
        load(tmp_path / "none.npz")


def test_another_download_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"zip.pth is not pt_inception.*not with 6726825d"):
        convert(GOLDEN / "zip.pth", tmp_path / "out.npz")
    with pytest.raises(SystemExit, match=r"zip.pth is not pt_inception"):
        main([str(GOLDEN / "zip.pth"), str(tmp_path / "out.npz")])
    assert not list(tmp_path.iterdir())


def test_a_download_without_the_network_is_refused(tmp_path):
    digest = hashlib.sha256((GOLDEN / "zip.pth").read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=r"zip.pth cannot be converted: Conv2d_1a.* is missing"):
        convert(GOLDEN / "zip.pth", tmp_path / "out.npz", digest)


def test_a_kernel_of_another_shape_is_refused(state):
    name = "Mixed_6b.branch7x7_2.conv.weight"
    turned = state | {name: state[name].transpose(0, 1, 3, 2)}
    with pytest.raises(ValueError, match=r"Mixed_6b.branch7x7_2.conv.weight is \[128, 128, 7, 1\]"):
        fold(turned)


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth"])
def test_files_of_torch_are_read_without_it(name):
    found = read_tensors((GOLDEN / name).read_bytes())
    assert list(found) == list(TENSORS)
    for key, value in TENSORS.items():
        np.testing.assert_array_equal(found[key], value, strict=True)


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth"])
def test_half_a_file_of_torch_is_refused(name):
    data = (GOLDEN / name).read_bytes()
    with pytest.raises(ValueError, match="not a PyTorch file"):
        read_tensors(data[: len(data) - 60])


@pytest.mark.parametrize(
    ("data", "offset", "shape", "strides"),
    [(b"", 0, (2,), (1,)), (b"", 0, (), ()), (bytes(8), 1, (2,), (1,)), (bytes(8), 1, (2,), (-1,))],
)
def test_a_tensor_beyond_its_storage_is_refused(data, offset, shape, strides):
    with pytest.raises(ValueError, match="beyond its storage"):
        as_array(Tensor(("0", "<f4"), offset, shape, strides), {"0": data})


class Attack:
    """A pickle of it makes a folder when it is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_with_code_is_refused_and_runs_nothing(form, protocol, tmp_path):
    path = tmp_path / "made by the attack"
    data = pickle.dumps({"w": Attack(path)}, protocol)
    if form == "zip":
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", data)
        data = file.getvalue()
    with pytest.raises(ValueError, match=r"it names \w+\.mkdir"):
        read_tensors(data)
    assert not path.exists()
