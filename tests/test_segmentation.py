"""Pictures of which each pixel has a class: from files to a report, and back."""

import jax
import numpy as np
import pytest
from PIL import Image
from test_paired_pages import reported
from test_request import samples_of
from test_value_kinds import fitted

import sbmae_jax
from sbmae_jax.app.choices import choose_network, network_section
from sbmae_jax.app.request import generate_files, read_given
from sbmae_jax.data.description import Description
from sbmae_jax.data.user.survey import survey
from sbmae_jax.evaluation.images import COLOURS, colour_classes
from sbmae_jax.metrics.prediction import losses
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.imputation import filled_in
from sbmae_jax.models.likelihoods import LIKELIHOODS
from sbmae_jax.models.rows import Rows
from sbmae_jax.nets.patch import PatchDecoder

RNG = np.random.default_rng(0)
CLASSES = (0, 2, 9, 40)
NUM, HEIGHT, WIDTH = 60, 9, 8


def regions(num, seed=0):
    """Return a place, and classes of pixels: sky above it, and below it ground of one of three classes."""
    rng = np.random.default_rng(seed)
    place, ground = rng.uniform(0.2, 0.8, num), rng.choice(CLASSES[1:], num)
    below = np.arange(HEIGHT)[None, :, None] / HEIGHT > place[:, None, None]
    classes = np.where(np.broadcast_to(below, (num, HEIGHT, WIDTH)), ground[:, None, None], 0)
    return {"ground": ground, "map": classes.astype(np.uint8), "place": place}


RAW = regions(NUM)["map"]


def test_classes_are_one_hot_and_come_back_in_every_layout():
    for raw in (RAW, RAW[..., None], RAW.astype(np.float32)):
        scaling = fitted(raw, "segmentation")
        x = scaling.prepare(raw)
        assert (scaling.classes, scaling.shape) == (CLASSES, (12, WIDTH, 4))
        assert (x.shape, x.dtype) == ((NUM, 12, WIDTH, 4), np.uint8)
        assert (x.sum(axis=-1, dtype=int) == 255).all()
        back = scaling.restore(x)
        assert (back.shape, back.dtype) == (raw.shape, raw.dtype)
        np.testing.assert_array_equal(back, raw)
    made = scaling.restore(RNG.normal(size=(2, 5, 12, WIDTH, 4)))
    assert made.shape == (2, 5, HEIGHT, WIDTH)
    assert set(np.unique(made)) == set(CLASSES)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.where(RAW == 9, 7, RAW), "unknown class 7 in row .: choose from 0, 2, 9, 40"),
        (np.where(RAW == 9, 9.5, RAW), "unknown class 9.5 in row"),
        (RAW[:, :4], r"examples must have shape \(9, 8\), got \(4, 8\)"),
    ],
)
def test_other_classes_are_refused(raw, message):
    with pytest.raises(ValueError, match=message):
        fitted(RAW, "segmentation").prepare(raw)


def test_too_many_classes_are_refused():
    with pytest.raises(
        ValueError, match="x cannot be of the kind segmentation: it has more than 64"
    ):
        fitted(np.arange(NUM * 72).reshape(RAW.shape), "segmentation")


def test_a_draw_is_the_most_probable_class_of_each_pixel():
    y = jax.random.normal(jax.random.key(0), (2, 3, 3, 4))
    likelihood = LIKELIHOODS["pixel_classes"]
    drawn = np.asarray(likelihood.draw(jax.random.key(1), y, None))
    np.testing.assert_array_equal(drawn.argmax(axis=-1), y.argmax(axis=-1))
    assert (drawn.sum(axis=-1) == 1).all()
    nll = likelihood.nll(drawn, y, None).sum(axis=-1)
    np.testing.assert_allclose(nll, -np.log(likelihood.mean(y).max(axis=-1)), rtol=1e-5)


def test_the_networks_of_classes_return_logits(tmp_path):
    np.savez(tmp_path / "d.npz", **regions(200))
    found = survey(tmp_path / "d.npz")
    one = next(m for m in found.modalities if m.name == "map")
    assert (one.kind, one.likelihood, one.classes) == ("segmentation", "pixel_classes", CLASSES)
    assert "map is taken for segmentation: if these are grey levels, set" in str(found)
    assert "4 classes: 0, 2, 9, 40" in str(found)
    name = choose_network(one)[0]
    assert network_section(name)[name]["decoder"]["logits"]
    decoder, z = (
        PatchDecoder(shape=(4, 4, 2), patch=2, channels=4, width=4, logits=True),
        50 * np.eye(3),
    )
    made, _ = decoder.init_with_output(jax.random.key(0), z)
    assert np.abs(made).max() > 1


def test_overlap_by_hand():
    truth = np.eye(3)[[[0, 0, 1, 1], [2, 2, 2, 2]]].reshape(2, -1)
    guess = np.eye(3)[[[0, 1, 1, 1], [2, 2, 2, 2]]].reshape(2, -1)
    found = losses("segmentation", truth, 0.8 * guess + 0.1)  # of a probability of .9 and twice .1
    np.testing.assert_allclose(found["accuracy"], [0.75, 1])
    np.testing.assert_allclose(found["iou"], [(1 / 2 + 2 / 3) / 2, 1])
    np.testing.assert_allclose(found["log_loss"], [-np.log(0.9**3 * 0.1) / 4, -np.log(0.9)])
    with pytest.raises(ValueError, match="must be one-hot for each pixel"):
        losses("segmentation", np.ones((1, 4)) / 3, np.ones((1, 4)))


