"""Train, load and measure one method: all share data, networks, budget, loop and evaluation."""

import dataclasses
import functools
import gc
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import speed

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "configs"))  # before this folder, which has files of the same names

import polydigits  # noqa: E402
import polymnist  # noqa: E402

from sbmae_jax.app import pipeline, provenance  # noqa: E402
from sbmae_jax.app.encoder_decoders import build_decoder, build_encoder  # noqa: E402
from sbmae_jax.app.run import Run, load_evaluators, load_model  # noqa: E402
from sbmae_jax.app.run_data import MakeBatchFn  # noqa: E402
from sbmae_jax.baselines.joint_rules import JointPosterior  # noqa: E402
from sbmae_jax.baselines.joint_vae import JointVAE, joint_vae  # noqa: E402
from sbmae_jax.data.backgrounds import PHOTOGRAPHS  # noqa: E402
from sbmae_jax.data.source import PRESENT  # noqa: E402
from sbmae_jax.evaluation.generator import Arrays, Generator  # noqa: E402
from sbmae_jax.evaluation.labels.protocol import SharedLabelProtocol  # noqa: E402
from sbmae_jax.models import model as models  # noqa: E402
from sbmae_jax.models.task import Task  # noqa: E402
from sbmae_jax.training.config import TrainingConfig  # noqa: E402
from sbmae_jax.training.log import read_metrics  # noqa: E402
from sbmae_jax.types import Array, CompleteFn  # noqa: E402

SMALLER = 4  # what the rows of the demo's batches are divided by
METHODS = ("ours", "mld", "mvtcae", "mmvae_plus", "mopoe", "mmvae", "mvae")
Config = dict[str, Any]


@dataclass(frozen=True)
class Trained:
    """A trained method: what it takes to measure it.

    evaluations: of a score, for a batch of samples.  steps: of its last training.
    """

    run: Run
    complete: CompleteFn
    reconstruct: Callable[[Mapping[str, Any]], Mapping[str, Array]]
    evaluations: int
    parameters: int
    gflop: float
    steps: int


def base_config(data: str, seed: int, num_modalities: int = 5, large: bool = False) -> Config:
    """Return our config, whose operations are the budget of all.

    large: leave the batches of PolyDigits as large as the demo's, for a quarter of the steps; and let the
        score see every number of observed modalities as often, as all that was measured in them has.
    """
    if data == "polymnist":
        return {**polymnist.get_config("five").to_dict(), "seed": seed}
    config = polydigits.get_config()
    config.seed = seed
    # A quarter of the demo's operations, for all methods and three seeds to fit into two hours. So few are
    # worth more, to ours and to its rivals, in smaller batches.
    config.autoencoder_training.update(num_steps=250, batch_size=128)
    config.score_training.update(num_steps=1000, batch_size=256)
    if large:
        config.score.subset_size_power = 0.0
    else:
        for training in (config.autoencoder_training, config.score_training):
            training.num_steps *= SMALLER
            training.batch_size //= SMALLER
    section = config.modalities["hubble"].to_dict()
    config.modalities = dict.fromkeys(tuple(PHOTOGRAPHS)[:num_modalities], section)
    return config.to_dict()


def shrink(config: Config) -> Config:
    """Make every stage as short as it can be, for tests."""
    small = polydigits.get_config("smoke").to_dict()
    keys = (
        "num_train", "autoencoder_training", "score_training", "classifier_training", "sampling",
        "evaluation",
    )  # fmt: skip
    return config | {key: small[key] for key in keys}


def scaled(config: Config, share: float) -> Config:
    """Take a share of the steps of autoencoders and score."""
    changed = {
        key: config[key] | {"num_steps": max(round(share * config[key]["num_steps"]), 1)}
        for key in ("autoencoder_training", "score_training")
    }
    return config | changed


def mld_config(config: Config, conditioning_prob: float) -> Config:
    """Return Multi-Modal Latent Diffusion in our pieces: plain autoencoders, a residual MLP, uniform times.

    Bounoua et al. 2024 (arXiv:2306.04445). The width gives about as many weights as our network has.
    """
    plain = {"weight": 0.0, "code_noise": 0.0}
    changed = config | {
        "modalities": {name: section | plain for name, section in config["modalities"].items()},
        "autoencoder": {"kind": "rae"},
        "network": {"name": "mlp", "width": 384, "num_blocks": 4},
        "score": {"weighting": "noise", "conditioning_prob": conditioning_prob},
    }
    # The autoencoders cost the same, so what is left for the score does, too.
    ours, theirs = (gflop(c)[1] / c["score_training"]["num_steps"] for c in (config, changed))
    num_steps = round(config["score_training"]["num_steps"] * ours / theirs)
    return changed | {"score_training": config["score_training"] | {"num_steps": num_steps}}


