"""What the report shows of faces: contact sheets for each kind of question, and the tables of scores."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from matplotlib.image import imsave

from sbmae_jax.evaluation.base import Headline, ReportImage, ReportSection, Results, Samples
from sbmae_jax.evaluation.formatting import number, over, with_error
from sbmae_jax.evaluation.generator import Arrays, Generator, blank_rows
from sbmae_jax.evaluation.images import add_frame, reconstruction_grid, save_enlarged, sheet
from sbmae_jax.types import Key

NUM_REAL = 12  # columns of the grid of reconstructions
NUM_JOINT = 10  # joint samples
NUM_SHOWN = 6  # test examples in each contact sheet
NUM_SAMPLES = 5  # samples of each
OBSERVED = ("attributes", "mask", "image")


def draw_samples(key: Key, rows: Arrays, generator: Generator) -> dict[str, np.ndarray]:
    """Draw what the report shows of a generator on test rows.

    Returns:
        Arrays under `kind/modality`: `real` and `reconstruction`, `[NUM_REAL, *shape]`; `joint`,
        `[NUM_JOINT, *shape]`; `true`, `[NUM_SHOWN, *shape]`; and for each observed modality `given NAME`,
        `[NUM_SHOWN, NUM_SAMPLES, *shape]`.
    """
    names, samples = generator.names, {}
    real = {name: rows[name][:NUM_REAL] for name in names}
    numbers = np.arange(NUM_REAL, NUM_REAL + NUM_SHOWN) % len(rows[names[0]])  # of few, some again
    shown = {name: rows[name][numbers] for name in names}
    _store(samples, "real", real)
    _store(samples, "reconstruction", generator.reconstruct_rows(real))
    _store(samples, "true", shown)
    num_shown = len(shown["image"])
    repeated = {name: np.repeat(x, NUM_SAMPLES, axis=0) for name, x in shown.items()}
    for i, given in enumerate(OBSERVED):
        observed = np.array([name == given for name in names])
        made = generator.complete_rows(jax.random.fold_in(key, i), repeated, observed)
        made = {n: x.reshape(num_shown, NUM_SAMPLES, *x.shape[1:]) for n, x in made.items()}
        _store(samples, f"given {given}", made)
    joint_key = jax.random.fold_in(key, len(OBSERVED))
    joint = generator.complete_rows(joint_key, *blank_rows(rows, names, NUM_JOINT))
    _store(samples, "joint", joint)
    return samples


def _store(samples: dict[str, np.ndarray], kind: str, arrays: Mapping[str, np.ndarray]) -> None:
    samples.update({f"{kind}/{name}": np.asarray(array) for name, array in arrays.items()})


def headlines(results: Results) -> list[Headline]:
    """Choose the main results."""
    made, bounds = results["generated"], results["supervised"]
    scores = [
        *((f"attribute F1, given {s}", "attribute_f1", made[s])
          for s in ("image", "mask", "image+mask")),
        *((f"mask F1, given {s}", "mask_f1", made[s])
          for s in ("image", "attributes", "attributes+image")),
        ("attribute F1, read from images generated from attributes", "attribute_f1",
         results["image_read"]["attributes"]),
    ]  # fmt: skip
    distance, diversity = results["image_frechet_classifier_features"], results["diversity"]
    relative = over(diversity["attributes"]["pixels"], diversity["real"]["pixels"])
    return [
        *(
            Headline(name, with_error(entry[score]), f"supervised: {number(bounds[score]['mean'])}")
            for name, score, entry in scores
        ),
        Headline("Fréchet distance, unconditional", number(distance["nothing"], ".3g"),
                 "on features of the attribute classifier; not FID"),
        *([Headline("FID, unconditional", number(results["fid"]["nothing"], ".1f"))]
          if "fid" in results else []),
        Headline("diversity, given attributes", number(relative, ".2f"),
                 "distance between images for one condition, over that of real images"),
        Headline("1,000 samples", f"{results['seconds_per_1000_samples']:.1f} s",
                 f"{results['num_evaluations']} score evaluations and decoding"),
    ]  # fmt: skip


def sections(
    results: Results, samples: Samples, names: tuple[str, ...], folder: Path
) -> list[ReportSection]:
    """Write the images of the report into a folder, and return its sections."""
    attributes = tuple(results["attribute_f1_by_attribute"]["nothing"])
    imsave(folder / "from_attributes.png", _from_attributes(samples, attributes))
    imsave(folder / "from_mask.png", _from_mask(samples))
    imsave(folder / "from_image.png", _from_image(samples, attributes))
    imsave(folder / "joint.png", _joint(samples, attributes))
    images = [name for name in names if name != "attributes"]
    save_enlarged(folder / "reconstruction.png", reconstruction_grid(samples, images))
    framed = "The image with a red edge is the test example, for comparison only."
    return [
        ReportSection("Faces from attributes", (ReportImage("from_attributes.png", framed),)),
        ReportSection("Faces from masks", (ReportImage(
            "from_mask.png", f"The mask covers all parts of the face but the skin. {framed}"),)),
        ReportSection("Masks and attributes from faces", (ReportImage(
            "from_image.png", "Images with a red edge are the observed face and its true mask. Attributes: "
            "+ is generated and true, - is true but missed, ! is generated but not true."),)),
        ReportSection("Unconditional samples", (ReportImage(
            "joint.png", "Each column is one joint sample of face, mask and attributes."),)),
        ReportSection("Reconstructions", (ReportImage(
            "reconstruction.png", "Real test images, each above its reconstruction by its autoencoder."),)),
        _scores(results),
        _by_attribute(results, attributes),
    ]  # fmt: skip


def _named(values: np.ndarray, names: tuple[str, ...]) -> str:
    """Return the names of the attributes that a vector has, one on each line."""
    return "\n".join(itertools.compress(names, values > 0.5))


def _compared(values: np.ndarray, truth: np.ndarray, names: tuple[str, ...]) -> str:
    """Return the attributes of a vector against the true ones, one on each line."""
    signs = {(True, True): "+", (False, True): "-", (True, False): "!"}
    pairs = zip(names, values > 0.5, truth > 0.5, strict=True)
    return "\n".join(f"{signs[has, had]} {n}" for n, has, had in pairs if (has, had) in signs)


def _from_attributes(samples: Samples, names: tuple[str, ...]) -> np.ndarray:
    """Lay out faces generated from attributes."""
    rows = [
        [_named(given, names), *made, add_frame(true)]
        for given, made, true in zip(
            samples["true/attributes"], samples["given attributes/image"], samples["true/image"],
            strict=True,
        )
    ]  # fmt: skip
    return sheet(rows, ["observed", "generated", *[""] * (NUM_SAMPLES - 1), "test example"])


def _from_mask(samples: Samples) -> np.ndarray:
    """Lay out faces generated from masks."""
    rows = [
        [given, *made, add_frame(true)]
        for given, made, true in zip(
            samples["true/mask"], samples["given mask/image"], samples["true/image"], strict=True
        )
    ]
    return sheet(rows, ["observed", "generated", *[""] * (NUM_SAMPLES - 1), "test example"])


def _from_image(samples: Samples, names: tuple[str, ...]) -> np.ndarray:
    """Lay out masks and attributes generated from faces."""
    rows = [
        [add_frame(given), add_frame(mask), *made[:3], _compared(values[0], truth, names)]
        for given, mask, made, values, truth in zip(
            samples["true/image"], samples["true/mask"], samples["given image/mask"],
            samples["given image/attributes"], samples["true/attributes"], strict=True,
        )
    ]  # fmt: skip
    return sheet(rows, ["observed", "true mask", "generated", "", "", "attributes"])


def _joint(samples: Samples, names: tuple[str, ...]) -> np.ndarray:
    """Lay out joint samples, one in each column."""
    images, masks = list(samples["joint/image"]), list(samples["joint/mask"])
    attributes = [_named(values, names) for values in samples["joint/attributes"]]
    return sheet([images, masks, attributes], [""] * len(images))


def _scores(results: Results) -> ReportSection:
    """Return the table of scores by observed subset."""
    head = [
        "observed", "attribute F1", "mask F1", "mask IoU", "attribute F1, read from the image",
        "mask F1, read from the image", "Fréchet distance", "diversity, relative to real images",
    ]  # fmt: skip
    diversity, with_fid = results["diversity"], "fid" in results
    rows = []
    for name, entry in results["generated"].items():
        row = [name, *(number(score["mean"]) for score in entry.values())]
        read = results["image_read"].get(name)
        if read is not None:
            row += [
                number(read["attribute_f1"]["mean"]), number(read["mask_f1"]["mean"]),
                number(results["image_frechet_classifier_features"][name], ".3g"),
                number(over(diversity[name]["pixels"], diversity["real"]["pixels"]), ".2f"),
            ]  # fmt: skip
            row += [number(results["fid"][name], ".1f")] if with_fid else []
        rows.append(row)
    supervised = [number(score["mean"]) for score in results["supervised"].values()]
    rows.append(["supervised, on real images", *supervised])
    head += ["FID"] if with_fid else []
    table = tuple((*row, *[""] * (len(head) - len(row))) for row in (head, *rows))
    remark = (
        "Where a modality is observed, its score is that of its reconstruction. What is read from an image "
        "generated from nothing is compared with the mask and the attributes generated with it. The Fréchet "
        "distance is on features of the attribute classifier, so it is not FID. Diversity is the mean "
        "distance between images for one condition, over that of real images."
    )
    return ReportSection("Scores by observed subset", table=table, remark=remark)


def _by_attribute(results: Results, names: tuple[str, ...]) -> ReportSection:
    """Return the table of F1 by attribute and observed subset."""
    scores = {
        k: v for k, v in results["attribute_f1_by_attribute"].items() if "attributes" not in k
    }
    rows = tuple((name, *(number(score[name]) for score in scores.values())) for name in names)
    head = ("", *(f"given {k}" for k in scores))
    return ReportSection("F1 by attribute", table=(head, *rows))
