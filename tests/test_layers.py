"""Imports keep to the table in CONTRIBUTING.md."""

import ast
import fnmatch
import graphlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sbmae_jax"


def table():
    """Return {layer: (patterns of files, allowed layers and modules, allowed packages)}."""
    rows = re.findall(
        r"^\| (\w+) \| (.*?) \| (.*?) \| (.*?) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.M
    )
    layers = {}
    for layer, files, inside, outside in rows:
        if "`" in files:
            words = [word.strip("` ") for word in inside.split(",")]
            layers[layer] = (re.findall(r"`(.*?)`", files), words, outside.split(", "))
    return layers


LAYERS = table()
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
    if path.read_text().strip()
}


def layer_of(module):
    found = [
        layer
        for layer, (patterns, _, _) in LAYERS.items()
        if any(fnmatch.fnmatch(module, pattern) for pattern in patterns)
    ]
    assert len(found) == 1, f"{module} stands in {found} of the layers, not in one"
    return found[0]


def imports(path):
    """Return the modules of the project and the packages from outside that a file imports."""
    inside, outside = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            package, *rest = name.split(".")
            if package != "sbmae_jax":
                outside.add(package)
                continue
            parts = [".".join(rest[:n]) for n in range(len(rest), 0, -1)]
            inside.add(next((part for part in parts if part in MODULES), "__init__"))
    return inside, outside - set(sys.stdlib_module_names)


@pytest.mark.parametrize("module", MODULES)
def test_a_file_imports_only_what_its_layer_may(module):
    _, allowed, packages = LAYERS[layer_of(module)]
    inside, outside = imports(MODULES[module])
    for other in inside:
        assert layer_of(other) in allowed or other in allowed, f"{module} imports {other}"
    assert outside <= set(packages), f"{module} imports {outside - set(packages)}"


def test_there_is_no_circle():
    graph = {module: imports(path)[0] - {module} for module, path in MODULES.items()}
    list(graphlib.TopologicalSorter(graph).static_order())


def test_only_networks_know_flax_and_only_checkpoints_know_orbax():
    knows = {
        package: [m for m, p in MODULES.items() if package in imports(p)[1]]
        for package in ("flax", "orbax")
    }
    assert all(module.startswith("nets.") for module in knows["flax"])
    assert knows["orbax"] == ["checkpoint"]
