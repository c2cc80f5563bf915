"""The evaluation of faces, on pictures whose content is written in their pixels."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax.evaluation import inception as inception_weights
from sbmae_jax.evaluation.faces.protocol import FaceProtocol, named_subsets
from sbmae_jax.evaluation.generator import Generator
from sbmae_jax.models.task import Task
from sbmae_jax.training.config import TrainingConfig

NAMES = ("attributes", "image", "mask")
WORDS = ("Hat", "Smile", "Beard")
RNG = np.random.default_rng(0)
NUM = 256
ATTRIBUTES = (RNG.random((NUM, 3)) < 0.5).astype(np.float32)
MASK = np.where(RNG.random((NUM, 4, 4, 1)) < 0.5, 255, 0).astype(np.uint8)


def draw(attributes, mask, noise):
    """Write the mask into the first channel, the attributes into the second, noise into the third."""
    image = np.zeros((len(attributes), 4, 4, 3), np.float32)
    image[..., 0] = np.asarray(mask, np.float32)[..., 0]
    image[:, 0, :3, 1] = attributes
    image[..., 2] = noise
    return image


IMAGE = (255 * draw(ATTRIBUTES, MASK / 255, RNG.random((NUM, 4, 4)))).astype(np.uint8)
ROWS = {"image": IMAGE, "mask": MASK, "attributes": ATTRIBUTES}


def reader(name):
    """A perfect predictor; its parameters do nothing."""

    def apply(params, x):
        x = x.astype(jnp.float32) / 255 if x.dtype == jnp.uint8 else x
        seen = {"attributes": x[:, 0, :3, 1], "mask": x[..., :1]}
        return seen[name], x.reshape(len(x), -1)

    return SimpleNamespace(task=Task(lambda *_: {}, lambda *_: (0, {})), apply=apply)


TRAINING = TrainingConfig(num_steps=1, batch_size=1, learning_rate=1.0)
PROTOCOL = FaceProtocol(
    predictors={name: reader(name) for name in ("attributes", "mask")},
    trainings=dict.fromkeys(("attributes", "mask"), TRAINING),
    attributes=WORDS, batch_size=64, num_conditions=8, num_repeats=3,
)  # fmt: skip
JUDGES = {"predictor/attributes": {}, "predictor/mask": {}}


def perfect(key, batch, observed):
    """Draw what is not observed; all that is observed is kept, and the image shows the rest."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    batch = {name: np.asarray(x) for name, x in batch.items()}
    size, seen = len(observed), dict(zip(NAMES, observed.T[..., None], strict=True))
    shown = batch["image"] / 255 if batch["image"].dtype == np.uint8 else batch["image"]
    attributes = np.where(
        seen["image"], shown[:, 0, :3, 1],
        np.where(seen["attributes"], batch["attributes"], rng.random((size, 3)) < 0.5),
    )  # fmt: skip
    drawn = rng.random((size, 4, 4, 1)) < 0.5
    wide = {name: value[..., None, None] for name, value in seen.items()}
    mask = np.where(
        wide["image"], shown[..., :1], np.where(wide["mask"], batch["mask"] / 255, drawn)
    )
    image = np.where(wide["image"], shown, draw(attributes, mask, rng.random((size, 4, 4))))
    return {"image": image, "mask": mask, "attributes": attributes}


def collapsed(key, batch, observed):
    """One answer to all questions."""
    size = len(observed)
    mask = np.ones((size, 4, 4, 1), np.float32)
    attributes = np.ones((size, 3), np.float32)
    return {"image": draw(attributes, mask, 0.0), "mask": mask, "attributes": attributes}


def measure(complete):
    generator = Generator(
        names=NAMES, complete=complete, batch_size=64,
        reconstruct=lambda batch: {n: as_unit(x) for n, x in batch.items()},
    )  # fmt: skip
    return PROTOCOL.measure(jax.random.key(0), ROWS, generator, JUDGES, dict)


def as_unit(x):
    return np.asarray(x, np.float32) / (255 if x.dtype == np.uint8 else 1)


@pytest.fixture(scope="module")
def results():
    return measure(perfect)[0]


def test_there_are_seven_subsets():
    assert list(named_subsets(NAMES)) == [
        "nothing", "attributes", "image", "mask", "attributes+image", "attributes+mask", "image+mask",
    ]  # fmt: skip