class Regions:
    """Knows the map of a place and a ground exactly; what is not observed is drawn as in training."""

    names = ("map", "place")
    scaling = fitted(RAW, "segmentation")

    def rows(self, num, seed):
        found = regions(num, seed)
        place = np.stack([found["place"], found["ground"] / 10], axis=1)
        return {"map": self.scaling.prepare(found["map"]), "place": place.astype(np.float32)}

    def complete(self, key, batch, observed):
        del key, observed
        return {"map": np.asarray(batch["map"]) / 255, "place": np.asarray(batch["place"])}

    draw = complete


def test_the_report_shows_overlap_and_colours(tmp_path):
    model = Regions()
    headlines, sections, samples, results = reported(
        model, model.rows(40, 1), model.rows(100, 2),
        {"map": "pixel_classes", "place": "normal"}, tmp_path,
        classes={"map": CLASSES},
    )  # fmt: skip
    assert headlines["map, given all others"].value.startswith("100.0 %")
    assert "intersection over union" in headlines["map, given all others"].remark
    section = sections["Classes of pixels, given all others"]
    assert [row[1] for row in section.table[1:]] == [
        "this model", "linear", "nearest neighbours", "most frequent class of each pixel",
    ]  # fmt: skip
    assert "map: 0 black, 2 blue, 9 orange, 40 green" in section.remark
    assert results["prediction"]["map"]["marginal"]["iou"]["mean"] < 0.5
    assert results["prediction"]["map"]["neighbours"]["iou"]["mean"] > 0.8
    shown = {tuple(pixel) for pixel in samples["real/map"].reshape(-1, 3).tolist()}
    assert shown == set(list(COLOURS.values())[:4])
    assert {len(row) for row in section.table} == {4}
    assert results["calibration"]["map"]["reliability"]["share"] == [1.0]


def test_classes_are_written_as_an_image_with_a_palette_and_read_again(tmp_path):
    scaling = fitted(RAW, "segmentation")
    modality = Modality("map", scaling.shape, "pixel_classes", "", 2, 1.0)
    data = Description({"map": scaling.shape}, {"map": np.dtype(np.uint8)}, {}, {"map": scaling})

    class Model:
        modalities = (modality,)

        def generate(self, given, *, key, num_samples):
            return samples_of({"map": RAW[0]}, given, num_samples)

    generate_files(Model(), data, [], 2, tmp_path)
    with Image.open(tmp_path / "map_1.png") as image:
        np.testing.assert_array_equal(np.asarray(image), RAW[0])
        wanted = colour_classes(scaling.prepare(RAW[:1])[0, :HEIGHT, :WIDTH])
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), wanted)
        image.resize((3 * WIDTH, 3 * HEIGHT), Image.Resampling.NEAREST).save(tmp_path / "large.png")
        image.convert("RGB").save(tmp_path / "colours.png")
    Image.fromarray(np.full((HEIGHT, WIDTH), 3, np.uint8)).save(tmp_path / "three.png")
    for name in ("map_1", "large"):
        read = read_given([f"map={tmp_path / name}.png"], (modality,), data)["map"]
        np.testing.assert_array_equal(read, RAW[0])
    for name, message in {
        "three": "three.png: unknown class 3 in row 0: choose from 0, 2",
        "colours": "has pixels of type RGB, and the values of its pixels must be classes",
        "absent": "--given map: no such file",
    }.items():
        with pytest.raises(ValueError, match=message):
            read_given([f"map={tmp_path / name}.png"], (modality,), data)


def test_a_hole_holds_the_most_frequent_class_of_each_pixel():
    scaling, raw = fitted(RAW, "segmentation"), RAW[:3].astype(float)
    raw[1] = np.nan
    seen = np.array([[True], [False], [True]])
    rows = Rows(
        raw={"x": raw}, observed=seen, partial=~seen & False, scalings={"x": scaling}, notices=()
    )
    samples = np.stack([RAW[4], RAW[5], RAW[4]])[None]
    found = filled_in("x", rows, samples)
    assert found.keys() == {"x", "x_rows", "x_samples"}
    assert found["x"].dtype == np.uint8
    np.testing.assert_array_equal(found["x"], RAW[[0, 4, 2]])


@pytest.mark.slow
def test_a_model_draws_saves_and_fills_classes_of_pixels(tmp_path):
    model = sbmae_jax.fit(
        regions(200), workdir=tmp_path / "run", evaluate=True, quiet=True, num_steps=20,
        config={"evaluation.num_unconditional": 20, "sampling.num_levels": 4},
    )  # fmt: skip
    test = regions(20, seed=5)
    given = {"place": test["place"], "ground": test["ground"]}
    made = model.generate(given)["map"]
    assert (made.shape, made.dtype) == (test["map"].shape, np.uint8)
    assert set(np.unique(model.generate({}, num_samples=20)["map"])) <= set(CLASSES)
    model.save(tmp_path / "model")
    again = sbmae_jax.load(tmp_path / "model").generate(given)
    np.testing.assert_array_equal(again["map"], made)
    holes = {**test, "map": np.where(np.arange(20)[:, None, None] < 9, np.nan, test["map"])}
    filled = model.impute(holes, num_samples=3).filled["map"]
    assert filled.dtype == np.uint8
    np.testing.assert_array_equal(filled[9:], test["map"][9:])
    assert set(np.unique(filled)) <= set(CLASSES)
    assert "Classes of pixels" in (tmp_path / "run/report/index.html").read_text()
