"""What a user leaves out of files is not read and not refused, in training and in new rows."""

from types import SimpleNamespace

import jax
import numpy as np
import pandas as pd
import pytest
from absl import flags
from absl.testing import flagsaver
from opening import one_sentence
from PIL import Image

from sbmae_jax.app import commands, pipeline
from sbmae_jax.configs import custom
from sbmae_jax.data.description import describe
from sbmae_jax.data.user.files import files
from sbmae_jax.data.user.opened import open_files
from sbmae_jax.data.user.spool import write_folder
from sbmae_jax.data.user.survey import survey
from sbmae_jax.data.user.tables import open_table
from sbmae_jax.models.imputation import impute
from sbmae_jax.models.rows import complete_columns, read_rows

N = 40
LAB = np.random.default_rng(0).normal(size=(N, 2))
RAGGED = np.array([np.zeros(i % 3) for i in range(N)], dtype=object)
ARRAYS = {
    "object": (RAGGED, "odd.npy is an object array"),
    "spans": (np.arange(N).astype("timedelta64[D]"), "odd: values must be numbers or strings, got timedelta"),
    "complex": (LAB.astype(complex), "odd: values must be numbers or strings, got complex"),
    "fewer rows": (LAB[1:], "lab has 40 rows and odd has 39"),
    "more rows": (np.zeros(N + 1), "lab has 40 rows and odd has 41"),
    "scalar": (np.array(3.0), "odd in .* is a scalar"),
    "bytes": (np.array([b"\xff\xfe"] * N), "odd: the bytes are not UTF-8"),
    "empty": (LAB[:, :0], "odd: examples are empty"),
}  # fmt: skip


def check(path, message, lab="lab"):
    """Check that the array `odd` is refused unless it is left out, and what is then learned."""
    with pytest.raises(ValueError, match=message) as refused:
        survey(path)
    one_sentence(refused)
    with pytest.raises(ValueError, match=message):
        open_table(path)
    found = survey(path, leave_out=("odd",))
    assert [m.name for m in found.modalities] == [lab]
    assert open_files(path, names=(lab,)).ignored == ("odd",)
    data = describe(files("train", path=path, names=[lab]))
    assert read_rows(open_table(path, like=data), data, "refuse").observed.all()


@pytest.mark.parametrize("form", ["npz", "folder"])
@pytest.mark.parametrize("what", ARRAYS)
def test_an_array_that_is_left_out_may_be_anything(tmp_path, form, what):
    odd, message = ARRAYS[what]
    path = tmp_path / "d.npz" if form == "npz" else tmp_path
    if form == "npz":
        np.savez(path, lab=LAB, odd=odd)
    else:
        np.save(path / "lab.npy", LAB)
        np.save(path / "odd.npy", odd)
    check(path, message)


def test_a_mask_is_left_out_with_its_array(tmp_path):
    np.savez(tmp_path / "d.npz", lab=LAB, odd=LAB, odd_present=np.full(N, 2))
    check(tmp_path / "d.npz", "odd_present must be")
    np.savez(tmp_path / "e.npz", lab=LAB, odd=RAGGED, odd_present=np.zeros(3, bool))
    check(tmp_path / "e.npz", r"odd\.npy is an object array")


def test_a_damaged_array_can_be_left_out(tmp_path):
    np.save(tmp_path / "lab.npy", LAB)
    (tmp_path / "odd.npy").write_bytes(b"\x93NUMPY")
    check(tmp_path, r"odd\.npy cannot be read")


@pytest.mark.parametrize(
    ("cells", "message"),
    [(["1"] * 30 + [f"?{i}" for i in range(10)], "column odd"), (["1,234"] * N, "may be 1234 or 1.234")],
)  # fmt: skip
def test_a_column_that_is_left_out_may_be_anything(tmp_path, cells, message):
    cells = [c + str(i) if c == "1" else c for i, c in enumerate(cells)]
    lines = ["a;b;odd", *(f"{a};{b};{c}" for (a, b), c in zip(LAB, cells, strict=True))]
    (tmp_path / "lab.csv").write_text("\n".join(lines))
    check(tmp_path / "lab.csv", message)
    assert survey(tmp_path / "lab.csv", leave_out=("odd",)).modalities[0].raw_shape == (2,)


