"""What the figures of scale were to show, and their table."""

from collections.abc import Iterator

from benchmarks.claims import Claim, claim
from benchmarks.runner import Page, Report
from benchmarks.tables import part_table

NUM_KILLED = 50
# Sums in another order, rounded to float32, through twenty steps of Adam. Set after one look by hand, which
# gave 1e-4 and 1e-6.
DIFFERENCES = {"params": 1e-3, "samples": 1e-4}


def of_kill(page: Page) -> Iterator[Claim]:
    same, num = page["kill"]["num_identical"], page["kill"]["num_runs"]
    yield claim("killed runs that end with the bits of one that was not", same, ">=", NUM_KILLED)
    yield claim("killed runs that did not end, or end otherwise", num - same, "<=", 0)
    yield claim("killed runs with a damaged checkpoint", page["kill"]["num_damaged"], "<=", 0)


def of_processes(page: Page) -> Iterator[Claim]:
    for name, row in page["processes"]["rows"].items():
        for what, bound in DIFFERENCES.items():
            title = f"{name}: largest difference of {what} to one device"
            yield claim(title, row[what], "<=", bound)


REPORT = Report(
    "scale",
    [("kill", of_kill), ("processes", of_processes)],
    {"scale.memory": part_table("memory")},
)
