"""Extended PolyMNIST on two cores: coherence, and the cost of more modalities; results/polymnist.json.

    python benchmarks/polymnist.py runs --seeds 0      # configs/polymnist.py:cpu, under 45 minutes a seed
    python benchmarks/polymnist.py networks            # score networks on the autoencoders of seed 0
    python benchmarks/polymnist.py coders              # VAE of several betas, and the RAE
    python benchmarks/polymnist.py cost                # 2 to 32 modalities, and results/polymnist_cost.png
    python benchmarks/polymnist.py claims              # compares what was measured with the targets again

Networks and coders are compared on the validation split. Each part keeps its own command and commit.
Runs are kept under runs/polymnist-NAME and not repeated. MNIST is needed for all but the cost, see
configs/polymnist.py.
"""

import argparse
import json
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "configs"))  # before this folder, which has a file of the same name

import polymnist  # noqa: E402
import speed  # noqa: E402

from sbmae_jax import pipeline, provenance, sharding  # noqa: E402
from sbmae_jax.log import read  # noqa: E402
from sbmae_jax.run import Run, load_model  # noqa: E402
from sbmae_jax.score import score_task  # noqa: E402
from sbmae_jax.train import compile_training  # noqa: E402

RESULTS = ROOT / "results" / "polymnist.json"
PLOT = ROOT / "results" / "polymnist_cost.png"
NUMBERS = (2, 4, 8, 16, 32)
# The targets of two cores; coherence by the protocol of all subsets.
AT_LEAST = {
    "coherence, given 1": 0.70, "coherence, given 2": 0.85, "coherence, given 3": 0.90,
    "coherence, given 4": 0.93, "all agree": 0.60,
}  # fmt: skip
AT_MOST = {"seconds of all stages": 45 * 60}


def figures(results: dict[str, Any]) -> dict[str, float]:
    """Return the main figures of one run."""
    given = {
        f"{words}, given {n}": entry["mean"]
        for words, key in (
            ("coherence", "all_subsets_coherence"), ("coherence by prefix", "prefix_coherence"),
        )
        for n, entry in results[key].items()
    }  # fmt: skip
    distances = {
        f"Fréchet distance (classifier features), given {n}": entry["mean"]
        for n, entry in results["all_subsets_frechet_classifier_features"].items()
    }
    return {
        "classifier accuracy": results["classifier_accuracy"]["mean"],
        "reconstruction accuracy": results["reconstruction_accuracy"]["mean"],
        **given,
        "all agree": results["unconditional_coherence"]["all_agree"]["mean"],
        "label total variation": results["label_total_variation"]["uniform"],
        "conditional diversity": results["conditional_diversity"],
        **distances,
        "seconds per 1,000 samples": results["seconds_per_1000_samples"],
        "seconds of all stages": sum(results["seconds"].values()),
        "peak memory, GiB": results["peak_memory_bytes"] / 2**30,
    }


def measure_runs(seeds: list[int]) -> dict[str, Any]:
    """Run the variant for two cores with several seeds."""
    runs = {}
    for seed in seeds:
        config = polymnist.get_config("cpu")
        config.seed = seed
        workdir = pipeline.run(config.to_dict(), ROOT / "runs" / f"polymnist-cpu-{seed}")
        runs[str(seed)] = json.loads((workdir / "results.json").read_text())
    values = [figures(run) for run in runs.values()]
    return {
        "seeds": seeds,
        "commit": sorted({run["commit"] for run in runs.values()}),
        "mean": collect(np.mean, values),
        "std": collect(partial(np.std, ddof=1), values) if len(values) > 1 else {},
        "runs": runs,
    }


