"""Names of a user's columns and files: whatever the system that wrote them, or refused with another name."""

import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opening import one_sentence
from PIL import Image

from sbmae_jax.data.description import describe
from sbmae_jax.data.names import as_name, problem_of_name
from sbmae_jax.data.user.files import files
from sbmae_jax.data.user.opened import open_files
from sbmae_jax.data.user.spool import write_folder
from sbmae_jax.data.user.survey import format_survey, survey
from sbmae_jax.data.user.tables import open_table
from sbmae_jax.models.rows import read_rows

N = 40
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 2))
ACCENTED = "Größe_é"
SPLIT, JOINED = (unicodedata.normalize(form, ACCENTED) for form in ("NFD", "NFC"))
WORDS = [("Bonn", "Oslo")[i % 2] for i in range(N)]


def write_csv(path, columns):
    lines = [columns.keys(), *zip(*columns.values(), strict=True)]
    path.write_text("\n".join(",".join(map(str, line)) for line in lines) + "\n", encoding="utf-8")
    return path


def write(form, folder, name):
    """Write a modality of a name, and another one."""
    folder.mkdir()
    if form == "npz":
        np.savez(folder / "d.npz", **{name: X, "other": X})
        return folder / "d.npz"
    if form == "npy":
        np.save(folder / f"{name}.npy", X)
        np.save(folder / "other.npy", X)
    if form == "column":
        return write_csv(folder / "lab.csv", {"a": X[:, 0], name: WORDS})
    if form == "vector":
        return write_csv(folder / f"{name}.csv", {"a": X[:, 0], "b": WORDS})
    if form == "folder":
        (folder / name).mkdir()
        for i in range(N):
            Image.new("L", (4, 4), i).save(folder / name / f"{i}.png")
    return folder


FORMS = ["npz", "npy", "column", "vector", "folder"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "other"),
    [("blood type", "blood_type"), ("lab.2024", "lab_2024"), ("my data (1)", "my_data_1"), ("[x]", "x"),
     ("present", "present_values"), ("?", "x")],
)  # fmt: skip
def test_a_name_that_no_key_of_a_config_can_have_is_refused_with_another(
    tmp_path, form, name, other
):
    path = write(form, tmp_path / "new", name)
    suffix = {"npy": ".npy", "vector": ".csv"}.get(form, "")
    wanted = rf"{re.escape(name)}.* name.*: rename .*, for example to {re.escape(other + suffix)}\b"
    with pytest.raises(ValueError, match=wanted) as error:
        survey(path)
    one_sentence(error)
    assert survey(write(form, tmp_path / "renamed", other)).num_rows["train"]


@pytest.mark.parametrize("form", ["npz", "npy", "column", "vector"])
def test_what_has_no_usable_name_can_be_left_out(tmp_path, form):
    path = write(form, tmp_path / "d", "blood type")
    found = survey(path, leave_out=("blood type",))
    assert len(found.modalities) == 1
    data = describe(files("train", path=path, names=[found.modalities[0].name]))
    assert read_rows(open_table(path, like=data), data, "refuse").observed.all()


def test_files_that_would_be_labels_are_refused(tmp_path):
    for name in ("label", "split"):
        path = write_csv(tmp_path / f"{name}.csv", {"a": X[:, 0], "b": X[:, 1]})
        with pytest.raises(
            ValueError, match=f"rename the file {name}.csv, .* to {name}_values.csv"
        ):
            survey(path)
        (tmp_path / name / name).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / name / name / "1.png")
        with pytest.raises(ValueError, match="rename the folder"):
            survey(tmp_path / name)


def test_new_files_of_any_name_are_read_by_their_columns(tmp_path):
    columns = {"a": X[:, 0], "b (mg)": X[:, 1], "town": WORDS}
    data = describe(files("train", path=write_csv(tmp_path / "lab.csv", columns)))
    for name in ("my data (1).csv", "lab.2024.csv", "label.csv"):
        found = read_rows(
            open_table(write_csv(tmp_path / name, columns), like=data), data, "refuse"
        )
        assert found.observed.all()
        np.testing.assert_array_equal(found.raw["lab"], X)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("trained", "new"), [(SPLIT, JOINED), (JOINED, SPLIT)])
def test_a_file_from_another_system_fits(tmp_path, form, trained, new):
    source = files("train", path=write(form, tmp_path / "train", trained))
    assert JOINED in source.names
    data = describe(source)
    path = write(form, tmp_path / "new", new)
    found = read_rows(open_table(path, like=data), data, "refuse")
    assert found.observed.all()
    assert survey(path, leave_out=(new,) * (form != "folder")).modalities


