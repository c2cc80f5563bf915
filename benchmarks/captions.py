"""PolyDigits with captions: do pictures and text follow each other as pictures and classes do?

One model has five photographs, a caption of the first and the digit as a class; another one has no caption.
Both are measured as any run of `configs/polydigits.py:captions` is.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from benchmarks.claims import Claim, claim
from benchmarks.runner import Options, Page, once
from benchmarks.runs import forget_compiled, results_of
from configs import polydigits

FIRST = "hubble"  # the photograph that captions are about


def config_of(with_captions: bool, smoke: bool) -> dict[str, Any]:
    """Return a config of the photographs and the digit as a class, with or without captions."""
    config = polydigits.get_config("captions")
    if smoke:
        polydigits.shrink(config)
    if not with_captions:
        del config.modalities.caption, config.encoder_decoders.text
    return config.to_dict()


def figures_of(config: Mapping[str, Any], workdir: Any) -> dict[str, Any]:
    """Run all stages, and return the coherence of the results."""
    results = results_of(config, workdir)
    found = {"all agree": results["unconditional_coherence"]["all_agree"]["mean"]}
    if "captions" in results:
        found |= results["captions"]["caption"]
    return found


def measure_captions(options: Options) -> dict[str, Any]:
    """Measure both models with each seed."""
    runs = {}
    for seed in options.seeds:
        runs[str(seed)] = {}
        for title, with_captions in (("with captions", True), ("without", False)):
            config = config_of(with_captions, options.smoke) | {"seed": seed}
            workdir = options.runs / f"captions-{title.replace(' ', '-')}-{seed}"
            runs[str(seed)][title] = once(
                workdir / "captions.json", partial(figures_of, config, workdir)
            )
            forget_compiled()
    return {"seeds": options.seeds, "runs": runs}


def of_captions(page: Page) -> Iterator[Claim]:
    for seed, found in page["captions"]["runs"].items():
        ours, without = found["with captions"], found["without"]
        over = ours["over_label"]["digit"]
        yield claim(
            f"pictures given the caption, over given the digit, seed {seed}", over, ">=", 0.95
        )
        said = ours["caption_given"][FIRST].values()
        factors = sum(entry["mean"] for entry in said) / len(said)
        yield claim(f"factors of the caption given its picture, seed {seed}", factors, ">=", 0.90)
        change = ours["agreement"]["digit"]["others"]["mean"] - without["all agree"]
        yield claim(
            f"all pictures and the digit agree, change by captions, seed {seed}",
            change,
            ">=",
            -0.02,
        )
