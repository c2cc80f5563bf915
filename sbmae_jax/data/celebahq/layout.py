"""The layout of CelebAMask-HQ on disk (Lee et al., 2020): names, paths and the official split.

One root holds the images, a folder of part masks for every 2,000 faces, and three tables. A mask without a
file is empty: the part is absent or hidden. `celebahq.source` reads this layout, and `toyfaces.faces` writes
it.
"""

from pathlib import Path

ATTRIBUTES = (
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
)
# The 18 columns that the paper's attribute modality keeps.
USED_ATTRIBUTES = (4, 5, 8, 9, 11, 12, 15, 17, 18, 20, 21, 22, 26, 28, 31, 32, 33, 35)

# In label order: where parts are painted into one map, part k has the label k + 1, and later parts cover
# earlier ones. l_ is the subject's left, the larger x of the image; eye_g are glasses, ear_r is an earring,
# neck_l a necklace.
PARTS = (
    "skin",
    "nose",
    "eye_g",
    "l_eye",
    "r_eye",
    "l_brow",
    "r_brow",
    "l_ear",
    "r_ear",
    "mouth",
    "u_lip",
    "l_lip",
    "hair",
    "hat",
    "ear_r",
    "neck_l",
    "neck",
    "cloth",
)

FOLDER = "CelebAMask-HQ"
IMAGE_FOLDER = "CelebA-HQ-img"
ATTRIBUTE_FILE = "CelebAMask-HQ-attribute-anno.txt"
MAPPING_FILE = "CelebA-HQ-to-CelebA-mapping.txt"
POSE_FILE = "CelebAMask-HQ-pose-anno.txt"

# The split is CelebA's: a face belongs to the part that has its CelebA image, orig_idx.
NUM_ORIGINALS = 202_599
FIRST_ORIGINAL = {"train": 0, "valid": 162_771, "test": 182_638}
OFFICIAL_COUNTS = {"train": 24_183, "valid": 2_993, "test": 2_824}


def image_path(root: Path, n: int) -> Path:
    """Return the path of the image of face n, a JPEG."""
    return root / IMAGE_FOLDER / f"{n}.jpg"


def mask_path(root: Path, n: int, part: str) -> Path:
    """Return the path of the mask of one of PARTS of face n, a PNG."""
    return root / "CelebAMask-HQ-mask-anno" / str(n // 2000) / f"{n:05d}_{part}.png"


def split_of(orig_idx: int) -> str:
    """Return the official split of a face, from its number in CelebA, 0..202598."""
    names = [name for name, first in FIRST_ORIGINAL.items() if orig_idx >= first]
    return names[-1]
