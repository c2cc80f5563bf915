import hashlib
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from sbmae_jax._io import _part_of, write_atomically
from sbmae_jax.data.celebahq.layout import (
    ATTRIBUTE_FILE,
    ATTRIBUTES,
    MAPPING_FILE,
    OFFICIAL_COUNTS,
    PARTS,
    POSE_FILE,
    USED_ATTRIBUTES,
    image_path,
    mask_path,
    split_of,
)
from sbmae_jax.data.toyfaces import faces as faces_module
from sbmae_jax.data.toyfaces.faces import (
    attributes_of,
    character_of,
    draw_face,
    original_indices,
    split_counts,
    write_toyfaces,
)

NUM_DRAWN = 200
GOLDEN = "b1a27f3ce442e0d1a5d6df433c3df0af64268fed754117a3614c4d50efe674c4"
# Parts that are drawn if and only if an attribute holds.
SHOWN = {
    "Eyeglasses": "eye_g",
    "Wearing_Hat": "hat",
    "Mouth_Slightly_Open": "mouth",
    "Wearing_Earrings": "ear_r",
    "Wearing_Necklace": "neck_l",
}


@pytest.fixture(scope="module")
def faces():
    return [draw_face(0, n, 64) for n in range(NUM_DRAWN)]


@pytest.fixture(scope="module")
def attributes():
    """Attributes by name [2000] bool, of faces that are only chosen."""
    table = np.stack([attributes_of(character_of(0, n)) for n in range(2000)])
    return dict(zip(ATTRIBUTES, table.T, strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("toyfaces") / "CelebAMask-HQ"
    write_toyfaces(root, 6, seed=0, side=64)
    return root


def checksum(face):
    digest = hashlib.sha256(face.image.tobytes() + face.attributes.tobytes())
    for part, mask in face.parts.items():
        digest.update(part.encode() + mask.tobytes())
    return digest.hexdigest()


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_a_face_depends_on_seed_and_index_alone():
    # The first only detects change, made by Pillow 13.0 and numpy 2.4: raise VERSION where it is meant.
    sums = [checksum(draw_face(*key, 64)) for key in ((0, 1), (0, 2), (1, 1))]
    assert sums[0] == GOLDEN
    assert len(set(sums)) == 3


def test_shapes_and_types_are_those_promised(faces):
    for face in (faces[0], draw_face(0, 0, 64, mask_side=48)):
        side = 48 if face is not faces[0] else 32
        assert face.image.shape == (64, 64, 3)
        assert face.image.dtype == np.uint8
        assert face.attributes.shape == (40,)
        assert all(m.shape == (side, side) and m.dtype == bool for m in face.parts.values())


def test_another_side_shows_the_same_face():
    small, large = draw_face(0, 7, 64), draw_face(0, 7, 256)
    mean = np.asarray(large.image, float).reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
    assert np.abs(mean - small.image).mean() < 6  # of 255; two faces differ by about 70
    assert set(small.parts) == set(large.parts)


@pytest.mark.parametrize(("attribute", "part"), SHOWN.items())
def test_a_part_is_there_if_and_only_if_its_attribute_holds(faces, attribute, part):
    column = ATTRIBUTES.index(attribute)
    held = [bool(face.attributes[column]) for face in faces]
    assert held == [part in face.parts for face in faces]
    assert True in held
    assert False in held


def test_only_parts_that_are_seen_have_a_mask(faces):
    for face in faces:
        assert set(face.parts) <= set(PARTS)
        assert all(mask.any() for mask in face.parts.values())
        assert {"skin", "nose", "l_lip", "neck", "cloth"} <= set(face.parts)


def test_skin_covers_the_face_and_no_other_parts_overlap(faces):
    for face in faces:
        skin = face.parts["skin"]
        for part in ("nose", "mouth", "u_lip", "l_lip", "l_eye", "r_eye", "l_brow", "r_brow"):
            assert not (face.parts.get(part, skin) & ~skin).any()
        others = [mask for part, mask in face.parts.items() if part != "skin"]
        assert np.stack(others).sum(axis=0).max() == 1


def test_bald_heads_show_hair_only_as_a_fringe(faces):
    bald, receding = ATTRIBUTES.index("Bald"), ATTRIBUTES.index("Receding_Hairline")
    seen = [face for face in faces if face.attributes[bald]]
    assert seen
    assert all(("hair" in face.parts) == face.attributes[receding] for face in seen)


def test_sunglasses_hide_the_eyes(faces):
    for face in faces:
        hidden = "Eyeglasses" in face.character.traits and face.character.sunglasses
        assert ("l_eye" in face.parts) != hidden


def test_the_left_of_the_subject_is_the_larger_x(faces):
    def x(mask):
        return np.nonzero(mask)[1].mean()

    for face in faces:
        for part in ("eye", "brow", "ear"):
            if f"l_{part}" in face.parts and f"r_{part}" in face.parts:
                assert x(face.parts[f"l_{part}"]) > x(face.parts[f"r_{part}"])


def test_masks_lie_where_the_picture_shows_the_part(faces):
    # Hats are of one hue: under the mask the picture is more uniform than in the whole.
    for face in faces:
        if "hat" in face.parts and "Blurry" not in face.character.traits:
            picture = face.image.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
            assert picture[face.parts["hat"]].std(axis=0).mean() < picture.std(axis=(0, 1)).mean()


def test_every_attribute_varies_and_no_used_one_is_rare_or_nearly_always_there(attributes):
    shares = {name: held.mean() for name, held in attributes.items()}
    assert all(0.02 < share < 0.9 for share in shares.values()), shares
    assert all(0.08 < shares[ATTRIBUTES[column]] < 0.6 for column in USED_ATTRIBUTES), shares


@pytest.mark.parametrize(
    ("first", "second", "sign"),
    [
        ("Mustache", "Male", 1), ("Bald", "Male", 1), ("Wearing_Necktie", "Male", 1),
        ("Bushy_Eyebrows", "Male", 1), ("Heavy_Makeup", "Male", -1), ("Wavy_Hair", "Male", -1),
        ("Wearing_Lipstick", "Heavy_Makeup", 1), ("Gray_Hair", "Young", -1),
        ("Smiling", "Mouth_Slightly_Open", 1), ("Smiling", "High_Cheekbones", 1),
    ],
)  # fmt: skip
def test_correlations_have_their_sign(attributes, first, second, sign):
    # The standard error of a correlation of 0 with 2,000 faces is 0.022.
    assert sign * np.corrcoef(attributes[first], attributes[second])[0, 1] > 0.1


def test_attributes_that_exclude_each_other_never_meet(attributes):
    hair = ["Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Bald"]
    assert np.stack([attributes[name] for name in hair]).sum(axis=0).max() == 1
    for first, second in (
        ("Bald", "Bangs"), ("Bald", "Wavy_Hair"), ("Bald", "Wearing_Hat"),
        ("Bangs", "Receding_Hairline"), ("Straight_Hair", "Wavy_Hair"), ("Goatee", "No_Beard"),
    ):  # fmt: skip
        assert not (attributes[first] & attributes[second]).any()
    assert not (attributes["Mustache"] & ~attributes["Male"]).any()


def test_pictures_are_rgb_and_masks_have_three_equal_channels_of_0_and_255(folder):
    for n in range(6):
        face = draw_face(0, n, 64)
        with Image.open(image_path(folder, n)) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 64))
            assert np.abs(np.asarray(image, int) - face.image).mean() < 4
        for part in PARTS:
            path = mask_path(folder, n, part)
            assert path.exists() == (part in face.parts)
            if path.exists():
                mask = np.asarray(Image.open(io.BytesIO(path.read_bytes())))
                expected = face.parts[part][..., None] * np.full(3, 255, np.uint8)
                np.testing.assert_array_equal(mask, expected)


