"""A face, its mask and its attributes: F1 scores, overlap, distances and diversity for every observed subset.

The protocol of the paper for CelebAMask-HQ, with what it lacks: pictures are also judged by what
supervised networks read from them, against what was asked for; those networks, applied to real pictures,
give the bounds; and the spread of pictures for one condition shows a collapse, which F1 scores reward.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sbmae_jax._check import require_fields, require_int
from sbmae_jax.evaluation.base import Evaluator, Figure, Rows, Section
from sbmae_jax.evaluation.faces import pages as faces_pages
from sbmae_jax.evaluation.fid import FeatureExtractor, check_weights, inception_extractor
from sbmae_jax.evaluation.generator import Arrays, Generator
from sbmae_jax.metrics.coherence import estimate
from sbmae_jax.metrics.diversity import mean_pairwise_distance
from sbmae_jax.metrics.f1 import f1_by_column, f1_by_row, iou_by_row
from sbmae_jax.metrics.frechet import frechet_distance
from sbmae_jax.models.autoencoder import as_float
from sbmae_jax.models.predictor import Predictor
from sbmae_jax.models.task import Params
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.sharding import batched
from sbmae_jax.types import Key

NOTHING = "nothing"
Read = Callable[[np.ndarray], dict[str, np.ndarray]]
"""pictures [N, ...] -> what is read from them: `attributes`, `mask`, and `features` [N, F]"""


@dataclass(frozen=True)
class FaceProtocol:
    """Evaluation of the modalities `image`, `mask` and `attributes`.

    predictors, trainings: of `attributes` and of `mask`, from the image.
    attributes: their names.
    num_rows: test examples; 0 takes all.  batch_size: rows in one call of the generator.
    num_conditions, num_repeats: conditions, and samples of each, from which diversity is measured.
    inception: file of Inception weights, made by `evaluation.inception`; without one there is no FID.

    Raises ValueError for a value out of its range or of another type, and for a missing file.
    """

    predictors: Mapping[str, Predictor]
    trainings: Mapping[str, TrainingConfig]
    attributes: tuple[str, ...]
    num_rows: int = 0
    batch_size: int = 100
    num_conditions: int = 100
    num_repeats: int = 5
    inception: str = ""

    def __post_init__(self):
        require_fields(self)
        require_int("num_rows", self.num_rows)
        require_int("batch_size", self.batch_size, 1)
        require_int("num_conditions", self.num_conditions, 1)
        require_int("num_repeats", self.num_repeats, 2)
        check_weights(self.inception)

    def evaluators(self) -> dict[str, Evaluator]:
        """Return the supervised networks: attributes and mask from the picture."""
        return {
            f"predictor/{name}": Evaluator(
                self.predictors[name].task, self.trainings[name], ({"x": "image", "y": name},)
            )
            for name in self.predictors
        }

    def measure(
        self,
        key: Key,
        rows: Arrays,
        generator: Generator,
        evaluators: Mapping[str, Params],
        train: Rows,
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return all figures and the samples that the report shows."""
        del train
        given_key, spread_key, picture_key = jax.random.split(key, 3)
        read = compile_reader(self.predictors, evaluators, self.batch_size)
        inception = inception_extractor(self.inception, self.batch_size)
        results = {
            **measure_bounds(rows, generator, read),
            **measure_subsets(given_key, rows, generator, read, inception, self.attributes),
            "diversity": measure_diversity(
                spread_key, rows, generator, read, self.num_conditions, self.num_repeats
            ),
        }
        return results, faces_pages.draw_samples(picture_key, rows, generator)

    def figures(self, results: Mapping[str, Any]) -> list[Figure]:
        """Return the main figures of the results."""
        return faces_pages.figures(results)

    def sections(
        self, results: Mapping[str, Any], samples: Mapping[str, np.ndarray], folder: Path
    ) -> list[Section]:
        """Write the pictures of the report into a folder, and return its sections."""
        return faces_pages.sections(results, samples, self.attributes, folder)


