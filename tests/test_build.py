"""What a config may get wrong, and what it is told."""

import copy

import jax
import numpy as np
import pytest

from sbmae_jax.app.build import build, build_source, check_source
from sbmae_jax.app.sections import KEYS, check_keys
from sbmae_jax.configs import celebahq, polydigits, polymnist
from sbmae_jax.data.description import Description
from sbmae_jax.data.source import ArraySource
from sbmae_jax.evaluation.paired.protocol import PairedProtocol
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.values import check_array

CONFIG = polydigits.get_config("smoke").to_dict()
SHAPES = dict.fromkeys(CONFIG["modalities"], (28, 28, 3)) | {"label": ()}
DIGITS = tuple("0123456789")
DATA = Description(SHAPES, dict.fromkeys(SHAPES, np.dtype(np.uint8)), {"label": DIGITS})
PICTURE = Modality("picture", (4, 4, 3), "gaussian", "patch", 2, 1.0)


def make(config, data):
    check_keys(config)
    return build(config, data)


def changed(path, value):
    config = copy.deepcopy(CONFIG)
    *sections, key = path.split(".")
    place = config
    for section in sections:
        place = place[section]
    place[key] = value
    return config


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sampling.sped", 3, "sampling: unknown key 'sped'; its keys are sampler, conditioning"),
        ("score_training.learning_rat", 3, "score_training: unknown key 'learning_rat'"),
        ("sampling.sampler", "ddim", "sampling: sampler must be one of langevin, .* got 'ddim'"),
        ("sampling.snr", "high", "sampling: snr must be a finite number, got 'high'"),
        ("sde.name", "vpp", "sde.name must be one of vp, sub_vp, ve, MODULE:NAME, got 'vpp'"),
        ("network.name", "unit", "network.name must be one of hub, mlp, .* got 'unit'"),
        ("modalities.hubble.network", "",
         "modalities.hubble.network: config.encoder_decoders has no ''; choose one of patch"),
        ("encoder_decoders.patch.name", "conv",
         "encoder_decoders.patch.name must be one of patch, .* got 'conv'"),
        ("encoder_decoders.patch.encoder", {"patch": 5},
         "encoder_decoders.patch: pictures must be"),
        ("evaluation.name", "words", "evaluation.name must be one of classes, .* got 'words'"),
        ("evaluation.protocols", ("suffix",), "evaluation: protocols must be .*'prefix'"),
        ("sampling.guidance", 1.0, "sampling.guidance: there is no energy to guide with"),
        ("classifier.name", "vgg", "classifier.name must be one of patch, .*MODULE:NAME, got 'vgg'"),
        ("modalities.hubble.training", {"steps": 3},
         "autoencoder_training, with config.modalities.hubble.training: unknown key 'steps'"),
        ("modalities.hubble.latent_size", 0,
         "modalities.hubble: .*latent_size must be at least 1, got 0"),
        ("modalities.hubble.likelihood", "cauchy", "modalities.hubble: .*likelihood .*'cauchy'"),
        ("autoencoder.kind", "gan", "autoencoder: .*kind must be one of vae, rae, got 'gan'"),
        ("score.conditioning_prob", 0.0, ".* set config.score.conditioning_prob above 0"),
        ("score.absent_prob", 2.0, "score: absent_prob must be in 0..1, got 2"),
        ("score.completed_share", 1.0, "score: completed_share must be .*below 1"),
        ("score_training.batch_size", 0, "score_training: batch_size must be at least 1, got 0"),
        ("score", 3, "score must be a section of keys and values, got 3"),
        ("seed", -1, r"seed must be an integer in 0\.\.4294967295, got -1"),
    ],
)  # fmt: skip
def test_a_config_that_does_not_fit_names_the_key(path, value, message):
    with pytest.raises(ValueError, match=rf"^config\.{message}"):
        make(changed(path, value), DATA)


@pytest.mark.parametrize("key", [*KEYS, "score_training.num_steps", "classifier"])
def test_a_missing_key_is_named(key):
    config = copy.deepcopy(CONFIG)
    *sections, last = key.split(".")
    del (config[sections[0]] if sections else config)[last]
    with pytest.raises(ValueError, match=rf"config.*\b{last}\b.*(compare|missing|add it)"):
        make(config, DATA)


FACES = celebahq.get_config("smoke").to_dict()
FACE_SHAPES = {"image": (64, 64, 3), "mask": (64, 64, 1), "attributes": (18,)}
FACE_DATA = Description(
    FACE_SHAPES, dict.fromkeys(FACE_SHAPES, np.dtype(np.uint8)), {"attributes": ("Hat",) * 18}
)


@pytest.mark.parametrize("variant", [v for v in celebahq.VARIANTS if v != "toy-captions"])
def test_every_variant_of_faces_can_be_built(variant):
    config = celebahq.get_config(variant).to_dict()
    side = config["data"]["side"]
    shapes = {"image": (side, side, 3), "mask": (side, side, 1), "attributes": (18,)}
    parts = build(config, FACE_DATA._replace(shapes=shapes))
    assert parts.layout.names == ("attributes", "image", "mask")
    assert set(parts.protocol.evaluators()) == {"predictor/attributes", "predictor/mask"}
    assert hash(parts.network) == hash(build(config, FACE_DATA._replace(shapes=shapes)).network)


