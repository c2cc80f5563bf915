"""Arrays that arrive in batches, written as `.npy` files."""

from pathlib import Path
from typing import Any

import numpy as np

from sbmae_jax.data.user.columns import Column


class NpyWriter:
    """Writes one array, batch after batch, and which of its rows are present."""

    def __init__(self, name: str, folder: Path):
        self._name, self._path = name, folder / f"{name}.npy"
        self._dtype: np.dtype | None = None  # as long as all rows are missing
        self._shape: tuple[int, ...] = ()
        self._num_rows = 0
        self._present: list[np.ndarray] = []
        self._words: list[np.ndarray] = []  # strings, whose common length is known at the end
        self._file: Any = None

    def add(self, number: int, column: Column) -> None:
        """Append the rows of a batch."""
        values, present = column
        present = np.ones(len(values), bool) if present is None else present
        self._present.append(present)
        self._num_rows += len(values)
        if not present.any() and len(values):
            if self._dtype is not None:
                self._append(np.zeros((len(values), *self._shape), self._dtype))
            return
        if self._dtype is None:
            self._open(values)
        self._require_alike(number, values)
        self._append(values)

    def close(self) -> None:
        """Complete the files."""
        if self._dtype is None:
            self._open(np.full(0, np.nan))
        if self._file is None:
            np.save(self._path, np.concatenate(self._words))
        else:
            self._file.seek(0)
            self._write_header(self._num_rows)
            self._file.close()
        present = np.concatenate([np.zeros(0, bool), *self._present])
        if not present.all():
            np.save(self._path.with_name(f"{self._name}_present.npy"), present)

    def _open(self, values: np.ndarray) -> None:
        """Fix the dtype and the shape of a row, and write the rows that were missing so far."""
        self._dtype, self._shape = values.dtype, values.shape[1:]
        if values.dtype.kind not in "US":
            self._file = self._path.open("wb")
            self._write_header(0)
        num_missing = self._num_rows - len(values)
        self._append(np.zeros((num_missing, *self._shape), self._dtype))

    def _append(self, values: np.ndarray) -> None:
        if self._file is None:
            self._words.append(values)
        else:
            self._file.write(np.ascontiguousarray(values).tobytes())

    def _write_header(self, num_rows: int) -> None:
        """Write NumPy's header, which leaves room for the first axis to grow."""
        assert self._dtype is not None
        descr = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": descr, "fortran_order": False, "shape": (num_rows, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def _require_alike(self, number: int, values: np.ndarray) -> None:
        """Raise ValueError if a batch has another dtype, or rows of another shape, than those before."""
        assert self._dtype is not None
        words = values.dtype.kind in "US" and values.dtype.kind == self._dtype.kind
        if values.dtype != self._dtype and not words:
            raise ValueError(
                f"{self._name} is {values.dtype} in batch {number}, and was {self._dtype} before: give all "
                "batches one dtype"
            )
        if values.shape[1:] != self._shape:
            raise ValueError(
                f"{self._name} has rows of shape {values.shape[1:]} in batch {number}, and of {self._shape} "
                "before: give all rows one shape"
            )
