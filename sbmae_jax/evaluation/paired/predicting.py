"""Conditional prediction and calibration: how near, and how sure, the generator is about held-out modalities.

The error of its conditional mean is compared with that of the training mean ("marginal"), of regression
("linear") and of nearest neighbours ("neighbours"), on the same rows. All errors are relative to that of the
marginal, which is 1: for real values 1 - error is the share of variance explained.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from sbmae_jax.evaluation.generator import Arrays, Generator
from sbmae_jax.evaluation.paired.baselines import Baselines
from sbmae_jax.evaluation.paired.columns import flatten
from sbmae_jax.evaluation.paired.eval_data import EvalData, score_marginal, summarise_losses
from sbmae_jax.evaluation.paired.questions import (
    ask,
    chunks,
    given_one,
    given_the_rest,
)
from sbmae_jax.metrics import calibration
from sbmae_jax.metrics.coherence import estimate
from sbmae_jax.metrics.prediction import losses, moments, per_pixel, ratio
from sbmae_jax.types import Key

SAMPLES_GIVEN_ONE = 5  # the errors are corrected for their number
NUM_PROBABILITIES = 256  # about so many of a row are kept, of wide binary values at equal distances


def measure_reconstruction(eval_data: EvalData, generator: Generator) -> dict[str, Any]:
    """Measure what is left of each modality when it is encoded and decoded, beside the training mean."""
    names, test = eval_data.names, eval_data.test
    parts: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in names}
    for chosen in chunks(test.arrays, names, len(test.present)):
        some = {name: test.arrays[name][chosen] for name in names}
        made = generator.reconstruct_rows(some)
        for name in names:
            truth, rebuilt = flatten(some[name]), flatten(made[name])
            parts[name].append(losses(eval_data.value_types[name], truth, rebuilt))
    results = {}
    for name, seen in zip(names, test.present.T, strict=True):
        if not seen.any():
            continue
        found = {
            loss: np.concatenate([p[loss] for p in parts[name]])[seen] for loss in parts[name][0]
        }
        mean = score_marginal(eval_data, name, np.flatnonzero(seen))
        results[name] = {
            "num_rows": int(seen.sum()), "model": summarise_losses(found, mean),
            "marginal": summarise_losses(mean, mean),
        }  # fmt: skip
    return results


def measure_given_the_rest(
    key: Key,
    eval_data: EvalData,
    generator: Generator,
    num_samples: int,
    baselines: Sequence[Baselines],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure prediction and calibration of each modality, given all others that a row has.

    Real values are predicted by the mean of samples of p(x|z). Of classes, binary values and counts the
    means of p(x|z) are averaged, over as many samples of z: shares among the samples are too coarse.

    Args:
        key: A typed key.
        eval_data: What to measure on.
        generator: The generator.
        num_samples: Samples for each question.
        baselines: Those of each modality.

    Returns:
        Prediction and calibration, each by modality.
    """
    sample_key, mean_key = jax.random.split(key)
    names, questions = eval_data.names, given_the_rest(eval_data.test.present)

    def ask_about(key, answer, value_types, score):
        wanted = np.array([eval_data.value_types[name] in value_types for name in names])
        some = questions._replace(asked=questions.asked & wanted)
        return ask(key, answer, eval_data.test.arrays, names, some, num_samples, score)

    score = partial(_score_samples, eval_data, np.random.default_rng(0))
    sampled = ask_about(sample_key, generator.draw_rows, ("real", "counts"), score)
    averaged = ask_about(
        mean_key, generator.complete_rows,
        ("binary", "category", "counts", "ordinal", "segmentation"),
        partial(_score_means, eval_data),
    )  # fmt: skip
    prediction, calibrated = {}, {}
    for m, name in enumerate(names):
        asked = questions.asked[:, m]
        if not asked.any():
            continue
        answers = {title: x[asked] for title, x in (sampled[name] | averaged[name]).items()}
        rows = questions.row[asked]
        mean = score_marginal(eval_data, name, rows)
        others = baselines[m].score(eval_data, name, rows)
        compared = {"model": answers, "marginal": mean, **others}
        # On the same rows: the error of this ratio is less than those of both errors suggest.
        over = ratio(answers["error"], others["linear"]["error"])
        prediction[name] = {
            "num_rows": len(rows),
            **{title: summarise_losses(found, mean) for title, found in compared.items()},
            "error_over_linear": over._asdict(),
        }
        calibrated |= _calibrate(name, answers, num_samples)
    return prediction, calibrated


