"""The methods that are compared: how each is trained, and what is measured of it.

All share the data, the networks of each modality, the budget of operations, the training loop and the
evaluation. A joint autoencoder is all of these networks with one code.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.cost import PICTURE, parts_of, score_of, step_cost
from benchmarks.runs import changed, count, forget_compiled, nested_figures, trained
from configs import polydigits
from sbmae_jax import _provenance
from sbmae_jax.app.encoder_decoders import build_decoder, build_encoder
from sbmae_jax.app.run import Run, load_evaluators, load_model
from sbmae_jax.baselines.joint_rules import JointPosterior
from sbmae_jax.baselines.joint_vae import JointVAE
from sbmae_jax.data.backgrounds import PHOTOGRAPHS
from sbmae_jax.data.source import PRESENT
from sbmae_jax.evaluation.generator import Arrays, Generator
from sbmae_jax.models import model as models
from sbmae_jax.models.task import Task
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.log import read_metrics
from sbmae_jax.types import Array, CompleteFn

SMALLER = 4  # what the rows of the demo's batches are divided by
STAGES = ("autoencoder_training", "score_training")
Config = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained method.

    complete, reconstruct: as those of `Generator`.  evaluations: of the score, for a batch of samples.
    gflop: of all its trainings.  steps: of the last one of them.
    """

    run: Run
    complete: CompleteFn
    reconstruct: Callable[[Mapping[str, Any]], Mapping[str, Array]]
    evaluations: int
    parameters: int
    gflop: float
    steps: int


