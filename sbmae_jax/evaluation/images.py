"""Images side by side, as arrays and as files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.image import imsave
from PIL import Image, ImageDraw, ImageFont

COLOURS = {
    "black": (0, 0, 0), "blue": (31, 119, 180), "orange": (255, 127, 14), "green": (44, 160, 44),
    "red": (214, 39, 40), "purple": (148, 103, 189), "brown": (140, 86, 75), "pink": (227, 119, 194),
    "grey": (160, 160, 160), "olive": (188, 189, 34), "cyan": (23, 190, 207), "yellow": (255, 235, 120),
}  # fmt: skip
"""The colours of classes of pixels, which repeat after the last one."""
GAP = 2  # white pixels between images
ZOOM = 2


def as_bytes(x: np.ndarray) -> np.ndarray:
    """Return an image as bytes: floats in [0, 1] become 0 to 255, and bytes stay as they are."""
    return x if x.dtype == np.uint8 else np.round(255 * np.clip(x, 0, 1)).astype(np.uint8)


def as_rgb(x: np.ndarray) -> np.ndarray:
    """Return an image as RGB bytes, `[H, W, 3]` uint8.

    Args:
        x: `[H, W, C]`, bytes or floats in [0, 1]. A grey one is repeated. Of two channels the first one is
            shown, of more than three the first three.
    """
    x = as_bytes(x)
    return x[..., :3] if x.shape[-1] >= 3 else np.repeat(x[..., :1], 3, axis=-1)


def colours_of(num: int) -> np.ndarray:
    """Return the colours of so many classes of pixels, `[num, 3]` uint8."""
    return np.resize(np.array(list(COLOURS.values()), np.uint8), (num, 3))


def colour_classes(x: np.ndarray) -> np.ndarray:
    """Colour each pixel by its most probable class, `[..., H, W, K] -> [..., H, W, 3]` uint8."""
    return colours_of(x.shape[-1])[x.argmax(axis=-1)]


def add_frame(image: np.ndarray) -> np.ndarray:
    """Return an image as RGB bytes with a red edge, which marks it as given."""
    framed = as_rgb(image).copy()
    framed[:2], framed[-2:], framed[:, :2], framed[:, -2:] = ([220, 30, 30],) * 4
    return framed


def grid(rows: Sequence[Sequence[np.ndarray]], group: int = 1, columns: int = 0) -> np.ndarray:
    """Join images of one size into one.

    Args:
        rows: Images `[H, W, C]`, as many in each row.
        group: A wider gap follows each `group` of rows.
        columns: A wider gap follows each `columns` columns; 0 for none.
    """
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


def reconstruction_grid(samples: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Put real images above their reconstructions, two rows for each modality.

    Args:
        samples: With arrays `real/NAME` and `reconstruction/NAME`, `[N, H, W, C]`.
        names: The modalities to show.
    """
    rows = [samples[f"{kind}/{name}"] for name in names for kind in ("real", "reconstruction")]
    return grid([[as_rgb(x) for x in row] for row in rows], group=2)


def save_enlarged(path: Path, image: np.ndarray) -> None:
    """Save an image, enlarged so that single pixels can be seen."""
    imsave(path, image.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1))


def sheet(
    rows: Sequence[Sequence[np.ndarray | str]], heads: Sequence[str], side: int = 128
) -> np.ndarray:
    """Lay images and text out in a table with a head.

    Args:
        rows: Cells: images `[H, W, C]`, or strings, which may have several lines.
        heads: The head of each column.
        side: The height of each image in the table, in pixels.

    Returns:
        The table as one image, `[H, W, 3]` uint8.
    """
    font = ImageFont.load_default(size=13)
    cells = [[_cell(content, side, font) for content in row] for row in (heads, *rows)]
    widths = [max(cell.width for cell in column) for column in zip(*cells, strict=True)]
    heights = [max(cell.height for cell in row) for row in cells]
    left = np.cumsum([GAP, *(width + 3 * GAP for width in widths)])
    top = np.cumsum([0, *(height + 2 * GAP for height in heights)])
    page = Image.new("RGB", (int(left[-1]), int(top[-1])), "white")
    for y, row in zip(top, cells, strict=False):
        for x, cell in zip(left, row, strict=False):
            page.paste(cell, (int(x), int(y)))
    return np.asarray(page)


def _cell(content: np.ndarray | str, side: int, font) -> Image.Image:
    if not isinstance(content, str):
        image = Image.fromarray(as_rgb(content))
        scale = side / image.height
        how = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
        return image.resize((max(round(image.width * scale), 1), side), how)
    box = ImageDraw.Draw(Image.new("RGB", (1, 1))).multiline_textbbox((0, 0), content, font=font)
    cell = Image.new("RGB", (round(box[2]) + 2 * GAP, round(box[3]) + 2 * GAP), "white")
    ImageDraw.Draw(cell).multiline_text((GAP, GAP), content, fill="black", font=font)
    return cell
