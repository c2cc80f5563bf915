"""What the report shows of the information between modalities, for models whose score has marginals."""

from collections.abc import Mapping, Sequence
from typing import Any

from sbmae_jax.evaluation.base import ReportSection, Results


def information_sections(results: Results, names: Sequence[str]) -> list[ReportSection]:
    """Return the matrix of mutual information in nats, with what is said of all modalities together."""
    if "information" not in results:
        return []
    found = results["information"]
    rows = [
        (a, *("" if a == b else _cell(found["pairs"][a][b]) for b in names)) for a in names
    ]  # fmt: skip
    remark = (
        "Mutual information of the latents, a lower bound of that of the data up to errors of the score: 0 "
        "means independent. It counts relations of any form, in both directions alike. For two numbers with "
        "a Gaussian relation, 0.1 nats are 18 % of the variance explained, 0.5 are 63 %, 1 is 86 %, and 2 "
        "are 98 %; what independent columns of vectors tell adds up. "
        f"{found['num_rows']:,} complete test rows."
    )
    if len(names) > 2:
        remark += f" All together: total correlation {_cell(found['total_correlation'])} nats"
        if "o_information" in found:
            remark += (
                f", O-information {_cell(found['o_information'], '+.2f')}, which is above 0 where modalities "
                "repeat each other, and below 0 where several tell what none tells alone"
            )
        remark += "."
    if "?" in " ".join(map(" ".join, rows)) + remark:
        remark += " A question mark: the score errs more than its answers say, so the value may be too large."
    return [ReportSection("Information, in nats", table=(("", *names), *rows), remark=remark)]


def _cell(entry: Mapping[str, Any], form: str = ".2f") -> str:
    """Write an estimate with its standard error."""
    return f"{entry['mean']:{form}} ± {entry['se']:.2f}" + " ?" * entry["doubtful"]
