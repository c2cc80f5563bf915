"""The pages of the documentation run, and the numbers they quote are the measured ones."""

import json
import re
import warnings
from pathlib import Path

import pytest

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


def test_the_tables_of_faces_are_the_measured_ones(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import celeba_claims

    page = json.loads((ROOT / "results/celeba.json").read_text())
    text = (ROOT / "docs/faces.md").read_text()
    for table in (
        celeba_claims.markdown, celeba_claims.guidance_table, celeba_claims.sampler_table,
    ):  # fmt: skip
        assert table(page) in text
    assert page["command"] in text


def test_the_tables_of_extended_polymnist_are_the_measured_ones(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import polymnist_claims as claims

    page = json.loads((ROOT / "results/polymnist.json").read_text())
    text = (ROOT / "docs/polymnist.md").read_text()
    assert claims.table(page) in text
    assert page["runs"]["command"] in text
    for part, title in claims.TITLES.items():
        if part not in page:
            continue
        assert claims.rows_table(page[part]["rows"], title) in text
        assert page[part]["command"] in text


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
