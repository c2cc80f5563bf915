"""Arrays in files are opened as they lie there; what is wrong with them is said in one sentence."""

import zipfile

import numpy as np
import pytest
from opening import one_sentence, rows_of

from sbmae_jax.data.user.raw import row_numbers
from sbmae_jax.data.user.tables import open_table

RNG = np.random.default_rng(0)
N = 12
A, B = RNG.normal(size=(N, 3)), RNG.integers(0, 256, (N, 4, 5), np.uint8)


@pytest.mark.parametrize("form", ["npz", "compressed", "folder"])
def test_arrays_are_read_at_any_rows(form, tmp_path):
    arrays = {"a": A, "b": np.asfortranarray(B), "words": np.array(["x", "long"] * 6)}
    path = tmp_path / "data.npz"
    if form == "folder":
        path = tmp_path
        for name, array in arrays.items():
            np.save(path / f"{name}.npy", array)
    else:
        (np.savez if form == "npz" else np.savez_compressed)(path, **arrays)
    table = open_table(path)
    assert table.names == ("a", "b", "words")
    assert table.shapes == {"a": (3,), "b": (4, 5), "words": ()}
    assert table.num_rows == N
    for rows in ([3], [7, 1, 4], range(2, 9), range(N)):
        for name, raw in rows_of(table, list(rows)).items():
            np.testing.assert_array_equal(raw, arrays[name][list(rows)])


def test_what_is_not_read_of_a_folder_is_reported(tmp_path):
    np.save(tmp_path / "a.npy", A)
    (tmp_path / "photos").mkdir()
    (tmp_path / ".hidden").mkdir()
    (notice,) = open_table(tmp_path).notices
    assert notice == f"{tmp_path}: only .npy files are read, not photos"


def test_bytes_are_read_as_strings(tmp_path):
    words = np.array(["zoé", "b"] * 6)
    np.savez(
        tmp_path / "d.npz", a=np.char.encode(words, "utf-8"), label=np.array([b"x", b"yy"] * 6)
    )
    table = open_table(tmp_path / "d.npz")
    assert rows_of(table, [0, 1])["a"].tolist() == ["zoé", "b"]
    assert table.label is not None
    assert table.label.tolist() == ["x", "yy"] * 6
    np.savez(tmp_path / "e.npz", a=np.array([b"\xff\xfe"] * 6))
    with pytest.raises(ValueError, match="a: the bytes are not UTF-8"):
        open_table(tmp_path / "e.npz")


@pytest.mark.parametrize("rows", [3, -2, slice(2, 9, 3), [4, 0, -1], np.arange(N) % 3 == 1, []])
def test_an_index_picks_the_rows_that_it_picks_of_an_array(rows):
    picked = np.arange(N)[np.asarray(rows, int) if isinstance(rows, list) else rows]
    np.testing.assert_array_equal(row_numbers(rows, N), picked)
    for beyond in (N, [0, -N - 1]):
        with pytest.raises(IndexError):
            row_numbers(beyond, N)


def test_one_npy_file_is_one_modality(tmp_path):
    np.save(tmp_path / "spectra.npy", A)
    assert open_table(tmp_path / "spectra.npy").names == ("spectra",)


@pytest.mark.parametrize("form", ["npz", "folder"])
def test_arrays_are_mapped_not_read(form, tmp_path):
    rows, width = 2**20, 2**10  # 4 GiB, of which the disk keeps nothing
    if form == "folder":
        path = tmp_path
        big = np.lib.format.open_memmap(path / "big.npy", "w+", np.float32, (rows, width))
    else:
        # A member of an archive that is as large as the file: here of zeros, 64 MiB.
        path, rows = tmp_path / "data.npz", 2**14
        np.savez(path, big=np.zeros((rows, width), np.float32))
        big = None
    if big is not None:
        big[rows - 1] = 7
        big.flush()
    table = open_table(path)
    assert table.num_rows == rows
    batch = table.read(np.array([rows - 1, 0]), ["big"])["big"]
    assert batch.shape == (2, width)
    assert batch[1].max() == 0
    assert batch[0].max() == (7 if form == "folder" else 0)
    whole = table.read(np.arange(rows), ["big"])["big"]  # a view of the file, no copy
    assert not whole.flags.owndata
    assert not whole.flags.writeable


