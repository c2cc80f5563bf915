"""Generation from files: what is given, what comes out, and what cannot be read."""

import csv
import dataclasses
import json
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sbmae_jax.app import sample_files
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

    def generate(self, given, *, key, num_samples, noise=None):
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
    assert names == pictures | {"sheet.png", "files.json"}
    assert page == out / "sheet.png"
    with Image.open(out / "image_0.png") as image:
        assert image.size == (8, 8)
        assert image.convert("RGB").getpixel((0, 0)) == (178, 178, 178)


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_holds_the_samples_of_the_last_call_and_what_others_put_there(tmp_path):
    out = tmp_path / "out"
    generate_files(Model(), DATA, [], 5, out)
    (out / "notes.txt").write_text("mine")
    (out / "image_7.png").write_text("mine, too")
    generate_files(Model(), DATA, ["attributes=Bangs"], 2, out)
    generate_files(Model(), DATA, ["attributes=Bangs"], 2, tmp_path / "fresh")
    found = files_in(out)
    assert found.pop("notes.txt") == b"mine"
    assert found.pop("image_7.png") == b"mine, too"
    assert found == files_in(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("name", "earlier"),
    [("image_1.png", True), ("image_1.png", False), ("attributes.csv", True), ("sheet.png", False),
     ("files.json", False)],
)  # fmt: skip
def test_a_file_that_somebody_else_wrote_is_not_replaced(tmp_path, name, earlier):
    model = Model()
    if earlier:
        generate_files(Model(), DATA, ["attributes=Bangs"], 1, tmp_path)
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=f"{name} that was not written by an earlier call"):
        generate_files(model, DATA, [], 2, tmp_path)
    assert (tmp_path / name).read_text() == "mine"
    assert not hasattr(model, "given")


def test_after_an_interruption_the_next_call_finds_all_files(tmp_path, monkeypatch):
    generate_files(Model(), DATA, [], 4, tmp_path)
    write, count = sample_files.write_atomically, iter(range(100))

    def stop_at_the_fifth(path, fill):
        if next(count) == 5:
            raise KeyboardInterrupt
        write(path, fill)

    with monkeypatch.context() as patched:
        patched.setattr(sample_files, "write_atomically", stop_at_the_fifth)
        with pytest.raises(KeyboardInterrupt):
            generate_files(Model(), DATA, [], 9, tmp_path)
    generate_files(Model(), DATA, [], 1, tmp_path)
    names = {"image_0.png", "mask_0.png", "attributes.csv", "sheet.png", "files.json"}
    assert set(files_in(tmp_path)) == names


def test_a_list_that_somebody_changed_removes_nothing_elsewhere(tmp_path):
    (tmp_path / "kept.png").write_text("mine")
    out = tmp_path / "out"
    generate_files(Model(), DATA, [], 1, out)
    names = ["../kept.png", str(tmp_path / "kept.png"), "gone.png", 3, "image_0.png"]
    (out / "files.json").write_text(json.dumps({"files": [*names, "mask_0.png", "sheet.png"]}))
    generate_files(Model(), DATA, ["attributes=", f"image={out / 'image_0.png'}"], 1, out)
    assert (tmp_path / "kept.png").read_text() == "mine"


def test_a_name_that_is_too_long_is_refused_before_anything_is_generated(tmp_path):
    model = Model()
    model.modalities = (Modality("n" * 252, (3,), "bernoulli", "", 2, 1.0), IMAGE)
    with pytest.raises(ValueError, match="no name that a file can have"):
        generate_files(model, DATA, [], 2, tmp_path)
    assert not hasattr(model, "given")


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_all_channels_of_an_image_are_written_and_can_be_given(depth, dtype, tmp_path):
    shape = (8, 12, depth)
    shift, scale = (0.0, 255.0) if dtype == "uint8" else (-1.0, 4.0)
    scaling = Scaling("image", shape, dtype, np.array(shift), np.array(scale))
    modality = Modality("x", scaling.shape, "gaussian", "", 2, 1.0)
    town = OWN_MODALITIES[list(OWN).index("town")]
    scalings = {"x": scaling, "town": OWN["town"]}
    data = Description(
        {n: s.shape for n, s in scalings.items()}, dict.fromkeys(scalings, np.dtype("f4")), {}, scalings
    )  # fmt: skip
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    image = (shift + pixels / 255 * scale).astype(dtype)

    class Drawing(Model):
        modalities = (modality, town)

        def generate(self, given, *, num_samples, **options):
            self.given = given
            return samples_of({"x": image, "town": np.array("Oslo")}, given, num_samples)

    model = Drawing()
    generate_files(model, data, [], 2, tmp_path)
    if depth == 5:
        assert not list(tmp_path.glob("x_*.png"))
        samples = np.load(tmp_path / "x.npy")
        assert samples.dtype == dtype
        np.testing.assert_array_equal(samples, np.stack([image, image]))
        np.save(tmp_path / "one.npy", samples[0])
        file = tmp_path / "one.npy"
    else:
        file = tmp_path / "x_1.png"
        with Image.open(file) as written:
            assert written.mode == {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[depth]
            np.testing.assert_array_equal(np.asarray(written).reshape(shape), pixels)
    generate_files(model, data, [f"x={file}"], 1, tmp_path / "again")
    np.testing.assert_allclose(model.given["x"], image[None], rtol=1e-12, atol=1e-12)
    assert model.given["x"].dtype == dtype
    assert not list((tmp_path / "again").glob("x*"))


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

    def generate(self, given, *, key, num_samples, noise=None):
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
    assert model.noise is None  # which draws data of one's own
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


def test_accented_names_are_the_same_however_they_are_written():
    split, joined = (unicodedata.normalize(form, "Größe") for form in ("NFD", "NFC"))
    modality = OWN_MODALITIES[0]
    own = OWN_DATA._replace(scalings={joined: OWN_DATA.scalings[modality.name]})
    reference = read_given([f"{joined}=51"], [dataclasses.replace(modality, name=joined)], own)
    read = read_given([f"{split}=51"], [dataclasses.replace(modality, name=joined)], own)
    assert list(read) == [joined]
    np.testing.assert_array_equal(read[joined], reference[joined])
    names = [split if name == "Bald" else name for name in DATA.entries["attributes"]]
    accented = DATA._replace(entries={"attributes": tuple(names)})
    for word in (split, joined):
        made = read_given([f"attributes={word}"], MODALITIES, accented)["attributes"]
        assert [name for name, has in zip(names, made, strict=True) if has] == [split]
