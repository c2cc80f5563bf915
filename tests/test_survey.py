"""The survey of a user's files: what is there, what is odd about it, what is left out."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from own_files import N, arrays

from sbmae_jax._io import write_npz
from sbmae_jax.app.choices import choose_latent_size
from sbmae_jax.data.user.files import files
from sbmae_jax.data.user.opened import open_files
from sbmae_jax.data.user.survey import format_survey, survey


def test_the_survey_tells_what_is_there(own_file):
    found = survey(own_file)
    by_name = {m.name: m for m in found.modalities}
    kinds = [m.kind for m in found.modalities]
    assert kinds == ["counts", "mask", "image", "signal", "category", "vector"]
    assert found.num_rows == {"train": 160, "valid": 20, "test": 20}
    assert found.num_classes == 3
    assert by_name["vector"].num_missing == 2
    assert by_name["vector"].num_constant == 1
    assert by_name["town"].classes == ("Bonn", "Oslo", "Rome")
    assert by_name["photo"].raw_shape == by_name["photo"].shape == (6, 6, 3)
    label, notice = found.notices
    assert label == (
        "label is not modelled: it is the class of each row, by which coherence is measured; to model it, "
        "give it another name, such as class"
    )
    assert notice.startswith("vector: 1 of 4 features are constant in the training rows")
    lines = format_survey(found, {"latent": {"photo": "sixteen"}}).splitlines()
    head = ["name", "kind", "shape", "dtype", "range", "missing", "latent", "why", "this", "kind"]
    assert lines[0].split() == head
    assert "3 classes: Bonn, Oslo, Rome" in lines[5]
    assert "sixteen" in lines[3]
    assert lines[7] == "rows: 160 train, 20 valid, 20 test; label: 3 classes"
    assert lines[8:] == list(found.notices)


def test_components_are_those_of_the_data(tmp_path):
    rng = np.random.default_rng(0)
    low = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 40))
    same = np.repeat(rng.normal(size=(500, 1)), 6, axis=1)
    equal = rng.normal(size=(500, 100))
    wide = rng.normal(size=(500, 2)) @ rng.normal(size=(2, 3000))
    np.savez(
        tmp_path / "d.npz", low=low, same=same, equal=equal, wide=wide, fixed=np.ones((500, 4))
    )
    found = {m.name: m.num_components for m in survey(tmp_path / "d.npz").modalities}
    assert found["low"][2] <= 3
    assert found["same"] == (1, 1, 1)
    assert found["wide"] == (2, 2, 2)
    assert found["fixed"] == (0, 0, 0)
    assert 75 < found["equal"][0] < found["equal"][1] < found["equal"][2] < 100


def test_components_are_also_counted_by_what_they_tell_of_other_modalities(tmp_path):
    # One column of 201 is all that two modalities share, and holds less than 1 % of the variance.
    rng = np.random.default_rng(0)
    private, shared = rng.normal(size=(400, 3)), rng.normal(size=(400, 1))
    views = {
        "loud": np.concatenate([private @ rng.normal(size=(3, 200)), shared], axis=1),
        "quiet": shared + 0.5 * rng.normal(size=(400, 3)),
        "alone": rng.normal(size=(400, 4)),
    }
    write_npz(tmp_path / "d.npz", views)
    found = {m.name: m for m in survey(tmp_path / "d.npz").modalities}
    assert found["loud"].num_components[2] == 3
    assert (found["loud"].num_shared, found["alone"].num_shared) == (4, 0)
    assert choose_latent_size(found["loud"]) == (
        4, "so many of 201 principal components help to predict other modalities",
    )  # fmt: skip
    noise = dataclasses.replace(found["loud"], shape=(50,), num_components=(31, 36, 46))
    assert choose_latent_size(noise)[0] == 50
    write_npz(tmp_path / "few.npz", {name: x[:150] for name, x in views.items()})
    assert not any(m.num_shared for m in survey(tmp_path / "few.npz").modalities)


def test_wide_data_are_surveyed_without_a_matrix_of_features_by_features(tmp_path):
    x = np.random.default_rng(0).normal(size=(100, 10_000)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x)
    tracemalloc.start()
    found = survey(tmp_path / "d.npz")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [m.shape for m in found.modalities] == [(10_000,)]
    assert peak < 10 * x.nbytes < 4 * 10_000**2


def test_one_modality_works_and_says_what_it_is(tmp_path):
    np.savez(tmp_path / "d.npz", x=arrays()["signal"])
    assert files("train", 0, path=tmp_path / "d.npz").names == ("x",)
    (notice,) = survey(tmp_path / "d.npz").notices
    assert notice.startswith("x is the only modality: the model is a latent diffusion model")


def test_what_a_user_may_not_expect_of_values_is_said(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "d.npz", time=(1.7e9 + 20 * rng.normal(size=N)).astype(np.float32),
        photo=rng.integers(0, 256, (N, 7, 5), np.uint8), town=["Bonn", "None", "", "Oslo"] * (N // 4),
    )  # fmt: skip
    found = survey(tmp_path / "d.npz")
    assert found.modalities[2].classes == ("Bonn", "Oslo")
    notices = " ".join(found.notices)
    assert "town: 'None' marks what is missing; set config.data.missing_markers if it is" in notices
    assert "time: float32 stores values as large as these in steps that are coarse" in notices
    assert "photo: networks see these images padded to 8 x 8; samples are cropped" in notices
    assert "1700000" in format_survey(found)
    kept = survey(tmp_path / "d.npz", missing_markers=("",))
    assert kept.modalities[2].classes == ("Bonn", "None", "Oslo")
    assert "marks what is missing" not in " ".join(kept.notices)


def test_what_is_left_out_is_not_looked_at(tmp_path):
    names = np.arange(2 * N).astype(str).reshape(N, 2)  # no category
    np.savez(tmp_path / "d.npz", **arrays(), names=names, bad=np.full((N, 2), np.inf))
    for call in (survey, open_files):
        with pytest.raises(ValueError, match=r"bad: infinite values|names cannot be of the kind"):
            call(tmp_path / "d.npz")
    with pytest.raises(ValueError, match="names cannot be of the kind category"):
        survey(tmp_path / "d.npz", leave_out=("bad",))
    found = survey(tmp_path / "d.npz", {"count": "vector"}, leave_out=("bad", "names", "signal"))
    kept = ["count", "mask", "photo", "town", "vector"]
    assert [m.name for m in found.modalities] == kept
    kinds = {"count": "vector", "signal": "vector"}  # the latter is not asked for
    source = files("train", names=kept, path=tmp_path / "d.npz", kinds=kinds)
    assert list(source.modalities) == kept
    assert source.opened.kinds["count"].name == "vector"
    with pytest.raises(
        ValueError, match=r"leave_out names 'sound', which .* does not have: choose from bad, count"
    ):
        survey(tmp_path / "d.npz", leave_out=("sound",))
    with pytest.raises(ValueError, match=r"leave_out names all modalities of .*: leave out fewer"):
        survey(tmp_path / "d.npz", leave_out=("bad", "names", "signal", *kept))
    with pytest.raises(ValueError, match="kinds: there is no array 'sound'"):
        open_files(tmp_path / "d.npz", {"sound": "vector"}, names=kept)


def test_classes_that_may_mark_what_is_missing_are_said(tmp_path):
    columns = {
        "grade": "1 2 3 -", "unit": "a b ? .", "smoker": "yes no maybe no", "code": "1 2 3 k.A.",
        "level": "1 2 low high", "label": "x y x -", "x": "1.5 2 3.5 4",
    }  # fmt: skip
    lines = [",".join(word.split()[i % 4] for word in columns.values()) for i in range(60)]
    (tmp_path / "d.csv").write_text("\n".join([",".join(columns), *lines]))
    said = [s for s in survey(tmp_path / "d.csv").notices if "missing_markers" in s]
    advice = "add it to config.data.missing_markers if it marks what is missing"
    assert sorted(said) == [
        f"code: 'k.A.' is a class among numbers; {advice}",
        f"grade: '-' is a class among numbers; {advice}",
        f"label: '-' is a class; {advice}",
        f"unit: '.', '?' is a class; {advice}",
    ]
    markers = ("-", "?", ".", "k.A.")
    (tmp_path / "d.csv").write_text((tmp_path / "d.csv").read_text().replace("label", "kind"))
    found = survey(tmp_path / "d.csv", missing_markers=markers, partial_rows="missing")
    assert not [s for s in found.notices if "is a class" in s and "marks what" not in s]
    assert [m.name for m in found.modalities] == ["d", "kind", "level", "smoker", "unit"]
