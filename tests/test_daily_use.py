"""What users do with a trained model of their own data: other orders, other units, hard ranges. Slow."""

import numpy as np
import pytest
from PIL import Image

from sbmae_jax import load
from sbmae_jax.app import pipeline
from sbmae_jax.configs import custom

N = 150


def train(path, workdir, **data):
    config = custom.get_config("smoke").to_dict()
    config["data"] |= {"path": str(path)} | data
    pipeline.run(config, workdir, "autoencoders")
    pipeline.run(config, workdir, "score")
    return load(workdir)


def write_csv(path, columns):
    lines = [columns, *zip(*columns.values(), strict=True)]
    path.write_text("\n".join(",".join(map(str, line)) for line in lines) + "\n")


@pytest.mark.slow
def test_tables_in_any_order_are_imputed_alike(tmp_path):
    rng = np.random.default_rng(0)
    a = rng.normal(size=N)
    columns = {
        "id": [f"r{i}" for i in range(N)], "a": a, "time": 1.7e9 + 20 * rng.normal(size=N),
        "cls": np.where(a > 0, "plus", "minus"), "note": ["free text"] * N,
    }  # fmt: skip
    (tmp_path / "train").mkdir()
    write_csv(tmp_path / "train" / "lab.csv", columns)
    model = train(tmp_path / "train", tmp_path / "run", leave_out=("note",))
    time = model.generate({}, num_samples=200, noise=True)["lab"][:, 1]
    assert time.dtype == np.float64
    assert len(np.unique(time)) == 200
    assert np.abs(time - 1.7e9).max() < 1e4
    columns["cls"] = np.where(np.arange(N) < 40, "NA", columns["cls"])
    filled = []
    for name, order in (("lab", list(columns)), ("patients", ["time", "cls", "note", "id", "a"])):
        (tmp_path / name).mkdir()
        write_csv(tmp_path / name / f"{name}.csv", {key: columns[key] for key in order})
        out = tmp_path / f"{name}.npz"
        done = pipeline.impute(tmp_path / "run", tmp_path / name, out, num_samples=3)
        assert done.num_filled == {"cls": 40, "lab": 0}
        with np.load(out) as arrays:
            filled.append(dict(arrays))
    assert set(filled[0]["cls"]) == {"plus", "minus"}
    for name, array in filled[0].items():
        np.testing.assert_array_equal(array, filled[1][name])


@pytest.mark.slow
def test_large_counts_odd_images_and_other_units(tmp_path):
    rng = np.random.default_rng(0)
    counts = rng.integers(5_000_000, 20_000_000, (N, 2))
    photo = rng.integers(0, 256, (N, 9, 7), np.uint8)
    np.savez(tmp_path / "own.npz", counts=counts, photo=photo)
    model = train(tmp_path / "own.npz", tmp_path / "run")
    made = model.generate({}, num_samples=300, noise=True)
    assert made["counts"].dtype == np.int64
    assert made["photo"].dtype == np.uint8
    assert made["photo"].shape == (300, 9, 7)
    low, high = np.quantile(made["counts"], (0.1, 0.9))
    assert 4e6 < low < high < 25e6
    given = {"photo": photo[:4]}
    wanted = model.generate(given, key=1)["counts"]
    with pytest.warns(UserWarning, match=r"photo: floats in 0..1 were multiplied by 255"):
        same = model.generate({"photo": photo[:4] / 255}, key=1)["counts"]
    np.testing.assert_array_equal(same, wanted)
    Image.fromarray(photo[0]).save(tmp_path / "photo.png")
    page = pipeline.generate(
        tmp_path / "run", [f"photo={tmp_path / 'photo.png'}"], 2, tmp_path / "out"
    )
    assert page.exists()
    table = (tmp_path / "out" / "counts.csv").read_text().splitlines()
    assert all(cell.isdecimal() for line in table[1:] for cell in line.split(","))
