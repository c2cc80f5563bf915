"""New rows are read by what training knew: names, order, types, classes and units."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opening import one_sentence
from PIL import Image

from sbmae_jax.data.description import describe, load, save
from sbmae_jax.data.user.files import files
from sbmae_jax.data.user.tables import open_table
from sbmae_jax.models.rows import read_rows

N = 60
RNG = np.random.default_rng(0)
COLUMNS = {
    "id": [f"r{i}" for i in range(N)],
    "a": [f"{value:.3f}" for value in RNG.normal(5, 2, N)],
    "b": [str(value) for value in RNG.integers(100, 900, N)],
    "town": [("Bonn", "Oslo", "Rome")[i % 3] for i in range(N)],
    "grade": [("1", "2", "high")[i % 3] for i in range(N)],
}
BITS = ["7", "8"] * (N // 2)


def write(path, columns, delimiter=","):
    path.parent.mkdir(exist_ok=True)
    lines = [columns.keys(), *zip(*columns.values(), strict=True)]
    path.write_text("\n".join(delimiter.join(line) for line in lines) + "\n")
    return path.parent


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What training on a folder with one table knows."""
    path = write(tmp_path_factory.mktemp("train") / "lab.csv", COLUMNS)
    source = files("train", path=path)
    save(path.with_suffix(".json"), describe(source))
    return load(path.with_suffix(".json")), source


def read(path, data, partial_rows="refuse"):
    return read_rows(open_table(path, like=data), data, partial_rows)


def as_trained(source):
    """Return all rows as the networks saw them."""
    return source.opened.prepare(np.arange(N), source.modalities)


@settings(max_examples=40, deadline=None)
@given(
    order=st.permutations(list(COLUMNS)), rows=st.permutations(range(N)),
    stem=st.sampled_from(["lab", "patients"]),
    delimiter=st.sampled_from([",", ";", "\t"]), num=st.integers(1, N),
    dropped=st.sets(st.sampled_from(["town", "grade"])),
)  # fmt: skip
def test_any_order_of_columns_and_rows_and_any_subset_of_modalities_is_what_it_was(
    tmp_path_factory, trained, order, rows, stem, delimiter, num, dropped
):
    data, source = trained
    chosen = list(rows)[:num]
    columns = {name: [COLUMNS[name][i] for i in chosen] for name in order if name not in dropped}
    path = write(tmp_path_factory.mktemp("new") / f"{stem}.csv", columns, delimiter)
    found = read(path, data)
    for name, x in as_trained(source).items():
        m = found.names.index(name)
        assert found.observed[:, m].all() == (name not in dropped)
        if name not in dropped:
            np.testing.assert_array_equal(found.prepared[name], x[chosen])


@pytest.mark.parametrize(
    ("change", "name", "seen"),
    [
        ({"town": [""] * N}, "town", None),  # no column of words, by its cells
        ({"town": ["NA"] * N}, "town", None),
        ({"grade": ["2"] * N}, "grade", [0, 1, 0]),  # of numbers alone
        ({"a": [""] * N, "b": ["NA"] * N}, "lab", None),
    ],
)
def test_types_are_those_of_training_whatever_the_new_cells(tmp_path, trained, change, name, seen):
    found = read(write(tmp_path / "lab.csv", COLUMNS | change), trained[0])
    observed = found.observed[:, found.names.index(name)]
    assert observed.all() == (seen is not None)
    assert seen is None or (found.prepared[name] == seen).all()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({k: v for k, v in COLUMNS.items() if k != "b"}, "lab.csv lacks b, which the training data had"),
        (COLUMNS | {"c": COLUMNS["a"]}, "has a column 'c' that the training data did not have: rename"),
        (COLUMNS | {"Town": COLUMNS["town"]}, "has a column 'Town' that the training data did not have"),
        (COLUMNS | {"a": ["x"] * N}, "column a: 'x' is not a number, and the training data had numbers"),
        (COLUMNS | {"a": ["1_1", *COLUMNS["a"][1:]]}, "column a: '1_1' is not a number"),
        (COLUMNS | {"grade": ["low", *COLUMNS["grade"][1:]]}, "grade: unknown class 'low' in row 0"),
    ],
)  # fmt: skip
def test_columns_that_do_not_fit_are_named(tmp_path, trained, columns, message):
    with pytest.raises(ValueError, match=message) as error:
        _ = read(write(tmp_path / "lab.csv", columns), trained[0]).prepared
    one_sentence(error)


