"""Examples for the report of paired data: drawn when a run is evaluated, laid out when it is reported."""

from collections.abc import Mapping

import numpy as np

from sbmae_jax.evaluation.generator import Arrays, Generator, blank_rows
from sbmae_jax.evaluation.pictures import as_bytes, frame, grid, sheet
from sbmae_jax.types import Key

NUM_SHOWN = 6  # test examples
NUM_REAL = 12  # columns of the grid of reconstructions
NUM_JOINT = 12  # joint samples
NUM_PICTURES = 3  # pictures drawn for one example given all others
NUM_ALONE = 2  # pictures drawn for one example given one modality
MAX_ALONE = 4  # modalities that are shown as observed alone
MAX_FEATURES = 64  # of a vector that are shown


def is_picture(x: np.ndarray) -> bool:
    """Say whether rows [N, ...] are pictures."""
    return x.ndim == 4


def draw_samples(
    key: Key, rows: Arrays, present: np.ndarray, generator: Generator, num_samples: int
) -> dict[str, np.ndarray]:
    """Return what the report shows, as arrays under `kind/modality`.

    "shown": the numbers of the test rows [S], those with the fewest gaps, and "present" [S, M] of these.
    "true": [S, *shape].  "rest": draws given all others [S, K, *shape].  Of pictures alone "alone NAME":
    draws given the modality NAME [S, NUM_ALONE, *shape], and "real", "reconstruction", "joint": [.., *shape].
    Of pictures K is NUM_PICTURES; of other modalities it is `num_samples`, and the first MAX_FEATURES values
    of each are kept.
    """
    names, shown = generator.names, np.argsort(-present.sum(axis=1), kind="stable")[:NUM_SHOWN]
    pictures = [name for name in names if is_picture(rows[name])]
    asked = questions(names, pictures, num_samples)
    # All that is drawn is asked for at once: a call costs as much as a whole batch.
    blank, none = blank_rows(rows, names, NUM_JOINT)
    where = np.concatenate(
        [np.zeros(0, int), *(np.repeat(shown, num) for _, num in asked.values())]
    )
    observed = [np.repeat(present[shown] & seen, num, axis=0) for seen, num in asked.values()]
    batch = {name: np.concatenate([rows[name][where], blank[name]]) for name in names}
    made = generator.draw_rows(key, batch, np.concatenate([*observed, none]))
    drawn: dict[str, np.ndarray] = {"shown": shown, "present": present[shown]}
    drawn |= {f"true/{name}": kept(rows[name][shown]) for name in names}
    start = 0
    for (kind, targets), (_, num) in asked.items():
        rows_of = slice(start, start + num * len(shown))
        for name in targets:
            part = made[name][rows_of]
            drawn[f"{kind}/{name}"] = kept(part.reshape(len(shown), num, *part.shape[1:]), 2)
        start = rows_of.stop
    for name in pictures:
        real = np.flatnonzero(present[:, names.index(name)])[:NUM_REAL]
        rebuilt = generator.reconstruct_rows({other: rows[other][real] for other in names})
        drawn[f"real/{name}"], drawn[f"reconstruction/{name}"] = rows[name][real], rebuilt[name]
        drawn[f"joint/{name}"] = made[name][start:]
    return drawn


def questions(
    names: tuple[str, ...], pictures: list[str], num_samples: int
) -> dict[tuple[str, tuple[str, ...]], tuple[np.ndarray, int]]:
    """Return {(kind, targets): (which modalities are observed [M], number of draws)}."""
    asked = {}
    for m, name in enumerate(names if len(names) > 1 else ()):
        num = NUM_PICTURES if name in pictures else num_samples
        asked["rest", (name,)] = np.arange(len(names)) != m, num
    # Of two modalities one alone is all others.
    for m, name in enumerate(names if len(names) > 2 else ()):
        targets = tuple(target for target in pictures if target != name)
        if targets:
            asked[f"alone {name}", targets] = np.arange(len(names)) == m, NUM_ALONE
    return asked


def kept(x: np.ndarray, axes: int = 1) -> np.ndarray:
    """Return pictures whole, and of other values the first MAX_FEATURES, behind `axes` axes.

    Of a signal [T, C] these are the values of its first channel.
    """
    if x.ndim == axes + 3:
        return x
    if x.ndim == axes + 2:
        x = x[..., 0]
    return x.reshape(*x.shape[:axes], -1)[..., :MAX_FEATURES]


def rgb(x: np.ndarray) -> np.ndarray:
    """Return a picture of 1 to 4 channels as RGB bytes: of two channels the first, of four three."""
    return as_bytes(x[..., :1] if x.shape[-1] < 3 else x[..., :3])


def picture_sheet(
    samples: Mapping[str, np.ndarray], name: str, names: tuple[str, ...]
) -> np.ndarray:
    """Lay out what is drawn of a picture modality: test examples in rows, what was observed in columns."""
    sources = [n for n in names if f"alone {n}/{name}" in samples][:MAX_ALONE]
    heads = ["test example", "given all others", *[""] * (NUM_PICTURES - 1)]
    for source in sources:
        heads += [f"given {source}", *[""] * (NUM_ALONE - 1)]
    rows = []
    for s, true in enumerate(samples[f"true/{name}"]):
        has = dict(zip(names, samples["present"][s], strict=True))
        blank = np.full_like(rgb(true), 255)
        row = [frame(rgb(true)) if has[name] else blank]
        row += [rgb(x) for x in samples[f"rest/{name}"][s]]
        for source in sources:
            row += [rgb(x) if has[source] else blank for x in samples[f"alone {source}/{name}"][s]]
        rows.append(row)
    return sheet(rows, heads, side=108)


def joint_grid(samples: Mapping[str, np.ndarray], pictures: list[str]) -> np.ndarray:
    """Put each joint sample in a column, its picture modalities below each other."""
    side = max(samples[f"joint/{name}"].shape[1] for name in pictures)
    return sheet(
        [[rgb(x) for x in samples[f"joint/{name}"]] for name in pictures], [""] * NUM_JOINT,
        side=max(side, 64),
    )  # fmt: skip


def reconstruction_grid(samples: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Put real pictures above their reconstructions."""
    kinds = ("real", "reconstruction")
    return grid([[rgb(x) for x in samples[f"{kind}/{name}"]] for kind in kinds], group=2)