def test_columns_cells_and_names_of_images_may_be_written_in_either_form(tmp_path):
    for folder, form in (("train", "NFC"), ("new", "NFD")):

        def of(text, form=form):
            return unicodedata.normalize(form, text)

        (tmp_path / folder / "photo").mkdir(parents=True)
        for i in range(N):
            Image.new("L", (4, 4), i).save(tmp_path / folder / "photo" / f"{of('é')}{i}.png")
        columns = {"id": [of("é") + str(i) for i in range(N)], of("Länge"): X[:, 0],
                   "b": X[:, 1], "town": [of(("Köln", "Málaga")[i % 2]) for i in range(N)]}  # fmt: skip
        write_csv(tmp_path / folder / "lab.csv", columns)
    data = describe(files("train", path=tmp_path / "train"))
    found = read_rows(open_table(tmp_path / "new", like=data), data, "refuse")
    assert found.observed.all()
    assert found.raw["town"][:2].tolist() == ["Köln", "Málaga"]
    np.testing.assert_array_equal(found.raw["lab"], X)
    np.testing.assert_array_equal(found.raw["photo"][:, 0, 0], range(N))


def test_classes_of_arrays_may_be_written_in_either_form(tmp_path):
    towns = np.array(["Köln", "Málaga"] * (N // 2))
    split = np.array([unicodedata.normalize("NFD", town) for town in towns])
    for name, trained, new in (("a", towns, split), ("b", split, towns)):
        np.savez(tmp_path / f"{name}.npz", town=trained)
        data = describe(files("train", path=tmp_path / f"{name}.npz"))
        np.savez(tmp_path / "new.npz", town=new)
        found = read_rows(open_table(tmp_path / "new.npz", like=data), data, "refuse")
        np.testing.assert_array_equal(found.prepared["town"][:2], np.eye(2))


@pytest.mark.parametrize("form", [*FORMS[:3], "folder"])
def test_two_names_that_are_one_are_refused(tmp_path, form):
    folder = tmp_path / "d"
    path = write(form, folder, SPLIT)
    if form == "npz":
        np.savez(path, **{SPLIT: X, JOINED: X})
    elif form == "npy":
        np.save(folder / f"{JOINED}.npy", X)
    elif form == "folder":
        (folder / JOINED).mkdir()
    else:
        write_csv(path, {SPLIT: WORDS, JOINED: WORDS})
    with pytest.raises(ValueError, match=f"has two (arrays|columns) {JOINED!r}: give") as error:
        survey(path)
    one_sentence(error)


@given(name=st.text(min_size=1, max_size=20), what=st.sampled_from(["the array", "the file"]))
@settings(max_examples=200, deadline=None)
def test_the_name_that_is_proposed_can_be_that_of_a_modality(name, what):
    problem = problem_of_name(as_name(name), what)
    if problem:
        (other,) = re.findall(r"for example to ([^,]*)", problem)
        assert not problem_of_name(other, what)


@pytest.mark.parametrize("path", [None, [], 3, {}, ("a",)])
def test_what_is_no_path_is_refused(path):
    for call in (survey, open_files, open_table, lambda path: files("train", path=path)):
        with pytest.raises(ValueError, match="a path must be a string or a path, got") as error:
            call(path)
        one_sentence(error)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ["x"]}, "kinds must be a section of keys and values"),
        ({"kinds": {"x": ["vector"]}}, "kinds must be a section of keys and values"),
        ({"missing_markers": None}, "missing_markers must be a list of strings"),
        ({"missing_markers": "NA"}, "missing_markers must be a list of strings"),
        ({"missing_markers": [None]}, "missing_markers must be a list of strings"),
        ({"partial_rows": None}, "partial_rows must be one of"),
        ({"partial_rows": []}, "partial_rows must be one of"),
        ({"seed": None}, "seed must be an integer"),
    ],
)
def test_options_of_other_types_are_refused(tmp_path, options, message):
    path = write("npz", tmp_path / "d", "x")
    for call in (survey, open_files, lambda path, **kw: files("train", path=path, **kw)):
        with pytest.raises(ValueError, match=message) as error:
            call(path, **options)
        one_sentence(error)


def test_lists_of_names_are_lists(tmp_path):
    path = write("npz", tmp_path / "d", "x")
    for odd in ("x", None, 3, [3], {}):
        with pytest.raises(ValueError, match="leave_out must be a list of strings"):
            survey(path, leave_out=odd)
        with pytest.raises(ValueError, match="names must be a list of strings"):
            open_files(path, names=odd)
        with pytest.raises(ValueError, match="found must be what survey returns"):
            format_survey(odd)
        with pytest.raises(ValueError, match="split must be one of"):
            files(odd, path=path)
    for odd in ("x", 2.0, [3], True):
        with pytest.raises(ValueError, match="num_rows must be"):
            files("train", odd, path=path)
    assert len(open_files(path, names=["x"]).kinds) == 1


def test_images_are_no_mask(tmp_path):
    for name in ("photo", "photo_present"):
        (tmp_path / name).mkdir()
        for i in range(N):
            Image.new("L", (4, 4), i).save(tmp_path / name / f"{i}.png")
    with pytest.raises(ValueError, match=r"photo_present must be \[40\] bool.*correct or rename"):
        survey(tmp_path)


@pytest.mark.parametrize("name", ["blood type", "a/b", "present"])
def test_names_of_data_in_memory_are_refused_alike(tmp_path, name):
    with pytest.raises(ValueError, match=f"'{name}' .*: rename the array, for example to"):
        write_folder({name: X}, tmp_path)
