"""The colours of drawn faces."""

import colorsys

RGB = tuple[int, int, int]

HAIR = {  # the colours that attributes name, and others
    "Black_Hair": ((26, 24, 30), (44, 38, 44)),
    "Blond_Hair": ((240, 208, 104), (222, 182, 84)),
    "Brown_Hair": ((118, 72, 36), (88, 54, 30)),
    "Gray_Hair": ((196, 198, 204), (150, 152, 160)),
    "other": ((204, 76, 24), (176, 48, 30)),
}
TONES = {  # of skin; the pale one stands apart, so that it is recognised under any light
    "pale": ((255, 236, 224), (252, 228, 220)),
    "light": ((242, 190, 150), (230, 172, 130)),
    "tan": ((216, 158, 112), (190, 130, 88)),
    "dark": ((150, 98, 66), (104, 68, 48)),
}
EYES = ((70, 120, 190), (90, 150, 80), (90, 60, 35), (60, 40, 30), (110, 130, 140))
SHADOWS = ((70, 90, 210), (150, 60, 190), (30, 150, 150), (210, 60, 150))  # of make-up
FRAMES = ((20, 20, 25), (150, 25, 35), (70, 45, 25), (35, 50, 110))


def random_colour(rng, saturation: tuple[float, float], value: tuple[float, float]) -> RGB:
    """Draw a colour of any hue, with saturation and value in these ranges."""
    channels = colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))
    return tuple(round(255 * channel) for channel in channels)  # pyright: ignore


def mix(first: RGB, second: RGB, t: float) -> RGB:
    """Interpolate between two colours: the first at t = 0, the second at t = 1."""
    return tuple(round(a + t * (b - a)) for a, b in zip(first, second, strict=True))  # pyright: ignore


def shade(colour: RGB, factor: float) -> RGB:
    """Darken a colour (factor < 1) or lighten it towards white (factor > 1)."""
    if factor > 1:
        return mix(colour, (255, 255, 255), factor - 1)
    return mix((0, 0, 0), colour, factor)
