"""Learning from rows that lack modalities, by what they lack and how it is learned; results/holes.json.

python -m benchmarks.holes gaussian --seeds 0       # a Gaussian, whose scores are known, 8 minutes
python -m benchmarks.holes latents --seeds 0 1 2    # latents of which all is known, 12 minutes a seed
python -m benchmarks.holes polydigits --seeds 0     # whole runs on PolyDigits, an hour a seed
"""

from benchmarks.holes.gaussian import measure_gaussian
from benchmarks.holes.latents import measure_latents
from benchmarks.holes.report import REPORT
from benchmarks.holes.runs import measure_polydigits
from benchmarks.runner import main

if __name__ == "__main__":
    main(
        "holes",
        __doc__,
        REPORT,
        (measure_gaussian, measure_latents, measure_polydigits),
        seeds=(0,),
    )
