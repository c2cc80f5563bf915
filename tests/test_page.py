"""The page of `sbmae app` without a browser: inputs as arrays, links, refusals, and what is compiled."""

import asyncio
import io
import json
import zlib

import gradio as gr
import numpy as np
import pytest
from golden_model import FOLDER
from gradio.processing_utils import async_move_files_to_cache
from PIL import Image

from sbmae_jax import load
from sbmae_jax.app.page import inputs, player
from sbmae_jax.app.page.inputs import as_png, controls_of
from sbmae_jax.app.page.page import fetch_nothing, make_page
from sbmae_jax.app.page.player import Dials, Moves, Player
from sbmae_jax.app.page.show import moves_html, results_html
from sbmae_jax.app.page.state import MAX_QUERY, State, as_query, from_query
from sbmae_jax.data.kinds.date import fit_dates, format_of
from sbmae_jax.data.kinds.text import fit_text
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.models.autoencoder import Modality

NUM = 6
DATES = np.array(["2024-01-01", "2024-03-05"])
ONE = np.ones(1)
SCALINGS = {
    "photo": Scaling("image", (6, 8, 3), "float64", np.array(-1.0), np.array(2.0)),
    "grey": Scaling("image", (7, 8), "uint8", scale=np.array(255.0)),
    "mask": Scaling("mask", (4, 4), "bool"),
    "parts": Scaling("segmentation", (4, 6), "int64", classes=(0, 3, 7, 9, 11)),
    "lab": Scaling("vector", (3,), "float64", np.zeros(3), np.ones(3), constant=np.zeros(3, bool)),
    "genes": Scaling("counts", (9,), "int64", np.zeros(9), np.ones(9), constant=np.zeros(9, bool)),
    "rna": Scaling("vector", (70,), "float32", np.zeros(70), np.ones(70), constant=np.zeros(70, bool)),
    "heart": Scaling("signal", (12,), "float32", np.zeros(1), ONE, constant=np.zeros(1, bool)),
    "two": Scaling("signal", (5, 2), "float32", np.zeros(2), np.ones(2), constant=np.zeros(2, bool)),
    "flags": Scaling("binary", (2,), "bool", np.zeros(2), np.ones(2), constant=np.zeros(2, bool)),
    "town": Scaling("category", (), "str", classes=("<b>Oslo</b>", "Bonn")),
    "size": Scaling("category", (), "float64", classes=(1.0, 2.5)),
    "answer": Scaling("ordinal", (), "int64", classes=(1, 2, 3, 4, 5)),
    "answers": Scaling("ordinal", (2,), "int64", classes=(1, 2, 3)),
    "hour": Scaling("angle", (), "float64", details={"period": 24.0, "start": 0.0}),
    "soil": Scaling("composition", (3,), "float64", np.zeros(3), np.ones(3), constant=np.zeros(3, bool),
                    details={"total": 100.0}),
    "note": Scaling("text", (), "str", details=fit_text(["a red fox", "a dog"])),
    "day": Scaling("date", (), "str", **fit_dates(DATES, format_of(DATES))),
}  # fmt: skip
PLAIN = {
    "picture": ((4, 4, 3), "gaussian"),
    "bands": ((4, 4, 6), "gaussian"),
    "traits": ((2,), "bernoulli"),
}
ENTRIES = {"flags": ("old", "new"), "lab": ("hb", "crp", "age"), "traits": ("smiling", "hat")}


class ModelOfAllKinds:
    scalings = tuple(SCALINGS.items())
    modalities = tuple(
        Modality(name, scaling.shape, scaling.value_kind.likelihood, "net", 2, 0.1)
        for name, scaling in SCALINGS.items()
    ) + tuple(Modality(name, *about, "net", 2, 0.1) for name, about in PLAIN.items())