def subsets(names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return every subset but the whole as {name: which are observed [M]}, the smaller ones first."""
    chosen = [c for size in range(len(names)) for c in combinations(names, size)]
    return {"+".join(c) or NOTHING: np.array([name in c for name in names]) for c in chosen}


def compile_reader(
    predictors: Mapping[str, Predictor], params: Mapping[str, Params], batch_size: int
) -> Read:
    """Return the function that reads attributes, mask and features from pictures."""

    @jax.jit
    def apply(params, x):
        attributes, features = predictors["attributes"].apply(params["predictor/attributes"], x)
        mask, _ = predictors["mask"].apply(params["predictor/mask"], x)
        return {"attributes": attributes, "mask": mask, "features": features}

    return batched(lambda images: apply(params, images), batch_size)


def measure_bounds(rows: Arrays, generator: Generator, read: Read) -> dict[str, Any]:
    """Return what supervised networks reach on real pictures, and what survives the autoencoders."""
    seen = read(rows["image"])
    rebuilt = generator.reconstruct_rows(rows)
    read_rebuilt = read(rebuilt["image"])
    truth, shown = as_float(rows["image"]), np.asarray(rebuilt["image"])
    return {
        "supervised": agreement(rows, seen),
        "reconstruction": agreement(rows, rebuilt)
        | {
            "image_rmse": float(np.sqrt(np.mean((truth - shown) ** 2))),
            "image_read": agreement(rows, read_rebuilt),
            "image_frechet_classifier_features": frechet_distance(
                seen["features"], read_rebuilt["features"]
            ),
        },
    }


def measure_subsets(
    key: Key,
    rows: Arrays,
    generator: Generator,
    read: Read,
    inception: FeatureExtractor | None,
    attributes: tuple[str, ...],
) -> dict[str, Any]:
    """Return the figures of every observed subset.

    generated: attributes and mask against those of the row; where they are observed this is their
        reconstruction.
    image_read: what is read from generated pictures against the attributes and the mask of the row, and,
        from nothing, against the attributes and the mask generated with them.
    fid: only where there is `inception`.
    """

    def look(images):
        seen = read(images)
        features = {"image_frechet_classifier_features": seen["features"]}
        return seen, features | ({"fid": inception(images)} if inception is not None else {})

    _, real = look(rows["image"])
    generated, image_read, by_attribute = {}, {}, {}
    distances: dict[str, dict[str, float]] = {figure: {} for figure in real}
    for name, observed in subsets(generator.names).items():
        made = generator.complete_rows(key, rows, observed)
        generated[name] = agreement(rows, made)
        scores = f1_by_column(rows["attributes"], made["attributes"])
        by_attribute[name] = dict(zip(attributes, map(float, scores), strict=True))
        if observed[generator.names.index("image")]:
            continue
        seen, features = look(made["image"])
        image_read[name] = agreement(made if name == NOTHING else rows, seen)
        for figure in real:
            distances[figure][name] = frechet_distance(features[figure], real[figure])
    return {
        "generated": generated, "image_read": image_read, "attribute_f1_by_attribute": by_attribute,
        **distances,
    }  # fmt: skip


def agreement(truth: Arrays, shown: Arrays) -> dict[str, dict[str, float]]:
    """Compare attributes and masks row by row: {figure: {mean, se}}."""
    return {
        "attribute_f1": estimate(f1_by_row(truth["attributes"], shown["attributes"]))._asdict(),
        "mask_f1": estimate(f1_by_row(as_float(truth["mask"]), shown["mask"]))._asdict(),
        "mask_iou": estimate(iou_by_row(as_float(truth["mask"]), shown["mask"]))._asdict(),
    }


def measure_diversity(
    key: Key, rows: Arrays, generator: Generator, read: Read, num_conditions: int, num_repeats: int
) -> dict[str, dict[str, float]]:
    """Return the mean distance of pictures that share a condition, in pixels (0..1) and in features.

    Under `real`: of real pictures that share nothing.
    """
    num = min(num_conditions, len(rows["image"]))
    repeated = {name: np.repeat(rows[name][:num], num_repeats, axis=0) for name in generator.names}
    found = {"real": measure_spread(shuffled(rows["image"], num, num_repeats), read)}
    for name, observed in subsets(generator.names).items():
        if observed[generator.names.index("image")]:
            continue
        images = generator.complete_rows(key, repeated, observed)["image"]
        found[name] = measure_spread(images.reshape(num, num_repeats, *images.shape[1:]), read)
    return found


def measure_spread(images: np.ndarray, read: Read) -> dict[str, float]:
    """Return the mean pairwise distances of pictures [N, K, H, W, C] that share a condition."""
    features = read(images.reshape(-1, *images.shape[2:]))["features"]
    features = features.reshape(*images.shape[:2], -1)
    return {
        "pixels": float(mean_pairwise_distance(as_float(images)).mean()),
        "features": float(mean_pairwise_distance(features).mean()),
    }


def shuffled(images: np.ndarray, num: int, num_repeats: int) -> np.ndarray:
    """Return groups of different pictures: [num, num_repeats, ...]."""
    rng = np.random.default_rng(0)
    rows = [rng.choice(len(images), num_repeats, len(images) < num_repeats) for _ in range(num)]
    return images[np.stack(rows)]
