"""Many devices, many processes, and kills; results/scale.json.

    python benchmarks/scale.py kill        # 50 runs, each killed at a random moment and finished
    python benchmarks/scale.py processes   # two processes, and other devices half way, against one device
    python benchmarks/scale.py memory      # micro-batches, remat, bfloat16: bytes and seconds
    python benchmarks/scale.py roofline    # TPU v5e on paper, from counted operations
    python benchmarks/scale.py claims      # compares what was measured with the targets again

Each part keeps its own command and commit. Runs are kept under runs/scale-NAME and not repeated.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import scale_kill
import scale_memory
import scale_processes
import scale_roofline

from sbmae_jax.app import provenance

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "scale.json"
NUM_KILLED = 50
# Sums in another order, rounded to float32, through twenty steps of Adam. Set after one look by hand, which
# gave 1e-4 and 1e-6.
PARAMS, SAMPLES = 1e-3, 1e-4
PARTS = {
    "kill": lambda: scale_kill.measure(ROOT / "runs" / "scale-kill", NUM_KILLED),
    "processes": lambda: scale_processes.measure(ROOT / "runs" / "scale-processes"),
    "memory": scale_memory.measure,
    "roofline": scale_roofline.measure,
}


def claims(page: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare what was measured with the targets."""
    found = []

    def claim(name: str, value: float, bound: float, holds: bool) -> None:
        found.append({"name": name, "value": value, "bound": bound, "holds": bool(holds)})

    if kill := page.get("kill"):
        same, damaged = kill["num_identical"], kill["num_damaged"]
        claim(
            "killed runs that end with the bits of one that was not",
            same,
            NUM_KILLED,
            same >= NUM_KILLED,
        )
        claim("killed runs that did not end, or end otherwise", kill["num_runs"] - same, 0,
              kill["num_runs"] == same)  # fmt: skip
        claim("killed runs with a damaged checkpoint at the end", damaged, 0, damaged == 0)
    for name, found_difference in page.get("processes", {}).items():
        if isinstance(found_difference, dict) and "params" in found_difference:
            for what, bound in (("params", PARAMS), ("samples", SAMPLES)):
                value = found_difference[what]
                claim(
                    f"{name}: largest difference of {what} to one device",
                    value,
                    bound,
                    value <= bound,
                )
    return found


def main() -> None:
    """Measure one part, and write it beside the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=[*PARTS, "claims"])
    part = parser.parse_args().part
    page = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if part != "claims":
        page[part] = PARTS[part]() | {
            "command": f"python benchmarks/scale.py {part}", "commit": provenance.commit(),
            "versions": provenance.versions(), "device": provenance.device(),
        }  # fmt: skip
    measured = [page[name] for name in PARTS if name in page]
    page |= {
        "command": [entry["command"] for entry in measured],
        "commit": sorted({entry["commit"] for entry in measured}),
        "seeds": list(range(NUM_KILLED)),
        "versions": measured[-1]["versions"], "device": measured[-1]["device"],
        "claims": claims(page),
    }  # fmt: skip
    RESULTS.write_text(json.dumps(page, indent=1) + "\n")
    for entry in page["claims"]:
        print(f"{'holds ' if entry['holds'] else 'MISSED'} {entry['name']}: {entry['value']:.4g}")


if __name__ == "__main__":
    sys.exit(main())
