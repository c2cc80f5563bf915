"""Values that a config leaves open, chosen from the data, each with its reason.

A value is open where it is None; modalities and their networks are open where they are not named. What the
config says is left as it is, but for more test rows than there are.
"""

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sbmae_jax._check import require_int, require_type
from sbmae_jax.app.sections import Section, as_tuples, check_keys
from sbmae_jax.data.scaling import IMAGE_KINDS
from sbmae_jax.data.user.survey import ModalitySurvey, Survey, format_survey, survey

LIKELIHOODS = {
    "vector": "normal", "signal": "normal", "image": "gaussian", "mask": "gaussian",
    "binary": "bernoulli", "category": "categorical", "counts": "poisson",
}  # fmt: skip
PATCHES = (2, 4, 8)
MAX_PATCHES = 100  # beyond it the dense layers on patches grow too wide
# The score network's widths of streams and hub, by the least number of training rows that is too many.
WIDTHS = ((1000, (48, 64)), (5000, (64, 96)), (20_000, (96, 128)), (math.inf, (128, 192)))
LARGEST = 64  # latents of one modality


class Choice(NamedTuple):
    """A value of the config that was chosen, and why."""

    key: str
    value: Any
    reason: str


def choose_values(
    config: Mapping[str, Any],
) -> tuple[dict[str, Any], list[Choice], Survey]:
    """Return a config without open values, what was chosen, and the survey of the data it was chosen from.

    A section of `config.modalities` may also say the `kind`, which is then not inferred.

    Raises ValueError for data that cannot be read or learned from, and names that they do not have.
    """
    check_keys(config)
    config = copy.deepcopy(dict(config))
    data, sections = config["data"], config["modalities"]
    leave_out = as_tuples(data.pop("leave_out", ()))
    require_type("config.data.leave_out", leave_out, tuple[str, ...])
    if not data.get("path"):
        raise ValueError("config.data.path: say where your data are: --config.data.path=DATA")
    require_type("config.data.kinds", data.get("kinds", {}), Mapping[str, str])
    kinds = dict(data.get("kinds", {})) | {
        name: section.pop("kind") for name, section in sections.items() if "kind" in section
    }
    require_type("config.modalities: kind", kinds, Mapping[str, str])
    check_left_out(sections, leave_out)
    section = Section("config.data", data).without("name", "kinds")
    found = section.build(survey, kinds=kinds, seed=config["seed"], leave_out=leave_out)
    check_names(sections, found)
    kept = list(found.modalities)
    data["path"] = str(found.path)
    data["kinds"] = {m.name: m.kind for m in found.modalities}
    made: list[Choice] = []
    for m in kept:
        section = sections.setdefault(m.name, {})
        for key, value, reason in of_modality(m):
            if section.get(key) is None:
                section[key] = value
                made.append(Choice(f"modalities.{m.name}.{key}", value, reason))
        require_type(f"config.modalities.{m.name}: network", section["network"], str)
        if section["network"] not in config["encoder_decoders"]:
            config["encoder_decoders"] |= coder(section["network"])
    return config, made + close_run(config, kept, found), found


def close_run(config: dict[str, Any], kept: list[ModalitySurvey], found: Survey) -> list[Choice]:
    """Fill in, in place, what is open in the other sections; return what was chosen."""
    made = []
    num_train, num_test = found.num_rows["train"], found.num_rows["test"]
    for key, value, reason in of_run(kept, min(config["num_train"] or num_train, num_train)):
        section, name = key.split(".")
        # A key that is not there has a default, or is named where it is needed.
        if name in config[section] and config[section][name] is None:
            config[section][name] = value
            made.append(Choice(key, value, reason))
    asked = config["evaluation"].get("num_rows", 0)
    require_int("config.evaluation: num_rows", asked)
    if asked > num_test:
        config["evaluation"]["num_rows"] = num_test
        made.append(Choice("evaluation.num_rows", num_test, "the test split has no more"))
    return made


def explain(config: Mapping[str, Any], made: list[Choice], found: Survey) -> str:
    """Return what the data are and what was chosen, for the screen."""
    sections = config["modalities"]
    more = {
        "network": {name: section["network"] for name, section in sections.items()},
        "latents": {name: str(section["latent_size"]) for name, section in sections.items()},
    }
    alike: dict[tuple[str, str, str], list[str]] = {}  # modalities, or none, by what was chosen
    for key, value, reason in made:
        *where, last = key.removeprefix("modalities.").split(".")
        of_one = key.startswith("modalities.")
        entry = (last if of_one else key, str(value), reason)
        alike.setdefault(entry, []).extend(where if of_one else [])
    cells = [
        (f"{', '.join(names)}: {key} = {value}" if names else f"{key} = {value}", reason)
        for (key, value, reason), names in alike.items()
    ]
    width = min(max((len(cell) for cell, _ in cells), default=0), 60)
    lines = [f"{cell:<{width}}  {reason}" for cell, reason in cells]
    chosen = ["", "chosen from the data; the config or the command line can say otherwise:", *lines]
    return "\n".join([format_survey(found, more), *(chosen if made else [])])


def check_left_out(sections: Mapping[str, Any], leave_out: tuple[str, ...]) -> None:
    """Raise ValueError if a modality is left out and also configured."""
    both = sorted(set(sections) & set(leave_out))
    if both:
        raise ValueError(
            f"config.data.leave_out: {both[0]} also stands in config.modalities: take it out of one"
        )


