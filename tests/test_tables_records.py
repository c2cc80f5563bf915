"""Data sets of TFDS are opened as they lie there; what is wrong with them is named."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath
from opening import one_sentence, rows_of
from PIL import Image

from sbmae_jax.data.user.tables import open_table

RNG = np.random.default_rng(0)
N = 12
VALUES = RNG.normal(size=(N, 3)).astype(np.float32)


def write_tfds(path, splits, features, rows):
    """Write a data set in TFDS's format: rows of all splits, in order."""
    features = tfds.features.FeaturesDict(features)
    infos, start = [], 0
    for split, num in splits.items():
        template = tfds.core.ShardedFileTemplate(
            data_dir=epath.Path(path),
            dataset_name="own",
            split=split,
            filetype_suffix="array_record",
        )
        writer = ArrayRecordWriter(str(template.sharded_filepaths(num_shards=1)[0]), "group_size:1")
        for row in rows[start : start + num]:
            writer.write(features.serialize_example(features.encode_example(row)))
        writer.close()
        start += num
        infos.append(
            tfds.core.SplitInfo(
                name=split, shard_lengths=[num], num_bytes=0, filename_template=template
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=path, features=features, split_infos=infos, check_data=False
    )


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
    {
        "photo": png(PHOTOS[i]),
        "values": VALUES[i],
        "town": f"t{i % 2}",
        "label": i % 2,
    }
    for i in range(N)
]


def test_a_data_set_of_tfds_is_read_with_its_splits(tmp_path):
    write_tfds(tmp_path, {"train": 7, "validation": 2, "test": 3}, FEATURES, ROWS)
    table = open_table(tmp_path)
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
    write_tfds(
        tmp_path,
        {"train": N},
        {"values": FEATURES["values"]},
        [{"values": r["values"]} for r in ROWS],
    )
    table = open_table(tmp_path)
    assert table.split is None
    np.testing.assert_array_equal(rows_of(table, [5])["values"][0], VALUES[5])


def test_what_is_wrong_with_a_data_set_of_tfds_is_named(tmp_path):
    (tmp_path / "dataset_info.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read as a TFDS data set") as error:
        open_table(tmp_path)
    one_sentence(error)
    free = {"photo": tfds.features.Image(shape=(None, None, 3))}
    write_tfds(
        tmp_path, {"train": 2}, free | {"values": FEATURES["values"]},
        [{"photo": png(PHOTOS[i]), "values": ROWS[i]["values"]} for i in range(2)],
    )  # fmt: skip
    table = open_table(tmp_path)
    assert table.names == ("values",)
    np.testing.assert_array_equal(rows_of(table, [1])["values"][0], ROWS[1]["values"])
    assert table.only(["values"]).names == ("values",)
    with pytest.raises(
        ValueError, match=r"photo is a TFDS feature Image of shape \(None, None, 3\)"
    ):
        table.only(table.all_names)
