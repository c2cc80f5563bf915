"""Any options of the data, and any config for one's own files, work or are refused by the name of a key."""

import contextlib
import functools

import numpy as np
from fuzzing import attempt, counts, fuzz
from hypothesis import strategies as st
from test_fuzz_configs import changed, changes, named, trace

from sbmae_jax.app.build import build, build_source
from sbmae_jax.app.choices import choose_values
from sbmae_jax.app.sections import check_keys
from sbmae_jax.configs import custom
from sbmae_jax.data import polymnist, polymnist_dq
from sbmae_jax.data.celebahq import source as celebahq_source
from sbmae_jax.data.description import describe
from sbmae_jax.data.toyfaces import source as toyfaces_source


class ReachedError(Exception):
    """What is asked for would be made now."""


def reached(*_, **__):
    raise ReachedError


@functools.cache
def own_files(folder):
    """Write three modalities of few rows, and return the name of the file."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(60, 2))
    np.savez(
        folder / "own.npz",
        value=(z @ rng.normal(size=(2, 3))).astype(np.float32),
        count=rng.poisson(np.exp(z)),
        word=np.where(z[:, 0] > 0, "yes", "no"),
    )
    return str(folder / "own.npz")


def own_config(path):
    config = custom.get_config("smoke").to_dict()
    config["data"]["path"] = path
    config["modalities"] = {"value": {"latent_size": 2}, "count": {"kind": "counts"}}
    return config


@counts(25, 800)
def test_any_config_for_own_files_works_or_is_refused(num, tmp_path_factory):
    config = own_config(own_files(tmp_path_factory.getbasetemp()))

    def make(made):
        chosen, *_ = choose_values(changed(config, made))
        check_keys(chosen)
        data = describe(build_source(chosen, "train", 1))
        return build(chosen, data), data

    def check(made):
        parts = attempt(lambda: make(made), named(made))
        if parts is not None:
            trace(*parts)

    fuzz(num, st.lists(changes(config), min_size=1, max_size=2), check)


DATA = {
    "polydigits": ({"name": "polydigits", "missing": 0.0, "complete_only": False}, "hubble"),
    "polydigits_dq": ({"name": "polydigits_dq", "holes": False}, "hubble"),
    "polymnist": (
        {"name": "polymnist", "num_modalities": 5, "backgrounds": "", "sizes": (400, 100, 100)}, "m00"
    ),
    "polymnist_dq": (
        {"name": "polymnist_dq", "holes": False, "backgrounds": "", "sizes": (400, 100, 100)}, "m00"
    ),
    "celebahq": ({"name": "celebahq", "folder": "nowhere", "side": 128, "official": True}, "mask"),
    "toyfaces": ({"name": "toyfaces", "num_faces": 100, "side": 64, "num_workers": 1}, "mask"),
}  # fmt: skip


@counts(40, 700)
def test_any_options_of_the_data_work_or_are_refused(num, monkeypatch, tmp_path):
    monkeypatch.setenv("SBMAE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(polymnist.mnist, "load_mnist", reached)
    monkeypatch.setattr(polymnist, "build", reached)
    monkeypatch.setattr(polymnist_dq, "build", reached)
    monkeypatch.setattr(toyfaces_source, "write_toyfaces", reached)
    monkeypatch.setattr(celebahq_source, "check_folder", reached)

    def check(case):
        name, made = case
        section, modality = DATA[name]
        config = changed({"seed": 0, "data": section, "modalities": {modality: {}}}, made)
        with contextlib.suppress(ReachedError):
            attempt(lambda: build_source(config, "train", 2), named(made))

    @st.composite
    def cases(draw):
        name = draw(st.sampled_from(sorted(DATA)))
        config = {"data": DATA[name][0]}
        return name, draw(st.lists(changes(config), min_size=1, max_size=2))

    fuzz(num, cases(), check)
