"""results/peers.json: several scripts put parts of their own into it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import peers_claims

RESULTS = Path(__file__).resolve().parents[1] / "results" / "peers.json"


def load(part: str = "") -> dict[str, Any]:
    """Return what was measured, or a part of it. Raises FileNotFoundError if that was not measured before."""
    if not RESULTS.exists():
        raise FileNotFoundError(f"{RESULTS.name} is not there: run benchmarks/peers.py first")
    page = json.loads(RESULTS.read_text())
    if part and part not in page:
        raise FileNotFoundError(
            f"{RESULTS.name} has no {part}: run benchmarks/peers.py --large first"
        )
    return page[part] if part else page


def put(name: str, part: Any) -> dict[str, Any]:
    """Replace a part of the page as it is now, compare all with the targets, and return the page."""
    page = load() | {name: part}
    write(page, RESULTS)
    return page


def write(page: dict[str, Any], path: Path) -> None:
    """Write a page with its claims and the commits at which its rows were measured."""
    page["commit"] = sorted(set(commits(page)))
    page["claims"] = peers_claims.claims(page)
    path.write_text(json.dumps(page, indent=1) + "\n")


def commits(part: Any) -> Iterator[str]:
    """Yield the commit of every row in a part, however deep it is."""
    if isinstance(part, Mapping):
        if isinstance(part.get("commit"), str):
            yield part["commit"]
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from commits(inner)
