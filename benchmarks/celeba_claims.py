"""The figures of faces that have targets, the targets, and the tables made of them."""

import operator
from typing import Any

READ = ("attribute_f1", "mask_f1")
COMPARISONS = {">=": operator.ge, ">": operator.gt, "<=": operator.le}
BOTH = {"attribute_f1": "image+mask", "mask_f1": "attributes+image"}
ALONE = {"attribute_f1": ("image", "mask"), "mask_f1": ("image", "attributes")}


def figures(results: dict[str, Any]) -> dict[str, float]:
    """Return the main figures of one run."""
    made, read = results["generated"], results["image_read"]
    spread, bound = results["diversity"], results["supervised"]
    values = {
        f"{name}, given {given}": made[given][name]["mean"]
        for name in READ
        for given in (*ALONE[name], BOTH[name])
    }
    values |= {f"{name}, supervised": bound[name]["mean"] for name in READ}
    values |= {f"{name}, reconstructed": results["reconstruction"][name]["mean"] for name in READ}
    values |= {
        "attributes read from pictures made from attributes": read["attributes"]["attribute_f1"]["mean"],
        "attributes read from reconstructed pictures":
            results["reconstruction"]["image_read"]["attribute_f1"]["mean"],
        "mask read from pictures made from masks": read["mask"]["mask_f1"]["mean"],
        "attributes read from pictures from nothing, against their own":
            read["nothing"]["attribute_f1"]["mean"],
        "diversity given attributes, of real":
            spread["attributes"]["pixels"] / spread["real"]["pixels"],
        "diversity given the mask, of real": spread["mask"]["pixels"] / spread["real"]["pixels"],
        "diversity from nothing, of real": spread["nothing"]["pixels"] / spread["real"]["pixels"],
        "Fréchet distance from nothing (classifier features)":
            results["image_frechet_classifier_features"]["nothing"],
        "image RMSE of reconstructions": results["reconstruction"]["image_rmse"],
        "seconds per 1,000 samples": results["seconds_per_1000_samples"],
        "seconds of all stages": sum(results["seconds"].values()),
    }  # fmt: skip
    return values


def claims(page: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one claim for each target."""
    found = []

    def claim(name: str, value: float, bound: float, sign: str = ">=") -> None:
        found.append({
            "name": name, "value": round(value, 5), "bound": f"{sign} {round(bound, 5)}",
            "holds": COMPARISONS[sign](value, bound),
        })  # fmt: skip

    mean = page["mean"]["vae"]
    for name in READ:
        both = mean[f"{name}, given {BOTH[name]}"]
        for given in ALONE[name]:
            claim(
                f"{name} given {BOTH[name]}, against given {given}",
                both,
                mean[f"{name}, given {given}"],
                ">",
            )
        bound = mean[f"{name}, supervised"]
        claim(
            f"{name} given image, over the supervised bound",
            mean[f"{name}, given image"] / bound,
            0.9,
        )
    read = mean["attributes read from pictures made from attributes"]
    claim(
        "attributes read from pictures made from them, over those read from real pictures",
        read / mean["attribute_f1, supervised"], 0.85,
    )  # fmt: skip
    for sweep in page["guidance"]:
        plain, chosen = sweep["test"]["0.0"], sweep["test"][str(sweep["chosen"])]
        kind = f"guidance, negatives {sweep['negatives']}, strength {sweep['chosen']}"
        gain = chosen["attribute_f1"] - plain["attribute_f1"]
        claim(f"{kind}: rise of coherence", gain, 0, ">")
        kept = chosen["diversity_pixels"] / plain["diversity_pixels"]
        claim(f"{kind}: diversity kept", kept, 0.9)
    samplers = page["reference_sampler"]
    for name, theirs in samplers.items():
        if name.startswith("default"):
            continue
        for key in ("attribute_f1", "diversity_pixels"):
            value = samplers["default"][key]
            claim(f"default sampler against {name}: {key}", value, theirs[key])
    cost = page["full_size_gflop_per_sample"]
    claim(
        "FLOPs over the reference sampler's, full size",
        cost["ours"] / cost["theirs"],
        1 / 200,
        "<=",
    )
    for seed, run in page["runs"]["vae"].items():
        claim(f"seconds of :toy, all stages, seed {seed}", sum(run["seconds"].values()), 1200, "<=")
    if page["conversion"]:
        speed = page["conversion"]
        claim("conversion: faces a second, two processes", speed["entries_per_second"], 300)
        claim(
            "conversion: picture files a second, two processes",
            speed["picture_files_per_second"],
            300,
        )
        claim("conversion: peak memory, GiB", speed["peak_memory_gib"], 2, "<=")
    return found


def markdown(page: dict[str, Any]) -> str:
    """Return the table of the docs: SBM-VAE beside SBM-RAE."""
    seeds = ", ".join(map(str, page["seeds"]))
    lines = [f"| seeds {seeds}: mean ± deviation | SBM-VAE | SBM-RAE |", "|---|---|---|"]
    for name in page["mean"]["vae"]:
        digits = 1 if "seconds" in name or "Fréchet" in name else 3
        cells = [
            f"{page['mean'][kind][name]:.{digits}f}"
            + (f" ± {page['std'][kind][name]:.{digits}f}" if page["std"][kind] else "")
            for kind in ("vae", "rae")
        ]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def sampler_table(page: dict[str, Any]) -> str:
    """Return the table of our default beside the reference's sampler."""
    lines = [
        "| sampler | evaluations | GFLOP a sample | attributes read (F1) | diversity, of real |",
        "|---|---|---|---|---|",
    ]
    for name, row in page["reference_sampler"].items():
        lines.append(
            f"| {name} | {row['num_evaluations']:,} | {row['gflop_per_sample']:.3g} | "
            f"{row['attribute_f1']:.3f} ± {row['attribute_f1_se']:.3f} | {row['diversity_pixels']:.3f} |"
        )
    return "\n".join(lines)


def guidance_table(page: dict[str, Any]) -> str:
    """Return the table of guidance against its strength."""
    lines = [
        "| negatives | strength | attributes read (F1) | diversity, of real: pixels | features |",
        "|---|---|---|---|---|",
    ]
    for sweep in page["guidance"]:
        for strength, row in sweep["valid"].items():
            lines.append(
                f"| {sweep['negatives']} | {strength} | {row['attribute_f1']:.3f} ± "
                f"{row['attribute_f1_se']:.3f} | {row['diversity_pixels']:.3f} | "
                f"{row['diversity_features']:.3f} |"
            )
    return "\n".join(lines)
