"""Make results/README.md of the JSON in results, and put tables and plots where they belong.

    make results          # python -m benchmarks.page

Claims are compared with their targets again; the tables of the front page and of docs are put between their
marks, `<!-- NAME -->` and `<!-- end of NAME -->`; plots are drawn. What is missing or stale is listed.
"""

import subprocess
from collections.abc import Iterable
from pathlib import Path

import matplotlib

from benchmarks import decoders, door, polydigits
from benchmarks.claims import Claim
from benchmarks.dq import report as dq
from benchmarks.faces import report as faces
from benchmarks.holes import report as holes
from benchmarks.own_data import report as own_data
from benchmarks.peers import report as peers
from benchmarks.polymnist import report as polymnist
from benchmarks.runner import RESULTS, ROOT, Page, Report, load, write
from benchmarks.samplers import report as samplers
from benchmarks.scale import report as scale
from benchmarks.tables import fill, table
from sbmae_jax._json import from_json

REPORTS = [
    m.REPORT
    for m in (
        polydigits,
        samplers,
        faces,
        polymnist,
        dq,
        own_data,
        scale,
        peers,
        door,
        holes,
        decoders,
    )
]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md")))
MISSING = "Not measured yet."
GPU = [
    f"{name}-{seed}"
    for name in ("polymnist-five", "polymnist-ten", "polymnist-dq", "faces", "faces-rae")
    for seed in (0, 1, 2)
]  # fmt: skip
HEAD = """# Results

Made by `make results` from the JSON files beside it. A claim is a target that was set before measuring; one
that is missed stays. *Stale* means that the library or the configs have changed since: by how many commits.
"""


def commits_since(commit: str) -> int | None:
    """Return how many commits have changed the library since one; None if it is not known here."""
    since = f"{commit.removesuffix('-dirty')}..HEAD"
    command = ["git", "rev-list", "--count", since, "--", "sbmae_jax", "configs"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return int(done.stdout) if done.returncode == 0 else None


def age(commits: Iterable[str]) -> str:
    """Say whether a result is stale."""
    counts = [commits_since(commit) for commit in commits]
    if None in counts:
        return "made at a commit that is not in this history"
    most = max(count for count in counts if count is not None)
    return f"stale by {most} commits" if most else "fresh"


def claims_table(claims: Iterable[Claim]) -> str:
    """Return claims, one a line."""
    lines = []
    for found in claims:
        value = str(found["value"]) + (f" ± {found['deviation']}" if "deviation" in found else "")
        name, holds = found["name"].replace("|", "\\|"), "yes" if found["holds"] else "**no**"
        lines.append([name, value, found["bound"], holds])
    return table(["claim", "value", "bound", "holds"], lines)


def section(name: str, page: Page) -> str:
    """Return where the figures of one benchmark come from, and its claims."""
    commands = "\n".join(page["command"])
    origin = f"Commit {', '.join(page['commit'])}; {page['device']}; {age(page['commit'])}."
    head = f"## {name}\n\n```\n{commands}\n```\n\n{origin} [{name}.json]({name}.json)"
    return f"{head}\n\n{claims_table(page['claims'])}"


def gpu_section(folder: Path) -> str:
    """Return what was measured on an accelerator, and what was not."""
    lines = []
    for name in GPU:
        path, state = folder / f"{name}.json", "missing"
        if path.exists():
            page = from_json(path.read_text())
            state = f"{page['device']}, commit {page['commit']}, {age([page['commit']])}"
            state = "missing: a dry run is there" if "--toy" in page["command"] else state
        run, _, seed = name.rpartition("-")
        lines.append([name, state, f"`python -m benchmarks.gpu {run} --seed {seed}`"])
    return f"## On an accelerator\n\n{table(['figures', 'state', 'command'], lines)}"


def make(results: Path) -> str:
    """Return the page of a folder of results."""
    pages = {report.name: results / f"{report.name}.json" for report in REPORTS}
    sections = [section(n, from_json(p.read_text())) for n, p in pages.items() if p.exists()]
    if missing := [name for name, path in pages.items() if not path.exists()]:
        sections.append(f"## Missing\n\nNot measured yet: {', '.join(missing)}.")
    return "\n\n".join([HEAD.strip(), *sections, gpu_section(results / "gpu")]) + "\n"


def tables(report: Report, page: Page) -> dict[str, str]:
    """Return the tables of a benchmark by their marks."""
    made = report.tables.items()
    found = {mark: make(page) if part in page else MISSING for mark, (part, make) in made}
    return found | {f"{report.name}.claims": claims_table(report.claims(page))}


def main() -> None:
    made: dict[str, str] = {}
    for report in REPORTS:
        path = RESULTS / f"{report.name}.json"
        parts = load(path)
        made |= tables(report, parts)
        if parts:
            write(report, path, parts)
        for file, (needed, draw) in report.plots.items():
            if needed in parts:
                with matplotlib.rc_context({"text.parse_math": True}):  # for powers of ten
                    draw(parts).savefig(RESULTS / file, dpi=120)
    for page in PAGES:
        page.write_text(fill(page.read_text(), made))
    (RESULTS / "README.md").write_text(make(RESULTS))


if __name__ == "__main__":
    main()
