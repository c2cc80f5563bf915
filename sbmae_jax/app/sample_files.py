"""The files of generated samples: images, tables, a contact sheet, and the list of them."""

import csv
import io
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeGuard

import numpy as np
from PIL import Image

from sbmae_jax._io import Fill, exists, require_folder, write_atomically
from sbmae_jax.data.description import Description
from sbmae_jax.data.kinds.images import Segmentation
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.evaluation.images import add_frame, as_bytes, colour_classes, colours_of, sheet
from sbmae_jax.models.autoencoder import Modality

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # those of image files, by their number of channels
SHEET = "sheet.png"
LIST = "files.json"  # what the last call has written in the folder
MAX_CHARACTERS = 24  # of a line in a cell of the contact sheet
MAX_LINES = 6  # numbers shown in a cell of the contact sheet


def check_folder(
    folder: Path, modalities: Sequence[Modality], num_samples: int, data: Description
) -> None:
    """Check before long work that samples can be written in a folder, and make the folder.

    Args:
        folder: Where to write. What an earlier call has written there may be replaced.
        modalities: Those that are generated.
        num_samples: The number of samples.
        data: The scalings of the modalities.

    Raises:
        ValueError: The folder cannot be written, or a file in it that no earlier call has written has the
            name of one to write.
    """
    require_folder(folder)
    ours = _listed(folder)
    ours |= {LIST} if ours else set()
    names = (name for m in modalities for name in _names_of(m, num_samples, data))
    for name in [LIST, SHEET, *names]:
        if exists(folder / name) and name not in ours:
            raise ValueError(
                f"{folder} has a file {name} that was not written by an earlier call: choose another --output"
            )


def write_samples(
    folder: Path,
    modalities: Sequence[Modality],
    data: Description,
    examples: Mapping[str, np.ndarray],
    made: Mapping[str, np.ndarray],
) -> Path:
    """Write samples and their contact sheet, and remove what an earlier call has left.

    Args:
        folder: An existing folder.
        modalities: What the model knows.
        data: Names and scalings of the modalities.
        examples: What was given, `{name: example}`.
        made: The samples, `{name: [S, ...]}`; those of what was given are not written.

    Returns:
        The contact sheet.
    """
    fills = {
        name: fill
        for modality in modalities
        if modality.name not in examples
        for name, fill in _fills(modality, made[modality.name], data)
    }
    page = Image.fromarray(_contact_sheet(modalities, data, examples, made))
    fills[SHEET] = lambda file: page.save(file, "PNG")
    before = _listed(folder)
    # Both, so that the next call finds all files if this one is interrupted.
    _write_list(folder, before | set(fills))
    for name, fill in fills.items():
        write_atomically(folder / name, fill)
    for name in before - set(fills):
        with suppress(FileNotFoundError):
            (folder / name).unlink()
    _write_list(folder, set(fills))
    return folder / SHEET


