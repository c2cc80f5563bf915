"""The weights of the Inception network of FID, converted from the file that the user downloads.

    python -m sbmae_jax.evaluation.inception pt_inception-2015-12-05-6726825d.pth inception.npz

The file (91 MB) holds the network of Heusel et al. 2017 (arXiv:1706.08500) as ported by pytorch-fid. It is
recognised by its SHA-256, and read without PyTorch and without running code in it. The batch normalisations
are folded into the kernels. The arrays are stored with the features of two fixed images, so that a device
that computes other features is found out.
"""

import argparse
import functools
import hashlib
import io
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax._io import as_path, checksum, require_writable, write_atomically, write_npz
from sbmae_jax.evaluation.torch_file import read_tensors
from sbmae_jax.nets.inception import SIZE, InceptionFeatures
from sbmae_jax.types import Array

SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
NAME = "pt_inception-2015-12-05-6726825d.pth"
EPSILON = 1e-3  # of the batch normalisations
TOLERANCE = 1e-3  # of the check of features, relative to the largest; in float32 they vary by 1e-6
COMMAND = "python -m sbmae_jax.evaluation.inception"

Params = Any
"""The parameters of `InceptionFeatures`."""

NETWORK: Any = InceptionFeatures()


def kernel_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape [height, width, in, out] of each kernel, by the name of its layer in the port."""
    leaves = jax.tree_util.tree_leaves_with_path(params_like())
    return {_layer_of(path): leaf.shape for path, leaf in leaves if path[-1].key == "kernel"}


@functools.cache
def params_like() -> Params:
    """Return the shapes and types of the parameters."""
    image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    return jax.eval_shape(NETWORK.init, jax.random.key(0), image)


def _name_of(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path[1:], simple=True, separator=".")


def _layer_of(path: tuple[Any, ...]) -> str:
    return _name_of(path[:-1])


def fold(state: Mapping[str, np.ndarray]) -> Params:
    """Turn the tensors of the port into parameters, with batch normalisations folded into the kernels.

    The layer gamma (w x - mean) / sqrt(var + 1e-3) + beta becomes w' x + b'.

    Args:
        state: `{name: tensor}`, as pytorch-fid names them. Those that the features do not need are ignored.

    Raises:
        ValueError: If a tensor that the features need is missing or has another shape.
    """

    def take(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name not in state or state[name].shape != shape:
            found = f"is {list(state[name].shape)}" if name in state else "is missing"
            raise ValueError(f"{name} {found}, but the Inception network of FID has {list(shape)}")
        return state[name].astype(np.float64)

    folded = {}
    for layer, (height, width, size, outputs) in kernel_shapes().items():
        kernel = take(f"{layer}.conv.weight", (outputs, size, height, width))
        gamma, beta, mean, var = (
            take(f"{layer}.bn.{name}", (outputs,))
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(var + EPSILON)
        folded[layer] = {
            "kernel": kernel.transpose(2, 3, 1, 0) * scale,
            "bias": beta - mean * scale,
        }
    return jax.tree_util.tree_map_with_path(
        lambda path, _: folded[_layer_of(path)][path[-1].key].astype(np.float32), params_like()
    )


def convert(source: Path, target: Path, sha256: str = SHA256) -> None:
    """Convert the downloaded file into an .npz file for `load`.

    Args:
        source: The downloaded file.
        target: The .npz file to write.
        sha256: The checksum of the downloaded file; only tests use another.

    Raises:
        ValueError: If it is another file, or lacks something.
    """
    data = _read_bytes(source)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{source} is not {NAME}: download it again (its SHA-256 begins with {found[:8]}, not "
            f"with {sha256[:8]})"
        )
    try:
        params = fold(read_tensors(data))
    except ValueError as error:
        raise ValueError(f"{source} cannot be converted: {error}") from None
    arrays = _as_dict(params) | {"probe": np.asarray(probe(params))}
    seals = {"source_sha256": np.array(found), "arrays_sha256": np.array(checksum(arrays))}
    write_atomically(target, lambda file: write_npz(file, arrays | seals))


def load(path: Path, sha256: str = SHA256) -> Params:
    """Load the parameters that `convert` wrote, and check the features that this device computes with them.

    Args:
        path: The .npz file.
        sha256: The checksum of the file that it was converted from; only tests use another.

    Raises:
        ValueError: If the file is another one or was changed, or if the features of two fixed images are not
            those that were found during the conversion.
    """
    again = f"convert {NAME} again with `{COMMAND}`"
    data = _read_bytes(path)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = dict(file)
        source, seal = (str(arrays.pop(name)) for name in ("source_sha256", "arrays_sha256"))
        expected = arrays["probe"]
    except (KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile):
        raise ValueError(f"{path} does not hold converted Inception weights: {again}") from None
    if (source, seal) != (sha256, checksum(arrays)):
        raise ValueError(f"{path} is damaged, or was converted from another file: {again}")
    params = jax.tree_util.tree_map_with_path(
        lambda where, _: jnp.asarray(arrays[_name_of(where)]), params_like()
    )
    error = np.abs(np.asarray(probe(params)) - expected).max() / np.abs(expected).max()
    if not error < TOLERANCE:
        raise ValueError(
            f"Inception features on this device differ by {error:.0e} of the largest from those stored in "
            f"{path}: evaluate on a CPU (JAX_PLATFORMS=cpu), or if they differ there as well, {again}"
        )
    return params


def features(params: Params, x: Array) -> Array:
    """Compute the pool3 features of images, `[B, 2048]`.

    Args:
        params: The parameters that `load` returns.
        x: Images of any size, `[B, H, W, 3]`, floats in [0, 1] or uint8. Each becomes 299x299 floats: use
            batches of a hundred or so.

    Raises:
        ValueError: For other shapes or types.
    """
    return NETWORK.apply(params, x)


def probe(params: Params) -> Array:
    """Return the features [2, 2048] of two fixed textures, 48x64."""
    image, row, column, channel = np.indices((2, 48, 64, 3))
    x = (row * (row + 3 * column) // 8 + 60 * channel + 5 * column * image) % 256
    return jax.jit(features)(params, x.astype(np.uint8))


def _as_dict(params: Params) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {_name_of(path): np.asarray(leaf) for path, leaf in leaves}


def _read_bytes(path: Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None


def main(arguments: list[str]) -> None:
    """Convert the file that the command line names."""
    parser = argparse.ArgumentParser(
        prog=COMMAND, description="Convert the weights of the FID network."
    )
    parser.add_argument("source", type=as_path, help=f"the downloaded file {NAME}")
    parser.add_argument("target", type=as_path, help="the .npz file to write")
    given = parser.parse_args(arguments)
    try:
        require_writable(given.target)
        convert(given.source, given.target)
    except ValueError as error:
        sys.exit(str(error))
    print(f"wrote {given.target}")


if __name__ == "__main__":
    main(sys.argv[1:])
