"""What a drawn face looks like: random choices, from which its image, masks and attributes follow.

The probabilities are invented. They keep the signs of CelebA's correlations (a beard belongs to a man, grey
hair to the old, lipstick to heavy make-up), and make none of the 18 attributes used rare or nearly universal.
"""

from typing import NamedTuple

import numpy as np

from sbmae_jax.data.toyfaces.colours import (
    EYES,
    FRAMES,
    HAIR,
    RGB,
    SHADOWS,
    TONES,
    mix,
    random_colour,
    shade,
)


class Pose(NamedTuple):
    """How the head is turned and where it is.

    Attributes:
        yaw: To one side or the other, -1..1.
        pitch: Up or down, -1..1.
        roll: In the plane of the image, in radians.
        scale: The size of the face, about 1.
        shift: Its offset from the centre, in sides of the image.
    """

    yaw: float
    pitch: float
    roll: float
    scale: float
    shift: tuple[float, float]


class Shape(NamedTuple):
    """The sizes of head and features; features are in units of half the face's width and height.

    Attributes:
        width: Half the width of the face, in sides of the image.
        height: Half its height, in sides of the image.
        jaw: The exponent of the lower outline: 2 is an ellipse, more is squarer.
        taper: How much the face narrows to the chin.
        eye_gap: From the middle to an eye.
        eye_size: Half the width of an eye.
        mouth_width: Half the width of the mouth.
        volume: Of the hair, beyond the skull.
        slant: Of parting and bangs, -1..1.
        phase: Of the waves, 0..1.
    """

    width: float
    height: float
    jaw: float
    taper: float
    eye_gap: float
    eye_size: float
    mouth_width: float
    volume: float
    slant: float
    phase: float


class Scene(NamedTuple):
    """The background and the light.

    Attributes:
        backdrop: "gradient", "glow", "split", "discs" or "stripes".
        colours: Of the backdrop.
        light_angle: Where the light comes from, in radians.
        light_strength: About 0.03..0.2.
    """

    backdrop: str
    colours: tuple[RGB, RGB]
    light_angle: float
    light_strength: float


class Colours(NamedTuple):
    """The colours of the parts of a face."""

    skin: RGB
    hair: RGB
    brow: RGB
    eye: RGB
    lip: RGB
    shadow: RGB
    frame: RGB
    cloth: RGB
    accent: RGB
    hat: RGB


class Character(NamedTuple):
    """Everything that is chosen for one face.

    Attributes:
        traits: The names of the attributes that hold.
        hair: What shows of it: "none", "short", "medium" or "long".
        beard: "none", "stubble", "goatee", "full" or "mustache".
        hat: "none", "cap", "beanie" or "brim".
        sunglasses: Whether glasses, if there are any, are dark.
        tucked: Whether long hair is behind the ears.
        colours: The colours of the parts.
        shape: The sizes of head and features.
        pose: How the head is turned.
        scene: The background and the light.
    """

    traits: frozenset[str]
    hair: str
    beard: str
    hat: str
    sunglasses: bool
    tucked: bool
    colours: Colours
    shape: Shape
    pose: Pose
    scene: Scene


def random_character(rng: np.random.Generator) -> Character:
    """Choose everything for one face; the same state of the generator gives the same character."""
    traits = {name for name, p in (("Male", 0.44), ("Young", 0.68)) if rng.random() < p}
    tone = _pick(rng, {"pale": 0.17, "light": 0.4, "tan": 0.25, "dark": 0.18})
    traits |= {"Pale_Skin"} if tone == "pale" else set()
    hat = _pick(rng, {"none": 0.86, "cap": 0.05, "beanie": 0.04, "brim": 0.05})
    traits |= {"Wearing_Hat"} if hat != "none" else set()
    hair, colour = _choose_hair(rng, traits, tone)
    beard = _choose_beard(rng, traits, hair)
    _choose_features(rng, traits)
    _choose_adornments(rng, traits)
    traits |= {"Attractive"} if _attractive(traits) else set()
    return Character(
        traits=frozenset(traits),
        hair=hair,
        beard=beard,
        hat=hat,
        # Dark glasses would hide heavy make-up.
        sunglasses=bool(rng.random() < 0.2) and "Heavy_Makeup" not in traits,
        tucked=bool(rng.random() < 0.35) and hat == "none",
        colours=_choose_colours(rng, traits, tone, colour),
        shape=_choose_shape(rng, traits),
        pose=_choose_pose(rng),
        scene=_choose_scene(rng),
    )