def test_paths_are_those_of_the_data_set(folder):
    paths = contents(folder)
    assert "CelebA-HQ-img/5.jpg" in paths
    assert "CelebAMask-HQ-mask-anno/0/00005_skin.png" in paths
    assert mask_path(folder, 29999, "hair").parts[-2:] == ("14", "29999_hair.png")
    assert not [path for path in paths if path.endswith(".part")]


def test_tables_are_those_of_the_data_set(folder):
    lines = (folder / ATTRIBUTE_FILE).read_text().splitlines()
    assert lines[:2] == ["6", " ".join(ATTRIBUTES)]
    for n, line in enumerate(lines[2:]):
        signs = np.where(draw_face(0, n, 64).attributes, 1, -1)
        assert line == f"{n}.jpg  " + " ".join(map(str, signs))
    header, *rows = (folder / MAPPING_FILE).read_text().splitlines()
    assert header.split() == ["idx", "orig_idx", "orig_file"]
    for n, row in enumerate(rows):
        idx, original, file = row.split()
        assert (int(idx), file) == (n, f"{int(original) + 1:06d}.jpg")
    lines = (folder / POSE_FILE).read_text().splitlines()
    assert lines[:2] == ["6", "Yaw Pitch Raw"]
    assert len(lines) - 2 == len(rows) == 6


