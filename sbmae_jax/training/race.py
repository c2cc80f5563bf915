"""A race: contenders train for a while, are compared on held-out rows, and the better half trains on.

This is successive halving: each rung ends at twice the steps of the one before. A contender that stays goes
on from where it is. The first contender is what is kept unless another is better by more than a standard
error, so it stays in every rung. All are measured on the same rows with the same noise, so the standard error
is that of the differences between rows.

Source: Jamieson & Talwalkar 2016 (arXiv:1502.07943).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sbmae_jax._check import require_number, require_type

NETWORK = "network"
# Values of the training of the score that a contender may have of its own; others end or measure trainings.
TRAINING = (
    "learning_rate",
    "warmup_steps",
    "weight_decay",
    "clip_norm",
    "b2",
    "ema_decay",
    "batch_size",
)
MAX_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class RaceConfig:
    """Which networks of the score contend before its training, and for how long.

    Attributes:
        share: Steps of all contenders together, as a share of the steps of the training, in 0..0.5; 0 for no
            race. A wider network takes longer for a step than the share says.
        max_minutes: The race ends after so many minutes, above 0, and the last rung that was finished counts.
            The result may then depend on the speed of the machine.
        score: The contenders, besides the run as its config says. Each is `{key: value}`, with keys such as
            "network.width" or "score_training.weight_decay", or "network" for a whole section.

    Raises:
        ValueError: For a value that is out of range or of the wrong type, and for a key that makes losses
            incomparable.

    Example:
        >>> RaceConfig(share=0.2, score=({"network.width": 128},)).max_minutes
        10.0
    """

    share: float = 0.0
    max_minutes: float = 10.0
    score: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self):
        require_number("share", self.share, 0, MAX_SHARE)
        require_number("max_minutes", self.max_minutes, above=0, high=1e6)
        require_type("score", self.score, tuple[Mapping[str, Any], ...])
        known = [f"score_training.{key}" for key in TRAINING]
        for number, contender in enumerate(self.score, 1):
            for key in contender:
                if key not in known and key != NETWORK and not key.startswith(f"{NETWORK}."):
                    raise ValueError(
                        f"score: contender {number} has {key}, and may have {NETWORK}, {NETWORK}.KEY, "
                        f"{', '.join(known)}"
                    )
            if not contender:
                raise ValueError(
                    f"score: contender {number} has no values: the run itself contends"
                )


class Rung(NamedTuple):
    """A part of a race.

    Attributes:
        num: How many contenders are in it.
        steps: How many steps they have taken in the end, since the beginning of the race.
    """

    num: int
    steps: int


class Score(NamedTuple):
    """What a contender reached in a rung.

    Attributes:
        loss: Its mean loss on held-out rows; infinite if its training diverged.
        gain: How much lower it is than that of the first contender.
        error: The standard error of the gain.
    """

    loss: float
    gain: float
    error: float


def plan_rungs(num: int, num_steps: int, share: float, steps_per_call: int) -> list[Rung]:
    """Plan a race whose steps together are at most a share of those of a training.

    Args:
        num: Number of contenders, at least 2.
        num_steps: Steps of the training.
        share: Share of them.
        steps_per_call: Steps of a rung are multiples of it.

    Returns:
        The rungs; none if there are too few steps.

    Example:
        >>> plan_rungs(3, 3000, 0.2, 50)
        [Rung(num=3, steps=100), Rung(num=2, steps=200)]
    """
    sizes = [num]
    while sizes[-1] > 2:
        sizes.append((sizes[-1] + 1) // 2)
    # Each rung but the first adds as many steps as all before it.
    units = sizes[0] + sum(size * 2**n for n, size in enumerate(sizes[1:]))
    first = int(share * num_steps / units) // steps_per_call * steps_per_call
    return [Rung(size, first * 2**n) for n, size in enumerate(sizes)] if first else []


def run_race(
    rungs: Sequence[Rung], measure: Callable[[int, int], np.ndarray | None]
) -> tuple[int, list[dict[int, Score]]]:
    """Run a race.

    Args:
        rungs: Its rungs, of which the first has all contenders.
        measure: `(contender, steps) -> losses [N]` of held-out rows, the same rows for all: trains a
            contender until it has taken so many steps. None ends the race.

    Returns:
        The number of the winner, and the scores of each rung that was finished, by contender.
    """
    table: list[dict[int, Score]] = []
    left = list(range(rungs[0].num))
    for rung in rungs:
        left = left[: rung.num]
        losses: dict[int, np.ndarray] = {}
        for number in sorted(left):
            found = measure(number, rung.steps)
            if found is None:
                return _winner(table), table
            losses[number] = np.asarray(found, np.float64)
        table.append({number: _score(losses[0], losses[number]) for number in losses})
        left = [0, *sorted(set(left) - {0}, key=lambda number: table[-1][number].loss)]
    return _winner(table), table


def _score(first: np.ndarray, losses: np.ndarray) -> Score:
    """Compare the losses of a contender with those of the first one."""
    if not (np.isfinite(first).all() and np.isfinite(losses).all()):
        mean = float(losses.mean())
        return Score(mean if np.isfinite(mean) else float("inf"), float("-inf"), 0.0)
    gains = first - losses
    error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else float("inf")
    return Score(float(losses.mean()), float(gains.mean()), float(error))


def _winner(table: Sequence[Mapping[int, Score]]) -> int:
    """Return the best contender of the last rung if it clearly beats the first one, else the first."""
    scores = table[-1] if table else {}
    best = min(scores, key=lambda number: scores[number].loss, default=0)
    return best if best and scores[best].gain > scores[best].error else 0
