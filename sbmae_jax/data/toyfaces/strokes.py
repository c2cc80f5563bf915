"""Strokes, of which a drawn face is made, painted once in colour and once as a map of parts.

Points are (u, v) in units of half the face's width and height, v downwards: the chin is at v = 1, the top of
the skull at v = -1, the cheeks at u = -1 and 1. Later strokes cover earlier ones in the image and in the map,
so a mask holds what can be seen of its part.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from sbmae_jax.data.celebahq.layout import PARTS
from sbmae_jax.data.toyfaces.character import Character, Pose, Scene
from sbmae_jax.data.toyfaces.colours import RGB

WHITE, INK = (245, 245, 242), (28, 20, 22)
_CENTRE = np.array((0.5, 0.5))  # of the face, in sides of the image
_SMOOTHNESS = 6  # points of a curve for each point given


class Stroke(NamedTuple):
    """A filled polygon, or a line.

    Attributes:
        points: Its corners: [N, 2].
        colour: Its colour.
        part: The part of the face that it adds to the map, one of PARTS; None leaves the map alone.
        width: The width of a line, in half faces; 0 is a polygon.
        turns: Whether it turns with the head.
    """

    points: np.ndarray
    colour: RGB
    part: str | None = None
    width: float = 0.0
    turns: bool = True


_T = np.arange(_SMOOTHNESS)[:, None] / _SMOOTHNESS
_CATMULL_ROM = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2
_BASIS = np.concatenate([_T**0, _T, _T**2, _T**3], axis=1) @ _CATMULL_ROM


def smooth(points, closed: bool = True) -> np.ndarray:
    """Return a smooth curve [num_points, 2] through points, by a Catmull-Rom spline."""
    points = np.asarray(points, float)
    before, after = (points[-1:], points[:2]) if closed else (points[:1], points[-1:])
    knots = np.concatenate([before, points, after])
    windows = np.stack([knots[k : len(knots) - 3 + k] for k in range(4)], axis=1)
    curve = (_BASIS @ windows).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, points[-1:]])


def ellipse(u, v, a, b, start=0.0, stop=1.0, num: int = 28) -> np.ndarray:
    """Return an ellipse [num, 2], or its part from start to stop, in turns clockwise."""
    angle = 2 * np.pi * np.linspace(start, stop, num)
    return np.stack([u + a * np.cos(angle), v + b * np.sin(angle)], axis=1)


def mirrored(points, side: int) -> np.ndarray:
    """Return points of the subject's left side (side = 1), or their mirror image (-1)."""
    return np.asarray(points, float) * (side, 1)


def moved(points: np.ndarray, u: float, v: float) -> np.ndarray:
    """Return points moved by (u, v)."""
    return points + np.array((u, v))


def symmetric(half) -> np.ndarray:
    """Return a symmetric contour, given its half on the subject's left from top to bottom."""
    half = np.asarray(half, float)
    return np.concatenate([half, mirrored(half[::-1], -1)])


def outline(c: Character, start=0.0, stop=1.0, num: int = 48) -> np.ndarray:
    """Return the outline of the face, an ellipse above and a superellipse below, or a part of it."""
    angle = 2 * np.pi * np.linspace(start, stop, num)
    cos, sin = np.cos(angle), np.sin(angle)
    power = np.where(sin > 0, 2 / c.shape.jaw, 1.0)
    u, v = np.sign(cos) * np.abs(cos) ** power, np.sign(sin) * np.abs(sin) ** power
    return np.stack([u * (1 - c.shape.taper * np.maximum(v, 0) ** 2), v], axis=1)


def _to_canvas(points: np.ndarray, turns: np.ndarray, c: Character) -> np.ndarray:
    """Return where points of the face are in the image, in its sides: [N, 2].

    `turns` [N] bool says which points are on the head. Yaw and pitch move a point as on a sphere: most in the
    middle of the face, not at its outline. Roll is about the neck.
    """
    pose: Pose = c.pose
    size = pose.scale * np.array((c.shape.width, c.shape.height))
    depth = np.maximum(0, 1 - (points**2).sum(axis=1, keepdims=True))
    head = (points + depth * (0.16 * pose.yaw, 0.06 * pose.pitch)) * size
    pivot = np.array((0, 1.1)) * size
    cos, sin = np.cos(pose.roll), np.sin(pose.roll)
    head = (head - pivot) @ np.array([[cos, sin], [-sin, cos]]) + pivot
    return _CENTRE + pose.shift + np.where(turns[:, None], head, points * size)


