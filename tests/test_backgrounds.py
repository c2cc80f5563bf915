import colorsys

import numpy as np
import pytest
from PIL import Image

from sbmae_jax.data.backgrounds import PHOTOGRAPHS, backgrounds, paste, photograph, turn_hue


def save(path, size=(40, 30), mode="RGB", colour=100):
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def folder(tmp_path):
    """Fill a folder with three pictures of different kinds."""
    save(tmp_path / "b.PNG", mode="L", colour=7)
    save(tmp_path / "a.jpg", colour=(9, 9, 9))
    save(tmp_path / "c.jpeg", size=(29, 29))
    return tmp_path


def test_photographs_come_in_order_and_then_again_in_other_hues():
    pictures = backgrounds(21)
    names = list(PHOTOGRAPHS)
    assert list(pictures) == [
        *names, *(f"{name}-2" for name in names), f"{names[0]}-3",
    ]  # fmt: skip
    for name in names:
        np.testing.assert_array_equal(pictures[name], photograph(name))
        assert min(pictures[name].shape[:2]) > 28
        other = pictures[f"{name}-2"]
        assert other.shape == pictures[name].shape
        assert other.dtype == np.uint8
        difference = np.abs(other.astype(int) - pictures[name]).max(axis=-1)
        assert (difference > 20).mean() > 0.8, name


def test_a_hue_is_turned_and_grey_gets_one():
    red, grey = np.full((30, 30, 3), (200, 20, 20), np.uint8), np.full((30, 30, 3), 90, np.uint8)
    hues = [colorsys.rgb_to_hsv(*turn_hue(p, 64)[0, 0] / 255)[0] for p in (red, grey)]
    np.testing.assert_allclose(hues, 0.25, atol=0.01)
    assert turn_hue(red, 0) is red


def test_own_pictures_are_sorted_by_name_and_rgb(folder):
    (folder / ".DS_Store").write_bytes(b"hidden")
    pictures = backgrounds(3, str(folder))
    assert list(pictures) == ["a.jpg", "b.PNG", "c.jpeg"]
    assert pictures["a.jpg"].shape == (30, 40, 3)
    np.testing.assert_array_equal(pictures["b.PNG"], np.full((30, 40, 3), 7, np.uint8))
    assert list(backgrounds(2, folder)) == ["a.jpg", "b.PNG"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: [path.unlink() for path in f.iterdir()] and f.rmdir(), "does not exist"),
        (lambda f: (f / "b.PNG").unlink(), "has 2 images for 3 modalities: add 1, or use"),
        (lambda f: save(f / "b.PNG", size=(28, 99)), "b.PNG is 28x99 pixels"),
        (lambda f: (f / "notes.txt").write_text(""), "notes.txt is not an image"),
        (lambda f: (f / "more").mkdir(), "more is not an image"),
        (lambda f: (f / "a.jpg").write_bytes(b"no"), "a.jpg cannot be read"),
        (lambda f: (f / "b.PNG").write_bytes((f / "b.PNG").read_bytes()[:50]), "b.PNG cannot be"),
    ],
)
def test_what_cannot_be_used_is_named(folder, spoil, said):
    spoil(folder)
    with pytest.raises(ValueError, match=said) as error:
        backgrounds(3, folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_crops_are_where_they_should_be_and_inverted_inside_the_mask():
    background = np.random.default_rng(0).integers(0, 256, (31, 33, 3), dtype=np.uint8)
    masks = np.zeros((2, 28, 28), bool)
    masks[1, 4:9] = True
    pasted = paste(masks, background, np.array([3, 0]), np.array([0, 5]))
    np.testing.assert_array_equal(pasted[0], background[3:, :28])
    np.testing.assert_array_equal(pasted[1, 4:9], 255 - background[4:9, 5:])
    np.testing.assert_array_equal(pasted[1, 9:], background[9:28, 5:])