def pool_of(modality):
    """Return what a model could draw of a modality."""
    rng = np.random.default_rng(3)
    x = rng.uniform(size=(NUM, *modality.shape)).astype(np.float32)
    scaling = SCALINGS.get(modality.name)
    if scaling is None:
        return np.round(x) if modality.likelihood == "bernoulli" else x
    if scaling.kind == "text":
        return scaling.restore(scaling.prepare(np.array(["a red fox"] * NUM)))
    return scaling.restore(x)


POOL = {modality.name: pool_of(modality) for modality in ModelOfAllKinds.modalities}
CONTROLS = {c.name: c for c in controls_of(ModelOfAllKinds(), ENTRIES, POOL)}


@pytest.mark.parametrize("name", CONTROLS)
def test_a_value_is_json_and_stands_for_the_example_it_shows(name):
    control, example = CONTROLS[name], POOL[name][1]
    value = control.show(example)
    assert json.loads(json.dumps(value)) == value
    read = control.read(value)
    assert np.shape(read) == np.shape(example)
    if control.widget == "picture":  # 8 bits, and bytes stay bytes
        np.testing.assert_array_equal(control.pixels(read), control.pixels(example))
    elif np.asarray(example).dtype.kind == "f":
        np.testing.assert_allclose(read, example, rtol=1e-5, atol=2e-3)
    else:
        np.testing.assert_array_equal(read, example)
    if control.scaling is not None:  # it is what the networks can see
        control.scaling.prepare(np.asarray(read)[None])
    control.read(control.first)


def test_each_kind_has_its_own_input():
    widgets = {name: control.widget for name, control in CONTROLS.items()}
    assert widgets == {
        "photo": "picture", "grey": "picture", "mask": "picture", "parts": "picture", "lab": "numbers",
        "genes": "numbers", "rna": "file", "heart": "curve", "two": "curve", "flags": "checks",
        "town": "choice", "size": "choice", "answer": "choice", "answers": "numbers",
        "hour": "numbers", "soil": "numbers", "note": "text", "day": "text", "picture": "picture",
        "bands": "file", "traits": "checks",
    }  # fmt: skip


def test_values_become_what_the_kind_can_have():
    assert CONTROLS["size"].names == ("1", "2.5")
    assert CONTROLS["genes"].read([1.4] * 9).tolist() == [1] * 9
    assert CONTROLS["answers"].read([2.4, 9]).tolist() == [2, 3]
    assert CONTROLS["soil"].read([1, 1, 2]).tolist() == [25, 25, 50]
    assert CONTROLS["traits"].read(["hat"]).tolist() == [0, 1]
    assert CONTROLS["lab"].names == ("hb", "crp", "age")
    assert inputs.hint_of(CONTROLS["day"]) == "such as 2024-12-31"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("photo", None, "draw or upload a picture"),
        ("photo", "file:///etc/passwd", "draw or upload a picture"),
        ("photo", "data:image/png;base64,AAAA", "damaged"),
        ("photo", as_png(np.zeros((3, 3, 3), np.uint8)), "8 x 6 pixels"),
        ("lab", ["1", "x", "2"], "a number in every cell"),
        ("lab", [1, 2], "3 numbers, got 2"),
        ("lab", [1, 2, float("inf")], "3 numbers"),
        ("lab", None, "not a value"),
        ("heart", [[0.5] * 3], "12 values"),
        ("heart", "up", "not a value"),
        ("town", "Paris", "one of the options"),
        ("flags", ["no"], "no entry is called 'no'"),
        ("note", " ", "write something"),
        ("note", "x" * 3000, "at most 2,000 characters"),
        ("note", 3, "write something"),
    ],
)
def test_other_values_are_refused_by_name(name, value, message):
    with pytest.raises(ValueError, match=f"{name}: .*{message}"):
        CONTROLS[name].read(value)


def save(path, image=None, array=None, data=None):
    """Write an upload, and return its path."""
    if image is not None:
        image.save(path)
    elif array is not None:
        np.save(path, array)
    else:
        path.write_bytes(data)
    return str(path)