def gflop(config: Config) -> tuple[float, float]:
    """Return the operations of training autoencoders and score, as XLA counts those of one step."""
    stages = ("autoencoder_training", "score_training")
    # One step is the same program however many there are, but for the constants of its schedule.
    alike = {key: config[key] | {"num_steps": 1000} for key in stages}
    named = {"seed": 0, "modalities": positions(config["modalities"])}
    *coding, scoring = _step_costs(json.dumps(config | alike | named))
    coding_steps, scoring_steps = (config[key]["num_steps"] for key in stages)
    return sum(coding_steps * cost / 1e9 for cost in coding), scoring_steps * scoring / 1e9


@functools.cache
def _step_costs(config: str) -> list[float]:
    parts = speed.parts_of(json.loads(config))
    task = parts.score_task
    picture = {"x": jax.ShapeDtypeStruct(speed.SHAPE, np.uint8)}
    z = {"z": jax.ShapeDtypeStruct((parts.layout.size,), np.float32)}
    trainings = [(g.task, g.training, picture) for g in parts.groups]
    return [
        speed.step_cost(task, training, example)["flops"]
        for task, training, example in [*trainings, (task, parts.score_training, z)]
    ]


def positions(modalities: Mapping[str, Any]) -> dict[str, Any]:
    """Name modalities as `speed.description` does: operations do not depend on names."""
    return {f"m{m:02}": section for m, section in enumerate(modalities.values())}


def build_joint(run: Run, posterior: JointPosterior) -> JointVAE:
    """Build a joint variational autoencoder of the networks that the config has for each modality."""
    size = posterior.shared_size + posterior.private_size
    sized = [dataclasses.replace(m, latent_size=size) for m in run.parts.modalities]
    return joint_vae(
        posterior,
        sized,
        [build_encoder(run.config, modality, 2) for modality in sized],
        [build_decoder(run.config, modality) for modality in sized],
    )


def posterior_of(rule: str, config: Config, beta: float) -> JointPosterior:
    """Return a posterior whose code is as long as all of ours or, with parts of their own, as one of ours."""
    sizes = [section["latent_size"] for section in config["modalities"].values()]
    if rule == "mmvae_plus":
        return JointPosterior(rule, sizes[0], sizes[0], beta)
    return JointPosterior(rule, sum(sizes), beta=beta)


def joint_training(
    run: Run, task: Task, budget: float, num_steps: int = 0
) -> tuple[TrainingConfig, float]:
    """Return the training of our autoencoders with the steps that a budget pays for, and what they cost.

    num_steps: to take instead.
    """
    training = run.parts.groups[0].training
    names = run.parts.layout.names
    # All networks are one here, so their gradients are clipped as one.
    training = dataclasses.replace(training, clip_norm=training.clip_norm * len(names) ** 0.5)
    pictures = {
        name: jax.ShapeDtypeStruct(run.data.description.shapes[name], np.uint8) for name in names
    }
    cost = speed.step_cost(task, training, pictures)["flops"] / 1e9
    num_steps = num_steps or max(round(budget / cost), 1)
    return dataclasses.replace(training, num_steps=num_steps), num_steps * cost


def joint_feed(run: Run, view: Mapping[str, str]) -> MakeBatchFn:
    """Feed all rows; where some lack modalities, with which those are."""
    if PRESENT not in run.data.train.shapes:
        return run.data.batches((view,))
    arrays = run.data.train_loaded.arrays
    return run.data.batches_of(
        lambda: {name: np.asarray(arrays[name]) for name in (*view, PRESENT)}
    )


