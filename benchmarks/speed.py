"""How fast each stage of Extended PolyMNIST trains and samples, and what binds it: arithmetic or memory.

    python benchmarks/speed.py --variant five --output speed.json     # on an accelerator
    python benchmarks/speed.py --variant cpu --output speed.json      # on two cores

Random bytes stand for the pictures. The ceilings are measured on the same device: a large matrix product, and
adding one to a large array. The operations of a step are XLA's count for one step outside a scan, made on the
CPU on every machine, as elsewhere products go to libraries in which XLA cannot count; its bytes are those of
its arguments, results and intermediate buffers, each counted once: the least that must move.
Autoencoders are timed in turns and stacked, and in both types.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "configs")]

import polymnist  # noqa: E402

from sbmae_jax.app import provenance  # noqa: E402
from sbmae_jax.app.build import Parts, build  # noqa: E402
from sbmae_jax.app.encoder_decoders import Group  # noqa: E402
from sbmae_jax.data.description import Description  # noqa: E402
from sbmae_jax.models import model as models  # noqa: E402
from sbmae_jax.models.latents import Moments  # noqa: E402
from sbmae_jax.models.task import Task  # noqa: E402
from sbmae_jax.training import sharding  # noqa: E402
from sbmae_jax.training.config import TrainingConfig  # noqa: E402
from sbmae_jax.training.step import compile_training  # noqa: E402

SHAPE = (28, 28, 3)


def seconds(function: Callable[[], Any], at_least: float) -> float:
    """Return the median seconds of a call, of as many as fit into a time; one before them compiles."""
    jax.block_until_ready(function())
    durations, begin = [], time.perf_counter()
    while len(durations) < 3 or time.perf_counter() - begin < at_least:
        start = time.perf_counter()
        jax.block_until_ready(function())
        durations.append(time.perf_counter() - start)
    return float(np.median(durations))


def ceilings(at_least: float) -> dict[str, float]:
    """Return what the device does at most: operations and bytes a second."""
    size = 1024 if jax.default_backend() == "cpu" else 8192
    found = {}
    product = jax.jit(lambda a: a @ a)
    for name in ("float32", "bfloat16"):
        a = jnp.ones((size, size), name)
        found[name] = 2 * size**3 / seconds(partial(product, a), at_least)
    x = jnp.zeros(2**26, jnp.float32)
    found["bytes"] = 2 * x.nbytes / seconds(partial(jax.jit(lambda x: x + 1), x), at_least)
    return found


def description(num_modalities: int) -> Description:
    """Describe data as Extended PolyMNIST's."""
    shapes = {f"m{m:02}": SHAPE for m in range(num_modalities)} | {"label": ()}
    dtypes = dict.fromkeys(shapes, np.dtype(np.uint8)) | {"label": np.dtype(np.int32)}
    return Description(shapes, dtypes, {"label": tuple(map(str, range(10)))})


def step_cost(task: Task, training: TrainingConfig, example: Any) -> dict[str, float]:
    """Return operations and bytes of one optimiser step, as XLA counts them."""
    chunk = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct((1, training.batch_size, *a.shape), a.dtype), example
    )

    def lower(mesh):
        init, run = compile_training(task, training, mesh)
        key = jax.random.key(0)
        return run.lower(key, jax.eval_shape(init, key, chunk), chunk)

    text = lower(sharding.make_mesh()).as_text()
    if text not in _COSTS:  # modalities with the same networks are the same program
        _COSTS[text] = cost_of(lower)
    return _COSTS[text]


_COSTS: dict[str, dict[str, float]] = {}


