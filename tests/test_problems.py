"""What is wrong with several modalities is told at once, with what leaves all of them out."""

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sbmae_jax.app.fit import fit
from sbmae_jax.data.user.files import files
from sbmae_jax.data.user.survey import survey

N = 40
LAB = np.random.default_rng(0).normal(size=(N, 2))
HOLES = np.where(np.arange(2 * N).reshape(N, 2) == 5, np.nan, LAB)
ODD = {
    "born": (np.arange(N).astype("timedelta64[D]"), "born: values must be numbers or strings"),
    "sound": (np.array([np.zeros(i % 3) for i in range(N)], object), "sound.npy is an object array"),
    "photo": (np.zeros((N, 3, 20, 20), np.uint8), "photo: examples of shape .3, 20, 20. are images with"),
    "blood": (HOLES, "blood: NaN in part of 1 of 40 rows"),
    "short": (LAB[1:], "short has 39"),
    "empty": (np.full(N, np.nan), "empty is missing in every row"),
    "far": (np.full((N, 2), np.inf), "far: infinite values in 40 of 40 rows"),
}  # fmt: skip


def check(path, problems, kept):
    """Check that one message has all problems, and that its last line gets past them."""
    with pytest.raises(ValueError, match="modalities that cannot be learned as they are") as error:
        survey(path)
    first, *sentences, last = str(error.value).split("\n")
    assert f"has {len(problems)} modalities" in first
    assert len(sentences) == len(problems)
    for problem in problems:
        assert any(re.search(problem, sentence) for sentence in sentences), problem
    found = re.fullmatch(r"fix them, or leave out all of them: --config.data.leave_out=(\S+)", last)
    names = found[1].split(",")
    assert [m.name for m in survey(path, leave_out=names).modalities] == kept
    with pytest.raises(ValueError, match="cannot be learned as they are") as again:
        survey(path, leave_out=names[:1])
    assert str(again.value).endswith(last)


@pytest.mark.parametrize("form", ["npz", "folder"])
def test_all_problems_of_arrays_are_told_together(tmp_path, form):
    arrays = {"lab": LAB, "other": LAB} | {name: odd for name, (odd, _) in ODD.items()}
    path = tmp_path / "d.npz" if form == "npz" else tmp_path
    if form == "npz":
        np.savez(path, **arrays)
    else:
        for name, array in arrays.items():
            np.save(path / f"{name}.npy", array)
        (path / "sound.npy").write_bytes(b"\x93NUMPY")
    problems = [message for _, message in ODD.values()]
    if form == "folder":
        problems[1] = "sound.npy cannot be read"
    check(path, problems, ["lab", "other"])


def test_all_problems_of_tables_and_pictures_are_told_together(tmp_path):
    frame = pd.DataFrame({"id": range(N), "a": LAB[:, 0], "b": LAB[:, 1]})
    frame["odd"] = [f"?{i}" if i % 9 == 0 else str(i) for i in range(N)]
    frame.to_csv(tmp_path / "facts.csv", index=False)
    for name in ("photo", "scan"):
        (tmp_path / name).mkdir()
        for i in range(N):
            side = 4 + (i if name == "scan" else 0)
            Image.new("L", (side, 4), i).save(tmp_path / name / f"{i}.png")
    (tmp_path / "photo" / "3.png").write_bytes(b"none")
    check(
        tmp_path,
        [r"column odd: '\?0' is not a number", "3.png is not an image", "resize the images"],
        ["facts"],
    )  # fmt: skip


def test_one_problem_is_one_sentence_and_no_modality_left_is_said(tmp_path):
    np.savez(tmp_path / "d.npz", lab=LAB, empty=np.full(N, np.nan))
    with pytest.raises(ValueError, match=r"^empty is missing in every row: leave this array out$"):
        survey(tmp_path / "d.npz")
    np.savez(tmp_path / "e.npz", empty=np.full(N, np.nan), far=np.full(N, np.inf))
    with pytest.raises(ValueError, match="has 2 modalities") as error:
        survey(tmp_path / "e.npz")
    assert "leave_out" not in str(error.value)
    with pytest.raises(ValueError, match="has 2 modalities"):
        files("train", path=tmp_path / "e.npz")


def test_fit_names_its_argument(tmp_path):
    np.savez(tmp_path / "d.npz", lab=LAB, empty=np.full(N, np.nan), far=np.full(N, np.inf))
    for data in (tmp_path / "d.npz", dict(np.load(tmp_path / "d.npz"))):
        with pytest.raises(ValueError, match="cannot be learned") as error:
            fit(data, quiet=True, workdir=tmp_path / "run")
        assert str(error.value).endswith("or leave out all of them: leave_out=['empty', 'far']")


def test_all_problems_of_data_in_memory_are_told_together():
    data = {"lab": LAB, "born": ODD["born"][0], "sound": [[1.0], [1.0, 2.0]] * (N // 2)}
    rows = [{name: column[i] for name, column in data.items()} for i in range(N)]
    frame = pd.DataFrame({"lab": LAB[:, 0], "born": data["born"], "sound": data["sound"]})
    for given in (data, rows, frame):
        with pytest.raises(ValueError, match="has 2 modalities that cannot be learned") as error:
            fit(given, quiet=True)
        assert "sound is ragged" in str(error.value)
        assert str(error.value).endswith("leave_out=['born', 'sound']")