def train_joint(
    config: Config, workdir: Path, rule: str, beta: float, budget: float = 0.0,
    num_steps: int = 0, stratified: bool = False, kernel_scale: float = 1.0,
) -> Trained:  # fmt: skip
    """Train a joint variational autoencoder by the loop of all, or load it.

    budget: of operations, in GFLOP.  num_steps: to take instead.
    kernel_scale: what the kernels are multiplied by before the first step.
    """
    posterior = dataclasses.replace(posterior_of(rule, config, beta), stratified=stratified)
    training_of = {"gflop": budget, "num_steps": num_steps, "kernel_scale": kernel_scale}
    run = Run(config | {"joint": dataclasses.asdict(posterior) | training_of}, workdir)
    run.claim()
    model = build_joint(run, posterior)
    if kernel_scale != 1:
        model = model._replace(task=with_kernels(model.task, kernel_scale))
    training, cost = joint_training(run, model.task, budget, num_steps)
    view = {name: name for name in run.parts.layout.names}
    feed = joint_feed(run, view)
    run.trainer.train("joint", model.task, training, feed, partial(run.data.held_out, (view,)))
    params = run.trainer.load("joint", model.task, training, run.data.example(view))
    return Trained(
        run, partial(jax.jit(model.complete), params), partial(jax.jit(model.reconstruct), params),
        0, count(params), cost, training.num_steps,
    )  # fmt: skip


def with_kernels(task: Task, scale: float) -> Task:
    """Return a task whose kernels begin smaller or larger."""

    def init(key, batch):
        return jax.tree_util.tree_map_with_path(
            lambda path, a: scale * a if path[-1].key == "kernel" else a, task.init(key, batch)
        )

    return task._replace(init=init)


def train_latent(config: Config, workdir: Path) -> Trained:
    """Train autoencoders and the score of their latents, or load them."""
    for stage in ("autoencoders", "score"):
        pipeline.run(config, workdir, stage)
    run = pipeline.open_run(workdir)
    model = load_model(run)
    return Trained(
        run, partial(models.complete, model), partial(models.reconstruct, model),
        model.sampling.num_evaluations, count(model.params), sum(gflop(config)),
        config["score_training"]["num_steps"],
    )  # fmt: skip


def count(params: Any) -> int:
    """Return how many numbers a tree of arrays has."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def train_seconds(trained: Trained) -> float:
    """Return the seconds of training, without the judge."""
    stages = read_metrics(trained.run.folder.path)
    return sum(r["seconds"] for name, rows in stages.items() if name != "classifier" for r in rows)


def measure(trained: Trained, split: str, num_rows: int = 0) -> dict[str, Any]:
    """Return the figures of a method. num_rows: of the split; 0 takes as many as the config says."""
    run = trained.run
    num = num_rows or run.parts.protocol.num_rows
    protocol, rows, generator = asked(trained, split, num)
    found, _ = protocol.measure(
        run.trainer.stage_key("evaluate"),
        rows,
        generator,
        load_evaluators(run),
        lambda: run.data.train_loaded.arrays,
    )
    return figures(found) | {
        "evaluations": trained.evaluations,
        "parameters": trained.parameters,
        "GFLOP": trained.gflop,
        "steps": trained.steps,
        "training seconds": train_seconds(trained),
        "num_rows": num,
        "commit": provenance.commit(),
    }


def asked(trained: Trained, split: str, num: int) -> tuple[SharedLabelProtocol, Arrays, Generator]:
    """Return what asks, the rows of the split that it asks about, and who is asked."""
    run, protocol = trained.run, trained.run.parts.protocol
    assert isinstance(protocol, SharedLabelProtocol)
    protocol, source = with_rows(protocol, num), run.data.source(split, num)
    rows = {name: source.arrays[name] for name in run.data.description.shapes}
    names = run.parts.layout.names
    return (
        protocol,
        rows,
        Generator(
            names=names,
            complete=trained.complete,
            reconstruct=trained.reconstruct,
            batch_size=protocol.batch_size,
        ),
    )


def with_rows(protocol: SharedLabelProtocol, num: int) -> SharedLabelProtocol:
    """Return a protocol that judges as many rows, and as many samples from nothing."""
    return dataclasses.replace(
        protocol, num_rows=num, num_unconditional=num, batch_size=min(protocol.batch_size, num)
    )


def figures(found: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of quality among those of a protocol."""
    return {
        "classifier": found["classifier_accuracy"]["mean"],
        "reconstruction": found["reconstruction_accuracy"]["mean"],
        **{f"given {n}": entry["mean"] for n, entry in found["conditional_coherence"].items()},
        "all agree": found["unconditional_coherence"]["all_agree"]["mean"],
        "Fréchet distance": found["frechet_classifier_features"]["mean"],
        "diversity": found["conditional_diversity"],
        "label variation": found["label_total_variation"]["uniform"],
    }


def kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what a file has, or make it and write the file."""
    if not path.exists():
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(made, indent=1))
        # A system lets a process map only so much, and every method is compiled anew.
        jax.clear_caches()
        gc.collect()
    return json.loads(path.read_text())
