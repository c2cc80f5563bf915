"""PolyMNIST-D-Q: what its records hold, that they are resumed, and what is refused."""

import hashlib

import numpy as np
import pytest
from idx_files import digits, write_digits
from PIL import Image

from sbmae_jax.app.build import SOURCES
from sbmae_jax.data import polymnist_dq, prepared, quadrants
from sbmae_jax.data.prepared import CHECKSUMS, verify
from sbmae_jax.data.source import SPLITS

SIZES = (90, 20, 40)
NAMES = ("digit", "m00", "m01", "m02", "quadrant", "instance")
GOLDEN = "58e0193fdaab42e31ae1c63f19ba987b32b42d909ed231036de5d446b36c0a52"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Prepare small data once, of digits and backgrounds of our own."""
    path = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SBMAE_DATA_DIR", str(path))
        patch.setattr(polymnist_dq, "SHARD_SIZE", 50)
        write_digits(path / "mnist", patch)
        (path / "pictures").mkdir()
        for m, size in enumerate(((65, 70), (80, 66), (70, 90))):
            noise = np.random.default_rng(m).integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(noise).save(path / "pictures" / f"{m}.png")
        yield path


def load(root, split, **options):
    source = polymnist_dq.polymnist_dq(
        split, **{"names": NAMES, "backgrounds": root / "pictures", "sizes": SIZES, **options}
    )
    source.load(source.names)
    return source.arrays


def test_views_show_the_digit_in_its_quadrant_of_a_crop(root):
    for split in SPLITS:
        arrays = load(root, split)
        part = polymnist_dq.MNIST_PARTS[split]
        images, classes = digits(part)
        digit, quadrant = (arrays[name].argmax(axis=1) for name in ("digit", "quadrant"))
        np.testing.assert_array_equal(classes[arrays["instance"]], digit[:, None].repeat(3, axis=1))
        pairs = np.bincount(4 * digit + quadrant, minlength=40)
        assert pairs.max() - pairs.min() <= 1
    picture = np.asarray(Image.open(root / "pictures" / "1.png"))
    masks = quadrants.place(images[arrays["instance"][:, 1]] > 128, quadrant, 2)[..., None]
    plain = np.where(masks, 255 - arrays["m01"], arrays["m01"])
    assert plain.shape == (SIZES[2], 64, 64, 3)
    crops = {picture[y : y + 64, x : x + 64].tobytes() for y in range(17) for x in range(3)}
    assert {row.tobytes() for row in plain} <= crops


def test_no_digit_is_in_two_splits(root):
    train, valid = (set(load(root, split)["instance"].ravel()) for split in ("train", "valid"))
    assert not train & valid


def test_holes_are_in_training_rows_alone(root):
    present = load(root, "train", names=NAMES[:-1], holes=True)["present"]
    patterns = {tuple(row) for row in present[:, 1:-1].astype(int).tolist()}
    assert patterns == set(quadrants.HOLES)
    assert present[:, [0, -1]].all()
    assert load(root, "test", names=NAMES[:-1], holes=True)["present"].all()
    assert "present" not in load(root, "train")


def test_an_interruption_costs_one_shard_and_the_bytes_stay(root, monkeypatch):
    whole = polymnist_dq.prepare(root / "pictures", SIZES)
    found = (whole / CHECKSUMS).read_text()
    verify(whole)
    assert hashlib.sha256(found.encode()).hexdigest() == GOLDEN  # made with numpy 2.4
    whole.rename(whole.with_name("other"))
    written, write = [], prepared.write_records

    def interrupted(path, records):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(path.name)
        write(path, records)

    with monkeypatch.context() as patch:
        patch.setattr(prepared, "write_records", interrupted)
        with pytest.raises(KeyboardInterrupt):
            polymnist_dq.prepare(root / "pictures", SIZES)
    again = []
    monkeypatch.setattr(
        prepared, "write_records", lambda path, r: (again.append(path.name), write(path, r))
    )
    assert polymnist_dq.prepare(root / "pictures", SIZES) == whole
    assert written == ["train-00000"]
    assert again == ["train-00001", "valid-00000", "test-00000"]
    assert (whole / CHECKSUMS).read_text() == found


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"split": "dev"}, "split must be one of train, valid, test"),
        ({"names": ("m03",)}, "names must be one of digit, m00"),
        ({"sizes": (1, 1)}, "sizes must be the rows of train, valid and test"),
        ({"sizes": (1, 0, 1)}, "sizes must be the rows of train, valid and test"),
        ({"holes": 1}, "holes must be True or False"),
        ({"holes": True, "names": ("m00", "digit")}, "but m01, m02, quadrant is not learned: add"),
    ],
)
def test_arguments_out_of_range_are_refused(root, options, said):
    with pytest.raises(ValueError, match=said):
        load(root, **{"split": "train", **options})


def test_a_small_background_is_refused(root, tmp_path):
    for m in range(3):
        Image.new("RGB", (64, 90)).save(tmp_path / f"{m}.png")
    with pytest.raises(ValueError, match="must be larger than 64x64 pixels, got 64x90: replace it"):
        polymnist_dq.prepare(tmp_path, SIZES)


def test_a_run_finds_it_with_both_labels(root):
    source = SOURCES["polymnist_dq"](
        split="test", num_rows=5, names=["m00"], seed=0, backgrounds=root / "pictures", sizes=SIZES
    )
    assert source.shapes == {"m00": (64, 64, 3), "digit": (10,), "quadrant": (4,)}
    assert source.entries["quadrant"] == quadrants.ENTRIES["quadrant"]
