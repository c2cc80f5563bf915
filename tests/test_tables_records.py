"""Data sets of TFDS are opened as they lie there; what is wrong with them is named."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from opening import one_sentence, rows_of, write_tfds
from PIL import Image

from sbmae_jax.data.user.profile import profile
from sbmae_jax.data.user.tables import open_table

RNG = np.random.default_rng(0)
N = 12
VALUES = RNG.normal(size=(N, 3)).astype(np.float32)


FEATURES = {
    "photo": tfds.features.Image(shape=(4, 5, 3)),
    "values": tfds.features.Tensor(shape=(3,), dtype=np.float32),
    "town": tfds.features.Text(),
    "label": tfds.features.ClassLabel(names=["cat", "dog"]),
}
PHOTOS = RNG.integers(0, 256, (N, 4, 5, 3), np.uint8)


def png(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return io.BytesIO(file.getvalue())


ROWS = [
    {"photo": png(PHOTOS[i]), "values": VALUES[i], "town": f"t{i % 2}", "label": i % 2}
    for i in range(N)
]


def test_a_data_set_of_tfds_is_read_with_its_splits(tmp_path):
    write_tfds(tmp_path / "data", {"train": [7], "validation": [2], "test": [3]}, FEATURES, ROWS)
    table = open_table(tmp_path / "data")
    assert table.num_rows == N
    assert table.shapes == {"photo": (4, 5, 3), "values": (3,), "town": ()}
    assert table.split is not None
    assert sorted(table.split.tolist()) == sorted(["train"] * 7 + ["valid"] * 2 + ["test"] * 3)
    order = [
        int(np.flatnonzero((p == PHOTOS).all((1, 2, 3)))[0])
        for p in rows_of(table, range(N))["photo"]
    ]
    words = {"train": range(7), "valid": range(7, 9), "test": range(9, N)}
    assert all(order[row] in words[split] for row, split in enumerate(table.split))
    read = rows_of(table, [10, 2])
    np.testing.assert_array_equal(read["values"], VALUES[[order[10], order[2]]])
    assert read["town"].tolist() == [f"t{order[10] % 2}", f"t{order[2] % 2}"]
    assert table.label is not None
    assert table.label.tolist() == [["cat", "dog"][i % 2] for i in order]


def test_a_data_set_of_tfds_without_a_test_split_is_one(tmp_path):
    rows = [{"values": row["values"]} for row in ROWS]
    write_tfds(tmp_path / "data", {"train": [N]}, {"values": FEATURES["values"]}, rows)
    table = open_table(tmp_path / "data")
    assert table.split is None
    np.testing.assert_array_equal(rows_of(table, [5])["values"][0], VALUES[5])


def test_what_is_wrong_with_a_data_set_of_tfds_is_named(tmp_path):
    (tmp_path / "dataset_info.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read as a TFDS data set") as error:
        open_table(tmp_path)
    one_sentence(error)
    free = {"photo": tfds.features.Image(shape=(None, None, 3))}
    rows = [{"photo": png(PHOTOS[i]), "values": VALUES[i]} for i in range(2)]
    write_tfds(tmp_path / "data", {"train": [2]}, free | {"values": FEATURES["values"]}, rows)
    table = open_table(tmp_path / "data")
    assert table.names == ("values",)
    np.testing.assert_array_equal(rows_of(table, [1])["values"][0], ROWS[1]["values"])
    assert table.only(["values"]).names == ("values",)
    with pytest.raises(
        ValueError, match=r"photo is a TFDS feature Image of shape \(None, None, 3\)"
    ):
        table.only(table.all_names)


@pytest.mark.parametrize("order", [[-1, 0, 1], [0, 1, 2]])
def test_classes_without_names_may_be_missing(tmp_path, order):
    features = {"digit": tfds.features.ClassLabel(num_classes=3), "photo": FEATURES["photo"]}
    rows = [{"photo": png(PHOTOS[i]), "digit": order[i % 3]} for i in range(N)]
    write_tfds(tmp_path / "data", {"train": [N - 4], "test": [4]}, features, rows)
    table = open_table(tmp_path / "data")
    digits = rows_of(table, range(N))["digit"]
    found = profile(table)["digit"]
    assert digits.dtype == np.int64
    np.testing.assert_array_equal(found.present, digits >= 0)
    assert found.values.tolist() == sorted(d for d in order if d >= 0)