def variant(name: str, changes: dict[str, Any], keep: tuple[str, ...]) -> dict[str, Any]:
    """Train and measure a change of the variant for two cores, with finished networks of its seed 0.

    changes: of sections of the config, merged into them.  keep: the folders to take over.
    """
    config, source = polymnist.get_config("cpu").to_dict(), ROOT / "runs" / "polymnist-cpu-0"
    config["evaluation"]["protocols"] = ("nested",)
    for section, values in changes.items():
        config[section] = {**config[section], **values} if "name" not in values else values
    workdir = ROOT / "runs" / f"polymnist-{name}"
    workdir.mkdir(parents=True, exist_ok=True)
    for part in keep:
        if not (workdir / part).exists():
            shutil.copytree(source / part, workdir / part)
    shutil.copy(source / "data.json", workdir / "data.json")
    for stage in ("autoencoders", "score", "judges"):
        pipeline.run(config, workdir, stage)
    run = Run(config, workdir)
    model = load_model(run)
    found, _ = pipeline.measure(run, model, "valid")
    x = jax.ShapeDtypeStruct((1, model.layout.size), jnp.float32)
    observed = jax.ShapeDtypeStruct((1, len(model.layout.sizes)), bool)
    evaluate = jax.jit(lambda model, x, observed: model.score(observed)(x, 0.5))
    flops = float(evaluate.lower(model, x, observed).compile().cost_analysis()["flops"])
    return {
        "reconstruction accuracy": found["reconstruction_accuracy"]["mean"],
        **{f"given {n}": e["mean"] for n, e in found["conditional_coherence"].items()},
        "all agree": found["unconditional_coherence"]["all_agree"]["mean"],
        "Fréchet distance": found["frechet_classifier_features"]["mean"],
        "conditional diversity": found["conditional_diversity"],
        "seconds of training the score": sum(
            row["seconds"] for row in read(workdir)["score"]
        ),
        "parameters of the score": sum(p.size for p in jax.tree.leaves(model.params["score"])),
        "GFLOP of one sample": flops * model.sampling.num_evaluations / 1e9,
    }  # fmt: skip


NETWORKS = {
    "hub": {},
    "hub, half as wide": {
        "network": {"name": "hub", "width": 80, "hub_width": 128, "num_blocks": 3}
    },
    "mlp": {"network": {"name": "mlp", "width": 512, "num_blocks": 4}},
    "transformer": {
        "network": {"name": "transformer", "width": 192, "num_blocks": 4, "num_heads": 4}
    },
    "unet": {
        "network": {"name": "unet", "dim": 32, "mults": (1, 2), "per_modality_levels": True},
        "score_training": {"num_steps": 1500, "batch_size": 128, "steps_per_call": 1},
    },
}
BETAS = (0.1, 0.2, 0.35, 0.7)


def measure_networks() -> dict[str, Any]:
    """Compare score networks on the same latents, by the same number of steps but for the UNet."""
    rows = {
        name: variant(
            "network-" + name.replace(", ", "-").replace(" ", "-"), changes, ("autoencoder", "classifier")
        )
        for name, changes in NETWORKS.items()
    }  # fmt: skip
    return {"commit": provenance.commit(), "rows": rows}


def measure_coders() -> dict[str, Any]:
    """Compare VAE of several betas and the RAE."""
    names = polymnist.get_config("cpu").modalities.keys()
    base = polymnist.get_config("cpu").modalities.to_dict()

    def weighted(weight, **more):
        return {"modalities": {n: {**base[n], "weight": weight, **more} for n in names}}

    cases = {f"VAE, beta {beta}": weighted(beta) for beta in BETAS}
    cases["RAE"] = {**weighted(1e-5, code_noise=0.01), "autoencoder": {"kind": "rae"}}
    rows = {
        case: variant(f"coder-{i}", changes, ("classifier",))
        for i, (case, changes) in enumerate(cases.items())
    }
    return {"commit": provenance.commit(), "rows": rows}


def collect(reduce: Any, values: list[dict[str, float]]) -> dict[str, float]:
    """Reduce each figure over the seeds."""
    return {name: float(reduce([v[name] for v in values])) for name in values[0]}


def cost(num_modalities: int, at_least: float) -> dict[str, float]:
    """Measure training and sampling with a number of modalities, of the networks for two cores."""
    config = polymnist.get_config("cpu").to_dict()
    (first, *_) = config["modalities"].values()
    config["modalities"] = {f"m{m:02}": first for m in range(num_modalities)}
    config["evaluation"] |= {"batch_size": 200}
    parts = speed.parts_of(config)
    group = parts.groups[0]
    picture = {"x": jax.ShapeDtypeStruct(speed.SHAPE, np.uint8)}
    task = score_task(parts.network, parts.sde, parts.layout, parts.matching)
    z = {"z": jax.ShapeDtypeStruct((parts.layout.size,), np.float32)}
    one = speed.step_seconds(group.task, group.training, picture, at_least)
    training, mesh, key = parts.score_training, sharding.make_mesh(), jax.random.key(0)
    init, run = compile_training(task, training, mesh)
    chunk = {"z": jax.ShapeDtypeStruct((1, training.batch_size, parts.layout.size), jnp.float32)}
    memory = run.lower(key, jax.eval_shape(init, key, chunk), chunk).compile().memory_analysis()
    found = {"float32": 1.0, "bytes": 1.0}  # only the seconds are wanted
    sampled = speed.sampling(parts, config["evaluation"]["batch_size"], found, at_least)
    return {
        "autoencoder steps of all, seconds": num_modalities * one,
        "score step, seconds": speed.step_seconds(task, training, z, at_least),
        "score step, MiB": (memory.temp_size_in_bytes + memory.argument_size_in_bytes) / 2**20,
        "score parameters": sum(
            p.size for p in jax.tree.leaves(jax.eval_shape(init, key, chunk).params)
        ),
        "1,000 samples, seconds": sampled["seconds_per_1000_samples"],
        "score evaluation of one sample, MFLOP": 1e3 * sampled["gflop"] / 200
        / sampled["num_evaluations"],
    }  # fmt: skip


