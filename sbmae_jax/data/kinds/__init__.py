"""The kinds of modalities: for each, how values become what the networks see, and come back."""

import math

from sbmae_jax.data.kinds.angle import Angle
from sbmae_jax.data.kinds.base import ValueKind
from sbmae_jax.data.kinds.categories import Category
from sbmae_jax.data.kinds.composition import Composition
from sbmae_jax.data.kinds.date import Date
from sbmae_jax.data.kinds.images import Images, Masks, Segmentation
from sbmae_jax.data.kinds.numbers import Binary, ChannelsFirstSignal, Counts, LargeCounts, Signal
from sbmae_jax.data.kinds.ordinal import Ordinal
from sbmae_jax.data.kinds.positive import Positive
from sbmae_jax.data.kinds.text import Text

_ALL = (
    ValueKind("vector", "normal"),
    Signal("signal", "normal"),
    Images("image", "gaussian"),
    Masks("mask", "gaussian"),
    Binary("binary", "bernoulli"),
    Category("category", "categorical"),
    Counts("counts", "poisson"),
    LargeCounts("large_counts", "normal"),
    Text("text", "tokens"),
    Ordinal("ordinal", "ordinal"),
    Positive("positive", "normal"),
    Composition("composition", "normal"),
    Angle("angle", "normal"),
    Angle("degrees", "normal", 360.0),
    Angle("hours", "normal", 24.0),
    Angle("radians", "normal", 2 * math.pi),
    Date("date", "normal"),
    Segmentation("segmentation", "pixel_classes"),
    ChannelsFirstSignal("channels_first_signal", "normal"),
)

KINDS: dict[str, ValueKind] = {kind.name: kind for kind in _ALL}
"""The kinds by their names, in the order in which messages list them."""

IMAGE_KINDS = tuple(name for name, kind in KINDS.items() if kind.is_image)
"""The names of the kinds of images."""
