"""The Python blocks of the README run as they stand; its tables are held by test_benchmarks."""

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
