"""PolyDigits with captions: do pictures and text follow each other as pictures and classes do?

One model has five photographs, a caption of the first and the digit as a class; another one has no caption.
Generated pictures are read by classifiers of scikit-learn that are fitted to real ones, captions by parsing.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.claims import Claim, claim
from benchmarks.runner import Options, Page, once
from benchmarks.runs import forget_compiled, trained
from configs import polydigits
from sbmae_jax.app.run import load_model
from sbmae_jax.data.captions import DIGITS
from sbmae_jax.evaluation.paired.eval_data import make_eval_data
from sbmae_jax.evaluation.paired.labels import fit_classifiers
from sbmae_jax.metrics.coherence import all_agree

NUM_ROWS = 1000


def config_of(with_captions: bool, smoke: bool) -> dict[str, Any]:
    """Return a config of the photographs and the digit as a class, with or without captions."""
    config = polydigits.get_config("captions")
    config.modalities.digit = {
        "likelihood": "categorical", "network": "vector", "latent_size": 9, "weight": 0.2,
    }  # fmt: skip
    widths = {"width": 128}
    config.encoder_decoders.vector = {"name": "vector", "encoder": widths, "decoder": widths}
    if smoke:
        polydigits.shrink(config)
    if not with_captions:
        del config.modalities.caption, config.encoder_decoders.text
    return config.to_dict()


def figures_of(config: Mapping[str, Any], workdir: Any, num_rows: int) -> dict[str, float]:
    """Train a model, and measure it on test rows."""
    run = trained(config, workdir, ["train"])
    model, test, train = load_model(run), run.data.test, run.data.train
    pictures = [m.name for m in model.modalities if len(m.shape) == 3]
    rows = {name: np.asarray(test.arrays[name])[:num_rows] for name in (*test.shapes,)}
    likelihoods = dict.fromkeys(pictures, "gaussian")
    classify = fit_classifiers(make_eval_data(likelihoods, rows, dict(train.arrays)))

    def classes(made):
        return np.stack([classify[name](made[name]) for name in pictures], axis=1)

    label = rows["label"]
    from_nothing = classes(model.generate({}, num_samples=num_rows, key=1))
    found = {
        "real pictures": float(np.mean(classes(rows) == label[:, None])),
        "all agree": all_agree(from_nothing).mean,
        "given the digit": _share(classes(model.generate({"digit": rows["digit"]})), label),
    }
    if "caption" in rows:
        restore = dict(model.scalings)["caption"].restore
        true = restore(rows["caption"])
        found["given the caption"] = _share(classes(model.generate({"caption": true})), label)
        for title, given in (("the first picture", pictures[:1]), ("all pictures", pictures)):
            made = model.generate({name: rows[name] for name in given})["caption"]
            shares = [
                DIGITS.share_right(one, DIGITS.parse(other))
                for one, other in zip(made.tolist(), true.tolist(), strict=True)
            ]
            found[f"factors of the caption given {title}"] = float(np.mean(shares))
    return found


def _share(classes: np.ndarray, label: np.ndarray) -> float:
    return float(np.mean(classes == label[:, None]))


def measure_captions(options: Options) -> dict[str, Any]:
    """Measure both models with each seed."""
    runs = {}
    for seed in options.seeds:
        runs[str(seed)] = {}
        for title, with_captions in (("with captions", True), ("without", False)):
            config = config_of(with_captions, options.smoke) | {"seed": seed}
            workdir = options.runs / f"captions-{title.replace(' ', '-')}-{seed}"
            num_rows = 40 if options.smoke else NUM_ROWS
            make = partial(figures_of, config, workdir, num_rows)
            runs[str(seed)][title] = once(workdir / "captions.json", make)
            forget_compiled()
    return {"seeds": options.seeds, "runs": runs}


def of_captions(page: Page) -> Iterator[Claim]:
    for seed, found in page["captions"]["runs"].items():
        ours, without = found["with captions"], found["without"]
        over = ours["given the caption"] / ours["given the digit"]
        yield claim(
            f"pictures given the caption, over given the digit, seed {seed}", over, ">=", 0.95
        )
        factors = ours["factors of the caption given the first picture"]
        yield claim(f"factors of the caption given its picture, seed {seed}", factors, ">=", 0.90)
        change = ours["all agree"] - without["all agree"]
        yield claim(f"all pictures agree, change by captions, seed {seed}", change, ">=", -0.02)