def paint(
    c: Character, strokes: Sequence[Stroke], side: int, mask_side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Paint the image and the map of parts.

    Args:
        c: The character, for pose, scene and blur.
        strokes: What to paint, from the back to the front.
        side: The side of the image, in pixels.
        mask_side: The side of the map, in pixels.

    Returns:
        The image [side, side, 3] uint8, with antialiased edges, and the map [mask_side, mask_side] uint8,
        with 0 for the background and k + 1 for part k of PARTS.
    """
    fine = side * (3 if side <= 256 else 2)
    lengths = [len(stroke.points) for stroke in strokes]
    turns = np.repeat([stroke.turns for stroke in strokes], lengths)
    points = _to_canvas(np.concatenate([stroke.points for stroke in strokes]), turns, c)
    points = np.split(points, np.cumsum(lengths)[:-1])
    unit = c.pose.scale * c.shape.width
    image, labels = _backdrop(c.scene, fine), Image.new("L", (mask_side, mask_side))
    colour, label = ImageDraw.Draw(image), ImageDraw.Draw(labels)
    for stroke, where in zip(strokes, points, strict=True):
        _draw_one(colour, where * fine, stroke.colour, stroke.width * unit * fine)
        if stroke.part is not None:
            value = PARTS.index(stroke.part) + 1
            _draw_one(label, where * mask_side, value, stroke.width * unit * mask_side)
    image = image.reduce(fine // side)
    if "Blurry" in c.traits:
        image = image.filter(ImageFilter.GaussianBlur(side / 110))
    return _light(np.asarray(image), c.scene), np.asarray(labels)


def _draw_one(draw: ImageDraw.ImageDraw, points: np.ndarray, colour, width: float) -> None:
    """Draw one polygon, or a line if its width is above 0, at points in pixels."""
    flat = (points - 0.5).ravel().tolist()
    if width:
        draw.line(flat, colour, max(1, round(width)))
    else:
        draw.polygon(flat, colour)


def _backdrop(scene: Scene, side: int) -> Image.Image:
    """Draw the background: smooth, so that a small latent can hold it."""
    first, second, angle = *scene.colours, scene.light_angle
    if scene.backdrop in ("gradient", "glow"):
        y, x = np.mgrid[0:8, 0:8].astype(np.float32)[..., None] / 7
        t = np.hypot(x - 0.5, y - 0.4) * 1.4
        if scene.backdrop == "gradient":
            t = x * abs(np.cos(angle)) + y * abs(np.sin(angle))
        small = np.array(first) + np.clip(t, 0, 1) * np.subtract(second, first)
        image = Image.fromarray(small.astype(np.uint8))
        return image.resize((side, side), Image.Resampling.BILINEAR)
    image = Image.new("RGB", (side, side), first)
    draw = ImageDraw.Draw(image)
    if scene.backdrop == "split":
        draw.rectangle((0, side * (0.45 + 0.3 * np.sin(angle)), side, side), second)
    if scene.backdrop == "stripes":
        for k in range(4):
            left = side * ((k + angle / 6.3) / 4)
            draw.rectangle((left, 0, left + side / 8, side), second)
    if scene.backdrop == "discs":
        for k in range(5):
            u, v = 0.5 + 0.42 * np.cos(angle + 1.3 * k), 0.4 + 0.38 * np.sin(angle + 2.1 * k)
            r = 0.07 + 0.03 * (k % 3)
            draw.ellipse([side * edge for edge in (u - r, v - r, u + r, v + r)], second)
    return image


def _light(image: np.ndarray, scene: Scene) -> np.ndarray:
    """Light an image [side, side, 3] uint8 from one direction: brighter there, darker opposite."""
    ramp = np.linspace(-1, 1, len(image), dtype=np.float32)
    along = ramp * np.cos(scene.light_angle) + ramp[:, None] * np.sin(scene.light_angle)
    gain = 0.97 + np.float32(scene.light_strength) * along
    return np.clip(image * gain[..., None], 0, 255).astype(np.uint8)
