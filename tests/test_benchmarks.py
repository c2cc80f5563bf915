"""What benchmarks share: claims, tables, pages, the command line. What is published is what was measured."""

import importlib
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from argparse import Namespace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import claims, cost, page, reference, runner, runs, tables
from benchmarks.dq import report as dq
from benchmarks.faces import conversion
from benchmarks.gpu.__main__ import CONFIGS
from benchmarks.runner import ROOT, Report
from configs import polydigits
from sbmae_jax.data.celebahq.check import check_folder
from sbmae_jax.models.task import Task
from sbmae_jax.training.config import TrainingConfig

MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "benchmarks").rglob("*.py"))
    if path.name != "__main__.py"
]
COMMANDS = (
    "polydigits", "samplers", "faces", "polymnist", "dq", "own_data", "scale", "peers", "door", "gpu",
    "holes", "decoders",
)  # fmt: skip


# It is imported by the page as well.
pytestmark = pytest.mark.filterwarnings(
    "ignore:'benchmarks.(polydigits|decoders|door|gpu.__main__)' found:RuntimeWarning"
)


@pytest.fixture
def helps(monkeypatch, capsys):
    """The help text of each benchmark."""
    found = {}
    for name in COMMANDS:
        monkeypatch.setattr(sys, "argv", [name, "--help"])
        with pytest.raises(SystemExit, match="0"):
            runpy.run_module(f"benchmarks.{name}", run_name="__main__")
        found[name] = capsys.readouterr().out
    return found


def published():
    """Every page of JSON in results, by its file."""
    return {
        path: json.loads(path.read_text()) for path in sorted((ROOT / "results").rglob("*.json"))
    }


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_imported_and_says_what_it_is(module):
    assert importlib.import_module(module).__doc__


def test_each_published_command_is_one_of_its_benchmark(helps):
    texts = [*page.PAGES, ROOT / "results" / "README.md", *(ROOT / "benchmarks").rglob("*.py")]
    written = {
        command
        for path in texts
        for command in re.findall(r"python -m benchmarks\.(\w+)([ \w.-]*)", path.read_text())
    }
    recorded = [c for found in published().values() for c in np.atleast_1d(found["command"])]
    written |= {tuple(re.findall(r"benchmarks\.(\w+)(.*)", command)[0]) for command in recorded}
    assert {name for name, _ in written} - {"NAME", "X", "page"} == set(COMMANDS)
    for name, rest in written:
        for word in rest.split() if name in helps else ():
            if re.fullmatch(r"[a-z_-]{3,}", word) and word not in ("and", "at", "seed"):
                assert re.search(rf"(?<![\w-]){word}(?![\w-])", helps[name]), f"{name}: {word}"


def test_pages_have_the_measured_tables_and_claims():
    made, marks, missing = {}, set(), []
    for report in page.REPORTS:
        path = ROOT / "results" / f"{report.name}.json"
        made |= page.tables(report, runner.load(path))
        if not path.exists():  # which the pages say
            missing.append(report.name)
            continue
        measured = json.loads(path.read_text())
        assert measured["claims"] == report.claims(runner.load(path))
        for _, part in runner.load(path).items():
            assert {"command", "seeds", "commit", "versions", "device"} <= set(part)
    for path in page.PAGES:
        text = path.read_text()
        assert tables.fill(text, made) == text, path
        marks |= set(re.findall(r"<!-- end of (\S+) -->", text))
    assert marks <= set(made)
    assert {mark for report in page.REPORTS for mark in report.tables} <= marks
    text = (ROOT / "results" / "README.md").read_text()
    sections = len(page.REPORTS) - len(missing) + bool(missing)
    assert text.count("\n## ") == sections + 1
    assert not missing or f"Not measured yet: {', '.join(missing)}." in text


