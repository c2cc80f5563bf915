"""The strokes of a drawn face's hair, hat and earrings.

Straight hair has straight strands and edges, wavy hair wavy ones; hair that is neither is plain.
"""

from collections.abc import Iterator

import numpy as np

from sbmae_jax.data.toyfaces.character import Character
from sbmae_jax.data.toyfaces.colours import RGB, shade
from sbmae_jax.data.toyfaces.strokes import WHITE, Stroke, ellipse, mirrored, smooth, symmetric

_TIPS = {"short": -0.1, "medium": 0.95, "long": 2.2}  # v of the tips


def _wave(c: Character, along: np.ndarray, amplitude: float, turns: float) -> np.ndarray:
    """Return a wave along a curve if the hair is wavy, otherwise zeros."""
    if "Wavy_Hair" not in c.traits:
        return np.zeros_like(along)
    return amplitude * np.sin(2 * np.pi * (turns * along + c.shape.phase))


def _strand_colour(c: Character) -> RGB:
    dark = max(c.colours.hair) < 70  # only lighter strands show on it
    return shade(c.colours.hair, 1.36 if dark else 0.56)


def hair_behind(c: Character) -> Iterator[Stroke]:
    """Draw the hair behind head and shoulders."""
    if c.hair not in ("medium", "long"):
        return
    tip, reach = _TIPS[c.hair], 1.1 + c.shape.volume
    t = np.linspace(0, 1, 24)
    u = reach + 0.12 * t + _wave(c, t * (tip + 0.2), 0.12, 1.4)
    right = np.stack([u, -0.2 + t * (tip + 0.2)], axis=1)
    crown = ellipse(0, -0.2, reach, 0.85 + c.shape.volume, 0.5, 1.0)
    contour = np.concatenate([crown, right, mirrored(right, -1)[::-1]])
    yield Stroke(contour, shade(c.colours.hair, 0.8), "hair")
    if c.tucked and c.traits & {"Straight_Hair", "Wavy_Hair"}:
        for side, inwards in ((1, 0.12), (-1, 0.12), (1, 0.27), (-1, 0.27)):
            line = mirrored(right - (inwards, 0), side)
            yield Stroke(line, shade(_strand_colour(c), 0.8), width=0.08)


def locks(c: Character) -> Iterator[Stroke]:
    """Draw the hair beside the face, in front of ears and shoulders."""
    if c.hair not in ("medium", "long") or c.tucked:
        return
    tip, reach = _TIPS[c.hair], 1.12 + c.shape.volume
    t = np.linspace(0, 1, 24)
    along = -0.75 + t * (tip + 0.75)
    outer = np.stack([reach - 0.25 * (1 - t) ** 3 + _wave(c, t * tip, 0.12, 1.4), along], axis=1)
    inner = np.stack([0.9 - 0.1 * (2 * t - 0.8) ** 2 + _wave(c, t * tip, 0.07, 1.4), along], axis=1)
    for side in (1, -1):
        contour = np.concatenate([outer, inner[::-1]])
        yield Stroke(mirrored(contour, side), c.colours.hair, "hair")
        if c.traits & {"Straight_Hair", "Wavy_Hair"}:
            for share in (0.35, 0.7):
                line = (1 - share) * inner[3:] + share * outer[3:]
                line = line + np.stack([_wave(c, t[3:] * tip, 0.04, 1.4), 0 * t[3:]], axis=1)
                yield Stroke(mirrored(line, side), _strand_colour(c), width=0.08)


def _hairline(c: Character) -> np.ndarray:
    """Return the lower edge of the hair from temple to temple; a receding one has two deep corners."""
    temple = -0.12 if c.hair == "short" else 0.0
    if "Receding_Hairline" in c.traits:
        half = [
            (0.99, temple),
            (0.93, -0.45),
            (0.8, -0.72),
            (0.56, -0.97),
            (0.28, -0.94),
            (0, -0.84),
        ]
    else:
        peak = 0.08 * c.shape.slant
        half = [(0.98, temple), (0.9, -0.42), (0.72, -0.55), (0.4, -0.64 + peak), (0, -0.66)]
    left = [(-u, v - 0.16 * c.shape.slant * (0.3 < u < 0.5)) for u, v in half[-2::-1]]
    return smooth(half + left, closed=False)


