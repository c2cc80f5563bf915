"""A face, its mask and its attributes: F1 scores, overlap, distances and diversity for every observed subset.

The protocol of the paper for CelebAMask-HQ, with three additions. Generated images are scored as well:
supervised networks read attributes and mask from them, which are compared with the true ones. The same
networks, applied to real images, give upper bounds. And the diversity of images for one condition reveals a
collapse, which F1 scores reward.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import jax
import numpy as np

from sbmae_jax.evaluation.base import Evaluator, LoadArrays, Report, check_counts
from sbmae_jax.evaluation.faces import pages
from sbmae_jax.evaluation.fid import (
    FeatureExtractor,
    check_weights,
    distance_of,
    inception_extractor,
)  # fmt: skip
from sbmae_jax.evaluation.generator import Arrays, Generator
from sbmae_jax.metrics.coherence import estimate
from sbmae_jax.metrics.diversity import mean_pairwise_distance
from sbmae_jax.metrics.f1 import f1_by_column, f1_by_row, iou_by_row
from sbmae_jax.models.autoencoder import as_float
from sbmae_jax.models.predictor import Predictor
from sbmae_jax.models.task import Params
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.sharding import batched
from sbmae_jax.types import Key

NOTHING = "nothing"

ReadImages = Callable[[np.ndarray], dict[str, np.ndarray]]
"""`images [N, H, W, C] -> {"attributes": [N, A], "mask": [N, H, W, 1], "features": [N, F]}`"""


@dataclass(frozen=True, kw_only=True)
class FaceProtocol:
    """Evaluate the modalities `image`, `mask` and `attributes`.

    Attributes:
        predictors: The supervised networks that read `attributes` and `mask` from an image.
        trainings: How each of them is trained.
        attributes: The names of the attributes.
        num_rows: How many test rows are measured; 0 takes all.
        batch_size: Rows in one call of the generator.
        num_conditions: Conditions from which diversity is measured.
        num_repeats: Samples for each of these.
        inception: The file of Inception weights that `evaluation.inception` made. Without it there is no FID.

    Raises:
        ValueError: For a number out of its range, or a missing file.
    """

    predictors: Mapping[str, Predictor]
    trainings: Mapping[str, TrainingConfig]
    attributes: tuple[str, ...]
    num_rows: int = 0
    batch_size: int = 100
    num_conditions: int = 100
    num_repeats: int = 5
    inception: str = ""

    report = Report(pages.headlines, pages.sections)

    def __post_init__(self):
        check_counts(self, num_rows=0, batch_size=1, num_conditions=1, num_repeats=2)
        check_weights(self.inception)

    def evaluators(self) -> dict[str, Evaluator]:
        """Return the supervised networks, which read attributes and mask from the image."""
        return {
            f"predictor/{name}": Evaluator(
                self.predictors[name].task, self.trainings[name], ({"x": "image", "y": name},)
            )
            for name in self.predictors
        }

    def measure(
        self, key: Key, rows: Arrays, generator: Generator, evaluators: Mapping[str, Params],
        train: LoadArrays,
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:  # fmt: skip
        """Measure a generator; see `EvaluationProtocol.measure`."""
        del train
        given_key, diversity_key, sample_key = jax.random.split(key, 3)
        read = compile_reader(self.predictors, evaluators, self.batch_size)
        inception = inception_extractor(self.inception, self.batch_size)
        results = {
            **measure_bounds(rows, generator, read),
            **measure_subsets(given_key, rows, generator, read, inception, self.attributes),
            "diversity": measure_diversity(
                diversity_key, rows, generator, read, self.num_conditions, self.num_repeats
            ),
        }
        return results, pages.draw_samples(sample_key, rows, generator)


def named_subsets(names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return every subset but the whole, the smaller ones first: `{"image+mask": which are observed [M]}`."""
    chosen = [c for size in range(len(names)) for c in combinations(names, size)]
    return {"+".join(c) or NOTHING: np.array([name in c for name in names]) for c in chosen}


def compile_reader(
    predictors: Mapping[str, Predictor], params: Mapping[str, Params], batch_size: int
) -> ReadImages:
    """Return the compiled function that reads attributes, mask and features from images.

    Args:
        predictors: The networks for `attributes` and `mask`.
        params: Their parameters, under "predictor/attributes" and "predictor/mask".
        batch_size: Images that are read together.
    """

    @jax.jit
    def apply(params, x):
        attributes, features = predictors["attributes"].apply(params["predictor/attributes"], x)
        mask, _ = predictors["mask"].apply(params["predictor/mask"], x)
        return {"attributes": attributes, "mask": mask, "features": features}

    return batched(lambda images: apply(params, images), batch_size)


