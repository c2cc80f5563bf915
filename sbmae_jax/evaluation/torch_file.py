"""Read files of PyTorch without PyTorch.

They are pickles, which can run any code. This reader knows the few names that a dictionary of tensors needs,
and refuses all others.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001  # the header of a file from before PyTorch 1.6
DTYPES = {
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
}


class Tensor(NamedTuple):
    """A view of a storage.

    Attributes:
        storage: The key and the dtype of the storage.
        offset: Where the view starts, in elements.
        shape: Its shape.
        strides: Its strides, in elements.
    """

    storage: tuple[str, str]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class TensorUnpickler(pickle.Unpickler):
    """Read dictionaries, numbers and `Tensor`s. Any other name in a pickle raises UnpicklingError."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name in the pickle."""
        # What is returned lives as long as this unpickler, so that a pickle can change nothing else.
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: Tensor(
                storage, offset, shape, strides
            )
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        """Return the key and the dtype of a storage."""
        kind, dtype, key, _, _, *view = pid
        if kind != "storage" or view not in ([], [None]):
            raise pickle.UnpicklingError("it refers to something other than a whole storage")
        return key, dtype


def read_tensors(data: bytes) -> dict[str, np.ndarray]:
    """Read a dictionary of tensors, as `torch.save` wrote it before or after PyTorch 1.6.

    No code in the file is run.

    Args:
        data: The contents of the file.

    Raises:
        ValueError: For any other file.
    """
    try:
        read = _read_zip if data.startswith(b"PK") else _read_legacy
        tensors, storages = read(data)
        return {name: as_array(tensor, storages) for name, tensor in tensors.items()}
    except Exception as error:  # arbitrary bytes can fail in any way
        raise ValueError(f"not a PyTorch file that holds only tensors ({error})") from None


def _read_zip(data: bytes) -> tuple[dict[str, Tensor], dict[str, bytes]]:
    """Return the tensors and storages of a file of PyTorch 1.6 or later."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name.partition("/")[2]: name for name in archive.namelist()}
        if "byteorder" in files and archive.read(files["byteorder"]) != b"little":
            raise ValueError("big-endian files are not supported")
        tensors = TensorUnpickler(io.BytesIO(archive.read(files["data.pkl"]))).load()
        keys = [tensor.storage[0] for tensor in tensors.values()]
        return tensors, {key: archive.read(files[f"data/{key}"]) for key in keys}


def _read_legacy(data: bytes) -> tuple[dict[str, Tensor], dict[str, bytes]]:
    """Return the tensors and storages of a file of PyTorch before 1.6: five pickles, then the storages."""
    file = io.BytesIO(data)
    magic, version, system, tensors, keys = (TensorUnpickler(file).load() for _ in range(5))
    if (magic, version, system["little_endian"]) != (MAGIC, VERSION, True):
        raise ValueError("unrecognised file header")
    itemsizes = {
        key: np.dtype(dtype).itemsize for key, dtype in (t.storage for t in tensors.values())
    }
    storages = {}
    for key in keys:
        length = int.from_bytes(file.read(8), "little")
        storages[key] = file.read(length * itemsizes[key])
    return tensors, storages


def as_array(tensor: Tensor, storages: Mapping[str, bytes]) -> np.ndarray:
    """Return a tensor as an array, or raise ValueError if it reaches beyond its storage."""
    key, dtype = tensor.storage
    values = np.frombuffer(storages[key], dtype)
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((length - 1) * stride for length, stride in steps)
    # NumPy's own check lets anything pass for an empty buffer.
    if min((tensor.offset, *tensor.shape, *tensor.strides)) < 0 or last >= len(values):
        raise ValueError("a tensor reaches beyond its storage")
    strides = [stride * values.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(
        values[tensor.offset :], tensor.shape, strides, writeable=False
    )
