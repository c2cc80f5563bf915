"""What the figures of scale were to show, and their table."""

from benchmarks.claims import Claim, claim
from benchmarks.runner import Page, Report
from benchmarks.tables import rows_table

NUM_KILLED = 50
# Sums in another order, rounded to float32, through twenty steps of Adam. Set after one look by hand, which
# gave 1e-4 and 1e-6.
DIFFERENCES = {"params": 1e-3, "samples": 1e-4}


def claims(page: Page) -> list[Claim]:
    """Compare what was measured with the targets."""
    found = []
    if kill := page.get("kill"):
        same, num = kill["num_identical"], kill["num_runs"]
        found += [
            claim("killed runs that end with the bits of one that was not", same, ">=", NUM_KILLED),
            claim("killed runs that did not end, or end otherwise", num - same, "<=", 0),
            claim("killed runs with a damaged checkpoint", kill["num_damaged"], "<=", 0),
        ]
    for name, row in page.get("processes", {"rows": {}})["rows"].items():
        found += [
            claim(f"{name}: largest difference of {what} to one device", row[what], "<=", bound)
            for what, bound in DIFFERENCES.items()
        ]
    return found


REPORT = Report(
    "scale", claims, {"scale.memory": ("memory", lambda page: rows_table(page["memory"]["rows"]))}
)