def test_uploads_become_values(tmp_path):
    red = Image.new("RGB", (40, 30), "red")
    photo = CONTROLS["photo"]
    read = photo.read(photo.read_file(save(tmp_path / "a.jpg", red)))
    np.testing.assert_allclose(read[0, 0], [1, -1, -1], atol=0.02)
    lab = CONTROLS["lab"].read_file(save(tmp_path / "a.npy", array=np.array([1, 2, 3.5])))
    assert lab == [1, 2, 3.5]
    wave = CONTROLS["heart"]
    read = wave.read(wave.read_file(save(tmp_path / "b.npy", array=POOL["heart"][2])))
    np.testing.assert_allclose(read, POOL["heart"][2], atol=1e-3)
    bands = CONTROLS["bands"].read_file(save(tmp_path / "c.npy", array=POOL["bands"][0]))
    np.testing.assert_allclose(CONTROLS["bands"].read(bands), POOL["bands"][0], rtol=1e-5)


def huge_png():
    """Return a small file that says it has many pixels."""
    file = io.BytesIO()
    Image.new("1", (1, 1)).save(file, "PNG")
    raw = bytearray(file.getvalue())
    raw[16:24] = (20_000).to_bytes(4, "big") * 2
    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    return bytes(raw)


def lying_npy():
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue().replace(b"(3,), }", b"(3000000000,), }")


@pytest.mark.parametrize(
    ("name", "file", "data", "message"),
    [
        ("photo", "a.txt", b"hello", "a.txt is not one of .png"),
        ("photo", "a.png", b"rubbish", "not an image, or is damaged"),
        ("photo", "a.png", b"", "not an image, or is damaged"),
        ("photo", "a.png", huge_png(), "too many pixels"),
        ("photo", "a.png", b"x" * (8 * 2**20 + 1), "larger than 8 MB"),
        ("lab", "a.npy", b"rubbish", "no .npy file"),
        ("lab", "a.npy", lying_npy(), "no .npy file"),
        ("bands", "a.npy", None, r"must be numbers of shape \(4, 4, 6\)"),
        ("lab", "a.npy", None, r"must be numbers of shape \(3,\)"),
        ("town", "a.npy", None, "is not one of"),
    ],
)
def test_other_uploads_are_refused_in_a_sentence(tmp_path, name, file, data, message):
    path = save(tmp_path / file, array=np.zeros((5, 5)) if data is None else None, data=data)
    with pytest.raises(ValueError, match=f"^{name}: .*{message}") as refusal:
        CONTROLS[name].read_file(path)
    assert str(tmp_path) not in str(refusal.value)


# ---------------------------------------------------------------- links


def test_a_link_restores_the_state():
    given = {name: CONTROLS[name].show(POOL[name][2]) for name in ("photo", "lab", "town", "heart")}
    dials = Dials(num_samples=3, seed=2**32 - 1, temperature=0.35, classifier_free=2.5, guidance=1)
    state = State(given=given, dials=dials)
    assert from_query(as_query(state), tuple(CONTROLS), Dials()) == state
    assert set(state.examples(tuple(CONTROLS.values()))) == set(given)
    assert from_query("", (), dials) == State(dials=dials)
    assert from_query("?utm=3&__theme=dark", (), dials) == State(dials=dials)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?given.cat=1", "a model with cat"),
        ("?given.lab=[1", "damaged at given.lab"),
        ("?samples=99", "the number of samples must be"),
        ("?seed=-1", "the seed must be"),
        ("?temperature=nan", "the temperature must be"),
        ("?samples=many", "invalid literal"),
        ("?x=" + "1" * MAX_QUERY, "too long"),
        ("?given.lab=" + "[" * 5000, "damaged"),
    ],
)
def test_other_links_are_refused(query, message):
    with pytest.raises(ValueError, match=message):
        from_query(query, ("lab",), Dials())


def test_a_link_holds_only_so_much():
    with pytest.raises(ValueError, match="too large for a link"):
        as_query(State(given={"photo": "x" * MAX_QUERY}))