def cost_of(lower: Callable[[Mesh], Any]) -> dict[str, float]:
    """Return operations and bytes of what is lowered for a mesh."""
    compiled = lower(sharding.make_mesh()).compile()
    memory, cpus = compiled.memory_analysis(), jax.devices("cpu")[:1]
    sizes = (
        memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes
    )  # fmt: skip
    if jax.default_backend() == "cpu":
        counts = compiled.cost_analysis()
    else:  # of the program as it stands before it is compiled: within a hundredth of the same
        with jax.default_device(cpus[0]):
            mesh = Mesh(np.array(cpus).reshape(1, 1), ("rows", "state"))
            counts = lower(mesh).cost_analysis()
    return {"flops": float(counts["flops"]), "bytes": float(sum(sizes))}


def score_cost(model: models.Model, num_rows: int = 1) -> dict[str, float]:
    """Return operations and bytes of one score of some rows, guidance included, as XLA counts them.

    The model may have shapes in place of arrays.
    """
    x = jax.ShapeDtypeStruct((num_rows, model.layout.size), jnp.float32)
    observed = jax.ShapeDtypeStruct((num_rows, len(model.layout.sizes)), bool)
    shapes = jax.eval_shape(lambda model: model, model)

    def lower(_):
        key = jax.random.key(0)
        evaluate = jax.jit(lambda model, x, observed: model.score(key, observed)(x, 0.5))
        return evaluate.lower(shapes, x, observed)

    return cost_of(lower)


def step_seconds(task: Task, training: TrainingConfig, example: Any, at_least: float) -> float:
    """Return the seconds of one optimiser step, in calls of as many steps as the training makes."""
    init, run = compile_training(task, training, sharding.make_mesh())
    shape, rng = (training.steps_per_call, training.batch_size), np.random.default_rng(0)
    chunk = jax.tree.map(
        lambda a: jnp.asarray(rng.integers(0, 10, (*shape, *a.shape)).astype(a.dtype)), example
    )
    key = jax.random.key(0)
    state = init(key, jax.tree.map(lambda a: a[:1], chunk))

    def call():
        nonlocal state
        state, metrics = run(key, state, chunk)
        return metrics

    return seconds(call, at_least) / training.steps_per_call


def stage(
    task: Task,
    training: TrainingConfig,
    example: Any,
    found: dict[str, float],
    dtype: str,
    at_least: float,
) -> dict[str, Any]:
    """Measure one stage against the ceilings."""
    cost = step_cost(task, training, example)
    took = step_seconds(task, training, example, at_least)
    return shares(cost, took, found, dtype) | {"steps_per_second": 1 / took}


def shares(
    cost: dict[str, float], took: float, found: dict[str, float], dtype: str
) -> dict[str, Any]:
    """Return what share of either ceiling is reached, and which of the two is the nearer one."""
    arithmetic = cost["flops"] / took / found[dtype]
    memory = cost["bytes"] / took / found["bytes"]
    return {
        "gflop": cost["flops"] / 1e9, "seconds": took, "flop_per_second": cost["flops"] / took,
        "share_of_flops": arithmetic, "share_of_bandwidth": memory,
        "nearer": "arithmetic" if arithmetic > memory else "memory",
    }  # fmt: skip


def parts_of(config: dict[str, Any], **changes: Any) -> Parts:
    """Build the parts of a config with other values of some keys."""
    return build({**config, **changes}, description(len(config["modalities"])))


def with_dtype(encoder_decoders: dict[str, Any], dtype: str) -> dict[str, Any]:
    """Return the sections of the encoder_decoders with another type of computing, where they have one."""
    changed = json.loads(json.dumps(encoder_decoders))
    for section in changed.values():
        for side in ("encoder", "decoder"):
            if "dtype" in section[side]:
                section[side]["dtype"] = dtype
    return changed


