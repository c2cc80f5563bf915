"""What a config says of a race, and what a folder keeps of it: the contender that won, and the table."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sbmae_jax._json import from_json
from sbmae_jax.app.sections import Section
from sbmae_jax.evaluation.base import ReportSection
from sbmae_jax.training.race import RaceConfig, Score
from sbmae_jax.training.workdir import RACE

AS_CHOSEN = "as chosen"


def race_config(config: Mapping[str, Any]) -> RaceConfig:
    """Return the section `race` of a config, which may lack it."""
    return Section("config.race", config.get("race", {})).build(RaceConfig)


def with_values(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with the values of a contender.

    Example:
        >>> with_values({"network": {"name": "hub", "width": 64}}, {"network.width": 96})
        {'network': {'name': 'hub', 'width': 96}}
    """
    found = dict(config)
    for key, value in values.items():
        section, _, name = key.partition(".")
        found[section] = {**found[section], name: value} if name else dict(value)
    return found


def read_winner(workdir: Path) -> dict[str, Any]:
    """Return the values of the contender that has won the race of a run; none if there was no race.

    Raises:
        ValueError: If the file is damaged.
    """
    path = workdir / RACE
    if not path.exists():
        return {}
    try:
        result = from_json(path.read_text())
        return dict(result["contenders"][result["winner"]])
    except (ValueError, LookupError, TypeError):
        raise ValueError(f"{path} is damaged: do the stage again, with redo='score'") from None


def race_section(workdir: Path) -> ReportSection | None:
    """Return the table of the race of a run for its report; None if there was none."""
    path = workdir / RACE
    if not path.exists():
        return None
    result = from_json(path.read_text())
    names = [name_of(contender) for contender in result["contenders"]]
    head = ("contender", "steps", "loss on held-out rows", "lower by", "±")
    cells, last = [], {}
    for rung in result["rungs"]:
        last = {int(number): Score(*values) for number, values in rung["scores"].items()}
        for number, score in sorted(last.items(), key=lambda item: _loss_or_infinity(item[1])):
            diverged = not math.isfinite(score.loss)
            has_gain = number and math.isfinite(score.gain)
            gain = (f"{score.gain:.4f}", f"{score.error:.4f}") if has_gain else ("", "")
            loss = "diverged" if diverged else f"{score.loss:.4f}"
            cells.append((names[number], f"{rung['steps']:,}", loss, *gain))
    number = result["winner"]
    if not last:
        remark = f"No rung was finished: the network stays {AS_CHOSEN}."
    elif not number and not math.isfinite(last[0].loss):
        remark = (
            f"The network {AS_CHOSEN} diverged, so there was nothing to compare with: it stays."
        )
    elif not number:
        remark = (
            f"No contender was better by more than a standard error: the network stays {AS_CHOSEN}."
        )
    else:
        remark = f"{names[number]} won, by {last[number].gain:.4f} ± {last[number].error:.4f}."
    return ReportSection("Race of score networks", table=(head, *cells), remark=remark)


def _loss_or_infinity(score: Score) -> float:
    """Return the loss by which contenders are sorted; a file has NaN for one that diverged."""
    return score.loss if math.isfinite(score.loss) else math.inf


def name_of(contender: Mapping[str, Any]) -> str:
    """Return a contender in words.

    Example:
        >>> name_of({"network.width": 128, "network.hub_width": 192}), name_of({})
        ('width 128, hub_width 192', 'as chosen')
    """
    words = [
        str(value.get("name", key))
        if isinstance(value, Mapping)
        else f"{key.split('.')[-1]} {value}"
        for key, value in contender.items()
    ]
    return ", ".join(words) or AS_CHOSEN
