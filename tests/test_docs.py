"""The code on the pages of the documentation runs; their tables are held by test_benchmarks."""

import json
import re
import sys
import types
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
PAGES = ["docs/sampling.md", "docs/results.md"]


def blocks_of(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_every_code_block_can_be_traced(page):
    # Compiling what a page does takes half a minute; tracing it finds every name, argument and shape wrong.
    blocks = [block for block in blocks_of(page) if "matplotlib" not in block]
    assert blocks

    def program():
        exec(compile("\n".join(blocks), page, "exec"), {})

    jax.eval_shape(program)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_code_block_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # matplotlib's own, if any
        exec(compile("\n".join(blocks_of(page)), page, "exec"), {})
    assert page != "docs/sampling.md" or (tmp_path / "sampling.png").exists()


@pytest.mark.slow
def test_the_page_from_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks_of("docs/python.md"):
        quick = block.replace("minutes=1", "num_steps=60, quiet=True")
        exec(compile(quick, "docs/python.md", "exec"), names)
    assert names["ill"]["lab"].shape == (2, 10, 3)
    assert not np.isnan(names["found"].filled["lab"]).any()
    assert names["by_heun"]["lab"].shape == names["checked"]["lab"].shape == (2, 10, 3)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_home_page_runs():
    names: dict[str, Any] = {}
    for block in blocks_of("docs/index.md"):
        exec(
            compile(
                block.replace("minutes=1", "num_steps=60, quiet=True"), "docs/index.md", "exec"
            ),
            names,
        )
    assert names["made"]["torque"].shape == (2, 10, 3)


@pytest.mark.slow
def test_the_page_on_own_parts_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("own_parts_of_the_page")  # where imports find what the page defines
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in blocks_of("docs/own_parts.md"):
        quick = block.replace("minutes=1", "num_steps=30")
        exec(compile(quick, "docs/own_parts.md", "exec"), module.__dict__)
    assert type(module.model.score_network).__name__ == "HubScore"
    results = json.loads((tmp_path / "my_run" / "results.json").read_text())
    assert set(results["errors"]) == {"left", "right"}


def test_own_data_are_surveyed_and_filled_as_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/your_data.md").read_text()
    *blocks, last = blocks_of("docs/your_data.md")
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


def test_a_model_is_kept_and_shared_as_the_page_says(finished_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "polydigits").symlink_to(finished_run)
    # In place of the Hub, for which test_hub has a server.
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: "models/digits")
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks_of("docs/models.md"):
        exec(compile(block, "docs/models.md", "exec"), names)
    sizes = {p.name: p.stat().st_size for p in (tmp_path / "models").glob("*.safetensors")}
    assert sizes["small.safetensors"] < 0.6 * sizes["digits.safetensors"]
    assert names["samples"]["hubble"].shape == (4, 28, 28, 3)
    assert names["made"]["retina"].shape == (16, 28, 28, 3)
    jax.block_until_ready(names["made"])
