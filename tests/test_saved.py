"""Saved models: what is written comes back, and what cannot be read is refused in one sentence."""

import dataclasses
import json
import shutil
import subprocess
import sys

import flax.linen as nn
import golden_model
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import filled
from opening import one_sentence

from sbmae_jax import load
from sbmae_jax.app.build import ENERGIES, SCORES, SDES
from sbmae_jax.app.encoder_decoders import ENCODER_DECODERS
from sbmae_jax.models import codec, tensors
from sbmae_jax.models.autoencoder import Autoencoder
from sbmae_jax.models.saved import FORMAT_VERSION, METADATA
from sbmae_jax.models.tensors import flatten, read_tensors, unflatten, write_tensors
from sbmae_jax.sampling.sde import EDM

PATHS = ("mine", "mine.safetensors")


class OwnEncoder(nn.Module):
    """An encoder of a user's, with fields of several kinds."""

    latent_size: int
    act: object = nn.relu
    dtype: object = jnp.float32
    options: object = ()

    @nn.compact
    def __call__(self, x):
        h = nn.Dense(5, dtype=self.dtype)(x.reshape(x.shape[0], -1))
        return nn.Dense(2 * self.latent_size)(self.act(h))


def with_encoder(encoder):
    """Return the model with another encoder of the town, and its parameters."""
    model = golden_model.build()
    *others, town = model.autoencoders
    town = Autoencoder(town.modality, "vae", encoder, town.decoder)
    params = dict(model.params["autoencoders"])
    params["town"] = filled(town.task, {"x": np.zeros((1, 3), np.float32)})
    return dataclasses.replace(
        model, autoencoders=(*others, town), params=model.params | {"autoencoders": params}
    )


def assert_same(one, other):
    """Check that two models have the same bits, and the same fields."""
    assert jax.tree.structure(one.params) == jax.tree.structure(other.params)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    for field in ("modalities", "autoencoders", "entries", "sde", "sampling", "score_network"):
        assert getattr(one, field) == getattr(other, field)
    assert one.energy_network == other.energy_network
    for (name, a), (other_name, b) in zip(one.scalings, other.scalings, strict=True):
        assert name == other_name
        for field in dataclasses.fields(a):
            np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


@pytest.mark.parametrize("name", PATHS)
def test_a_model_comes_back_bit_by_bit(tmp_path, name):
    model = golden_model.build()
    model.save(tmp_path / name)
    loaded = load(tmp_path / name)
    assert_same(loaded, model)
    assert {type(leaf) for leaf in jax.tree.leaves(loaded)} == {type(jnp.zeros(1))}
    model.with_sampling(num_levels=3).save(tmp_path / name)  # replaces it
    assert load(tmp_path / name).sampling.num_levels == 3
    names = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert names == ({"model.json", "model.safetensors"} if name == "mine" else {name})


@pytest.mark.parametrize("name", PATHS)
def test_bfloat16_halves_the_file_and_is_float32_again(tmp_path, name):
    model = golden_model.build()
    for dtype in ("float32", "bfloat16"):
        model.save(tmp_path / dtype / name, dtype=dtype)
    paths = [
        p if p.is_file() else p / "model.safetensors"
        for p in (tmp_path / dtype / name for dtype in ("float32", "bfloat16"))
    ]
    exact, narrow = (sum(a.nbytes for a in read_tensors(p)[0].values()) for p in paths)
    assert narrow < 0.51 * exact
    loaded = load(tmp_path / "bfloat16" / name)
    np.testing.assert_array_equal(loaded.moments.mean, model.moments.mean)
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(model), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=2**-8)
    with pytest.raises(ValueError, match="dtype must be one of float32, bfloat16, got 'int8'"):
        model.save(tmp_path / "other", dtype="int8")


def test_version_1_is_read_by_every_later_version():
    loaded = load(golden_model.FOLDER)
    assert_same(loaded, golden_model.build())
    narrow = load(golden_model.FOLDER / "bfloat16.safetensors")
    with np.load(golden_model.FOLDER / "samples.npz") as expected:
        for model, error in ((loaded, 1e-3), (narrow, 0.3)):
            for name, x in golden_model.samples(model).items():
                # Versions of XLA round differently, and eight steps of sampling amplify it.
                np.testing.assert_allclose(
                    x, expected[name.replace("/", "|")], atol=error, rtol=error
                )


