"""An exported model runs without Flax and without this package, for any number of rows."""

import dataclasses
import subprocess
import sys

import golden_model
import jax
import numpy as np
import pytest
from opening import one_sentence
from test_pickled import model_of

from sbmae_jax.models.model import draw
from sbmae_jax.models.noise_levels import MAX_LOG_SNR

# What is not JAX, NumPy or flatbuffers is blocked.
SCRIPT = """
import sys
for name in ("flax", "sbmae_jax", "optax", "orbax", "etils", "safetensors"):
    sys.modules[name] = None
from pathlib import Path
import jax
import jax.export
import numpy as np
run = jax.export.deserialize(bytearray(Path(sys.argv[1]).read_bytes()))
with np.load(sys.argv[2]) as found:
    batch = {name: found[name] for name in found.files if name not in ("key", "observed")}
    key, observed = found["key"], found["observed"]
for num in map(int, sys.argv[4:]):
    made = run.call(key, {name: x[:num] for name, x in batch.items()}, observed[:num])
    np.savez(f"{sys.argv[3]}-{num}.npz", **made)
"""


def renamed(rows):
    """Return rows whose names can be those of files in an archive."""
    return {name.replace("/", "|"): x for name, x in rows.items()}


def with_plain_names():
    """Return the golden model with names that `np.savez` takes."""
    model = golden_model.build()
    names = {m.name: m.name.replace("/", "|") for m in model.modalities}
    autoencoders = {names[name]: p for name, p in model.params["autoencoders"].items()}
    return dataclasses.replace(
        model,
        params=model.params | {"autoencoders": autoencoders},
        modalities=tuple(dataclasses.replace(m, name=names[m.name]) for m in model.modalities),
    )


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.slow
def test_a_process_without_flax_completes_the_same(tmp_path, monkeypatch, noise):
    model, (rows, observed) = with_plain_names(), golden_model.given()
    model.export(tmp_path / "model.jax", noise=noise)
    key = np.array([0, 5], np.uint32)
    np.testing.assert_array_equal(key, jax.random.key_data(jax.random.key(5)))
    np.savez(tmp_path / "given.npz", key=key, observed=observed, **renamed(rows))
    monkeypatch.delenv("XLA_FLAGS")
    paths = [str(tmp_path / name) for name in ("model.jax", "given.npz", "made")]
    subprocess.run([sys.executable, "-c", SCRIPT, *paths, "4", "1"], check=True, timeout=300)
    whole = draw(model, jax.random.key(5), renamed(rows), observed) if noise else None
    wanted = renamed(golden_model.samples(golden_model.build())) if whole is None else whole
    for num in (4, 1):
        with np.load(tmp_path / f"made-{num}.npz") as made:
            assert set(made.files) == set(wanted)
            for name, x in wanted.items():
                np.testing.assert_allclose(made[name], x[:num], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("options", [
    pytest.param({"score": "mlp", "sde": "sub_vp", "energy": "pair"}, marks=pytest.mark.slow),
    pytest.param({"score": "transformer", "sde": "ve", "energy": "tower"}, marks=pytest.mark.slow),
    pytest.param({"score": "unet", "networks": ("patch", "vector")}, marks=pytest.mark.slow),
    {"networks": ("resnet", "dense")},
], ids=str)  # fmt: skip
def test_all_networks_can_be_exported_for_all_platforms(tmp_path, options):
    model, path = model_of(**options), tmp_path / "folder" / "model.jax"
    for conditioning in ("amortised", "clamp", "renoise"):
        other = model.with_sampling(conditioning=conditioning, num_corrections=1)
        other.export(path, noise=True, platforms=["cpu", "cuda", "rocm", "tpu"])
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "rocm", "tpu")
    assert [str(a.shape[0]) for a in exported.out_avals] == ["rows", "rows"]


class Counting:
    """A score network that needs to know the number of rows."""

    @staticmethod
    def apply(params, x, log_snr):
        return MAX_LOG_SNR * x / len(x)


def test_what_cannot_be_exported_is_refused_in_one_sentence(tmp_path):
    model, path = golden_model.build(), tmp_path / "model.jax"
    counting = dataclasses.replace(model, score_network=Counting())
    with pytest.raises(
        ValueError, match=r"cannot be exported .*x\.shape\[0\] instead of len"
    ) as error:
        counting.export(path)
    one_sentence(error)
    for platforms in ("cpu", [], ["gpu"]):
        with pytest.raises(ValueError, match="platforms must be a list of cpu, cuda, rocm, tpu"):
            model.export(path, platforms=platforms)
    with pytest.raises(ValueError, match="is a folder"):
        model.export(tmp_path)
    assert not path.exists()