# ---------------------------------------------------------------- what is shown


def test_samples_of_every_kind_are_shown_and_words_are_escaped():
    made = {name: samples[:2] for name, samples in POOL.items()} | {"merged": np.ones((2, 8))}
    page = results_html(tuple(CONTROLS.values()), made, ("lab",))
    assert page.count("<section") == len(made)
    assert page.count("<figure>") == 2 * len(made) - 1  # what is given is shown once
    assert "<b>Oslo" not in page
    moves = moves_html(Moves(("lab",), ("town", "note"), np.array([[0.2, 0.755]])))
    assert "<b>lab</b> moves <b>note</b> most" in moves
    assert "76%" in moves


# ---------------------------------------------------------------- what is drawn


@pytest.fixture(scope="module")
def golden():
    return Player(load(FOLDER))


def test_settings_compile_nothing_and_what_is_given_is_unchanged(golden):
    before = player._draw._cache_size()
    assert golden.first_dials().temperature == pytest.approx(0.9)
    assert golden.needs_compiling(Dials(num_samples=4))
    drawn = golden.generate({}, Dials(num_samples=4))
    assert {name: len(x) for name, x in drawn.items()} == {"lab/é": 4, "photo": 4, "town": 4}
    assert not golden.needs_compiling(Dials(num_samples=3, temperature=0.5))
    given = {"town": np.array("Oslo"), "lab/é": np.array([1.5, 0.1, -3.7])}
    cold = golden.generate(given, Dials(num_samples=3, seed=5, temperature=0.0))
    warm = golden.generate(given, Dials(num_samples=3, seed=5))
    assert player._draw._cache_size() == before + 1
    assert golden.needs_compiling(Dials(num_samples=4, guidance=2.0))
    assert cold["town"].tolist() == ["Oslo"] * 3
    np.testing.assert_array_equal(cold["lab/é"], [given["lab/é"]] * 3)
    assert (cold["photo"] != warm["photo"]).any()


@pytest.mark.slow
def test_moves_compare_with_samples_from_nothing(golden):
    drawn = golden.generate({}, Dials())
    given = {"town": drawn["town"][0], "lab/é": np.array([1.5, 0.1, -3.7])}
    found = golden.moves(given, Dials(num_samples=3))
    assert (found.given, found.made) == (("town", "lab/é"), ("photo",))
    assert found.shares.shape == (2, 1)
    assert (found.shares > 0).all()
    for wrong in ({}, {name: samples[0] for name, samples in drawn.items()}):
        with pytest.raises(ValueError, match="give at least one modality"):
            golden.moves(wrong, Dials())


@pytest.mark.parametrize("url", ["http://example.com/a.png", "https://127.0.0.1:1/a.png"])
def test_an_address_in_the_place_of_a_file_is_not_fetched(monkeypatch, url):
    fetched = []

    async def fetch(url, **_):
        fetched.append(url)

    monkeypatch.setattr("gradio.processing_utils.async_ssrf_protected_download", fetch)
    block = gr.UploadButton()
    fetch_nothing(block)
    file = {"path": url, "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(gr.Error, match="an address is not fetched: upload a file"):
        asyncio.run(async_move_files_to_cache([file], block, check_in_upload_folder=True))
    assert not fetched


def test_every_component_of_a_page_refuses_addresses(golden, monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))

    async def check():  # with a loop of its own, for which Gradio would make one that stays open
        page = make_page(golden.model, {}, "golden", str(tmp_path))
        assert len(page.blocks) > 20
        for block in page.blocks.values():
            with pytest.raises(gr.Error, match="an address is not fetched: upload a file"):
                await block.async_move_resource_to_block_cache("http://example.com/a.png")

    asyncio.run(check())


def test_values_in_other_units_are_noticed():
    photo = CONTROLS["photo"]
    assert photo.notice(photo.read(photo.first)) == ""
    assert "standard deviations from the training mean" in CONTROLS["lab"].notice(np.full(3, 1e4))
