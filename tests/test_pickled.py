"""A model can be pickled and copied, whatever its networks; holes do not reach them."""

import copy
import pickle
import subprocess
import sys

import chex
import jax
import numpy as np
import pytest
from networks import filled

from sbmae_jax.app.build import ENERGIES, SCORES, SDES
from sbmae_jax.app.encoder_decoders import ENCODER_DECODERS
from sbmae_jax.baselines.joint_rules import JointPosterior
from sbmae_jax.baselines.joint_vae import JointVAE
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.models.autoencoder import Autoencoder, Modality
from sbmae_jax.models.classifier import Classifier
from sbmae_jax.models.latents import Moments
from sbmae_jax.models.model import Model, complete
from sbmae_jax.models.predictor import Predictor
from sbmae_jax.nets.patch import PatchClassifier
from sbmae_jax.sampling.generate import SamplingConfig

SIZE = 4
SMALL = {
    "hub": {"width": 8, "hub_width": 8, "num_blocks": 1},
    "mlp": {"width": 8, "num_blocks": 1},
    "transformer": {"width": 8, "num_blocks": 1, "num_heads": 2},
    "unet": {"dim": 4, "mults": (1, 2)},
    "tower": {"width": 8, "embedding": 4, "num_blocks": 1},
    "pair": {"width": 8},
}
NETWORKS = {
    "dense": ({"widths": (8,)}, {"widths": (8,)}),
    "vector": ({"width": 8}, {"width": 8}),
    "patch": ({"patch": 4, "channels": 4, "width": 8}, {"patch": 4, "channels": 4, "width": 8}),
    "resnet": (
        {"stem": 4, "stages": ((4, 4, 2),)}, {"start": 4, "stages": ((4, 4, 2),)},
    ),
}  # fmt: skip
SCRIPT = """
import pickle, sys
import numpy as np
with open(sys.argv[1], "rb") as file:
    model, given = pickle.load(file)
np.savez(sys.argv[2], **model.generate(given, key=3, num_samples=2, noise=True))
"""


def autoencoder_of(name, modality):
    """Return an autoencoder of the networks of a name, and its parameters."""
    encoder, decoder = ENCODER_DECODERS[name]
    options = NETWORKS[name]
    networks = (
        encoder(num_heads=2, latent_size=SIZE, **options[0]),
        decoder(shape=modality.shape, **options[1]),
    )
    made = Autoencoder(modality, "vae", *networks)
    return made, filled(made.task, {"x": np.zeros((1, *modality.shape), np.float32)})


def model_of(networks=("vector", "dense"), score="hub", sde="vp", energy=None):
    """Return a model of a picture or a vector, and of a town."""
    picture = (8, 8, 3) if networks[0] in ("patch", "resnet") else (3,)
    modalities = (
        Modality("first", picture, "normal", networks[0], SIZE, 0.1),
        Modality("town", (2,), "categorical", networks[1], SIZE, 0.1),
    )
    made = [autoencoder_of(m.network, m) for m in modalities]
    params = {m.name: p for m, (_, p) in zip(modalities, made, strict=True)}
    network = SCORES[score](sizes=(SIZE, SIZE), **SMALL[score])
    x, levels = np.zeros((1, 2 * SIZE)), np.zeros((1, 2))
    more = {}
    if energy is not None:
        energy = ENERGIES[energy](sizes=(SIZE, SIZE), **SMALL[energy])
        more["energy"] = filled(energy, x, levels, np.zeros((1, 2), bool))
    return Model(
        params={"autoencoders": params, "score": filled(network, x, levels), **more},
        moments=Moments(np.zeros(2 * SIZE), np.ones(2 * SIZE)),
        modalities=modalities,
        autoencoders=tuple(a for a, _ in made),
        scalings=(
            ("first", Scaling("vector" if len(picture) == 1 else "image", picture, "float32")),
            ("town", Scaling("category", (), "str", classes=("Bonn", "Oslo"))),
        ),
        score_network=network,
        energy_network=energy,
        sde=SDES[sde](),
        sampling=SamplingConfig("dpm_solver", num_levels=2, guidance=float(energy is not None)),
    )


