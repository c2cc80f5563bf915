"""Conditional prediction and calibration: what the generator says of held-out modalities, and how surely.

The error of the conditional mean is compared with that of the training mean ("marginal"), of linear or
logistic regression ("linear") and of nearest neighbours ("neighbours"), on the same rows. All errors are over
that of the marginal, which is 1: 1 - error is the share of variance that is explained.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from sbmae_jax.evaluation.generator import Arrays, Generator
from sbmae_jax.evaluation.paired.columns import flat
from sbmae_jax.evaluation.paired.eval_data import (
    Baselines,
    EvalData,
    baseline_losses,
    marginal,
    summary,
)
from sbmae_jax.evaluation.paired.questions import (
    Answer,
    Answers,
    Questions,
    Score,
    ask,
    chunks,
    given_one,
    given_the_rest,
)  # fmt: skip
from sbmae_jax.metrics import calibration
from sbmae_jax.metrics.coherence import estimate
from sbmae_jax.metrics.prediction import losses, moments, ratio
from sbmae_jax.types import Key

DRAWS_GIVEN_ONE = 5  # the errors are corrected for their number
NUM_PROBABILITIES = 256  # about so many of a row are kept, of wide binary values at equal distances


def measure_reconstruction(eval_data: EvalData, generator: Generator) -> dict[str, Any]:
    """Return what is left of each modality when it is encoded and decoded, and what its mean would score."""
    names = eval_data.names
    parts: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in names}
    for chosen in chunks(eval_data.rows, names, len(eval_data.present)):
        some = {name: eval_data.rows[name][chosen] for name in names}
        made = generator.reconstruct_rows(some)
        for name in names:
            value_type = eval_data.value_types[name]
            parts[name].append(losses(value_type, flat(some[name]), flat(made[name])))
    results = {}
    for name, seen in zip(names, eval_data.present.T, strict=True):
        if not seen.any():
            continue
        found = {f: np.concatenate([p[f] for p in parts[name]])[seen] for f in parts[name][0]}
        mean = marginal(eval_data, name, np.flatnonzero(seen))
        results[name] = {
            "num_rows": int(seen.sum()), "model": summary(found, mean), "marginal": summary(mean, mean),
        }  # fmt: skip
    return results


def measure_given_the_rest(
    keys: Sequence[Key],
    eval_data: EvalData,
    generator: Generator,
    num_draws: int,
    baselines: Sequence[Baselines],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return prediction and calibration of each modality, given all others that a row has.

    keys: two.  rivals: of each modality.

    Real values are predicted by the mean of their draws. Of categories, binary values and counts the means
    of p(x|z) are averaged, over as many draws of the latents: shares among the draws are too coarse.
    """
    questions = given_the_rest(eval_data.present)
    drawn = partial(score_draws, eval_data, np.random.default_rng(0))
    found = merged([
        ask_for(("real", "counts"), keys[0], generator.draw_rows, eval_data, questions, num_draws, drawn),
        ask_for(
            ("binary", "category", "counts"), keys[1], generator.complete_rows, eval_data, questions,
            num_draws, partial(score_means, eval_data),
        ),
    ])  # fmt: skip
    prediction, calibrated = {}, {}
    for m, name in enumerate(eval_data.names):
        asked = questions.asked[:, m]
        if not asked.any():
            continue
        answers = {figure: x[asked] for figure, x in found[name].items()}
        rows = questions.row[asked]
        mean = marginal(eval_data, name, rows)
        others = baseline_losses(eval_data, baselines[m], name, rows)
        tried = {"model": answers, "marginal": mean, **others}
        prediction[name] = {"num_rows": len(rows)} | {t: summary(x, mean) for t, x in tried.items()}
        # On the same rows: the error of this ratio is less than those of both errors suggest.
        over = ratio(answers["error"], others["linear"]["error"])
        prediction[name]["error_over_linear"] = over._asdict()
        calibrated |= calibrate(name, answers, num_draws)
    return prediction, calibrated