def test_splits_have_the_official_counts_and_shares():
    assert split_counts(30_000) == OFFICIAL_COUNTS
    assert split_counts(10_000) == {"train": 8061, "valid": 998, "test": 941}
    for num_faces in (*range(1, 300), 99_999):
        counts = split_counts(num_faces)
        assert sum(counts.values()) == num_faces
        assert num_faces < 20 or min(counts.values()) > 0


@pytest.mark.parametrize("num_faces", [1, 50, 30_000])
def test_originals_differ_and_fall_into_the_splits_in_these_shares(num_faces):
    originals = original_indices(num_faces, seed=0)
    assert len(set(originals)) == num_faces
    names = [split_of(o) for o in originals]
    assert {name: names.count(name) for name in OFFICIAL_COUNTS} == split_counts(num_faces)
    assert min(originals) >= 0
    assert max(originals) < 202_599


def test_an_interrupted_folder_is_completed_as_if_it_had_not_been(folder, tmp_path, monkeypatch):
    class Interrupted(Exception):
        pass

    written = []

    def write_twenty_files(path, fill):
        if len(written) == 20:
            _part_of(path).write_bytes(b"half")
            raise Interrupted
        written.append(path)
        write_atomically(path, fill)

    with monkeypatch.context() as patch:
        patch.setattr(faces_module, "write_atomically", write_twenty_files)
        with pytest.raises(Interrupted):
            write_toyfaces(tmp_path, 6, seed=0, side=64)
    assert not (tmp_path / ATTRIBUTE_FILE).exists()
    write_toyfaces(tmp_path, 6, seed=0, side=64)
    assert contents(tmp_path) == contents(folder)


def test_a_complete_folder_is_left_alone(folder, monkeypatch):
    monkeypatch.setattr(faces_module, "write_atomically", None)
    write_toyfaces(folder, 6, seed=0, side=64, mask_side=32)


@pytest.mark.parametrize("other", [{"num_faces": 7}, {"seed": 1}, {"side": 32}, {"mask_side": 64}])
def test_a_folder_of_other_parameters_is_refused(folder, other):
    with pytest.raises(ValueError, match="choose another folder"):
        write_toyfaces(folder, **{"num_faces": 6, "side": 64, **other})


def test_a_folder_of_other_files_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ValueError, match="not ToyFaces"):
        write_toyfaces(tmp_path, 6)
    assert list(contents(tmp_path)) == ["precious.txt"]


@pytest.mark.parametrize("arguments", [{"num_faces": 0}, {"num_faces": 100_001}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(tmp_path, arguments):
    with pytest.raises(ValueError, match="must be"):
        write_toyfaces(tmp_path, **{"num_faces": 5, **arguments})


@pytest.mark.parametrize("kind", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_two_workers_write_what_one_writes(folder, tmp_path, monkeypatch, kind):
    if kind == "threads":
        pool = "ProcessPoolExecutor"
        monkeypatch.setattr(faces_module, pool, lambda num, **_: ThreadPoolExecutor(num))
    write_toyfaces(tmp_path, 6, seed=0, side=64, num_processes=2)
    assert contents(tmp_path) == contents(folder)
