"""How trainings ended, and which key of the config would have let them learn on."""

from collections.abc import Iterable, Mapping
from typing import Any

from sbmae_jax.training.config import TrainingConfig

Rows = list[dict[str, Any]]
"""What the log has of a training, as `log.read_metrics` returns it."""


def describe_ending(name: str, training: TrainingConfig, rows: Rows) -> str:
    """Return a sentence without its subject if a training could have learned on, else "".

    Args:
        name: The name of the training: "score", or "autoencoder/NAME".
        training: How it was trained.
        rows: Its rows of the log, at least one.

    Example:
        >>> config = TrainingConfig(num_steps=200, batch_size=8, learning_rate=1e-3, patience=100)
        >>> rows = [{"step": 100, "held_out_loss": 2.0}, {"step": 200, "held_out_loss": 1.0}]
        >>> describe_ending("energy", config, rows)[:61]
        'the loss on held-out rows was lowest at the last of 200 steps'
    """
    key, last = f"config.{name.split('/')[0]}_training", rows[-1]["step"]
    held_out = [(row["held_out_loss"], row["step"]) for row in rows if "held_out_loss" in row]
    best, best_step = min(held_out, default=(0.0, 0))
    is_patient = not training.patience or last - best_step < training.patience
    if last < training.num_steps and is_patient and training.max_minutes:
        return (
            f"ended by {key}.max_minutes = {training.max_minutes:g} after {last:,} of "
            f"{training.num_steps:,} steps"
        )
    if len(held_out) < 2 or last < training.num_steps or best_step < held_out[-1][1]:
        return ""
    first = held_out[0][0]
    before = min(loss for loss, step in held_out if step <= max(0.75 * last, held_out[0][1]))
    share = (before - best) / (first - best)
    return (
        f"the loss on held-out rows was lowest at the last of {last:,} steps (of its fall, {share:.1%} "
        f"came in the last quarter): a larger {key}.num_steps may help"
    )


def describe_endings(
    trainings: Iterable[tuple[str, TrainingConfig]], rows: Mapping[str, Rows]
) -> list[str]:
    """Return a sentence for each way in which trainings ended that could have learned on.

    Args:
        trainings: The name of each training, and how it was trained.
        rows: The log, as `log.read_metrics` returns it.
    """
    return [
        f"{name}: {ending}"
        for name, training in trainings
        if name in rows and (ending := describe_ending(name, training, rows[name]))
    ]
