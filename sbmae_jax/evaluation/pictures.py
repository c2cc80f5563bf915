"""Pictures side by side, as arrays and as files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.image import imsave
from PIL import Image, ImageDraw, ImageFont

GAP = 2  # white pixels between pictures
ZOOM = 2


def grid(rows: list[list[np.ndarray]], group: int = 1, columns: int = 0) -> np.ndarray:
    """Join pictures [H, W, C], with a wider gap after each `group` of rows and each `columns` columns."""
    height, _, depth = rows[0][0].shape
    lines = []
    for r, row in enumerate(rows):
        cells = []
        for c, image in enumerate(row):
            gap = GAP + (3 * GAP if columns and (c + 1) % columns == 0 else 0)
            cells += [image, np.full((height, gap, depth), 255, np.uint8)]
        line = np.concatenate(cells, axis=1)
        gap = GAP + (2 * GAP if group > 1 and (r + 1) % group == 0 else 0)
        lines += [line, np.full((gap, line.shape[1], depth), 255, np.uint8)]
    return np.concatenate(lines, axis=0)


def as_bytes(x: np.ndarray) -> np.ndarray:
    """Return a picture as RGB bytes; floats are in [0, 1], grey ones are repeated."""
    x = x if x.dtype == np.uint8 else np.round(255 * np.clip(x, 0, 1)).astype(np.uint8)
    return np.repeat(x, 3, axis=-1) if x.shape[-1] == 1 else x


def frame(image: np.ndarray) -> np.ndarray:
    """Mark a picture as given, by a red edge."""
    framed = image.copy()
    framed[:2], framed[-2:], framed[:, :2], framed[:, -2:] = ([220, 30, 30],) * 4
    return framed


def save_image(path: Path, image: np.ndarray) -> None:
    """Save a picture, enlarged so that single pixels can be seen."""
    imsave(path, image.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1))


def sheet(
    rows: Sequence[Sequence[np.ndarray | str]], heads: Sequence[str], side: int = 128
) -> np.ndarray:
    """Lay pictures and texts out in a table with a head: [H, W, 3] uint8.

    rows: pictures [H, W, C], which are made `side` pixels high, or texts, which may have several lines.
    heads: one for each column.
    """
    font = ImageFont.load_default(size=13)
    cells = [[_drawn(cell, side, font) for cell in row] for row in (heads, *rows)]
    widths = [max(cell.width for cell in column) for column in zip(*cells, strict=True)]
    heights = [max(cell.height for cell in row) for row in cells]
    left = np.cumsum([GAP, *(width + 3 * GAP for width in widths)])
    top = np.cumsum([0, *(height + 2 * GAP for height in heights)])
    page = Image.new("RGB", (int(left[-1]), int(top[-1])), "white")
    for y, row in zip(top, cells, strict=False):
        for x, cell in zip(left, row, strict=False):
            page.paste(cell, (int(x), int(y)))
    return np.asarray(page)


def _drawn(cell: np.ndarray | str, side: int, font) -> Image.Image:
    if not isinstance(cell, str):
        image = Image.fromarray(as_bytes(cell))
        scale = side / image.height
        how = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
        return image.resize((max(round(image.width * scale), 1), side), how)
    box = ImageDraw.Draw(Image.new("RGB", (1, 1))).multiline_textbbox((0, 0), cell, font=font)
    page = Image.new("RGB", (round(box[2]) + 2 * GAP, round(box[3]) + 2 * GAP), "white")
    ImageDraw.Draw(page).multiline_text((GAP, GAP), cell, fill="black", font=font)
    return page
