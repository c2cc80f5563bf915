"""Make results/README.md of the JSON in results: what was claimed, what holds, what is missing or stale.

make results
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
PAGE = RESULTS / "README.md"
NAMES = ("polydigits", "samplers", "celeba", "polymnist", "own_data", "scale", "peers")
GPU = {
    "speed-five": "benchmarks/speed.py --variant five", "speed-ten": "benchmarks/speed.py",
    **{
        f"{name}-{seed}": f"benchmarks/gpu/run.py {name} --seed {seed}"
        for name in ("polymnist-five", "polymnist-ten", "faces", "faces-rae") for seed in (0, 1, 2)
    },
    "polymnist-reference-0": "benchmarks/gpu/run.py polymnist-reference --seed 0",
}  # fmt: skip
HEAD = """# Results

Made by `make results` from the JSON files beside it. A claim is a target that was set before measuring; one
that is missed stays. *Stale* means that the library or the configs have changed since: by how many commits.
"""


def commits(page: Mapping[str, Any]) -> list[str]:
    """Return the commits that made a result."""
    said = page["commit"]
    return [said] if isinstance(said, str) else list(said)


def commands(page: Mapping[str, Any]) -> str:
    """Return the commands that made a result and the parts that others have put into it."""
    found = []
    for made in (page, *page.values()):
        if isinstance(made, Mapping) and "command" in made:
            said = made["command"]
            found += said.split("; ") if isinstance(said, str) else said
    return "; ".join(dict.fromkeys(found))  # some pages join those of their parts themselves


def commits_since(commit: str) -> int | None:
    """Return how many commits have changed the library since one; None if it is not known here."""
    since = f"{commit.removesuffix('-dirty')}..HEAD"
    done = subprocess.run(
        ["git", "rev-list", "--count", since, "--", "sbmae_jax", "configs"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    return int(done.stdout) if done.returncode == 0 else None


def age(page: Mapping[str, Any]) -> str:
    """Say whether a result is stale."""
    counts = [commits_since(commit) for commit in commits(page)]
    if None in counts:
        return "made at a commit that is not in this history"
    most = max(count for count in counts if count is not None)
    return f"stale by {most} commits" if most else "fresh"


def section(name: str, page: Mapping[str, Any]) -> str:
    """Return the claims of one benchmark."""
    lines = [
        f"## {name}",
        "",
        f"`{commands(page)}`; commit {', '.join(commits(page))}; {page['device']}; {age(page)}. "
        f"[{name}.json]({name}.json)",
        "",
        "| claim | value | bound | holds |",
        "|---|---|---|---|",
    ]
    for claim in page["claims"]:
        value = f"{claim['value']:.4g}" if isinstance(claim["value"], float) else claim["value"]
        value = f"{value} ± {claim['deviation']:.2g}" if "deviation" in claim else value
        holds = "yes" if claim["holds"] else "**no**"
        name_cell = claim["name"].replace("|", "\\|")
        lines.append(f"| {name_cell} | {value} | {claim['bound']} | {holds} |")
    return "\n".join(lines)


def gpu_section(folder: Path) -> str:
    """Return what was measured on an accelerator, and what was not."""
    lines = ["## On an accelerator", "", "| figure | state | command |", "|---|---|---|"]
    for name, command in GPU.items():
        path = folder / f"{name}.json"
        state = "missing"
        if path.exists():
            page = json.loads(path.read_text())
            state = f"{page['device']}, commit {', '.join(commits(page))}, {age(page)}"
            state = "missing: a dry run is there" if "--toy" in page["command"] else state
        lines.append(f"| {name} | {state} | `python {command}` |")
    return "\n".join(lines)


def make(results: Path) -> str:
    """Return the page of a folder of results."""
    sections, missing = [], []
    for name in NAMES:
        path = results / f"{name}.json"
        if path.exists():
            sections.append(section(name, json.loads(path.read_text())))
        else:
            missing.append(name)
    if missing:
        sections.append(f"## Missing\n\nNot measured yet: {', '.join(missing)}.")
    return "\n\n".join([HEAD.strip(), *sections, gpu_section(results / "gpu")]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(make(RESULTS))
    sys.stdout.write(f"{PAGE.relative_to(ROOT)}\n")
