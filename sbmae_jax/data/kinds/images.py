"""Kinds that are images: [H, W] or [H, W, C], padded so that networks can halve their sides."""

import numpy as np

from sbmae_jax.data.kinds.base import Fitted, ValueKind, abbreviate, as_dtype, check_numbers
from sbmae_jax.data.kinds.numbers import check_two_values


class Images(ValueKind):
    """Images in a range, which becomes 0 to 1; bytes stay bytes."""

    is_image = True

    def shape(self, fitted: Fitted) -> tuple[int, ...]:
        """Return [H, W, C], with sides that can be halved."""
        height, width, *channels = fitted.raw_shape
        return (_even(height), _even(width), *(channels or [1]))

    def prepared_dtype(self, fitted: Fitted) -> np.dtype:
        """Return uint8 for bytes, otherwise float32."""
        return np.dtype(np.uint8 if fitted.dtype == "uint8" else np.float32)

    def prepare(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Prepare images [B, *raw_shape], and pad them."""
        check_numbers(raw)
        raw = raw.reshape(len(raw), *fitted.raw_shape[:2], self.shape(fitted)[2])
        return self.pad(fitted, self._scaled(fitted, raw))

    def clean(self, fitted: Fitted, x: np.ndarray) -> np.ndarray:
        """Cut the padding off, and clip values to 0..1."""
        height, width = fitted.raw_shape[:2]
        x = x[..., :height, :width, :]
        return x / 255 if x.dtype == np.uint8 else np.clip(x, 0, 1)

    def needs_moments(self, dtype: np.dtype) -> bool:
        """Return whether the range is measured: that of bytes is known."""
        return dtype != np.uint8

    def as_features(self, raw: np.ndarray) -> np.ndarray:
        """Return the values of each channel."""
        return raw.reshape(-1, raw.shape[3] if raw.ndim == 4 else 1)

    def summarise(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Tell the smallest and the largest value of each image."""
        flat = raw.reshape(len(raw), -1)
        return np.stack([flat.min(axis=1), flat.max(axis=1)], axis=1).astype(np.float64)

    def pad(self, fitted: Fitted, x: np.ndarray) -> np.ndarray:
        """Pad images [B, H, W, C] by repeating their last row and column."""
        sides = zip(self.shape(fitted)[:2], x.shape[1:3], strict=True)
        below, right = (size - have for size, have in sides)
        return np.pad(x, ((0, 0), (0, below), (0, right), (0, 0)), "edge") if below or right else x

    def _scaled(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Return images [B, H, W, C], not yet padded."""
        if self.prepared_dtype(fitted) == np.uint8:
            _check_range(raw, 255)
            return raw if raw.dtype == np.uint8 else np.round(raw).astype(np.uint8)
        x = (raw.astype(np.float64) - fitted.shift) / fitted.scale
        return np.clip(x, 0, 1).astype(np.float32)


class Masks(Images):
    """Images of which each pixel has one of two values."""

    has_two_values = True

    def prepared_dtype(self, fitted: Fitted) -> np.dtype:
        """Return uint8."""
        del fitted
        return np.dtype(np.uint8)

    def clean(self, fitted: Fitted, x: np.ndarray) -> np.ndarray:
        """Return the more probable of the two values, without padding."""
        return np.where(super().clean(fitted, x).astype(np.float64) > 0.5, 1.0, 0.0)

    def needs_moments(self, dtype: np.dtype) -> bool:
        """Return False, as the two values are known."""
        del dtype
        return False

    def summarise(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Tell nothing, as there are no units."""
        return np.zeros((len(raw), 0))

    def _scaled(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        x = (raw.astype(np.float64) - fitted.shift) / fitted.scale
        check_two_values(fitted, raw, x)
        return (255 * x).astype(np.uint8)


class Segmentation(Images):
    """Images [H, W] of which each pixel has one of some classes, non-negative integers, in `classes`.

    The networks see whether a pixel has the first class, the second, and so on: [H, W, K] bytes, 0 or 255.
    """

    is_coded = True
    has_mean = False

    def shape(self, fitted: Fitted) -> tuple[int, ...]:
        """Return [H, W, K], with sides that can be halved."""
        return (*super().shape(fitted)[:2], len(fitted.classes))

    def prepared_dtype(self, fitted: Fitted) -> np.dtype:
        """Return uint8."""
        del fitted
        return np.dtype(np.uint8)

    def prepare(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Prepare images [B, *raw_shape]; raises ValueError for a class that training did not have."""
        check_numbers(raw)
        raw = raw.reshape(len(raw), *fitted.raw_shape[:2])
        known = np.asarray(fitted.classes)
        code = np.searchsorted(known, raw).clip(0, len(known) - 1)
        wrong = np.argwhere(known[code] != raw)
        if len(wrong):
            raise ValueError(
                f"unknown class {raw[tuple(wrong[0])]:g} in row {wrong[0][0]:,}: choose from "
                f"{abbreviate(fitted.classes)}"
            )
        return self.pad(fitted, (255 * np.eye(len(known), dtype=np.uint8))[code])

    def restore(self, fitted: Fitted, x: np.ndarray) -> np.ndarray:
        """Return the most probable class of each pixel, without padding."""
        height, width = fitted.raw_shape[:2]
        code, lead = x[..., :height, :width, :].argmax(axis=-1), x.shape[: x.ndim - 3]
        values = np.asarray(fitted.classes, np.float64)[code]
        return as_dtype(values.reshape(*lead, *fitted.raw_shape), np.dtype(fitted.dtype))

    def best_guess(self, fitted: Fitted, samples: np.ndarray) -> np.ndarray:
        """Return the most frequent class of each pixel in samples [K, S, ...]."""
        counts = np.stack([(samples == c).sum(axis=1) for c in fitted.classes])
        return np.asarray(fitted.classes)[counts.argmax(axis=0)].astype(samples.dtype)

    def needs_moments(self, dtype: np.dtype) -> bool:
        """Return False, as classes are not scaled."""
        del dtype
        return False

    def summarise(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Tell nothing, as there are no units."""
        return np.zeros((len(raw), 0))


def _even(side: int) -> int:
    """Return the length to which a side of an image is padded: networks halve it, twice if they can."""
    return side + (-side % 4 if side % 2 else 0)


def _check_range(raw: np.ndarray, high: int) -> None:
    if raw.dtype != np.uint8 and raw.size and (raw.min() < 0 or raw.max() > high):
        raise ValueError(
            f"values must be in 0..{high}, got {raw.min():.4g} to {raw.max():.4g}: scale them like the "
            "training data"
        )
