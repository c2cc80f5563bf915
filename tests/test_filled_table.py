"""Holes of a CSV file are filled in place: columns, cells and number formats stay."""

import re

import numpy as np
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
        ValueError, match=r"a \.csv output needs a \.csv input, .*: choose an \.npz"
    ):
        impute_file(lambda *_: {}, data, tmp_path / "new.npz", tmp_path / "out.csv")
    np.savez(
        tmp_path / "own.npz",
        photo=RNG.integers(0, 256, (N, 4, 4), np.uint8),
        town=np.resize(TOWNS, N),
    )
    own = describe(files("train", path=tmp_path / "own.npz"))
    with pytest.raises(
        ValueError, match=r"photo has examples of shape \(4, 4\), which a CSV file cannot"
    ):
        fill(tmp_path, own, "town\nBonn\n")
    assert not (tmp_path / "out.csv").exists()
