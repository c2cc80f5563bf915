"""One rule for seeds, at every entrance: any integer in 0..2^32 - 1, and nothing else."""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_fuzz_model import model

from benchmarks.runner import seed as read_seed
from sbmae_jax._check import as_key, require_seed
from sbmae_jax.app.impute import impute_file
from sbmae_jax.app.request import generate_files
from sbmae_jax.app.sections import check_keys
from sbmae_jax.configs import polydigits as config
from sbmae_jax.data.celebahq.source import celebahq
from sbmae_jax.data.description import Description
from sbmae_jax.data.polydigits import polydigits
from sbmae_jax.data.polydigits_dq import polydigits_dq
from sbmae_jax.data.polymnist import polymnist
from sbmae_jax.data.polymnist_dq import polymnist_dq
from sbmae_jax.data.records import open_records
from sbmae_jax.data.toyfaces.faces import draw_face, write_toyfaces
from sbmae_jax.data.toyfaces.source import toyfaces
from sbmae_jax.data.user.files import files
from sbmae_jax.data.user.survey import survey

SEEDS = [
    0, 2**32 - 1, np.int64(3), np.uint32(2**32 - 1), np.uint8(7), np.array(3), jnp.int32(3),
]  # fmt: skip
NO_SEEDS = [
    -1, 2**32, 10**30, np.int64(-1), np.int64(2**32), 1.0, np.float32(1), True, False, np.True_, None,
    "3", (3,), np.array([3]), np.array(True), jnp.float32(3),
]  # fmt: skip
DATA = Description({}, {}, {})


def open_config(seed):
    check_keys(config.get_config().to_dict() | {"seed": seed})


ENTRANCES = {
    "model.generate": lambda seed: model().generate({}, num_samples=1, key=seed),
    "generate": lambda seed: generate_files(model(), DATA, [], 1, None, seed=seed),
    "impute": lambda seed: impute_file(None, DATA, "new.npz", "filled.npz", seed=seed),
    "config.seed": open_config,
    "polydigits": lambda seed: polydigits("test", 10, ("hubble",), seed),
    "polydigits_dq": lambda seed: polydigits_dq("test", 10, ("hubble",), seed),
    "polymnist": lambda seed: polymnist("test", seed=seed),
    "polymnist_dq": lambda seed: polymnist_dq("test", seed=seed),
    "celebahq": lambda seed: celebahq("test", seed=seed),
    "toyfaces": lambda seed: toyfaces("test", seed=seed),
    "records": lambda seed: open_records("nowhere", "test", (), seed=seed),
    "a face": lambda seed: draw_face(seed, 0, 32),
    "files": lambda seed: files("train", seed=seed, path="nowhere.npz"),
    "survey": lambda seed: survey("nowhere.npz", seed=seed),
}


@pytest.mark.parametrize("seed", SEEDS, ids=repr)
def test_any_integer_of_32_bits_is_a_seed(seed):
    kept = require_seed("seed", seed)
    assert type(kept) is int
    assert kept == seed
    assert jax.random.key_data(as_key(seed)).tolist() == jax.random.key_data(
        jax.random.key(kept)
    ).tolist()  # fmt: skip
    open_config(seed)


@pytest.mark.parametrize("seed", NO_SEEDS, ids=repr)
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_anything_else_is_refused_everywhere_in_one_sentence(entrance, seed, tmp_path, monkeypatch):
    monkeypatch.setenv("SBMAE_DATA_DIR", str(tmp_path))
    name = "key" if entrance == "model.generate" else "seed"
    with pytest.raises(ValueError, match=rf"{name} must be .*an integer in 0\.\.4294967295, got"):
        ENTRANCES[entrance](seed)
    assert list(tmp_path.iterdir()) == []


def test_a_seed_of_another_type_draws_the_same():
    plain, typed = (model().generate({}, num_samples=1, key=key) for key in (3, jax.random.key(3)))
    for seed in (np.int64(3), np.array(3, np.uint8), jnp.uint32(3)):
        made = model().generate({}, num_samples=1, key=seed)
        for name, x in plain.items():
            np.testing.assert_array_equal(made[name], x)
            np.testing.assert_array_equal(typed[name], x)
    faces = [draw_face(seed, 1, 32).image for seed in (3, np.int64(3))]
    np.testing.assert_array_equal(*faces)
    digits = [polydigits("test", 20, ("hubble",), seed) for seed in (3, np.uint32(3))]
    np.testing.assert_array_equal(*(source.arrays["hubble"] for source in digits))


@pytest.mark.parametrize("key", [
    jnp.zeros(2, jnp.uint32), jax.random.split(jax.random.key(0)), jax.random.PRNGKey(0),
], ids=["raw", "several", "legacy"])  # fmt: skip
def test_keys_are_typed_and_single(key):
    with pytest.raises(ValueError, match=r"key must be a (typed|single) key"):
        as_key(key)


def test_faces_of_a_seed_are_written_once_whatever_its_type(tmp_path):
    write_toyfaces(tmp_path, 2, np.int64(3), side=32)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    write_toyfaces(tmp_path, 2, 3, side=32)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("word", ["-1", str(2**32), "1.5", "two", ""])
def test_benchmarks_take_the_same_seeds(word):
    assert read_seed("4294967295") == 2**32 - 1
    with pytest.raises(argparse.ArgumentTypeError, match=r"a seed must be an integer in 0\.\."):
        read_seed(word)
