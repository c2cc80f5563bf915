"""What a training step or a score costs: operations and bytes as XLA counts them, and seconds.

The operations of a step are XLA's count for one step outside a scan, made on the CPU on every machine, as
elsewhere products go to libraries in which XLA cannot count. Its bytes are those of its arguments, results
and intermediate buffers, each counted once: the least that must move. Random bytes stand for the pictures.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from sbmae_jax.app.build import Parts, build
from sbmae_jax.data.description import Description
from sbmae_jax.models.latents import Moments
from sbmae_jax.models.model import Model, complete
from sbmae_jax.models.task import Task
from sbmae_jax.training import sharding
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.step import compile_training

SHAPE = (28, 28, 3)
PICTURE = jax.ShapeDtypeStruct(SHAPE, np.uint8)


def parts_of(config: Mapping[str, Any], **changes: Any) -> Parts:
    """Build the parts of a config of pictures that share a label, as Extended PolyMNIST's, with changes."""
    shapes = dict.fromkeys(config["modalities"], SHAPE) | {"label": ()}
    dtypes = dict.fromkeys(shapes, np.dtype(np.uint8)) | {"label": np.dtype(np.int32)}
    data = Description(shapes, dtypes, {"label": tuple(map(str, range(10)))})
    return build({**config, **changes}, data)


def score_of(parts: Parts) -> tuple[Task, dict[str, Any]]:
    """Return the task of the score, and the shapes of an example."""
    return parts.score_task(), {"z": jax.ShapeDtypeStruct((parts.layout.size,), np.float32)}


def model_of(parts: Parts, params: Mapping[str, Any], moments: Moments) -> Model:
    """Return a model of parts, with these parameters and moments of the latents."""
    return Model(
        params=dict(params), moments=moments, modalities=parts.modalities,
        autoencoders=parts.autoencoders, score_network=parts.network,
        energy_network=parts.energy and parts.energy.network,
        sde=parts.sde, sampling=parts.sampling,
    )  # fmt: skip


def untrained(parts: Parts) -> Model:
    """Return a model of first parameters, of standard latents."""
    keys = iter(jax.random.split(jax.random.key(0), 2 + len(parts.modalities)))
    size = parts.layout.size
    z = {"z": jnp.zeros((1, size))}
    autoencoders = {
        m.name: jax.jit(autoencoder.task.init)(next(keys), {"x": jnp.zeros((1, *m.shape))})
        for m, autoencoder in zip(parts.modalities, parts.autoencoders, strict=True)
    }
    params = {
        "autoencoders": autoencoders,
        "score": jax.jit(parts.score_task().init)(next(keys), z),
    }
    if parts.energy:
        params["energy"] = jax.jit(parts.energy_task.init)(next(keys), z)
    return model_of(parts, params, Moments(jnp.zeros(size), jnp.ones(size)))


def seconds(function: Callable[[], Any], at_least: float) -> float:
    """Return the median seconds of a call, of as many as fit into a time; one before them compiles."""
    jax.block_until_ready(function())
    durations, begin = [], time.perf_counter()
    while len(durations) < 3 or time.perf_counter() - begin < at_least:
        start = time.perf_counter()
        jax.block_until_ready(function())
        durations.append(time.perf_counter() - start)
    return float(np.median(durations))


def lower_step(task: Task, training: TrainingConfig, example: Any, mesh: Mesh) -> Any:
    """Lower one optimiser step for a mesh."""
    chunk = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct((1, training.batch_size, *a.shape), a.dtype), example
    )
    (init, run), key = compile_training(task, training, mesh), jax.random.key(0)
    return run.lower(key, jax.eval_shape(init, key, chunk), chunk)


def step_cost(task: Task, training: TrainingConfig, example: Any) -> dict[str, float]:
    """Return operations and bytes of one optimiser step, as XLA counts them."""
    lower = partial(lower_step, task, training, example)
    text = lower(sharding.make_mesh()).as_text()
    if text not in _COSTS:  # modalities with the same networks are the same program
        _COSTS[text] = cost_of(lower)
    return _COSTS[text]


_COSTS: dict[str, dict[str, float]] = {}


def cost_of(lower: Callable[[Mesh], Any]) -> dict[str, float]:
    """Return operations and bytes of what is lowered for a mesh."""
    compiled = lower(sharding.make_mesh()).compile()
    memory, cpus = compiled.memory_analysis(), jax.devices("cpu")[:1]
    moved = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    if jax.default_backend() == "cpu":
        counts = compiled.cost_analysis()
    else:  # of the program before it is compiled: within a hundredth of the same
        with jax.default_device(cpus[0]):
            mesh = Mesh(np.array(cpus).reshape(1, 1), ("rows", "state"))
            counts = lower(mesh).cost_analysis()
    return {"flops": float(counts["flops"]), "bytes": float(moved)}


def score_cost(model: Model, num_rows: int = 1) -> dict[str, float]:
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
    return call_seconds(run, key, state, chunk, at_least) / training.steps_per_call


def call_seconds(run: Callable[..., Any], key, state, chunk, at_least: float) -> float:
    """Return the median seconds of a call of the steps of `compile_training`, each from the last state."""

    def call():
        nonlocal state
        state, metrics = run(key, state, chunk)
        return metrics

    return seconds(call, at_least)


def sampling_seconds(model: Model, num_rows: int, at_least: float) -> float:
    """Return the seconds in which a model makes all pictures of rows from the first ones."""
    names = model.layout.names
    batch = {name: jnp.zeros((num_rows, *SHAPE), jnp.uint8) for name in names}
    observed = jnp.zeros((num_rows, len(names)), bool).at[:, 0].set(True)
    return seconds(lambda: complete(model, jax.random.key(0), batch, observed), at_least)
