"""Generate from files: images, names, numbers or classes in; images, tables and a contact sheet out."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sbmae_jax._check import require_int, require_seed
from sbmae_jax._io import as_path
from sbmae_jax.app.sample_files import MODES, SHEET, check_folder, write_samples
from sbmae_jax.data.description import Description
from sbmae_jax.data.kinds import IMAGE_KINDS
from sbmae_jax.data.kinds.base import abbreviate
from sbmae_jax.data.names import as_name
from sbmae_jax.data.numbers import parse_bit, parse_number
from sbmae_jax.data.parts import split_given, vectors_of, width_of
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.user.pictures import READ_MODES
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.model import Model
from sbmae_jax.training import distributed

CLASS_MODES = ("1", "L", "P", "I", "I;16")  # of image files whose values are numbers


def generate_files(
    model: Model,
    data: Description,
    given: Sequence[str],
    num_samples: int,
    folder: Path,
    *,
    seed: int = 0,
) -> Path:
    """Generate what is not given, and write files. Of several processes, the first one writes.

    The folder gets `NAME_NUMBER.png` for each image, `NAME.npy` for images of more than four channels (those
    of classes of pixels have the classes as values, and a palette),
    `NAME.csv` for other modalities, and `sheet.png`, which shows everything. Data of one's own are drawn with
    their noise, and written in their units. `files.json` lists the files, which the next call in the same
    folder replaces.

    Args:
        model: A trained model.
        data: The description of the data that it was trained on.
        given: What the samples must agree with, as `read_given` reads it; may be empty.
        num_samples: How many samples to generate.
        folder: Where to write. It is created if it does not exist. Other files in it are kept.
        seed: In 0..2**32 - 1.

    Returns:
        The contact sheet.

    Raises:
        ValueError: If something given cannot be read or does not fit, if the folder cannot be written, or if
            it has a file of the same name that no earlier call has written.
        OSError: The samples could not be written there; the message says where they are.

    Example:
        With a finished run of the toy faces::

            run = pipeline.open_run("runs/toy")
            given = ["attributes=Smiling,Eyeglasses"]
            generate_files(load_model(run), run.data.description, given, 8, Path("faces"))
    """
    require_int("num_samples", num_samples, 1)
    seed = require_seed("seed", seed)
    examples = read_given(given, model.modalities, data)
    if distributed.is_first():
        made = [m for m in model.modalities if m.name not in examples]
        check_folder(folder, made, num_samples, data)
    made = model.generate(
        {name: x[None] for name, x in examples.items()},
        key=seed, num_samples=num_samples,
    )  # fmt: skip
    made = split_given(made, data.scalings)
    if examples:
        made = {name: x[0] for name, x in made.items()}
    try:
        if distributed.is_first():
            write_samples(folder, model.modalities, data, examples, made)
    except OSError as error:
        kept = Path(tempfile.mkdtemp(prefix="sbmae-"))
        write_samples(kept, model.modalities, data, examples, made)
        raise OSError(
            f"{folder} cannot be written ({error.strerror or error}): the samples are in {kept}"
        ) from None
    distributed.barrier("generated")
    return folder / SHEET


def read_given(
    given: Sequence[str], modalities: Sequence[Modality], data: Description
) -> dict[str, np.ndarray]:
    """Read one example of each modality that is given.

    Args:
        given: For each modality, `NAME=VALUE`. The value is a file for an image, which is cropped and resized
            to the model's shape; comma-separated names for a vector of attributes, where the other attributes
            are absent. For data of one's own it is a class for a category, the string for text,
            comma-separated numbers for other kinds, or an `.npy` file; all in their units.
        modalities: What the model knows.
        data: Names and scalings of the modalities.

    Returns:
        {name: example}, without a batch axis.

    Raises:
        ValueError: Naming the modality, if a value cannot be read or does not fit.
    """
    known, examples = {modality.name: modality for modality in modalities}, {}
    for word in _in_parts(given, data.scalings):
        name, equals, value = word.partition("=")
        name = as_name(name)
        if not equals or name not in known:
            raise ValueError(
                f"--given {word!r}: write NAME=VALUE, where NAME is one of {', '.join(known)}"
            )
        if name in examples:
            raise ValueError(f"--given {name}: give each modality once")
        modality = known[name]
        scaling = data.scalings.get(name)
        if scaling is not None:
            examples[name] = _read_own(value, modality, scaling)
        elif len(modality.shape) == 3:
            examples[name] = _read_image(value, name, modality.shape)
        else:
            examples[name] = _read_names(value, modality, data)
    return examples


def _in_parts(given: Sequence[str], scalings: Mapping[str, Scaling]) -> Iterator[str]:
    """Yield what is given, with the cells of vectors that are learned in parts; empty ones are not given."""
    vectors = vectors_of(scalings)
    for word in given:
        name, _, value = word.partition("=")
        parts = vectors.get(as_name(name))
        if parts is None:
            yield word
            continue
        cells = [cell.strip() for cell in value.split(",")]
        width = width_of(scalings, as_name(name))
        if len(cells) != width:
            raise ValueError(
                f"--given {name}: write {width} comma-separated numbers, and leave those out between their "
                "commas that are not known"
            )
        for part, columns in parts.items():
            some = [cells[column] for column in columns]
            if all(some):
                yield f"{part}={','.join(some)}"
            elif any(some):
                raise ValueError(
                    f"--given {name}: give all of the columns {', '.join(map(str, columns))} or none, as "
                    "they were missing together in training"
                )


def _read_own(value: str, modality: Modality, scaling: Scaling) -> np.ndarray:
    """Read one example [*raw_shape] of data of one's own, in its units."""
    name, shape = modality.name, scaling.raw_shape
    if scaling.kind == "segmentation" and not value.endswith(".npy"):
        return _read_classes(value, name, scaling)
    if scaling.kind in IMAGE_KINDS and not value.endswith(".npy"):
        image = _read_image(value, name, (*shape[:2], modality.shape[2]))
        if scaling.kind == "mask" and image.max() == 1:
            image = 255 * image  # a mask of 0 and 1, of whatever units those of training were
        return scaling.restore(scaling.pad(image[None])[0])
    if scaling.value_kind.is_text or scaling.value_kind.is_date:
        return np.asarray(value)
    if scaling.value_kind.is_category:
        code = int(scaling.class_codes(np.array([value]))[0])
        if code >= 0:
            return np.asarray(scaling.class_values[code])
        known = abbreviate(scaling.classes)
        raise ValueError(f"--given {name}: unknown class {value!r}; choose from {known}")
    try:
        if value.endswith(".npy"):
            numbers: Any = np.load(as_path(value), allow_pickle=False)
            numbers = numbers if scaling.kind in IMAGE_KINDS else numbers.astype(float)
        else:
            parse = parse_bit if scaling.kind == "binary" else parse_number
            numbers = [parse(word) for word in value.split(",")]
    except (OSError, EOFError, ValueError):
        numbers = [None]
    if any(number is None for number in np.ravel(numbers)):
        raise ValueError(
            f"--given {name}: cannot read {value}: write comma-separated numbers, or the path of an .npy file"
        )
    numbers = np.asarray(numbers)
    sizes = [[n for n in s if n != 1] for s in (numbers.shape, shape)]
    if value.endswith(".npy") and sizes[0] != sizes[1]:
        raise ValueError(f"--given {name}: must be numbers of shape {shape}, got {numbers.shape}")
    if numbers.size != np.prod(shape, dtype=np.int64):
        raise ValueError(f"--given {name}: must be numbers of shape {shape}, got {numbers.shape}")
    return numbers.reshape(shape)


