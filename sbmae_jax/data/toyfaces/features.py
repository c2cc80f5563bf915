"""The strokes of a drawn face without its hair: body, head and facial features."""

from collections.abc import Iterator

import numpy as np

from sbmae_jax.data.toyfaces.character import Character
from sbmae_jax.data.toyfaces.colours import mix, shade
from sbmae_jax.data.toyfaces.strokes import (
    INK,
    WHITE,
    Stroke,
    ellipse,
    mirrored,
    moved,
    outline,
    smooth,
    symmetric,
)


def body(c: Character) -> Iterator[Stroke]:
    """Draw shoulders, neck, collar, necktie and necklace."""
    male = "Male" in c.traits
    skin, cloth = shade(c.colours.skin, 0.84), c.colours.cloth
    half, drop, wide = (0.62, 1.42, 2.3) if male else (0.43, 1.5, 1.75)
    shoulders = [(half, 1.2), (wide * 0.7, drop), (wide, drop + 0.3), (wide + 0.1, 2.6)]
    yield Stroke(symmetric(shoulders), cloth, "cloth", turns=False)
    neck = symmetric([(half, 0.5), (half, 1.28), (0, 1.55 if male else 1.8)])
    yield Stroke(neck, skin, "neck", turns=False)
    under = symmetric([(half, 0.7), (half, 1.0), (0, 1.22)])
    yield Stroke(under, shade(skin, 0.84), turns=False)
    if male:
        for side in (1, -1):
            collar = [(half, 1.1), (half + 0.14, 1.3), (0.32, 1.72), (0, 1.5)]
            light = WHITE if "Wearing_Necktie" in c.traits else shade(cloth, 1.3)
            yield Stroke(mirrored(collar, side), light, "cloth", turns=False)
    if "Wearing_Necktie" in c.traits:
        yield Stroke(
            symmetric([(0.15, 1.46), (0.1, 1.64), (0.26, 2.5)]),
            c.colours.accent,
            "cloth",
            turns=False,
        )
    if "Wearing_Necklace" in c.traits:
        chain = ellipse(0, 1.2, half, 0.3, 0.0, 0.5)
        yield Stroke(chain, (250, 214, 90), "neck_l", 0.07, turns=False)
        yield Stroke(ellipse(0, 1.56, 0.11, 0.1), c.colours.accent, "neck_l", turns=False)


def ears(c: Character) -> Iterator[Stroke]:
    """Draw the ears."""
    for side, part in ((1, "l_ear"), (-1, "r_ear")):
        yield Stroke(
            mirrored(ellipse(1.03, 0.0, 0.15, 0.22), side), shade(c.colours.skin, 0.94), part
        )
        yield Stroke(mirrored(ellipse(1.05, 0.0, 0.07, 0.12), side), shade(c.colours.skin, 0.76))


def face(c: Character) -> Iterator[Stroke]:
    """Draw the head, and what marks its skin."""
    skin = c.colours.skin
    yield Stroke(outline(c), skin, "skin")
    dark = 1 if np.cos(c.scene.light_angle) < 0 else -1  # the side away from the light
    edge = outline(c, -0.16, 0.25, 24)
    crescent = np.concatenate([edge, (edge * (0.76, 0.94))[::-1]])
    yield Stroke(mirrored(crescent, dark), shade(skin, 0.88))
    if "Double_Chin" in c.traits:
        yield Stroke(outline(c, 0.09, 0.41) * (0.96, 1.16), shade(skin, 0.93), "skin")
        yield Stroke(outline(c, 0.14, 0.36), shade(skin, 0.7), width=0.05)
    if "Rosy_Cheeks" in c.traits:
        for side in (1, -1):
            blush = mix(skin, (235, 80, 90), 0.45)
            yield Stroke(mirrored(ellipse(0.6, 0.3, 0.22, 0.15), side), blush)
    if "High_Cheekbones" in c.traits:
        for side in (1, -1):
            line = smooth([(0.86, 0.1), (0.7, 0.22), (0.5, 0.26)], False)
            yield Stroke(mirrored(line, side), shade(skin, 0.8), width=0.05)