@pytest.mark.parametrize("variant", polymnist.VARIANTS)
def test_every_variant_of_polymnist_can_be_built(variant):
    config = polymnist.get_config(variant).to_dict()
    shapes = dict.fromkeys(config["modalities"], (28, 28, 3)) | {"label": ()}
    dtypes = dict.fromkeys(shapes, np.dtype(np.uint8))
    parts = build(config, Description(shapes, dtypes, {"label": DIGITS}))
    assert len(parts.modalities) == config["data"]["num_modalities"]
    if variant == "default":
        batch = {"x": jax.ShapeDtypeStruct((1, 28, 28, 3), np.uint8)}
        params = jax.eval_shape(parts.autoencoders[0].task.init, jax.random.key(0), batch)
        # The reference has 12,288 more, in 1x1 shortcuts that it makes and does not use.
        assert sum(p.size for p in jax.tree.leaves(params)) == 2_429_763 - 12_288


def test_faces_of_full_size_have_the_networks_of_the_reference():
    shapes = {"image": (128, 128, 3), "mask": (128, 128, 1), "attributes": (18,)}
    parts = build(celebahq.get_config().to_dict(), FACE_DATA._replace(shapes=shapes))
    sizes = {}
    for modality, autoencoder in zip(parts.modalities, parts.autoencoders, strict=True):
        batch = {"x": jax.ShapeDtypeStruct((1, *modality.shape), np.float32)}
        params = jax.eval_shape(autoencoder.task.init, jax.random.key(0), batch)
        sizes[modality.name] = sum(p.size for p in jax.tree.leaves(params))
    assert sizes == {"image": 51_798_467, "mask": 7_633_601, "attributes": 1_786_130}


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("nce", {"observed_clean": False}, r"config\.nce\.observed_clean: an energy must see"),
        ("network", {"name": "unet", "dim": 8},
         r"config\.network\.per_modality_levels: a score trained"),
        ("predictor", {"mask": "eye", "attributes": "evaluator"},
         r"config\.predictor\.mask: config.encoder_decoders has no 'eye'"),
        ("energy", {"name": "pair"}, r"config\.nce: .*'batch' needs an energy that embeds both"),
        ("predictor", {"mask": "image"}, r"config\.predictor must name .* got mask"),
    ],
)  # fmt: skip
def test_faces_that_do_not_fit_name_the_key(section, values, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        build(FACES | {section: values}, FACE_DATA)


def test_faces_need_their_three_modalities():
    modalities = {name: FACES["modalities"][name] for name in ("image", "mask")}
    with pytest.raises(ValueError, match="'faces' needs the modalities image, mask and attributes"):
        build(FACES | {"modalities": modalities}, FACE_DATA)


def test_the_judge_of_classes_can_be_that_of_the_reference():
    evaluator = build(changed("classifier", {"name": "conv"}), DATA).protocol.evaluators()[
        "classifier"
    ]
    batch = {"x": jax.ShapeDtypeStruct((1, 28, 28, 3), np.uint8)}
    params = jax.eval_shape(evaluator.task.init, jax.random.key(0), batch)
    assert sum(p.size for p in jax.tree.leaves(params)) == 1_147_466


def test_paired_data_are_measured_by_their_likelihoods():
    config = changed("evaluation", {"name": "paired", "num_rows": 5, "batch_size": 4})
    config["modalities"]["retina"]["likelihood"] = "bernoulli"
    expected = dict.fromkeys(sorted(CONFIG["modalities"]), "gaussian") | {"retina": "bernoulli"}
    assert build(config, DATA).protocol == PairedProtocol(
        likelihoods=expected, num_rows=5, batch_size=4
    )
    config["evaluation"]["num_samples"] = 2
    with pytest.raises(
        ValueError, match=r"config.evaluation: num_samples must be at least 3, got 2"
    ):
        build(config, DATA)


def test_a_modality_that_the_data_do_not_have_is_named():
    with pytest.raises(ValueError, match=r"config.modalities.chelsea: the data have no such array"):
        build(CONFIG, DATA._replace(shapes={"other": (28, 28, 3)}))


def test_an_unknown_photograph_is_named():
    config = changed("modalities.moon", CONFIG["modalities"]["hubble"])
    with pytest.raises(ValueError, match="unknown photograph 'moon'"):
        build_source(config, "train", 5)


def test_alike_autoencoders_are_trained_as_one_and_taken_apart():
    config = changed("stack_autoencoders", True)
    names = tuple(sorted(config["modalities"]))
    (group,) = build(config, DATA).groups
    assert group.names == names
    assert group.stage == "autoencoder/" + "+".join(names)
    assert group.view == dict(zip(names, names, strict=True))
    assert group.task.num_members == len(names)
    members = group.members({"w": np.arange(10).reshape(5, 2)})
    assert {name: params["w"].tolist() for name, params in members.items()} == {
        name: [2 * m, 2 * m + 1] for m, name in enumerate(names)
    }
    config["modalities"]["retina"]["weight"] = 0.1
    others, retina = build(config, DATA).groups
    assert (retina.names, retina.view) == (("retina",), {"x": "retina"})
    assert retina.members("params") == {"retina": "params"}
    assert len(others.names) == 4


def test_modalities_are_ordered_by_name():
    parts = build(CONFIG, DATA)
    assert parts.layout.names == tuple(sorted(CONFIG["modalities"]))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 5, 4, 3), np.uint8), r"picture: examples must have shape \(4, 4, 3\)"),
        (
            np.zeros((2, 4, 4, 3), np.int64),
            r"picture: use uint8 in 0..255 or floats in 0..1, got int64",
        ),
        (np.full((2, 4, 4, 3), 200.0), r"values must be in 0..1, got 200 to 200: divide"),
        (
            np.full((2, 4, 4, 3), np.nan),
            r"NaN or infinite values in 2 of 2 rows, the first in row 0",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(array, message):
    with pytest.raises(ValueError, match=message):
        check_array(PICTURE, array)
    with pytest.raises(ValueError, match=message):
        check_source(ArraySource({"picture": array}), (PICTURE,))
