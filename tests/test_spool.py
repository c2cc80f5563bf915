"""Data in memory, of any form, as files: values, dtypes, names and holes are those that were given."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sbmae_jax.data.user.spool import write_folder
from sbmae_jax.data.user.tables import open_table

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
LAB = np.array([[1.0, 2.0], [np.nan, np.nan], [5.0, 6.0]])


def spooled(data, folder, **options):
    """Write data to a folder, and return what a training would read of it: (table, values, masks)."""
    folder.mkdir(exist_ok=True)
    write_folder(data, folder, **options)
    table = open_table(folder)
    return table, table.read(np.arange(table.num_rows), table.names), table.present


def rows(values=LAB):
    return [{"lab": v, "town": t} for v, t in zip(values, ("Bonn", None, "Oslo"), strict=True)]


class Loader:
    """Batches that can be iterated, as a data loader gives them."""

    def __iter__(self):
        for start in (0, 2):
            some = rows()[start : start + 2]
            yield {name: [row[name] for row in some] for name in some[0]}


FORMS = {
    "dict of lists": lambda: {"lab": LAB.tolist(), "town": ["Bonn", None, "Oslo"]},
    "object array": lambda: {"lab": LAB, "town": np.array(["Bonn", None, "Oslo"], object)},
    "masked": lambda: {
        "lab": np.ma.masked_invalid(LAB),
        "town": np.ma.MaskedArray(["Bonn", "?", "Oslo"], [False, True, False]),
    },
    "pandas": lambda: pd.DataFrame(
        {"x": LAB[:, 0], "town": ["Bonn", None, "Oslo"], "y": LAB[:, 1]}, index=[7, 7, 8]
    ),
    "pandas category": lambda: pd.DataFrame(
        {"x": LAB[:, 0], "y": LAB[:, 1], "town": pd.Categorical(["Bonn", None, "Oslo"])}
    ),
    "polars": lambda: pl.DataFrame(
        {"x": [1.0, None, 5.0], "y": [2.0, None, 6.0], "town": ["Bonn", None, "Oslo"]}
    ),
    "rows": rows,
    "batches": Loader,
    "generator": lambda: iter(Loader()),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_values(form, tmp_path):
    data = FORMS[form]()
    groups = {"groups": {"lab": ["x", "y"]}} if hasattr(data, "columns") else {}
    table, values, present = spooled(data, tmp_path, **groups)
    assert table.names == ("lab", "town")
    np.testing.assert_array_equal(values["lab"], LAB)
    assert values["lab"].dtype == np.float64
    assert values["town"][[0, 2]].tolist() == ["Bonn", "Oslo"]
    assert present["town"].tolist() == [True, False, True]
    assert table.entries == ({"lab": ("x", "y")} if groups else {})


@pytest.mark.parametrize("dtype", ["Int64", "boolean", "UInt8", "Float32"])
def test_columns_of_pandas_with_holes_keep_their_dtype(dtype, tmp_path):
    frame = pd.DataFrame({"x": pd.array([1, None, 0], dtype=dtype)})
    _, values, present = spooled(frame, tmp_path)
    assert values["x"].dtype == np.dtype({"boolean": "bool"}.get(dtype, dtype.lower()))
    kept = present.get("x", ~np.isnan(values["x"].astype(float)))
    assert kept.tolist() == [True, False, True]
    assert values["x"][kept].tolist() == [1, 0]


def test_columns_of_polars_may_hold_arrays(tmp_path):
    column = pl.Series([[1, 2], None, [5, 6]], dtype=pl.Array(pl.Int16, 2))
    _, values, present = spooled(pl.DataFrame({"x": column}), tmp_path)
    assert values["x"].dtype == np.int16
    assert values["x"][present["x"]].tolist() == [[1, 2], [5, 6]]


def test_a_data_set_of_hugging_face_keeps_its_splits_classes_and_holes(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({
        "v": datasets.Sequence(datasets.Value("float32"), length=2), "n": datasets.Value("int16"),
        "c": datasets.ClassLabel(names=["no", "yes"]), "w": datasets.Value("string"),
    })  # fmt: skip
    part = datasets.Dataset.from_dict(
        {"v": [[1, 2], [3, 4]], "n": [1, 2], "c": [1, 0], "w": ["a", None]}, features=features
    )
    parts = datasets.DatasetDict({"train": part, "validation": part, "test": part})
    table, values, present = spooled(parts, tmp_path)
    assert table.split is not None
    assert table.split.tolist() == ["train", "train", "valid", "valid", "test", "test"]
    assert values["c"].tolist() == ["yes", "no"] * 3
    assert values["n"].dtype == np.int16
    assert values["v"].dtype == np.float32
    assert present["w"].tolist() == [True, False] * 3


def test_arrays_of_other_libraries(tmp_path):
    images = [np.full((4, 4), 7, np.uint8), None, np.zeros((4, 4), np.uint8)]
    data = {"j": jnp.ones((3, 2), jnp.bfloat16), "images": images}
    _, values, present = spooled(data, tmp_path)
    assert values["j"].dtype == np.float32
    assert values["images"].dtype == np.uint8
    assert values["images"][0, 0, 0] == 7
    assert present["images"].tolist() == [True, False, True]


def test_masks_of_integers_in_part_become_nan(tmp_path):
    data = {"n": np.ma.MaskedArray([[1, 2], [3, 4]], [[False, True], [False, False]])}
    np.testing.assert_array_equal(spooled(data, tmp_path)[1]["n"], [[1, np.nan], [3, 4]])


def test_batches_that_begin_with_holes_learn_their_dtype_later(tmp_path):
    batches = [{"x": [None, None]}, {"x": [3, 4]}, {"x": [None]}, {"x": [5, None]}]
    _, values, present = spooled(iter(batches), tmp_path)
    assert values["x"].dtype == np.int64
    assert values["x"][present["x"]].tolist() == [3, 4, 5]
    assert present["x"].tolist() == [False, False, True, True, False, True, False]


numbers = st.sampled_from(["uint8", "int16", "int64", "float32", "float64", "bool"])


@given(
    arrays.arrays(
        numbers, arrays.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=5),
        elements={"allow_nan": False},
    ),
    st.integers(1, 4),
)  # fmt: skip
def test_values_in_batches_of_any_size_come_back_bit_for_bit(tmp_path_factory, x, size):
    batches = ({"x": x[i : i + size]} for i in range(0, len(x), size))
    _, values, _ = spooled(batches, tmp_path_factory.mktemp("spool"))
    assert values["x"].dtype == x.dtype
    assert values["x"].tobytes() == x.tobytes()


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ({"x": [1, "a"]}, {}, "x has values of no common type, such as 'a' in row 1"),
        ({"x": ["a", 1]}, {}, "x has values of no common type"),
        ({"x": [{"a": 1}]}, {}, "x"),
        ({"x": "words"}, {}, "x must be an array of rows"),
        ({"x": 5}, {}, "x must be an array of rows"),
        ({"x": np.float64(5)}, {}, "x is a single value"),
        ({"x": []}, {}, "data have no rows"),
        ({"a/b": [1]}, {}, "'a/b'"),
        ({"present": [1]}, {}, "present.* is a reserved name"),
        ({"x": np.array([1j])}, {}, "x: values must be numbers or strings"),
        ({"x": [1, None], "x_present": [True, False]}, {}, "leave x_present out"),
        ([1, 2], {}, "each row must be {name: value}, got 1"),
        ([{"x": 1}, {"y": 1}], {}, "a row has y, the first has x"),
        ([{"x": 1}, {"x": [1, 2]}], {}, "x is ragged: row 1"),
        (iter([{"x": [1]}, {"x": [1.5]}]), {}, "x is float64 in batch 1, and was int64 before"),
        (iter([{"x": [[1]]}, {"x": [[1, 2]]}]), {}, r"rows of shape \(2,\) in batch 1"),
        (iter([3]), {}, "batch 0 must be {name: array}, got 3"),
        (None, {}, "data must be .* got None"),
        ("file.npz", {}, "data must be"),
        (pd.DataFrame(), {}, "the data frame has no columns"),
        (pd.DataFrame({"t": pd.to_timedelta(["2 days"])}), {}, "t: values must be numbers or strings"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), {}, "two columns 'a'"),
        (pd.DataFrame({"a": [1]}), {"groups": {"v": ["b"]}}, "v names the column 'b'"),
        (pd.DataFrame({"a": [1]}), {"groups": {"v": []}}, "v names no column"),
        (pd.DataFrame({"a": [1]}), {"groups": {"v": ["a"], "w": ["a"]}}, "a is in v and in w"),
        (pd.DataFrame({"a": [1], "v": [2]}), {"groups": {"v": ["a"]}}, "v is also a column"),
        (pd.DataFrame({"a": ["x"]}), {"groups": {"v": ["a"]}}, "a in v has no numbers"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_one_sentence(data, options, message, tmp_path):
    with pytest.raises(ValueError, match=message) as refused:
        write_folder(data, tmp_path, **options)
    assert "\n" not in str(refused.value)