def beard(c: Character) -> Iterator[Stroke]:
    """Draw the beard; the data set's masks count it as skin."""
    dark = shade(c.colours.brow, 0.85)
    jaw = outline(c, 0.0, 0.5)
    if c.beard == "stubble":
        upper = ellipse(0, 0.3, 0.8, 0.08, 0.5, 0.0)
        colour = mix(c.colours.skin, (70, 75, 90), 0.34)
        yield Stroke(np.concatenate([jaw * 0.995, upper]), colour)
    if c.beard == "full":
        upper = ellipse(0, 0.2, 0.82, 0.56, 0.5, 0.0)
        yield Stroke(np.concatenate([jaw * (1.03, 1.09), upper]), dark, "skin")
    if c.beard == "goatee":
        yield Stroke(smooth(symmetric([(0.26, 0.78), (0.22, 1.02), (0.05, 1.12)])), dark, "skin")
    if "Sideburns" in c.traits:
        for side in (1, -1):
            burn = [(1.0, -0.35), (0.84, -0.3), (0.8, 0.3), (0.96, 0.3)]
            yield Stroke(mirrored(burn, side), shade(c.colours.hair, 0.9), "hair")


def nose(c: Character) -> Iterator[Stroke]:
    """Draw the nose."""
    wide = 0.3 if "Big_Nose" in c.traits else 0.13 if "Pointy_Nose" in c.traits else 0.19
    tip = 0.36 if "Pointy_Nose" in c.traits else 0.3
    skin = c.colours.skin
    if "Pointy_Nose" in c.traits:
        shape = symmetric([(0.05, -0.12), (wide, tip - 0.06), (0, tip + 0.05)])
    else:
        shape = smooth(symmetric([(0.06, -0.12), (wide, tip - 0.08), (wide * 0.5, tip)]))
    yield Stroke(shape, shade(skin, 0.87), "nose")
    yield Stroke(moved(shape * (0.45, 1), 0, -0.05), mix(skin, WHITE, 0.12))
    for side in (1, -1):
        dot = ellipse(wide * 0.45, tip - 0.03, wide * 0.2, 0.03, num=10)
        yield Stroke(mirrored(dot, side), shade(skin, 0.5))


def mouth(c: Character) -> Iterator[Stroke]:
    """Draw lips, teeth and dimples."""
    smiling, is_open = "Smiling" in c.traits, "Mouth_Slightly_Open" in c.traits
    half = c.shape.mouth_width * (1.22 if smiling else 0.86)
    s = np.linspace(-1, 1, 15)
    hump = 1 - s**2
    line = 0.58 + (0.2 * hump - 0.12 if smiling else 0.02 - 0.03 * hump)
    gap = (0.17 if is_open else 0.0) * hump**0.7
    thick = (0.11 if "Big_Lips" in c.traits else 0.06) * hump**0.6
    if is_open and not smiling:
        line = line - 0.4 * gap

    def band(upper, lower) -> np.ndarray:
        across = half * s
        return np.stack([np.r_[across, across[::-1]], np.r_[upper, lower[::-1]]], axis=1)

    lip = c.colours.lip
    yield Stroke(band(line - thick, line), shade(lip, 0.88), "u_lip")
    yield Stroke(band(line + gap, line + gap + 1.25 * thick), lip, "l_lip")
    if is_open:
        yield Stroke(band(line, line + gap), (82, 18, 28), "mouth")
        yield Stroke(band(line, line + 0.5 * gap) * (0.9, 1), WHITE)
    else:
        yield Stroke(np.stack([half * s, line], axis=1), shade(lip, 0.45), width=0.05)
    if smiling:
        for side in (1, -1):
            dimple = [(half, 0.36), (half + 0.07, 0.44), (half + 0.05, 0.54)]
            yield Stroke(
                mirrored(smooth(dimple, False), side), shade(c.colours.skin, 0.66), width=0.05
            )