def measure_bounds(rows: Arrays, generator: Generator, read: ReadImages) -> dict[str, Any]:
    """Measure what supervised networks reach on real images, and what the autoencoders keep."""
    seen = read(rows["image"])
    rebuilt = generator.reconstruct_rows(rows)
    read_rebuilt = read(rebuilt["image"])
    truth, shown = as_float(rows["image"]), np.asarray(rebuilt["image"])
    return {
        "supervised": score_faces(rows, seen),
        "reconstruction": score_faces(rows, rebuilt)
        | {
            "image_rmse": float(np.sqrt(np.mean((truth - shown) ** 2))),
            "image_read": score_faces(rows, read_rebuilt),
            "image_frechet_classifier_features": distance_of(
                seen["features"], read_rebuilt["features"]
            ),
        },
    }


def measure_subsets(
    key: Key,
    rows: Arrays,
    generator: Generator,
    read: ReadImages,
    inception: FeatureExtractor | None,
    attributes: tuple[str, ...],
) -> dict[str, Any]:
    """Measure what is generated from every observed subset.

    Args:
        key: A typed key.
        rows: The test rows.
        generator: The generator.
        read: Reads generated images.
        inception: The network of FID, if its weights are there.
        attributes: The names of the attributes.

    Returns:
        `generated`: attributes and mask against those of the row; where they are observed, this is their
        reconstruction. `image_read`: what is read from generated images, against attributes and mask of the
        row or, from nothing, against those generated with the image. `attribute_f1_by_attribute`. And the
        Fréchet distances of images: on features of the attribute classifier and, with `inception`, `fid`.
    """

    def look(images):
        seen = read(images)
        features = {"image_frechet_classifier_features": seen["features"]}
        return seen, features | ({"fid": inception(images)} if inception is not None else {})

    _, real = look(rows["image"])
    generated, image_read, by_attribute = {}, {}, {}
    distances: dict[str, dict[str, float]] = {distance: {} for distance in real}
    for name, observed in named_subsets(generator.names).items():
        made = generator.complete_rows(key, rows, observed)
        generated[name] = score_faces(rows, made)
        scores = f1_by_column(rows["attributes"], made["attributes"])
        by_attribute[name] = dict(zip(attributes, map(float, scores), strict=True))
        if observed[generator.names.index("image")]:
            continue
        seen, features = look(made["image"])
        image_read[name] = score_faces(made if name == NOTHING else rows, seen)
        for distance in real:
            distances[distance][name] = distance_of(features[distance], real[distance])
    return {
        "generated": generated, "image_read": image_read, "attribute_f1_by_attribute": by_attribute,
        **distances,
    }  # fmt: skip


def score_faces(truth: Arrays, predicted: Arrays) -> dict[str, dict[str, float]]:
    """Compare attributes and masks row by row: `{score: {"mean": ..., "se": ...}}`."""
    true_mask = as_float(truth["mask"])
    return {
        "attribute_f1": estimate(f1_by_row(truth["attributes"], predicted["attributes"]))._asdict(),
        "mask_f1": estimate(f1_by_row(true_mask, predicted["mask"]))._asdict(),
        "mask_iou": estimate(iou_by_row(true_mask, predicted["mask"]))._asdict(),
    }


def measure_diversity(
    key: Key,
    rows: Arrays,
    generator: Generator,
    read: ReadImages,
    num_conditions: int,
    num_repeats: int,
) -> dict[str, dict[str, float]]:
    """Measure how far images for one condition lie apart, by observed subset.

    Args:
        key: A typed key.
        rows: The test rows, of which the first ones are the conditions.
        generator: The generator.
        read: Reads features from images.
        num_conditions: How many conditions to use.
        num_repeats: How many images to generate for each.

    Returns:
        `{subset: pairwise_distances}`, and under `real` those of real images chosen at random.
    """
    num = min(num_conditions, len(rows["image"]))
    repeated = {name: np.repeat(rows[name][:num], num_repeats, axis=0) for name in generator.names}
    found = {"real": pairwise_distances(random_groups(rows["image"], num, num_repeats), read)}
    for name, observed in named_subsets(generator.names).items():
        if observed[generator.names.index("image")]:
            continue
        images = generator.complete_rows(key, repeated, observed)["image"]
        groups = images.reshape(num, num_repeats, *images.shape[1:])
        found[name] = pairwise_distances(groups, read)
    return found


def pairwise_distances(groups: np.ndarray, read: ReadImages) -> dict[str, float]:
    """Return the mean distance between images of a group, in pixels (0..1) and in features.

    Args:
        groups: Images, `[N, K, H, W, C]`; those of a group share a condition.
        read: Reads features from images.
    """
    features = read(groups.reshape(-1, *groups.shape[2:]))["features"]
    features = features.reshape(*groups.shape[:2], -1)
    return {
        "pixels": float(mean_pairwise_distance(as_float(groups)).mean()),
        "features": float(mean_pairwise_distance(features).mean()),
    }


def random_groups(images: np.ndarray, num: int, num_repeats: int) -> np.ndarray:
    """Return groups of different images, chosen at random: `[num, num_repeats, ...]`."""
    rng = np.random.default_rng(0)
    rows = [rng.choice(len(images), num_repeats, len(images) < num_repeats) for _ in range(num)]
    return images[np.stack(rows)]