@pytest.mark.parametrize("report", page.REPORTS, ids=lambda report: report.name)
def test_plots_are_drawn_of_what_was_measured(report, tmp_path):
    path = ROOT / "results" / f"{report.name}.json"
    parts = runner.load(path)
    for file, (needed, draw) in report.plots.items() if path.exists() else ():
        draw(parts).savefig(tmp_path / file, dpi=30)
        assert needed in parts
        assert (ROOT / "results" / file).exists()


def dq_results(agree, seed=0):
    """Results of two factors in which everything is right, but for how often views agree in the digit."""
    share = lambda mean: {"mean": mean}  # noqa: E731
    vary = {"total_variation": 0.03, "expected": 0.02}
    pairs = {"digit": share(agree), "quadrant": share(1.0)}
    given = {
        name: {"shown": {name: share(1.0)}, "open": {other: {"pairs_agree": pairs[other], **vary}}}
        for name, other in (("digit", "quadrant"), ("quadrant", "digit"))
    }
    given["digit, quadrant"] = {"shown": {"all factors": share(1.0)}, "open": {}}
    both = {"digit": share(1.0), "quadrant": share(1.0)}
    return {
        "verifier_accuracy": both, "reconstruction_accuracy": both, "given_labels": given,
        "unconditional": {name: {"show_label": share(1.0)} for name in both},
        "frechet_verifier_features": both, "diversity": {"digit": 0.9}, "seconds": {}, "seed": seed,
    }  # fmt: skip


def test_two_factors_are_compared_with_targets_with_complete_rows_and_with_published_ones(tmp_path):
    parts = {
        "digits_holes": {"runs": {"0": dq_results(0.94), "1": dq_results(0.97)}},
        "digits_complete": {"runs": {"0": dq_results(0.99)}},
    }
    found = {one["name"]: one for one in dq.REPORT.claims(parts)}
    missed = [name for name, one in found.items() if not one["holds"] and one["value"] != "missing"]
    assert missed == [
        f"digits with holes, seed 0: {dq.Q_AGREE}",
        f"digits, holes less complete rows, seed 0: {dq.Q_AGREE}",
    ]
    assert found[f"digits with holes, seed 1: {dq.OVER.format(dq.D_VARY)}"]["value"] == 1.5
    against = f"on an accelerator, with holes, against MUNITE: {dq.Q_AGREE}"
    assert (found[against]["value"], found[against]["holds"]) == ("missing", False)
    assert "missing" in page.claims_table(found.values())
    made = {"command": "gpu polymnist-dq", "results": dq_results(0.995, 2)}
    (tmp_path / "polymnist-dq-2.json").write_text(json.dumps(made))
    (tmp_path / "polymnist-dq-0.json").write_text(json.dumps(made | {"command": "gpu --toy"}))
    claimed = {one["name"]: one["holds"] for one in dq.of_accelerator({}, tmp_path)}
    assert claimed[f"{against}, seed 2"]
    assert len(claimed) == len(dq.MUNITE)
    assert "holes, seeds 0, 1: mean ± deviation" in dq.table("digits", parts)
    nothing = dq_results(1.0) | {"given_labels": {}, "unconditional": {"digit": {}, "quadrant": {}}}
    assert np.isnan(dq.figures(nothing)[dq.D_AGREE])


def test_every_run_on_an_accelerator_is_one_that_can_be_asked_for():
    assert {name.rpartition("-")[0] for name in page.GPU} == set(CONFIGS)


def test_a_claim_holds_at_its_bound_and_keeps_four_digits():
    assert claims.claim("a", 0.123456, ">=", 0.123456) == {
        "name": "a", "value": 0.1235, "bound": ">= 0.1235", "holds": True,
    }  # fmt: skip
    assert not claims.claim("a", 1, ">", 1)["holds"]
    within = claims.claim("a", 0.9, "within", (0.87, 0.93), note=1)
    assert (within["bound"], within["holds"], within["note"]) == ("0.87 to 0.93", True, 1)
    assert claims.claim("a", 50, ">=", 50)["value"] == 50


