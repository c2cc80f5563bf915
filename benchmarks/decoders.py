"""Diffusion decoders beside decoded means, of the same runs; results/decoders.json.

    python -m benchmarks.decoders polydigits --seeds 0 1 2    # some ten minutes a seed
    python -m benchmarks.decoders curve                       # steps, weight and latent noise, seed 0

`polydigits` measures test rows; `curve`, which chose the settings of configs/polydigits.py:diffusion,
validation rows. All but the decoders is as in configs/polydigits.py: what `python -m benchmarks.polydigits`
has trained in the same folder is used again.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.claims import Claim, Target, claim
from benchmarks.runner import Options, Page, Report, main, reuse
from benchmarks.runs import forget_compiled, nested_figures, trained
from benchmarks.tables import figures_table, rows_table
from configs import polydigits
from sbmae_jax.app import pipeline
from sbmae_jax.app.run import Run, load_model
from sbmae_jax.evaluation.images import as_rgb, grid, save_enlarged
from sbmae_jax.models.model import Model

STAGES = ("train", "evaluators")
SECONDS, COPIES = (
    "seconds for 1,000 samples",
    "samples nearer to a training row than 1 % of test rows are",
)
WITHIN = "variance of pictures within a latent, over that of all pictures"
EVALUATIONS = "evaluations of a decoder"

TARGETS: dict[str, Target] = {
    "all agree": (">=", 0.90),
    "diversity": (">=", 0.85),
    "Fréchet distance": ("<=", 0.6 * 1.01),
    COPIES: ("<=", 0.02),
    EVALUATIONS: ("<=", 16),
}
TEMPERATURE = 0.9
BEFORE = (0.896, 0.971, 0.972, 0.977)
"""What configs/polydigits.py reached given 1 to 4 with seed 0 when the targets were set."""

CURVE = [
    {"num_steps": 1}, {"num_steps": 2}, {"num_steps": 4}, {"weight": 1.0}, {"weight": 2.0},
    {"latent_noise": 0.1}, {"latent_noise": 1.0}, {"stop": 0.5},
]  # fmt: skip
"""Changes of the decoding of configs/polydigits.py:diffusion."""


def config_of(options: Options) -> dict[str, Any]:
    config = polydigits.get_config("diffusion")
    if options.smoke:
        polydigits.shrink(config)
    return config.to_dict()


def figures_of(run: Run, model: Model, split: str) -> dict[str, float]:
    """Return the figures of one way of decoding."""
    found, _ = pipeline.measure(run, model, split)
    forget_compiled()
    return nested_figures(found) | {
        "label total variation": found["label_total_variation"]["uniform"],
        SECONDS: found["seconds_per_1000_samples"],
    }


def share_of_copies(samples: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """Return how many samples are nearer to a training row than the nearest hundredth of test rows.

    samples, train, test: pictures [N, ...] in [0, 1].
    """
    limit = np.quantile(_to_nearest(test, train), 0.01)
    return float(np.mean(_to_nearest(samples, train) < limit))


def _to_nearest(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Return the distance [N] of each row to the nearest one of `train`."""
    x, train = (a.reshape(len(a), -1).astype(np.float32) for a in (x, train))
    squares = np.sum(train**2, axis=1)
    nearest = [
        np.min(squares - 2 * part @ train.T, axis=1) + np.sum(part**2, axis=1)
        for part in np.array_split(x, max(1, len(x) // 100))
    ]
    return np.sqrt(np.maximum(np.concatenate(nearest), 0))


def variance_within(model: Model, rows: Mapping[str, np.ndarray]) -> float:
    """Return the variance of draws for one latent over that of the rows, the mean of the modalities."""
    encode, decode = jax.jit(Model.encode), jax.jit(Model.decode, static_argnames="noise")
    z = encode(model, rows)
    keys = jax.random.split(jax.random.key(0), 8)
    drawn = [jax.device_get(decode(model, z, key, noise=False)) for key in keys]
    ratios = [
        np.stack([one[name] for one in drawn]).var(axis=0).mean() / (x / 255).var(axis=0).mean()
        for name, x in rows.items()
    ]
    return float(np.mean(ratios))


def draw_sheet(model: Model, rows: Mapping[str, np.ndarray], path: Path) -> None:
    """Put, for some modalities, rows above their decoded means and above draws from the same latents."""
    encode, decode = jax.jit(Model.encode), jax.jit(Model.decode, static_argnames="noise")
    z = encode(model, rows)
    made = [decode(model, z), decode(model, z, jax.random.key(0), noise=False)]
    lines = [x for name in list(rows)[:3] for x in (rows[name], *(one[name] for one in made))]
    save_enlarged(path, grid([[as_rgb(np.asarray(x)) for x in line] for line in lines], group=3))


def run_of(options: Options, seed: int) -> Run:
    """Train the decoders, and before that what is not there yet."""
    without, workdir = (options.runs / f"polydigits{way}-{seed}" for way in ("", "-diffusion"))
    if (without / "results.json").exists():
        files = ("moments.npz", "data.json", "rows.json")
        reuse(without, workdir, ("autoencoder", "score", "classifier"), files)
    return trained(config_of(options) | {"seed": seed}, workdir, STAGES)


def measure_seed(options: Options, seed: int) -> dict[str, Any]:
    start = time.perf_counter()
    run = run_of(options, seed)
    model = load_model(run)
    cooler = model.with_sampling(temperature=TEMPERATURE)
    found = {
        "diffusion": figures_of(run, model, "test"),
        "mean": figures_of(run, model.with_decoding(decoder="mean"), "test"),
        "cooler": figures_of(run, cooler, "test"),
    }
    train, test = run.data.train_loaded.arrays, run.data.test.arrays
    samples = model.generate({}, num_samples=100 if options.smoke else 1000)
    copies = [
        share_of_copies(x, np.asarray(train[name]) / 255, np.asarray(test[name]) / 255)
        for name, x in samples.items()
    ]
    rows = {name: np.asarray(test[name][:200]) for name in samples}
    if seed == options.seeds[0]:
        sixteen = {name: x[:16] for name, x in rows.items()}
        draw_sheet(model, sixteen, options.results / "decoders.png")
    more = {
        COPIES: float(np.mean(copies)), WITHIN: variance_within(model, rows),
        EVALUATIONS: model.decoding.num_evaluations,
    }  # fmt: skip
    found["diffusion"] |= more
    forget_compiled()
    return {**found, "seconds": time.perf_counter() - start}


def measure_polydigits(options: Options) -> dict[str, Any]:
    runs = {str(seed): measure_seed(options, seed) for seed in options.seeds}
    return {"config": "configs/polydigits.py:diffusion", "seeds": options.seeds, "runs": runs}


def measure_curve(options: Options) -> dict[str, Any]:
    seed = options.seeds[0]
    model, points = load_model(run := run_of(options, seed)), []
    for changes in CURVE[:2] if options.smoke else CURVE:
        changed = model.with_decoding(**changes)
        points.append({**changes, "found": figures_of(run, changed, "valid")})
    return {"config": "configs/polydigits.py:diffusion", "seeds": [seed], "points": points}


def of_polydigits(page: Page) -> Iterator[Claim]:
    for seed, run in page["polydigits"]["runs"].items():
        drawn, mean = run["diffusion"], run["mean"]
        for name, target in TARGETS.items():
            yield claim(f"{name}, seed {seed}", drawn[name], *target)
        for n, before in enumerate(BEFORE, 1):
            yield claim(f"given {n}, seed {seed}", drawn[f"given {n}"], ">=", before)
        for name in ("all agree", "diversity", "Fréchet distance"):
            of_cooler = f"{name} at temperature {TEMPERATURE}, seed {seed}"
            yield claim(of_cooler, run["cooler"][name], *TARGETS[name])
        more = drawn[SECONDS] - mean[SECONDS]
        yield claim(f"{SECONDS}, more than with means, seed {seed}", more, "<=", 8.0)


def table(page: Page) -> str:
    """Return the figures of both ways of decoding."""
    runs = page["polydigits"]["runs"].values()
    drawn, mean, cooler = ([run[way] for run in runs] for way in ("diffusion", "mean", "cooler"))
    own = [{name: row[name] for name in (EVALUATIONS, COPIES, WITHIN)} for row in drawn]
    both = {
        "decoded mean": mean, "diffusion decoder": drawn, f"… at temperature {TEMPERATURE}": cooler,
    }  # fmt: skip
    alone = {"diffusion decoder": own}
    return f"{figures_table(both, TARGETS)}\n\n{figures_table(alone, TARGETS)}"


def curve_table(page: Page) -> str:
    """Return a line for each setting."""
    columns = (
        "reconstruction",
        "given 1",
        "given 4",
        "all agree",
        "diversity",
        "Fréchet distance",
    )
    rows = {
        ", ".join(f"{key} {value:g}" for key, value in point.items() if key != "found"): point[
            "found"
        ]
        for point in page["curve"]["points"]
    }
    return rows_table(rows, columns, "changed")


REPORT = Report(
    "decoders",
    [("polydigits", of_polydigits)],
    {"decoders.polydigits": ("polydigits", table), "decoders.curve": ("curve", curve_table)},
)

if __name__ == "__main__":
    main("decoders", __doc__, REPORT, (measure_polydigits, measure_curve), seeds=(0,))
