"""What the report shows of faces: contact sheets for each kind of question, and the tables of scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.image import imsave

from sbmae_jax.evaluation.base import Figure, Picture, Section
from sbmae_jax.evaluation.generator import Generator, blank_rows
from sbmae_jax.evaluation.pictures import as_bytes, frame, grid, save_image, sheet
from sbmae_jax.types import Key

NUM_REAL = 12  # columns of the grid of reconstructions
NUM_JOINT = 10  # triples from nothing
NUM_SHOWN = 6  # test examples in each contact sheet
NUM_SAMPLES = 5  # samples of each
ASKED = ("attributes", "mask", "image")


def draw_samples(
    key: Key, rows: Mapping[str, np.ndarray], generator: Generator
) -> dict[str, np.ndarray]:
    """Return what the report shows, as arrays under `kind/modality`.

    kind "real", "reconstruction": [NUM_REAL, *shape].  "joint": [NUM_JOINT, *shape].  "true":
    [NUM_SHOWN, *shape], and for each observed modality "given NAME": [NUM_SHOWN, NUM_SAMPLES, *shape].
    """
    names, drawn = generator.names, {}
    head = {name: rows[name][:NUM_REAL] for name in names}
    shown = {name: rows[name][NUM_REAL : NUM_REAL + NUM_SHOWN] for name in names}
    _store(drawn, "real", head)
    _store(drawn, "reconstruction", generator.reconstruct_rows(head))
    _store(drawn, "true", shown)
    num_shown = len(shown["image"])
    repeated = {name: np.repeat(x, NUM_SAMPLES, axis=0) for name, x in shown.items()}
    for i, asked in enumerate(ASKED):
        observed = np.array([name == asked for name in names])
        made = generator.complete_rows(jax.random.fold_in(key, i), repeated, observed)
        made = {n: x.reshape(num_shown, NUM_SAMPLES, *x.shape[1:]) for n, x in made.items()}
        _store(drawn, f"given {asked}", made)
    joint_key = jax.random.fold_in(key, len(ASKED))
    _store(drawn, "joint", generator.complete_rows(joint_key, *blank_rows(rows, names, NUM_JOINT)))
    return drawn


def _store(drawn: dict[str, np.ndarray], kind: str, arrays: Mapping[str, np.ndarray]) -> None:
    drawn.update({f"{kind}/{name}": np.asarray(array) for name, array in arrays.items()})


def figures(results: Mapping[str, Any]) -> list[Figure]:
    """Return the main figures of the results."""

    def score(entry, bound):
        return f"{entry['mean']:.3f} ± {entry['se']:.3f}", f"supervised {bound['mean']:.3f}"

    made, bounds = results["generated"], results["supervised"]
    read = results["image_read"]["attributes"]["attribute_f1"]
    lines = [
        *(
            Figure(
                f"attribute F1, given {s}", *score(made[s]["attribute_f1"], bounds["attribute_f1"])
            )
            for s in ("image", "mask", "image+mask")
        ),
        *(
            Figure(f"mask F1, given {s}", *score(made[s]["mask_f1"], bounds["mask_f1"]))
            for s in ("image", "attributes", "attributes+image")
        ),
        Figure(
            "attributes read from pictures made from them", *score(read, bounds["attribute_f1"])
        ),
    ]
    distance, spread = results["image_frechet_classifier_features"], results["diversity"]
    fid = (
        [Figure("FID, from nothing", f"{results['fid']['nothing']:.1f}")]
        if "fid" in results
        else []
    )
    of_real = spread["attributes"]["pixels"] / spread["real"]["pixels"]
    return [
        *lines,
        Figure("Fréchet distance, from nothing", f"{distance['nothing']:.3g}",
               "in features of the attribute classifier; not FID"),
        *fid,
        Figure("diversity given attributes", f"{of_real:.2f}",
               "distance of pictures for one condition over that of real pictures"),
        Figure("1,000 samples", f"{results['seconds_per_1000_samples']:.1f} s",
               f"{results['num_evaluations']} evaluations of the score, decoded"),
    ]  # fmt: skip


def sections(
    results: Mapping[str, Any],
    samples: Mapping[str, np.ndarray],
    names: tuple[str, ...],
    folder: Path,
) -> list[Section]:
    """Write the pictures of the report into a folder, and return its sections."""
    imsave(folder / "from_attributes.png", from_attributes(samples, names))
    imsave(folder / "from_mask.png", from_mask(samples))
    imsave(folder / "from_image.png", from_image(samples, names))
    imsave(folder / "joint.png", joint(samples, names))
    save_image(folder / "reconstruction.png", reconstructions(samples))
    framed = "The picture with a red edge is the test example, for comparison; it was not used."
    return [
        Section("Attributes to faces", (Picture("from_attributes.png", framed),)),
        Section("Mask to faces", (Picture(
            "from_mask.png", f"The mask is everything but skin. {framed}"),)),
        Section("Face to mask and attributes", (Picture(
            "from_image.png", "Red edge: what was given, and the true mask. Attributes: + is generated "
            "and true, - is missed, ! is generated but not true."),)),
        Section("From nothing", (Picture(
            "joint.png", "Each column is one joint sample of face, mask and attributes."),)),
        Section("Reconstruction", (Picture(
            "reconstruction.png", "Real test examples, and below each what its autoencoder makes of "
            "it."),)),
        scores(results),
        by_attribute(results, names),
    ]  # fmt: skip


def named(values: np.ndarray, names: tuple[str, ...]) -> str:
    """Return the names of the attributes that a vector has, one on each line."""
    return "\n".join(name for name, value in zip(names, values, strict=True) if value > 0.5)


def compared(values: np.ndarray, truth: np.ndarray, names: tuple[str, ...]) -> str:
    """Return the attributes of a vector against the true ones, one on each line."""
    signs = {(True, True): "+", (False, True): "-", (True, False): "!"}
    pairs = zip(names, values > 0.5, truth > 0.5, strict=True)
    return "\n".join(f"{signs[has, had]} {n}" for n, has, had in pairs if (has, had) in signs)


def from_attributes(samples: Mapping[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    """Lay out faces made from attributes."""
    rows = [
        [named(given, names), *made, frame(as_bytes(true))]
        for given, made, true in zip(
            samples["true/attributes"], samples["given attributes/image"], samples["true/image"],
            strict=True,
        )
    ]  # fmt: skip
    return sheet(rows, ["asked for", "generated", *[""] * (NUM_SAMPLES - 1), "test example"])


def from_mask(samples: Mapping[str, np.ndarray]) -> np.ndarray:
    """Lay out faces made from masks."""
    rows = [
        [given, *made, frame(as_bytes(true))]
        for given, made, true in zip(
            samples["true/mask"], samples["given mask/image"], samples["true/image"], strict=True
        )
    ]
    return sheet(rows, ["given", "generated", *[""] * (NUM_SAMPLES - 1), "test example"])


def from_image(samples: Mapping[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    """Lay out masks and attributes made from faces."""
    rows = [
        [frame(as_bytes(given)), frame(as_bytes(mask)), *made[:3], compared(a[0], attributes, names)]
        for given, mask, made, a, attributes in zip(
            samples["true/image"], samples["true/mask"], samples["given image/mask"],
            samples["given image/attributes"], samples["true/attributes"], strict=True,
        )
    ]  # fmt: skip
    return sheet(rows, ["given", "true mask", "generated", "", "", "attributes"])


def joint(samples: Mapping[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    """Lay out joint samples, one in each column."""
    images, masks = list(samples["joint/image"]), list(samples["joint/mask"])
    texts = [named(values, names) for values in samples["joint/attributes"]]
    return sheet([images, masks, texts], [""] * len(images))


def reconstructions(samples: Mapping[str, np.ndarray]) -> np.ndarray:
    """Put real faces and masks above their reconstructions."""
    rows = [
        [as_bytes(x) for x in samples[f"{kind}/{name}"]]
        for name in ("image", "mask")
        for kind in ("real", "reconstruction")
    ]
    return grid(rows, group=2)


def scores(results: Mapping[str, Any]) -> Section:
    """Return the table of scores by observed subset."""
    head = (
        "observed", "attribute F1", "mask F1", "mask IoU", "attributes read from the picture (F1)",
        "mask read from it (F1)", "Fréchet distance", "diversity, of real",
    )  # fmt: skip
    spread, with_fid = results["diversity"], "fid" in results
    head += ("FID",) if with_fid else ()
    rows = []
    for name, entry in results["generated"].items():
        read, cells = results["image_read"].get(name), ("",) * (4 + with_fid)
        if read is not None:
            cells = (
                f"{read['attribute_f1']['mean']:.3f}", f"{read['mask_f1']['mean']:.3f}",
                f"{results['image_frechet_classifier_features'][name]:.3g}",
                f"{spread[name]['pixels'] / spread['real']['pixels']:.2f}",
            )  # fmt: skip
            cells += (f"{results['fid'][name]:.1f}",) if with_fid else ()
        rows.append((name, *(f"{entry[k]['mean']:.3f}" for k in entry), *cells))
    bound = results["supervised"]
    supervised = ("supervised, real pictures", *(f"{bound[k]['mean']:.3f}" for k in bound))
    remark = (
        "Where a modality is observed its score is that of its reconstruction. What is read from a "
        "picture made from nothing is compared with the mask and the attributes made with it. The "
        "Fréchet distance is in features of the attribute classifier, and is not FID. Diversity is the "
        "mean distance of pictures for one condition over that of real pictures."
    )
    blank = ("",) * (len(head) - len(supervised))
    return Section("Scores", table=(head, *rows, (*supervised, *blank)), remark=remark)


def by_attribute(results: Mapping[str, Any], names: tuple[str, ...]) -> Section:
    """Return the table of F1 by attribute and observed subset."""
    scores = {
        k: v for k, v in results["attribute_f1_by_attribute"].items() if "attributes" not in k
    }
    rows = tuple((name, *(f"{score[name]:.3f}" for score in scores.values())) for name in names)
    return Section("F1 by attribute", table=(("", *(f"given {k}" for k in scores)), *rows))
