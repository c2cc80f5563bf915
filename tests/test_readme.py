"""The Python block of the README runs as it stands, and its numbers are the measured ones."""

import re
import tomllib
from pathlib import Path

import tiny

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_code_of_the_readme_runs(finished_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/polydigits").symlink_to(finished_run)
    (block,) = re.findall(r"```python\n(.*?)```", README, re.S)
    names = {}
    exec(block, names)
    assert names["joint"].keys() == names["rest"].keys() == tiny.config()["modalities"].keys()
    assert names["typical"].sampling.temperature == 0.7


def test_a_run_is_trained_before_it_is_opened():
    trained, opened = (
        README.index("--workdir=runs/polydigits"),
        README.index('load("runs/polydigits")'),
    )
    assert README.index("pip install") < README.index("make demo") < trained < opened


def rows(text, name, *columns):
    """Return {name: {column: cell}} of the first table with a row of this name and these first columns."""
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        cells = [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines()]
        (_, *head), _, *body = cells
        found = {first: dict(zip(head, row, strict=True)) for first, *row in body}
        if tuple(head[: len(columns)]) == columns and name in found:
            return found
    raise AssertionError(f"there is no table with the row {name} and the columns {columns}")


def test_the_table_of_the_readme_is_that_of_the_comparison():
    # The page of results is pinned to results/peers.json by test_docs.py.
    measured = rows((ROOT / "docs/results.md").read_text(), "ours", "reconstruction", "given 1")
    quoted = rows(README, "ours", "given 1", "given 2")
    assert len(quoted) >= 6
    for name, columns in quoted.items():
        assert columns.items() <= measured[name].items(), name


def test_the_badges_say_what_the_package_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    badges = dict(re.findall(r"!\[(\w+): ([^\]]+)\]\(https://img.shields.io/badge/", README))
    assert badges["Licence"].replace(" ", "-") == project["license"].removesuffix(".0")
    python = project["requires-python"].removeprefix(">=")
    (jax,) = (one for one in project["optional-dependencies"]["train"] if one.startswith("jax>="))
    assert badges["Python"] == f"{python} or newer"
    assert badges["JAX"] == f"{jax.removeprefix('jax>=')} or newer"


def test_every_link_of_the_pages_leads_somewhere():
    roots = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    for page in [*roots, *(ROOT / "docs").rglob("*.md"), *(ROOT / "results").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
