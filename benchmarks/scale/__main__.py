"""Many devices, many processes, and kills; results/scale.json.

python -m benchmarks.scale kill        # 50 runs, each killed at a random moment and resumed
python -m benchmarks.scale processes   # two processes, and other devices half way, against one device
python -m benchmarks.scale memory      # micro-batches, remat, bfloat16: bytes and seconds
"""

from benchmarks.runner import main
from benchmarks.scale.kill import measure_kill
from benchmarks.scale.memory import measure_memory
from benchmarks.scale.processes import measure_processes
from benchmarks.scale.report import REPORT

if __name__ == "__main__":
    main("scale", __doc__, REPORT, (measure_kill, measure_processes, measure_memory))
