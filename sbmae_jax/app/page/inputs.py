"""The inputs of the page: for each modality a control of its own kind, and its value as an array and back.

A value of a control is plain JSON, as the page, the link and the tests have it:

    "picture"   a PNG as a data URL
    "curve"     a list of numbers in [0, 1] for each channel, of the range of the control
    "numbers"   a list of numbers, by sliders, or a table if there are many
    "checks"    the list of the names that are on
    "choice"    a string, one of the options
    "text"      a string
    "file"      nothing but a file or an example, kept as a list of numbers
"""

import base64
import binascii
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sbmae_jax.app.page.uploads import MAX_BYTES, check_upload, plain_numbers
from sbmae_jax.app.request import read_given
from sbmae_jax.app.sample_files import MODES, as_pixels
from sbmae_jax.data.description import Description
from sbmae_jax.data.kinds.date import example as date_example
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.units import as_training_units
from sbmae_jax.evaluation.images import colours_of
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.model import Model

MAX_CHARACTERS = 2000
"""Longer strings are refused."""

MAX_SLIDERS = 6
MAX_ROWS = 64
"""More numbers than this come from a file."""

PICTURE_FILES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_PNG = "data:image/png;base64,"


@dataclass(frozen=True, kw_only=True, eq=False)
class Control:
    """The control of one modality.

    Attributes:
        modality: What it gives.
        scaling: How its data are scaled; None for data that come prepared.
        widget: One of those in the head of this file.
        names: The names of its numbers or switches, or the options of a choice.
        low: The lowest number of each slider, or of the curve.
        high: The highest.
        first: Its value before a visitor changes it.
    """

    modality: Modality
    scaling: Scaling | None
    widget: str
    names: tuple[str, ...] = ()
    low: np.ndarray
    high: np.ndarray
    first: Any = None

    @property
    def name(self) -> str:
        """The name of the modality."""
        return self.modality.name

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example in the units of the data."""
        return self.modality.shape if self.scaling is None else self.scaling.raw_shape

    @property
    def kind(self) -> str:
        """The kind of the modality, in a word for people."""
        if self.scaling is not None:
            return self.scaling.kind.replace("_", " ")
        kinds = {"picture": "image", "checks": "attributes", "curve": "signal"}
        return kinds.get(self.widget, "vector")

    @property
    def files(self) -> tuple[str, ...]:
        """The suffixes of the files that it reads; none if typing is all there is."""
        if self.widget == "picture":
            return PICTURE_FILES
        return () if self.widget in ("choice", "text", "checks") else (".npy",)

    def read(self, value: Any) -> np.ndarray:
        """Return the example that a value stands for, in the units of the data.

        Raises:
            ValueError: In one sentence that names the modality, for a value that no such control has.
        """
        try:
            return _READERS[self.widget](self, value)
        except (TypeError, ValueError, OverflowError) as error:
            known = str(error) if isinstance(error, _Refused) else f"not a value of a {self.kind}"
            raise ValueError(f"{self.name}: {known}") from None

    def notice(self, example: np.ndarray) -> str:
        """Return what looks wrong with an example, such as other units; "" if nothing does."""
        if self.scaling is None:
            return ""
        try:
            _, notice = as_training_units(self.scaling, np.asarray(example)[None])
        except ValueError:  # which the model says, too
            return ""
        return f"{self.name}: {notice}" if notice else ""

    def show(self, example: np.ndarray) -> Any:
        """Return the value that stands for an example."""
        if self.widget == "picture":
            return as_png(self.pixels(example))
        if self.widget in ("choice", "text"):
            return _word(np.ravel(example)[0])
        numbers = np.ravel(np.asarray(example, np.float64))
        if self.widget == "checks":
            on = numbers > self.low + (self.high - self.low) / 2
            return [name for name, is_on in zip(self.names, on, strict=True) if is_on]
        if self.widget == "curve":
            units = (numbers - self.low) / (self.high - self.low)
            return np.round(units.reshape(len(numbers) // self.channels, -1).T, 4).tolist()
        return [float(f"{number:.6g}") for number in numbers]

    @property
    def channels(self) -> int:
        """The number of curves of a signal."""
        return self.shape[1] if len(self.shape) == 2 else 1

    @property
    def palette(self) -> np.ndarray:
        """The colours `[K, 3]` that stand for classes of pixels; none for other pictures."""
        if self.scaling is None or self.scaling.kind != "segmentation":
            return np.zeros((0, 3), np.uint8)
        return colours_of(len(self.scaling.classes))

    def pixels(self, example: np.ndarray) -> np.ndarray:
        """Return a picture as bytes `[H, W, C]`."""
        return as_pixels(np.asarray(example), self.scaling)

    def read_file(self, path: str) -> Any:
        """Return the value that an uploaded file stands for.

        Raises:
            ValueError: In one sentence, for a file that is too large, of another kind, damaged, or that does
                not fit.
        """
        file = Path(path)
        check_upload(self.name, file, self.files)
        data = Description({}, {}, {}, {self.name: self.scaling} if self.scaling else {})
        try:
            if self.widget != "picture" and self.scaling is None:
                return self.show(plain_numbers(file, self.shape))
            found = read_given([f"{self.name}={path}"], [self.modality], data)[self.name]
            return self.show(found)
        except ValueError as error:
            said = str(error).removeprefix("--given ").replace(path, file.name)
            raise ValueError(said if self.name in said else f"{self.name}: {said}") from None


class _Refused(ValueError):
    """What is wrong with a value, for the visitor."""


def controls_of(
    model: Model, entries: Mapping[str, Sequence[str]], pool: Mapping[str, np.ndarray]
) -> tuple[Control, ...]:
    """Return the control of each modality.

    Args:
        model: The model.
        entries: The names of the entries of vectors, where they have names.
        pool: Samples from nothing, `{name: [S, ...]}`, by which sliders get their ranges, and pictures the
            colour to begin with.
    """
    scalings = dict(model.scalings)
    return tuple(
        _control_of(m, scalings.get(m.name), tuple(entries.get(m.name, ())), pool[m.name])
        for m in model.modalities
    )


def _control_of(
    modality: Modality, scaling: Scaling | None, names: tuple[str, ...], pool: np.ndarray
) -> Control:
    size = math.prod(modality.shape if scaling is None else scaling.raw_shape)
    names = names if len(names) == size else tuple(map(str, range(size)))
    low, high = np.zeros(()), np.ones(())
    widget = _widget_of(modality, scaling, size)
    if widget == "choice":
        assert scaling is not None
        names = tuple(map(_word, scaling.class_values))
    elif widget == "checks" and scaling is not None:
        low, high = scaling.shift, scaling.shift + scaling.scale
    elif widget in ("numbers", "curve"):
        low, high = _ranges(pool, whole=widget == "curve")
    example = _blank(pool) if widget == "picture" else pool[0]
    control = Control(
        modality=modality, scaling=scaling, widget=widget, names=names, low=low, high=high
    )
    return Control(**{**vars(control), "first": control.show(example)})


def _widget_of(modality: Modality, scaling: Scaling | None, size: int) -> str:
    if len(modality.shape) == 3:
        has_classes = scaling is not None and scaling.kind == "segmentation"
        return "picture" if has_classes or modality.shape[2] in MODES else "file"
    if scaling is None:
        if modality.likelihood == "bernoulli":
            return "checks"
        return "numbers" if size <= MAX_ROWS else "file"
    kind = scaling.value_kind
    if kind.is_text or kind.is_date:
        return "text"
    if kind.is_category or (scaling.kind == "ordinal" and size == 1):
        return "choice"
    if scaling.kind == "signal":
        return "curve"
    if kind.has_two_values:
        return "checks" if size <= MAX_ROWS else "file"
    return "numbers" if size <= MAX_ROWS else "file"


def _ranges(pool: np.ndarray, whole: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the range of each number, or one for all: that of the samples, and half as much beside it."""
    numbers = np.asarray(pool, np.float64).reshape(len(pool), -1)
    axis = None if whole else 0
    low, high = numbers.min(axis=axis), numbers.max(axis=axis)
    margin = np.where(high > low, (high - low) / 2, 1.0)
    below = low - margin
    return np.where((low >= 0) & (below < 0), 0.0, below), high + margin


