"""The way in from Python: fit, load, generate, save; results/door.json.

    python -m benchmarks.door fit      # install the wheel, fit 2,000 rows, sample: seconds
    python -m benchmarks.door load     # load the saved demo and generate 16 rows in a new process
    python -m benchmarks.door memory   # generate 100,000 samples, against 5,000
    python -m benchmarks.door files    # the demo, saved as float32 and as bfloat16
    python -m benchmarks.door coders   # digits in three views: PCA latents, against trained autoencoders
    python -m benchmarks.door app      # the page of the installed model in Chromium: shown, and a generate

The demo is the run polydigits-0 of `benchmarks.polydigits`, trained first if it is not there. Seconds are
those of a quiet machine; the part `app` also keeps the load that the machine had.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from benchmarks.browser import environment_of_a_user, measure_app
from benchmarks.claims import Claim, claim
from benchmarks.runner import ROOT, Options, Page, Report, main
from benchmarks.runs import trained
from benchmarks.tables import rows_table
from configs import polydigits
from sbmae_jax import fit, load
from sbmae_jax.models.model import Model

DATA = """
import numpy as np
rng = np.random.default_rng(0)
z = rng.normal(size=(2000, 3))
spectrum = z @ rng.normal(size=(3, 20)) + 0.3 * rng.normal(size=(2000, 20))
lab = np.tanh(z @ rng.normal(size=(3, 6))) + 0.1 * rng.normal(size=(2000, 6))
lab[rng.random(2000) < 0.2] = np.nan
diagnosis = np.array(["well", "ill", "unclear"])[np.argsort(z, axis=1)[:, -1]]
"""
FIT = """import sbmae_jax
model = sbmae_jax.fit({"spectrum": spectrum, "lab": lab, "diagnosis": diagnosis}OPTIONS)
samples = model.generate({"diagnosis": diagnosis[:4]}, num_samples=5)
"""
LOAD = """
import time; start = time.perf_counter()
import sys, numpy as np, sbmae_jax
model = sbmae_jax.load(sys.argv[1])
model.generate({"hubble": np.zeros((16, 28, 28, 3), np.uint8)})
print(time.perf_counter() - start)
"""
MEMORY = """
import sys, sbmae_jax
from sbmae_jax import _provenance
model = sbmae_jax.load(sys.argv[1])
model.generate({}, num_samples=int(sys.argv[2]))
print(_provenance.peak_memory_bytes())
"""


def run(python: Path | str, code: str, *words: Any, cache: Path | str | None = None) -> str:
    """Run a program in a new process, away from the clone, and return what it prints."""
    env = environment_of_a_user()
    if cache is not None:
        env |= {
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
    with tempfile.TemporaryDirectory() as folder:
        command = [str(python), "-c", code, *map(str, words)]
        done = subprocess.run(
            command, cwd=folder, env=env, check=True, stdout=subprocess.PIPE, text=True
        )
    return done.stdout


def measure_fit(options: Options) -> dict[str, Any]:
    """Install the wheel in an empty environment, fit, and sample, each with a watch."""
    short = ", num_steps=20" if options.smoke else ""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        build = [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--installer=uv",
            "--outdir",
            folder,
            ROOT,
        ]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        (wheel,) = Path(folder).glob("*.whl")
        built = time.perf_counter()
        uv, python = Path(sys.executable).with_name("uv"), Path(folder) / "env" / "bin" / "python"
        subprocess.run([uv, "venv", "--quiet", python.parents[1]], check=True)
        pins = ["--constraint", ROOT / "requirements.lock"]
        install = [uv, "pip", "install", "--quiet", "--python", python, *pins, f"{wheel}[train]"]
        subprocess.run(install, check=True)
        installed = time.perf_counter()
        shape = "\nprint(samples['lab'].shape)"
        printed = run(python, DATA + FIT.replace("OPTIONS", short) + shape)
        fitted = time.perf_counter()
    assert printed.splitlines()[-1] == "(4, 5, 6)"
    return {
        "lines": len(FIT.splitlines()),
        "seconds": {
            "build the wheel": built - start,
            "install it": installed - built,
            "fit and sample": fitted - installed,
        },
    }


def demo(options: Options) -> Path:
    """Return the folder of the trained demo."""
    config = polydigits.get_config("smoke" if options.smoke else "default").to_dict()
    folder = options.runs / "polydigits-0"
    trained(config, folder, ["train"])
    return folder


def saved(options: Options, dtype: str = "float32") -> tuple[Model, Path]:
    """Return the demo, and where it is saved."""
    model, path = load(demo(options)), options.runs / "door" / f"{dtype}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    model.save(path, dtype=dtype)
    return model, path


def measure_load(options: Options) -> dict[str, Any]:
    """Load the saved demo and generate 16 rows, in new processes: nothing compiled yet, and again."""
    _, path = saved(options)
    with tempfile.TemporaryDirectory() as cache:
        seconds = [float(run(sys.executable, LOAD, path, cache=cache)) for _ in range(3)]
    return {"seconds": {"cold": seconds[0], "warm": min(seconds[1:])}}


def measure_memory(options: Options) -> dict[str, Any]:
    """Measure the peak memory of processes that load a model of vectors, and generate."""
    path, few = options.runs / "door" / "fit", 500 if options.smoke else 5000
    many = 1000 if options.smoke else 100_000
    short = ", num_steps=20" if options.smoke else ""
    if not (path / "score").exists():
        names: dict[str, Any] = {}
        exec(DATA + FIT.replace("OPTIONS", f"{short}, workdir={str(path)!r}"), names)
        jax.clear_caches()
    peaks = {num: float(run(sys.executable, MEMORY, path, num)) for num in (few, many)}
    return {"bytes": {f"{num:,} samples": peak for num, peak in peaks.items()}}


def measure_files(options: Options) -> dict[str, Any]:
    """Save the demo in both precisions, and load it again."""
    found: dict[str, Any] = {}
    for dtype in ("float32", "bfloat16"):
        model, path = saved(options, dtype)
        again = load(path)
        pairs = zip(jax.tree.leaves(model), jax.tree.leaves(again), strict=True)
        gap = max(float(np.max(np.abs(np.asarray(a) - np.asarray(b)), initial=0)) for a, b in pairs)
        found[dtype] = {"bytes": path.stat().st_size, "largest change of a parameter": gap}
    return {"rows": found}


def measure_coders(options: Options) -> dict[str, Any]:
    """Fit digits in three views twice, on frozen PCA latents and with trained autoencoders.

    The error of a row is the squared difference, over the variance of the view, between a view and the mean
    of 20 samples of it given the two others.
    """
    pixels, num_train = load_digits(return_X_y=True)[0], 100 if options.smoke else 1500
    views = dict(zip(("top", "middle", "bottom"), np.split(pixels, (24, 40), axis=1), strict=True))
    data = {name: x[:num_train] for name, x in views.items()}
    test = {name: x[num_train:][: 20 if options.smoke else None] for name, x in views.items()}
    errors: dict[str, list[dict[str, np.ndarray]]] = {"frozen": [], "trained": []}
    seconds: dict[str, list[float]] = {"frozen": [], "trained": []}
    seeds = [0] if options.smoke else [0, 1, 2]
    for seed in seeds:
        coders = {name: PCA(0.99, random_state=0).fit(x) for name, x in data.items()}
        for kind, given in {"frozen": coders, "trained": None}.items():
            start = time.perf_counter()
            steps = 20 if options.smoke else None
            model = fit(data, coders=given, seed=seed, num_steps=steps, quiet=True)
            seconds[kind].append(time.perf_counter() - start)
            errors[kind].append({name: error_of(model, test, name) for name in views})
            jax.clear_caches()
    rows = {}
    for name in views:
        found = {kind: np.mean([e[name] for e in all_], axis=0) for kind, all_ in errors.items()}
        gap = found["frozen"] - found["trained"]
        rows[name] = {kind: float(error.mean()) for kind, error in found.items()} | {
            "frozen - trained": float(gap.mean()),
            "its standard error": float(gap.std(ddof=1) / np.sqrt(len(gap))),
        }
    return {"seeds": seeds, "seconds": seconds, "rows": rows}


def error_of(model: Model, test: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Return the error of each test row of one view given the others, over the variance of the view."""
    others = {n: x for n, x in test.items() if n != name}
    mean = model.generate(others, num_samples=20)[name].mean(axis=1)
    return np.mean((mean - test[name]) ** 2, axis=1) / test[name].var(axis=0).mean()


