"""Execute the notebooks of the site: `make notebooks` writes NAME.ipynb, with outputs, of each NAME.py.

The scripts are what one edits and reviews. `jupytext` pairs them with notebooks, by their cells.
"""

import os
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent / "notebooks"
MAX_SECONDS = 600  # for one cell, on a busy machine


def read_script(script: Path) -> nbformat.NotebookNode:
    """Return the notebook of a script, without outputs.

    Args:
        script: A file of code and text in cells of `# %%`.
    """
    notebook = jupytext.read(script)
    notebook.metadata = nbformat.from_dict({
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    })  # fmt: skip
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # the same each time
    return notebook


def execute(script: Path) -> nbformat.NotebookNode:
    """Return the notebook of a script with its outputs, executed in an empty folder.

    Args:
        script: As for `read_script`.

    Raises:
        CellExecutionError: A cell failed.
    """
    notebook = read_script(script)
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        client = NotebookClient(
            notebook, timeout=MAX_SECONDS, resources=resources, record_timing=False
        )
        client.execute()
    notebook.metadata = read_script(script).metadata  # without the versions of this machine
    return notebook


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the figures on the site are those of two cores
    for script in sorted(FOLDER.glob("*.py")):
        if not sys.argv[1:] or script.stem in sys.argv[1:]:
            print(script.stem, flush=True)
            nbformat.write(execute(script), script.with_suffix(".ipynb"))
