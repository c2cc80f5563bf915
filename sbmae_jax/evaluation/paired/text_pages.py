"""Sections of the report of paired data on text: tables of strings."""

from sbmae_jax.evaluation.base import ReportSection, Results, Samples
from sbmae_jax.evaluation.formatting import percent_with_error
from sbmae_jax.evaluation.paired.caption_pages import caption_sections

NUM_DRAWN = 3  # strings drawn for one test example
NUM_JOINT = 6  # strings of joint samples
MAX_CHARACTERS = 120  # of a string that are shown

NO_GRAMMAR = (
    "The data have no grammar that tells what a string of {} says, so whether it says what the other "
    "modalities show was not measured."
)

_TITLES = {
    "model": "this model", "neighbour": "nearest training row", "frequent": "most frequent string",
    "reconstruction": "encoded and decoded",
}  # fmt: skip


def text_sections(results: Results, samples: Samples) -> list[ReportSection]:
    """Return the sections on modalities of text, if there are any."""
    entries = results.get("texts", {})
    if not entries:
        return []
    rows = [
        (name, title, *(percent_with_error(entry[key][share]) for share in ("exact", "tokens")))
        for name, entry in entries.items()
        for key, title in _TITLES.items()
    ]
    table = (("generated", "by", "the same string", "the same tokens"), *rows)
    remark = (
        "Strings generated given all other modalities of a test row, beside the string of the nearest "
        "training row. Where the others do not say how a thing is worded, few strings are the same; then "
        "see how much of the numbers of tokens is explained, above."
    )
    if unread := [name for name in entries if name not in results.get("captions", entries)]:
        remark += f" {NO_GRAMMAR.format(', '.join(unread))}"
    shown = [name for name in entries if f"rest/{name}" in samples]
    return [
        ReportSection("Text, given all others", table=table, remark=remark),
        *caption_sections(results),
        *(_examples(samples, name) for name in shown),
    ]


def _examples(samples: Samples, name: str) -> ReportSection:
    """Show test examples beside strings that are drawn for them, and strings of joint samples."""
    drawn = samples[f"rest/{name}"][:, :NUM_DRAWN]
    rows = [
        tuple(map(_shown, (true, *strings)))
        for true, strings in zip(samples[f"true/{name}"], drawn, strict=True)
    ]
    head = ("test example", "drawn, given all others", *[""] * (drawn.shape[1] - 1))
    joint = "; ".join(f"“{_shown(string)}”" for string in samples[f"joint/{name}"][:NUM_JOINT])
    return ReportSection(
        f"Examples: {name}, generated", table=(head, *rows), remark=f"Drawn from nothing: {joint}."
    )


def _shown(string: str) -> str:
    string = str(string)
    return string if len(string) <= MAX_CHARACTERS else string[: MAX_CHARACTERS - 1] + "…"