def _pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    """Pick a name with its probability; the probabilities sum to 1."""
    threshold = rng.random()
    for name, p in weights.items():
        threshold -= p
        if threshold < 0:
            return name
    return name  # if rounding left a remainder


def _choose_hair(rng, traits: set[str], tone: str) -> tuple[str, str]:
    """Choose the length and the colour of the hair, and add its traits."""
    male, young, hat = ("Male" in traits), ("Young" in traits), ("Wearing_Hat" in traits)
    lengths = (
        {"short": 0.84, "medium": 0.11, "long": 0.05}
        if male
        else {"short": 0.12, "medium": 0.33, "long": 0.55}
    )
    length = _pick(rng, lengths)
    colours = {"Black_Hair": 0.3, "Blond_Hair": 0.27, "Brown_Hair": 0.33, "other": 0.1}
    if tone == "dark":
        colours = {"Black_Hair": 0.72, "Blond_Hair": 0.06, "Brown_Hair": 0.17, "other": 0.05}
    gray = rng.random() < (0.02 if young else 0.52)
    colour = _pick(rng, colours)
    colour = "Gray_Hair" if gray else colour
    bald = rng.random() < ((0.2 if young else 0.36) if male else 0.01)
    receding = rng.random() < ((0.16 if young else 0.45) if male else 0.03)
    bangs = rng.random() < (0.22 if male else 0.42)
    texture = _pick(
        rng,
        {"Straight_Hair": 0.42, "Wavy_Hair": 0.23, "plain": 0.35}
        if male
        else {"Straight_Hair": 0.32, "Wavy_Hair": 0.48, "plain": 0.2},
    )
    if hat and length == "short":  # all of it is under the hat
        return "none", colour
    if bald and not hat:  # a receding hairline leaves a fringe
        traits |= {"Bald"} | ({"Receding_Hairline"} if receding else set())
        return "none", colour
    traits |= {colour, texture} - {"other", "plain"}
    if not hat:
        traits |= {"Receding_Hairline"} if receding else {"Bangs"} if bangs else set()
    return length, colour


def _choose_beard(rng, traits: set[str], hair: str) -> str:
    """Choose the beard, and add its traits."""
    kinds = {"none": 0.42, "stubble": 0.13, "goatee": 0.12, "full": 0.17, "mustache": 0.16}
    beard = _pick(rng, kinds)
    mustache, sideburns = rng.random() < 0.6, rng.random() < 0.15
    if "Male" not in traits:
        traits.add("No_Beard")
        return "none"
    if beard in ("none", "mustache"):
        traits.add("No_Beard")
    traits |= {"stubble": {"5_o_Clock_Shadow"}, "goatee": {"Goatee"}}.get(beard, set())
    if beard == "mustache" or (beard in ("goatee", "full") and mustache):
        traits.add("Mustache")
    if hair == "short" and (beard == "full" or sideburns):
        traits.add("Sideburns")
    return beard


def _choose_features(rng, traits: set[str]) -> None:
    """Add the traits of brows, eyes, nose, mouth, cheeks and chin."""
    male, young = "Male" in traits, "Young" in traits

    def add(name: str, p: float) -> bool:
        hit = bool(rng.random() < p)
        if hit:
            traits.add(name)
        return hit

    bushy = add("Bushy_Eyebrows", 0.36 if male else 0.1)
    add("Arched_Eyebrows", 0.1 if bushy else 0.06 if male else 0.5)
    add("Narrow_Eyes", 0.13)
    add("Bags_Under_Eyes", 0.12 if young else 0.5)
    big_nose = add("Big_Nose", 0.36 if male else 0.13)
    add("Pointy_Nose", 0.02 if big_nose else 0.2 if male else 0.38)
    add("Big_Lips", 0.14 if male else 0.28)
    smiling = add("Smiling", 0.42 if male else 0.52)
    add("Mouth_Slightly_Open", 0.65 if smiling else 0.27)
    add("High_Cheekbones", 0.75 if smiling else 0.16)
    chubby = add("Chubby", 0.1 if young else 0.22)
    add("Double_Chin", 0.55 if chubby else 0.02)
    add("Oval_Face", 0.03 if chubby else 0.3)


