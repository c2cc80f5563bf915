"""The reference in docs/api has every public name, with its arguments, and an example or a link to one."""

import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest
import test_docstrings

import sbmae_jax
from sbmae_jax.app import build, encoder_decoders, evaluations

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))
import site_names  # noqa: E402

TABLES = (
    build.SOURCES, build.SDES, build.SCORES, build.ENERGIES, evaluations.CLASSIFIERS,
)  # fmt: skip
WRITTEN = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", *(ROOT / "configs").glob("*.py")]
IMPORT = re.compile(r"^\s*from (sbmae_jax[\w.]*) import ([\w, ]+)", re.M)


def value_of(module, name):
    value = getattr(importlib.import_module(module), name, None)
    assert value is not None, f"docs/api: {module} has no {name}; list it under its module"
    return value


@pytest.fixture(scope="module")
def listed():
    """Return {name: (page, value)} of the reference, with the methods of `Model`."""
    found = {
        f"{module}.{name}": (page, value_of(module, name))
        for page, module, name in site_names.listed()
    }
    methods = [
        (name, value) for name, value in vars(sbmae_jax.Model).items()
        if inspect.isfunction(value) and not name.startswith("_")
    ]  # fmt: skip
    page, _ = found["sbmae_jax.models.model.Model"]
    return found | {f"sbmae_jax.models.model.Model.{name}": (page, of) for name, of in methods}


def public():
    """Yield (name, value) of what users import, name in a config, or see on a page."""
    yield from ((name, getattr(sbmae_jax, name)) for name in sbmae_jax.__all__)
    parts = [part for table in TABLES for part in table.values()]
    pairs = [part for pair in encoder_decoders.ENCODER_DECODERS.values() for part in pair]
    yield from ((part.__name__, part) for part in [*parts, *pairs])
    for place, value in test_docstrings.public():
        package = place.split(".")[1]
        if place.endswith("Config") or (package == "metrics" and ".rows." not in place):
            yield place, value
    for page in WRITTEN:
        for module, names in IMPORT.findall(page.read_text()):
            for name in re.findall(r"\w+", names):
                value = value_of(module, name) if module != "sbmae_jax.configs" else None
                if inspect.isfunction(value) or inspect.isclass(value):
                    yield f"{page.name}: {name}", value


def test_every_public_name_is_in_the_reference(listed):
    there = [value for _, value in listed.values()]
    missing = [name for name, value in public() if value not in there]
    assert not missing, f"list these in docs/api, under their module: {missing}"


def has_example(value):
    return re.search("^Examples?:$", inspect.cleandoc(value.__doc__ or ""), re.M)


def is_shown(name, page, value, listed):
    """Return whether a name has an example, or a link to a name or a section of a page that shows it."""
    if has_example(value):
        return True
    short = {place.removeprefix("sbmae_jax.models.model."): place for place in listed}
    short |= {place.rsplit(".", 1)[-1]: place for place in listed if ".Model." not in place}
    mentioned = [short.get(word) for word in re.findall("`([\\w.]+)`", value.__doc__ or "")]
    if any(place and place != name and shown_by_code(place, *listed[place]) for place in mentioned):
        return True
    return shown_by_code(name, page, value)


def shown_by_code(name, page, value):
    """Return whether a name has an example, or a page that its own links to has code about it."""
    word = re.compile(rf"\b{name.rsplit('.', 1)[-1]}\b")
    links = re.findall(r"\]\((\.\./\w+\.md)", page.read_text())
    sections = [s for link in links for s in re.split("\n## ", (page.parent / link).read_text())]
    return has_example(value) or any(word.search(s) for s in sections if "```python" in s)


def test_every_name_of_the_reference_has_its_arguments_and_an_example(listed):
    undocumented = []
    for name, (page, value) in listed.items():
        if not getattr(value, "_is_protocol", False):  # whose methods have the arguments
            undocumented += test_docstrings.faults(name, value, entries=True, example=False)
        if not is_shown(name, page, value, listed):
            undocumented.append(f"{name}: no example")
    assert undocumented == []


def test_the_reference_finds_what_is_not_documented(listed):
    def bare(x):
        """Do something."""

    page, _ = listed["sbmae_jax.models.model.Model"]
    assert test_docstrings.faults("bare", bare, entries=True, example=True) == [
        "bare: no entry for x", "bare: no Returns", "bare: no Example",
    ]  # fmt: skip
    assert not is_shown("sbmae_jax.bare", page, bare, listed)
