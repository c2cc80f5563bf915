"""From a config to the factors of an evaluation, the views that may show them, and their verifiers."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from sbmae_jax._check import did_you_mean, require_type
from sbmae_jax.app.encoder_decoders import check_network, floats
from sbmae_jax.app.sections import Section
from sbmae_jax.data.description import Description
from sbmae_jax.data.source import PRESENT
from sbmae_jax.evaluation.labels.factors import Factor, Verifier
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.classifier import Classifier
from sbmae_jax.models.likelihoods import LIKELIHOODS
from sbmae_jax.training.config import TrainingConfig

VERIFIER_TRAINING = TrainingConfig(
    num_steps=600, batch_size=256, learning_rate=2e-3, b2=0.99, weight_decay=1e-3, steps_per_call=50,
    checkpoint_every=600,
)  # fmt: skip
"""How verifiers are trained where the config has no section `classifier_training`."""

NO_YES = ("no", "yes")


def build_factors(
    section: Section, modalities: tuple[Modality, ...], data: Description
) -> tuple[tuple[Factor, ...], tuple[Modality, ...]]:
    """Build the factors of a section of the config, and choose the views that may show them.

    Args:
        section: That of the evaluation. Its keys `factors` and `views` may be empty or missing, which takes
            the labels that the data have, and all modalities that are no labels.
        modalities: What the model learns.
        data: The arrays of the data, and the names of classes and entries.

    Raises:
        ValueError: If the data have no such label or view, or if a factor has one class.
    """
    for key in ("factors", "views"):
        require_type(f"{section.place}: {key}", section.values.get(key, ()), tuple[str, ...])
    likelihoods = {m.name: LIKELIHOODS[m.likelihood].values for m in modalities}
    names = section.values.get("factors") or _all_factors(likelihoods, data)
    if not names:
        raise ValueError(
            f"{section.place}: 'factors' needs data with labels, as an array `label` or modalities that are "
            "categories: choose 'paired'"
        )
    try:
        factors = tuple(_factor(name, likelihoods, data) for name in dict.fromkeys(names))
    except ValueError as error:
        raise ValueError(f"{section.place}.factors: {error}") from None
    arrays = {factor.array for factor in factors}
    may_show = {m.name: m for m in modalities if m.name not in arrays and _can_show(m)}
    for name in section.values.get("views", ()):
        if name not in may_show:
            raise ValueError(
                f"{section.place}.views: {name!r} is no modality that may show a factor"
                f"{did_you_mean(name, may_show)}; choose from {', '.join(may_show) or 'none'}"
            )
    labels = _all_factors(likelihoods, data)
    unnamed = [name for name in may_show if name not in labels]
    views = tuple(may_show[n] for n in section.values.get("views") or unnamed)
    if not views:
        raise ValueError(
            f"{section.place}: no modality is left that could show the factors "
            f"{', '.join(factor.name for factor in factors)}: learn others beside the labels"
        )
    return factors, views


def _can_show(modality: Modality) -> bool:
    """Return whether a verifier can read a modality; strings are read by none."""
    return LIKELIHOODS[modality.likelihood].values != "tokens"


def _all_factors(likelihoods: Mapping[str, str], data: Description) -> tuple[str, ...]:
    """Return the labels that data have: `label`, categories and single bits of at least two classes."""
    labels = [name for name, kind in likelihoods.items() if kind == "categorical"]
    bits = [n for n, kind in likelihoods.items() if kind == "bernoulli" and _size(n, data) == 1]
    categories = [name for name in labels if _size(name, data) > 1]
    return (*(["label"] if len(data.entries.get("label", ())) > 1 else []), *categories, *bits)


def _size(name: str, data: Description) -> int:
    """Return the number of values of an array in a row."""
    return math.prod(data.shapes[name])


def _factor(name: str, likelihoods: Mapping[str, str], data: Description) -> Factor:
    """Build a factor of an array, or of an entry of one. Raises ValueError if the data do not have it."""
    array, _, entry = (name, "", "") if name in data.shapes else name.partition(".")
    known = [n for n in data.shapes if n != PRESENT]
    if array not in known:
        raise ValueError(
            f"the data have no labels {name!r}{did_you_mean(name, known)}, only {', '.join(known)}"
        )
    entries, shape = data.entries.get(array, ()), data.shapes[array]
    if entry:
        if entry not in entries or shape != (len(entries),):
            names = f", only {', '.join(entries)}" if entries else ", as its entries have no names"
            raise ValueError(f"{array} has no entry {entry!r}{did_you_mean(entry, entries)}{names}")
        return Factor(name=name, array=array, classes=NO_YES, entry=entries.index(entry))
    is_bits = likelihoods.get(array) == "bernoulli"
    if is_bits and _size(array, data) == 1:
        return Factor(name=name, array=array, classes=NO_YES, entry=0)
    is_label = shape == () and array not in likelihoods
    if is_bits or len(shape) > 1 or (array in likelihoods and likelihoods[array] != "categorical"):
        example = f", or one of its entries, as {array}.{entries[0]}" if entries else ""
        raise ValueError(f"{array!r} holds no classes: name an array of labels{example}")
    if is_label and not entries:
        raise ValueError(
            f"the classes of {array!r} have no names: add them to `entries` of the data"
        )
    classes = entries or tuple(map(str, range(_size(array, data))))
    return Factor(name=name, array=array, classes=tuple(classes))


def build_verifiers(
    root: Section,
    classifiers: Mapping[str, Callable[..., Any]],
    factors: tuple[Factor, ...],
    views: tuple[Modality, ...],
) -> tuple[Verifier, ...]:
    """Build a verifier of each factor for each shape of views.

    Args:
        root: The config. Its section `classifier` chooses the network that reads pictures; without one, and
            for other shapes, it is chosen by the shape.
        classifiers: Networks by their name in that section.
        factors: What to read.
        views: What to read it from.
    """
    shapes = dict.fromkeys(view.shape for view in views)
    made = []
    for factor in factors:
        for shape in shapes:
            names = tuple(view.name for view in views if view.shape == shape)
            section = Section("config.classifier", {"name": _network_name(shape)})
            if len(shape) == 3 and "classifier" in root.values:
                section = root.part("classifier")
            network = section.choose(classifiers, num_classes=len(factor.classes))
            outputs = [(len(factor.classes),), (-1,)]
            row = floats(*shape)
            check_network(network, section.place, row, outputs=outputs, saved=False, train=False)
            stage = f"verifier/{factor.name}"
            stage += "" if len(shapes) == 1 else f"-{'+'.join(names)}"
            made.append(
                Verifier(factor=factor, views=names, classifier=Classifier(network), stage=stage)
            )
    return tuple(made)


def _network_name(shape: tuple[int, ...]) -> str:
    """Return the name of the network that reads a shape where the config names none."""
    if len(shape) != 3:
        return "vector"
    return "patch" if shape[0] % 4 == shape[1] % 4 == 0 else "conv"
