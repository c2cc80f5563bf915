"""The notebooks of the site: they are those of the scripts beside them, small, and they run."""

import importlib.util
import warnings
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "docs" / "notebooks").glob("*.py"))
MAX_BYTES = 700_000


def load_tool():
    spec = importlib.util.spec_from_file_location("books", ROOT / "docs" / "execute_notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of Jupyter about itself
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_notebook_is_that_of_its_script_executed(script):
    path = script.with_suffix(".ipynb")
    assert path.stat().st_size < MAX_BYTES
    notebook = nbformat.read(path, as_version=4)
    cells = [(cell.cell_type, cell.source) for cell in notebook.cells]
    of_script = load_tool().read_script(script)
    stale = f"{path.name} is not that of {script.name}: run `make notebooks`"
    assert cells == [(cell.cell_type, cell.source) for cell in of_script.cells], stale
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), stale
    outputs = [output for cell in code for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data"}
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_the_site_shows_every_notebook():
    site = (ROOT / "mkdocs.yml").read_text()
    assert [script.stem for script in SCRIPTS if f"notebooks/{script.stem}.md" not in site] == []
    written = sorted(path.stem for path in SCRIPTS[0].parent.glob("*.ipynb"))
    assert written == [script.stem for script in SCRIPTS]


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_notebook_runs(script, monkeypatch):
    for name in ("XLA_FLAGS", "JAX_PLATFORMS"):  # a reader has no eight devices, which may deadlock
        monkeypatch.delenv(name, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of Jupyter's client
        notebook = load_tool().execute(script)
    pictures = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 2
