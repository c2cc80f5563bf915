"""Holes of a CSV file are filled in place: columns, cells and number formats stay."""

import re

import numpy as np
import pandas as pd
import pytest
from stand_ins import rng_of

from sbmae_jax.app.impute import impute_file
from sbmae_jax.data.description import describe
from sbmae_jax.data.user.files import files

N = 60
RNG = np.random.default_rng(0)
TOWNS = ("Bonn", "Oslo")


def trained(folder):
    """Describe a table of two vectors of numbers and a category, as a run that was trained on it does."""
    x = RNG.normal(170, 8, (N, 2))
    lines = [f"{i},{a:.1f},{b:.2f},{TOWNS[i % 2]}" for i, (a, b) in enumerate(x)]
    (folder / "body.csv").write_text("\n".join(["id,height,span,town", *lines]))
    return describe(files("train", path=folder / "body.csv"))


def fill(folder, data, text, output="out.csv", **options):
    (folder / "new.csv").write_bytes(text.encode())

    def draw(key, batch, observed):
        rng, num = rng_of(key), len(observed)
        return {"body": 0.01 * rng.normal(size=(num, 2)), "town": np.tile([0.1, 0.9], (num, 1))}

    done = impute_file(draw, data, folder / "new.csv", folder / output, num_samples=4, **options)
    return done, (folder / output).read_bytes().decode()


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("town,id,height,span\nBonn,a,,\n,b,180.50,171.25\n",
         r"town,id,height,span\nBonn,a,1\d\d\.\d\d,1\d\d\.\d\d\nOslo,b,180\.50,171\.25\n"),
        ("\ufeffid;height;span;town\r\nx;180,5;171,25;NA\r\n\r\ny;NA;;Oslo\r\n",
         r"\ufeffid;height;span;town\r\nx;180,5;171,25;Oslo\r\ny;1\d\d,\d;1\d\d,\d\d;Oslo\r\n"),
        ('height,span,town\n180,"171",Bonn\n,,"Oslo"\n',
         r"height,span,town\n180,171,Bonn\n1\d\d,1\d\d,Oslo\n"),
        ("height,span\n180.5,171\n", r"height,span,town\n180\.5,171,Oslo\n"),
        ("town\nBonn\n", r"town,height,span\nBonn,1[\d.]{4,6},1[\d.]{4,6}\n"),
        ("town,height,span\nBonn,1.805e2,\n,,1.7e2\n", None),
    ],
)  # fmt: skip
def test_holes_are_filled_in_the_format_of_their_column(tmp_path, text, pattern):
    data = trained(tmp_path)
    if pattern is None:
        _, out = fill(tmp_path, data, text, partial_rows="missing")
        assert re.fullmatch(
            r"town,height,span\nBonn,1\.805e2,1[\d.]{3,6}\nOslo,1[\d.]{3,6},1\.7e2\n", out
        )
        return
    done, out = fill(tmp_path, data, text)
    assert re.fullmatch(pattern, out), out
    assert done.path == tmp_path / "out.csv"


def test_what_is_written_can_be_read_as_new_rows_without_holes(tmp_path):
    data = trained(tmp_path)
    fill(tmp_path, data, "id,height,span,town\n1,180.5,171.25,\n2,,,Bonn\n")
    with pytest.raises(ValueError, match="has nothing to fill in"):
        impute_file(lambda *_: {}, data, tmp_path / "out.csv", tmp_path / "again.csv")


def test_what_a_table_cannot_hold_is_refused_before_anything_is_drawn(tmp_path):
    data = trained(tmp_path)
    np.savez(tmp_path / "new.npz", town=np.array(["", "Bonn"]))
    with pytest.raises(
        ValueError, match=r"a \.csv output needs a \.csv or .* input, .*: choose an \.npz"
    ):
        impute_file(lambda *_: {}, data, tmp_path / "new.npz", tmp_path / "out.csv")
    np.savez(
        tmp_path / "own.npz",
        photo=RNG.integers(0, 256, (N, 4, 4), np.uint8),
        town=np.resize(TOWNS, N),
    )
    own = describe(files("train", path=tmp_path / "own.npz"))
    with pytest.raises(
        ValueError, match=r"photo has examples of shape \(4, 4\), which a table cannot"
    ):
        fill(tmp_path, own, "town\nBonn\n")
    assert not (tmp_path / "out.csv").exists()