def of_fit(page: Page) -> Iterator[Claim]:
    part = page["fit"]
    yield claim("lines of code from import to sample", part["lines"], "<=", 5)
    seconds = part["seconds"]["install it"] + part["seconds"]["fit and sample"]
    yield claim(
        "from the wheel to samples of 2,000 rows of three modalities, seconds", seconds, "<=", 180
    )


def of_load(page: Page) -> Iterator[Claim]:
    seconds = page["load"]["seconds"]
    yield claim("load and first generate, warm cache, seconds", seconds["warm"], "<=", 6)
    yield claim("load and first generate, cold, seconds", seconds["cold"], "<=", 20)


def of_memory(page: Page) -> Iterator[Claim]:
    few, many = page["memory"]["bytes"].values()
    yield claim("peak memory of 100,000 samples over that of 5,000", many / few, "<=", 1.3)


def of_coders(page: Page) -> Iterator[Claim]:
    part = page["coders"]
    yield claim("fit on frozen PCA latents, seconds", max(part["seconds"]["frozen"]), "<=", 60)
    gap = max(row["frozen - trained"] / row["its standard error"] for row in part["rows"].values())
    yield claim("error on PCA latents above the trained ones, in standard errors", gap, "<=", 1)


def of_files(page: Page) -> Iterator[Claim]:
    gap = page["files"]["rows"]["float32"]["largest change of a parameter"]
    yield claim("largest change of a parameter saved as float32", gap, "<=", 0.0)


