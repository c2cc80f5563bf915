"""results/peers.json: several scripts put parts of their own into it."""

import json
from pathlib import Path
from typing import Any

import peers_claims

RESULTS = Path(__file__).resolve().parents[1] / "results" / "peers.json"


def load() -> dict[str, Any]:
    """Return what was measured. Raises FileNotFoundError if `peers.py` was not run before."""
    if not RESULTS.exists():
        raise FileNotFoundError(f"{RESULTS.name} is not there: run benchmarks/peers.py first")
    return json.loads(RESULTS.read_text())


def put(name: str, part: Any) -> dict[str, Any]:
    """Replace a part of the page as it is now, compare all with the targets, and return the page."""
    page = load() | {name: part}
    page["claims"] = peers_claims.claims(page)
    RESULTS.write_text(json.dumps(page, indent=1) + "\n")
    return page
