"""Samplers and conditionings against distributions of which all is exact; results/samplers.json.

python -m benchmarks.samplers accuracy    # each sampler and conditioning at each budget, 45 minutes
python -m benchmarks.samplers widths      # weights of modes of unequal widths
python -m benchmarks.samplers particles   # the twisted sampler
python -m benchmarks.samplers information # bias and coverage of estimates of information, two minutes
python -m benchmarks.samplers density     # log-densities by grid and probes, a minute
python -m benchmarks.samplers overhead    # the cost over a scan written by hand, a minute
python -m benchmarks.samplers steering    # conditioning on targets of unequal widths, 4 minutes
"""

from benchmarks.runner import main
from benchmarks.samplers.accuracy import measure_accuracy
from benchmarks.samplers.density import measure_density
from benchmarks.samplers.information import measure_information
from benchmarks.samplers.overhead import measure_overhead
from benchmarks.samplers.particles import measure_particles
from benchmarks.samplers.report import REPORT
from benchmarks.samplers.steering import measure_steering
from benchmarks.samplers.widths import measure_widths

if __name__ == "__main__":
    parts = (
        measure_accuracy, measure_widths, measure_particles, measure_information, measure_overhead,
        measure_steering, measure_density,
    )  # fmt: skip
    main("samplers", __doc__, REPORT, parts)
