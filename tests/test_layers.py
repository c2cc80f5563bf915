"""Imports keep to the table in CONTRIBUTING.md, and run in no circle, benchmarks included."""

import ast
import graphlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in ("sbmae_jax", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
}
PACKAGE = {module: path for module, path in FILES.items() if module.startswith("sbmae_jax")}


def table():
    """Return {folder: (folders it may import from, packages from outside that it may import)}."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| (the root|`\w+`) \| (.+?) \| (.+?) \|$", text, re.M)
    layers = {}
    for folder, inside, outside in rows:
        allowed = {name.strip("` ") for name in inside.split(",")}
        if inside.startswith("all but"):
            left_out = set(re.findall(r"`(\w+)`", inside))
            allowed = {row[0].strip("`") for row in rows} - left_out
        name = folder.strip("`")
        layers[name] = (allowed | {name}, {package.strip() for package in outside.split(",")})
    return layers


LAYERS = table()


def folder_of(module):
    _, *parts = module.split(".")
    return parts[0] if parts and (ROOT / "sbmae_jax" / parts[0]).is_dir() else "the root"


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
            parts = name.split(".")
            if parts[0] not in ("sbmae_jax", "benchmarks"):
                outside.add(parts[0])
                continue
            prefixes = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
            inside.add(next(prefix for prefix in prefixes if prefix in FILES))
    return inside, outside - set(sys.stdlib_module_names)


def test_the_table_has_a_row_for_each_folder():
    assert set(LAYERS) == {folder_of(module) for module in PACKAGE}


@pytest.mark.parametrize("module", PACKAGE)
def test_a_file_imports_only_what_its_folder_may(module):
    allowed, packages = LAYERS[folder_of(module)]
    inside, outside = imports(PACKAGE[module])
    # The root's re-exports that are imported when first used point anywhere.
    for other in inside if module != "sbmae_jax" else ():
        assert folder_of(other) in allowed, f"{module} imports {other}"
    assert outside <= packages, f"{module} imports {outside - packages}"


def test_there_is_no_circle():
    graph = {module: imports(path)[0] - {module} for module, path in FILES.items()}
    del graph["sbmae_jax"]  # its lazy imports point upwards
    list(graphlib.TopologicalSorter(graph).static_order())


def test_only_networks_know_flax_and_only_checkpoints_know_orbax():
    knows = {
        package: [m for m, p in PACKAGE.items() if package in imports(p)[1]]
        for package in ("flax", "orbax")
    }
    assert all(module.startswith("sbmae_jax.nets.") for module in knows["flax"])
    assert knows["orbax"] == ["sbmae_jax.training.checkpoint"]


def test_the_walks_lead_through_what_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    walks = text.split("## Four walks")[1].split("## ")[0]
    stops = re.findall(r"`([\w/]+\.py)` \((.*?)\)", walks, re.S)
    assert len(re.findall(r"^\d\. ", walks, re.M)) == 4
    for file, remark in stops:
        names = {
            node.name
            for node in ast.walk(ast.parse((ROOT / file).read_text()))
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        for name in re.findall(r"`(?:\w+\.)?(\w+)`", remark):
            in_text = name in (ROOT / file).read_text()
            assert name in names or (in_text and not name.islower()), f"{file} has no {name}"