SCRIPT = """
import sys
import jax, numpy as np
import sbmae_jax
model = sbmae_jax.load(sys.argv[1])
heavy = {"orbax", "sklearn", "matplotlib", "tensorflow", "grain"} & set(sys.modules)
np.savez(sys.argv[2], devices=len(jax.devices()), heavy=sorted(heavy), **model.generate({}, num_samples=3))
"""


@pytest.mark.parametrize("num_devices", [1, 3])
@pytest.mark.slow
def test_a_fresh_process_loads_it_on_any_number_of_devices(tmp_path, monkeypatch, num_devices):
    monkeypatch.setenv("XLA_FLAGS", f"--xla_force_host_platform_device_count={num_devices}")
    monkeypatch.setenv("PYTHONPATH", "")
    made = tmp_path / "made.npz"
    command = [sys.executable, "-c", SCRIPT, str(golden_model.FOLDER), str(made)]
    subprocess.run(command, check=True, timeout=300)
    with np.load(made) as found:
        assert found["devices"] == num_devices
        assert found["heavy"].tolist() == []
        assert found["photo"].shape == (3, 7, 8, 1)
        assert set(found["town"]) <= {"Bonn", "Oslo", "Århus"}


def test_all_classes_that_a_config_can_name_have_a_name_in_files():
    pairs = [one for pair in ENCODER_DECODERS.values() for one in pair]
    for one in (*SCORES.values(), *ENERGIES.values(), *SDES.values(), *pairs, EDM):
        name = codec.name_of(one)
        assert ":" not in name
        assert codec.CLASSES[name] == f"{one.__module__}:{one.__qualname__}"
    for name in codec.CLASSES:
        assert codec._find(name, {}).__name__ == codec.CLASSES[name].partition(":")[2]


def test_networks_of_ones_own_are_loaded_only_if_they_are_passed(tmp_path):
    model = with_encoder(OwnEncoder(2, dtype=jnp.bfloat16, options=("a", (1, None))))
    model.save(tmp_path / "mine")
    assert_same(load(tmp_path / "mine", classes=[OwnEncoder]), model)
    with pytest.raises(
        ValueError, match=r"'test_saved:OwnEncoder' is not .*classes=\[OwnEncoder\]"
    ) as e:
        load(tmp_path / "mine")
    one_sentence(e)
    moved = tmp_path / "mine" / "model.json"  # as a script would have saved it
    moved.write_text(moved.read_text().replace("test_saved:Own", "__main__:Own"))
    assert_same(load(tmp_path / "mine", classes=[OwnEncoder]), model)
    for classes in (OwnEncoder, ["OwnEncoder"], "OwnEncoder"):
        with pytest.raises(ValueError, match="classes must be a list of classes"):
            load(tmp_path / "mine", classes=classes)