def test_a_column_that_is_empty_in_part_is_a_hole_of_the_vector(tmp_path, trained):
    path = write(tmp_path / "lab.csv", COLUMNS | {"b": ["", *COLUMNS["b"][1:]]})
    with pytest.raises(ValueError, match="lab: NaN in part of 1 of 60 rows"):
        read(path, trained[0])
    assert not read(path, trained[0], "missing").observed[0].all()


def test_columns_without_names_are_taken_in_their_order_and_that_is_said(tmp_path, trained):
    lab = np.array([COLUMNS["a"], COLUMNS["b"]], float).T
    np.savez(tmp_path / "new.npz", lab=lab)
    found = read(tmp_path / "new.npz", trained[0])
    assert found.notices == (
        "lab has no names of columns: they are taken to be a, b, in this order",
    )
    np.testing.assert_array_equal(found.prepared["lab"], as_trained(trained[1])["lab"])


def test_what_was_left_out_of_training_may_be_in_new_files(tmp_path):
    path = write(tmp_path / "lab.csv", COLUMNS)
    data = describe(files("train", path=path, names=["town"]))
    assert data.ignored == ("a", "b", "grade", "id", "lab")
    found = read(path, data)
    assert found.names == ("town",)
    assert found.observed.all()
    rows = {
        "x": RNG.normal(size=(N, 2)),
        "y": RNG.normal(size=N),
        "caption": np.arange(N).astype(str),
    }
    np.savez(tmp_path / "d.npz", **rows)
    data = describe(files("train", path=tmp_path / "d.npz", names=["x"]))
    assert data.ignored == ("caption", "y")
    assert read(tmp_path / "d.npz", data).names == ("x",)


@pytest.mark.parametrize("dtype", ["int32", "int64", "float64", "uint8", "str"])
def test_classes_are_found_in_arrays_of_other_dtypes(tmp_path, dtype):
    codes = np.arange(N) % 3
    np.savez(tmp_path / "train.npz", code=codes, x=RNG.normal(size=N))
    source = files("train", path=tmp_path / "train.npz")
    np.savez(tmp_path / "new.npz", code=codes.astype(dtype), x=np.zeros(N, np.float32))
    found = read(tmp_path / "new.npz", describe(source))
    np.testing.assert_array_equal(found.prepared["code"], np.eye(3)[codes])


def test_images_in_other_units_are_converted_and_that_is_said(tmp_path):
    photos = RNG.integers(0, 256, (N, 6, 6), np.uint8)
    np.savez(tmp_path / "train.npz", photo=photos, x=RNG.normal(size=N))
    source = files("train", path=tmp_path / "train.npz")
    shares = photos / 255
    shares[3] = np.nan
    np.savez(tmp_path / "new.npz", photo=shares)
    found = read(tmp_path / "new.npz", describe(source))
    assert found.notices == ("photo: floats in 0..1 were multiplied by 255",)
    kept = np.arange(N) != 3
    np.testing.assert_array_equal(found.prepared["photo"][kept, ..., 0], photos[kept])
    np.testing.assert_allclose(found.raw["photo"][kept], photos[kept])
    np.savez(tmp_path / "new.npz", photo=np.ones((N, 6, 6)))
    with pytest.raises(ValueError, match="photo: its values are float64 from 1 to 1"):
        read(tmp_path / "new.npz", describe(source))


def test_grey_images_with_alpha_odd_sides_and_turned_cameras_are_read(tmp_path):
    (tmp_path / "photo").mkdir()
    for i in range(N):
        image = Image.new("LA", (7, 5), (i, 200))
        image.save(tmp_path / "photo" / f"r{i}.png")
    turned = Image.new("RGBA", (5, 7), (9, 9, 9, 200))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "photo" / "r9.png", exif=exif)
    write(tmp_path / "lab.csv", COLUMNS)
    source = files("train", path=tmp_path)
    scaling = source.scalings["photo"]
    assert scaling.raw_shape == (5, 7, 4)
    assert scaling.shape == (8, 8, 4)
    found = read(tmp_path, describe(source))
    assert found.raw["photo"][9].tolist() == [[[9, 9, 9, 200]] * 7] * 5
    restored = scaling.restore(found.prepared["photo"])
    np.testing.assert_array_equal(restored, found.raw["photo"])
    assert restored[20, 0, 0].tolist() == [20, 20, 20, 200]


