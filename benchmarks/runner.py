"""What all benchmarks share: a command line, work that is done once, and pages of JSON.

A benchmark has parts: `python -m benchmarks.NAME PART ...` measures some, without a PART all, and
replaces them in results/NAME.json. Each part keeps its command, seeds, commit, versions and device.
Finished trainings and measurements are kept under runs/ and not repeated, so after an interruption the
same command resumes. With --smoke everything is as short as it can be, and goes to runs/smoke instead.
`make results` then makes tables, plots and results/README.md of all pages.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.claims import Claim, show
from sbmae_jax import _provenance
from sbmae_jax._check import require_seed
from sbmae_jax._io import as_path, require_folder, require_writable, write_results
from sbmae_jax._json import from_json, to_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"

Page = Mapping[str, Any]
"""Parts by their names, as results/NAME.json has them."""
Options = argparse.Namespace
"""The command line, with `results`, the folder of pages, and `page`, what was measured before."""


@dataclass(frozen=True)
class Report:
    """What a benchmark shows of its page, and of each thing it shows the part that it needs.

    Attributes:
        name: Of the JSON file in results/.
        targets: A part, and page -> claims.
        tables: For each mark in the documentation a part, and page -> Markdown.
        plots: For each file in results/ a part, and page -> figure.
    """

    name: str
    targets: Sequence[tuple[str, Callable[[Page], Iterable[Claim]]]]
    tables: Mapping[str, tuple[str, Callable[[Page], str]]]
    plots: Mapping[str, tuple[str, Callable[[Page], Figure]]] = field(default_factory=dict)

    def claims(self, page: Page) -> list[Claim]:
        """Compare the parts that a page has with their targets."""
        return [one for part, compare in self.targets if part in page for one in compare(page)]


def seed(word: str) -> int:
    """Read a seed from the command line."""
    try:
        return require_seed("a seed", int(word) if word.lstrip("-").isdecimal() else word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parser_of(module: str, doc: str) -> argparse.ArgumentParser:
    """Return the command line of a benchmark, so far with the folder of its runs alone."""
    layout = argparse.RawDescriptionHelpFormatter
    name = f"python -m benchmarks.{module}"
    parser = argparse.ArgumentParser(name, description=doc, formatter_class=layout)
    parser.add_argument("--runs", type=as_path, default=ROOT / "runs", help="folder of runs")
    return parser


def main(
    module: str,
    doc: str,
    report: Report,
    measures: Sequence[Callable[[Options], dict[str, Any]]],
    seeds: Sequence[int] = (),
) -> None:
    """Measure parts, compare with the targets, and write the page.

    Args:
        module: Name of the benchmark in commands.
        doc: The help text.
        report: What is made of the page.
        measures: A function measure_PART for each part.
        seeds: The default of this option; a benchmark may have none.
    """
    parser = parser_of(module, doc)
    parts = {measure.__name__.removeprefix("measure_"): measure for measure in measures}
    choices = [*parts, "all"]
    parser.add_argument("parts", nargs="*", choices=choices, default="all", help="parts to measure")
    parser.add_argument("--smoke", action="store_true", help="as short as it can be")
    if seeds:
        parser.add_argument("--seeds", type=seed, nargs="+", default=list(seeds), metavar="SEED")
    options = parser.parse_args()
    options.results = RESULTS
    if options.smoke:
        options.seeds = getattr(options, "seeds", [])[:1]
        options.runs /= "smoke"
        options.results = options.runs / "results"
    require_folder(options.results)
    typed = [word for word in sys.argv[1:] if word not in choices]
    for part in parts if "all" in options.parts else options.parts:
        options.page = load(options.results / f"{report.name}.json")
        require_known_form(report, {k: v for k, v in options.page.items() if k != part})
        command = shlex.join(["python", "-m", f"benchmarks.{module}", part, *typed])
        put(report, options.results, part, {"command": command, **parts[part](options)})


def needed(options: Options, part: str) -> Any:
    """Return a part that another one needs. Raises SystemExit if it was not measured yet."""
    if part not in options.page:
        raise SystemExit(f"measure the part {part} first: the same command with {part}")
    return options.page[part]


def require_known_form(report: Report, page: Page) -> None:
    """Raise SystemExit for parts of an older form, before hours are spent on one that goes beside them."""
    for part, compare in report.targets:
        try:
            list(compare(page) if part in page else ())
        except (KeyError, TypeError, IndexError) as error:
            raise SystemExit(
                f"results/{report.name}.json: the part {part} has another form than today's "
                f"({error!r}): measure it again first, or remove it from the file"
            ) from error


def put(report: Report, results: Path, name: str, part: dict[str, Any]) -> None:
    """Replace one part of a page, and say what holds of it."""
    path = results / f"{report.name}.json"
    known = from_json(path.read_text())["claims"] if path.exists() else []
    page = write(report, path, load(path) | {name: {"seeds": [0], **provenance_now(), **part}})
    show(claim for claim in page["claims"] if claim not in known)


def provenance_now() -> dict[str, Any]:
    """Return what makes the figures of this process."""
    return {
        "commit": _provenance.commit(),
        "versions": _provenance.versions(),
        "device": _provenance.device(),
    }


def load(path: Path) -> dict[str, Any]:
    """Return the parts of a page; none if it was not written yet."""
    page = from_json(path.read_text()) if path.exists() else {}
    return {
        name: part for name, part in page.items() if isinstance(part, dict) and "command" in part
    }


def write(report: Report, path: Path, parts: Page) -> Page:
    """Write a page of parts, with their claims and what they say together, and return it."""
    measured = list(parts.values())
    page = {
        "command": [part["command"] for part in measured],
        "seeds": sorted({seed for part in measured for seed in part["seeds"]}),
        "commit": sorted(set(commits(parts))),
        "versions": measured[-1]["versions"],
        "device": measured[-1]["device"],
        "claims": report.claims(parts),
        **parts,
    }
    save(path, page)
    return page


def save(path: Path, value: Any) -> None:
    """Write a file of JSON, as a whole or not at all."""
    text = to_json(value, indent=1, ensure_ascii=False) + "\n"
    write_results(path.parent, {path.name: lambda file: file.write(text.encode())})


def commits(part: Any) -> Iterator[str]:
    """Yield every commit that is named in a part, however deep it is."""
    if isinstance(part, Mapping):
        said = part.get("commit", ())
        yield from [said] if isinstance(said, str) else said
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from commits(inner)


def once(path: Path, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures that a JSON file has, or make them and write the file."""
    if not path.exists():
        require_writable(path)
        save(path, make())
    return from_json(path.read_text())


def seconds_of(command: Sequence[str], folder: Path) -> float:
    """Run a command in a folder while nothing is compiled yet, and return its seconds."""
    with tempfile.TemporaryDirectory() as empty:
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": empty}
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, env=environment, check=True)
        return time.perf_counter() - start


def reuse(source: Path, target: Path, folders: Iterable[str], files: Iterable[str] = ()) -> None:
    """Copy finished networks, unless they are there, and small files of a workdir into another."""
    for folder in folders:
        if not (target / folder).exists():
            shutil.copytree(source / folder, target / folder)
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(source / file, target / file)