def base_config(seed: int, num_modalities: int = 5, large: bool = False) -> Config:
    """Return our config, whose operations are the budget of all: a quarter of the demo's.

    So few operations are worth more, to ours and to other methods, in batches smaller than the demo's.
    large: leave the batches as large, for a quarter of the steps; and let the score see every number of
        observed modalities as often, as all that was measured in them has.
    """
    config = polydigits.get_config()
    config.seed = seed
    section = config.modalities["hubble"].to_dict()
    config.modalities = dict.fromkeys(tuple(PHOTOGRAPHS)[:num_modalities], section)
    smaller = 1 if large else SMALLER
    for name, num_steps, batch_size in zip(STAGES, (250, 1000), (128, 256), strict=True):
        config[name].update(num_steps=num_steps * smaller, batch_size=batch_size // smaller)
    if large:
        config.score.subset_size_power = 0.0
    return config.to_dict()


def shrink(config: Config) -> Config:
    """Make everything as short as it can be."""
    small = polydigits.get_config("smoke").to_dict()
    keys = ("num_train", *STAGES, "classifier_training", "sampling", "evaluation")
    network = {"name": "hub", "width": 8, "hub_width": 8, "num_blocks": 1}
    return config | {key: small[key] for key in keys} | {"network": network}


def scaled(config: Config, share: float) -> Config:
    """Take a share of the steps of autoencoders and score."""
    steps = {key: max(round(share * config[key]["num_steps"]), 1) for key in STAGES}
    return changed(config, {key: {"num_steps": num} for key, num in steps.items()})


def mld_config(config: Config, conditioning_prob: float) -> Config:
    """Return Multi-Modal Latent Diffusion in our pieces: plain autoencoders, a residual MLP, uniform times.

    Bounoua et al. 2024 (arXiv:2306.04445). The width gives about as many weights as our network has.
    """
    theirs = changed(config, {"modalities": {"*": {"weight": 0.0, "code_noise": 0.0}}}) | {
        "autoencoder": {"kind": "rae"},
        "network": {"name": "mlp", "width": 384, "num_blocks": 4},
        "score": {"weighting": "noise", "conditioning_prob": conditioning_prob},
    }
    # The autoencoders cost the same, so what is left for the score does, too.
    return with_score_steps(theirs, gflop(config)[1])


def with_score_steps(config: Config, budget: float) -> Config:
    """Return a config whose score is trained for the steps that a budget pays for."""
    num_steps = config["score_training"]["num_steps"]
    steps = max(round(budget / gflop(config)[1] * num_steps), 1)
    return changed(config, {"score_training": {"num_steps": steps}})


def gflop(config: Config) -> tuple[float, float]:
    """Return the operations of training autoencoders and score, as XLA counts those of one step."""
    # One step is the same program however many there are, but for the constants of its schedule.
    alike = changed(config, {"seed": 0, **{key: {"num_steps": 1000} for key in STAGES}})
    sections = enumerate(config["modalities"].values())
    alike["modalities"] = {f"m{m}": section for m, section in sections}  # names cost nothing
    *coding, scoring = _step_costs(json.dumps(alike))
    coding_steps, scoring_steps = (config[key]["num_steps"] for key in STAGES)
    return sum(coding_steps * cost / 1e9 for cost in coding), scoring_steps * scoring / 1e9


@functools.cache
def _step_costs(config: str) -> list[float]:
    parts = parts_of(json.loads(config))
    task, z = score_of(parts)
    trainings = [(g.task, g.training, {"x": PICTURE}) for g in parts.groups]
    trainings += [(task, parts.score_training, z)]
    return [step_cost(*training)["flops"] for training in trainings]


def posterior_of(rule: str, config: Config, beta: float) -> JointPosterior:
    """Return a posterior whose code is as long as all of ours or, with private parts, as one of ours."""
    sizes = [section["latent_size"] for section in config["modalities"].values()]
    if rule == "mmvae_plus":
        return JointPosterior(rule, sizes[0], sizes[0], beta)
    return JointPosterior(rule, sum(sizes), beta=beta)


def joint_training(run: Run, task: Task, budget: float) -> tuple[TrainingConfig, float]:
    """Return the training of our autoencoders with the steps that a budget pays for, and what they cost."""
    names, training = run.parts.layout.names, run.parts.groups[0].training
    # All networks are one here, so their gradients are clipped as one.
    training = dataclasses.replace(training, clip_norm=training.clip_norm * len(names) ** 0.5)
    cost = step_cost(task, training, dict.fromkeys(names, PICTURE))["flops"] / 1e9
    num_steps = max(round(budget / cost), 1)
    return dataclasses.replace(training, num_steps=num_steps), num_steps * cost


def train_as_one(run: Run, name: str, task: Task, budget: float) -> tuple[Any, dict[str, Any]]:
    """Train all networks as one by the loop of all, or load them: parameters, and fields of `Trained`."""
    run.claim()
    training, cost = joint_training(run, task, budget)
    view = {name: name for name in run.parts.layout.names}
    held_out = partial(run.data.held_out, (view,))
    run.trainer.train(name, task, training, rows_of_any(run, view), held_out)
    params = run.trainer.load(name, task, training, run.data.example(view))
    fields = {"parameters": count(params), "gflop": cost, "steps": training.num_steps, "run": run}
    return params, fields


def rows_of_any(run: Run, view: Mapping[str, str]):
    """Feed all rows; where some lack modalities, with which those are."""
    if PRESENT not in run.data.train.shapes:
        return run.data.batches((view,))
    arrays, names = run.data.train_loaded.arrays, (*view, PRESENT)
    return run.data.batches_of(lambda: {name: np.asarray(arrays[name]) for name in names})


def train_joint(config: Config, workdir: Path, rule: str, beta: float, budget: float) -> Trained:
    """Train a joint autoencoder for a budget of operations, in GFLOP, or load it."""
    posterior = posterior_of(rule, config, beta)
    run = Run(config | {"joint": dataclasses.asdict(posterior) | {"gflop": budget}}, workdir)
    size = posterior.shared_size + posterior.private_size
    sized = tuple(dataclasses.replace(m, latent_size=size) for m in run.parts.modalities)
    encoders = tuple(build_encoder(run.config, modality, 2) for modality in sized)
    decoders = tuple(build_decoder(run.config, modality) for modality in sized)
    model = JointVAE(posterior, sized, encoders, decoders)
    params, fields = train_as_one(run, "joint", model.task, budget)
    complete = partial(jax.jit(model.complete), params)
    reconstruct = partial(jax.jit(model.reconstruct), params)
    return Trained(complete=complete, reconstruct=reconstruct, evaluations=0, **fields)


def train_latent(config: Config, workdir: Path) -> Trained:
    """Train autoencoders and the score of their latents, or load them."""
    run = trained(config, workdir, ("autoencoders", "score"))
    model = load_model(run)
    cost, steps = sum(gflop(config)), config["score_training"]["num_steps"]
    return of_model(model, run=run, parameters=count(model.params), gflop=cost, steps=steps)


def of_model(model: models.Model, **fields: Any) -> Trained:
    """Return a trained method of a model of latents."""
    return Trained(
        complete=partial(models.complete, model),
        reconstruct=partial(models.reconstruct, model),
        evaluations=model.sampling.num_evaluations,
        **fields,
    )


def sampled(method: Trained, given: Mapping[str, Any], nothing: Mapping[str, Any]) -> Trained:
    """Return a model of latents sampled in one way given something, in another given nothing.

    given, nothing: changes to fields of `SamplingConfig`.
    """
    model = load_model(method.run)
    by_given, by_nothing = model.with_sampling(**given), model.with_sampling(**nothing)

    def complete(key, rows, observed):
        return models.complete(by_given if np.any(observed) else by_nothing, key, rows, observed)

    evaluations = by_given.sampling.num_evaluations
    return dataclasses.replace(method, complete=complete, evaluations=evaluations)


def measure(method: Trained, split: str, num_rows: int = 0) -> dict[str, Any]:
    """Return the figures of a method. num_rows: of the split; 0 takes as many as the config says."""
    run, num = method.run, method.run.parts.protocol.num_rows
    num = min(num_rows or num, num)
    protocol, rows, generator = asked(method, split, num)
    key, judges = run.trainer.stage_key("evaluate"), load_evaluators(run)
    found, _ = protocol.measure(key, rows, generator, judges, lambda: run.data.train_loaded.arrays)
    forget_compiled()
    stages = read_metrics(run.folder.path)
    seconds = [r["seconds"] for name in stages if name != "classifier" for r in stages[name]]
    return {
        "classifier": found["classifier_accuracy"]["mean"], **nested_figures(found),
        "label variation": found["label_total_variation"]["uniform"], "num_rows": num,
        "evaluations": method.evaluations, "parameters": method.parameters, "GFLOP": method.gflop,
        "steps": method.steps, "training seconds": sum(seconds), "commit": _provenance.commit(),
    }  # fmt: skip


def asked(method: Trained, split: str, num: int) -> tuple[Any, Arrays, Generator]:
    """Return a protocol that asks for so many rows and samples from nothing, the rows, and a generator."""
    run, size = method.run, min(method.run.parts.protocol.batch_size, num)
    changes = {"num_rows": num, "num_unconditional": num, "batch_size": size}
    source = run.data.source(split, num)
    rows = {name: source.arrays[name] for name in run.data.description.shapes}
    generator = Generator(
        names=run.parts.layout.names, complete=method.complete, reconstruct=method.reconstruct,
        batch_size=size,
    )  # fmt: skip
    return dataclasses.replace(run.parts.protocol, **changes), rows, generator