def autoencoders(
    config: dict[str, Any], found: dict[str, float], at_least: float
) -> dict[str, Any]:
    """Measure the training of all autoencoders: in turns and stacked, in each type."""
    rows = {}
    computes = any("dtype" in s["encoder"] for s in config["encoder_decoders"].values())
    for dtype in ("float32", "bfloat16") if computes else ("float32",):
        for stack in (False, True):
            encoder_decoders = with_dtype(config["encoder_decoders"], dtype)
            parts = parts_of(config, encoder_decoders=encoder_decoders, stack_autoencoders=stack)
            group: Group = parts.groups[0]
            example = {name: jax.ShapeDtypeStruct(SHAPE, np.uint8) for name in group.view}
            row = stage(group.task, group.training, example, found, dtype, at_least)
            num_turns = len(parts.groups)
            row["seconds_for_a_step_of_all"] = row["seconds"] * num_turns
            rows[f"autoencoders, {'stacked' if stack else 'in turns'}, {dtype}"] = row
    return rows


def measure(config: dict[str, Any], at_least: float) -> dict[str, Any]:
    """Measure all stages of a config."""
    found, parts = ceilings(at_least), parts_of(config)
    rows = autoencoders(config, found, at_least)
    task = parts.score_task
    z = {"z": jax.ShapeDtypeStruct((parts.layout.size,), np.float32)}
    rows["score"] = stage(task, parts.score_training, z, found, "float32", at_least)
    evaluator = parts.protocol.evaluators()["classifier"]
    labelled = {
        "x": jax.ShapeDtypeStruct(SHAPE, np.uint8), "label": jax.ShapeDtypeStruct((), np.int32),
    }  # fmt: skip
    rows["classifier"] = stage(
        evaluator.task, evaluator.training, labelled, found, "float32", at_least
    )
    rows["sampling"] = sampling(parts, config["evaluation"]["batch_size"], found, at_least)
    return {"ceilings": found, "stages": rows}


def sampling(
    parts: Parts, num_rows: int, found: dict[str, float], at_least: float
) -> dict[str, Any]:
    """Measure a call of the generator that makes all modalities from the first."""
    names, key = parts.layout.names, jax.random.key(0)
    task = parts.score_task
    z = {"z": jnp.zeros((1, parts.layout.size))}
    pictures = {"x": jnp.zeros((1, *SHAPE), jnp.uint8)}
    params = {
        "autoencoders": {
            name: jax.jit(a.task.init)(key, pictures)
            for name, a in zip(names, parts.autoencoders, strict=True)
        },
        "score": jax.jit(task.init)(key, z),
    }
    ones = jnp.ones(parts.layout.size)
    model = models.Model(
        params=params, moments=Moments(ones, ones), modalities=parts.modalities,
        autoencoders=parts.autoencoders, score_network=parts.network, sde=parts.sde, sampling=parts.sampling,
    )  # fmt: skip
    batch = {name: jnp.zeros((num_rows, *SHAPE), jnp.uint8) for name in names}
    observed = jnp.zeros((num_rows, len(names)), bool).at[:, 0].set(True)
    took = seconds(lambda: models.complete(model, key, batch, observed), at_least)
    num = model.sampling.num_evaluations
    whole = {name: num * value for name, value in score_cost(model, num_rows).items()}
    row = shares(whole, took, found, "float32")
    return row | {"seconds_per_1000_samples": 1000 * took / num_rows, "num_evaluations": num}


def table(measured: dict[str, Any]) -> str:
    """Return the stages as a table of Markdown."""
    lines = [
        "| stage | ms a step | GFLOP a step | share of the arithmetic | of the bandwidth | nearer |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in measured["stages"].items():
        lines.append(
            f"| {name} | {1000 * row['seconds']:.3g} | {row['gflop']:.3g} | "
            f"{row['share_of_flops']:.1%} | {row['share_of_bandwidth']:.1%} | {row['nearer']} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variant", default="default", choices=polymnist.VARIANTS)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement, at least")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    config = polymnist.get_config(arguments.variant).to_dict()
    page = {
        "command": f"python benchmarks/speed.py --variant {arguments.variant}",
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "device": provenance.device(),
        **measure(config, arguments.seconds),
    }
    if arguments.output:
        arguments.output.write_text(json.dumps(page, indent=1) + "\n")
    print(table(page))


if __name__ == "__main__":
    main()
