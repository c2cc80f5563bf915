"""Tables as people have them: CSV, Parquet, Feather and Excel, columns grouped, several joined by a key."""

import datetime

import numpy as np
import pandas as pd
import pytest
from opening import one_sentence, rows_of

from sbmae_jax.app.choices import choose_values
from sbmae_jax.app.overrides import Override, with_overrides
from sbmae_jax.configs import custom
from sbmae_jax.data.description import describe
from sbmae_jax.data.user.files import files
from sbmae_jax.data.user.opened import open_files
from sbmae_jax.data.user.survey import survey
from sbmae_jax.data.user.tables import open_table
from sbmae_jax.models.rows import read_rows

N = 40
WRITERS = {
    "csv": lambda f, path: f.to_csv(path, index=False),
    "parquet": lambda f, path: f.to_parquet(path, index=False),
    "feather": lambda f, path: f.to_feather(path),
    "arrow": lambda f, path: f.to_feather(path),
    "xlsx": lambda f, path: f.to_excel(path, index=False),
}
GROUPS = {"labs": ["hb", "crp"], "vitals": "vital_*"}


def frame(seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({
        "id": [f"p{i}" for i in range(N)], "hb": rng.normal(14, 1, N), "crp": rng.exponential(5, N),
        "vital_pulse": pd.array(rng.integers(50, 100, N), "Int64"), "vital_bp": rng.normal(120, 9, N),
        "age": rng.integers(20, 80, N), "town": rng.choice(["Bonn", "Oslo"], N),
    })  # fmt: skip


def written(folder, form, data=None, name="clinic"):
    path = folder / f"{name}.{form}"
    WRITERS[form](frame() if data is None else data, path)
    return path


@pytest.mark.parametrize("form", WRITERS)
def test_a_table_has_the_same_modalities_in_every_format(tmp_path, form):
    path = written(tmp_path, form)
    table = open_table(path)
    assert table.shapes == {"clinic": (5,), "town": ()}
    assert table.ignored == ("id",)
    read, data = rows_of(table, np.arange(N)), frame()
    columns = ["hb", "crp", "vital_pulse", "vital_bp", "age"]
    assert table.entries == {"clinic": tuple(columns)}
    np.testing.assert_allclose(read["clinic"], data[columns].to_numpy(float), rtol=1e-12)
    assert read["town"].tolist() == data.town.tolist()
    grouped = open_table(path, groups=GROUPS)
    assert grouped.shapes == {"labs": (2,), "vitals": (2,), "age": (), "town": ()}
    assert open_table(path, groups="each").entries == {}
    assert set(open_table(path, groups="each").names) == {*columns, "town"}
    by_prefix = open_table(path, groups="prefix")
    assert by_prefix.entries == {"vital": ("vital_pulse", "vital_bp")}
    assert set(by_prefix.names) == {"hb", "crp", "age", "vital", "town"}
    assert any("choose other vectors by config.data.groups" in n for n in table.notices)


def test_types_and_holes_of_a_parquet_file_stay(tmp_path):
    data = frame()
    data["age"] = data.age.astype("Int16").where(data.index != 3)
    data["vital_bp"] = data.vital_bp.astype("float32").where(data.index != 4)
    data["smokes"] = pd.array([True, None] * (N // 2), "boolean")
    data["town"] = data.town.astype("category").where(data.index != 5)
    data["scan"] = [np.full(3, i, np.float32) for i in range(N)]
    data["empty"] = [None] * N
    table = open_table(written(tmp_path, "parquet", data), groups="each")
    assert {n: str(table.dtypes[n]) for n in ("age", "vital_bp", "smokes", "scan")} == {
        "age": "int16", "vital_bp": "float32", "smokes": "bool", "scan": "float32",
    }  # fmt: skip
    assert table.shapes["scan"] == (3,)
    for name, row in (("age", 3), ("town", 5)):
        assert np.flatnonzero(~table.present[name]).tolist() == [row]
    assert np.isnan(rows_of(table, [4])["vital_bp"]).all()
    with pytest.raises(ValueError, match="empty is missing in every row: leave this array out"):
        survey(tmp_path / "clinic.parquet", groups="each")
    data["age"] = data.age.fillna(30)
    whole = open_table(written(tmp_path, "parquet", data), groups={"body": ["hb", "age"]})
    assert whole.dtypes["body"] == np.float64


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            {"labs": ["hb", "crb"]},
            r"labs names the column 'crb', which is not there .did you mean 'crp'",
        ),
        ({"labs": "lab_*"}, r"labs names the column 'lab_\*', that no column of numbers matches"),
        ({"labs": ["hb", "town"]}, "town in labs has no numbers: make it a modality of its own"),
        ({"a": ["hb"], "b": ["hb", "crp"]}, "hb is in a and in b"),
        ({"town": ["hb", "crp"]}, "town is also a column: give the vector another name"),
        ({"my labs": ["hb", "crp"]}, "'my labs' cannot be the name of a modality"),
        ({"labs": []}, "labs must be a list of columns"),
        ({"labs": 3}, "labs must be a list of columns"),
        ("all", "groups must be {name: columns}, 'each' or 'prefix', got 'all'"),
    ],
)
def test_groups_that_cannot_be_are_refused(tmp_path, form, groups, message):
    path = written(tmp_path, form)
    with pytest.raises(ValueError, match=message.replace("{", r"\{")) as refused:
        survey(path, groups=groups)
    one_sentence(refused)


