"""The page of `sbmae app` in a real browser, Chromium without a window."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sbmae_jax.app import pipeline
from sbmae_jax.app.run import Run, load_evaluators
from sbmae_jax.configs import polydigits

pytestmark = pytest.mark.slow

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
NAMES = ("chelsea", "coffee", "hubble", "retina", "rocket")
TURNS = np.linspace(0, 2 * np.pi, 24)
ZERO = tuple(zip(0.5 + 0.2 * np.sin(TURNS), 0.5 - 0.34 * np.cos(TURNS), strict=True))
"""A stroke, in shares of the picture."""
PATIENCE = 60_000  # milliseconds, on a busy machine


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Serve the installed model as a user does, and return where."""
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    log = tmp_path_factory.mktemp("app") / "log"
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "-c", "import sbmae_jax._command as c; c.main()", "app"],
            env=environment, stdout=file, stderr=subprocess.STDOUT, cwd=log.parent,
        )  # fmt: skip
    try:
        end = time.monotonic() + 300
        while "the page is at" not in log.read_text():
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.5)
        yield log.read_text().split("the page is at ")[1].split(" ")[0]
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip(
            "no Chromium on this machine: apt install chromium, and the page is tested in it"
        )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, address):
    """Open the page as another visitor; what it asks of other machines fails the test."""
    asked, contexts = [], []

    def open_page(query="", **options):
        contexts.append(browser.new_context(accept_downloads=True, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address + query)
        page.wait_for_selector("#results img")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def draw(page, name, stroke):
    box = page.locator(f"#card-{name} canvas").bounding_box()
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=3)
    page.mouse.up()


def after(page, act):
    """Do something, and return the results that follow."""
    before = page.locator(".sb-results").inner_html()
    act()
    page.wait_for_function(
        "before => { const now = document.querySelector('.sb-results').innerHTML;"
        " return now !== before && now.includes('<img'); }",
        arg=before,
    )
    return page.locator(".sb-results").inner_html()


def press(page, name):
    return lambda: page.get_by_role("button", name=name, exact=True).click()


def downloaded(page, folder):
    with page.expect_download() as download:
        page.locator("#download").click()
    file = Path(folder) / "samples.npz"
    download.value.save_as(file)
    with np.load(file) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def classify(tmp_path_factory):
    """Return the classifier of the run that made the model, trained for a shorter time."""
    config = polydigits.get_config("small")
    config.num_train = 5000
    config.classifier_training.update(num_steps=200, batch_size=128, checkpoint_every=200)
    workdir = tmp_path_factory.mktemp("run")
    pipeline.run(config, workdir, "evaluators", quiet=True)
    run = Run(config, workdir)
    params = load_evaluators(run)["classifier"]
    test = run.data.test
    apply = run.parts.protocol.classifier.apply
    read = np.asarray(apply(params, test.arrays["hubble"][:500])[0]).argmax(axis=-1)
    assert (read == test.arrays["label"][:500]).mean() > 0.9
    return lambda images: np.asarray(apply(params, images)[0]).argmax(axis=-1)


def test_a_drawn_digit_is_generated_in_the_other_modalities(visit, classify, tmp_path):
    page = visit("?samples=16")
    draw(page, "hubble", ZERO)
    shown = after(page, press(page, "Generate"))
    assert shown.count("sb-given") == 1
    made = downloaded(page, tmp_path)
    assert set(made) == set(NAMES)
    assert (made["hubble"] == made["hubble"][:1]).all()  # what is given is unchanged
    assert made["hubble"].dtype == np.uint8
    digits = np.concatenate([classify(made[name]) for name in NAMES if name != "hubble"])
    assert (digits == 0).mean() > 0.5
    page.locator("#moves").click()
    page.wait_for_selector(".sb-moves td[style]")
    assert page.locator(".sb-moves td[style]").count() == 4


def test_a_link_restores_what_was_drawn(visit):
    page = visit()
    draw(page, "rocket", ZERO)
    page.locator("#seed input").fill("12")
    shown = after(page, press(page, "Generate"))
    page.wait_for_function("() => location.search.includes('given.rocket')")
    other = visit("?" + page.url.split("?")[1])
    assert other.locator(".sb-results").inner_html() == shown
    assert other.locator("#seed input").input_value() == "12"
    assert other.locator("#card-rocket input[value=given]").is_checked()
    nothing = after(other, press(other, "Sample from nothing"))
    assert "sb-given" not in nothing
    wrong = visit("?given.cat=1")
    wrong.get_by_text("this link is of a model with cat").wait_for()


