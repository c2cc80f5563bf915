"""Values of a config that the command line sets: --config.KEY=VALUE, where KEY says where the value is.

A key need not be in the config file, as long as something reads it: what is built from a section refuses the
keys that it does not know. A name of something else, such as --config.sde.name=ve, replaces the section,
whose values were those of the old name.
"""

import ast
import copy
import json
import re
from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, NamedTuple

from sbmae_jax._check import did_you_mean, short_repr
from sbmae_jax.app.build import SOURCES
from sbmae_jax.app.choices import MODALITY_KEYS, network_section
from sbmae_jax.app.sections import KEYS, OPTIONAL_KEYS
from sbmae_jax.evaluation.faces.protocol import FaceProtocol
from sbmae_jax.evaluation.labels.factor_protocol import FactorProtocol
from sbmae_jax.evaluation.labels.protocol import SharedLabelProtocol
from sbmae_jax.evaluation.paired.protocol import PairedProtocol

# Sections that not every config has, and what reads them: a section, and its names if only these do.
OPTIONAL: dict[str, tuple[str, tuple[str, ...]]] = {
    "nce": ("energy", ()), "energy_training": ("energy", ()),
    "classifier": ("evaluation", ("classes", "factors")),
    "classifier_training": ("evaluation", ("classes", "factors")),
    "predictor": ("evaluation", ("faces",)), "predictor_training": ("evaluation", ("faces",)),
}  # fmt: skip
# Sections whose key `name` says what they are of. Where several know a key, it means the same in these:
SHARED_KEYS = {
    "data": SOURCES,
    "evaluation": {
        "classes": SharedLabelProtocol, "factors": FactorProtocol, "faces": FaceProtocol,
        "paired": PairedProtocol,
    },
}  # fmt: skip
# In the others it does not: 128 is a width of the hub, but no width of a transformer with six heads.
NAMED = ("sde", "network", "energy", "classifier")
# The networks of `choices.network_section` by their class, where the defaults of the class are not enough.
ENCODER_DECODERS = {"vector": "vector-128", "patch": "patch-4", "resnet": "resnet-2"}


class Override(NamedTuple):
    """A word of the command line that sets a value of the config.

    Attributes:
        key: The place of the value, as "modalities.lab.latent_size".
        text: The value as it was typed.
    """

    key: str
    text: str


def split_overrides(argv: Sequence[str]) -> tuple[list[str], list[Override]]:
    """Take the words that set values of the config out of a command line.

    Args:
        argv: The command line. `--config.KEY=VALUE`, `--config.KEY VALUE`, and for what is True or False
            `--config.KEY` and `--noconfig.KEY`.

    Returns:
        The other words, and the values that are set.

    Example:
        >>> split_overrides(["launch.py", "--config.seed=3", "--workdir=runs/a"])
        (['launch.py', '--workdir=runs/a'], [Override(key='seed', text='3')])
    """
    left, found, rest = [], [], list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*left, word, *rest], found
        match = re.fullmatch(r"--?(no)?config\.([^=]*)(?:=(.*))?", word, re.DOTALL)
        if match is None:
            left.append(word)
            continue
        negated, key, text = match.groups()
        if not all(key.split(".")) or (negated and text is not None):
            raise ValueError(f"{word}: write --config.KEY=VALUE, as in --config.sampling.snr=0.2")
        if negated or (text is None and (not rest or rest[0].startswith("--"))):
            text = "False" if negated else "True"
        found.append(Override(key, rest.pop(0) if text is None else text))
    return left, found


