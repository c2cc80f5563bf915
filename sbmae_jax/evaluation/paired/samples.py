"""Samples for the report of paired data: drawn when a run is evaluated, laid out when it is reported."""

from collections.abc import Callable, Collection, Mapping

import numpy as np

from sbmae_jax.evaluation.base import Samples
from sbmae_jax.evaluation.generator import Arrays, Generator, blank_rows
from sbmae_jax.evaluation.images import add_frame, as_rgb, sheet
from sbmae_jax.evaluation.paired.sound_pages import sound_samples
from sbmae_jax.types import Key

NUM_SHOWN = 6  # test examples
NUM_REAL = 12  # columns of the grid of reconstructions
NUM_JOINT = 12  # joint samples
NUM_IMAGES = 3  # images drawn for one example given all others
NUM_ALONE = 2  # images drawn for one example given one modality
MAX_ALONE = 4  # modalities that are shown as observed alone
MAX_FEATURES = 64  # of a vector that are shown


def draw_samples(
    key: Key, rows: Arrays, present: np.ndarray, generator: Generator, num_samples: int,
    show: Mapping[str, Callable[[np.ndarray], np.ndarray]] | None = None, sounds: Collection[str] = (),
) -> dict[str, np.ndarray]:  # fmt: skip
    """Draw what the report shows.

    Args:
        key: A typed key.
        rows: Test rows, `{name: [N, *shape]}`.
        present: The modalities that each row has, `[N, M]` bool.
        generator: The generator.
        num_samples: K, the samples of a modality given all others; of images it is NUM_IMAGES.
        show: How rows are shown that networks see in another form: tokens as strings, classes as colours.
        sounds: The signals that the report plays.

    Returns:
        `shown`, the numbers of the test rows with the fewest gaps, `[S]`, and `present` of these, `[S, M]`.
        Then arrays under `kind/modality`: `true`, `[S, *shape]`; `rest`, given all others,
        `[S, K, *shape]`; and of images `alone NAME`, given one modality, `[S, NUM_ALONE, *shape]`, and
        `real`, `reconstruction` and `joint`, `[.., *shape]`. Of modalities other than images the first
        MAX_FEATURES values are kept, and text as strings; classes of pixels are colours, `[.., H, W, 3]`.
        Of sounds also what `sound_samples` returns.
    """
    names, shown = generator.names, np.argsort(-present.sum(axis=1), kind="stable")[:NUM_SHOWN]
    images = [name for name in names if rows[name].ndim == 4]
    questions = _questions(names, images, num_samples)
    # All that is drawn is asked for at once, as a call costs as much as a whole batch.
    blank, nothing = blank_rows(rows, names, NUM_JOINT)
    where = np.concatenate(
        [np.zeros(0, int), *(np.repeat(shown, num) for _, num in questions.values())]
    )
    observed = [np.repeat(present[shown] & seen, num, axis=0) for seen, num in questions.values()]
    batch = {name: np.concatenate([rows[name][where], blank[name]]) for name in names}
    made = generator.draw_rows(key, batch, np.concatenate([*observed, nothing]))
    how = dict.fromkeys(names, np.asarray) | dict(show or {})
    made = {name: how[name](x) for name, x in made.items()}
    samples: dict[str, np.ndarray] = {"shown": shown, "present": present[shown]}
    samples |= {f"true/{name}": _kept(how[name](rows[name][shown])) for name in names}
    texts = [name for name in names if made[name].dtype.kind == "U"]
    samples |= {f"joint/{name}": made[name][-NUM_JOINT:] for name in texts}
    rebuilt = generator.reconstruct_rows({n: rows[n][shown] for n in names}) if sounds else {}
    for name in sounds:
        first = {"joint": made[name][-NUM_JOINT:]}
        has = present[shown, names.index(name)]
        first |= {"true": rows[name][shown][has], "reconstruction": rebuilt[name][has]}
        samples |= sound_samples(name, first)
    start = 0
    for (kind, targets), (_, num) in questions.items():
        part = slice(start, start + num * len(shown))
        for name in targets:
            values = made[name][part]
            values = values.reshape(len(shown), num, *values.shape[1:])
            samples[f"{kind}/{name}"] = _kept(values, 2)
            if name in sounds:
                has = present[shown, names.index(name)]
                samples |= sound_samples(name, {kind: values[has, 0]})
        start = part.stop
    for name in images:
        real = np.flatnonzero(present[:, names.index(name)])[:NUM_REAL]
        if not len(real):
            continue
        rebuilt = generator.reconstruct_rows({other: rows[other][real] for other in names})
        samples[f"real/{name}"] = how[name](rows[name][real])
        samples[f"reconstruction/{name}"] = how[name](rebuilt[name])
        samples[f"joint/{name}"] = made[name][start:]
    return samples


def _questions(
    names: tuple[str, ...], images: list[str], num_samples: int
) -> dict[tuple[str, tuple[str, ...]], tuple[np.ndarray, int]]:
    """Return {(kind, targets): (which modalities are observed [M], number of samples)}."""
    questions = {}
    for m, name in enumerate(names if len(names) > 1 else ()):
        num = NUM_IMAGES if name in images else num_samples
        questions["rest", (name,)] = np.arange(len(names)) != m, num
    # Of two modalities, one alone is all others.
    for m, name in enumerate(names if len(names) > 2 else ()):
        targets = tuple(target for target in images if target != name)
        if targets:
            questions[f"alone {name}", targets] = np.arange(len(names)) == m, NUM_ALONE
    return questions


def _kept(x: np.ndarray, axes: int = 1) -> np.ndarray:
    """Return images whole, and of other values the first MAX_FEATURES, behind `axes` axes.

    Of a signal [T, C] these are the values of its first channel.
    """
    if x.ndim == axes + 3 or x.dtype.kind == "U":
        return x
    if x.ndim == axes + 2:
        x = x[..., 0]
    return x.reshape(*x.shape[:axes], -1)[..., :MAX_FEATURES]


def image_sheet(samples: Samples, name: str, names: tuple[str, ...]) -> np.ndarray:
    """Lay out the samples of one modality of images: test examples in rows, what was observed in columns."""
    sources = [n for n in names if f"alone {n}/{name}" in samples][:MAX_ALONE]
    heads = ["test example", "given all others", *[""] * (NUM_IMAGES - 1)]
    for source in sources:
        heads += [f"given {source}", *[""] * (NUM_ALONE - 1)]
    rows = []
    for s, true in enumerate(samples[f"true/{name}"]):
        has = dict(zip(names, samples["present"][s], strict=True))
        blank = np.full_like(as_rgb(true), 255)
        row = [add_frame(true) if has[name] else blank, *samples[f"rest/{name}"][s]]
        for source in sources:
            alone = samples[f"alone {source}/{name}"][s]
            row += list(alone) if has[source] else [blank] * len(alone)
        rows.append(row)
    return sheet(rows, heads, side=108)


def joint_sheet(samples: Samples, images: list[str]) -> np.ndarray:
    """Put each joint sample in a column, its images below each other."""
    side = max(samples[f"joint/{name}"].shape[1] for name in images)
    rows = [list(samples[f"joint/{name}"]) for name in images]
    return sheet(rows, [""] * NUM_JOINT, side=max(side, 64))
