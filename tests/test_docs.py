"""The pages of the documentation run, and the numbers they quote are the measured ones."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from sbmae_jax.app.impute import impute_file
from sbmae_jax.data.description import describe
from sbmae_jax.data.user.files import files

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["docs/sampling.md"]


@pytest.mark.parametrize("page", PAGES)
def test_every_code_block_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / page).read_text()
    program = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    assert program
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # matplotlib's own, if any
        exec(compile(program, page, "exec"), {})
    assert (tmp_path / "sampling.png").exists()


def test_own_data_are_surveyed_and_filled_as_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/your_data.md").read_text()
    *blocks, last = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/your_data.md", "exec"), names)
    assert f"```\n{capsys.readouterr().out}```" in text
    # A generator in place of the trained one: what the page says of the file does not depend on it.
    data = describe(files("train", path="digits.npz"))

    def draw(key, batch, observed):
        rng = np.random.default_rng(int(jax.random.bits(key)))
        return {name: rng.normal(size=batch[name].shape) for name in data.scalings}

    impute_file(draw, data, "new.npz", "filled.npz")
    exec(compile(last, "docs/your_data.md", "exec"), names)
    assert names["samples"].shape == (50, 20, 64)
    assert names["mean"].shape == names["std"].shape == (50, 64)


def test_the_tables_of_faces_are_the_measured_ones(script):
    celeba_claims = script("celeba_claims")
    page = json.loads((ROOT / "results/celeba.json").read_text())
    text = (ROOT / "docs/faces.md").read_text()
    for table in (
        celeba_claims.markdown, celeba_claims.guidance_table, celeba_claims.sampler_table,
    ):  # fmt: skip
        assert table(page) in text
    assert page["command"] in text


def test_the_tables_of_extended_polymnist_are_the_measured_ones(script):
    claims = script("polymnist_claims")
    page = json.loads((ROOT / "results/polymnist.json").read_text())
    text = (ROOT / "docs/polymnist.md").read_text()
    assert claims.table(page) in text
    assert page["runs"]["command"] in text
    for part, title in claims.TITLES.items():
        assert claims.rows_table(page[part]["rows"], title) in text
        assert page[part]["command"] in text


def test_the_tables_of_own_data_are_the_measured_ones(script):
    own_data = script("own_data")
    page = json.loads((ROOT / "results/own_data.json").read_text())
    text = (ROOT / "docs/your_data.md").read_text()
    assert own_data.vectors_table(page) in text
    assert own_data.missing_table(page) in text
    assert own_data.claims(page) == page["claims"]


def test_the_tables_of_rivals_are_the_measured_ones(script):
    tables = script("peers_tables")
    path, text = ROOT / "results/peers.json", (ROOT / "docs/results.md").read_text()
    page = json.loads(path.read_text()) if path.exists() else {}
    assert tables.fill(text, page) == text
    parts = [part for part, _ in tables.TABLES.values()]
    assert text.count(tables.MISSING) == sum(part not in page for part in parts)


def test_the_joint_family_is_used_as_the_page_says():
    text = (ROOT / "docs/results.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(block, "docs/results.md", "exec"), {})


def test_quoted_ratios_are_the_measured_ones():
    rows = json.loads((ROOT / "results/samplers.json").read_text())["rows"]
    measured = {}
    for row in rows:
        if row["distribution"] == "mixture" and "ratio" in row:
            name = row["sampler"], row["conditioning"]
            measured.setdefault(name, []).append(f"{row['ratio']:.2f}")
    quoted = {}
    for line in (ROOT / "docs/sampling.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and "---" not in cells and cells[-1][0].isdigit():
            first = 1 if len(cells) == 6 else 2
            name = tuple(cells[:first]) if first == 2 else (cells[0], "none")
            if name in measured:
                quoted[name] = [cell for cell in cells[first : first + 5] if cell != "-"]
    assert quoted == measured


def test_the_tables_of_scaling_are_the_measured_ones(script):
    scale, scale_tables = script("scale"), script("scale_tables")
    page = json.loads((ROOT / "results/scale.json").read_text())
    text = (ROOT / "docs/scaling.md").read_text()
    for table in (
        scale_tables.memory_table, scale_tables.roofline_table, scale_tables.claims_table,
    ):  # fmt: skip
        assert table(page) in text
    assert scale.claims(page) == page["claims"]
