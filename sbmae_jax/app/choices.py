"""Values that a config leaves open, chosen from the data, each with its reason.

A value is open if it is None; modalities and their networks are open if the config does not name them. Values
that the config sets are kept, with one exception: more test rows than there are.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sbmae_jax._check import did_you_mean, require_int, require_type
from sbmae_jax._io import as_path
from sbmae_jax.app.run_choices import choices_for_run, contenders_for
from sbmae_jax.app.sections import Config, Section, as_tuples, check_keys, plain
from sbmae_jax.data.kinds import IMAGE_KINDS, KINDS
from sbmae_jax.data.user.groups import EACH
from sbmae_jax.data.user.opened import groups_without, whole_table
from sbmae_jax.data.user.survey import ModalitySurvey, Survey, survey
from sbmae_jax.data.user.table_files import MISSING_MARKERS
from sbmae_jax.data.user.tables import table_options
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.coders import IDENTITY

_OF_MODALITY = [f.name for f in dataclasses.fields(Modality) if f.name not in ("name", "shape")]
MODALITY_KEYS = ("kind", *_OF_MODALITY, "coder", "training")  # of a section of `modalities`
PATCHES = (2, 4, 8)
MAX_PATCHES = 100  # with more, the dense layers on patches become too wide
MAX_LATENTS = 64  # of one modality
# A third of columns that no linear map explains fill 64 components, and hide what others tell of them.
MAX_VECTOR_LATENTS = 128
# Of the values of a vector: what a latent that is a little shorter loses may matter.
NEARLY_ALL = 0.9
MIN_TEXT_LATENTS = 16
MAX_OWN_LATENTS = 4  # of a part of a vector that needs no autoencoder


class Choice(NamedTuple):
    """A value that was chosen.

    Attributes:
        key: Its place in the config, as "score.level_mean".
        value: The value.
        reason: Why this value, in a few words.
    """

    key: str
    value: Any
    reason: str


def choose_values(config: Config) -> tuple[dict[str, Any], list[Choice], Survey]:
    """Choose the open values of a config for data of one's own.

    Args:
        config: A `ConfigDict`, as `configs/custom.py` returns it, or dicts and values. A section of
            `modalities` may also have a key `kind`; that kind is then not inferred. `data.leave_out` may be
            None, which leaves out whatever has no section in `modalities`.

    Returns:
        The config without open values, what was chosen, and the survey of the data it was chosen from.

    Raises:
        ValueError: For data that cannot be read or learned from, and for names that the data do not have.

    Example:
        The file `own.npz` has one array for each modality::

            from sbmae_jax.app.choices import choose_values
            from sbmae_jax.configs import custom

            config = custom.get_config()
            config.data.path = "own.npz"
            config, choices, found = choose_values(config)
            for choice in choices:
                print(choice.key, choice.value, choice.reason)
    """
    values: dict[str, Any] = plain(config)
    check_keys(values)
    data, sections = values["data"], values["modalities"]
    leave_out = as_tuples(data.pop("leave_out", ()))
    require_type("config.data.leave_out", leave_out, tuple[str, ...] | None)
    if not data.get("path"):
        raise ValueError("config.data.path: say where your data are: --config.data.path=DATA")
    if leave_out is None:
        leave_out = _others(data, sections)
    require_type("config.data.kinds", data.get("kinds", {}), Mapping[str, str])
    for name, section in sections.items():
        Section(f"config.modalities.{name}", section).require_known(*MODALITY_KEYS)
    kinds = dict(data.get("kinds", {})) | {
        name: section.pop("kind") for name, section in sections.items() if "kind" in section
    }
    kinds = {name: kind for name, kind in kinds.items() if kind is not None}  # None is open
    require_type("config.modalities: kind", kinds, Mapping[str, str])
    _check_left_out(sections, leave_out)
    found = Section("config.data", data).without("name", "kinds").build(
        survey, kinds=kinds, seed=values["seed"], leave_out=leave_out
    )  # fmt: skip
    _drop_vectors(sections, found)
    _check_names(sections, found)
    data["path"] = str(found.path)
    groups = groups_without(
        found.path, leave_out, data.get("missing_markers", MISSING_MARKERS), data.get("groups"),
        data.get("key", ""),
    )  # fmt: skip
    data |= {"groups": groups}
    if groups is None:  # as in earlier versions
        del data["groups"]
    data.pop("parts", None)
    if found.parts:
        data["parts"] = {
            name: [list(part) for part in lists] if lists != EACH else EACH
            for name, lists in found.parts.items()
        }
    if data.get("partial_rows") == "split":  # which is done
        data["partial_rows"] = "refuse"
    data["kinds"] = {m.name: m.kind for m in found.modalities}
    choices: list[Choice] = []
    for m in found.modalities:
        section = sections.setdefault(m.name, {})
        if _is_its_own_latent(m) and not section.keys() - {"likelihood"}:
            section["coder"] = IDENTITY
            why = "single columns of a vector are their own latents"
            choices.append(Choice(f"modalities.{m.name}.coder", IDENTITY, why))
        for key, value, reason in _for_modality(m, values["autoencoder"].get("kind")):
            if section.get("coder") is not None and key != "likelihood":
                continue  # it is frozen, and has the latents that it has
            if section.get(key) is None:
                section[key] = value
                choices.append(Choice(f"modalities.{m.name}.{key}", value, reason))
        require_type(f"config.modalities.{m.name}: network", section.get("network", ""), str)
    _add_networks(values)
    return values, choices + _fill_in_run(values, found), found


def _add_networks(config: dict[str, Any]) -> None:
    """Add, in place, the networks that modalities name as `choose_network` does, where the config lacks them.

    A section of the config that has no name of its own changes some of their values.
    """
    sections = config["encoder_decoders"]
    modalities = config["modalities"].values()
    names = {section["network"] for section in modalities if "network" in section}
    for name in sections.keys() - names:
        raise ValueError(
            f"config.encoder_decoders: no modality has the network {name!r}, only {', '.join(sorted(names))}"
        )
    for name in sorted(names):
        own = Section(f"config.encoder_decoders.{name}", sections.get(name, {}))
        chosen = {} if "name" in own.values else network_section(name).get(name, {})
        if chosen:
            inner = {
                part: chosen.get(part, {}) | dict(own.part(part).values) for part in own.values
            }
            sections[name] = chosen | inner


def choose_latent_size(m: ModalitySurvey) -> tuple[int, str]:
    """Return the length of a modality's latent, and why."""
    if m.kind == "category":
        size = max(1, min(len(m.classes) - 1, MAX_LATENTS // 4))
        return size, f"{len(m.classes)} classes"
    if m.kind == "text":
        size = min(max(m.num_components[2], MIN_TEXT_LATENTS), MAX_LATENTS)
        return size, f"99 % of how its tokens vary, in {MIN_TEXT_LATENTS}..{MAX_LATENTS}"
    num = math.prod(m.shape)
    few = math.prod(m.raw_shape) if m.kind == "ordinal" else num
    if few <= 8:
        return few, "one for each value, as there are few"
    shares = dict.fromkeys((*IMAGE_KINDS, "ordinal"), (0, 32)) | {"binary": (1, 32)}
    most_of_others = MAX_VECTOR_LATENTS if m.kind == "vector" else MAX_LATENTS
    share, most = shares.get(m.kind, (2, most_of_others))
    held, percent = max(m.num_components[share], 1), ("90", "95", "99")[share]
    if m.kind == "vector" and held < m.num_shared <= most:
        why = f"so many of {num} principal components help to predict other modalities"
        return m.num_shared, why
    if m.kind == "vector" and NEARLY_ALL * num < held <= num <= most:
        return num, f"one for each value: {percent} % of the variance takes {held} of {num}"
    if held <= most:
        return held, f"{held} of {num} principal components hold {percent} % of the variance"
    return most, f"the maximum: {percent} % of the variance takes {held} principal components"


def choose_network(m: ModalitySurvey) -> tuple[str, str]:
    """Return the name of a modality's networks, and why."""
    if m.kind == "text":
        return f"text-{m.vocabulary}", f"{m.shape[0]} tokens of a vocabulary of {m.vocabulary:,}"
    if m.kind not in IMAGE_KINDS:
        num = math.prod(m.shape)
        return f"vector-{128 if num <= 64 else 256}", f"{num} values"
    height, width, _ = m.shape
    for patch in PATCHES:
        if height % patch == width % patch == 0 and height * width <= MAX_PATCHES * patch**2:
            reason = f"{height} x {width}: dense layers on patches are fast on any device"
            return f"{'classes' if m.kind == 'segmentation' else 'patch'}-{patch}", reason
    halvings = next(n for n in range(4, 0, -1) if height % 2**n == width % 2**n == 0)
    return f"resnet-{halvings}", f"{height} x {width}: convolutions that halve it {halvings} times"


def network_section(name: str) -> dict[str, Any]:
    """Return {name: section} of networks whose name is as `choose_network` gives them, else nothing.

    An unknown name is refused where the networks are built, together with the names that are known.
    """
    kind, _, number = name.rpartition("-")
    if kind not in ("vector", "patch", "classes", "resnet", "text") or not number.isdecimal():
        return {}
    if kind == "vector":
        widths = {"width": int(number)}
        return {name: {"name": "vector", "encoder": widths, "decoder": widths}}
    if kind == "text":
        sizes = {"vocabulary": int(number)}
        return {name: {"name": "text", "encoder": sizes, "decoder": sizes}}
    if kind in ("patch", "classes"):
        widths = {"patch": int(number), "channels": 48, "width": 384}
        decoder = widths | ({"logits": True} if kind == "classes" else {})
        return {name: {"name": "patch", "encoder": widths, "decoder": decoder}}
    widths = [32 * 2 ** min(n, 2) for n in range(int(number))]
    down = tuple((w, w, 2) for w in widths[1:])
    up = tuple((w, w, 2) for w in reversed(widths))
    encoder = {"stem": widths[0], "stages": down}
    return {
        name: {"name": "resnet", "encoder": encoder, "decoder": {"start": widths[-1], "stages": up}}
    }


def _fill_in_run(config: dict[str, Any], found: Survey) -> list[Choice]:
    """Fill in, in place, what is open outside of the modalities; return what was chosen."""
    choices = []
    num_train, num_test = found.num_rows["train"], found.num_rows["test"]
    num_train = min(config["num_train"] or num_train, num_train)
    has_images = any(m.kind in IMAGE_KINDS for m in found.modalities)
    has_text = any(m.kind == "text" for m in found.modalities)
    for key, value, reason in choices_for_run(config, num_train, has_images, has_text):
        section, name = key.split(".")
        # A key that is absent has a default, or is named where it is needed. For another network than that of
        # configs/custom.py no key is named, and the defaults are for more rows.
        is_other = section == "network" and config[section].get("name") != "hub"
        is_absent = is_other and name not in config[section]
        if is_absent or config[section].get(name, "") is None:
            config[section][name] = value
            choices.append(Choice(key, value, reason))
    streams = _shared_streams(found)
    if streams and config["network"].get("name") == "hub" and "streams" not in config["network"]:
        config["network"]["streams"] = streams
        choices.append(Choice("network.streams", streams, "the parts of a vector share one stream"))
    race = config.get("race", {})
    if "score" in race and race["score"] is None:
        network, chosen = config["network"], [choice.key for choice in choices]
        race["score"] = contenders_for(network, chosen) if race.get("share") else ()
        if race["score"]:
            why = "wider networks, if they are better on held-out rows"
            choices.append(Choice("race.score", race["score"], why))
    # What is still open are keys of another network than the one that `name` chooses.
    config["network"] = {k: v for k, v in config["network"].items() if v is not None}
    num_rows = config["evaluation"].get("num_rows", 0)
    require_int("config.evaluation: num_rows", num_rows)
    if num_rows > num_test:
        config["evaluation"]["num_rows"] = num_test
        choices.append(Choice("evaluation.num_rows", num_test, "the test split has no more rows"))
    return choices


def _others(data: Mapping[str, Any], sections: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the arrays and columns that have no section."""
    path = Section("config.data", {"path": data["path"]}).build(as_path)
    options = table_options(
        data.get("missing_markers", MISSING_MARKERS), data.get("groups"), data.get("key", ""),
        data.get("parts"),
    )  # fmt: skip
    names = whole_table(path.resolve(), options).all_names
    return tuple(name for name in names if name not in sections)


def _shared_streams(found: Survey) -> tuple[int, ...]:
    """Return the stream of each modality, () if none is a part of a vector."""
    owners = [m.vector or m.name for m in found.modalities]
    numbers = {owner: number for number, owner in enumerate(dict.fromkeys(owners))}
    return tuple(numbers[o] for o in owners) if any(m.vector for m in found.modalities) else ()


def _is_its_own_latent(m: ModalitySurvey) -> bool:
    """Return whether an autoencoder of a part of a vector could only lose something."""
    few = math.prod(m.shape) <= MAX_OWN_LATENTS
    return bool(m.vector) and few and m.likelihood == "normal" and not KINDS[m.kind].is_angle


def _drop_vectors(sections: dict[str, Any], found: Survey) -> None:
    """Remove, in place, the sections of vectors in parts, of which only the kind counts for all parts."""
    for vector in {m.vector for m in found.modalities} & sections.keys() - {""}:
        if sections.pop(vector):
            parts = ", ".join(m.name for m in found.modalities if m.vector == vector)
            raise ValueError(
                f"config.modalities.{vector}: it is learned in parts, which share only their kind: set the "
                f"other keys for {parts}"
            )


def _check_left_out(sections: Mapping[str, Any], leave_out: tuple[str, ...]) -> None:
    """Raise ValueError if a modality is left out and also configured."""
    both = sorted(set(sections) & set(leave_out))
    if both:
        raise ValueError(
            f"config.data.leave_out: {both[0]} is also in config.modalities: remove it from one of them"
        )


def _check_names(sections: Mapping[str, Any], found: Survey) -> None:
    """Raise ValueError if the config names modalities that the data do not have."""
    known = [m.name for m in found.modalities]
    for name in sections:
        if name not in known:
            raise ValueError(
                f"config.modalities: the data have no modality {name!r}{did_you_mean(name, known)}, only "
                f"{', '.join(known)}"
            )


def _for_modality(m: ModalitySurvey, autoencoder: Any) -> Iterator[tuple[str, Any, str]]:
    """Yield key, value and reason of what is chosen for a modality, for a kind of autoencoder."""
    yield "likelihood", m.likelihood, f"its kind is {m.kind}"
    yield "network", *choose_network(m)
    yield "latent_size", *choose_latent_size(m)
    if autoencoder == "rae":
        yield "weight", 1e-4, "regularised autoencoders: only to keep latents from growing"
        yield "code_noise", 0.1, "regularised autoencoders: near latents decode to near values"
    elif m.kind in IMAGE_KINDS:
        yield "weight", 0.35, "images: sharp enough to read, smooth enough to learn"
    else:
        yield "weight", 0.2, "below 1, so that the latent keeps what matters to other modalities"