def with_overrides(
    config: Mapping[str, Any], overrides: Sequence[Override]
) -> tuple[dict[str, Any], list[str]]:
    """Set values of a config.

    Args:
        config: Plain dicts and values.
        overrides: What to set. Of several values for one key the last counts.

    Returns:
        The config, and sentences on values of the file that belong to the name or the kind of something that
        was replaced.

    Raises:
        ValueError: Naming the key, for a key that nothing reads.

    Example:
        >>> config = {"sde": {"name": "vp", "beta_max": 20.0}}
        >>> with_overrides(config, [Override("sde.name", "ve")])
        ({'sde': {'name': 've'}}, ["config.sde.name is 've': beta_max of 'vp' does not apply"])
    """
    before, config, notes = config, copy.deepcopy(dict(config)), []
    given = {override.key for override in overrides}
    # Names come first: they replace the values of the file, but none of the command line.
    for key, text in sorted(overrides, key=lambda o: not (_is_name(o.key) or _is_coder(o.key))):
        words = _words(config, key, text)
        section = config
        for n, word in enumerate(words[:-1]):
            if section.get(word) is None:
                section[word] = {}
            section = section[word]
            if not isinstance(section, dict):
                place = ".".join(words[: n + 1])
                raise ValueError(f"config.{key}: config.{place} is a value, {short_repr(section)}")
        current = ("a name",) if key == "data.leave_out" else section.get(words[-1])
        value = parse_value(text, current)
        if _is_name(key) and section.get("name") not in (None, value):
            notes.extend(_replace(section, key, value, given))
        elif key.endswith((".encoder.name", ".decoder.name")) or (value and _is_coder(key)):
            notes.extend(_drop_unread(section, key, value, given))
        section[words[-1]] = value
    _check_used(config, overrides)
    return config, notes + _weights_of_another_kind(before, config, overrides)


def _weights_of_another_kind(
    before: Mapping[str, Any], config: Mapping[str, Any], overrides: Sequence[Override]
) -> list[str]:
    """Return a sentence if the weights of the file are for another kind of autoencoder."""
    sections = [c.get("autoencoder") for c in (before, config)]
    kinds = [s.get("kind") if isinstance(s, Mapping) else None for s in sections]
    if kinds[0] == kinds[1] or not isinstance(sections[1], Mapping):
        return []
    given = {override.key for override in overrides}
    kept = [
        name
        for name, section in (before.get("modalities") or {}).items()
        if "weight" in section and f"modalities.{name}.weight" not in given
    ]
    if not kept:
        return []
    meaning = "of the KL term of 'vae', or of the squared latent of 'rae'"
    return [
        f"config.autoencoder.kind is {kinds[1]!r}: the weights in the file are for {kinds[0]!r} "
        f"({meaning}); set config.modalities.NAME.weight of {', '.join(kept)}"
    ]


def parse_value(text: str, current: Any = None) -> Any:
    """Return the value that a user has typed.

    Args:
        text: `None`, a literal of Python or JSON, or any other words, which are a string.
        current: The value that it replaces. Where that is a string, everything but None is a string. Where it
            is a tuple, words between commas are its entries. Where it is a float, integers become floats.

    Example:
        >>> parse_value("3"), parse_value("3", 2.0), parse_value("3", "a"), parse_value("a,b", ("c",))
        (3, 3.0, '3', ('a', 'b'))
    """
    value = _literal(text)
    if isinstance(current, str):
        return None if text == "None" else value if isinstance(value, str) else text
    if value is None:
        return None
    if isinstance(current, tuple | list) and not text.startswith(("(", "[")):
        entry = current[0] if current else None
        return tuple(parse_value(word, entry) for word in text.split(",") if word)
    is_int = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if is_int and isinstance(current, float) else value


