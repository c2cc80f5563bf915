"""The units of new values: those of the training data, or others that are certain, or refused.

A model of bytes that is given floats in 0..1 must not take them for bytes, which would all be black. What the
dtype and the range of an image say for certain is converted, and told to the user; what they leave open is
refused.
"""

import numpy as np

from sbmae_jax.data.kinds import IMAGE_KINDS
from sbmae_jax.data.kinds.base import as_shape
from sbmae_jax.data.kinds.text import unlike_training
from sbmae_jax.data.numbers import parse_bit
from sbmae_jax.data.scaling import Scaling

FAR = 10.0  # standard deviations from the training mean at which a median value has other units
_DARK = 32.0  # images of bytes that were made floats are not darker than this
_NARROW = 100.0  # of a training range this wide, values in 0..1 alone are in other units
_BEYOND = 0.5  # of the training range, by which images may leave it and be clipped
QUANTILES = (0.01, 0.5, 0.99)  # of training rows, with which new ones are compared
# Of the training range, by which the ends of most images lie beyond those in training.
_UNLIKE_IMAGES = 0.25
_TIMES = 20.0  # by which most values are larger or smaller than in training
_FEW_ROWS = 5  # of fewer rows, at least half of the features must be unlike training


def summarise(scaling: Scaling, raw: np.ndarray) -> np.ndarray:
    """Tell of each row what depends on its units.

    Args:
        scaling: How the modality is prepared.
        raw: Rows [B, *raw_shape] in the user's units. NaN stays NaN.

    Returns:
        [B, S]: for an image its smallest and its largest value; for a signal the mean size of each channel;
        for vectors and counts the size of each feature; nothing for other kinds, which have no units.
    """
    return scaling.value_kind.summarise(scaling, raw)


def as_training_units(scaling: Scaling, raw: np.ndarray) -> tuple[np.ndarray, str]:
    """Convert new values to the units of the training data, where these are certain.

    Args:
        scaling: How the modality was prepared in training.
        raw: New rows [B, *raw_shape] in the user's units. NaN marks what is missing.

    Returns:
        The rows in the units of the training data, and a sentence on what was converted or looks wrong; ""
        if there is nothing to say.

    Raises:
        ValueError: If the values are in other units, and it is not certain in which, or of another shape.

    Example:
        >>> photo = Scaling("image", (1, 2), "uint8", scale=np.array(255.0))
        >>> as_training_units(photo, np.array([[[0.5, 1.0]]]))
        (array([[[127.5, 255. ]]]), 'floats in 0..1 were multiplied by 255')
    """
    raw = as_shape(raw, scaling.raw_shape)
    if scaling.kind == "binary" and raw.dtype.kind in "US":
        return _bits_of(raw), ""
    if scaling.value_kind.is_text:
        return raw, unlike_training(scaling, raw)
    if raw.dtype.kind not in "buif" or scaling.value_kind.is_category:
        return raw, ""
    known = raw[np.isfinite(raw)] if raw.dtype.kind == "f" else raw
    if not known.size:
        return raw, ""
    is_plain = scaling.kind in ("vector", "counts", "large_counts", "positive")
    if is_plain or scaling.value_kind.is_signal:
        far = "" if scaling.kind in ("counts", "positive") else _far_off(scaling, raw)
        return raw, far or _other_size(scaling, raw)
    if scaling.kind == "mask":
        factor = _factor_of_mask(scaling, known)
    elif scaling.kind == "image":
        factor = _factor_of_image(scaling, known)
    else:
        return raw, ""
    if factor == 1:
        return raw, _joined(_clipped(scaling, known), _other_ends(scaling, raw))
    if factor > 1:
        values = "True and False" if raw.dtype.kind == "b" else "floats in 0..1"
        what = "values of 0 and 1" if scaling.kind == "mask" else values
        converted, notice = raw * np.float64(factor), f"{what} were multiplied by {factor:g}"
        # What was divided by 255 comes back as the integers that it was.
        whole, step = np.round(converted), 255 * np.finfo(np.result_type(raw, np.float16)).eps
        converted = (
            whole if (np.abs(converted - whole)[np.isfinite(raw)] <= step).all() else converted
        )
    else:
        converted = (raw / np.float64(1 / factor)).astype(np.result_type(scaling.dtype, np.float32))
        notice = f"values in 0..255 were divided by {1 / factor:g}"
    return converted, _joined(notice, _other_ends(scaling, converted))


