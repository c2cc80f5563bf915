"""Captions of drawn faces: four of their attributes, in one of many wordings."""

import functools

import numpy as np

from sbmae_jax.data.captions import FACES, grammar_as_tokens
from sbmae_jax.data.celebahq.layout import ATTRIBUTES
from sbmae_jax.data.scaling import Scaling

CAPTION = "caption"

_VALUES = {
    "person": ("Male", "man", "woman"),
    "face": ("Smiling", "smiling", "serious"),
    "glasses": ("Eyeglasses", "worn", "none"),
    "hat": ("Wearing_Hat", "worn", "none"),
}
"""{factor: (attribute, value if it holds, value if not)}"""


def factors_of(attributes: np.ndarray) -> dict[str, str]:
    """Return what the caption of a face says, given its 40 attributes."""
    return {
        factor: yes if attributes[ATTRIBUTES.index(name)] else no
        for factor, (name, yes, no) in _VALUES.items()
    }


def draw_captions(seed: int, index: np.ndarray, attributes: np.ndarray) -> list[str]:
    """Draw a caption of each face, of all that say the same; a face has the same one in every run.

    Args:
        seed: That of the drawings.
        index: The numbers of the faces, `[N]`.
        attributes: Their attributes, `[N, 40]`.
    """
    return [
        FACES.caption(factors_of(some), np.random.default_rng((seed, int(number), 1)))
        for number, some in zip(index, attributes, strict=True)
    ]


@functools.cache
def captions_as_tokens() -> Scaling:
    """Return how captions become tokens."""
    return grammar_as_tokens(FACES, "ToyFaces")
