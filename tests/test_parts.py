"""Vectors whose cells are missing on their own: learned in parts, given and returned whole."""

import json

import jax
import numpy as np
import pandas as pd
import pytest

import sbmae_jax
from sbmae_jax.app import pipeline
from sbmae_jax.app.request import read_given
from sbmae_jax.data.description import Description
from sbmae_jax.data.parts import merged, part_details, split_given
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.user.opened import open_files
from sbmae_jax.data.user.survey import survey
from sbmae_jax.models.imputation import join_parts
from sbmae_jax.models.rows import Rows
from sbmae_jax.nets.hub import HubScore

N = 120


def vector(width=5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, 2)) @ rng.normal(size=(2, width)) + 0.3 * rng.normal(size=(N, width))
    x[rng.random(x.shape) < 0.2] = np.nan
    return x


def wide():
    """A vector of 20 columns, of which two lack the same rows, one lacks others, and no row the rest."""
    x = np.random.default_rng(1).normal(size=(N, 20))
    x[:30, [3, 7]], x[20:50, 5] = np.nan, np.nan
    return x


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "d.npz", **arrays)
    return tmp_path / "d.npz"


def found_in(path, **options):
    return survey(path, partial_rows="split", **options)


def test_columns_that_are_missing_together_are_a_part(tmp_path):
    path = saved(tmp_path, lab=wide(), other=np.ones((N, 2)) * np.arange(N)[:, None] / 7)
    found = found_in(path)
    rest = [c for c in range(20) if c not in (3, 5, 7)]
    assert found.parts == {"lab": [rest, [3, 7], [5]]}
    shapes = {m.name: (m.raw_shape, m.num_missing, m.vector) for m in found.modalities}
    assert shapes == {
        "lab_0": ((17,), 0, "lab"), "lab_3": ((2,), 30, "lab"), "lab_5": ((1,), 30, "lab"),
        "other": ((2,), 0, ""),
    }  # fmt: skip
    assert "lab is learned in 3 parts" in found.notices[0]
    opened = open_files(path, parts=found.parts)
    read = opened.table.read(np.array([0, 60]), ["lab_3", "lab_5"])
    np.testing.assert_array_equal(read["lab_3"], wide()[[0, 60]][:, [3, 7]])
    scalings = opened.scalings
    whole = merged({n: opened.table.read(np.arange(N), [n])[n] for n in scalings}, scalings)["lab"]
    np.testing.assert_array_equal(whole, wide())


def test_vectors_without_such_cells_and_those_of_few_columns(tmp_path):
    x = vector()
    gone = np.where(np.arange(N)[:, None] % 3 == 0, np.nan, np.ones((N, 4)) * np.arange(N)[:, None])
    found = found_in(saved(tmp_path, lab=x, gone=gone))
    assert found.parts == {"lab": "each"}
    assert [m.name for m in found.modalities] == ["gone", *(f"lab_{c}" for c in range(5))]


def test_counts_stay_counts_and_their_doubt_is_told_once(tmp_path):
    counts = np.random.default_rng(0).negative_binomial(1, 0.3, size=(N, 4)).astype(float)
    counts[::3, 1] = np.nan
    found = found_in(saved(tmp_path, genes=counts))
    assert {m.kind for m in found.modalities} == {"counts"}
    told = [notice for notice in found.notices if "is taken for counts" in notice]
    assert len(told) == 1
    assert told[0].endswith("--config.modalities.genes.kind=vector")
    vectors = found_in(tmp_path / "d.npz", kinds={"genes": "vector"})
    assert {m.kind for m in vectors.modalities} == {"vector"}


