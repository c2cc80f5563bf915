"""Generate from files: a picture, a mask, or a list of attributes in, PNGs and a contact sheet out."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.image import imsave
from PIL import Image, UnidentifiedImageError

from sbmae_jax.autoencoder import Modality
from sbmae_jax.data.description import Description
from sbmae_jax.model import Model
from sbmae_jax.pictures import as_bytes, frame, sheet


def generate_files(
    model: Model,
    data: Description,
    given: Sequence[str],
    num_samples: int,
    folder: Path,
    seed: int = 0,
) -> Path:
    """Generate what is not given, `num_samples` times; write the files, and return the contact sheet.

    given: as `read_given` takes it; nothing given is generated from nothing.
    Written to `folder`: `NAME_NUMBER.png` for each picture, `NAME.csv` for each vector, `sheet.png`.

    Raises ValueError for what cannot be read or does not fit, naming it.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    examples = read_given(given, model.modalities, data)
    rows = {name: np.repeat(x[None], num_samples, axis=0) for name, x in examples.items()}
    made = model.generate(rows, key=seed, num_samples=None if rows else num_samples)
    folder.mkdir(parents=True, exist_ok=True)
    for modality in model.modalities:
        if modality.name not in examples:
            write_samples(folder, modality, made[modality.name], data)
    imsave(folder / "sheet.png", contact_sheet(model.modalities, data, examples, made))
    return folder / "sheet.png"


def read_given(
    given: Sequence[str], modalities: Sequence[Modality], data: Description
) -> dict[str, np.ndarray]:
    """Read `name=value`: a file for a picture, comma-separated names for a vector of attributes.

    Pictures are resized, and cut to a square where the model's are square. A vector takes all names that
    are not in the list for absent; an empty list is a vector of zeros.
    """
    known, examples = {modality.name: modality for modality in modalities}, {}
    for word in given:
        name, equals, value = word.partition("=")
        if not equals or name not in known:
            raise ValueError(
                f"--given {word!r}: write NAME=VALUE, where NAME is one of {', '.join(known)}"
            )
        if name in examples:
            raise ValueError(f"--given {name} stands twice: give each modality once")
        modality = known[name]
        read = read_picture if len(modality.shape) == 3 else read_names
        examples[name] = read(value, modality, data)
    return examples


def read_picture(path: str, modality: Modality, data: Description) -> np.ndarray:
    """Read a picture file as [H, W, C] uint8 of the modality's shape."""
    del data
    height, width, depth = modality.shape
    try:
        with Image.open(path) as file:
            image = file.convert("RGB" if depth == 3 else "L")
    except FileNotFoundError:
        raise ValueError(f"--given {modality.name}: there is no file {path}") from None
    except (UnidentifiedImageError, OSError):
        raise ValueError(f"--given {modality.name}: {path} is not a picture, or damaged") from None
    side = min(image.width / width, image.height / height)
    cut_width, cut_height = side * width, side * height
    left, top = (image.width - cut_width) / 2, (image.height - cut_height) / 2
    box = (left, top, left + cut_width, top + cut_height)
    resized = image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized, np.uint8).reshape(modality.shape)


def read_names(value: str, modality: Modality, data: Description) -> np.ndarray:
    """Read a list of names as a vector of 0 and 1."""
    names = data.entries.get(modality.name, ())
    wanted = [word.strip() for word in value.split(",") if word.strip()]
    for word in wanted:
        if word not in names:
            raise ValueError(
                f"--given {modality.name}: unknown name {word!r}; choose from {', '.join(names)}"
            )
    return np.array([name in wanted for name in names], np.float32)


def write_samples(folder: Path, modality: Modality, samples: np.ndarray, data: Description) -> None:
    """Write pictures as PNGs, vectors as a table."""
    if len(modality.shape) == 3:
        for number, image in enumerate(samples):
            imsave(folder / f"{modality.name}_{number}.png", as_bytes(image))
        return
    names = data.entries.get(modality.name) or [str(i) for i in range(modality.shape[0])]
    with open(folder / f"{modality.name}.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sample", *names])
        for number, values in enumerate(samples):
            writer.writerow([number, *(f"{value:.4f}" for value in values)])


def contact_sheet(
    modalities: Sequence[Modality],
    data: Description,
    examples: Mapping[str, np.ndarray],
    made: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Lay out what was given, with a red edge, beside the samples: a row for each modality."""

    def cell(modality, value):
        if len(modality.shape) == 3:
            return as_bytes(value)
        names = data.entries.get(modality.name) or [str(i) for i in range(len(value))]
        return "\n".join(n for n, v in zip(names, value, strict=True) if v > 0.5) or "(none)"

    num_samples = len(next(iter(made.values())))
    rows = []
    for modality in modalities:
        name = modality.name
        if name in examples:
            shown = cell(modality, examples[name])
            first = shown if isinstance(shown, str) else frame(shown)
            rows.append([f"{name}\n(given)", first, *[""] * (num_samples - 1)])
        else:
            rows.append([name, *(cell(modality, value) for value in made[name])])
    return sheet(rows, [""] * (num_samples + 1), side=160)
