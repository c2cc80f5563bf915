"""What `import sbmae_jax` costs, in a fresh interpreter."""

import json
import subprocess
import sys

PROGRAM = """
import json, sys, time
import jax, jax.numpy, jax.experimental.checkify
before = set(sys.modules)
start = time.process_time()
import sbmae_jax
seconds = time.process_time() - start
new = {name.split(".")[0] for name in set(sys.modules) - before}
print(json.dumps({"seconds": seconds, "new": sorted(new)}))
"""

HEAVY = {
    "absl", "array_record", "diffrax", "equinox", "flax", "grain", "matplotlib", "ml_collections",
    "optax", "orbax", "sklearn", "skimage", "tensorboardX", "tensorflow", "tensorflow_datasets",
}  # fmt: skip


def fresh():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_importing_loads_only_jax_and_little_time():
    # The time of the processor, not of a wall clock: other programs may be busy. The first run may
    # compile bytecode, so the fastest counts.
    runs = [fresh(), fresh()]
    assert not HEAVY & set(runs[0]["new"])
    assert "sbmae_jax" in runs[0]["new"]
    assert min(run["seconds"] for run in runs) < 0.05
