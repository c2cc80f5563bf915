"""The command `sbmae`: what each command reads, its help, and an installation away from a clone."""

import importlib.metadata
import os
import subprocess
import sys
import venv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from sbmae_jax import _extras
from sbmae_jax.app import cli, commands
from sbmae_jax.app.config_files import load_config
from sbmae_jax.app.overrides import split_overrides

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).with_name("uv")


@pytest.fixture(autouse=True)
def parsed_flags():
    """Let flags be read that no command line has set."""
    flags.FLAGS.mark_as_parsed()


def check(program, *words):
    """Parse a command line, and check that what it says is read."""
    with flagsaver.flagsaver():
        words, overrides = split_overrides([program, *words])
        words = flags.FLAGS(words)[1:]
        name = cli._command_of(program)
        cli._check(program, name, words, overrides)
        return name


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["launch.py", "--workdir=a", "--stage=generate", "--given=x=1", "--seed=3"], "generate"),
        (["launch.py", "--workdir=a", "--stage=score", "--redo=score", "--config.seed=3"], "train"),
        (["launch.py", "--workdir=a", "--stage=train", "--config=custom"], "train"),
        (["sbmae train", "--workdir=a", "--config=custom", "--profile"], "train"),
        (["sbmae impute", "--workdir=a", "--input=a.npz", "--output=b.npz"], "impute"),
        (["sbmae evaluate", "--workdir=a", "--config.evaluation.num_rows=5"], "evaluate"),
        (["sbmae describe", "own.npz", "--config.seed=3"], "describe"),
        (["sbmae train", "own.npz", "--workdir=a"], "train"),
        (["sbmae train", "--workdir=a"], "train"),
    ],
)
def test_flags_that_a_command_reads(words, name):
    assert check(*words) == name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["launch.py", "--workdir=a", "--stage=generate", "--redo=score"], "--redo has no effect on"),
        (["launch.py", "--workdir=a", "--stage=generate", "--config=custom"], "--config has no effect"),
        (["launch.py", "--workdir=a", "--stage=impute", "--given=x=1"], "--given has no effect on impute"),
        (["launch.py", "--workdir=a", "--stage=impute", "--profile"], "--profile has no effect on impute"),
        (["launch.py", "--workdir=a", "--num_samples=3"], "--num_samples has no effect on train"),
        (["launch.py", "--workdir=a", "--stage=score", "--seed=1"], "--seed has no effect on train"),
        (["launch.py", "--workdir=a", "--output=b"], "--output has no effect on train"),
        (["launch.py", "--workdir=a", "--input=b"], "--input has no effect on train"),
        (["launch.py", "--workdir=a", "score"], "unknown argument 'score': flags start with --"),
        (["launch.py"], "choose a folder for the run: --workdir=runs/NAME"),
        (["launch.py", "--workdir=a", "--stage=generate", "--config.seed=3"], "config.seed: generate uses"),
        (["sbmae generate", "--workdir=a", "--stage=score"], "--stage has no effect on generate"),
        (["sbmae report", "--workdir=a", "--config.seed=3"], "config.seed: report uses the config"),
        (["sbmae report"], "choose a folder for the run"),
        (["sbmae describe"], "name the DATA: sbmae describe DATA"),
        (["sbmae describe", "a", "b"], "unknown argument 'b'"),
        (["sbmae describe", "a", "--workdir=b"], "--workdir has no effect on describe"),
    ],
)  # fmt: skip
def test_no_flag_is_ignored_silently(words, message):
    with pytest.raises(ValueError, match=message):
        check(*words)


def test_describe_prints_kinds_and_choices_and_writes_nothing(tmp_path, capsys):
    np.savez(tmp_path / "own.npz", age=np.linspace(20, 80, 50), town=["Bonn", "Oslo"] * 25)
    before = sorted(tmp_path.iterdir())
    commands.describe([str(tmp_path / "own.npz")], split_overrides(["--config.seed=3"])[1])
    printed = capsys.readouterr().out
    assert "category" in printed
    assert "score_training.num_steps" in printed
    assert sorted(tmp_path.iterdir()) == before


