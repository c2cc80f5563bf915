"""The Python blocks of the README run as they stand, and its numbers are the measured ones."""

import importlib.util
import json
import re
from pathlib import Path

import tiny

from sbmae_jax.app import pipeline

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def test_the_code_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tiny.config()
    config["modalities"]["coffee"] = config["modalities"]["hubble"]
    pipeline.run(config, "runs/polydigits", "autoencoders")
    pipeline.run(config, "runs/polydigits", "score")
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert len(blocks) == 2
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["joint"].keys() == config["modalities"].keys()


def script(name):
    """Import one of the scripts, which are no part of the package."""
    spec = importlib.util.spec_from_file_location("bench", ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_the_readme_is_the_measured_one():
    page = json.loads((ROOT / "results" / "polydigits.json").read_text())
    assert script("polydigits").markdown(page) in README.read_text()
    assert page["command"] in README.read_text()


def test_the_table_of_ten_modalities_is_the_measured_one():
    claims = script("polymnist_claims")
    page = json.loads((ROOT / "results" / "polymnist.json").read_text())
    assert claims.table(page, claims.SHORT) in README.read_text()
    assert page["runs"]["command"] in README.read_text()
