"""What a config leaves open is chosen from the data; what it says is kept."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax.app.build import build, build_source
from sbmae_jax.app.choices import (
    Choice,
    choose_network,
    choose_values,
    network_section,
)
from sbmae_jax.app.encoder_decoders import build_decoder, build_encoder
from sbmae_jax.app.explanation import explain
from sbmae_jax.configs import custom
from sbmae_jax.data.description import describe
from sbmae_jax.data.kinds import KINDS
from sbmae_jax.data.user.survey import survey
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.likelihoods import LIKELIHOODS

N = 60
WANTED = {
    "bits": ("binary", "bernoulli", "vector-128"),
    "counts": ("counts", "poisson", "vector-128"),
    "outline": ("mask", "gaussian", "patch-2"),
    "photo": ("image", "gaussian", "patch-2"),
    "sound": ("signal", "normal", "vector-128"),
    "town": ("category", "categorical", "vector-128"),
    "wide": ("vector", "normal", "vector-256"),
}


def arrays():
    """Return one array of each kind."""
    rng = np.random.default_rng(0)
    return {
        "wide": rng.normal(size=(N, 2)) @ rng.normal(size=(2, 80)),
        "sound": rng.normal(size=(N, 20, 2)).astype(np.float32),
        "photo": rng.integers(0, 256, (N, 8, 8, 3), np.uint8),
        "outline": rng.integers(0, 2, (N, 8, 8)).astype(np.uint8),
        "bits": rng.integers(0, 2, (N, 12)), "counts": rng.poisson(4, (N, 3)),
        "town": np.array(["Bonn", "Oslo", "Rome"])[rng.integers(0, 3, N)],
    }  # fmt: skip


def config(path, **own):
    values = custom.get_config().to_dict()
    values["data"]["path"] = str(path)
    return values | own


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "own.npz"
    np.savez(path, **arrays())
    return path


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """Two vectors alone, no pictures."""
    path = tmp_path_factory.mktemp("own") / "vectors.npz"
    np.savez(path, **{name: arrays()[name] for name in ("wide", "counts")})
    return path


def open_values(section, where=""):
    """Return the keys at which a config has None, but for those where it means something."""
    if isinstance(section, dict):
        inside = (open_values(value, f"{where}.{key}") for key, value in section.items())
        return [key for keys in inside for key in keys]
    return [where] if section is None and where != ".energy" else []


def test_every_kind_has_a_likelihood():
    assert {kind.likelihood for kind in KINDS.values()} <= set(LIKELIHOODS)


def test_each_kind_gets_its_likelihood_and_its_network(path):
    closed, made, _ = choose_values(config(path))
    assert closed["modalities"].keys() == WANTED.keys()
    for name, (kind, likelihood, net) in WANTED.items():
        section = closed["modalities"][name]
        assert closed["data"]["kinds"][name] == kind
        assert (section["likelihood"], section["network"]) == (likelihood, net)
        assert net in closed["encoder_decoders"]
    assert {choice.key for choice in made} >= {f"modalities.{name}.latent_size" for name in WANTED}


def test_the_length_of_a_latent_is_that_of_the_data(path):
    sections = choose_values(config(path))[0]["modalities"]
    assert sections["wide"]["latent_size"] == 2  # two directions hold all of 80 values
    assert sections["counts"]["latent_size"] == 3  # as many as there are
    assert sections["town"]["latent_size"] == 2  # three classes
    assert sections["photo"]["latent_size"] == 32  # noise without end: the most


def test_nothing_is_left_open_and_the_networks_can_be_built(path):
    before = config(path)
    assert {".network.width", ".score.level_mean", ".sampling.num_levels"} <= set(
        open_values(before)
    )
    closed, _, _ = choose_values(before)
    assert open_values(closed) == []
    data = describe(build_source(closed, "train", 1))
    parts = build(closed, data)  # every key is known, every network takes its arrays
    assert [m.name for m in parts.modalities] == sorted(WANTED)


def test_choosing_changes_nothing_in_the_config_and_again_gives_the_same(path):
    given = config(path, modalities={"town": {"latent_size": 4}})
    kept = copy.deepcopy(given)
    first, made, _ = choose_values(given)
    assert given == kept
    again, made_again, _ = choose_values(given)
    assert first == again
    assert made == made_again


def test_what_the_config_says_is_kept(path):
    given = config(path, modalities={"wide": {"latent_size": 7}})
    given["score_training"]["num_steps"] = 123
    given["sampling"]["sampler"] = "langevin"
    closed, made, _ = choose_values(given)
    assert closed["modalities"]["wide"]["latent_size"] == 7
    assert (
        closed["modalities"]["wide"]["likelihood"] == "normal"
    )  # the rest of the section is chosen
    assert closed["score_training"]["num_steps"] == 123
    assert closed["sampling"]["sampler"] == "langevin"
    keys = [choice.key for choice in made]
    for said in ("modalities.wide.latent_size", "score_training.num_steps", "sampling.sampler"):
        assert said not in keys
    assert "modalities.photo.latent_size" in keys


def test_the_weights_are_for_the_kind_of_autoencoder(path):
    given = config(path, autoencoder={"kind": "rae"}, modalities={"wide": {"weight": 0.5}})
    closed, made, _ = choose_values(given)
    wanted = dict.fromkeys(closed["modalities"], (0.0001, 0.1)) | {"wide": (0.5, 0.1)}
    found = {n: (m["weight"], m["code_noise"]) for n, m in closed["modalities"].items()}
    assert found == wanted
    assert "modalities.photo.code_noise" in [choice.key for choice in made]
    of_vae = choose_values(config(path))[0]["modalities"]
    assert {n: m["weight"] for n, m in of_vae.items()} == {
        n: 0.35 if n in ("photo", "outline") else 0.2 for n in of_vae
    }
    assert not any("code_noise" in m for m in of_vae.values())


def test_a_kind_that_is_said_is_not_inferred(path):
    closed, _, _ = choose_values(config(path, modalities={"counts": {"kind": "vector"}}))
    assert closed["data"]["kinds"]["counts"] == "vector"
    assert closed["modalities"]["counts"]["likelihood"] == "normal"
    assert "kind" not in closed["modalities"]["counts"]  # it is no field of a modality


def test_what_is_left_out_is_not_learned(path):
    given = config(path)
    given["data"]["leave_out"] = ("photo", "outline")
    closed, made, found = choose_values(given)
    assert closed["modalities"].keys() == WANTED.keys() - {"photo", "outline"}
    assert not any("photo" in choice.key for choice in made)
    assert closed["sampling"]["sampler"] == "dpm_solver"  # no pictures are left
    assert closed["data"]["kinds"].keys() == closed["modalities"].keys()  # it is not even looked at
    assert build_source(closed, "train", 1).shapes.keys() == closed["modalities"].keys()
    assert "photo" not in explain(closed, made, found)


def test_pictures_are_sampled_by_more_steps_than_vectors(path, vectors):
    pictures, plain = (choose_values(config(p))[0]["sampling"] for p in (path, vectors))
    assert pictures["num_levels"] > plain["num_levels"]
    assert pictures["t_min"] > plain["t_min"]
    for sampling in (pictures, plain):
        assert (sampling["sampler"], sampling["eta"], sampling["num_corrections"]) == (
            "dpm_solver",
            1,
            0,
        )


@pytest.mark.parametrize(
    ("given", "num"),
    [
        ({"sampler": "langevin"}, 4),
        ({"conditioning": "clamp"}, 4),
        ({"conditioning": "particles"}, 0),
    ],
)
def test_a_sampler_gets_the_corrections_that_it_needs(vectors, given, num):
    values = config(vectors)
    values["sampling"] |= given
    assert choose_values(values)[0]["sampling"]["num_corrections"] == num


def test_linear_relations_are_known_from_the_start_where_there_are_no_pictures_or_strings(
    path, vectors
):
    for data, base in ((path, "none"), (vectors, "gaussian")):
        closed, made, _ = choose_values(config(data))
        assert closed["score"]["base"] == base
        assert "score.base" in [choice.key for choice in made]
    with np.load(vectors) as arrays:
        words = np.array([f"row {i}" for i in range(len(arrays[arrays.files[0]]))])
        np.savez(vectors.with_name("strings.npz"), **arrays, words=words)
    closed, made, _ = choose_values(config(vectors.with_name("strings.npz")))
    assert closed["score"]["base"] == "none"
    assert "strings" in {choice.key: choice for choice in made}["score.base"].reason
    given = config(vectors)
    given["score"]["base"] = "none"
    assert choose_values(given)[0]["score"]["base"] == "none"


def test_fewer_training_rows_are_those_that_are_asked_for(vectors):
    _, made, _ = choose_values(config(vectors, num_train=20))
    assert "20 training rows" in {choice.key: choice for choice in made}["network.width"].reason


def test_no_more_test_rows_are_asked_for_than_there_are(vectors):
    given = config(vectors)
    for asked, wanted in ((0, 0), (4, 4), (20, 6)):  # 60 rows, of which a tenth are the test
        given["evaluation"]["num_rows"] = asked
        closed, made, _ = choose_values(given)
        assert closed["evaluation"]["num_rows"] == wanted
        assert ("evaluation.num_rows" in [choice.key for choice in made]) == (asked != wanted)


def test_every_choice_is_explained_with_its_reason(path):
    closed, made, found = choose_values(config(path))
    text = explain(closed, made, found)
    for choice in made:
        assert choice.reason in text
        assert f"{choice.key.rsplit('.', 1)[-1]} = {choice.value}" in text
    line = next(line for line in text.splitlines() if "wide" in line and "latent_size = " in line)
    assert "2 of 80 principal components hold 99 % of the variance" in line
    # Nothing open, nothing chosen: the table of the data alone.
    assert "chosen from the data" not in explain(closed, [], found)


def test_modalities_of_one_reason_share_a_line(path):
    closed, _, found = choose_values(config(path))
    made = [Choice(f"modalities.{name}.weight", 0.2, "why") for name in ("bits", "wide")]
    assert "bits, wide: weight = 0.2  why" in explain(closed, made, found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modalities": {"smell": {}}}, "the data have no modality 'smell', only bits, counts"),
        (
            {"leave_out": ("smell",)},
            "leave_out names 'smell', which .* does not have: choose from bits",
        ),
        (
            {"leave_out": ("wide",), "modalities": {"wide": {}}},
            "wide is also in config.modalities",
        ),
        (
            {"leave_out": tuple(WANTED)},
            "config.data: leave_out names all modalities of .*: leave out fewer",
        ),
        ({"path": ""}, "config.data.path: say where your data are: --config.data.path=DATA"),
        ({"modalities": {"wide": {"kind": "smell"}}}, "smell"),
    ],
)
def test_what_the_data_do_not_have_is_refused(path, change, message):
    given = config(path, modalities=change.get("modalities", {}))
    given["data"] |= {k: v for k, v in change.items() if k != "modalities"}
    with pytest.raises(ValueError, match=message):
        choose_values(given)


def test_a_network_that_is_not_there_is_named_where_it_is_built(vectors):
    for name in ("mine", "mine-3", "vector-wide"):
        closed, _, _ = choose_values(config(vectors, modalities={"wide": {"network": name}}))
        data = describe(build_source(closed, "train", 1))
        with pytest.raises(
            ValueError, match=f"modalities.wide.network: config.encoder_decoders has no '{name}'"
        ):
            build(closed, data)


def test_networks_are_named_by_what_they_are(vectors):
    # So that a user may ask for another of the same kind.
    closed, _, _ = choose_values(config(vectors, modalities={"wide": {"network": "vector-32"}}))
    assert closed["encoder_decoders"]["vector-32"]["encoder"] == {"width": 32}
    own = {"vector-32": {"name": "dense", "encoder": {}, "decoder": {}}}
    closed, _, _ = choose_values(
        config(vectors, encoder_decoders=own, modalities={"wide": {"network": "vector-32"}})
    )
    assert closed["encoder_decoders"]["vector-32"] == own["vector-32"]


def surveyed(path, height, width, depth=3):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (12, height, width, depth), np.uint8)
    np.savez(path / "own.npz", photo=pictures, side=rng.normal(size=(12, 2)))
    return survey(path / "own.npz").modalities[0]


@pytest.mark.parametrize(("sides", "name"), [((9, 8), "patch-2"), ((27, 27), "patch-4")])
def test_pictures_of_odd_sides_get_networks_for_the_sides_to_which_they_are_padded(
    tmp_path, sides, name
):
    m = surveyed(tmp_path, *sides)
    assert m.raw_shape[:2] == sides
    assert not any(side % 4 for side in m.shape[:2] if side not in sides)
    assert choose_network(m)[0] == name


@pytest.mark.parametrize(
    ("height", "width", "name"),
    [(28, 28, "patch-4"), (64, 80, "patch-8"), (30, 30, "resnet-1"), (96, 112, "resnet-4")],
)
def test_networks_of_pictures_take_them(tmp_path, height, width, name):
    m = surveyed(tmp_path, height, width)
    assert choose_network(m)[0] == name
    sections = {"encoder_decoders": network_section(name)}
    modality = Modality("photo", m.shape, "gaussian", name, latent_size=6, weight=1.0)
    x, z = (jax.ShapeDtypeStruct((2, *shape), jnp.float32) for shape in (m.shape, (6,)))
    for net, given, shape in (
        (build_encoder(sections, modality, 2), x, (2, 12)),
        (build_decoder(sections, modality), z, (2, *m.shape)),
    ):
        made, _ = jax.eval_shape(
            lambda a, net=net: net.init_with_output(jax.random.key(0), a), given
        )
        assert made.shape == shape
