"""The page of `sbmae app`, visited with a browser as a user visits it."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.runner import Options

VISITS = 3  # each with an empty cache
CLICKS = 10  # on "New seed", after a first one, which may compile
FIRST_PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"
OTHER_RESULTS = """before => {
    const now = document.querySelector(".sb-results").innerHTML;
    return now !== before && now.includes("<img");
}"""


def environment_of_a_user() -> dict[str, str]:
    """Return the environment without what developers set."""
    ours = ("JAX_", "XLA_", "PYTHONPATH")
    return {key: value for key, value in os.environ.items() if not key.startswith(ours)}


def measure_app(options: Options) -> dict[str, Any]:
    """Serve the page of the installed model, and visit it with Chromium.

    A page is painted when the browser first draws any of it, and shown when the samples are there. A
    generate is from a click on "New seed" until its eight samples of all modalities are shown.
    """
    from playwright.sync_api import sync_playwright  # no other part needs it

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("there is no Chromium on this machine: install it, then measure again")
    visits, clicks = (1, 1) if options.smoke else (VISITS, CLICKS)
    painted, shown, generated = [], [], []
    with page_of_the_installed_model() as (address, loaded), sync_playwright() as tools:
        switches = ["--no-sandbox", "--disable-background-networking"]
        browser = tools.chromium.launch(executable_path=chromium, args=switches)
        for _ in range(visits):
            page = browser.new_context().new_page()
            page.set_default_timeout(120_000)  # milliseconds
            start = time.perf_counter()
            page.goto(f"{address}?samples=8")
            page.wait_for_selector("#results img")
            shown.append(time.perf_counter() - start)
            painted.append(page.evaluate(FIRST_PAINT) / 1000)
        for _ in range(1 + clicks):
            before = page.locator(".sb-results").inner_html()
            start = time.perf_counter()
            page.locator("#new-seed").click()
            page.wait_for_function(OTHER_RESULTS, arg=before)
            generated.append(time.perf_counter() - start)
        browser.close()
    return {
        "load of the machine": os.getloadavg()[0],
        "seconds": {
            "until the command prints the address": loaded,
            "first paint": painted,
            "until samples are shown": shown,
            "generate": generated[1:],
        },
    }


@contextlib.contextmanager
def page_of_the_installed_model() -> Iterator[tuple[str, float]]:
    """Serve the page as a user does; yield its address, and the seconds until it was printed."""
    with tempfile.TemporaryDirectory() as folder:
        log, start = Path(folder) / "log", time.perf_counter()
        command = [sys.executable, "-c", "import sbmae_jax._command as c; c.main()", "app"]
        with log.open("w") as file:
            server = subprocess.Popen(
                command, cwd=folder, env=environment_of_a_user(), stdout=file, stderr=file
            )
        try:
            while "the page is at " not in log.read_text():
                if server.poll() is not None:
                    raise SystemExit(log.read_text())
                time.sleep(0.1)
            loaded = time.perf_counter() - start
            yield log.read_text().split("the page is at ")[1].split()[0], loaded
        finally:
            server.terminate()
            server.wait()
