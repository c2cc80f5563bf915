"""Generation from files: what is given, what comes out, and what cannot be read."""

import csv
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sbmae_jax.app.request import generate_files, read_given
from sbmae_jax.data.description import Description, load, save
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.models.autoencoder import Modality

WORDS = ("Bald", "Bangs", "Smiling")
IMAGE = Modality("image", (8, 8, 3), "gaussian", "", 2, 1.0)
MASK = Modality("mask", (8, 8, 1), "gaussian", "", 2, 1.0)
ATTRIBUTES = Modality("attributes", (3,), "bernoulli", "", 2, 1.0)
MODALITIES = (ATTRIBUTES, IMAGE, MASK)
SHAPES = {m.name: m.shape for m in MODALITIES}
DATA = Description(SHAPES, dict.fromkeys(SHAPES, np.dtype(np.uint8)), {"attributes": WORDS})


def samples_of(values, given, num_samples):
    """Return {name: [B, S, ...]}, or [S, ...] from nothing, as `Model.generate` does."""
    shape = (*(len(x) for x in list(given.values())[:1]), num_samples)
    return {
        name: np.broadcast_to(
            given[name][:, None] if name in given else value,
            (*shape, *np.shape(given[name][0] if name in given else value)),
        )
        for name, value in values.items()
    }


class Model:
    """Remembers what it was asked, and returns grey."""

    modalities = MODALITIES

    def generate(self, given, *, key, num_samples, noise):
        self.given, self.num_samples, self.noise = given, num_samples, noise
        return samples_of({m.name: np.full(m.shape, 0.7) for m in MODALITIES}, given, num_samples)


def test_attributes_are_named_and_all_others_absent():
    read = read_given(["attributes=Smiling, Bald"], MODALITIES, DATA)
    np.testing.assert_array_equal(read["attributes"], [1, 0, 1])
    empty = read_given(["attributes="], MODALITIES, DATA)
    np.testing.assert_array_equal(empty["attributes"], [0, 0, 0])


@pytest.mark.parametrize("size", [(8, 8), (40, 24), (5, 9)])
def test_pictures_are_cut_and_resized(size, tmp_path):
    Image.new("RGB", size, (10, 20, 30)).save(tmp_path / "face.png")
    read = read_given([f"image={tmp_path / 'face.png'}"], MODALITIES, DATA)["image"]
    assert read.shape == (8, 8, 3)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, np.broadcast_to([10, 20, 30], (8, 8, 3)))


def test_a_mask_is_read_as_grey(tmp_path):
    Image.new("RGB", (8, 8), (255, 255, 255)).save(tmp_path / "mask.png")
    read = read_given([f"mask={tmp_path / 'mask.png'}"], MODALITIES, DATA)["mask"]
    assert read.shape == (8, 8, 1)
    assert (read == 255).all()


def test_what_is_not_given_is_written(tmp_path):
    model, out = Model(), tmp_path / "out"
    page = generate_files(model, DATA, ["attributes=Bangs"], 4, out)
    assert model.given["attributes"].shape == (1, 3)
    assert model.num_samples == 4
    names = {path.name for path in out.iterdir()}
    pictures = {f"{name}_{i}.png" for name in ("image", "mask") for i in range(4)}
    assert names == pictures | {"sheet.png"}
    assert page == out / "sheet.png"
    with Image.open(out / "image_0.png") as image:
        assert image.size == (8, 8)
        assert image.convert("RGB").getpixel((0, 0)) == (178, 178, 178)


