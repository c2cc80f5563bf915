"""The rules by which the kind of an array is inferred from its dtype, its axes and its values.

Where two kinds fit, the one that is taken comes with a doubt, which says how to choose the other.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sbmae_jax.data.kinds.date import example
from sbmae_jax.data.user.profile import MAX_CLASSES, Profile
from sbmae_jax.data.user.statistics import Statistics

MAX_COUNT = 1_000_000  # of the kind counts, whose likelihood ends at e^15; more are large counts
# Of the largest of many large counts to the smallest; logarithms of others lose digits.
MIN_RATIO = 1.5
MAX_INTEGER_CLASSES = 20  # distinct integers in an array [N] that is taken for a category
MAX_FLOAT_CLASS = 1000  # of classes stored as floats; larger ones are numbers that floats round
MAX_CHANNELS = {"image": 4, "signal": 16}
MAX_LEVELS = 11  # of integers [N, F] that are taken for ordered levels
MAX_ORDINAL_VALUES = 2000  # in a row, each of which is a bit for each level
# Of images that are taken for classes of pixels: distinct values, and the share of equal neighbours.
MAX_PIXEL_CLASSES, MIN_EQUAL_NEIGHBOURS = 12, 0.6
MIN_SIDE = 8  # of these images, and of images of floats that may be signals
# Of the differences of neighbours to those of values far apart: along time, across channels, and the ratio
# of both, which images of things seldom have.
SMOOTH, ROUGH, ANISOTROPY = 0.5, 0.8, 3.0
# Of the variance of the means along time, as rhythms have none; and how much more there is in those across.
STEADY, UNSTEADY = 0.05, 10.0
_PLACES = ("first", "second")
VOLUMES = (
    "volumes have no kind of their own: the kind vector learns small ones, to about 16 x 16 x 16, so pool "
    "larger ones, or give a coder of your own"
)
MIN_DISPERSION = 0.5  # variance over mean of counts: Poisson ones have 1
MIN_ZEROS, MIN_SKEWNESS = 0.3, 1.0  # of integers that are counts though they are stored as floats
# Of real numbers that are taken for positive ones.
MIN_POSITIVE_ZEROS, MIN_POSITIVE_SKEWNESS = 0.01, 2.0


class Kind(NamedTuple):
    """A kind of modality, and why it was chosen.

    Attributes:
        name: One of `data.kinds.KINDS`.
        reason: The reason, for the survey: a few words.
        doubt: Which other kind would fit, and how to choose it; "" where there is no doubt.
    """

    name: str
    reason: str
    doubt: str = ""


Look = Callable[[], Statistics]
"""Measures the statistics of the array, where they matter."""


def infer(name: str, shape: tuple[int, ...], dtype: np.dtype, profile: Profile, look: Look) -> Kind:
    """Infer the kind of an array.

    Args:
        name: The modality.
        shape: The shape of one example.
        dtype: Its dtype.
        profile: What is known of its values.
        look: Measures their statistics.

    Raises:
        ValueError: For images with their channels first.
    """
    if dtype.kind in "US":
        return _infer_words(name, shape, dtype, profile)
    if len(shape) in (2, 3):
        return _infer_image(name, shape, dtype, profile, look)
    if len(shape) > 3:
        return Kind("vector", f"{len(shape) + 1} axes, flattened into one vector", VOLUMES)
    axes = "one axis" if not shape else "two axes"
    if dtype.kind == "b" or (profile.only_01 and (shape or dtype.kind == "f")):
        return Kind("binary", f"{numbers_of(dtype)}, {axes}, only 0 and 1")
    if dtype.kind == "f" and not profile.only_integers:
        return _infer_real(name, shape, axes, profile, look())
    return _infer_integers(name, shape, dtype, profile, look())


def _infer_integers(
    name: str, shape: tuple[int, ...], dtype: np.dtype, profile: Profile, seen: Statistics
) -> Kind:
    """Infer the kind of integers [N] or [N, F], which may be stored as floats."""
    axes = "one axis" if not shape else "two axes"
    holes = dtype.kind == "f" and not shape and not profile.present.all()
    as_floats = dtype.kind == "f" and not holes
    numbers = "integers with holes" if holes else numbers_of(dtype)  # which only floats can have
    numbers = "integers stored as floats" if as_floats else numbers
    has_few = profile.values is not None and len(profile.values) <= MAX_INTEGER_CLASSES
    is_large = max(abs(profile.low), abs(profile.high)) > MAX_FLOAT_CLASS
    if not shape and has_few and not (as_floats and is_large):
        return _infer_classes(name, numbers, profile, seen)
    few = 3 <= len(seen.levels) <= MAX_LEVELS and seen.is_capped
    if few and shape and np.prod(shape) <= MAX_ORDINAL_VALUES:
        levels = f"{len(seen.levels)} levels from {seen.levels[0]:g} to {seen.levels[-1]:g}"
        doubt = _doubt(name, "if these are amounts without a largest value", "counts")
        return Kind("ordinal", f"{numbers}, {axes}, {levels}", doubt if profile.low >= 0 else "")
    if profile.low < 0:
        return Kind("vector", f"{numbers}, some negative, {axes}")
    if profile.high > MAX_COUNT and profile.low > profile.high / MIN_RATIO:
        return Kind(
            "vector", f"{numbers} of nearly one size, as times or numbers of things, {axes}"
        )
    counts = "large_counts" if profile.high > MAX_COUNT else "counts"
    doubt = _doubt(name, "if these are counts", counts)
    if seen.dispersion < MIN_DISPERSION:
        return Kind("vector", f"{numbers} that vary less than counts do, {axes}", doubt)
    if seen.is_capped:
        return Kind("vector", f"{numbers} on a scale that ends at {profile.high:g}, {axes}", doubt)
    if as_floats and seen.zeros < MIN_ZEROS and not seen.skewness >= MIN_SKEWNESS:
        return Kind("vector", f"{numbers}, {axes}", doubt)
    doubt = _doubt(name, "if these are not counts", "vector") if as_floats else ""
    above = f", some above {MAX_COUNT:,}" if profile.high > MAX_COUNT else ""
    return Kind(counts, f"non-negative {numbers}{above}, {axes}", doubt)


def _infer_classes(name: str, numbers: str, profile: Profile, seen: Statistics) -> Kind:
    """Infer the kind of integers [N] with few distinct values."""
    assert profile.values is not None
    what = f"{numbers}, {len(profile.values)} distinct values"
    if seen.has_tail:
        doubt = _doubt(name, "if these are classes without an order", "category")
        return Kind("counts", f"{what}, the larger the rarer", doubt)
    ordered = _doubt(name, "if these classes have an order, as grades do", "ordinal")
    return Kind("category", what, ordered if len(profile.values) > 2 else "")


def _infer_real(
    name: str, shape: tuple[int, ...], axes: str, profile: Profile, seen: Statistics
) -> Kind:
    """Infer the kind of real numbers [N] or [N, F], not all of them integers."""
    plain = f"floats, {axes}"
    if _full_circle(profile.low, profile.high):
        return Kind("vector", plain, _doubt(name, "if these are angles", "angle"))
    if profile.low < 0:
        return Kind("vector", plain)
    if seen.total:
        doubt = _doubt(name, "if it is by chance that all rows have one sum", "vector")
        return Kind("composition", f"{plain}, all rows sum to {seen.total:.4g}", doubt)
    skewed = seen.skewness >= MIN_POSITIVE_SKEWNESS and abs(seen.log_skewness) < seen.skewness / 2
    # Zeros alone are no sign of ratios: sums and distances have some as well.
    has_zeros = seen.zeros >= MIN_POSITIVE_ZEROS and not seen.log_skewness < -2
    has_zeros = has_zeros and seen.skewness >= MIN_SKEWNESS
    if not seen.is_capped and (skewed or has_zeros):
        why = "some exactly zero" if has_zeros else "skewed as prices are"
        doubt = _doubt(name, "if differences matter more than ratios", "vector")
        return Kind("positive", f"non-negative floats, {why}, {axes}", doubt)
    near_zero = seen.skewness >= MIN_SKEWNESS and not seen.is_capped
    doubt = _doubt(name, "if ratios matter more than differences, as in prices", "positive")
    return Kind("vector", plain, doubt if near_zero else "")


def _full_circle(low: float, high: float) -> bool:
    """Return whether values span what angles do: 0 to 360 degrees or 2 pi, or half of that on both sides."""
    for period in (360.0, 2 * math.pi):
        for start in (0.0, -period / 2):
            ends = (abs(low - start), abs(high - start - period))
            if max(ends) < 0.02 * period and low >= start and high <= start + period:
                return True
    return False


def _doubt(name: str, when: str, kind: str) -> str:
    """Return how to choose another kind, and when."""
    return f"{when}, set --config.modalities.{name}.kind={kind}"


def _infer_image(
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype,
    profile: Profile,
    look: Callable[[], Statistics],
) -> Kind:
    """Infer the kind of an array [N, A, B] or [N, A, B, C]."""
    channels = shape[2] if len(shape) == 3 else 1
    axes = "three axes" if len(shape) == 2 else f"four axes, {_channels(channels)}"
    numbers = numbers_of(dtype)
    if channels_first(shape):
        raise ValueError(
            f"{name}: examples of shape {shape} are images with their channels first: move them last, as "
            f"np.moveaxis({name}, 1, -1) does"
        )
    has_two_values = dtype.kind == "b" or profile.only_01 or profile.only_0_255
    if channels == 1 and min(shape[:2]) >= MIN_SIDE and not has_two_values:
        num = _count_pixel_classes(profile, look)
        if num:
            doubt = _doubt(name, "if these are grey levels", "image")
            what = f"{num} classes of pixels in regions"
            return Kind("segmentation", f"{numbers}, {axes}, {what}", doubt)
    signal = len(shape) == 2 and shape[1] <= MAX_CHANNELS["signal"] and dtype.kind != "b"
    if signal and dtype != np.uint8 and _is_picture(shape, look):
        doubt = _doubt(name, "if these are signals", "signal")
        return Kind("image", f"{numbers}, {axes}: greyscale images", doubt)
    if signal and dtype != np.uint8:
        return Kind("signal", f"{numbers}, {axes}: {_channels(shape[1])} over time")
    if channels > MAX_CHANNELS["image"]:
        why = f"{numbers}, {axes}: too many for an image, so one vector"
        return Kind("vector", why, VOLUMES if min(shape) >= MIN_SIDE else "")
    if has_two_values:
        return Kind("mask", f"{axes}, only 0 and {profile.high:g}")
    colour = "greyscale" if channels == 1 else "colour"
    plain = Kind("image", f"{numbers}, {axes}: {colour} images")
    if len(shape) == 3 or dtype == np.uint8:
        return plain
    found = _infer_signal(name, shape, f"{numbers}, {axes}", look())
    if found is None and profile.low < 0:  # as in few images
        doubt = _doubt(name, "if these are signals", "channels_first_signal")
        return plain._replace(doubt=f"{doubt}; {_layout(name, 'signal')}")
    return found or plain


def _is_picture(shape: tuple[int, ...], look: Look) -> bool:
    """Return whether small squares [N, A, A] are about as smooth along both axes, as images are."""
    if shape[0] != shape[1] or shape[0] < MIN_SIDE:
        return False
    seen = look()
    low, high = sorted(seen.differences)
    return max(seen.roughness) < ROUGH and high < ANISOTROPY * low


def _infer_signal(name: str, shape: tuple[int, ...], what: str, seen: Statistics) -> Kind | None:
    """Tell signals from images of numbers [N, A, B] by how alike neighbours are along each axis.

    Images are about as smooth along both axes, signals along time alone, or they have rhythms, whose means
    along time are the same. None stands for images without doubt.
    """
    other = _doubt(name, "if these are images", "image")
    if shape[0] < MIN_SIDE:
        why = f"{what}: {_channels(shape[0])} over time, in the first axis"
        return Kind("channels_first_signal", why, f"{other}; {_layout(name, 'signal')}")
    for why in _steady, _rougher:
        for time, channels in ((0, 1), (1, 0)):
            if seen.roughness[time] < SMOOTH and (words := why(seen, time, channels)):
                reason = f"{what}: {words}, {_channels(shape[channels])} over time"
                kind, turned = ("signal", "channels_first_signal")[:: 1 if time == 0 else -1]
                return Kind(kind, reason, f"{other}; {_layout(name, turned)}")
    if not any(found < SMOOTH for found in seen.roughness):
        when = "neighbours are not alike as in most images: if these are signals"
        doubt = _doubt(name, when, "channels_first_signal")
        return Kind("image", f"{what}: greyscale images", f"{doubt}; {_layout(name, 'signal')}")
    return None


def _steady(seen: Statistics, time: int, channels: int) -> str:
    """Say that means along time are the same, as those of rhythms are, and means across channels not."""
    left = seen.left_in_means
    is_steady = left[time] < STEADY and left[channels] > UNSTEADY * left[time]
    return f"rhythms along the {_PLACES[time]} axis" if is_steady else ""


def _rougher(seen: Statistics, time: int, channels: int) -> str:
    """Say that neighbours are less alike across channels than along time."""
    is_rougher = seen.differences[channels] > ANISOTROPY * seen.differences[time]
    if not (is_rougher or seen.roughness[channels] > ROUGH):
        return ""
    place, other = _PLACES[time], _PLACES[channels]
    return f"neighbours along the {place} axis are alike, along the {other} less so"


def _layout(name: str, kind: str) -> str:
    """Return how to say that the axes of a signal are the other ones."""
    time = "first" if kind == "signal" else "second"
    return _doubt(name, f"if time is the {time} axis", kind)


def _count_pixel_classes(profile: Profile, look: Look) -> int:
    """Return the number of classes that pixels have: few integers, in regions of one value. 0 for others."""
    if not profile.only_integers or profile.low < 0:
        return 0
    seen = look()
    few = 2 <= len(seen.levels) <= MAX_PIXEL_CLASSES
    return len(seen.levels) if few and seen.equal_neighbours >= MIN_EQUAL_NEIGHBOURS else 0


def numbers_of(dtype: np.dtype) -> str:
    """Return a dtype of numbers in words."""
    if dtype == np.uint8:
        return "bytes"
    return {"b": "booleans", "f": "floats"}.get(dtype.kind, "integers")


def _channels(num: int) -> str:
    return f"{num} channel" if num == 1 else f"{num} channels"


def channels_first(shape: tuple[int, ...]) -> bool:
    """Return whether an example looks like an image [C, H, W]."""
    return len(shape) == 3 and shape[0] in (1, 3, 4) and min(shape[1:]) > MAX_CHANNELS["image"]


def _infer_words(name: str, shape: tuple[int, ...], dtype: np.dtype, profile: Profile) -> Kind:
    """Infer the kind of strings: dates, and text where they hardly repeat."""
    if profile.date_format:
        doubt = _doubt(name, "if these are names of classes", "category")
        few = profile.values is not None and len(profile.values) <= MAX_INTEGER_CLASSES
        return Kind("date", f"strings such as {example(profile.date_format)}", doubt if few else "")
    if shape or not misfit_of_category(shape, dtype, profile):
        return Kind("category", "strings")
    num = f"more than {MAX_CLASSES:,}" if profile.values is None else f"{len(profile.values):,}"
    num_rows = int(np.count_nonzero(profile.present))
    return Kind("text", f"strings, {num} of {num_rows:,} distinct")


def misfit_of_category(shape: tuple[int, ...], dtype: np.dtype, profile: Profile) -> str:
    """Return what keeps an array from being a category, or ""."""
    if shape:
        return f"it must be [N], one class per row, got examples of shape {shape}"
    if dtype.kind == "f" and not profile.only_integers:
        return "its classes must be integers or strings"
    if profile.values is None:
        return f"it has more than {MAX_CLASSES:,} distinct values: make it text, or leave it out"
    num_rows = int(np.count_nonzero(profile.present))
    if len(profile.values) > max(MAX_INTEGER_CLASSES, math.ceil(num_rows / 2)):
        return (
            f"{len(profile.values):,} of {num_rows:,} values are distinct: make it text, or leave it "
            "out"
        )
    return ""