def mustache(c: Character) -> Iterator[Stroke]:
    """Draw the moustache."""
    if "Mustache" not in c.traits:
        return
    half = [(0.04, 0.36), (0.2, 0.35), (0.42, 0.44), (0.56, 0.58), (0.36, 0.54), (0.04, 0.5)]
    yield Stroke(smooth(symmetric(half)), shade(c.colours.brow, 0.72), "skin")


def glasses(c: Character) -> Iterator[Stroke]:
    """Draw the glasses; the eyes are drawn later, so that the frame never hides them."""
    if "Eyeglasses" not in c.traits:
        return
    round_lens = c.shape.phase < 0.5
    dark = c.colours.frame
    fill = (40, 42, 52) if c.sunglasses else mix(c.colours.skin, (215, 235, 250), 0.45)
    yield Stroke(np.array([(-0.2, -0.1), (0.2, -0.1)]), dark, "eye_g", 0.09)
    for side in (1, -1):
        yield Stroke(np.array([(side * 0.7, -0.12), (side * 0.99, -0.16)]), dark, "eye_g", 0.09)
        for grow, colour in ((1.0, dark), (0.76, fill)):
            a, b = 0.36 * grow, 0.29 * grow
            box = symmetric([(a, -b), (a * 0.95, b * 0.5), (a * 0.6, b)])
            lens = ellipse(0, 0, a, b) if round_lens else box
            yield Stroke(moved(lens, side * c.shape.eye_gap, -0.06), colour, "eye_g")


def eyes(c: Character) -> Iterator[Stroke]:
    """Draw the eyes and their make-up."""
    if "Eyeglasses" in c.traits and c.sunglasses:
        return
    skin, makeup = c.colours.skin, "Heavy_Makeup" in c.traits
    a = c.shape.eye_size
    b = a * (0.24 if "Narrow_Eyes" in c.traits else 0.52)
    for side, part in ((1, "l_eye"), (-1, "r_eye")):
        u, v = side * c.shape.eye_gap, -0.06
        if "Bags_Under_Eyes" in c.traits:
            yield Stroke(ellipse(u, v + 0.06, a * 0.9, b + 0.1, 0.04, 0.46), shade(skin, 0.78))
        if makeup:
            # It stays within the frame of glasses.
            wide, high = (1.0, 0.1) if "Eyeglasses" in c.traits else (1.3, 0.19)
            lid = ellipse((wide - 1) * a / 2, 0.03, wide * a, b + high, 0.5, 1.0)
            yield Stroke(moved(mirrored(lid, side), u, v), c.colours.shadow)
        white = smooth([(-a, 0.02), (0, -b), (a, -0.01), (0, b)])
        yield Stroke(moved(mirrored(white, side), u, v), WHITE, part)
        yield Stroke(ellipse(u, v, 0.115, min(b, 0.1), num=16), c.colours.eye)
        yield Stroke(ellipse(u, v, 0.055, min(b, 0.05), num=12), INK)
        lash = smooth([(-a, 0.02), (0, -b), (a, -0.01)] + [(a * 1.35, -0.1)] * makeup, False)
        yield Stroke(moved(mirrored(lash, side), u, v), INK, width=0.09 if makeup else 0.05)


def brows(c: Character) -> Iterator[Stroke]:
    """Draw the eyebrows."""
    bushy, male = "Bushy_Eyebrows" in c.traits, "Male" in c.traits
    thick = 0.2 if bushy else 0.06 if male else 0.045
    rise = 0.16 if "Arched_Eyebrows" in c.traits else 0.03
    for side, part in ((1, "l_brow"), (-1, "r_brow")):
        middle = np.array([(-0.25, 0.02), (0.08, -rise), (0.3, -0.3 * rise + 0.03)])
        upper = smooth(moved(middle, 0, -0.6 * thick), False)
        lower = smooth(moved(middle, 0, 0.6 * thick), False)[::-1] * (0.97, 1)
        brow = moved(np.concatenate([upper, lower]), c.shape.eye_gap, -0.4)
        colour = shade(c.colours.brow, 0.7) if bushy else c.colours.brow
        yield Stroke(mirrored(brow, side), colour, part)
