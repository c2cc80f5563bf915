import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from opening import write_tfds

from sbmae_jax.data import prepared, records
from sbmae_jax.data.records import open_records
from sbmae_jax.data.source import ArraySource

NUM_ROWS = 23
X = np.random.default_rng(0).integers(0, 256, (NUM_ROWS, 4, 3), dtype=np.uint8)
NAMES = ("x", "label")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Write rows in two files, as TFDS reads them."""
    path = tmp_path_factory.mktemp("records") / "rows"
    features = {
        "x": tfds.features.Tensor(shape=(4, 3), dtype=np.uint8),
        "label": tfds.features.Tensor(shape=(), dtype=np.int32),
    }
    rows = [{"x": X[i], "label": np.int32(i)} for i in range(NUM_ROWS)]
    write_tfds(path, {"train": [10, 13]}, features, rows)
    return path


def test_rows_read_alone_are_those_of_the_whole_arrays_and_of_memory(directory):
    source = open_records(directory, "train", NAMES)
    label = source.arrays["label"]
    assert sorted(label) == list(range(NUM_ROWS))
    np.testing.assert_array_equal(source.arrays["x"], X[label])
    for i in range(NUM_ROWS):
        np.testing.assert_array_equal(source[i]["x"], X[source[i]["label"]])
        assert source[i]["label"] == label[i]
    with pytest.raises(IndexError):
        source[NUM_ROWS]


def test_it_tells_of_its_arrays_what_memory_tells_without_loading_them(directory):
    source = open_records(directory, "train", NAMES)
    memory = ArraySource({"x": X, "label": np.arange(NUM_ROWS, dtype=np.int32)})
    assert source.shapes == memory.shapes == {"x": (4, 3), "label": ()}
    assert source.dtypes == memory.dtypes
    assert [source.nbytes(name) for name in NAMES] == [memory.nbytes(name) for name in NAMES]
    assert len(source) == len(memory)
    assert not source.loaded
    assert list(source.arrays) == list(memory.arrays)


def test_an_array_is_loaded_once_and_shared_with_what_is_selected(directory):
    source = open_records(directory, "train", NAMES)
    chosen = source.select(["x"])
    assert chosen.arrays["x"] is source.arrays["x"] is source.arrays["x"]
    assert list(chosen[0]) == list(chosen.arrays) == ["x"]
    assert "label" not in chosen.arrays
    assert list(ArraySource({"x": X, "y": X}).select(["y"])[0]) == ["y"]
    with pytest.raises(ValueError, match="no array 'label': choose from x"):
        chosen.select(["label"])


def test_several_arrays_are_loaded_in_one_pass_and_each_once(directory, monkeypatch):
    passes = []
    load = records._load
    monkeypatch.setattr(
        records, "_load", lambda source, names: passes.append(names) or load(source, names)
    )
    source, alone = (open_records(directory, "train", NAMES) for _ in range(2))
    source.load(NAMES)
    source.select(["x"]).load(["x"])
    assert set(source.loaded) == set(NAMES)
    assert source.arrays["x"] is source.loaded["x"]
    assert passes == [NAMES]
    for name in NAMES:
        np.testing.assert_array_equal(source.arrays[name], alone.arrays[name])
    assert passes[1:] == [("x",), ("label",)]
    with pytest.raises(ValueError, match="no array 'y'"):
        source.load(["x", "y"])
    memory = ArraySource({"x": X})
    memory.load(["x"])
    assert memory.arrays["x"] is X


def test_fewer_rows_are_a_random_part_that_depends_on_the_seed_alone(directory):
    def labels(num_rows, seed):
        return list(open_records(directory, "train", ["label"], num_rows, seed).arrays["label"])

    assert labels(None, 3) == labels(0, 3)
    assert labels(7, 3) == labels(None, 3)[:7]
    assert labels(7, 3) != labels(7, 4)
    assert labels(7, 3) != list(range(7))


@pytest.mark.parametrize(("split", "num_rows"), [("valid", 0), ("train", 24), ("train", -1)])
def test_rows_that_are_not_there_are_refused(directory, split, num_rows):
    with pytest.raises(ValueError, match=f"the split '{split}' of .* has (0|23) rows"):
        open_records(directory, split, NAMES, num_rows)


def test_records_that_are_read_back_otherwise_get_no_name(tmp_path, monkeypatch):
    class Worn:
        def __init__(self, path, options):
            self.writer = ArrayRecordWriter(path, options)

        def write(self, record):
            self.writer.write(record[:-1] + b"?" if record == b"second" else record)

        def close(self):
            self.writer.close()

    prepared.write_records(tmp_path / "fine", [b"first", b"second"])
    monkeypatch.setattr(prepared, "ArrayRecordWriter", Worn)
    with pytest.raises(OSError, match="is read back with other content than was written"):
        prepared.write_records(tmp_path / "worn", [b"first", b"second"])
    assert not (tmp_path / "worn").exists()


@pytest.mark.parametrize(
    "name", ["w=[64]", "a[0:3]b", "a*", "q?", "50%", "x@3", "{split}", "a b", "-x"]
)
def test_records_lie_in_a_folder_of_any_name(tmp_path, name):
    (tmp_path / name).mkdir()
    features = {"x": tfds.features.Tensor(shape=(4, 3), dtype=np.uint8)}
    write_tfds(tmp_path / name / "rows", {"train": [2, 3]}, features, [{"x": x} for x in X[:5]])
    source = open_records(tmp_path / name / "rows", "train", ["x"])
    assert {x.tobytes() for x in source.arrays["x"]} == {x.tobytes() for x in X[:5]}