def _blank(pool: np.ndarray) -> np.ndarray:
    """Return a picture of one colour, which the edges of most samples have, to draw on."""
    edges = np.concatenate([pool[:, 0], pool[:, -1], pool[:, :, 0], pool[:, :, -1]], axis=1)
    colour = np.quantile(edges.astype(np.float64), 0.5, axis=(0, 1), method="lower")
    return np.broadcast_to(colour, pool.shape[1:]).astype(pool.dtype)


def _word(value: Any) -> str:
    """Return a class, a level or a string as the page shows it."""
    value = value.item() if isinstance(value, np.generic) else value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def as_png(pixels: np.ndarray) -> str:
    """Return bytes `[H, W, C]` as a data URL."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return _PNG + base64.b64encode(file.getvalue()).decode()


# ---------------------------------------------------------------- values of each widget, as arrays


def _read_picture(control: Control, value: Any) -> np.ndarray:
    if not isinstance(value, str) or not value.startswith(_PNG) or len(value) > MAX_BYTES:
        raise _Refused("draw or upload a picture first")
    height, width = control.shape[:2]
    palette = control.palette
    depth = 3 if len(palette) else control.modality.shape[2]
    try:
        file = io.BytesIO(base64.b64decode(value.removeprefix(_PNG), validate=True))
        with Image.open(file, formats=("PNG",)) as image:
            if image.size != (width, height):
                raise _Refused(f"the picture must have {width} x {height} pixels")
            pixels = np.asarray(image.convert(MODES[depth]), np.uint8)
    except (binascii.Error, OSError, SyntaxError):
        raise _Refused("the picture is damaged: draw it again") from None
    pixels = pixels.reshape(height, width, depth)
    if control.scaling is None:
        return pixels
    if len(palette):  # the class of the nearest colour
        apart = np.square(pixels[..., None, :].astype(int) - palette).sum(axis=-1)
        classes = np.asarray(control.scaling.classes)[apart.argmin(axis=-1)]
        return classes.astype(control.scaling.dtype).reshape(control.shape)
    if control.scaling.kind == "mask":
        pixels = np.where(pixels > 127, np.uint8(255), np.uint8(0))
    # Restored by the scaling, so that the example is in its units; its padding is cut off again.
    return control.scaling.restore(control.scaling.pad(pixels[None]))[0]


def _read_curve(control: Control, value: Any) -> np.ndarray:
    units = np.asarray(value, np.float64)
    if units.shape != (control.channels, control.shape[0]) or not np.isfinite(units).all():
        raise _Refused(f"the curve must have {control.shape[0]} values")
    numbers = control.low + units.T * (control.high - control.low)
    return numbers.reshape(control.shape)


def _read_numbers(control: Control, value: Any) -> np.ndarray:
    cells = [str(cell).strip() for cell in value]
    try:
        numbers = np.array([float(cell) for cell in cells], np.float64)
    except ValueError:
        raise _Refused("write a number in every cell") from None
    if numbers.size != math.prod(control.shape) or not np.isfinite(numbers).all():
        raise _Refused(f"must be {math.prod(control.shape)} numbers, got {numbers.size}")
    scaling = control.scaling
    if scaling is None:
        return numbers.astype(np.float32).reshape(control.shape)
    if scaling.kind == "composition":  # sliders need not sum to the whole
        numbers = scaling.details["total"] * numbers / (numbers.sum() or 1.0)
    if scaling.kind == "ordinal":
        levels = np.asarray(scaling.classes, np.float64)
        numbers = levels[np.abs(numbers[:, None] - levels).argmin(axis=1)]
    if scaling.value_kind.is_integer or np.dtype(scaling.dtype).kind in "iu":
        numbers = np.round(numbers)
    return numbers.reshape(control.shape)


def _read_checks(control: Control, value: Any) -> np.ndarray:
    unknown = [name for name in value if name not in control.names]
    if unknown:
        raise _Refused(f"no entry is called {unknown[0]!r}")
    on = np.array([name in value for name in control.names], np.float64)
    numbers = control.low + on * (control.high - control.low)
    dtype = np.float32 if control.scaling is None else np.float64
    return numbers.astype(dtype).reshape(control.shape)


def _read_choice(control: Control, value: Any) -> np.ndarray:
    if value not in control.names:
        raise _Refused("choose one of the options")
    assert control.scaling is not None
    chosen = control.scaling.class_values[control.names.index(value)]
    return np.reshape(chosen, control.shape)


def _read_text(control: Control, value: Any) -> np.ndarray:
    if not isinstance(value, str) or not value.strip():
        raise _Refused("write something first")
    if len(value) > MAX_CHARACTERS:
        raise _Refused(f"must have at most {MAX_CHARACTERS:,} characters, got {len(value):,}")
    return np.asarray(value)


_READERS: dict[str, Callable[[Control, Any], np.ndarray]] = {
    "picture": _read_picture,
    "curve": _read_curve,
    "numbers": _read_numbers,
    "file": _read_numbers,
    "checks": _read_checks,
    "choice": _read_choice,
    "text": _read_text,
}


def hint_of(control: Control) -> str:
    """Return what a text field shows while it is empty."""
    scaling = control.scaling
    if scaling is not None and scaling.value_kind.is_date:
        return f"such as {date_example(scaling.details['format'])}"
    return ""
