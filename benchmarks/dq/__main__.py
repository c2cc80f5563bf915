"""Two shared factors, digit and quadrant, with rows that lack views and without; results/dq.json.

    python -m benchmarks.dq digits_holes --seeds 0 1 2      # configs/polydigits.py:dq, minutes a seed
    python -m benchmarks.dq digits_complete --seeds 0 1 2   # the same on complete rows
    python -m benchmarks.dq polymnist_holes --seeds 0       # configs/polymnist_dq.py:cpu, under 45 minutes
    python -m benchmarks.dq polymnist_complete --seeds 0

Each seed of digits draws other digits for training and test; the rows of PolyMNIST-D-Q are the same. Both
have other weights and other samples. PolyMNIST-D-Q needs MNIST, see configs/polymnist_dq.py. The figures of
an accelerator are those of `python -m benchmarks.gpu polymnist-dq`. Every run is measured at temperature 1
and at a lower one, which was chosen on validation rows of seed 0 of the digits.
"""

from typing import Any

from benchmarks.dq.report import REPORT
from benchmarks.runner import Options, main
from benchmarks.runs import forget_compiled, run_seeds
from configs import polydigits, polymnist_dq
from sbmae_jax.app import pipeline
from sbmae_jax.app.run import Run, load_model

TEMPERATURE = 0.8


def digits(options: Options, holes: bool) -> dict[str, Any]:
    """Run the demo's digits in quadrants with each seed."""
    config = polydigits.get_config("dq")
    if options.smoke:
        polydigits.shrink(config)
    return _runs(options, "digits", config, holes)


def polymnist(options: Options, holes: bool) -> dict[str, Any]:
    """Run PolyMNIST-D-Q on two cores with each seed."""
    config = polymnist_dq.get_config("smoke" if options.smoke else "cpu")
    return _runs(options, "polymnist", config, holes)


def _runs(options: Options, name: str, config: Any, holes: bool) -> dict[str, Any]:
    """Run with each seed, and measure the test rows again at a lower temperature."""
    config.data.holes = holes
    name = f"dq-{name}-{'holes' if holes else 'complete'}"
    found, cooler = run_seeds(options, name, config), {}
    for seed in options.seeds:
        run = Run(config.to_dict() | {"seed": seed}, options.runs / f"{name}-{seed}")
        model = load_model(run).with_sampling(temperature=TEMPERATURE)
        cooler[str(seed)], _ = pipeline.measure(run, model, "test")
        forget_compiled()
    return {**found, "temperature": TEMPERATURE, "cooler": cooler}


def measure_digits_holes(options: Options) -> dict[str, Any]:
    return digits(options, True)


def measure_digits_complete(options: Options) -> dict[str, Any]:
    return digits(options, False)


def measure_polymnist_holes(options: Options) -> dict[str, Any]:
    return polymnist(options, True)


def measure_polymnist_complete(options: Options) -> dict[str, Any]:
    return polymnist(options, False)


if __name__ == "__main__":
    main(
        "dq",
        __doc__,
        REPORT,
        (
            measure_digits_holes,
            measure_digits_complete,
            measure_polymnist_holes,
            measure_polymnist_complete,
        ),
        seeds=(0, 1, 2),
    )