def _score_samples(
    eval_data: EvalData,
    rng: np.random.Generator,
    name: str,
    truth: np.ndarray,
    samples: np.ndarray,
) -> dict[str, np.ndarray]:
    """Score samples: the error of the mean of real values, ranks, and the CRPS beside the marginal's.

    The samples of the marginal are as many training rows, at random. Of images there is the error alone:
    their samples are means, without the noise of pixels, and would seem too narrow. So it is of text, whose
    numbers of tokens are nearly all 0.
    """
    value_type = eval_data.value_types[name]
    found = losses(value_type, truth, *moments(samples)) if value_type == "real" else {}
    if name in eval_data.images | eval_data.texts:
        return found
    train = eval_data.train
    having = np.flatnonzero(train.present[:, eval_data.names.index(name)])
    chosen = rng.choice(having, samples.shape[:2])
    others = flatten(train.arrays[name][chosen.ravel()]).reshape(samples.shape)
    ranks = calibration.ranks(truth, samples, rng)
    return found | {
        "ranks": calibration.rank_shares(ranks, samples.shape[1]),
        "crps": calibration.crps(truth, samples),
        "marginal_crps": calibration.crps(truth, others),
    }


def _score_means(
    eval_data: EvalData, name: str, truth: np.ndarray, samples: np.ndarray
) -> dict[str, np.ndarray]:
    """Score the mean of means of p(x|z); of classes and binary values also keep the probabilities."""
    value_type, (mean, variance) = eval_data.value_types[name], moments(samples)
    found = losses(value_type, truth, mean, variance)
    if value_type == "category":
        likely = mean.argmax(axis=1)
        found |= {"probability": mean.max(axis=1), "hit": truth[np.arange(len(truth)), likely]}
    if value_type == "segmentation":
        classes, chances = per_pixel(truth, truth), per_pixel(truth, mean)
        likely = chances.argmax(axis=2, keepdims=True)
        some = slice(None, None, max(classes.shape[1] // NUM_PROBABILITIES, 1))
        found["probability"] = chances.max(axis=2)[:, some]
        found["hit"] = np.take_along_axis(classes, likely, axis=2)[:, some, 0]
    if value_type == "binary":
        step = max(mean.shape[1] // NUM_PROBABILITIES, 1)
        found |= {"probability": mean[:, ::step], "hit": truth[:, ::step]}
    return found


def _calibrate(name: str, answers: Arrays, num_samples: int) -> dict[str, Any]:
    """Return the calibration of a modality under its name, as far as it was scored."""
    if "probability" in answers:
        hit = answers["hit"].ravel() > 0.5
        found = calibration.reliability(answers["probability"].ravel(), hit)
        return {name: {"num_rows": len(answers["hit"]), "reliability": found._asdict()}}
    if "ranks" not in answers:
        return {}
    shares = answers["ranks"]
    return {name: {
        "num_rows": len(shares),
        "nominal": calibration.nominal_coverage(num_samples),
        "coverage": estimate(calibration.coverage(shares))._asdict(),
        "bias": estimate(calibration.bias(shares))._asdict(),
        "ranks": shares.mean(axis=0).tolist(),
        "crps": ratio(answers["crps"], answers["marginal_crps"])._asdict(),
    }}  # fmt: skip


def measure_given_one(key: Key, eval_data: EvalData, generator: Generator) -> dict[str, Any]:
    """Measure the prediction of each modality from each other one alone: `{observed: {target: results}}`.

    There are few samples, so the accuracy of categories comes out a little too low. Errors and log losses are
    corrected.
    """
    names, test = eval_data.names, eval_data.test
    questions = given_one(test.present)

    def score(name, truth, samples):
        return losses(eval_data.value_types[name], truth, *moments(samples))

    found = ask(
        key, generator.complete_rows, test.arrays, names, questions, SAMPLES_GIVEN_ONE, score
    )
    results: dict[str, Any] = {name: {} for name in names}
    for s, source in enumerate(names):
        for m, name in enumerate(names):
            chosen = questions.observed[:, s] & questions.asked[:, m]
            if chosen.any():
                mean = score_marginal(eval_data, name, questions.row[chosen])
                answers = {title: x[chosen] for title, x in found[name].items()}
                results[source][name] = summarise_losses(answers, mean)
    return results