def _read_classes(path: str, name: str, scaling: Scaling) -> np.ndarray:
    """Read an image file whose values are classes of pixels, with a palette or grey."""
    image = _open(path, name)
    if image.mode not in CLASS_MODES:
        raise ValueError(
            f"--given {name}: {path} has pixels of type {image.mode}, and the values of its pixels must be "
            "classes: save it as a grey image, or give an .npy file"
        )
    height, width = scaling.raw_shape[:2]
    if (image.height, image.width) != (height, width):
        image = _cropped(image, height, width, Image.Resampling.NEAREST)
    classes = np.asarray(image).reshape(scaling.raw_shape)
    try:
        scaling.prepare(classes[None])
    except ValueError as error:
        raise ValueError(f"--given {name}: {path}: {error}") from None
    return classes.astype(scaling.dtype)


def _open(path: str, name: str) -> Image.Image:
    """Open an image file, decoded and turned as its camera was held."""
    try:
        with Image.open(as_path(path)) as file:
            return ImageOps.exif_transpose(file)
    except FileNotFoundError:
        raise ValueError(f"--given {name}: no such file: {path}") from None
    except (UnidentifiedImageError, OSError):
        raise ValueError(f"--given {name}: {path} is not an image, or is damaged") from None


def _cropped(image: Image.Image, height: int, width: int, how: Image.Resampling) -> Image.Image:
    """Return the middle of an image, resized."""
    side = min(image.width / width, image.height / height)
    cut_width, cut_height = side * width, side * height
    left, top = (image.width - cut_width) / 2, (image.height - cut_height) / 2
    box = (left, top, left + cut_width, top + cut_height)
    return image.resize((width, height), how, box=box)


def _read_image(path: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Read an image file as uint8 of a shape [H, W, C]."""
    height, width, depth = shape
    if depth not in MODES:
        raise ValueError(f"--given {name}: no image file has {depth} channels: give an .npy file")
    image = _open(path, name)
    if image.mode not in READ_MODES:
        raise ValueError(
            f"--given {name}: {path} has pixels of type {image.mode}: save it with 8 bits per channel"
        )
    image = _cropped(image.convert(MODES[depth]), height, width, Image.Resampling.BILINEAR)
    return np.asarray(image, np.uint8).reshape(shape)


def _read_names(value: str, modality: Modality, data: Description) -> np.ndarray:
    """Read a list of names as a vector of 0 and 1, one entry for each known name."""
    names = data.entries.get(modality.name, ())
    wanted = [as_name(word.strip()) for word in value.split(",") if word.strip()]
    for word in wanted:
        if word not in map(as_name, names):
            raise ValueError(
                f"--given {modality.name}: unknown name {word!r}; choose from {', '.join(names)}"
            )
    return np.array([as_name(name) in wanted for name in names], np.float32)