@pytest.mark.parametrize("value", [nn.gelu, float("inf"), object(), {"a": 1}])
def test_what_cannot_be_saved_is_named(tmp_path, value):
    model = with_encoder(OwnEncoder(2))
    *others, town = model.autoencoders
    town = dataclasses.replace(town, encoder=OwnEncoder(2, options=value))
    with pytest.raises(
        ValueError, match=r"model\.autoencoders\[2\]\.encoder\.options.* cannot be saved"
    ):
        dataclasses.replace(model, autoencoders=(*others, town)).save(tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_parameters_that_are_not_arrays_in_dicts_are_named(tmp_path):
    model = golden_model.build()
    for score, what in (((np.zeros(2),), "must be arrays"), ({1: np.zeros(2)}, "must be strings")):
        other = dataclasses.replace(model, params=model.params | {"score": score})
        with pytest.raises(ValueError, match=f"params/score.*{what}"):
            other.save(tmp_path / "mine")


def test_names_of_arrays_are_told_apart():
    tree = {"a/b": {"c": 1.0}, "a": {"b": {"c": 2.0}}, "~1": {"~": 3.0, "": 4.0}, "e": {"f": {}}}
    tree = jax.tree.map(np.float32, tree)
    assert unflatten(dict(flatten(tree, "params"))) == {"params": tree}


def test_a_path_that_does_not_fit_is_refused(tmp_path, finished_run):
    model = golden_model.build()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.safetensors").mkdir()
    for path, what in (
        (tmp_path / "file", "is a file: choose the name of a folder"),
        (tmp_path / "folder.safetensors", "is a folder: choose the name of a file"),
        (finished_run, "is the workdir of a run: choose another folder"),
    ):
        with pytest.raises(ValueError, match=what):
            model.save(path)
    assert (tmp_path / "file").read_text() == "mine"


def test_arrays_that_are_read_back_otherwise_get_no_name(tmp_path, monkeypatch):
    model = golden_model.build()
    model.save(tmp_path / "mine")
    before = {p.name: p.read_bytes() for p in (tmp_path / "mine").iterdir()}
    save = tensors.safetensors.numpy.save
    monkeypatch.setattr(tensors.safetensors.numpy, "save", lambda *a: save(*a)[:-1] + b"x")
    with pytest.raises(OSError, match="is read back with other content than was written"):
        model.with_sampling(num_levels=2).save(tmp_path / "mine")
    assert {p.name: p.read_bytes() for p in (tmp_path / "mine").iterdir()} == before


def test_a_run_is_loaded_and_saved(finished_run, tmp_path):
    model = load(finished_run)
    model.save(tmp_path / "mine")
    assert_same(load(tmp_path / "mine"), model)
    model.save(tmp_path / "mine.safetensors", dtype="bfloat16")
    given = {"hubble": np.zeros((2, 28, 28, 3), np.uint8)}
    made = [m.generate(given, key=3) for m in (model, load(tmp_path / "mine"))]
    # The parameters of a run are on all devices. This is another program, which may round in another way.
    for name, x in made[0].items():
        np.testing.assert_allclose(made[1][name], x, atol=1e-5)


# ---------------------------------------------------------------- what is damaged


def edited(change):
    """Return a function that changes the document of a saved model."""

    def edit(folder):
        path = folder / "model.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return edit


def rewritten(change):
    """Return a function that changes the arrays of a saved model, and their checksum if it may."""

    def rewrite(folder):
        arrays, _ = read_tensors(folder / "model.safetensors")
        change(arrays)
        write_tensors(folder / "model.safetensors", arrays)

    return rewrite


def cut(name, size):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def flipped(folder):
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-5] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def network(field, value, part="score_network"):
    return edited(lambda d: d["model"][part].update({field: value}))


def shape_and_arrays(folder):
    """Change arrays and document alike, so that only the networks can tell."""
    kernel = "params/score/params/PerModality_0/kernel"
    rewritten(lambda a: a.update({kernel: a[kernel][..., :-1]}))(folder)
    arrays, _ = read_tensors(folder / "model.safetensors")
    described = {"shape": arrays[kernel].shape, "dtype": "float32"}

    def change(document):
        document["tensors"][kernel] = described
        document["sha256"] = tensors.digest(arrays)

    edited(change)(folder)