def in_training_dtype(scaling: Scaling, raw: np.ndarray) -> np.ndarray:
    """Return values in the dtype of the training data, where it holds each of them exactly.

    Args:
        scaling: How the modality is prepared.
        raw: Values in the units of the training data. NaN is a value that integers do not hold.

    Returns:
        The values; in their own dtype if that of the training data would change one. Classes that training
        knew are the classes as they were there: `"2"` is 2.

    Example:
        >>> photo = Scaling("image", (1, 2), "uint8", scale=np.array(255.0))
        >>> in_training_dtype(photo, np.array([[7.0, 255.0]])).dtype
        dtype('uint8')
        >>> in_training_dtype(photo, np.array([[7.5, 255.0]])).dtype
        dtype('float64')
    """
    if scaling.value_kind.is_category:
        codes = scaling.class_codes(raw)
        return scaling.class_values[codes] if (codes >= 0).all() else raw
    if raw.dtype.kind not in "buif":
        return raw
    with np.errstate(invalid="ignore", over="ignore"):
        cast = raw.astype(scaling.dtype)
        back = cast.astype(raw.dtype)
        same = ((back == raw) & ((cast < 0) == (raw < 0))) | ((back != back) & (raw != raw))
        if cast.dtype.kind != "f":  # a very large integer may come back as infinity
            same &= np.isfinite(raw)
    return cast if same.all() else raw


def _bits_of(words: np.ndarray) -> np.ndarray:
    """Return words that say true or false as 1 and 0; raises ValueError for others."""
    found = [parse_bit(word) for word in words.astype(str).ravel().tolist()]
    if None in found:
        odd = words.astype(str).ravel()[found.index(None)]
        raise ValueError(f"{str(odd)!r} is neither True nor False: correct it")
    return np.reshape(np.array(found, np.float64), words.shape)


def _joined(*notices: str) -> str:
    return "; ".join(filter(None, notices))


def _factor_of_mask(scaling: Scaling, known: np.ndarray) -> float:
    """Return what brings 0 and 1 to 0 and 255, or back; other values are refused where they are prepared."""
    high = float(scaling.scale)
    if high == 255 and known.max() == 1:
        return 255.0
    return 1 / 255 if high == 1 and known.max() == 255 else 1.0


def _factor_of_image(scaling: Scaling, known: np.ndarray) -> float:
    """Return what brings images in 0..1 to 0..255, or back; raises ValueError where that is not certain."""
    low, high = float(known.min()), float(known.max())
    bottom, top = float(scaling.shift), float(scaling.shift + scaling.scale)
    span = (
        f"its values are {known.dtype} from {low:.4g} to {high:.4g}, and those in training were "
        + (f"{scaling.dtype} in {bottom:.4g}..{top:.4g}")
    )
    whole = known.dtype.kind != "f" or bool((known == np.floor(known)).all())
    if (bottom, top) == (0, 255):
        if known.dtype.kind == "b":
            return 255.0
        if known.dtype.kind == "f" and low >= 0 and 0 < high <= 1:
            if whole:
                raise ValueError(
                    f"{span}: multiply them by 255 if 1 is the brightest, or pass uint8"
                )
            return 255.0
        dark = (not whole and 1 < high < _DARK) or (known.dtype.kind != "f" and high == 1)
        if dark or low < 0 or high > 255 * (1 + 1e-6):
            raise ValueError(f"{span}: scale them like the training data")
        return 1.0
    if (bottom, top) == (0, 1):
        if known.dtype == np.uint8 and high == 1:
            raise ValueError(f"{span}: pass floats, divided by 255 if 255 is the brightest")
        if whole and low >= 0 and _DARK <= high <= 255:
            return 1 / 255
        if low < 0 or high > 1 + 1e-6:
            raise ValueError(f"{span}: scale them like the training data")
        return 1.0
    other_bytes = known.dtype == np.uint8 and scaling.dtype != "uint8"
    narrow = known.dtype.kind == "f" and low >= 0 and 0 < high <= 1 and top - bottom >= _NARROW
    margin = _BEYOND * (top - bottom)
    if other_bytes or narrow or low < bottom - margin or high > top + margin:
        raise ValueError(f"{span}: scale them like the training data")
    return 1.0