FORMS = {
    ".parquet": (pd.DataFrame.to_parquet, pd.read_parquet),
    ".feather": (pd.DataFrame.to_feather, pd.read_feather),
    ".xlsx": (lambda f, path: f.to_excel(path, index=False), pd.read_excel),
}


def typed():
    return pd.DataFrame({
        "height": pd.array([171, None, 180, 169], "Int16"),
        "town": pd.Categorical(["Bonn", "Oslo", None, "Bonn"]),
        "span": np.array([170.5, np.nan, 181.25, 170.0], "float32"),
        "id": ["a", "b", "c", "d"],
    })  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_holes_of_a_typed_table_are_filled_in_its_types(tmp_path, form):
    data, given = trained(tmp_path), typed()
    write, read = FORMS[form]
    write(given, tmp_path / f"new{form}")
    before = read(tmp_path / f"new{form}")

    def draw(key, batch, observed):
        rng, num = rng_of(key), len(observed)
        return {"body": 0.01 * rng.normal(size=(num, 2)), "town": np.tile([0.1, 0.9], (num, 1))}

    for output in (f"out{form}", "out.csv", "out.parquet"):
        done = impute_file(draw, data, tmp_path / f"new{form}", tmp_path / output, num_samples=4)
        assert done.num_filled == {"body": 1, "town": 1}
        found = pd.read_csv(tmp_path / output) if output[-4:] == ".csv" else FORMS[output[3:]][1](
            tmp_path / output
        )  # fmt: skip
        assert found.columns.tolist() == given.columns.tolist()
        assert found.town.tolist() == ["Bonn", "Oslo", "Oslo", "Bonn"]
        assert found.id.tolist() == list("abcd")
        kept = [0, 2, 3]
        assert found.height[kept].tolist() == [171, 180, 169]
        assert 150 < found.height[1] < 190
        assert found.height[1] == round(found.height[1])
        assert found.span[kept].tolist() == [170.5, 181.25, 170.0]
        assert 150 < found.span[1] < 190
        if output[3:] == form and form != ".xlsx":
            assert found.span.dtype == np.float32
            assert found.height.dtype.name.lower() == "int16"
            assert found.town.dtype == before.town.dtype


def test_modalities_that_a_typed_table_lacks_become_columns(tmp_path):
    data = trained(tmp_path)
    typed()[["height", "span"]].dropna().to_parquet(tmp_path / "new.parquet")

    def draw(key, batch, observed):
        return {
            "body": np.zeros((len(observed), 2)),
            "town": np.tile([0.1, 0.9], (len(observed), 1)),
        }

    impute_file(draw, data, tmp_path / "new.parquet", tmp_path / "out.parquet", num_samples=2)
    found = pd.read_parquet(tmp_path / "out.parquet")
    assert found.columns.tolist() == ["height", "span", "town"]
    assert found.town.tolist() == ["Oslo"] * 3
    assert found.index.tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    ("new", "output", "message"),
    [
        ("new.csv", "out.parquet", r"a \.parquet output needs a \.parquet or .* input, and .*new.csv is"),
        ("new.npz", "out.feather", r"a \.feather output needs .* choose an \.npz output"),
        ("new.csv", "out.txt", r"out.txt must end in \.npz, for rows of a table also in \.csv, \.parquet"),
    ],
)  # fmt: skip
def test_outputs_that_cannot_be_written_are_refused_before_the_work(tmp_path, new, output, message):
    data = trained(tmp_path)
    (tmp_path / "new.csv").write_text("height,span,town\n,,Oslo\n")
    np.savez(tmp_path / "new.npz", town=np.array(["", "Bonn"]))
    with pytest.raises(ValueError, match=message):
        impute_file(lambda *_: {}, data, tmp_path / new, tmp_path / output)
    assert not (tmp_path / output).exists()