def test_rubbish_is_refused_in_a_sentence_and_changes_nothing(visit, tmp_path):
    rubbish, huge, fine = (tmp_path / name for name in ("rubbish.png", "huge.png", "fine.png"))
    rubbish.write_bytes(b"\x89PNG nothing")
    Image.new("1", (6000, 6000)).save(huge)
    Image.new("RGB", (50, 50), "navy").save(fine)
    page = visit()
    before = page.locator(".sb-results").inner_html()
    field, given = "#card-coffee input[type=file]", "#card-coffee input[value=given]"
    for file, message in ((rubbish, "is not an image, or is damaged"), (huge, "too many pixels")):
        page.locator(field).set_input_files(file)
        page.get_by_text(message).first.wait_for()
        assert not page.locator(given).is_checked()
    assert page.locator(".sb-results").inner_html() == before
    page.locator(field).set_input_files(fine)
    page.wait_for_function(f"() => document.querySelector('{given}').checked")
    page.locator("#seed input").fill("-3")
    press(page, "Generate")()
    page.get_by_text("less than minimum").first.wait_for()


def test_visitors_do_not_disturb_each_other(visit):
    alone = {}
    for seed in (1, 2):
        page = visit(f"?seed={seed}&samples=4")
        alone[seed] = page.locator(".sb-results").inner_html()
    pages = {seed: visit(f"?seed={seed}&samples=4") for seed in (1, 2)}
    for round_ in range(2):
        for page in pages.values():  # all at once, before any has answered
            page.get_by_role("button", name="Generate", exact=True).click()
        for seed, page in pages.items():
            page.wait_for_timeout(1500)
            assert page.locator(".sb-results").inner_html() == alone[seed], round_
    assert alone[1] != alone[2]


def test_the_keyboard_suffices_and_narrow_windows_do_not_scroll_sideways(visit):
    page = visit("?samples=4", viewport={"width": 360, "height": 740}, color_scheme="dark")
    width = page.evaluate("() => document.documentElement.scrollWidth")
    assert width <= 360
    page.locator("#card-retina").get_by_role("button", name="Example").focus()
    page.keyboard.press("Enter")
    page.wait_for_function(
        "() => document.querySelector('#card-retina input[value=given]').checked"
    )
    page.get_by_role("button", name="Generate", exact=True).focus()
    shown = after(page, lambda: page.keyboard.press("Enter"))
    assert shown.count("sb-given") == 1
    page.locator("#card-retina input[value=generate]").focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Generate", exact=True).focus()
    assert "sb-given" not in after(page, lambda: page.keyboard.press("Space"))


@pytest.mark.parametrize("path", ["/etc/passwd", __file__, "/proc/self/environ"])
def test_no_other_file_is_served(address, path):
    for place in ("gradio_api/file=", "file=", "gradio_api/file=../../../../.."):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(f"{address}{place}{path}")
        assert refusal.value.code in (403, 404)
        refusal.value.close()


def test_an_address_in_a_request_is_not_fetched(address):
    with urllib.request.urlopen(f"{address}config") as reply:
        config = json.load(reply)
    uploads = [one["id"] for one in config["components"] if one["type"] == "uploadbutton"]
    chosen = next(one for one in config["dependencies"] if one["inputs"][:1] == uploads[:1])
    file = {"path": "http://example.com/a.png", "meta": {"_type": "gradio.FileData"}}
    asked = {"data": [file], "fn_index": chosen["id"], "session_hash": "byhand"}
    headers = {"Content-Type": "application/json"}
    join = f"{address}gradio_api/queue/join"
    urllib.request.urlopen(
        urllib.request.Request(join, json.dumps(asked).encode(), headers)
    ).close()
    with urllib.request.urlopen(f"{address}gradio_api/queue/data?session_hash=byhand") as lines:
        told = next(line for line in lines if b"process_completed" in line)
    assert b"an address is not fetched: upload a file" in told
