"""Our score and sampler beside the reference's, on the same autoencoders of Extended PolyMNIST.

The reference has its UNet, its process, VP (0.1, 5), the score of all latents together, Adam at 5e-4, batches
of 256, and its sampler of 200 evaluations. It trained for 500 epochs, 98,000 steps; here for as many as are
asked for. What is ours in its training favours it: standardised latents, a step size that decays, averaged
parameters.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import reference
from polymnist_cost import LEVELS
from quality import quality
from reuse import reuse

from sbmae_jax.app import pipeline
from sbmae_jax.app.run import Run, load_model
from sbmae_jax.training.log import read_metrics

KEPT = ("autoencoder", "classifier")
TRAINING = {
    "num_steps": 6000, "batch_size": 256, "learning_rate": 5e-4, "b2": 0.999, "ema_decay": 0.999,
    "steps_per_call": 100, "checkpoint_every": 6000,
}  # fmt: skip


def compare(
    config: Mapping[str, Any], network: Mapping[str, Any], training: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """Train and measure both on the test split, and return their rows.

    config: ours.  network, training: the UNet's.  folder: of the workdirs.
    """
    own, other = folder / "ours", folder / "theirs"
    ours = trained(config, own, ("autoencoders", "score", "evaluators"))
    reuse(own, other, KEPT, ("data.json",))
    theirs = trained(reference_config(config, network, training), other, ("score",))
    model = load_model(theirs)
    complete = partial(reference.complete, model, num_levels=LEVELS)
    return {
        "ours": quality(ours, load_model(ours), "test") | seconds(own),
        "the reference's": quality(theirs, model, "test", complete, 2 * LEVELS) | seconds(other),
    }


def reference_config(
    config: Mapping[str, Any], network: Mapping[str, Any], training: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a config with the reference's score, process and training."""
    joint = reference.joint(config, network)
    return {
        **joint,
        "sde": {"name": "vp", "beta_min": 0.1, "beta_max": 5.0},
        "score": {**joint["score"], "weighting": "noise"},
        "score_training": {**TRAINING, **training},
    }


def trained(config: Mapping[str, Any], workdir: Path, stages: tuple[str, ...]) -> Run:
    """Run some stages, and return the run."""
    for stage in stages:
        pipeline.run(config, workdir, stage)
    return Run(config, workdir)


def seconds(workdir: Path) -> dict[str, float]:
    """Return how long the score was trained."""
    return {
        "seconds of training the score": sum(r["seconds"] for r in read_metrics(workdir)["score"])
    }