def test_tables_have_means_and_deviations_and_mark_misses():
    rows = {"x": [{"a": 0.5, "n": 1000}, {"a": 0.7, "n": 1000}], "y": {"a": 12.0, "n": "none"}}
    assert tables.rows_table(rows, title="t").splitlines() == [
        "| t | a | n |", "| --- | --- | --- |", "| x | 0.600 ± 0.141 | 1,000 |", "| y | 12.0 | none |",
    ]  # fmt: skip
    found = tables.figures_table({"seed 0": [{"a": 0.5, "b": 0.5}]}, {"a": (">=", 0.6)})
    assert found.splitlines()[2:] == ["| a | ≥ 0.6 | **0.500** |", "| b |  | 0.500 |"]
    assert tables.over_seeds({"0": {"a": 1}}) == {"seed 0": [{"a": 1}]}
    assert list(tables.over_seeds({"0": {}, "2": {}}, dict, "x, ")) == [
        "x, seeds 0, 2: mean ± deviation"
    ]
    assert tables.mean_std([{"a": 3.0}], "a") == (3.0, 0.0)


def test_a_table_stands_between_its_marks_and_nothing_else_changes():
    text = (
        "before\n<!-- x.a -->\nold\n<!-- end of x.a -->\n<!-- x.b -->\n\\1\n<!-- end of x.b -->\n"
    )
    made = {"x.a": "| \\g |", "x.c": "no"}
    assert tables.fill(text, made) == text.replace("old", "| \\g |")
    assert tables.fill(text.replace("old\n", ""), made) == text.replace("old", "| \\g |")


def report_of(name="toy"):
    def compare(part):
        return part, lambda page: [claims.claim(part, page[part]["value"], ">=", 1.0)]

    return Report(name, [compare("first"), compare("second")], {})


