"""How the demo's samples depend on the sampler and its temperature, of one trained model.

A part of `python -m benchmarks.polydigits`. Many ancestral steps are the reference: what the score has
learned, as nearly as it can be drawn.
"""

from collections.abc import Iterator
from typing import Any

from benchmarks.claims import Claim, claim
from benchmarks.runner import Options, Page
from benchmarks.runs import forget_compiled, nested_figures, trained
from benchmarks.tables import rows_table
from configs import polydigits
from sbmae_jax.app import pipeline
from sbmae_jax.app.run import load_model

REFERENCE, DEFAULT, HONEST = "1,000 ancestral steps", "the default", "DPM-Solver++ with noise"
_DPM = {"sampler": "dpm_solver", "num_corrections": 0, "eta": 1.0}
SETTINGS: dict[str, dict[str, Any]] = {
    REFERENCE: {"num_levels": 1000, "num_corrections": 0},
    DEFAULT: {},
    HONEST: _DPM | {"num_levels": 32},
    f"{HONEST}, twice the steps": _DPM | {"num_levels": 64},
    "DPM-Solver++ without noise": _DPM | {"num_levels": 32, "eta": 0.0},
    **{
        f"{HONEST}, temperature {t:g}": _DPM | {"num_levels": 32, "temperature": t}
        for t in (0.9, 0.8, 0.7, 0.5)
    },
}
SHARES = ("all agree", "diversity", "label total variation")


def measure_drawn(options: Options) -> dict[str, Any]:
    """Measure test rows by each way of sampling, with the first seed."""
    seed, config = options.seeds[0], polydigits.get_config("smoke" if options.smoke else "default")
    run = trained(config.to_dict() | {"seed": seed}, options.runs / f"polydigits-{seed}", ("all",))
    model, rows = load_model(run), {}
    for name, changes in SETTINGS.items():
        quick = {"num_levels": 3} if options.smoke else {}
        changed = model.with_sampling(**changes | quick)
        found, _ = pipeline.measure(run, changed, "test")
        forget_compiled()
        rows[name] = {
            "evaluations": changed.sampling.num_evaluations,
            **nested_figures(found),
            "label total variation": found["label_total_variation"]["uniform"],
        }
    return {"config": "configs/polydigits.py", "seeds": [seed], "rows": rows}


def of_drawn(page: Page) -> Iterator[Claim]:
    """Compare the distance from the reference with that of the default."""
    rows = page["drawn"]["rows"]
    for figure in SHARES:
        off = {name: abs(row[figure] - rows[REFERENCE][figure]) for name, row in rows.items()}
        name = f"{HONEST}: {figure}, off from {REFERENCE}, less that of the default"
        yield claim(name, off[HONEST] - off[DEFAULT], "<=", 0.0)
    yield claim(f"{HONEST}: evaluations", rows[HONEST]["evaluations"], "<=", 65)


def drawn_table(page: Page) -> str:
    """Return a line for each way of sampling."""
    return rows_table(page["drawn"]["rows"])