def test_a_folder_of_images_that_is_left_out_may_hold_anything(tmp_path):
    for name in ("lab", "odd"):
        (tmp_path / name).mkdir()
        for i in range(N):
            Image.new("L", (4, 4 + (name == "odd" and i)), i).save(tmp_path / name / f"{i}.png")
    check(tmp_path, "resize the images")
    Image.new("L", (4, 4)).save(tmp_path / "odd" / "5.jpg")
    (tmp_path / ".changed").touch()
    check(tmp_path, "keep one per row")


def test_what_is_left_does_not_hide_what_is_missing(tmp_path):
    np.savez(tmp_path / "d.npz", lab=LAB, odd=RAGGED, more=LAB[:5])
    with pytest.raises(ValueError, match="lab has 40 rows and more has 5"):
        survey(tmp_path / "d.npz", leave_out=("odd",))
    with pytest.raises(ValueError, match=r"leave_out names 'od', .*choose from lab, more, odd"):
        survey(tmp_path / "d.npz", leave_out=("od",))
    np.savez(tmp_path / "e.npz", lab=LAB, label=RAGGED)
    with pytest.raises(ValueError, match=r"label\.npy is an object array"):
        survey(tmp_path / "e.npz")
    np.savez(tmp_path / "new.npz", lab=RAGGED)
    data = describe(files("train", path=tmp_path / "d.npz", names=["lab"]))
    with pytest.raises(ValueError, match=r"lab\.npy is an object array"):
        read_rows(open_table(tmp_path / "new.npz", like=data), data, "refuse")


def test_columns_of_a_vector_that_is_left_out_may_be_in_new_rows(tmp_path):
    towns = np.resize(["Bonn", "Oslo"], N)
    frame = pd.DataFrame({"a": LAB[:, 0], "b": LAB[:, 1], "hb": 1.5, "crp": 2.0, "town": towns})
    frame["label"] = [1, None] * (N // 2)  # of no use here, holes or not
    groups = {"lab": ["a", "b"], "blood": ["hb", "crp"]}
    folder = tmp_path / "data"
    folder.mkdir()
    write_folder(frame, folder, groups, ["blood", "label"])
    data = describe(files("train", path=folder, names=["lab", "town"]))
    assert {"blood", "hb", "crp"} <= set(data.ignored)
    frame.loc[3, "town"] = None
    frame.to_csv(tmp_path / "new.csv", index=False)
    found = read_rows(open_table(tmp_path / "new.csv", like=data), data, "refuse")
    assert (~found.observed).sum() == 1
    model = SimpleNamespace(
        scalings=data.scalings,
        entries=(("lab", ("a", "b")),),
        ignored=data.ignored,
        modalities=("lab", "town"),
    )
    towns = {"town": np.array([[0.0, 1.0]])}
    done = impute(
        model, lambda key, batch, observed: {
            n: np.resize(towns.get(n, x), x.shape) for n, x in batch.items()
        }, frame, 2, jax.random.key(0), "refuse",
    )  # fmt: skip
    assert done.filled.town[3] == "Oslo"
    assert done.filled.drop(columns="town").equals(frame.drop(columns="town"))
    assert set(complete_columns(frame.drop(3), model.entries, data.ignored)) == {"lab", "town"}


@pytest.mark.slow
def test_a_run_goes_on_and_is_evaluated_without_what_it_left_out(tmp_path, monkeypatch):
    np.savez(tmp_path / "d.npz", lab=LAB, odd=RAGGED)
    config = custom.get_config("smoke").to_dict()
    config["data"] |= {"path": str(tmp_path / "d.npz"), "leave_out": ("odd",)}
    pipeline.run(config, tmp_path / "run", "train", quiet=True)
    stored = (tmp_path / "run" / "config.json").read_bytes()
    flags.FLAGS.mark_as_parsed()
    ran = []
    monkeypatch.setitem(pipeline.STAGES, "evaluate", lambda run: ran.append(run.parts.layout.names))
    monkeypatch.setitem(pipeline.STAGES, "report", lambda run: ran.append(run.parts.layout.names))
    with flagsaver.flagsaver(workdir=str(tmp_path / "run")):
        commands.train([], [])
        commands.evaluate([], [])
    assert ran == [("lab",)] * 4
    assert (tmp_path / "run" / "config.json").read_bytes() == stored
