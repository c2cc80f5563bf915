"""What each part of the method is worth, and what data do to it and its rivals; in results/peers.json.

    python benchmarks/peers_ablations.py            # after peers.py --large; seed 0, some minutes a row

Each row is one run at the budget of peers.py --large, or half of it where it says so, with one thing changed.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import peers_page
import peers_tables
from peers_claims import COLDER, LARGE
from peers_comparison import Comparison
from peers_jobs import share_executables
from peers_runs import (
    SMALLER,
    Config,
    Trained,
    gflop,
    kept,
    measure,
    scaled,
    train_joint,
    train_latent,
)
from peers_sampling import ALONG_ODE, colder, with_model
from peers_together import train_together
from reuse import reuse

from sbmae_jax.app import pipeline
from sbmae_jax.app.run import load_model

Train = Callable[[Config, Path], Trained]


def changed(config: Config, **modality: Any) -> Config:
    """Change values of all modalities."""
    sections = {name: section | modality for name, section in config["modalities"].items()}
    return config | {"modalities": sections}


def with_data(config: Config, **data: Any) -> Config:
    """Change values of the data."""
    return config | {"data": config["data"] | data}


def score_often(config: Config) -> Config:
    """Train the score in four times the steps, nearly, of a quarter of the rows: as many operations."""
    training = config["score_training"]
    smaller = config | {
        "score_training": training | {"batch_size": training["batch_size"] // SMALLER}
    }
    # Each step pays for the optimiser, however few its rows are, so they are a little fewer than four times.
    times = gflop(config)[1] / gflop(smaller)[1]
    num_steps = round(times * training["num_steps"])
    return smaller | {"score_training": smaller["score_training"] | {"num_steps": num_steps}}


def train_unscaled(config: Config, workdir: Path) -> Trained:
    """Train a score of latents as they are: their moments are set to 0 and 1."""
    pipeline.run(config, workdir, "autoencoders")
    with unit_moments():
        return train_latent(config, workdir)


@contextmanager
def unit_moments() -> Iterator[None]:
    """Within this the pipeline measures mean 0 and deviation 1, whatever the latents are."""
    measured = pipeline.moments

    def unit(x, present=None):
        scale = measured(x, present)
        return scale._replace(mean=0 * scale.mean, std=0 * scale.std + 1)

    pipeline.moments = unit
    try:
        yield
    finally:
        pipeline.moments = measured


def sampled(trained: Trained, **sampling: Any) -> Trained:
    """Sample a trained model in another way."""
    return with_model(trained, load_model(trained.run).with_sampling(**sampling))


class Ablations:
    """All rows, by name; each is made when it is called."""

    def __init__(self, this: Comparison, chosen: Mapping[str, Any]):
        self.this, self.config = this, this.config(0)
        self.folder = this.folder.with_name(f"{this.folder.name}-ablations")
        self.chosen = {rule: chosen[rule]["value"] for rule in ("mopoe", "mvtcae")}
        self.ways = chosen[COLDER]["value"]

    def run(self, name: str, config: Config, train: Train = train_latent) -> Trained:
        """Train something in a workdir of its own, with the judge of all."""
        workdir = self.folder / name.replace(" ", "-").replace(",", "")
        reuse(self.this.evaluator(0), workdir, ("classifier",), ())
        return train(config, workdir)

    def ours(self) -> Trained:
        """Return ours as it is."""
        return self.this.train("ours", "ours-0", 0, 1.0, 0.0)

    def joint(self, rule: str) -> Train:
        """Return how a rival is trained."""
        return partial(train_joint, rule=rule, beta=self.chosen[rule], budget=self.this.gflop)

    def parts(self) -> dict[str, Callable[[], Trained]]:
        """Return the rows in which a part of the method is another."""
        config = self.config
        rae = changed(config, weight=1e-4, code_noise=0.1) | {"autoencoder": {"kind": "rae"}}
        learned = changed(config, weight=1.0, likelihood="normal")
        faster = {"learning_rate": 2 * config["score_training"]["learning_rate"]}
        fast = config | {"score_training": config["score_training"] | faster}

        def often():
            return self.run("often", score_often(config), self.on_our_autoencoders(train_latent))

        corrected = {"num_corrections": 4}
        return {
            "ours": self.ours,
            "autoencoders and score trained together": lambda: self.run(
                "together", config, partial(train_together, budget=self.this.gflop)
            ),
            "regularised autoencoders (RAE)": lambda: self.run("rae", rae),
            "variance of pictures learned": lambda: self.run("variance", learned),
            "latents not standardised": lambda: self.run(
                "unscaled", config, self.on_our_autoencoders(train_unscaled)
            ),
            "conditioning: clamp, 4 corrections": lambda: sampled(
                self.ours(), conditioning="clamp", **corrected
            ),
            "conditioning: renoise, 4 corrections": lambda: sampled(
                self.ours(), conditioning="renoise", **corrected
            ),
            "classifier-free guidance, weight 2": lambda: sampled(
                self.ours(), classifier_free=2.0
            ),
            "classifier-free guidance, weight 3": lambda: sampled(
                self.ours(), classifier_free=3.0
            ),
            "2 levels, classifier-free guidance, weight 2": lambda: sampled(
                self.ours(), **ALONG_ODE, num_levels=2, classifier_free=2.0
            ),
            "learning rate of the score doubled": lambda: self.run(
                "fast", fast, self.on_our_autoencoders(train_latent)
            ),
            "half the operations, learning rate of the score doubled": lambda: self.run(
                "fast half", scaled(fast, 0.5)
            ),
            "batches of the score a quarter": often,
            "batches of the score a quarter, colder": lambda: colder(often(), **self.ways),
        }  # fmt: skip

    def on_our_autoencoders(self, train: Train) -> Train:
        """Return how another score is trained on our autoencoders."""

        def on_ours(config, workdir):
            ours = self.ours().run
            reuse(ours.workdir, workdir, [group.stage for group in ours.parts.groups], ())
            return train(config, workdir)

        return on_ours

    def data(self) -> dict[str, Callable[[], Trained]]:
        """Return the rows with other data."""
        configs = {f"{num:,} rows": self.config | {"num_train": num} for num in (1000, 5000)} | {
            "half of the pictures missing": with_data(self.config, missing=0.5)
        }
        rows: dict[str, Callable[[], Trained]] = {}
        for what, config in configs.items():
            rows[f"ours, {what}"] = partial(self.run, f"ours {what}", config)
            for rule in self.chosen:
                train = partial(self.run, f"{rule} {what}", config, self.joint(rule))
                rows[f"{peers_tables.WORDS[rule]}, {what}"] = train
        whole = with_data(self.config, missing=0.5, complete_only=True)
        rows["MoPoE, half missing, complete rows alone"] = partial(
            self.run, "mopoe complete", whole, self.joint("mopoe")
        )
        return rows

    def measure(self, name: str, train: Callable[[], Trained]) -> dict[str, Any]:
        """Train and measure a row, or read it."""
        path = self.folder / f"{name.replace(' ', '-').replace(':', '')}.json"
        return kept(path, lambda: measure(train(), "test"))


def main() -> None:
    """Measure, write, show."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--smoke", action="store_true", help="as short as it can be; writes nothing"
    )
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="only these; others stay")
    arguments = parser.parse_args()
    share_executables()
    smoke = arguments.smoke
    way = {"temperature": 0.5}
    chosen = {
        "mopoe": {"value": 0.5}, "mvtcae": {"value": 0.5},
        COLDER: {"value": {"given": way, "nothing": way}},
    }  # fmt: skip
    chosen = chosen if smoke else peers_page.load(LARGE)["chosen"]
    these = Ablations(Comparison("polydigits", smoke, large=True), chosen)
    known = these.parts() | these.data()
    wanted = arguments.rows or list(known)
    if not set(wanted) <= set(known):
        parser.error(f"--rows: choose from {', '.join(map(repr, known))}")
    rows: dict[str, Any] = {}
    if arguments.rows and not smoke:
        rows = peers_page.load().get("ablations", {"rows": {}})["rows"]
    part: dict[str, Any] = {}
    for name in wanted:
        rows[name] = these.measure(name, known[name])
        in_order = {name: rows[name] for name in known if name in rows}
        part = {"command": "python benchmarks/peers_ablations.py", "rows": in_order}
        if not smoke:
            peers_page.put("ablations", part)
    print(peers_tables.ablations_table({"ablations": part}))


if __name__ == "__main__":
    main()