def test_parts_are_measured_kept_apart_and_compared(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(runner, "RESULTS", tmp_path)
    monkeypatch.setenv("SBMAE_COMMIT", "aaa")
    asked = []

    def measure_second(options):
        return {"value": 3.0, "commit": ["bbb"]}

    def measure_first(options):
        asked.append((options.seeds, options.smoke, options.runs, sorted(options.page)))
        return {"value": 2.0 if options.seeds[0] else 0.5, "seeds": options.seeds}

    def run(*argv):
        monkeypatch.setattr(sys, "argv", ["x", *argv])
        runner.main("toy", "Help.", report_of(), (measure_first, measure_second), seeds=(0, 1))
        return json.loads((tmp_path / "toy.json").read_text())

    made = run()
    assert made["command"] == ["python -m benchmarks.toy first", "python -m benchmarks.toy second"]
    assert (made["seeds"], made["commit"]) == ([0, 1], ["aaa", "bbb"])
    assert "MISSED first: 0.5, target >= 1" in capsys.readouterr().out
    made = run("first", "--seeds", "3")
    assert made["first"]["command"] == "python -m benchmarks.toy first --seeds 3"
    assert [claim["holds"] for claim in made["claims"]] == [True, True]
    assert "second" not in capsys.readouterr().out, "only what has changed is told"
    assert asked[1] == ([3], False, ROOT / "runs", ["first", "second"])
    run("--smoke", "--runs", str(tmp_path), "first")
    assert asked[2][2] == tmp_path / "smoke"
    assert (tmp_path / "smoke" / "results" / "toy.json").exists()
    del made["second"]["value"]  # as a part that an earlier version has written
    (tmp_path / "toy.json").write_text(json.dumps(made))
    num_asked = len(asked)
    with pytest.raises(
        SystemExit, match=r"toy.json: the part second has another form than today's"
    ):
        run("first")
    assert len(asked) == num_asked, "it is told before the work"
    assert "value" in run("second")["second"]


def test_a_part_that_needs_another_says_so():
    with pytest.raises(SystemExit, match="measure the part comparison first"):
        runner.needed(Namespace(page={}), "comparison")


def test_work_is_done_once_and_an_interruption_leaves_nothing(tmp_path):
    path, calls = tmp_path / "deep" / "row.json", []

    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.once(path, fail)
    assert not path.exists()
    for _ in range(2):
        assert runner.once(path, lambda: calls.append(1) or {"a": 1}) == {"a": 1}
    assert calls == [1]


def test_networks_are_copied_once_and_files_each_time(tmp_path):
    source, target = tmp_path / "a", tmp_path / "b"
    (source / "score").mkdir(parents=True)
    (source / "data.json").write_text("1")
    runner.reuse(source, target, ("score",), ("data.json",))
    (source / "score" / "late").touch()
    (source / "data.json").write_text("2")
    runner.reuse(source, target, ("score",), ("data.json",))
    assert not list((target / "score").iterdir())
    assert (target / "data.json").read_text() == "2"


def test_a_config_is_changed_in_some_sections_or_in_all(tmp_path):
    config = {"seed": 0, "modalities": {"a": {"w": 1, "n": 2}, "b": {"w": 3}}, "network": {"x": 1}}
    found = runs.changed(config, {"modalities": {"*": {"w": 0}}, "network": {"y": 2}, "seed": 4})
    assert found == {
        "seed": 4, "modalities": {"a": {"w": 0, "n": 2}, "b": {"w": 0}}, "network": {"x": 1, "y": 2},
    }  # fmt: skip
    assert config["seed"] == 0


def test_a_result_is_fresh_until_the_library_changes(monkeypatch):
    for count, said in ((0, "fresh"), (3, "stale by 3 commits"), (None, "not in this history")):
        monkeypatch.setattr(page, "commits_since", lambda commit, count=count: count)
        assert said in page.age(["0123456789ab"])


def test_a_missed_claim_stands_out_and_what_is_not_there_is_listed(tmp_path):
    (tmp_path / "gpu").mkdir()
    content = {
        "command": ["python -m benchmarks.x"], "commit": ["0123456789ab"], "device": "1 x toy",
        "claims": [
            {"name": "|slope|", "value": 0.5123, "bound": "<= 1", "holds": True},
            {"name": "quality", "value": 3, "bound": ">= 4", "holds": False},
            {"name": "mean", "value": 0.5, "bound": ">= 0.1", "holds": True, "deviation": 0.012},
        ],
    }  # fmt: skip
    (tmp_path / "celeba.json").write_text(json.dumps(content))
    for name, more in (("faces-0", {}), ("faces-2", {"command": "faces --toy"})):
        run = {"command": "faces", "commit": "ba9876543210-dirty", "device": "1 x toy", **more}
        (tmp_path / "gpu" / f"{name}.json").write_text(json.dumps(run))
    text = page.make(tmp_path)
    assert "| \\|slope\\| | 0.5123 | <= 1 | yes |" in text
    assert "| quality | 3 | >= 4 | **no** |" in text
    assert "| mean | 0.5 ± 0.012 | >= 0.1 | yes |" in text
    assert "1 x toy; made at a commit that is not in this history" in text
    missing = text.split("Not measured yet: ")[1].split(".")[0].split(", ")
    assert missing == [report.name for report in page.REPORTS if report.name != "celeba"]
    assert re.search(r"\| faces-0 \| 1 x toy, commit ba9876543210-dirty, made at a commit", text)
    assert "| faces-2 | missing: a dry run is there |" in text
    assert "| faces-1 | missing | `python -m benchmarks.gpu faces --seed 1` |" in text


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_operations_are_counted_on_the_cpu_whatever_the_backend(monkeypatch, backend):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    shape, meshes = jax.ShapeDtypeStruct((64, 64), "float32"), []

    def lower(mesh):
        meshes.append(mesh)
        return jax.jit(lambda a: a @ a).lower(shape)

    found = cost.cost_of(lower)
    assert found["flops"] == pytest.approx(2 * 64**3, rel=0.01)
    assert found["bytes"] >= 2 * 64 * 64 * 4
    # Elsewhere the program is lowered once more, for one device of the host.
    assert [mesh.size for mesh in meshes] == [jax.device_count(), 1][: 1 + (backend == "gpu")]


def test_a_step_is_counted_once_for_all_that_are_the_same_program(monkeypatch):
    def loss(params, key, batch):
        return jnp.sum(batch["x"] @ params, axis=1), {}

    task = Task(lambda key, batch: jnp.ones((64, 8)), loss)
    training = TrainingConfig(num_steps=10, batch_size=128, learning_rate=1e-3)
    example = {"x": jax.ShapeDtypeStruct((64,), "float32")}
    found = cost.step_cost(task, training, example)
    products = 2 * 128 * 64 * 8  # forward, and once more for the gradient
    assert products < found["flops"] < 3 * products
    monkeypatch.setattr(cost, "cost_of", lambda lower: pytest.fail("counted again"))
    assert cost.step_cost(task, training, example) == found


def test_the_reference_takes_two_evaluations_at_each_level(monkeypatch):
    config = polydigits.get_config("smoke").to_dict()
    ours, theirs = cost.parts_of(config), cost.parts_of(reference.joint(config, config["network"]))
    assert theirs.matching.conditioning_prob == 0
    monkeypatch.setattr(reference, "score_cost", lambda model: {"flops": 1e9})
    found = reference.gflop_of_one_sample(ours, theirs, 100)
    assert found == {"ours": ours.sampling.num_evaluations, "theirs": 200}


def test_most_faces_that_are_converted_are_links_to_a_few(monkeypatch, tmp_path):
    monkeypatch.setattr(conversion, "NUM_WORKERS", 1)
    draw = partial(conversion.write_toyfaces, side=16)
    monkeypatch.setattr(conversion, "write_toyfaces", draw)
    conversion.write_folder(tmp_path / "faces", 7, 2)
    faces = check_folder(tmp_path / "faces", official=False)
    assert [face.n for face in faces] == list(range(7))
    assert [len(face.masks) for face in faces[:2]] * 2 == [len(face.masks) for face in faces[2:6]]
    files = {(tmp_path / "faces" / face.image).stat().st_ino for face in faces}
    assert len(files) == 2


def test_a_conversion_that_is_killed_says_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(conversion, "faces_done", lambda folder: 256)
    found = conversion.convert(tmp_path / "faces", kill_at=100)
    assert set(found) == {"peak"}


@pytest.mark.slow
@pytest.mark.parametrize("command", [
    "polydigits", "samplers", "faces", "polymnist", "dq", "own_data", "scale kill memory", "peers",
    "door fit load memory files coders", "holes", "decoders",
    pytest.param("door app", marks=pytest.mark.skipif(
        not shutil.which("chromium"), reason="no Chromium on this machine",
    )),
])  # fmt: skip
def test_a_benchmark_runs_as_short_as_it_can_be(command, tmp_path):
    # Each in a process of its own: what XLA compiles for all of them is more than one may map.
    name, *rest = shlex.split(command)
    argv = [sys.executable, "-m", f"benchmarks.{name}", *rest, "--smoke", f"--runs={tmp_path}"]
    one_device = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    done = subprocess.run(argv, cwd=ROOT, env=one_device, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (made,) = (tmp_path / "smoke" / "results").glob("*.json")
    assert json.loads(made.read_text())["claims"]


@pytest.mark.slow
def test_a_run_on_an_accelerator_is_dry_run(tmp_path, monkeypatch):
    argv = ["gpu", "polymnist-five", "--toy", f"--runs={tmp_path}", f"--output={tmp_path / 'out'}"]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("benchmarks.gpu", run_name="__main__")
    made = json.loads((tmp_path / "out" / "polymnist-five-0.json").read_text())
    assert "--toy" in made["command"]
    assert Path(tmp_path / "out" / "polymnist-five-0-losses.png").exists()