def test_images_are_read_with_the_channels_of_training(tmp_path):
    for name, mode in (("train", "RGB"), ("new", "L")):
        (tmp_path / name / "photo").mkdir(parents=True)
        for i in range(N):
            Image.new(mode, (4, 4), i).save(tmp_path / name / "photo" / f"r{i}.png")
    found = read(tmp_path / "new", describe(files("train", path=tmp_path / "train")))
    assert found.prepared["photo"].shape == (N, 4, 4, 3)


def test_words_of_bits_and_labels_that_are_not_needed_do_not_matter(tmp_path):
    bits, label = np.arange(N) % 2 == 0, np.arange(N) % 3
    np.savez(tmp_path / "train.npz", bit=bits, label=label)
    data = describe(files("train", path=tmp_path / "train.npz"))
    write(tmp_path / "new" / "t.csv", {"bit": [str(bit) for bit in bits], "label": [""] * N})
    np.testing.assert_array_equal(read(tmp_path / "new", data).prepared["bit"][:, 0], bits)
    np.savez(tmp_path / "new.npz", bit=bits, label=np.full(N, -1), split=["new"] * N)
    assert read(tmp_path / "new.npz", data).observed.all()


def test_the_key_is_the_column_that_names_the_images(tmp_path):
    (tmp_path / "photo").mkdir()
    for i in range(N):
        Image.new("L", (4, 4), i).save(tmp_path / "photo" / f"r{i}.png")
    columns = {"a": COLUMNS["a"], "patient": COLUMNS["id"], "town": COLUMNS["town"]}
    write(tmp_path / "lab.csv", columns)
    source = files("train", path=tmp_path)
    assert source.modalities == ("lab", "photo", "town")
    assert source.ignored == ("patient",)
    np.testing.assert_allclose(
        source.opened.table.read(np.arange(N), ["photo"])["photo"][:, 0, 0], range(N)
    )


@pytest.mark.parametrize(
    ("trained", "delimiter", "cells", "numbers", "notice"),
    [
        ("1234.5", ",", ["1.234", "950"], [1234, 950], "'1.234' is read as 1234"),
        ("1234.5", ",", ["1.234", "1.950"], [1234, 1950], "'1.234' is read as 1234"),
        ("1234.5", ";", ["1,234", "950"], [1234, 950], "'1,234' is read as 1234"),
        ("1234.5", ",", ['"1,234"', "950"], [1234, 950], "'1,234' is read as 1234"),
        ("1.5", ";", ["1,5", "2"], [1.5, 2], "'1,5' is read as 1.5"),
        ("1.5", ";", ["1,234", "2"], [1.234, 2], "'1,234' is read as 1.234"),
        ("1.5", ",", ['"1,234"', "2"], [1.234, 2], "'1,234' is read as 1.234"),
        ("1.5", ",", ["1.234", "2"], [1.234, 2], ""),
        ("1,5", ";", ["1.234", "2"], [1.234, 2], ""),
        ("1,5", ",", ["1.5", "2"], [1.5, 2], ""),
        ("1234,5", ";", ["1.234", "950"], [1234, 950], "'1.234' is read as 1234"),
        ("1000000", ",", ["1.234", "950"], [1.234, 950], "'1.234' is read as 1.234, not as 1234"),
    ],
)  # fmt: skip
def test_numbers_in_another_convention_are_read_as_training_had_them_and_that_is_said(
    tmp_path, trained, delimiter, cells, numbers, notice
):
    mean = float(trained.replace(",", "."))
    values = [f"{value:.1f}" for value in RNG.normal(mean, mean / 5, N)]
    values = [value.replace(".", ",") for value in values] if "," in trained else values
    data = describe(
        files("train", path=write(tmp_path / "train" / "lab.csv", {"a": values, "b": BITS}, ";"))
    )
    new = {"a": cells * 5, "b": BITS[:10]}
    found = read(write(tmp_path / "new" / "lab.csv", new, delimiter), data)
    np.testing.assert_array_equal(found.raw["lab"][:2, 0], numbers)
    said = [sentence for sentence in found.notices if "read as" in sentence or "units" in sentence]
    assert bool(said) == bool(notice)
    assert notice in " ".join(said)


def test_what_training_does_not_settle_is_refused(tmp_path):
    data = describe(
        files("train", path=write(tmp_path / "lab.csv", {"a": [str(40 + i) for i in range(N)]}))
    )
    columns = {"a": ["1,234"] * 9, "id": [str(i) for i in range(9)]}
    with pytest.raises(ValueError, match=r"'1,234' may be 1234 or 1.234: write the numbers"):
        read(write(tmp_path / "new" / "lab.csv", columns, ";"), data)
