"""What each part of the method is worth, and what data do to it and to other methods.

Each row is one run of seed 0 in the demo's batches, at their budget or half of it, with one thing changed.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers import methods
from benchmarks.peers.claims import LOW_TEMPERATURE, WORDS
from benchmarks.peers.comparison import ALONG_ODE, Setting, Ways, alike
from benchmarks.peers.methods import Config, Trained, sampled, train_joint, train_latent
from benchmarks.peers.together import train_together
from benchmarks.runner import Options, needed, once, reuse
from benchmarks.runs import changed

Train = Callable[[Config, Path], Trained]
SAMPLED: dict[str, dict[str, Any]] = {
    "conditioning: clamp, 4 corrections": {"conditioning": "clamp", "num_corrections": 4},
    "conditioning: renoise, 4 corrections": {"conditioning": "renoise", "num_corrections": 4},
    "classifier-free guidance, weight 2": {"classifier_free": 2.0},
    "classifier-free guidance, weight 3": {"classifier_free": 3.0},
    "2 levels, classifier-free guidance, weight 2": ALONG_ODE | {"num_levels": 2, "classifier_free": 2.0},
}  # fmt: skip


def score_often(config: Config) -> Config:
    """Train the score in nearly four times the steps, of a quarter of the rows: as many operations."""
    batch_size = config["score_training"]["batch_size"] // methods.SMALLER
    smaller = changed(config, {"score_training": {"batch_size": batch_size}})
    # Each step pays for the optimiser, however few its rows are, so they are a little fewer than four times.
    return methods.with_score_steps(smaller, methods.gflop(config)[1])


def rows(setting: Setting, betas: dict[str, float], low: Ways) -> dict[str, Callable[[], Trained]]:
    """Return how each row is trained and sampled."""
    config, budget = setting.config(0), setting.gflop()
    ours = partial(setting.train, "ours", 0)

    def train(name: str, config: Config, how: Train = train_latent, keep: bool = False) -> Trained:
        """Train in a workdir of its own, with the judge of all; keep: the autoencoders of ours."""
        workdir = setting.folder / "ablations" / name.replace(" ", "-").replace(",", "")
        reuse(setting.evaluator(0), workdir, ("classifier",))
        if keep:
            run = ours().run
            reuse(run.folder.path, workdir, [group.stage for group in run.parts.groups])
        return how(config, workdir)

    def variant(changes: Mapping[str, Any], **more: Any) -> Callable[[str], Trained]:
        return lambda name: train(name, changed(config, changes), **more)

    def sampling(changes: Mapping[str, Any]) -> Callable[[str], Trained]:
        return lambda name: sampled(ours(), **alike(changes))

    rae = {"modalities": {"*": {"weight": 1e-4, "code_noise": 0.1}}, "autoencoder": {"kind": "rae"}}
    learned = {"modalities": {"*": {"weight": 1.0, "likelihood": "normal"}}}
    fast = {"score_training": {"learning_rate": 2 * config["score_training"]["learning_rate"]}}
    half = methods.scaled(changed(config, fast), 0.5)
    often = partial(train, "often", score_often(config), keep=True)
    made: dict[str, Callable[[str], Trained]] = {
        "ours": lambda name: ours(),
        "autoencoders and score trained together": variant({}, how=partial(train_together, budget=budget)),
        "regularised autoencoders (RAE)": variant(rae),
        "variance of pictures learned": variant(learned),
        **{name: sampling(changes) for name, changes in SAMPLED.items()},
        "learning rate of the score doubled": variant(fast, keep=True),
        "half the operations, learning rate of the score doubled": lambda name: train(name, half),
        "batches of the score a quarter": lambda name: often(),
        "batches of the score a quarter, low temperature": lambda name: sampled(often(), **low),
    }  # fmt: skip
    by_budget = partial(train_joint, budget=budget)
    joint = {rule: partial(by_budget, rule=rule, beta=beta) for rule, beta in betas.items()}
    data = {f"{num:,} rows": {"num_train": num} for num in (1000, 5000)}
    data["half of the pictures missing"] = {"data": {"missing": 0.5}}
    for what, changes in data.items():
        made[f"ours, {what}"] = variant(changes)
        for rule, how in joint.items():
            made[f"{WORDS[rule]}, {what}"] = variant(changes, how=how)
    complete = {"data": {"missing": 0.5, "complete_only": True}}
    made["MoPoE, half missing, complete rows alone"] = variant(complete, how=joint["mopoe"])
    return {name: partial(make, name) for name, make in made.items()}


def measure_ablations(options: Options) -> dict[str, Any]:
    """Train and measure all rows, or read what was measured."""
    setting = Setting.of(options, large=True)
    chosen = needed(options, "large")["chosen"]
    betas = {rule: chosen[rule]["value"] for rule in ("mopoe", "mvtcae")}
    found = {}
    for name, make in rows(setting, betas, chosen[LOW_TEMPERATURE]["value"]).items():
        path = setting.folder / "ablations" / f"{name.replace(' ', '-').replace(':', '')}.json"
        found[name] = once(path, lambda make=make: methods.measure(make(), "test"))
    return {"rows": found}