def _clipped(scaling: Scaling, known: np.ndarray) -> str:
    """Say how many values of images lie outside of the training range, at whose ends they are clipped."""
    if scaling.kind not in IMAGE_KINDS or scaling.prepared_dtype == np.uint8:
        return ""
    bottom, top = float(scaling.shift), float(scaling.shift + scaling.scale)
    outside = np.count_nonzero((known < bottom) | (known > top * (1 + 1e-6)))
    if not outside:
        return ""
    return (
        f"{outside:,} of {known.size:,} values lie outside of the training range {bottom:.4g}..{top:.4g}, "
        "and were clipped to it"
    )


def _far_off(scaling: Scaling, raw: np.ndarray) -> str:
    """Say that most values are far from those in training, as they are in other units."""
    x = scaling.value_kind.arrange(scaling, raw).astype(np.float64)
    x = scaling.value_kind.transform(np, x)
    x = np.abs((x - scaling.shift) / scaling.scale).reshape(-1, np.size(scaling.scale))
    x = x[~np.isnan(x).any(axis=1)]
    distances = np.median(x, axis=0) if len(x) else np.zeros(1)
    far = np.flatnonzero(distances >= FAR)
    if not len(far):
        return ""
    which = (
        f"{len(far):,} of {len(distances):,} features are"
        if len(distances) > 1
        else "the values are"
    )
    return (
        f"{which} mostly {distances[far].min():.3g} or more standard deviations from the training mean: "
        "check that their units are those of the training data"
    )


def _other_size(scaling: Scaling, raw: np.ndarray) -> str:
    """Say that most values are many times larger or smaller than in training, as in other units."""
    found = _typical(scaling, raw)
    if found is None:
        return ""
    few, middle, many = scaling.typical
    one = 1.0 if scaling.value_kind.is_integer else 0.0  # so that few differ little from none
    larger = (found > many) & (found + one >= _TIMES * (middle + one))
    smaller = (found < few) & (_TIMES * (found + one) <= middle + one)
    far = np.flatnonzero(larger | smaller)
    if not len(far) or (len(raw) < _FEW_ROWS and 2 * len(far) < len(found)):
        return ""
    which = f"{len(far):,} of {len(found):,} features are" if len(found) > 1 else "the values are"
    return (
        f"{which} mostly about {found[far[0]]:.3g} in size, and were about {middle[far[0]]:.3g} in training: "
        "if their units are others, convert them"
    )


def _other_ends(scaling: Scaling, raw: np.ndarray) -> str:
    """Say that most images have other smallest and largest values than in training, as in other units."""
    found = _typical(scaling, raw)
    if scaling.kind != "image" or found is None:
        return ""
    lowest, middle, highest = scaling.typical
    margin = _UNLIKE_IMAGES * float(scaling.scale)
    if not ((found < lowest - margin) | (found > highest + margin)).any():
        return ""
    span, trained = (f"{low:.4g}..{high:.4g}" for low, high in (found, middle))
    return (
        f"the values of most images lie in {span}, and were in {trained} in training: if their units are "
        "others, convert them"
    )


def _typical(scaling: Scaling, raw: np.ndarray) -> np.ndarray | None:
    """Return what most rows are like [S]; None if it is not known of them, or of those in training."""
    found = summarise(scaling, raw) if scaling.typical.size else np.zeros((0, 0))
    found = found[np.isfinite(found).all(axis=1)]
    return np.median(found, axis=0) if found.size else None