BIAS = "params/score/params/PerModality_0/bias"
DAMAGE = {
    "truncated": (cut("model.safetensors", -7), r"model\.safetensors is missing, truncated or damaged"),
    "truncated early": (cut("model.safetensors", 5), "is missing, truncated or damaged"),
    "empty": (cut("model.safetensors", 0), "is missing, truncated or damaged"),
    "no arrays": (lambda f: (f / "model.safetensors").unlink(), "is missing, truncated or damaged"),
    "no document": (lambda f: (f / "model.json").unlink(), r"model\.json is missing"),
    "a flipped bit": (flipped, "has other arrays than .*model.json describes"),
    "JSON truncated": (cut("model.json", 900), r"model\.json is damaged, its JSON cannot be read"),
    "JSON empty": (cut("model.json", 0), "its JSON cannot be read"),
    "JSON deep": (lambda f: (f / "model.json").write_text("[" * 10**5), "its JSON cannot be read"),
    "JSON of a list": (lambda f: (f / "model.json").write_text("[1]"), "its JSON cannot be read"),
    "JSON bytes": (lambda f: (f / "model.json").write_bytes(b"\xff\0"), "its JSON cannot be read"),
    "other format": (edited(lambda d: d.update(format="x")), "is not of a model that sbmae_jax"),
    "newer": (
        edited(lambda d: d.update(format_version=FORMAT_VERSION + 1)),
        "has version 2 of the format, and this sbmae_jax reads versions up to 1: install a newer",
    ),
    "no tensors": (edited(lambda d: d.update(tensors=[])), "does not list the arrays"),
    "bad tensors": (edited(lambda d: d["tensors"].update({BIAS: 3})), "does not list the arrays"),
    "bad dtype": (
        edited(lambda d: d["tensors"][BIAS].update(dtype="O O")), "does not list the arrays",
    ),
    "an array is missing": (rewritten(lambda a: a.pop(BIAS)), f"lacks the array {BIAS}"),
    "an array has another shape": (
        rewritten(lambda a: a.update({BIAS: a[BIAS][..., :3]})), rf"has the array {BIAS} in shape \(",
    ),
    "an array too many": (rewritten(lambda a: a.update(x=a[BIAS])), "has other arrays than"),
    "shapes of other networks": (shape_and_arrays, "kernel has shape .* and must have"),
    "wider network": (network("width", 16), r"does not fit its networks \(the array params/score"),
    "absurd network": (network("width", 10**12), "does not fit its networks"),
    "a field of another type": (network("width", "a"), "does not fit its networks"),
    "an unknown field": (network("colour", 1), "score/hub has no field 'colour'"),
    "a missing field": (
        edited(lambda d: d["model"]["score_network"].pop("sizes")), "does not fit its networks",
    ),
    "no model": (edited(lambda d: d.update(model=None)), "does not fit its networks"),
    "no class": (edited(lambda d: d["model"].pop("class")), "does not fit its networks"),
    "class is a list": (network("class", []), "does not fit its networks"),
    "a model in place of a network": (network("class", "sampling"), "does not fit its networks"),
    "a scaling in place of a network": (network("class", "scaling"), "does not fit its networks"),
    "other modalities": (
        edited(lambda d: d["model"]["modalities"].pop()), "does not fit its networks",
    ),
    "another sampler": (
        edited(lambda d: d["model"]["sampling"].update(sampler="magic")), "sampler must be one of",
    ),
    "a class of a newer version": (
        network("class", "score/graph"), "'score/graph' is unknown to this version of sbmae_jax",
    ),
    "a class to execute": (network("class", "antigravity:Popen"), r"classes=\[Popen\]"),
    "a function to execute": (network("class", "os:system"), r"classes=\[system\]"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_what_is_damaged_is_refused_in_one_sentence(tmp_path, case):
    folder = tmp_path / "mine"
    shutil.copytree(golden_model.FOLDER, folder)
    damage, message = DAMAGE[case]
    damage(folder)
    with pytest.raises(ValueError, match=message) as error:
        load(folder)
    assert str(folder) in one_sentence(error)
    assert "antigravity" not in sys.modules


def test_a_damaged_file_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "mine.safetensors"
    golden_model.build().save(path)
    content = path.read_bytes()
    arrays, metadata = read_tensors(path)
    newer = metadata[METADATA].replace('"format_version": 1', '"format_version": 7')

    def others(metadata):
        write_tensors(path, arrays, metadata)

    for damage, message in (
        (lambda: path.write_bytes(content[:-1]), "is missing, truncated or damaged"),
        (lambda: path.write_bytes(b"PK" + content), "is missing, truncated or damaged"),
        (path.unlink, "is missing, truncated or damaged"),
        (lambda: others({METADATA: "{"}), "its JSON cannot be read"),
        (lambda: others({METADATA: newer}), "has version 7 of the format"),
        (lambda: others({"format": "pt"}), "is not of a model that sbmae_jax has saved"),
    ):
        damage()
        with pytest.raises(ValueError, match=message) as error:
            load(path)
        assert str(path) in one_sentence(error)