def test_what_describes_the_rows_is_no_modality(tmp_path):
    np.savez(
        tmp_path / "d.npz", a=A, label=np.arange(N) % 3, split=["train"] * 9 + ["validation", "val", "test"],
        a_present=np.arange(N) > 2,
    )  # fmt: skip
    table = open_table(tmp_path / "d.npz")
    assert table.names == ("a",)
    assert table.label is not None
    assert table.label.tolist() == list(np.arange(N) % 3)
    assert table.split is not None
    assert table.split.tolist() == ["train"] * 9 + ["valid", "valid", "test"]
    assert table.present["a"].tolist() == list(np.arange(N) > 2)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": A, "b": B[:-1]}, "a has 12 rows and b has 11: all arrays must have the same rows"),
        ({"a": A, "b": np.array(3.0)}, "b in .* is a scalar: the first axis must be rows"),
        ({"label": np.arange(N)}, "holds no modality, only label"),
        ({"a": A.astype(complex)}, "a: values must be numbers or strings, got complex128"),
        ({"a": A[:, :0]}, r"a: examples are empty, with shape \(0,\)"),
        ({"a": A, "c_present": np.ones(N, bool)}, "marks the rows that have c, but there is no array c"),
        ({"a": A, "a_present": np.ones(N)[:, None]}, r"a_present must be \[12\] bool"),
        ({"a": A, "a_present": np.full(N, 2)}, r"a_present must be \[12\] bool"),
        ({"a": A, "a_present": np.array(["yes"] * N)}, r"a_present must be \[12\] bool"),
        ({"a": A, "a_present": np.ones(N - 1, bool)}, "a has 12 rows and a_present has 11"),
        ({"a": A, "label": A}, r"label must be \[12\], one class for each row"),
        ({"a": A, "label": np.arange(N) - 1}, "label is not a non-negative integer in 1 of 12 rows"),
        ({"a": A, "label": np.full(N, 0.5)}, "label is not a non-negative integer in 12 of 12"),
        ({"a": A, "label": np.full(N, np.nan)}, "label is not a non-negative integer in 12 of 12"),
        ({"a": A, "label": np.array([""] * N)}, "label is missing in 12 of 12 rows"),
        ({"a": A, "label": np.array(["a"] * 11 + ["NA"])}, "label is missing in 1 of 12 rows, the first in"),
        ({"a": A, "split": np.array(["train"] * 11 + ["dev"])}, "split is 'dev' in row 11"),
        ({"a": A, "split": np.arange(N)}, r"split must be \[12\] strings of train, valid, test"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_named(arrays, message, tmp_path):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(ValueError, match=message) as error:
        open_table(tmp_path / "d.npz")
    one_sentence(error)


def test_whole_labels_in_floats_are_labels(tmp_path):
    np.savez(tmp_path / "d.npz", a=A, label=np.arange(N, dtype=np.float64))
    label = open_table(tmp_path / "d.npz").label
    assert label is not None
    assert label.dtype == np.int64


def test_object_arrays_are_refused(tmp_path):
    ragged = np.array([np.zeros(i) for i in range(N)], dtype=object)
    np.savez(tmp_path / "d.npz", a=ragged, allow_pickle=True)
    with pytest.raises(
        ValueError, match=r"a.npy is an object array, .*: save numbers as floats with NaN"
    ):
        open_table(tmp_path / "d.npz")
    np.save(tmp_path / "a.npy", ragged, allow_pickle=True)
    with pytest.raises(
        ValueError, match=r"a.npy is an object array, .*: save numbers as floats with NaN"
    ):
        open_table(tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")  # of zipfile, which writes it all the same
def test_two_arrays_of_one_name_are_refused(tmp_path):
    np.savez(tmp_path / "d.npz", a=A)
    with zipfile.ZipFile(tmp_path / "d.npz", "a") as archive, archive.open("a.npy", "w") as file:
        np.save(file, A)
    with pytest.raises(ValueError, match=r"d.npz has two arrays 'a'"):
        open_table(tmp_path / "d.npz")


@pytest.mark.parametrize("name", ["d.npz", "c.npz", "a.npy"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_files_that_are_cut_short_are_named(name, part, tmp_path):
    file = tmp_path / name
    save = {"d.npz": np.savez, "c.npz": np.savez_compressed}.get(name)
    save(file, a=B) if save else np.save(file, B)
    file.write_bytes(file.read_bytes()[: int(part * file.stat().st_size)])
    with pytest.raises(
        ValueError, match=f"{name}.* cannot be read .*: it is damaged or truncated"
    ) as error:
        open_table(file)
    one_sentence(error)


def test_damaged_compressed_arrays_are_named(tmp_path):
    file = tmp_path / "d.npz"
    np.savez_compressed(file, a=RNG.integers(0, 256, 4000))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="it is damaged or truncated"):
        open_table(file)


def test_paths_that_hold_no_data_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"nothing.npz does not exist: name a file or a folder"):
        open_table(tmp_path / "nothing.npz")
    with pytest.raises(ValueError, match="holds no known data"):
        open_table(tmp_path)
    (tmp_path / "1.0.0").mkdir()
    (tmp_path / "1.0.0" / "dataset_info.json").write_text("{}")
    with pytest.raises(
        ValueError, match=r"holds the versions of a TFDS data set: name one, such as .*1.0.0"
    ):
        open_table(tmp_path)
    (tmp_path / "table.xls").write_text("")
    with pytest.raises(ValueError, match=r"table.xls is not an .npz file"):
        open_table(tmp_path / "table.xls")