def test_a_table_names_the_parts(tmp_path):
    frame = pd.DataFrame(vector(4), columns=["hb", "crp", "iron rows", "id 2"])
    frame.to_csv(tmp_path / "lab.csv", index=False)
    found = found_in(tmp_path / "lab.csv")
    assert [m.name for m in found.modalities] == ["lab_2", "lab_3", "lab_crp", "lab_hb"]
    assert open_files(tmp_path / "lab.csv", parts=found.parts).table.entries["lab_2"] == (
        "iron rows",
    )


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"lab": "all"}, "^parts: lab must be a list of lists of columns, or 'each', got 'all'"),
        ({"lab": [[0, 1], [2, 3]]}, "^parts: the column 4 of lab is in no part"),
        ({"lab": [[0, 1, 2], [2, 3, 4]]}, "^parts: the column 2 of lab is in several parts"),
        ({"lab": [[0, 9]]}, "^parts: lab has no column 9: it has 0 to 4"),
        ({"labs": "each"}, "^parts: labs is no vector"),
        (["lab"], "^parts must be"),
    ],
)
def test_parts_that_are_none(tmp_path, parts, message):
    with pytest.raises(ValueError, match=message):
        survey(saved(tmp_path, lab=vector()), parts=parts)


def test_vectors_that_cannot_be_split(tmp_path):
    many = np.random.default_rng(0).normal(size=(N, 130))
    many[np.arange(N)[:, None] == np.arange(130) % N] = np.nan
    many[:40, :] = np.where(np.random.default_rng(1).random((40, 130)) < 0.5, np.nan, many[:40])
    with pytest.raises(
        ValueError, match=r"^lab: NaN in part .* in 130 columns or groups .* at most 128"
    ):
        found_in(saved(tmp_path, lab=many))
    images = np.random.default_rng(0).random((N, 20, 20))
    images[3, 2, 1] = np.nan
    with pytest.raises(ValueError, match=r"^scan: NaN in part of 1 of 120 rows"):
        found_in(saved(tmp_path, scan=images))
    shares = np.abs(vector(4))
    with pytest.raises(
        ValueError, match=r"^lab cannot be of the kind composition where cells are missing"
    ):
        found_in(saved(tmp_path, lab=shares), kinds={"lab": "composition"})


def test_streams_that_are_shared():
    network = HubScore(sizes=(1, 2, 1), width=4, hub_width=4, num_blocks=1, streams=(0, 1, 0))
    x, levels = np.arange(8.0, dtype=np.float32).reshape(2, 4), np.zeros((2, 3), np.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), x, levels)["params"]
    assert shapes["enter_0"]["kernel"].shape == (4, 4)  # two latents and two levels
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    for stream, bias in (("leave_0", [1.0, 4.0]), ("leave_1", [2.0, 3.0])):
        params[stream]["bias"] = np.array(bias, np.float32)
    made = jax.jit(network.apply)({"params": params}, x, levels)
    np.testing.assert_allclose(made[0], [1, 2, 3, 4])  # in the order of the modalities
    odd = HubScore(sizes=(1, 2, 1), streams=(0, 2, 0))
    with pytest.raises(ValueError, match="streams must number the streams of 3 modalities"):
        jax.eval_shape(odd.init, jax.random.key(0), x, levels)


SCALINGS = {
    "lab_0": Scaling("vector", (2,), "float64", details=part_details("lab", (0, 2), 3)),
    "lab_1": Scaling("vector", (1,), "float64", details=part_details("lab", (1,), 3)),
}