def test_groups_and_keys_are_for_tables(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.ones((N, 2)))
    with pytest.raises(
        ValueError, match=r"only the columns of tables can be grouped, and .*d\.npz"
    ):
        survey(tmp_path / "d.npz", groups="each")
    path = written(tmp_path, "csv")
    with pytest.raises(
        ValueError, match=r"config.data.key: .*clinic.csv has no column 'weight', only id, hb"
    ):
        survey(path, key="weight")
    assert "age" not in open_table(path, key="age").entries["clinic"]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_column_of_a_vector_can_be_left_out(tmp_path, form):
    path = written(tmp_path, form)
    found = survey(path, leave_out=("hb", "town"))
    assert [(m.name, m.raw_shape) for m in found.modalities] == [("clinic", (4,))]
    with pytest.raises(ValueError, match="leave_out names 'bh', which"):
        survey(path, leave_out=("bh",))
    config = custom.get_config("smoke").to_dict()
    config["data"] |= {"path": str(path), "leave_out": ("hb",)}
    config, _, _ = choose_values(config)
    assert config["data"]["groups"] == {"clinic": ["crp", "vital_pulse", "vital_bp", "age"]}
    again, _, _ = choose_values(config | {"data": config["data"] | {"leave_out": None}})
    assert again == config
    options = {k: config["data"][k] for k in ("groups", "key")}
    data = describe(files("train", path=path, names=["clinic", "town"], **options))
    assert {"hb", "id"} <= set(data.ignored)
    assert read_rows(open_table(path, like=data), data, "refuse").observed.all()


def test_groups_can_be_set_on_the_command_line(tmp_path):
    path = written(tmp_path, "csv")
    for text, expected in (
        ("{'labs': ['hb', 'crp']}", {"labs", "vital_pulse", "vital_bp", "age", "town"}),
        ('{"vitals": "vital_*"}', {"vitals", "hb", "crp", "age", "town"}),
        ("each", {"hb", "crp", "vital_pulse", "vital_bp", "age", "town"}),
        ("None", {"clinic", "town"}),
    ):
        given = [Override("data.path", str(path)), Override("data.groups", text)]
        config, _ = with_overrides(custom.get_config().to_dict(), given)
        chosen, _, found = choose_values(config)
        assert {m.name for m in found.modalities} == expected
        assert ("groups" in chosen["data"]) == (text != "None")


