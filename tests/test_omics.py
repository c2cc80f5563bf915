"""Files of AnnData and MuData, and data sets that Hugging Face saved to disk."""

import warnings

import numpy as np
import pandas as pd
import pytest
from opening import one_sentence, rows_of

from sbmae_jax.app.impute import impute_file
from sbmae_jax.data.description import describe
from sbmae_jax.data.user.files import files
from sbmae_jax.data.user.survey import survey
from sbmae_jax.data.user.tables import open_table
from sbmae_jax.models.rows import read_rows

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    anndata = pytest.importorskip("anndata")
    mudata = pytest.importorskip("mudata")
datasets = pytest.importorskip("datasets")
sparse = pytest.importorskip("scipy.sparse")

N = 40
RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(2, (N, 5)).astype(np.float32)
GENES = [f"gene{i}" for i in range(5)]


def cells(is_sparse=True):
    data = anndata.AnnData(
        X=sparse.csr_matrix(COUNTS) if is_sparse else COUNTS,
        obs=pd.DataFrame(
            {
                "tissue": pd.Categorical(RNG.choice(["lung", "skin"], N)),
                "age": RNG.normal(50, 9, N), "weight": RNG.normal(70, 9, N),
            },
            index=[f"cell{i}" for i in range(N)],
        ),
        var=pd.DataFrame(index=GENES),
    )  # fmt: skip
    data.layers["logged"] = np.log1p(COUNTS)
    data.obsm["protein"] = pd.DataFrame(
        {"cd3": COUNTS[:, 0], "cd4": COUNTS[:, 1]}, index=data.obs_names
    )
    data.obsm["spatial"] = COUNTS[:, :2] * 0.1
    return data


@pytest.mark.parametrize("is_sparse", [True, False])
@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"
)
def test_the_matrices_and_columns_of_an_h5ad_file_are_modalities(tmp_path, is_sparse):
    path = tmp_path / "lung.h5ad"
    cells(is_sparse).write_h5ad(path)
    table = open_table(path)
    assert table.shapes == {
        "X": (5,), "logged": (5,), "protein": (2,), "spatial": (2,), "obs": (2,), "tissue": (),
    }  # fmt: skip
    read = rows_of(table, [7, 3, 3, 39])
    np.testing.assert_array_equal(read["X"], COUNTS[[7, 3, 3, 39]])
    np.testing.assert_allclose(read["logged"], np.log1p(COUNTS[[7, 3, 3, 39]]))
    assert table.entries["X"] == tuple(GENES)
    assert table.entries["protein"] == ("cd3", "cd4")
    assert set(open_table(path, groups="each").names) >= {"age", "weight"}
    assert {m.name for m in survey(path, leave_out=("logged", "spatial", "age")).modalities} == {
        "X", "obs", "protein", "tissue",
    }  # fmt: skip


@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"
)
def test_genes_of_new_cells_are_found_by_their_names(tmp_path):
    cells().write_h5ad(tmp_path / "lung.h5ad")
    data = describe(files("train", path=tmp_path / "lung.h5ad"))
    new = cells()[:, GENES[::-1]].copy()
    new.write_h5ad(tmp_path / "new.h5ad")
    found = read_rows(open_table(tmp_path / "new.h5ad", like=data), data, "refuse")
    np.testing.assert_array_equal(found.raw["X"], COUNTS)
    cells()[:, GENES[1:]].copy().write_h5ad(tmp_path / "few.h5ad")
    with pytest.raises(
        ValueError, match="lacks 1 columns that the training data had in X, such as gene0"
    ):
        open_table(tmp_path / "few.h5ad", like=data)
    (tmp_path / "bad.h5ad").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"bad.h5ad cannot be read \(.*write it again") as refused:
        open_table(tmp_path / "bad.h5ad")
    one_sentence(refused)
    clash = cells()
    clash.obs["protein"] = ["a", "b"] * (N // 2)
    clash.write_h5ad(tmp_path / "clash.h5ad")
    with pytest.raises(ValueError, match="two arrays 'protein': give each array its own name"):
        open_table(tmp_path / "clash.h5ad")


@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"
)
def test_cells_that_a_modality_of_mudata_lacks_are_missing(tmp_path):
    whole = cells()
    rna, protein = whole[:30].copy(), anndata.AnnData(COUNTS[10:, :2] + 0.5)
    del rna.layers["logged"], rna.obsm["protein"], rna.obsm["spatial"]
    protein.obs_names = whole.obs_names[10:]
    mudata.MuData({"rna": rna, "prot": protein}).write(tmp_path / "both.h5mu")
    table = open_table(tmp_path / "both.h5mu")
    assert {"rna", "prot"} <= set(table.names)
    assert table.num_rows == N
    assert (~table.present["rna"]).sum() == 10
    assert (~table.present["prot"]).sum() == 10
    rows = np.flatnonzero(table.present["prot"])
    assert sorted(rows_of(table, rows)["prot"].tolist()) == sorted((COUNTS[10:, :2] + 0.5).tolist())