def measure_cost(at_least: float) -> dict[str, Any]:
    """Measure the cost against the number of modalities, and draw it."""
    rows = {str(num): cost(num, at_least) for num in NUMBERS}
    growth = {
        name: float(np.polyfit(np.log(NUMBERS), np.log([r[name] for r in rows.values()]), 1)[0])
        for name in rows["2"]
    }
    draw(rows)
    return {"commit": provenance.commit(), "rows": rows, "growth": growth}


def draw(rows: dict[str, dict[str, float]]) -> None:
    """Draw each cost over that of two modalities."""
    figure = Figure(figsize=(5.2, 3.8))
    axes = figure.add_subplot()
    for name in rows["2"]:
        values = np.array([row[name] for row in rows.values()])
        axes.plot(NUMBERS, values / values[0], marker="o", label=name)
    axes.plot(NUMBERS, np.array(NUMBERS) / 2, "k--", label="linear")
    axes.set(
        xscale="log", yscale="log", xlabel="modalities", ylabel="cost, over that of two", xticks=NUMBERS,
        xticklabels=map(str, NUMBERS),
    )  # fmt: skip
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(PLOT, dpi=120)


def claims(page: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare what was measured with its targets."""
    found = []

    def claim(name: str, value: float, bound: float, at_most: bool) -> None:
        found.append({
            "name": name, "value": round(value, 4), "bound": f"{'<=' if at_most else '>='} {bound}",
            "holds": value <= bound if at_most else value >= bound,
        })  # fmt: skip

    for seed, run in page.get("runs", {}).get("runs", {}).items():
        values = figures(run)
        for name, bound in AT_LEAST.items():
            claim(f":cpu, seed {seed}: {name}", values[name], bound, at_most=False)
        for name, bound in AT_MOST.items():
            claim(f":cpu, seed {seed}: {name}", values[name], bound, at_most=True)
    for name, slope in page.get("cost", {}).get("growth", {}).items():
        claim(f"growth with the number of modalities, as a power: {name}", slope, 1.0, at_most=True)
    return found


def table(page: dict[str, Any]) -> str:
    """Return the figures of the runs as a table of Markdown."""
    runs = page["runs"]
    seeds = ", ".join(map(str, runs["seeds"]))
    lines = [
        f"| | target | {'seed' if len(runs['seeds']) == 1 else 'mean ± deviation of seeds'} {seeds} |",
        "|---|---|---|",
    ]
    for name, value in runs["mean"].items():
        target = f"≥ {AT_LEAST[name]}" if name in AT_LEAST else ""
        target = f"≤ {AT_MOST[name]}" if name in AT_MOST else target
        digits = 1 if "seconds" in name else 3
        spread = f" ± {runs['std'][name]:.{digits}f}" if runs["std"] else ""
        lines.append(f"| {name} | {target} | {value:.{digits}f}{spread} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["runs", "networks", "coders", "cost", "claims"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each timing, at least")
    arguments = parser.parse_args()
    page = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    command = f"python benchmarks/polymnist.py {arguments.part}"
    if arguments.part == "runs":
        command += " --seeds " + " ".join(map(str, arguments.seeds))
        page["runs"] = {"command": command, **measure_runs(arguments.seeds)}
    for part, measure in (("networks", measure_networks), ("coders", measure_coders)):
        if arguments.part == part:
            page[part] = {"command": command, **measure()}
    if arguments.part == "cost":
        page["cost"] = {"command": command, **measure_cost(arguments.seconds)}
    parts = [page[part] for part in ("runs", "networks", "coders", "cost") if part in page]
    page |= {
        "claims": claims(page),
        "command": "; ".join(part["command"] for part in parts),
        "commit": sorted({c for part in parts for c in np.atleast_1d(part["commit"]).tolist()}),
        "versions": provenance.versions(),
        "device": provenance.device(),
    }
    RESULTS.write_text(json.dumps(page, indent=1) + "\n")
    if "runs" in page:
        print(table(page))
    for entry in page["claims"]:
        if not entry["holds"]:
            print(f"does not hold: {entry['name']}: {entry['value']}, wanted {entry['bound']}")


if __name__ == "__main__":
    main()