@pytest.mark.parametrize("form", ["csv", "parquet", "feather"])
@pytest.mark.parametrize("new", ["csv", "parquet"])
def test_new_rows_may_come_in_another_format(tmp_path, form, new):
    path = written(tmp_path, form)
    data = describe(files("train", path=path, groups=GROUPS))
    rows = frame(1).rename(columns=str)[["town", "age", "crp", "hb", "id"]]
    rows.loc[2, ["crp", "hb"]] = np.nan
    rows.loc[3, "town"] = None
    if new == "parquet":  # numbers that someone has saved as words
        rows["age"] = rows.age.astype(str)
    found = read_rows(open_table(written(tmp_path, new, rows, "new"), like=data), data, "refuse")
    assert dict(zip(found.names, (~found.observed).sum(axis=0).tolist(), strict=True)) == {
        "age": 0, "labs": 1, "town": 1, "vitals": N,
    }  # fmt: skip
    np.testing.assert_allclose(found.raw["labs"][5], rows[["hb", "crp"]].loc[5], rtol=1e-9)
    assert found.raw["age"].tolist() == frame(1).age.tolist()
    with pytest.raises(
        ValueError, match=r"new\.\w+ lacks crp, which the training data had in labs"
    ):
        open_table(written(tmp_path, new, rows.drop(columns="crp"), "new"), like=data)
    with pytest.raises(
        ValueError, match="has a column 'weight' that the training data did not have"
    ):
        open_table(written(tmp_path, new, rows.assign(weight=1), "new"), like=data)