def check_names(sections: Mapping[str, Any], found: Survey) -> None:
    """Raise ValueError if the config names modalities that the data do not have."""
    known = [m.name for m in found.modalities]
    for name in sections:
        if name not in known:
            raise ValueError(f"the data have no modality {name!r}, but {', '.join(known)}")


def of_modality(m: ModalitySurvey) -> Iterator[tuple[str, Any, str]]:
    """Yield what is chosen for a modality: key, value, reason."""
    yield "likelihood", LIKELIHOODS[m.kind], f"it is of the kind {m.kind}"
    yield "network", *network(m)
    yield "latent_size", *latent_size(m)
    if m.kind in IMAGE_KINDS:
        yield "weight", 0.35, "pictures: sharp enough to read, smooth enough to learn"
    else:
        reason = "below 1, so that no direction is given up of which another modality may speak"
        yield "weight", 0.2, reason


def latent_size(m: ModalitySurvey) -> tuple[int, str]:
    """Return the length of a modality's latent, and why."""
    if m.kind == "category":
        size = max(1, min(len(m.classes) - 1, LARGEST // 4))
        return size, f"{len(m.classes)} classes"
    num = math.prod(m.shape)
    share, most = {"image": (0, 32), "mask": (0, 32), "binary": (1, 32)}.get(m.kind, (2, LARGEST))
    held, percent = max(m.num_components[share], 1), ("90", "95", "99")[share]
    if num <= 8:
        return num, "few values: as many as they are"
    if held <= most:
        return held, f"{held} of {num} principal components hold {percent} % of the variance"
    return (
        most,
        f"{percent} % of the variance takes {held} principal components; {most} are the most",
    )


def network(m: ModalitySurvey) -> tuple[str, str]:
    """Return the name of a modality's networks, and why.

    Raises ValueError for pictures whose sides do not halve.
    """
    if m.kind not in IMAGE_KINDS:
        num = math.prod(m.shape)
        return f"vector-{128 if num <= 64 else 256}", f"{num} values"
    height, width, _ = m.shape
    if height % 2 or width % 2:
        raise ValueError(
            f"{m.name}: pictures of {height} x {width} do not halve: cut or pad them to even sides"
        )
    for patch in PATCHES:
        if height % patch == width % patch == 0 and height * width <= MAX_PATCHES * patch**2:
            return (
                f"patch-{patch}",
                f"{height} x {width}: dense layers on patches, quick on any device",
            )
    halvings = next(n for n in range(4, 0, -1) if height % 2**n == width % 2**n == 0)
    return f"resnet-{halvings}", f"{height} x {width}: convolutions, halving {halvings} times"


def coder(name: str) -> dict[str, Any]:
    """Return the section, by its name, of networks that are named as `network` names them; else nothing."""
    kind, _, number = name.rpartition("-")
    if kind not in ("vector", "patch", "resnet") or not number.isdecimal():
        return {}  # to be named, with those that there are, where the networks are built
    if kind == "vector":
        widths = {"width": int(number)}
        return {name: {"name": "vector", "encoder": widths, "decoder": widths}}
    if kind == "patch":
        widths = {"patch": int(number), "channels": 48, "width": 384}
        return {name: {"name": "patch", "encoder": widths, "decoder": widths}}
    widths = [32 * 2 ** min(n, 2) for n in range(int(number))]
    down = tuple((w, w, 2) for w in widths[1:])
    up = tuple((w, w, 2) for w in reversed(widths))
    encoder = {"stem": widths[0], "stages": down}
    return {
        name: {"name": "resnet", "encoder": encoder, "decoder": {"start": widths[-1], "stages": up}}
    }


def of_run(kept: list[ModalitySurvey], num_rows: int) -> Iterator[tuple[str, Any, str]]:
    """Yield what is chosen for the trainings, the score network and the samples."""
    pictures = any(m.kind in IMAGE_KINDS for m in kept)
    batch = 2 ** int(math.log2(max(16, min(128, num_rows / 8))))
    rows = f"{num_rows:,} training rows"
    yield "autoencoder_training.batch_size", batch, f"about an eighth of {rows}, in 16..128"
    steps = 2000 if pictures else 1500
    yield "autoencoder_training.num_steps", steps, "the most: held-out rows may end it before"
    yield "autoencoder_training.patience", 400, "steps without gain on the held-out rows"
    few, many = num_rows < 500, num_rows >= 2000
    steps = 2000 if few else 4000 if many or pictures else 3000
    yield "score_training.num_steps", steps, f"{rows}; the most: held-out rows may end it before"
    yield "score_training.patience", steps // 4, "steps without gain on the held-out rows"
    width, hub = next(widths for most, widths in WIDTHS if num_rows < most)
    why = f"{rows}: a wider network learns few by heart"
    yield "network.width", width, why
    yield "network.hub_width", hub, why
    if pictures:
        coarse = "pictures share what is coarse"
        yield "score.level_mean", 0.0, coarse
        yield "sampling.t_min", 3e-3, coarse
        yield "sampling.sampler", "predictor_corrector", "pictures"
        yield "sampling.num_corrections", 1, "one Langevin step a level keeps pictures coherent"
        yield "sampling.num_levels", 32, "pictures"
    else:
        fine = "vectors may fix each other to a hundredth of their deviation"
        yield "score.level_mean", -0.4, fine
        yield "sampling.t_min", 1e-3, fine
        yield "sampling.sampler", "dpm_solver", "no pictures: it keeps the spread of values"
        yield "sampling.num_corrections", 0, "dpm_solver needs none"
        yield "sampling.num_levels", 24, "dpm_solver needs no more"
