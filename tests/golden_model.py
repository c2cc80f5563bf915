"""The model that `golden/model_v1` holds in version 1 of the format; later versions must load it.

`python tests/golden_model.py FOLDER` writes such a folder. What is committed is never written again: a new
version of the format gets a folder of its own beside it.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from networks import filled

from sbmae_jax.data.scaling import Scaling
from sbmae_jax.models.autoencoder import Autoencoder, Modality
from sbmae_jax.models.latents import Moments
from sbmae_jax.models.model import Model, complete
from sbmae_jax.nets.dense import DenseDecoder, DenseEncoder
from sbmae_jax.nets.energy import TowerEnergy
from sbmae_jax.nets.hub import HubScore
from sbmae_jax.nets.patch import PatchDecoder, PatchEncoder
from sbmae_jax.nets.vector import VectorDecoder, VectorEncoder
from sbmae_jax.sampling.generate import SamplingConfig
from sbmae_jax.sampling.sde import VP

FOLDER = Path(__file__).parent / "golden" / "model_v1"
SCALINGS = {
    "lab/é": Scaling("vector", (3,), "float64", np.array([1.0, 0.1, -3.7]), np.array([2.0, 0.3, 1e-3])),
    "photo": Scaling("image", (7, 8, 1), "uint8", scale=np.array(255.0)),
    "town": Scaling("category", (), "str", classes=("Bonn", "Oslo", "Århus")),
}  # fmt: skip
SIZES = {"lab/é": 2, "photo": 3, "town": 2}
# As literals: what JAX computes has other last bits with other options of its compiler.
MEAN = (-1.0, -0.66666663, -0.33333328, 1.4901161e-08, 0.33333337, 0.66666675, 1.0)
STD = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
LIKELIHOODS = {"lab/é": "normal", "photo": "gaussian", "town": "categorical"}


def networks(name, shape, size):
    """Return an encoder and a decoder, of another class for each modality."""
    if name == "photo":
        options = {"patch": 4, "channels": 4, "width": 8}
        return PatchEncoder(2, size, **options), PatchDecoder(shape, **options)
    if name == "town":
        return DenseEncoder(2, size, widths=(8,)), DenseDecoder(shape, widths=(8,))
    return VectorEncoder(2, size, width=8), VectorDecoder(shape, width=8)


def build():
    """Return the model; its parameters are drawn by NumPy."""
    modalities = tuple(
        Modality(name, SCALINGS[name].shape, LIKELIHOODS[name], "golden", size, weight=0.1)
        for name, size in SIZES.items()
    )
    made = tuple(
        Autoencoder(m, "vae", *networks(m.name, m.shape, m.latent_size)) for m in modalities
    )
    sizes, total = tuple(SIZES.values()), sum(SIZES.values())
    score = HubScore(sizes, width=8, hub_width=8, num_blocks=1, level_width=8)
    energy = TowerEnergy(sizes, width=8, num_blocks=1, embedding=4, level_width=8)
    x, levels = np.zeros((1, total)), np.zeros((1, len(sizes)))
    return Model(
        params={
            "autoencoders": {
                m.name: filled(a.task, {"x": np.zeros((1, *m.shape), np.float32)})
                for m, a in zip(modalities, made, strict=True)
            },
            "score": filled(score, x, levels),
            "energy": filled(energy, x, levels, np.zeros((1, len(sizes)), bool)),
        },
        moments=Moments(jnp.array(MEAN, jnp.float32), jnp.array(STD, jnp.float32)),
        modalities=modalities,
        autoencoders=made,
        scalings=tuple(SCALINGS.items()),
        entries=(("lab/é", ("Na", "K", "pH")),),
        score_network=score,
        energy_network=energy,
        sde=VP(),
        sampling=SamplingConfig("dpm_solver", num_levels=4, guidance=0.1, temperature=0.9),
    )


def given():
    """Return rows as the networks see them, and which modalities each row observes."""
    rng = np.random.default_rng(1)
    rows = {
        "lab/é": rng.normal(size=(4, 3)).astype(np.float32),
        "photo": rng.random((4, 8, 8, 1), np.float32),
        "town": np.eye(3, dtype=np.float32)[[0, 1, 2, 0]],
    }
    observed = [
        [True, False, False],
        [False, True, True],
        [False, False, False],
        [True, True, False],
    ]
    return rows, np.array(observed)


def samples(model):
    """Return what a model makes of `given`, as the networks see it."""
    rows, observed = given()
    return {k: np.asarray(v) for k, v in complete(model, jax.random.key(5), rows, observed).items()}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    build().save(folder)
    build().save(folder / "bfloat16.safetensors", dtype="bfloat16")
    np.savez(
        folder / "samples.npz",
        **{name.replace("/", "|"): x for name, x in samples(build()).items()},
    )
