"""What a model of modalities that share a class reaches, by the nested protocol, and what a sample costs."""

from typing import Any

import jax
import speed

from sbmae_jax.app import pipeline
from sbmae_jax.app.run import Run
from sbmae_jax.models import model as models
from sbmae_jax.types import CompleteFn


def quality(
    run: Run,
    model: models.Model,
    split: str,
    complete: CompleteFn | None = None,
    num_evaluations: int | None = None,
) -> dict[str, Any]:
    """Measure a model on a split.

    complete, num_evaluations: another sampler than the model's, with the model bound, and its evaluations
    of the score.
    """
    evaluations = num_evaluations or model.sampling.num_evaluations
    found, _ = pipeline.measure(run, model, split, complete)
    return {
        "reconstruction": found["reconstruction_accuracy"]["mean"],
        **{f"given {n}": entry["mean"] for n, entry in found["conditional_coherence"].items()},
        "all agree": found["unconditional_coherence"]["all_agree"]["mean"],
        "Fréchet distance": found["frechet_classifier_features"]["mean"],
        "diversity": found["conditional_diversity"],
        "parameters of the score": sum(p.size for p in jax.tree.leaves(model.params["score"])),
        "GFLOP of one sample": speed.score_cost(model)["flops"] * evaluations / 1e9,
    }