def cap(c: Character) -> Iterator[Stroke]:
    """Draw the hair on the head, above the hairline, with its strands."""
    if c.hair == "none":
        return
    receding = "Receding_Hairline" in c.traits
    volume = c.shape.volume * (0.55 if receding else 1.0)
    angle = np.linspace(-np.pi - 0.1, 0.1, 50)
    bump = _wave(c, angle, 0.09, 1.1)
    low = _TIPS["short"]

    def shell(radius: float, ripple) -> np.ndarray:
        reach = 1 + radius * (0.4 + 0.6 * np.abs(np.sin(angle))) + ripple
        return np.stack([reach * np.cos(angle), reach * np.sin(angle) + low * 0.5], axis=1)

    yield Stroke(np.concatenate([shell(volume + 0.06, bump), _hairline(c)]), c.colours.hair, "hair")
    if "Wavy_Hair" in c.traits:
        for radius in (0.0,) if receding else (-0.02, -0.16):
            line = shell(radius, 0.9 * bump)[11:-11]
            yield Stroke(line, _strand_colour(c), width=0.08)
    if "Straight_Hair" in c.traits:
        parting = 0.5 * c.shape.slant
        inside = 0.98 if receding else 0.86
        for a in np.linspace(-0.86, -0.14, 8) * np.pi:
            near = (0.2 * parting + inside * np.cos(a), inside * np.sin(a))
            far = (1.02 * np.cos(a), (1.0 + 0.8 * volume) * np.sin(a))
            yield Stroke(np.array([near, far]), _strand_colour(c), width=0.07)


def bangs(c: Character) -> Iterator[Stroke]:
    """Draw the bangs."""
    if "Bangs" not in c.traits:
        return
    u = np.linspace(-0.9, 0.9, 37)
    edge = -0.47 + 0.1 * c.shape.slant * u + 0.12 * u**4
    if "Wavy_Hair" in c.traits:
        edge = edge + 0.06 * np.cos(2 * np.pi * (u * 2.2 + c.shape.phase))
    elif "Straight_Hair" in c.traits:
        edge = edge + 0.12 * (np.abs((u * 3 + c.shape.phase) % 1 - 0.5) - 0.25)
    top = [(0.9, -0.5), (0.6, -0.82), (0, -0.95), (-0.6, -0.82), (-0.9, -0.5)]
    contour = np.concatenate([np.stack([u, edge], axis=1), smooth(top, closed=False)])
    yield Stroke(contour, c.colours.hair, "hair")
    if "Straight_Hair" in c.traits:
        for k in range(6, 37, 6):
            line = np.array([(u[k] * 0.8, -0.9), (u[k], edge[k] - 0.05)])
            yield Stroke(line, _strand_colour(c), width=0.07)
    if "Wavy_Hair" in c.traits:
        yield Stroke(np.stack([u, edge - 0.17], axis=1)[3:-3], _strand_colour(c), width=0.08)


def bare(c: Character) -> Iterator[Stroke]:
    """Draw the shine on a bald head, and the fringe that a receding hairline leaves."""
    if "Bald" not in c.traits:
        return
    yield Stroke(ellipse(-0.3, -0.74, 0.2, 0.1), shade(c.colours.skin, 1.45))
    if "Receding_Hairline" in c.traits:
        for side in (1, -1):
            fringe = smooth([(0.86, -0.5), (1.12, -0.36), (1.2, -0.05), (1.02, 0.1), (0.95, -0.1)])
            yield Stroke(mirrored(fringe, side), c.colours.hair, "hair")


def hat(c: Character) -> Iterator[Stroke]:
    """Draw the hat."""
    colour, dark, light = c.colours.hat, shade(c.colours.hat, 0.68), shade(c.colours.hat, 1.35)
    wide = 1.12 + c.shape.volume * (c.hair != "none")
    if c.hat == "cap":
        yield Stroke(ellipse(0, -0.5, wide, 0.85, 0.5, 1.0), colour, "hat")
        yield Stroke(ellipse(0, -0.5, wide * 0.35, 0.85, 0.5, 1.0), light)
        visor = ellipse(0.35 * np.sign(c.shape.slant), -0.52, 1.15, 0.13)
        yield Stroke(visor, dark, "hat")
    if c.hat == "beanie":
        yield Stroke(ellipse(0, -1.42, 0.26, 0.2), light, "hat")
        yield Stroke(ellipse(0, -0.55, wide, 0.86, 0.5, 1.0), colour, "hat")
        band = symmetric([(0.5, -0.83), (wide, -0.78), (wide, -0.48), (0.5, -0.53)])
        yield Stroke(band, dark, "hat")
    if c.hat == "brim":
        crown = symmetric([(0, -1.36), (0.4, -1.45), (0.82, -1.3), (0.95, -0.6)])
        yield Stroke(crown, colour, "hat")
        yield Stroke(symmetric([(0.92, -0.82), (0.95, -0.62)]), dark, "hat")
        yield Stroke(ellipse(0, -0.58, 1.62, 0.15), colour, "hat")


def earrings(c: Character) -> Iterator[Stroke]:
    """Draw the earrings."""
    if "Wearing_Earrings" not in c.traits:
        return
    for side in (1, -1):
        yield Stroke(mirrored(ellipse(1.05, 0.36, 0.1, 0.13), side), (250, 214, 90), "ear_r")
        yield Stroke(mirrored(ellipse(1.05, 0.38, 0.05, 0.06), side), c.colours.accent)
        yield Stroke(mirrored(ellipse(1.03, 0.33, 0.04, 0.04), side), WHITE)