def _choose_adornments(rng, traits: set[str]) -> None:
    """Add make-up, glasses, jewellery and tie, and whether the image is blurry."""
    male, young = "Male" in traits, "Young" in traits
    chance = rng.random(9)
    makeup = chance[0] < (0.01 if male else 0.58 if young else 0.38)
    lipstick = chance[1] < (0.95 if makeup else 0.01 if male else 0.22)
    rosy = chance[2] < (0.4 if makeup else 0.02 if male else 0.12)
    necklace = chance[3] < (0.03 if male else 0.26)
    held = {
        "Heavy_Makeup": makeup,
        "Wearing_Lipstick": lipstick,
        "Rosy_Cheeks": rosy,
        "Wearing_Necklace": necklace,
        "Wearing_Earrings": chance[4] < (0.03 if male else 0.42),
        "Wearing_Necktie": not necklace and chance[5] < (0.01, 0.28)[male],
        "Eyeglasses": chance[6] < (0.12 if young else 0.32),
        "Blurry": chance[7] < 0.05,
    }
    traits |= {name for name, holds in held.items() if holds}


def _attractive(traits: set[str]) -> bool:
    """Decide the attribute "Attractive", which records the annotators' taste, by a crude rule."""
    good = traits & {"Young", "Heavy_Makeup", "Arched_Eyebrows", "Oval_Face", "High_Cheekbones"}
    bad = traits & {"Chubby", "Double_Chin", "Big_Nose", "Bags_Under_Eyes", "Bald", "Gray_Hair"}
    return len(good) - 2 * len(bad) > 1


def _choose_colours(rng, traits: set[str], tone: str, hair: str) -> Colours:
    skin = mix(*TONES[tone], rng.random())
    strands = mix(*HAIR[hair], rng.random())
    lip = mix(skin, (190, 80, 80), 0.45)
    if "Wearing_Lipstick" in traits:
        lip = mix((205, 20, 45), (200, 30, 120), rng.random())
    return Colours(
        skin=skin,
        hair=strands,
        # A bald head's brows are brown: its hair colour shows nowhere else.
        brow=shade(strands if "Bald" not in traits else (88, 58, 40), 0.65),
        eye=EYES[rng.integers(len(EYES))],
        lip=lip,
        shadow=SHADOWS[rng.integers(len(SHADOWS))],
        frame=FRAMES[rng.integers(len(FRAMES))],
        cloth=random_colour(rng, (0.1, 0.8), (0.25, 0.95)),
        accent=random_colour(rng, (0.5, 0.9), (0.35, 0.85)),
        hat=random_colour(rng, (0.55, 0.95), (0.35, 0.9)),
    )


def _choose_shape(rng, traits: set[str]) -> Shape:
    male, chubby, oval = "Male" in traits, "Chubby" in traits, "Oval_Face" in traits
    # Straight hair lies flat and wavy hair stands off, since strands are hard to see in few pixels.
    volume = 0.1 if "Straight_Hair" in traits else 0.27 if "Wavy_Hair" in traits else 0.17
    return Shape(
        width=(0.222 if male else 0.208)
        + rng.uniform(-0.008, 0.008)
        + 0.026 * chubby
        - 0.012 * oval,
        height=(0.285 if male else 0.268) + rng.uniform(-0.01, 0.01) + 0.014 * oval,
        jaw=(2.9 if male else 2.0) + rng.uniform(-0.15, 0.25) + 0.3 * chubby,
        taper=(0.02 if male else 0.16) + rng.uniform(0, 0.06) - 0.08 * chubby,
        eye_gap=rng.uniform(0.40, 0.46),
        eye_size=(0.23 if male else 0.27) + rng.uniform(-0.015, 0.02),
        mouth_width=rng.uniform(0.36, 0.44),
        volume=volume + rng.uniform(-0.03, 0.03),
        slant=rng.uniform(-1, 1),
        phase=rng.random(),
    )


def _choose_pose(rng) -> Pose:
    return Pose(
        yaw=rng.uniform(-1, 1),
        pitch=rng.uniform(-1, 1),
        roll=float(np.clip(rng.normal(0, 0.07), -0.16, 0.16)),
        scale=rng.uniform(1.05, 1.19),
        shift=(rng.uniform(-0.025, 0.025), rng.uniform(-0.015, 0.02)),
    )


def _choose_scene(rng) -> Scene:
    kinds = {"gradient": 0.4, "glow": 0.2, "split": 0.15, "discs": 0.15, "stripes": 0.1}
    first = random_colour(rng, (0.05, 0.65), (0.3, 0.95))
    second = mix(first, random_colour(rng, (0.05, 0.65), (0.3, 0.95)), 0.6)
    return Scene(
        backdrop=_pick(rng, kinds),
        colours=(first, second),
        light_angle=rng.uniform(0, 2 * np.pi),
        light_strength=rng.uniform(0.03, 0.2),
    )