def test_vectors_are_written_as_a_table(tmp_path):
    model = Model()
    generate_files(model, DATA, [], 2, tmp_path)
    assert model.num_samples == 2
    rows = list(csv.reader((tmp_path / "attributes.csv").read_text().splitlines()))
    assert rows[0] == ["sample", *WORDS]
    assert rows[1] == ["0", "0.7000", "0.7000", "0.7000"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["sound=a.wav"], "NAME is one of attributes, image, mask"),
        (["image"], "write NAME=VALUE"),
        (["attributes=Beard"], "unknown name 'Beard'; choose from Bald, Bangs, Smiling"),
        (["image=none.png"], "image: no such file: none.png"),
        (["attributes=Bald", "attributes=Bangs"], "attributes: give each modality once"),
    ],
)
def test_what_cannot_be_read_is_named(given, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        generate_files(Model(), DATA, given, 1, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_picture_is_named(tmp_path):
    (tmp_path / "face.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"face.png is not an image, or is damaged"):
        read_given([f"image={tmp_path / 'face.png'}"], MODALITIES, DATA)


def test_no_samples_are_refused(tmp_path):
    with pytest.raises(ValueError, match="num_samples must be at least 1"):
        generate_files(Model(), DATA, [], 0, tmp_path)


OWN = {
    "age": Scaling("vector", (), "float64", np.array([40.0]), np.array([9.0])),
    "blood": Scaling("counts", (2,), "int64"),
    "grey": Scaling("image", (8, 8), "float32", np.array(-1.0), np.array(4.0)),
    "mask": Scaling("mask", (8, 8), "bool"),
    "town": Scaling("category", (), "str", classes=("Bonn", "Oslo")),
    "ward": Scaling("category", (), "int64", classes=(3, 5)),
}
OWN_MODALITIES = tuple(Modality(n, s.shape, "gaussian", "", 2, 1.0) for n, s in OWN.items())
OWN_DATA = Description(
    {n: s.shape for n, s in OWN.items()}, {n: s.prepared_dtype for n, s in OWN.items()},
    {"blood": ("red", "white")}, OWN,
)  # fmt: skip


class OwnModel:
    """Returns the same in the user's units for each modality."""

    modalities = OWN_MODALITIES

    def generate(self, given, *, key, num_samples, noise):
        self.given, self.noise = given, noise
        made = {
            "age": 41.5, "blood": np.array([2.0, 30.0]), "grey": np.full((8, 8), 1.0),
            "mask": np.full((8, 8), 0.75), "town": np.array("Oslo"), "ward": np.array(5),
        }  # fmt: skip
        return samples_of(made, given, num_samples)


def test_values_of_own_data_are_given_in_their_units(tmp_path):
    Image.new("L", (8, 8), 255).save(tmp_path / "white.png")
    np.save(tmp_path / "blood.npy", np.array([7, 8]))
    white = tmp_path / "white.png"
    words = [
        "age=51",
        f"blood={tmp_path / 'blood.npy'}",
        f"grey={white}",
        f"mask={white}",
        "town=Oslo",
        "ward=5",
    ]
    read = read_given(words, OWN_MODALITIES, OWN_DATA)
    assert read["age"] == 51
    assert read["age"].shape == ()
    np.testing.assert_array_equal(read["blood"], [7, 8])
    np.testing.assert_array_equal(read["grey"], np.full((8, 8), 3.0))
    np.testing.assert_array_equal(read["mask"], np.ones((8, 8)))
    assert read["town"] == "Oslo"
    assert read["ward"] == 5
    for name, value in read.items():
        OWN[name].prepare(np.stack([value, value]))


def test_own_data_are_written_in_their_units(tmp_path):
    model = OwnModel()
    generate_files(model, OWN_DATA, ["age=51"], 2, tmp_path)
    assert model.noise
    assert model.given["age"].shape == (1,)
    assert (tmp_path / "blood.csv").read_text().split() == ["sample,red,white", "0,2,30", "1,2,30"]
    assert (tmp_path / "town.csv").read_text().split() == ["sample,town", "0,Oslo", "1,Oslo"]
    assert not (tmp_path / "age.csv").exists()
    with Image.open(tmp_path / "grey_1.png") as image:
        assert image.convert("RGB").getpixel((0, 0)) == (128, 128, 128)  # halfway from -1 to 3
    with Image.open(tmp_path / "mask_0.png") as image:
        assert image.convert("L").getpixel((0, 0)) == 191


@pytest.mark.parametrize("given", ["town=Oslo", "ward=5", "age=51", "blood=7,8"])
def test_every_kind_can_be_what_is_given(given, tmp_path):
    model, name = OwnModel(), given.split("=")[0]
    generate_files(model, OWN_DATA, [given], 3, tmp_path)
    assert model.given[name].shape == (1, *OWN[name].raw_shape)
    OWN[name].prepare(model.given[name])
    assert not list(tmp_path.glob(f"{name}*"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("town=Rome", "--given town: unknown class 'Rome'; choose from Bonn, Oslo"),
        ("blood=1,2,3", r"--given blood: must be numbers of shape \(2,\), got \(3,\)"),
        ("blood=high", "--given blood: cannot read high: write comma-separated numbers"),
        ("blood=none.npy", r"--given blood: cannot read none.npy"),
    ],
)
def test_what_own_data_do_not_have_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        read_given([given], OWN_MODALITIES, OWN_DATA)


def test_a_description_survives_its_file(tmp_path):
    save(tmp_path / "data.json", DATA)
    assert load(tmp_path / "data.json") == DATA
    (tmp_path / "data.json").write_text("{}")
    with pytest.raises(ValueError, match=r"data.json is damaged: delete it"):
        load(tmp_path / "data.json")


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_generated(tmp_path):
    (tmp_path / "out").write_text("a file")
    model = Model()
    for folder in (tmp_path / "out", tmp_path / "out" / "deeper"):
        with pytest.raises(ValueError, match="is no folder that can be written"):
            generate_files(model, DATA, [], 2, folder)
    assert not hasattr(model, "given")


def test_samples_are_kept_where_the_folder_vanishes_meanwhile(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    class Vanishing(Model):
        def generate(self, given, **options):
            (tmp_path / "out").rmdir()
            return super().generate(given, **options)

    with pytest.raises(
        OSError, match=r"out cannot be written \(.*\): the samples are in .*sbmae-"
    ) as raised:
        generate_files(Vanishing(), DATA, [], 2, tmp_path / "out")
    kept = Path(str(raised.value).split()[-1])
    assert (kept / "sheet.png").exists()
    assert (kept / "image_1.png").exists()


def test_home_is_found_in_what_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.new("RGB", (8, 8), (10, 20, 30)).save(tmp_path / "face.png")
    assert read_given(["image=~/face.png"], MODALITIES, DATA)["image"].shape == (8, 8, 3)
