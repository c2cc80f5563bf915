"""What a visitor has set on the page, as the query of a link that restores it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import numpy as np

from sbmae_jax.app.page.inputs import Control
from sbmae_jax.app.page.player import Dials

MAX_QUERY = 40_000
"""Characters of a link; servers and browsers refuse longer ones."""

_GIVEN = "given."
_PNG = "data:image/png;base64,"
_URL_SAFE = str.maketrans("+/", "-_")
_FROM_URL = str.maketrans("-_", "+/")
_NUMBERS = {
    "samples": ("num_samples", int),
    "seed": ("seed", int),
    "temperature": ("temperature", float),
    "weight": ("classifier_free", float),
    "energy": ("guidance", float),
}
"""`{key of the query: (field of Dials, type)}`"""


@dataclass(frozen=True, kw_only=True)
class State:
    """What a visitor has set.

    Attributes:
        given: `{name: value of its control}` of the modalities that are given.
        dials: How samples are drawn.

    Example:
        >>> state = State(given={"town": "Oslo"}, dials=Dials(seed=3))
        >>> from_query(as_query(state), ("town",), Dials()) == state
        True
    """

    given: Mapping[str, Any] = field(default_factory=dict)
    dials: Dials = field(default_factory=Dials)

    def examples(self, controls: Sequence[Control]) -> dict[str, np.ndarray]:
        """Return what is given as arrays; raises ValueError as `Control.read`."""
        return {c.name: c.read(self.given[c.name]) for c in controls if c.name in self.given}


def as_query(state: State) -> str:
    """Return a state as the query of a link, which begins with "?".

    Raises:
        ValueError: If the link would be too long, as many pictures or large ones make it.
    """
    words = {key: f"{getattr(state.dials, name):g}" for key, (name, _) in _NUMBERS.items()}
    words["seed"] = str(state.dials.seed)  # all its digits
    for name, value in state.given.items():
        if isinstance(value, str) and value.startswith(_PNG):
            value = "png:" + value.removeprefix(_PNG).translate(_URL_SAFE)
        words[_GIVEN + name] = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    query = "?" + urlencode(words)
    if len(query) > MAX_QUERY:
        raise ValueError("what is given is too large for a link: download the samples instead")
    return query


def from_query(query: str, names: Sequence[str], dials: Dials) -> State:
    """Return the state of a link.

    Args:
        query: As `as_query` returns it. Other keys than those of a state are not looked at.
        names: The modalities that the model has.
        dials: What holds where the link says nothing.

    Raises:
        ValueError: In one sentence, for a link of another model, or one that is damaged.
    """
    if len(query) > MAX_QUERY:
        raise ValueError("this link is too long: nothing was restored")
    numbers, given = {}, {}
    for key, word in parse_qsl(query.removeprefix("?"), max_num_fields=1000):
        name = key.removeprefix(_GIVEN)
        try:
            if key in _NUMBERS:
                place, kind = _NUMBERS[key]
                numbers[place] = kind(word)
            elif key != name and name not in names:
                raise ValueError(
                    f"this link is of a model with {name}, which this model does not have: nothing was "
                    "restored"
                )
            elif key != name:
                given[name] = _value_of(json.loads(word))
        except (json.JSONDecodeError, RecursionError):
            raise ValueError(f"this link is damaged at {key}: nothing was restored") from None
    return State(given=given, dials=Dials(**{**vars(dials), **numbers}))


def _value_of(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("png:"):
        return _PNG + value.removeprefix("png:").translate(_FROM_URL)
    return value
