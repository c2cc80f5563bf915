"""The figures of faces that have targets, the targets, and the tables made of them."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.claims import Claim, Target, claim, flops_claim
from benchmarks.runner import Page, Report
from benchmarks.tables import figures_table, mean_std, over_seeds, part_table

F1, ERROR, PIXELS, FEATURES = (
    "attributes read (F1)", "standard error", "diversity, of real: pixels", "features",
)  # fmt: skip
BOTH = {"attribute_f1": "image+mask", "mask_f1": "attributes+image"}
CONVERSION: dict[str, Target] = {
    "faces a second, two processes": (">=", 300), "picture files a second": (">=", 300),
    "peak memory, GiB": ("<=", 2),
}  # fmt: skip
ALONE = {"attribute_f1": ("image", "mask"), "mask_f1": ("image", "attributes")}


def figures(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the main figures of one run."""
    made, read, rebuilt = (results[key] for key in ("generated", "image_read", "reconstruction"))
    gaps = {name: entry["pixels"] for name, entry in results["diversity"].items()}
    kept = rebuilt["image_read"]["attribute_f1"]["mean"]
    return {
        **{
            f"{name}, given {given}": made[given][name]["mean"]
            for name in BOTH for given in (*ALONE[name], BOTH[name])
        },
        **{f"{name}, supervised": results["supervised"][name]["mean"] for name in BOTH},
        **{f"{name}, reconstructed": rebuilt[name]["mean"] for name in BOTH},
        "attributes read from pictures made from attributes": read["attributes"]["attribute_f1"]["mean"],
        "attributes read from reconstructed pictures": kept,
        "mask read from pictures made from masks": read["mask"]["mask_f1"]["mean"],
        "attributes read from pictures from nothing, against their own":
            read["nothing"]["attribute_f1"]["mean"],
        "diversity given attributes, of real": gaps["attributes"] / gaps["real"],
        "diversity given the mask, of real": gaps["mask"] / gaps["real"],
        "diversity from nothing, of real": gaps["nothing"] / gaps["real"],
        "Fréchet distance from nothing (classifier features)":
            results["image_frechet_classifier_features"]["nothing"],
        "image RMSE of reconstructions": rebuilt["image_rmse"],
        "seconds per 1,000 samples": results["seconds_per_1000_samples"],
        "seconds of all stages": sum(results["seconds"].values()),
    }  # fmt: skip


def of_runs(page: Page) -> Iterator[Claim]:
    """Compare the means over seeds with each other, and the time of each seed with its target."""
    runs = page["runs"]["vae"]["runs"]
    rows = list(map(figures, runs.values()))
    mean = {name: mean_std(rows, name)[0] for name in rows[0]}
    for name, both in BOTH.items():
        value = mean[f"{name}, given {both}"]
        for alone in ALONE[name]:
            other = mean[f"{name}, given {alone}"]
            yield claim(f"{name} given {both}, against given {alone}", value, ">", other)
        ratio = mean[f"{name}, given image"] / mean[f"{name}, supervised"]
        yield claim(f"{name} given image, over the supervised bound", ratio, ">=", 0.9)
    read = mean["attributes read from pictures made from attributes"]
    name = "attributes read from pictures made from them, over those read from real pictures"
    yield claim(name, read / mean["attribute_f1, supervised"], ">=", 0.85)
    for seed, row in zip(runs, rows, strict=True):
        name = f"seconds of :toy, all stages, seed {seed}"
        yield claim(name, row["seconds of all stages"], "<=", 1200)


def of_guidance(page: Page) -> Iterator[Claim]:
    rows = page["guidance"]["test"]
    for kind, strength in page["guidance"]["chosen"].items():
        plain, guided = rows[f"{kind}, strength 0.0"], rows[f"{kind}, strength {strength}"]
        name = f"guidance, negatives {kind}, strength {strength}"
        yield claim(f"{name}: rise of coherence", guided[F1] - plain[F1], ">", 0)
        yield claim(f"{name}: diversity kept", guided[PIXELS] / plain[PIXELS], ">=", 0.9)


def of_samplers(page: Page) -> Iterator[Claim]:
    ours, theirs = (page["samplers"]["rows"][n] for n in ("default", "the reference's, hub"))
    for key in (F1, PIXELS):
        name = f"default sampler against the reference's, hub: {key}"
        yield claim(name, ours[key], ">=", theirs[key])


def of_conversion(page: Page) -> Iterator[Claim]:
    for name, target in CONVERSION.items():
        yield claim(f"conversion: {name}", page["conversion"]["row"][name], *target)


def runs_table(page: Page) -> str:
    vae, rae = (page["runs"][kind]["runs"] for kind in ("vae", "rae"))
    columns = over_seeds(vae, figures, "SBM-VAE, ") | over_seeds(rae, figures, "SBM-RAE, ")
    return figures_table(columns)


def conversion_table(page: Page) -> str:
    part = page["conversion"]
    column = f"{part['num_faces']:,} faces on {part['cores']} cores"
    return figures_table({column: [part["row"]]}, CONVERSION)


REPORT = Report(
    "celeba",
    [
        ("runs", of_runs), ("guidance", of_guidance), ("samplers", of_samplers),
        flops_claim("full_size", "FLOPs over the reference sampler's, full size", 1 / 200),
        ("conversion", of_conversion),
    ],
    {
        "faces.runs": ("runs", runs_table),
        "faces.conversion": ("conversion", conversion_table),
        "faces.guidance": part_table("guidance", (F1, ERROR, PIXELS, FEATURES), "negatives", "valid"),
        "faces.samplers": part_table(
            "samplers", ("evaluations", "GFLOP a sample", F1, ERROR, PIXELS), "sampler"
        ),
    },
)  # fmt: skip
