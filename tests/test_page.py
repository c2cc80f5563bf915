"""The page of results says what holds, what does not, and what was not measured."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def page(script):
    """Give the script that makes it."""
    return script("page")


def write(path, **changes):
    content = {
        "command": "python benchmarks/x.py", "commit": "0123456789ab", "device": "1 x toy",
        "claims": [
            {"name": "|slope|", "value": 0.51234, "bound": "<= 1", "holds": True},
            {"name": "quality", "value": 3, "bound": ">= 4", "holds": False},
            {"name": "mean", "value": 0.5, "bound": ">= 0.1", "holds": True, "deviation": 0.0123},
        ],
    }  # fmt: skip
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content | changes))


def test_a_missed_claim_stands_out_and_what_is_not_there_is_listed(page, tmp_path):
    write(tmp_path / "celeba.json")
    write(tmp_path / "gpu" / "faces-0.json", commit=["0123456789ab", "ba9876543210-dirty"])
    write(tmp_path / "gpu" / "faces-2.json", command="run.py faces --seed 2 --toy")
    text = page.make(tmp_path)
    assert "| \\|slope\\| | 0.5123 | <= 1 | yes |" in text
    assert "| quality | 3 | >= 4 | **no** |" in text
    assert "| mean | 0.5 ± 0.012 | >= 0.1 | yes |" in text
    assert "1 x toy; made at a commit that is not in this history" in text
    missing = text.split("Not measured yet: ")[1].split(".")[0]
    assert missing.split(", ") == [name for name in page.NAMES if name != "celeba"]
    (state,) = [line for line in text.splitlines() if line.startswith("| faces-0 ")]
    assert "1 x toy, commit 0123456789ab, ba9876543210-dirty, made at a commit" in state
    assert "| faces-2 | missing: a dry run is there |" in text
    assert "| faces-1 | missing | `python benchmarks/gpu/run.py faces --seed 1` |" in text


def test_a_result_is_fresh_until_the_library_changes(page, monkeypatch):
    for count, said in ((0, "fresh"), (3, "stale by 3 commits")):
        monkeypatch.setattr(page, "commits_since", lambda commit, count=count: count)
        assert page.age({"commit": "0123456789ab"}) == said


def test_every_command_on_an_accelerator_names_a_run_that_is_there(page, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "gpu")
    run = importlib.import_module("run")

    named = {
        command.split("run.py ")[1].split()[0]
        for command in page.GPU.values()
        if "run.py" in command
    }
    assert named == set(run.RUNS)


def test_the_commands_of_parts_stand_beside_that_of_the_whole(page):
    part = {"command": "python b.py"}
    assert page.commands({"command": "python a.py", "part": part}) == "python a.py; python b.py"
    joined = {"command": ["python b.py", "python c.py"], "part": part}
    assert page.commands(joined) == "python b.py; python c.py"
