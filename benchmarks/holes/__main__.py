"""Learning from rows that lack modalities, by what they lack and how it is learned; results/holes.json.

python -m benchmarks.holes cost                                # of a step of training, a minute
python -m benchmarks.holes gaussian --seeds 0                  # scores that are known, 8 minutes a seed
python -m benchmarks.holes latents --seeds 0                   # classes that are known, 20 minutes a seed
python -m benchmarks.holes complete half pairs --seeds 0       # whole runs on PolyDigits, 5 to 8 minutes each
python -m benchmarks.holes most single --seeds 0
"""

from benchmarks.holes import runs
from benchmarks.holes.cost import measure_cost
from benchmarks.holes.gaussian import measure_gaussian
from benchmarks.holes.latents import measure_latents
from benchmarks.holes.report import REPORT
from benchmarks.runner import main

if __name__ == "__main__":
    parts = (
        measure_cost, measure_gaussian, measure_latents, runs.measure_complete, runs.measure_half,
        runs.measure_most, runs.measure_pairs, runs.measure_single,
    )  # fmt: skip
    main("holes", __doc__, REPORT, parts, seeds=(0,))