@pytest.mark.parametrize("form", ["parquet", "feather", "xlsx"])
def test_files_that_cannot_be_read_are_named(tmp_path, form, monkeypatch):
    path = tmp_path / f"d.{form}"
    path.write_bytes(b"no table")
    with pytest.raises(
        ValueError, match=rf"d\.{form} cannot be read \(.*write it again"
    ) as refused:
        open_table(path)
    one_sentence(refused)
    with pytest.raises(ValueError, match=r"has no rows: add at least one"):
        open_table(written(tmp_path, form, frame()[:0], "d"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match=rf"reading d\.{form} needs pandas, .*sbmae_jax\[tables\]"
    ):
        open_table(path)


def test_columns_of_odd_types_are_refused_one_by_one(tmp_path):
    data = frame()
    data["born"] = [datetime.datetime(2000, 1, 1)] * N
    data["mixed"] = data.age.astype(object)
    data["ragged"] = [list(range(i % 3)) for i in range(N)]
    path = written(tmp_path, "parquet", data)
    with pytest.raises(ValueError, match="ragged"):
        survey(path, leave_out=("born",))
    kept = survey(path, leave_out=("born", "ragged"))
    assert {m.name for m in kept.modalities} == {"clinic", "town"}


def parts(folder, forms=("csv", "parquet"), key=("id", "id"), change=None):
    """Write two tables of one clinic, of which each lacks some rows of the other."""
    data = frame()
    one, two = data[["id", "hb", "crp", "town"]][:-4], data[["id", "age", "vital_bp"]][4:]
    if change:
        one, two = change(one, two)
    for part, form, name, stem in zip((one, two), forms, key, ("labs", "visits"), strict=True):
        written(folder, form, part.rename(columns={"id": name}), stem)
    return folder


@pytest.mark.parametrize("forms", [("csv", "csv"), ("csv", "parquet"), ("parquet", "feather")])
def test_tables_of_a_folder_are_joined_by_their_key(tmp_path, forms):
    path = parts(tmp_path, forms, key=("id", "ID"))
    table, data = open_table(path), frame()
    assert table.entries == {"labs": ("hb", "crp"), "visits": ("age", "vital_bp")}
    assert table.num_rows == N
    read = rows_of(table, np.arange(N))
    np.testing.assert_allclose(read["labs"][: N - 4], data[["hb", "crp"]][: N - 4], rtol=1e-12)
    assert np.isnan(read["labs"][N - 4 :]).all()
    np.testing.assert_allclose(read["visits"][4:], data[["age", "vital_bp"]][4:], rtol=1e-12)
    found = open_files(path).present(("labs", "town", "visits"))
    assert (~found).sum(axis=0).tolist() == [4, 4, 4]
    assert set(table.ignored) == {"id", "ID"}
    assert any("the column id joins their rows" in notice for notice in table.notices)
    both = open_table(path, groups={"all": ["hb", "age", "vital_bp"]})
    assert both.entries == {"all": ("hb", "age", "vital_bp")}
    known = describe(files("train", path=path))
    assert read_rows(open_table(path, like=known), known, "refuse").observed.sum() == 3 * N - 12
    folder = tmp_path / ".new"  # which is not read as part of the other
    folder.mkdir()
    new = written(folder, "csv", frame(2)[["id", "hb", "crp"]], "new")
    assert read_rows(open_table(new, like=known), known, "refuse").observed[:, 0].all()


def test_integers_are_the_same_key_as_words_and_floats(tmp_path):
    def numbered(one, two):
        return one.assign(id=range(len(one))), two.assign(id=np.arange(len(two), dtype=float))

    assert open_table(parts(tmp_path, change=numbered)).num_rows == N - 4


def twice(one, two):
    return one, two.assign(id=["p7"] * len(two))


def other_type(one, two):
    return one, two.assign(id=range(len(two)))


def same_column(one, two):
    return one, two.assign(hb=1.0)


def pieces(one, two):
    return one, one.assign(id=[f"q{i}" for i in range(len(one))])


def empty_key(one, two):
    return one, two.assign(id=[None, *two.id[1:]])


def dated(one, two):
    return one, two.assign(id=[datetime.datetime(2000, 1, 1)] * len(two))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (twice, r"visits.parquet has 'p7' twice in the column id, by which the tables of .* are joined"),
        (other_type, r"labs.csv and visits.parquet in .* share no id, which is 'p0' in one and '0' in the"),
        (same_column, r"labs.csv and visits.parquet in .* both have a column 'hb': rename one of them"),
        (empty_key, r"visits.parquet: the column id, which names the rows, is empty in row 0: give each"),
        (dated, r"visits.parquet: the column id, which names the rows, has Timestamp.* in row 0: give each"),
        (pieces, r"labs.csv and visits.parquet in .* share no id, which is 'p0' in one and 'q0' in"),
    ],
)  # fmt: skip
def test_keys_that_do_not_join_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message) as refused:
        open_table(parts(tmp_path, change=change))
    one_sentence(refused)


def test_tables_without_a_common_key_are_refused(tmp_path):
    path = parts(tmp_path, key=("patient", "patient"))
    message = (
        r"several tables, labs.csv, visits.parquet, and no column id or file .* name a common one in "
        r"config.data.key, such as 'patient', or keep one"
    )
    with pytest.raises(ValueError, match=message) as refused:
        open_table(path)
    one_sentence(refused)
    assert open_table(path, key="patient").num_rows == N
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(ValueError, match=r"config.data.key: .*visits.parquet has no column 'one'"):
        open_table(parts(other, key=("one", "two")), key="one")


@pytest.mark.parametrize("groups", [{"scale": ["q1", "q2"]}, "each"])
def test_columns_of_answers_are_found_by_their_names(tmp_path, groups):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.integers(1, 6, (80, 2)), columns=["q1", "q2"])
    rows["town"] = rng.choice(["Bonn", "Oslo"], 80)
    path = written(tmp_path, "csv", rows)
    kinds = dict.fromkeys(["scale"] if groups != "each" else ["q1", "q2"], "ordinal")
    data = describe(files("train", path=path, groups=groups, kinds=kinds))
    found = read_rows(open_table(path, like=data), data, "refuse")
    assert found.observed.all()
    first = found.raw["q1"] if groups == "each" else found.raw["scale"][:, 0]
    assert first.tolist() == rows.q1.tolist()