def _literal(text: str) -> Any:
    """Return a literal of Python, or else of JSON, or else the text itself."""
    for parse in (ast.literal_eval, json.loads):
        try:
            return parse(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return text


def _words(config: Mapping[str, Any], key: str, text: str) -> list[str]:
    """Split the place of a value into keys, of which names of modalities and others may have dots."""
    first, *rest = key.split(".")
    known = dict.fromkeys([*config, *KEYS, *OPTIONAL_KEYS, *OPTIONAL])
    if first not in known:
        raise ValueError(
            f"config: unknown key {first!r}{did_you_mean(first, known)}; its keys are {', '.join(known)}"
        )
    if first == "modalities" and rest:
        return [first, *_modality_words(rest, isinstance(parse_value(text), dict))]
    if first == "data" and rest[:1] == ["kinds"] and len(rest) > 1:
        return [first, "kinds", ".".join(rest[1:])]
    words, section = [first], config.get(first)
    while rest:
        inside = section if isinstance(section, Mapping) else {}
        names = (".".join(rest[:n]) for n in range(len(rest), 0, -1))
        word = next((name for name in names if name in inside), rest[0])
        rest = rest[word.count(".") + 1 :]
        words.append(word)
        section = inside.get(word)
    return words


def _modality_words(words: list[str], is_section: bool) -> list[str]:
    """Split NAME.KEY or NAME.training.KEY, where the name may have dots, into its parts."""
    if len(words) == 1 or (is_section and words[-1] != "training"):
        return [".".join(words)]
    if len(words) > 2 and words[-2] == "training" and words[-1] not in MODALITY_KEYS:
        return [".".join(words[:-2]), *words[-2:]]
    return [".".join(words[:-1]), words[-1]]


def _is_name(key: str) -> bool:
    """Return whether a key is the name by which a section says what it is of."""
    first, *rest = key.split(".")
    named = first in (*NAMED, *SHARED_KEYS) and rest == ["name"]
    return named or (first == "encoder_decoders" and len(rest) > 1 and rest[-1] == "name")


def _is_coder(key: str) -> bool:
    """Return whether a key is that of a frozen coder, which takes the place of networks."""
    words = key.split(".")
    return len(words) > 2 and words[0] == "modalities" and words[-1] == "coder"


def _drop_unread(section: dict[str, Any], key: str, value: Any, given: set[str]) -> list[str]:
    """Remove, in place, the values that a frozen coder or a network of one's own does not have; say so."""
    kept = ("name", "likelihood", "kind", "coder")
    dropped = [k for k in section if k not in kept]
    for k in dropped:
        del section[k]
    told = [k for k in dropped if f"{key.rpartition('.')[0]}.{k}" not in given]
    verb = "does" if len(told) == 1 else "do"
    return [f"config.{key} is {value!r}: {', '.join(told)} {verb} not apply"] if told else []


def _replace(section: dict[str, Any], key: str, name: Any, given: set[str]) -> list[str]:
    """Remove, in place, the values that a section has for its old name, and say so."""
    old, place = section["name"], key.removesuffix(".name")
    if place in SHARED_KEYS:
        make = SHARED_KEYS[place].get(name)
        kept = {} if make is None else signature(make).parameters
        dropped = [k for k in section if k not in ("name", *kept)]
    else:
        dropped = [k for k in section if k != "name"]
    fitting: Mapping[str, Any] = {}
    if key.startswith("encoder_decoders."):
        default = ENCODER_DECODERS.get(name, "")
        fitting = network_section(default).get(default, {})
        fitting = {k: dict(fitting.get(k, {})) for k in ("encoder", "decoder") if k in section}
    elif (place, name) == ("network", "unet"):
        fitting = {"per_modality_levels": True}  # as a score that conditions needs it
    for k in dropped:
        del section[k]
    section |= fitting
    told = [k for k in dropped if f"{place}.{k}" not in given]
    verb = "does" if len(told) == 1 else "do"
    return (
        [f"config.{key} is {name!r}: {', '.join(told)} of {old!r} {verb} not apply"] if told else []
    )


def _check_used(config: Mapping[str, Any], overrides: Sequence[Override]) -> None:
    """Raise ValueError for values that nothing reads."""
    networks = _networks(config)
    for key, text in overrides:
        first, *rest = _words(config, key, text)
        if first == "encoder_decoders" and rest and networks and rest[0] not in networks:
            raise ValueError(
                f"config.{key} has no effect, as no modality has the network {rest[0]!r}, only "
                f"{', '.join(sorted(networks))}"
            )
        reader, readers = OPTIONAL.get(first, ("", ()))
        section = config.get(reader)
        if reader and section is None:
            raise ValueError(f"config.{key} has no effect, as config.{reader} is None")
        if readers and isinstance(section, Mapping) and section.get("name") not in readers:
            names = " or ".join(map(repr, readers))
            raise ValueError(f"config.{key} has no effect, as config.{reader}.name is not {names}")


def _networks(config: Mapping[str, Any]) -> set[str]:
    """Return the sections of `encoder_decoders` that are read; none if they are yet to be chosen."""
    data, predictor = config.get("data"), config.get("predictor")
    if not isinstance(data, Mapping) or data.get("name") == "files":
        return set()
    sections = config.get("modalities")
    readers = sections.values() if isinstance(sections, Mapping) else ()
    names = [reader.get("network") for reader in readers if isinstance(reader, Mapping)]
    names += predictor.values() if isinstance(predictor, Mapping) else ()
    return {name for name in names if isinstance(name, str)}