def test_a_perfect_generator_scores_what_the_supervised_networks_score(results):
    filled = (ATTRIBUTES.sum(axis=1) > 0).mean()  # an empty truth scores 0
    assert results["supervised"]["attribute_f1"]["mean"] == pytest.approx(filled)
    assert results["supervised"]["mask_iou"]["mean"] == 1
    for given in ("image", "image+mask"):
        assert results["generated"][given]["attribute_f1"]["mean"] == pytest.approx(filled)
    for given in ("image", "attributes+image"):
        assert results["generated"][given]["mask_f1"]["mean"] == 1
    assert results["image_read"]["attributes"]["attribute_f1"]["mean"] == pytest.approx(filled)
    assert results["image_read"]["attributes+mask"]["mask_f1"]["mean"] == 1


def test_what_nothing_determines_is_at_chance(results):
    assert results["generated"]["attributes"]["mask_f1"]["mean"] == pytest.approx(0.5, abs=0.05)
    assert results["image_read"]["mask"]["attribute_f1"]["mean"] < 0.6


def test_from_nothing_a_picture_is_compared_with_what_was_made_with_it(results):
    assert results["image_read"]["nothing"]["mask_f1"]["mean"] == 1


def test_a_collapse_shows_in_the_diversity_and_the_distance(results):
    flat = measure(collapsed)[0]
    assert flat["diversity"]["nothing"] == {"pixels": 0, "features": 0}
    assert (
        flat["image_frechet_classifier_features"]["nothing"]
        > 10 * (results["image_frechet_classifier_features"]["nothing"])
    )


def test_fid_is_measured_where_there_are_weights_and_only_there(results, monkeypatch, tmp_path):
    assert "fid" not in results
    weights = tmp_path / "inception.npz"
    with pytest.raises(
        ValueError, match=r"there is no file .*inception.npz: make it with python -m"
    ):
        dataclasses.replace(PROTOCOL, inception=str(weights))
    weights.touch()
    monkeypatch.setattr(inception_weights, "load", lambda path: 2.0)
    double = lambda params, x: params * jnp.asarray(x, jnp.float32).reshape(len(x), -1)  # noqa: E731
    monkeypatch.setattr(inception_weights, "features", double)
    generator = Generator(names=NAMES, complete=perfect, reconstruct=dict, batch_size=64)
    protocol = dataclasses.replace(PROTOCOL, inception=str(weights))
    rows = ROWS | {"image": as_unit(IMAGE)}
    measured, _ = protocol.measure(jax.random.key(0), rows, generator, JUDGES, dict)
    theirs = measured["image_frechet_classifier_features"]
    assert measured["fid"].keys() == theirs.keys()
    for name, distance in measured["fid"].items():  # twice the features, four times the distance
        assert distance == pytest.approx(4 * theirs[name], rel=1e-3)


def test_a_condition_narrows_what_is_made(results):
    spread = {name: entry["pixels"] for name, entry in results["diversity"].items()}
    assert spread["attributes+mask"] < spread["mask"] < spread["nothing"]
    assert spread["nothing"] == pytest.approx(spread["real"], rel=0.05)


def test_attributes_have_scores_of_their_own(results):
    by_attribute = results["attribute_f1_by_attribute"]["image"]
    assert by_attribute.keys() == set(WORDS)
    assert all(score == 1 for score in by_attribute.values())


def test_the_report_shows_every_question(results, tmp_path):
    _, samples = measure(perfect)
    more = {"seconds_per_1000_samples": 1.0, "num_evaluations": 3}
    sections = PROTOCOL.report.sections(results | more, samples, NAMES, tmp_path)
    files = [image.file for section in sections for image in section.images]
    assert set(files) == {
        "from_attributes.png", "from_mask.png", "from_image.png", "joint.png", "reconstruction.png",
    }  # fmt: skip
    assert all((tmp_path / file).stat().st_size > 500 for file in files)
    assert PROTOCOL.report.headlines(results | more)[0].name == "attribute F1, given image"
    (scores,) = [s for s in sections if s.title == "Scores by observed subset"]
    assert [row[0] for row in scores.table[1:]] == [
        *named_subsets(NAMES),
        "supervised, on real images",
    ]
