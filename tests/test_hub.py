"""A model on the Hub, here a server on this machine, is loaded by its name."""

import json
import os
import shutil
import subprocess
import sys

import fake_hub
import golden_model
import pytest

from sbmae_jax import load

# Prints the number of levels of each model, or what loading it raises.
SCRIPT = """
import json, sys
from sbmae_jax import load
said = []
for url in sys.argv[1:]:
    try:
        said.append(load(url).sampling.num_levels)
    except Exception as error:
        said.append(f"{type(error).__name__}: {error}")
print(json.dumps(said))
"""


def loaded(folder, endpoint, *urls):
    """Return what `SCRIPT` prints for some addresses."""
    settings = {
        "HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "cache"), "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
    }  # fmt: skip
    command = [sys.executable, "-c", SCRIPT, *urls]
    done = subprocess.run(
        command, env=os.environ | settings, capture_output=True, text=True, timeout=300, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_model_on_the_hub_is_loaded_by_its_name(tmp_path):
    one, other, page = (tmp_path / name for name in ("one", "other", "page"))
    golden_model.build().save(one)
    (one / "README.md").write_text("A model card.")
    (one / "weights.pickle").write_bytes(b"not for us")
    # One file with all in it, under the name that the Hub knows.
    golden_model.build().with_sampling(num_levels=7).save(tmp_path / "single.safetensors")
    other.mkdir()
    shutil.copy(tmp_path / "single.safetensors", other / "model.safetensors")
    page.mkdir()
    (page / "README.md").write_text("No model.")
    with fake_hub.serve({"u/one": one, "u/other": other, "u/page": page}) as endpoint:
        urls = ["u/one", "u/one@v1", "u/other", "u/page", "u/no", "u/one@v9"]
        found = loaded(tmp_path, endpoint, *(f"hf://{url}" for url in urls))
    assert found[:3] == [4, 4, 7]
    assert found[3].startswith("ValueError: hf://u/page has no saved model: upload the model.json")
    for name, said in (("u/no", found[4]), ("u/one@v9", found[5])):
        assert said.startswith(f"ValueError: hf://{name} cannot be downloaded (")
        assert "\n" not in said
    assert not list((tmp_path / "cache").rglob("weights.pickle"))
    # What was downloaded is kept: it is there without the server.
    found = loaded(tmp_path, endpoint, "hf://u/one", "hf://u/never")
    assert found[0] == 4
    assert "hf://u/never cannot be downloaded" in found[1]


@pytest.mark.parametrize("url", ["hf://", "hf://one", "hf://u/one/two/three", "hf://u/one@"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ValueError, match="a model on the Hub is hf://USER/NAME or hf://USER/NAME@"):
        load(url)


def test_without_the_hub_s_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match=r"^hf://u/one needs huggingface_hub, .* pip install 'sbmae_jax\[hub\]'$"
    ):
        load("hf://u/one")
