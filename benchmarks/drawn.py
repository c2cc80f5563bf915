"""How the demo's samples depend on the sampler and its temperature, of one trained model.

A part of `python -m benchmarks.polydigits`. Many ancestral steps are the reference: what the score has
learned, as nearly as it can be drawn.
"""

from collections.abc import Iterator
from typing import Any

from benchmarks.claims import Claim, claim
from benchmarks.runner import Options, Page
from benchmarks.runs import forget_compiled, nested_figures, trained
from benchmarks.tables import mean_std, rows_table
from configs import polydigits
from sbmae_jax.app import pipeline
from sbmae_jax.app.run import load_model

REFERENCE, DEFAULT = "1,000 ancestral steps", "the default: DPM-Solver++ with noise"
CORRECTED = "32 ancestral steps, each with a Langevin correction"
_ANCESTRAL = {"sampler": "predictor_corrector", "num_corrections": 0}
TEMPERATURES = {f"temperature {t:g}": {"temperature": t} for t in (0.95, 0.9, 0.8, 0.7, 0.5)}
SETTINGS: dict[str, dict[str, Any]] = {
    REFERENCE: _ANCESTRAL | {"num_levels": 1000},
    CORRECTED: _ANCESTRAL | {"num_levels": 32, "num_corrections": 1},
    DEFAULT: {},
    "twice the steps": {"num_levels": 64},
    "without noise": {"eta": 0.0},
    **TEMPERATURES,
}
SHARES = ("all agree", "diversity", "label total variation")


def measure_drawn(options: Options) -> dict[str, Any]:
    """Measure test rows by each way of sampling, of the runs of all seeds."""
    config = polydigits.get_config("smoke" if options.smoke else "default").to_dict()
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in SETTINGS}
    for seed in options.seeds:
        run = trained(config | {"seed": seed}, options.runs / f"polydigits-{seed}", ("all",))
        model = load_model(run)
        for name, changes in SETTINGS.items():
            quick = {"num_levels": 3} if options.smoke else {}
            changed = model.with_sampling(**changes | quick)
            found, _ = pipeline.measure(run, changed, "test")
            forget_compiled()
            figures = nested_figures(found) | {
                "label total variation": found["label_total_variation"]["uniform"]
            }
            rows[name].append({"evaluations": changed.sampling.num_evaluations, **figures})
    return {"config": "configs/polydigits.py", "seeds": options.seeds, "rows": rows}


def of_drawn(page: Page) -> Iterator[Claim]:
    """Compare the distance from the reference with that of corrected ancestral steps."""
    rows = page["drawn"]["rows"]
    for figure in SHARES:
        off = {
            name: abs(mean_std(row, figure)[0] - mean_std(rows[REFERENCE], figure)[0])
            for name, row in rows.items()
        }
        name = f"the default: {figure}, off from {REFERENCE}, less that of corrected steps"
        yield claim(name, off[DEFAULT] - off[CORRECTED], "<=", 0.0)
    yield claim("the default: evaluations", rows[DEFAULT][0]["evaluations"], "<=", 65)


def drawn_table(page: Page) -> str:
    """Return a line for each way of sampling."""
    return rows_table(page["drawn"]["rows"])


def temperature_table(page: Page) -> str:
    """Return a line for each temperature, with the columns of the front page."""
    rows = page["drawn"]["rows"]
    shown = {"1, the default": rows[DEFAULT]} | {
        name.removeprefix("temperature "): rows[name] for name in TEMPERATURES
    }
    columns = (
        "given 1", "given 2", "given 4", "all agree", "diversity", "Fréchet distance",
        "label total variation",
    )  # fmt: skip
    return rows_table(shown, columns, "temperature")