def of_app(page: Page) -> Iterator[Claim]:
    seconds = page["app"]["seconds"]
    painted, generated = (float(np.median(seconds[key])) for key in ("first paint", "generate"))
    yield claim("first paint of the page once the model is loaded, seconds", painted, "<=", 3)
    name = "a warm generate of 8 samples of five modalities on the page, seconds"
    yield claim(name, generated, "<=", 1.5)


def app_table(page: Page) -> str:
    """Return how long the page takes."""
    seconds = page["app"]["seconds"]
    rows = {
        name: {"median, s": float(np.median(found)), "slowest, s": float(np.max(found))}
        for name, found in seconds.items()
    }
    load, made = page["app"]["load of the machine"], rows_table(rows, title="the page")
    if load > 3:  # the server and the browser make about two of it
        made += f"\n\nThe machine had a load of {load:.0f} while this was measured: a quiet one is faster."
    return made


def coders_table(page: Page) -> str:
    """Return the errors on frozen and on trained latents."""
    return rows_table(page["coders"]["rows"], title="view, given the two others")


def files_table(page: Page) -> str:
    """Return the sizes of the saved demo."""
    rows = page["files"]["rows"]
    shown = {
        dtype: {"MB": row["bytes"] / 1e6, "largest change": row["largest change of a parameter"]}
        for dtype, row in rows.items()
    }
    return rows_table(shown, title="the demo saved as")


REPORT = Report(
    "door",
    [
        ("fit", of_fit),
        ("load", of_load),
        ("memory", of_memory),
        ("files", of_files),
        ("coders", of_coders),
        ("app", of_app),
    ],
    {
        "door.files": ("files", files_table),
        "door.coders": ("coders", coders_table),
        "door.app": ("app", app_table),
    },
)

if __name__ == "__main__":
    main(
        "door",
        __doc__,
        REPORT,
        (measure_fit, measure_load, measure_memory, measure_files, measure_coders, measure_app),
    )