def ask_for(
    value_types: tuple[str, ...], key: Key, answer: Answer, eval_data: EvalData, questions: Questions,
    num_draws: int, score: Score,
) -> Answers:  # fmt: skip
    """Ask those questions whose target is of some value types; the rest of the answers is NaN."""
    wanted = np.array([eval_data.value_types[name] in value_types for name in eval_data.names])
    chosen = np.flatnonzero((questions.asked & wanted).any(axis=1))
    found = ask(
        key, answer, eval_data.rows, eval_data.names, questions.take(chosen), num_draws, score
    )
    return {
        name: {f: spread(x, chosen, questions) for f, x in found[name].items()} for name in found
    }


def spread(values: np.ndarray, chosen: np.ndarray, questions: Questions) -> np.ndarray:
    """Put the answers to some questions in the places of all of them."""
    filled = np.full((len(questions.row), *values.shape[1:]), np.nan)
    filled[chosen] = values
    return filled


def merged(answers: Sequence[Answers]) -> Answers:
    """Join answers that give different figures."""
    return {name: {f: x for some in answers for f, x in some[name].items()} for name in answers[0]}


def score_draws(
    eval_data: EvalData, rng: np.random.Generator, name: str, truth: np.ndarray, draws: np.ndarray
) -> dict[str, np.ndarray]:
    """Score draws as they are: error of the mean of real values, ranks, and the CRPS beside the marginal's.

    The marginal's draws are training rows, as many and at random. Of pictures there is the error alone:
    their draws are means, without the noise of pixels, and would seem too narrow.
    """
    value_type = eval_data.value_types[name]
    found = losses(value_type, truth, *moments(draws)) if value_type == "real" else {}
    if name in eval_data.pictures:
        return found
    having = np.flatnonzero(eval_data.train_present[:, eval_data.names.index(name)])
    chosen = rng.choice(having, draws.shape[:2])
    others = flat(eval_data.train[name][chosen.ravel()]).reshape(draws.shape)
    return found | {
        "ranks": calibration.rank_shares(calibration.ranks(truth, draws, rng), draws.shape[1]),
        "crps": calibration.crps(truth, draws),
        "marginal_crps": calibration.crps(truth, others),
    }


def score_means(
    eval_data: EvalData, name: str, truth: np.ndarray, draws: np.ndarray
) -> dict[str, np.ndarray]:
    """Score the mean of means of p(x|z); of categories and binary values also keep the probabilities."""
    value_type, (mean, variance) = eval_data.value_types[name], moments(draws)
    found = losses(value_type, truth, mean, variance)
    if value_type == "category":
        likely = mean.argmax(axis=1)
        found |= {"probability": mean.max(axis=1), "hit": truth[np.arange(len(truth)), likely]}
    if value_type == "binary":
        step = max(mean.shape[1] // NUM_PROBABILITIES, 1)
        found |= {"probability": mean[:, ::step], "hit": truth[:, ::step]}
    return found


def calibrate(name: str, answers: Arrays, num_draws: int) -> dict[str, Any]:
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
        "nominal": calibration.nominal_coverage(num_draws),
        "coverage": estimate(calibration.coverage(shares))._asdict(),
        "bias": estimate(calibration.bias(shares))._asdict(),
        "ranks": shares.mean(axis=0).tolist(),
        "crps": ratio(answers["crps"], answers["marginal_crps"])._asdict(),
    }}  # fmt: skip


def measure_given_one(key: Key, eval_data: EvalData, generator: Generator) -> dict[str, Any]:
    """Return {observed modality: {target: figures}} for each modality observed alone.

    The few draws make the accuracy of categories a little worse than it is; errors and log losses are
    corrected.
    """
    questions = given_one(eval_data.present)

    def score(name, truth, draws):
        return losses(eval_data.value_types[name], truth, *moments(draws))

    found = ask(
        key,
        generator.complete_rows,
        eval_data.rows,
        eval_data.names,
        questions,
        DRAWS_GIVEN_ONE,
        score,
    )
    results: dict[str, Any] = {name: {} for name in eval_data.names}
    for s, source in enumerate(eval_data.names):
        for m, name in enumerate(eval_data.names):
            chosen = questions.observed[:, s] & questions.asked[:, m]
            if chosen.any():
                mean = marginal(eval_data, name, questions.row[chosen])
                answers = {figure: x[chosen] for figure, x in found[name].items()}
                results[source][name] = summary(answers, mean)
    return results