def _listed(folder: Path) -> set[str]:
    """Return the names of the files that an earlier call has written; none if its list cannot be read."""
    try:
        names = json.loads((folder / LIST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    # Samples in this folder only, whoever wrote the list.
    suffixes = (".png", ".csv", ".npy")
    return {name for name in names if Path(str(name)).name == name and name.endswith(suffixes)}


def _write_list(folder: Path, names: set[str]) -> None:
    text = json.dumps({"files": sorted(names)}, indent=1)
    write_atomically(folder / LIST, lambda file: file.write(text.encode()))


def _names_of(modality: Modality, num_samples: int, data: Description) -> list[str]:
    """Return the names of the files of a modality."""
    name, scaling = modality.name, data.scalings.get(modality.name)
    if len(modality.shape) != 3:
        return [f"{name}.csv"]
    if not (max(scaling.classes) < 256 if _has_classes(scaling) else modality.shape[2] in MODES):
        return [f"{name}.npy"]
    return [f"{name}_{number}.png" for number in range(num_samples)]


def _fills(
    modality: Modality, samples: np.ndarray, data: Description
) -> Iterator[tuple[str, Fill]]:
    """Yield the name of each file of a modality, and what writes it."""
    names, scaling = _names_of(modality, len(samples), data), data.scalings.get(modality.name)
    if names[0].endswith(".csv"):
        text = _table(modality, samples, data).encode()
        yield names[0], lambda file: file.write(text)
    elif names[0].endswith(".npy"):
        yield names[0], lambda file: np.save(file, samples, allow_pickle=False)
    else:
        for name, image in zip(names, samples, strict=True):
            if _has_classes(scaling):
                shown = _indexed(image, scaling)
            else:
                pixels = as_pixels(image, scaling)
                shown = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
            yield name, lambda file, shown=shown: shown.save(file, "PNG")


def _has_classes(scaling: Scaling | None) -> TypeGuard[Scaling]:
    """Return whether an image has classes of pixels."""
    return scaling is not None and isinstance(scaling.value_kind, Segmentation)


def _indexed(image: np.ndarray, scaling: Scaling) -> Image.Image:
    """Return classes of pixels as an image whose values are the classes, with a palette to look at them."""
    palette = np.zeros((256, 3), np.uint8)
    palette[list(scaling.classes)] = colours_of(len(scaling.classes))
    shown = Image.fromarray(image.reshape(scaling.raw_shape[:2]).astype(np.uint8))
    shown.putpalette(palette.tobytes())
    return shown


def _table(modality: Modality, samples: np.ndarray, data: Description) -> str:
    """Return samples that are not images as the text of a CSV file."""
    scaling = data.scalings.get(modality.name)
    if scaling is not None and scaling.value_kind.is_one_cell:
        names, lines = [modality.name], [[value] for value in samples]
    else:
        names = data.entries.get(modality.name) or list(map(str, range(np.prod(modality.shape))))
        lines = [[_cell_of(value, scaling) for value in np.ravel(values)] for values in samples]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["sample", *names])
    writer.writerows([number, *line] for number, line in enumerate(lines))
    return text.getvalue()


def _cell_of(value: np.generic, scaling: Scaling | None) -> str:
    """Return a number for a table: all digits that its dtype has, in data of one's own."""
    return f"{value:.4f}" if scaling is None else str(value).removesuffix(".0")


def as_pixels(image: np.ndarray, scaling: Scaling | None) -> np.ndarray:
    """Return an image in [0, 1], or in the units of data of one's own, as bytes [H, W, C]."""
    if scaling is None:
        return as_bytes(image)
    if _has_classes(scaling):
        return colour_classes(scaling.prepare(image[None])[0])
    x = np.clip((image.astype(np.float64) - scaling.shift) / scaling.scale, 0, 1)
    return as_bytes(x.reshape(*scaling.raw_shape[:2], scaling.shape[2]))


def _text_of(value: np.ndarray, names: Sequence[str], scaling: Scaling | None) -> str:
    """Return a few lines of text for a value that is not an image."""
    if scaling is None:
        return "\n".join(n for n, v in zip(names, value, strict=True) if v > 0.5) or "(none)"
    if scaling.value_kind.is_one_cell:
        return textwrap.fill(str(value), MAX_CHARACTERS)
    numbers = np.ravel(value)
    lines = [f"{n}: {v:.6g}" for n, v in zip(names, numbers[:MAX_LINES], strict=False)]
    return "\n".join([*lines, *["..."] * (numbers.size > MAX_LINES)])


def _contact_sheet(
    modalities: Sequence[Modality],
    data: Description,
    examples: Mapping[str, np.ndarray],
    made: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Lay out one row for each modality: what was given, in a red frame, or the samples."""

    def cell(modality, value):
        scaling = data.scalings.get(modality.name)
        if len(modality.shape) == 3:
            return as_pixels(value, scaling)
        names = data.entries.get(modality.name) or list(map(str, range(np.size(value))))
        return _text_of(value, names, scaling)

    num_samples = len(next(iter(made.values())))
    rows = []
    for modality in modalities:
        name = modality.name
        if name in examples:
            shown = cell(modality, examples[name])
            first = shown if isinstance(shown, str) else add_frame(shown)
            rows.append([f"{name}\n(given)", first, *[""] * (num_samples - 1)])
        else:
            title = f"{name}{_what_is_shown(modality, data)}"
            rows.append([title, *(cell(modality, value) for value in made[name])])
    return sheet(rows, [""] * (num_samples + 1), side=160)


def _what_is_shown(modality: Modality, data: Description) -> str:
    """Return a remark on the channels of an image that the contact sheet leaves out."""
    num_channels = modality.shape[2] if len(modality.shape) == 3 else 1
    if num_channels in MODES or _has_classes(data.scalings.get(modality.name)):
        return ""
    return f"\n(channels 1 to 3\nof {num_channels}; all are in\n{modality.name}.npy)"
