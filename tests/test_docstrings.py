"""Docstrings of the public names: an entry for each argument, what is returned, and an example.

Ruff checks their form, and `make test` runs their examples.
"""

import ast
import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import flax.linen as nn

import sbmae_jax
from sbmae_jax.models.model import Model

HEADINGS = re.compile("^(Args|Attributes|Returns|Raises|Yields|Examples?):$", re.MULTILINE)
ENTRY = re.compile(r"^    \*{0,2}(\w+)(?: \(.*\))?:", re.MULTILINE)
NETWORK = re.compile("Score|Energy|Encoder|Decoder|Classifier|Features")
PACKAGES = ("sampling", "metrics", "nets", "models", "baselines")
MODULES = (
    "training.config", "data.celebahq.source", "data.polydigits", "data.polydigits_dq",
    "data.polymnist", "data.polymnist_dq", "data.toyfaces.source", "data.user.files",
)  # fmt: skip
TASKS_AND_READERS = (
    "celebahq", "files", "polydigits", "polydigits_dq", "polymnist", "polymnist_dq", "prepare",
    "toyfaces",
)  # fmt: skip


def public():
    """Yield the place and the value of each public function and class that a module defines."""
    paths = {name: importlib.import_module(f"sbmae_jax.{name}").__path__ for name in PACKAGES}
    inside = [
        f"{name}.{info.name}" for name in PACKAGES for info in pkgutil.iter_modules(paths[name])
    ]
    for module in (*inside, *MODULES):
        place = f"sbmae_jax.{module}"
        for name, value in vars(importlib.import_module(place)).items():
            ours = getattr(value, "__module__", None) == place and not name.startswith("_")
            if ours and (inspect.isfunction(value) or inspect.isclass(value)):
                yield f"{place}.{name}", value


def is_data(value):
    """Return whether a value is a dataclass or a NamedTuple."""
    return inspect.isclass(value) and (dataclasses.is_dataclass(value) or hasattr(value, "_fields"))


def arguments(value):
    """Return the names of the fields of a class or of the parameters of a function."""
    if not is_data(value):
        return [name for name in inspect.signature(value).parameters if name != "self"]
    if hasattr(value, "_fields"):
        return value._fields
    hidden = ("parent", "name") if issubclass(value, nn.Module) else ()
    fields = [field.name for field in dataclasses.fields(value) if field.init]
    return [name for name in fields if name not in hidden and not name.startswith("_")]


def needs(place, value):
    """Return whether a docstring must have all entries, and whether it must have an example."""
    _, package, *_, name = place.split(".")
    if package == "metrics":
        return ".rows." not in place, ".rows." not in place
    if package == "nets":
        return inspect.isclass(value), bool(NETWORK.search(name))
    entries = (is_data(value) and package != "data") or name in TASKS_AND_READERS
    return entries, name.endswith("Config")


def cases():
    """Yield each public name, its value, and what its docstring must have."""
    for name in sbmae_jax.__all__:
        yield f"sbmae_jax.{name}", getattr(sbmae_jax, name), True, True
    for name, value in vars(Model).items():
        if inspect.isfunction(value) and not name.startswith("_"):
            yield f"sbmae_jax.Model.{name}", value, True, False
    for place, value in public():
        if not (inspect.isclass(value) and issubclass(value, Exception)):
            yield place, value, *needs(place, value)


def faults(place, value, entries, example):
    """Return what is wrong with a docstring; one without sections may do where no entries are needed."""
    parts = HEADINGS.split(inspect.cleandoc(value.__doc__ or ""))
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    listed = ENTRY.findall(sections.get("Args", "") + sections.get("Attributes", ""))
    names = arguments(value) if entries or "Args" in sections else listed
    returns = inspect.isfunction(value) and inspect.signature(value).return_annotation is not None
    return [
        *(f"{place}: no entry for {name}" for name in names if name not in listed),
        *(
            f"{place}: an entry for {name}, which is unknown"
            for name in listed
            if name not in names
        ),
        *[f"{place}: no Returns"]
        * bool(entries and returns and not {"Returns", "Yields"} & {*sections}),
        *[f"{place}: no Example"] * (example and not {"Example", "Examples"} & {*sections}),
    ]


def test_each_argument_of_a_public_name_is_described_and_its_use_is_shown():
    assert [fault for case in cases() for fault in faults(*case)] == []


# ---------------------------------------------------------------- runs are compiled

ROOT = Path(__file__).resolve().parents[1]
RUNS = {
    "sample", "twisted_sample", "feynman_kac", "log_density", "log_density_adaptive", "acceptance_rates",
    "mutual_information", "total_correlation", "o_information",
}  # fmt: skip


def eager_runs(code):
    """Return the runs in an example that no `jax.jit` compiles: each call of them would compile anew."""
    nodes = list(ast.walk(ast.parse(code)))
    jits = [n for n in nodes if isinstance(n, ast.Call) and ast.unparse(n.func) == "jax.jit"]
    names = {n.id for jit in jits for n in ast.walk(jit) if isinstance(n, ast.Name)}
    functions = [
        n
        for n in nodes
        if isinstance(n, ast.FunctionDef)
        and (n.name in names or "jax.jit" in map(ast.unparse, n.decorator_list))
    ]
    inside = {id(n) for outer in (*jits, *functions) for n in ast.walk(outer)}
    calls = [n for n in nodes if isinstance(n, ast.Call) and id(n) not in inside]
    return [ast.unparse(n) for n in calls if ast.unparse(n.func) in RUNS]


def examples():
    """Yield the code of each block of a page and of each docstring."""
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        yield from re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    for path in (ROOT / "sbmae_jax").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
                found = doctest.DocTestParser().get_examples(ast.get_docstring(node) or "")
                yield "".join(example.source for example in found)


def test_every_example_compiles_its_runs():
    assert eager_runs("x = sample(key, step, x, times)") == ["sample(key, step, x, times)"]
    assert not eager_runs("def run(x): return sample(key, step, x, times)\ny = jax.jit(run)(x)")
    blocks = list(examples())
    assert sum("jax.jit" in block for block in blocks) > 20
    assert [run for block in blocks for run in eager_runs(block)] == []