@pytest.mark.parametrize("several", [False, True])
def test_a_data_set_that_hugging_face_saved_is_read(tmp_path, several):
    features = datasets.Features({
        "v": datasets.Sequence(datasets.Value("float32"), length=2), "n": datasets.Value("int16"),
        "c": datasets.ClassLabel(names=["no", "yes"]), "w": datasets.Value("string"),
        "ragged": datasets.Sequence(datasets.Value("float32")),
    })  # fmt: skip
    rows = {
        "v": COUNTS[:, :2].tolist(), "n": [None, *range(1, N)], "c": [0, 1] * (N // 2),
        "w": ["a", "b"] * (N // 2), "ragged": [[1.0] * (i % 3) for i in range(N)],
    }  # fmt: skip
    data = datasets.Dataset.from_dict(rows, features=features)
    if several:
        parts = {"train": data.select(range(30)), "test": data.select(range(30, N))}
        data = datasets.DatasetDict(parts)
    data.save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(ValueError, match="ragged is ragged: row 1 has shape"):
        survey(tmp_path / "saved")
    found = survey(tmp_path / "saved", leave_out=("ragged",))
    assert {m.name: m.kind for m in found.modalities}["c"] == "category"
    assert found.num_rows["test"] == (10 if several else 4)
    source = files("train", path=tmp_path / "saved", names=["v", "n", "c", "w"])
    table = source.opened.table
    np.testing.assert_array_equal(rows_of(table, np.arange(N))["v"], COUNTS[:, :2])
    assert table.dtypes["n"] == np.int16
    assert np.flatnonzero(~table.present["n"]).tolist() == [0]
    assert rows_of(table, [0, 1])["c"].tolist() == ["no", "yes"]
    data = describe(source)
    assert (
        read_rows(open_table(tmp_path / "saved", like=data), data, "refuse").observed.sum()
        == 4 * N - 1
    )
    for file in (tmp_path / "saved").rglob("*.arrow"):
        file.write_bytes(b"none")
    with pytest.raises(ValueError, match="cannot be read as a data set of Hugging Face"):
        open_table(tmp_path / "saved")


# ---------------------------------------------------------------- holes filled into the file


def filled_file(folder, new, path=None, data=None):
    """Train on all cells, fill new ones with a value for each modality, and read what is written."""
    folder = folder / str(len(list(folder.iterdir())))  # a file that is read stays open
    folder.mkdir()
    if data is None:
        cells().write_h5ad(folder / "lung.h5ad")
        data = describe(files("train", path=folder / "lung.h5ad"))
    new.write_h5ad(folder / "new.h5ad")

    def draw(key, batch, observed):
        del key
        return {
            name: np.full((len(observed), *scaling.shape), 1.0, np.float32)
            if scaling.kind != "category" else np.tile([0.1, 0.9], (len(observed), 1))
            for name, scaling in data.scalings.items()
        }  # fmt: skip

    impute_file(draw, data, folder / "new.h5ad", folder / (path or "out.h5ad"), num_samples=2)
    return anndata.read_h5ad(folder / "out.h5ad")


def with_holes(is_sparse=True):
    new = cells(is_sparse)[:, GENES[::-1]].copy()
    matrix = new.X.toarray() if is_sparse else new.X
    matrix[3] = np.nan
    new.X = sparse.csc_matrix(matrix) if is_sparse else matrix
    new.layers["logged"][5] = np.nan
    new.obsm["protein"].iloc[2] = np.nan
    new.obs.iloc[4, new.obs.columns.get_loc("tissue")] = None
    new.obs.loc["cell6", ["age", "weight"]] = np.nan
    return new


@pytest.mark.parametrize("is_sparse", [True, False])
@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"
)
def test_holes_of_an_h5ad_file_are_filled_in_place(tmp_path, is_sparse):
    new = with_holes(is_sparse)
    out = filled_file(tmp_path, new)
    x = out.X.toarray() if is_sparse else out.X
    assert not is_sparse or out.X.format == "csc"
    assert out.X.dtype == np.float32
    kept = np.arange(N) != 3
    np.testing.assert_array_equal(x[kept], COUNTS[kept][:, ::-1])
    assert np.isfinite(x[3]).all()
    logged = out.layers["logged"]
    np.testing.assert_array_equal(np.delete(logged, 5, 0), np.delete(new.layers["logged"], 5, 0))
    assert np.isfinite(logged[5]).all()
    assert out.obsm["protein"].columns.tolist() == ["cd3", "cd4"]
    assert np.isfinite(out.obsm["protein"].to_numpy()).all()
    pd.testing.assert_frame_equal(out.obs[["age"]].drop("cell6"), new.obs[["age"]].drop("cell6"))
    assert out.obs["tissue"].dtype == "category"
    assert out.obs["tissue"].iloc[4] == "skin"
    assert out.obs.notna().all(axis=None)
    assert out.var_names.tolist() == GENES[::-1]
    assert out.obs_names.tolist() == new.obs_names.tolist()


@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"
)
def test_matrices_and_columns_that_an_h5ad_file_lacks_are_added(tmp_path):
    new = cells(is_sparse=False)
    del new.layers["logged"], new.obsm["protein"], new.obs["tissue"]
    out = filled_file(tmp_path, new)
    assert out.layers["logged"].shape == (N, 5)
    assert out.obsm["protein"].columns.tolist() == ["cd3", "cd4"]
    assert set(out.obs["tissue"]) == {"skin"}
    del new.obsm["spatial"]
    assert filled_file(tmp_path, new).obsm["spatial"].shape == (N, 2)