@pytest.mark.parametrize("options", [
    {"score": "hub", "sde": "vp"},
    pytest.param({"score": "mlp", "sde": "sub_vp", "energy": "pair"}, marks=pytest.mark.slow),
    pytest.param({"score": "transformer", "sde": "ve", "energy": "tower"}, marks=pytest.mark.slow),
    pytest.param({"score": "unet", "networks": ("patch", "vector")}, marks=pytest.mark.slow),
    pytest.param({"networks": ("resnet", "vector")}, marks=pytest.mark.slow),
], ids=str)  # fmt: skip
def test_a_copy_of_a_model_is_the_same_model(options):
    model = model_of(**options)
    made = [model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    for other in made[1:]:
        assert other.autoencoders == model.autoencoders
        assert (other.sde, other.sampling) == (model.sde, model.sampling)
        assert other.score_network == model.score_network
        for a, b in zip(jax.tree.leaves(model), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(a, b)
    given = {"town": np.array(["Oslo", "Bonn"])}
    samples = [m.generate(given, key=3, num_samples=2, noise=True) for m in made]
    for other in samples[1:]:
        for name, x in samples[0].items():
            np.testing.assert_array_equal(other[name], x)


@pytest.mark.parametrize("conditioning", ["amortised", "clamp", "renoise"])
@pytest.mark.parametrize("energy", [pytest.param("pair", marks=pytest.mark.slow), "tower"])
def test_what_is_not_observed_may_be_nan_where_an_energy_guides(energy, conditioning):
    model = model_of(energy=energy).with_sampling(conditioning=conditioning, num_corrections=1)
    observed = np.array([[True, False], [False, True], [False, False], [True, True]])
    rng = np.random.default_rng(0)
    batch = {
        "first": rng.normal(size=(4, 3)).astype(np.float32),
        "town": np.eye(2, dtype=np.float32)[[0, 1, 0, 1]],
    }
    holes = {
        name: np.where(observed[:, [m]], x, np.nan) for m, (name, x) in enumerate(batch.items())
    }
    clean, made = (complete(model, jax.random.key(0), x, observed) for x in (batch, holes))
    for name, x in clean.items():
        assert np.isfinite(x).all()
        np.testing.assert_array_equal(made[name], x)


WORD = Modality("word", (3,), "bernoulli", "", 2, 1.0)
PICTURES = jax.random.uniform(jax.random.key(1), (5, 8, 8, 3))
WORDS = (jax.random.uniform(jax.random.key(2), (5, 3)) > 0.5).astype("f4")
JOINT = JointVAE(
    JointPosterior("mmvae_plus", 2, 2),
    (Modality("a", (8, 8, 3), "normal", "", 1, 1.0), Modality("b", (3,), "bernoulli", "", 1, 1.0)),
    (ENCODER_DECODERS["patch"][0](num_heads=2, latent_size=4, patch=4, channels=4, width=8),
     ENCODER_DECODERS["vector"][0](num_heads=2, latent_size=4, width=8)),
    (ENCODER_DECODERS["patch"][1](shape=(8, 8, 3), patch=4, channels=4, width=8),
     ENCODER_DECODERS["vector"][1](shape=(3,), width=8)),
)  # fmt: skip
OTHERS = {
    "classifier": (
        Classifier(PatchClassifier(2, channels=(4, 4), width=8)),
        {"x": PICTURES, "label": np.arange(5) % 2},
        lambda model, params, batch: model.apply(params, batch["x"]),
    ),
    "predictor": (
        Predictor(WORD, JOINT.encoders[0], JOINT.decoders[1]),
        {"x": PICTURES, "y": WORDS},
        lambda model, params, batch: model.apply(params, batch["x"]),
    ),
    "joint_vae": (
        JOINT,
        {"a": PICTURES, "b": WORDS},
        lambda model, params, batch: (
            model.reconstruct(params, batch),
            model.complete(params, jax.random.key(3), batch, np.array([[True, False]] * 5)),
        ),
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_copy_of_another_trainable_is_the_same(name):
    model, batch, use = OTHERS[name]
    params = jax.jit(model.task.init)(jax.random.key(0), batch)
    wanted = jax.jit(
        lambda p: (use(model, p, batch), model.task.loss(p, jax.random.key(4), batch))
    )(params)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other == model
        found = jax.jit(
            lambda p, m=other: (use(m, p, batch), m.task.loss(p, jax.random.key(4), batch))
        )(params)
        chex.assert_trees_all_equal(found, wanted)


@pytest.mark.slow
def test_another_process_generates_the_same_with_a_pickled_model(tmp_path):
    model, given = model_of(), {"town": np.array(["Oslo", "Bonn", "Oslo"])}
    (tmp_path / "model.pickle").write_bytes(pickle.dumps((model, given)))
    paths = [str(tmp_path / name) for name in ("model.pickle", "made.npz")]
    subprocess.run([sys.executable, "-c", SCRIPT, *paths], check=True, timeout=300)
    here = model.generate(given, key=3, num_samples=2, noise=True)
    with np.load(tmp_path / "made.npz") as made:
        assert set(made.files) == set(here)
        np.testing.assert_array_equal(made["town"], here["town"])
        np.testing.assert_allclose(made["first"], here["first"], rtol=1e-4, atol=1e-5)
