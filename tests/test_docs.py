"""The code on the pages of the documentation runs; their tables are held by test_benchmarks."""

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


def test_the_joint_family_is_used_as_the_page_says():
    text = (ROOT / "docs/results.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(block, "docs/results.md", "exec"), {})