@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"
)
def test_single_cells_of_a_matrix_that_is_learned_in_parts_are_filled(tmp_path):
    training = cells(is_sparse=False)[:, GENES[:2]].copy()
    training.X[::4, 1] = np.nan
    for part in (training.layers, training.obsm):
        part.clear()
    training.write_h5ad(tmp_path / "some.h5ad")
    parts = survey(tmp_path / "some.h5ad", partial_rows="split").parts
    data = describe(files("train", path=tmp_path / "some.h5ad", parts=parts))
    assert "X" not in data.scalings
    out = filled_file(tmp_path, training, data=data)
    holes = np.isnan(training.X)
    np.testing.assert_array_equal(out.X[~holes], training.X[~holes])
    assert np.isfinite(out.X).all()


@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"
)
def test_outputs_that_cannot_be_written_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"a \.csv output needs a \.csv or .* input, and .*new\.h5ad"
    ):
        filled_file(tmp_path, with_holes(), "out.csv")
    with pytest.raises(
        ValueError, match=r"out\.h5mu must end in \.npz, .*: choose \.npz"
    ) as refused:
        filled_file(tmp_path, with_holes(), "out.h5mu")
    one_sentence(refused)
    cells().write_h5ad(tmp_path / "lung.h5ad")
    data = describe(files("train", path=tmp_path / "lung.h5ad"))
    np.savez(tmp_path / "obs.npz", X=COUNTS)
    with pytest.raises(ValueError, match=r"a \.h5ad output needs a \.h5ad input, and .*obs\.npz"):
        impute_file(lambda *_: {}, data, tmp_path / "obs.npz", tmp_path / "out.h5ad")
