"""The Python blocks of the README run as they stand, after a run with the README's workdir."""

import re
from pathlib import Path

import runs

from sbmae_jax import pipeline

README = Path(__file__).parents[1] / "README.md"


def test_the_code_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = runs.tiny_config()
    config["modalities"]["coffee"] = config["modalities"]["hubble"]
    pipeline.run(config, "runs/polydigits", "autoencoders")
    pipeline.run(config, "runs/polydigits", "score")
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert len(blocks) == 2
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["joint"].keys() == config["modalities"].keys()