def test_what_is_given_whole_is_split():
    given = split_given({"lab": [[1, None, 3]], "x": "y"}, SCALINGS)
    assert given["x"] == "y"
    np.testing.assert_array_equal(given["lab_0"], [[1.0, 3.0]])
    np.testing.assert_array_equal(merged(given, SCALINGS)["lab"], [[1.0, np.nan, 3.0]])
    for wrong, message in (
        ({"lab": [[1.0, 2.0]]}, r"^lab: examples must have shape \(3,\), got \(2,\)"),
        (
            {"lab": np.ones((1, 3)), "lab_1": np.ones((1, 1))},
            "^lab and its part lab_1 are both given",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            split_given(wrong, SCALINGS)


def test_holes_of_parts_are_holes_of_the_vector():
    whole = np.arange(12.0).reshape(4, 3)
    rows = Rows(
        raw={}, observed=np.ones((4, 2), bool), partial=np.zeros((4, 2), bool), scalings=SCALINGS,
        notices=(),
    )  # fmt: skip

    def of(name, columns, holes, value):
        shape = (2, len(columns))
        return {
            name: whole[:, columns], f"{name}_rows": np.array(holes),
            f"{name}_samples": np.full((2, 5, len(columns)), value), f"{name}_mean": np.full(shape, value),
            f"{name}_std": np.ones(shape),
        }  # fmt: skip

    about = {"lab_0": of("lab_0", [0, 2], [1, 3], 7.0), "lab_1": of("lab_1", [1], [0, 1], 8.0)}
    found = join_parts(about, rows)["lab"]
    assert found["lab_rows"].tolist() == [0, 1, 3]
    np.testing.assert_array_equal(found["lab"], whole)
    np.testing.assert_array_equal(found["lab_samples"][:, 4], [[0, 8, 2], [7, 8, 7], [7, 10, 7]])
    np.testing.assert_array_equal(found["lab_mean"], [[0, 8, 2], [7, 8, 7], [7, 10, 7]])
    np.testing.assert_array_equal(found["lab_std"], [[0, 1, 0], [1, 1, 1], [1, 0, 1]])
    complete = {name: {name: of[name]} for name, of in about.items()}
    assert list(join_parts(complete, rows)["lab"]) == ["lab"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the folder of a run, and its model, on a vector in parts and another one."""
    folder = tmp_path_factory.mktemp("parts")
    other = np.random.default_rng(3).normal(size=(N, 2))
    model = sbmae_jax.fit(
        {"lab": vector(3), "other": other}, num_steps=1, quiet=True, workdir=folder / "run",
        coders={"other": "identity"},
    )  # fmt: skip
    return folder, model, other


@pytest.mark.slow
def test_holes_are_filled_and_what_was_measured_stays(trained):
    folder, model, other = trained
    config = json.loads((folder / "run" / "config.json").read_text())
    assert config["data"]["parts"] == {"lab": "each"}
    assert config["network"]["streams"] == [0, 0, 0, 1]
    rows = vector(3)[:8]
    assert np.isnan(rows).any(axis=1).sum() not in (0, 8)
    found = model.impute({"lab": rows, "other": other[:8]}, num_samples=3, key=1)
    known = ~np.isnan(rows)
    np.testing.assert_array_equal(found.filled["lab"][known], rows[known])
    assert np.isfinite(found.filled["lab"]).all()
    assert set(found.samples) == set(found.rows) == {"lab"}
    holes = found.rows["lab"]
    np.testing.assert_array_equal(holes, np.flatnonzero(~known.all(axis=1)))
    np.testing.assert_array_equal(np.ptp(found.samples["lab"], axis=1) == 0, known[holes])
    np.savez(folder / "new.npz", lab=rows, other=other[:8])
    done = pipeline.impute(folder / "run", folder / "new.npz", folder / "filled.npz", num_samples=3)
    assert done.num_filled == {"lab": len(holes), "other": 0}
    with np.load(folder / "filled.npz") as filled:
        assert set(filled) == {
            "lab", "lab_rows", "lab_samples", "lab_mean", "lab_std", "other",
        }  # fmt: skip
        np.testing.assert_array_equal(filled["lab"][holes], filled["lab_mean"])
        np.testing.assert_array_equal(filled["lab_std"] == 0, known[holes])


@pytest.mark.slow
def test_whole_vectors_and_parts_are_given(trained):
    _, model, _ = trained
    made = model.generate({"lab_1": [[0.5]]}, num_samples=4)
    assert {name: x.shape for name, x in made.items()} == {"lab": (1, 4, 3), "other": (1, 4, 2)}
    assert (made["lab"][..., 1] == 0.5).all()
    assert model.generate({}, num_samples=2)["lab"].shape == (2, 3)
    with pytest.raises(ValueError, match=r"^lab_1 has a hole in row 0: use impute"):
        model.generate({"lab": [[1.0, None, 2.0]]})
    given = read_given(["lab=1,,2.5"], model.modalities, _describe(model))
    assert {name: x.tolist() for name, x in given.items()} == {"lab_0": [1.0], "lab_2": [2.5]}
    with pytest.raises(ValueError, match=r"^--given lab: write 3 comma-separated numbers"):
        read_given(["lab=1"], model.modalities, _describe(model))


def _describe(model):
    return Description({}, {}, dict(model.entries), dict(model.scalings))