def test_describe_refuses_a_key_that_nothing_reads(tmp_path):
    np.savez(tmp_path / "own.npz", age=np.linspace(20, 80, 50))
    with pytest.raises(ValueError, match=r"temprature.*did you mean 'temperature'"):
        commands.describe(
            [str(tmp_path / "own.npz")], split_overrides(["--config.sampling.temprature=1"])[1]
        )


def test_train_takes_data_or_goes_on_with_a_run(tmp_path, monkeypatch, finished_run):
    calls = []
    monkeypatch.setattr(commands.pipeline, "run", lambda config, *_, **__: calls.append(config))
    with flagsaver.flagsaver(workdir=str(finished_run)):
        commands.train([], [])
        commands.train(["own.npz"], [])
    assert calls[0]["data"]["name"] == "polydigits"
    assert calls[1]["data"]["path"] == "own.npz"
    with (
        flagsaver.flagsaver(workdir=str(tmp_path)),
        pytest.raises(ValueError, match="or name DATA"),
    ):
        commands.train([], [])
    with flagsaver.flagsaver(config="custom"), pytest.raises(ValueError, match="not both"):
        commands.train(["own.npz"], [])


@pytest.mark.parametrize("place", ["custom", "custom:smoke", "configs/custom.py:smoke"])
def test_configs_have_names(place, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert load_config(place)["data"]["name"] == "files"


@pytest.mark.parametrize("place", ["costum", "", "a/b", "custom.pyc"])
def test_unknown_names_of_configs_are_refused_with_the_known_ones(place):
    with pytest.raises(ValueError, match=r"write a Python file.*celebahq, custom, polydigits"):
        load_config(place)


def test_help_names_every_command_and_flag(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["sbmae"])
    cli.main_of_commands()
    printed = capsys.readouterr().out
    assert all(name in printed for name in commands.COMMANDS)
    for name, command in commands.COMMANDS.items():
        monkeypatch.setattr("sys.argv", ["sbmae", name, "--help"])
        cli.main_of_commands()
        printed = capsys.readouterr().out
        assert command.summary in printed
        assert all(f"--{flag}\n" in printed for flag in command.flags)
        listed = {line.strip()[2:] for line in printed.splitlines() if line.startswith("  --")}
        assert listed <= {*command.flags, "config.KEY=VALUE"}
        for other in commands.COMMANDS.keys() - {name, "train", "evaluate", "report"}:
            assert f"for {other}" not in printed.lower()


@pytest.mark.parametrize("word", ["--version", "version"])
def test_the_version_is_that_of_the_package(monkeypatch, capsys, word):
    monkeypatch.setattr("sys.argv", ["sbmae", word])
    cli.main_of_commands()
    assert capsys.readouterr().out == f"sbmae_jax {importlib.metadata.version('sbmae-jax')}\n"


def test_of_several_processes_the_first_one_writes(tmp_path, monkeypatch, capsys, finished_run):
    waited = []
    for is_first in (False, True):
        processes = SimpleNamespace(is_first=lambda first=is_first: first, barrier=waited.append)
        monkeypatch.setattr("sbmae_jax.app.request.distributed", processes)
        monkeypatch.setattr("sbmae_jax.app.commands.distributed", processes)
        given = {"workdir": str(finished_run), "output": str(tmp_path / "made"), "num_samples": 1}
        with flagsaver.flagsaver(**given):
            commands.generate([], [])
        assert (tmp_path / "made" / "sheet.png").exists() == is_first
        assert bool(capsys.readouterr().out) == is_first
    assert waited == ["generated"] * 2


def test_an_unknown_command_is_named(monkeypatch):
    monkeypatch.setattr("sys.argv", ["sbmae", "trian"])
    with pytest.raises(SystemExit, match=r"no command 'trian' \(did you mean 'train'"):
        cli.main_of_commands()


def test_a_finished_run_is_evaluated_with_other_values_and_reported_anew(tmp_path, finished_run):
    import json
    import shutil

    folder = shutil.copytree(finished_run, tmp_path / "run")
    before = (folder / "report" / "index.html").stat().st_mtime_ns
    num_rows = json.loads((folder / "results.json").read_text())["num_rows"]
    with flagsaver.flagsaver(workdir=str(folder)):
        commands.report([], [])
        assert (folder / "report" / "index.html").stat().st_mtime_ns > before
        fewer = split_overrides([f"--config.evaluation.num_rows={num_rows - 1}"])[1]
        commands.evaluate([], fewer)
    assert json.loads((folder / "results.json").read_text())["num_rows"] == num_rows - 1
    assert (folder / "report" / "index.html").exists()


def test_a_run_is_exported_to_a_file_that_can_be_loaded(tmp_path, finished_run):
    import sbmae_jax

    path = tmp_path / "model.safetensors"
    with flagsaver.flagsaver(workdir=str(finished_run), output=str(path)):
        commands.export([], [])
    assert sbmae_jax.load(path).layout == sbmae_jax.load(finished_run).layout
    for wrong in ("", str(tmp_path / "model.stablehlo")):
        with (
            flagsaver.flagsaver(workdir=str(finished_run), output=wrong),
            pytest.raises(ValueError, match=r"--output=NAME\.jax"),
        ):
            commands.export([], [])
    assert [made.name for made in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_package_that_is_not_installed_is_named_with_its_extra():
    with pytest.raises(
        ImportError, match=r"needs nothing_like_it.*pip install 'sbmae_jax\[train\]'"
    ):
        _extras.require_extra("sbmae_jax.fit", "train", "numpy", "nothing_like_it")


def test_windows_is_told_what_runs_there(monkeypatch):
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(ImportError, match="use the Windows Subsystem for Linux"):
        _extras.require_extra("sbmae_jax.training", "train")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--installer=uv", f"--outdir={folder}", ROOT],
        check=True, capture_output=True,
    )  # fmt: skip
    return next(folder.glob("*.whl"))


def installed(wheel, folder, extra=""):
    """Install a wheel in an empty environment, and return a function that runs one of its programs."""
    venv.create(folder / "env")
    python = folder / "env" / "bin" / "python"
    pins = ["--constraint", ROOT / "requirements.lock"]
    command = [UV, "pip", "install", "--quiet", "--python", python, *pins, f"{wheel}{extra}"]
    subprocess.run(command, check=True)

    def run(*words):
        program, *words = words
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        return subprocess.run(
            [python.with_name(program), *words], cwd=folder, env=env, capture_output=True, text=True
        )

    return run


@pytest.mark.slow
def test_the_samplers_need_jax_alone_and_the_rest_says_what_it_lacks(wheel, tmp_path):
    run = installed(wheel, tmp_path)
    code = (
        "import jax, sbmae_jax as s; sde = s.VP(); "
        "x = s.sample(jax.random.key(0), s.ancestral(sde, lambda x, t: -x), jax.numpy.zeros((4, 2)), "
        "s.uniform_times(5)); print(x.shape); import sbmae_jax.metrics.coherence"
    )
    sampled = run("python", "-c", code)
    assert sampled.stdout == "(4, 2)\n", sampled.stderr
    lacking = run("sbmae", "train")
    assert lacking.returncode == 1
    python = tmp_path / "env" / "bin" / "python"
    added = [UV, "pip", "install", "--dry-run", "--python", python, "sbmae_jax[ode]"]
    said = subprocess.run(added, check=True, capture_output=True, text=True).stderr
    assert "diffrax" in said  # an extra is added by its name, though no index has the package
    assert "+ sbmae" not in said
    assert "which is not installed: pip install 'sbmae_jax[train]'" in lacking.stderr
    assert len(lacking.stderr.splitlines()) == 1
    for name in ("fit", "load", "Model"):
        asked = run("python", "-c", f"import sbmae_jax; sbmae_jax.{name}")
        assert asked.stderr.splitlines()[-1].startswith("ImportError: sbmae_jax.")
        assert "pip install 'sbmae_jax[train]'" in asked.stderr


@pytest.mark.slow
def test_the_wheel_trains_away_from_a_clone(wheel, tmp_path):
    run = installed(wheel, tmp_path, "[train]")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", a=rng.normal(size=(200, 3)), b=rng.normal(size=(200, 2)))
    words = ["--config=custom:smoke", "--config.data.path=own.npz", "--workdir=run"]
    done = run("sbmae", "train", *words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report" / "index.html").exists()
    made = run("sbmae", "generate", "--workdir=run", "--num_samples=2")
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "run" / "generated" / "a.csv").exists()
