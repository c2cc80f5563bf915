"""Which commit a result names."""

import subprocess
import sys
from pathlib import Path

import pytest

from sbmae_jax import _provenance


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch) -> Path:
    """Return a repository with one file in each of three folders, in which the package lies."""
    for name in ("package/code.py", "package/provenance.py", "results/a.json", "docs/a.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(_provenance, "__file__", str(tmp_path / "package" / "provenance.py"))
    monkeypatch.delenv("SBMAE_COMMIT", raising=False)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run(git + command, cwd=tmp_path, check=True)
    return tmp_path


def test_only_a_change_of_what_is_run_marks_the_commit(checkout):
    clean = _provenance.commit()
    assert len(clean) == 12
    (checkout / "results" / "a.json").write_text("2")
    (checkout / "docs" / "a.md").write_text("2")
    (checkout / "new.txt").write_text("runs leave files behind")
    assert _provenance.commit() == clean
    (checkout / "package" / "code.py").write_text("2")
    assert _provenance.commit() == f"{clean}-dirty"


def test_outside_of_a_checkout_the_commit_is_unknown(tmp_path, monkeypatch):
    (tmp_path / "package").mkdir()
    monkeypatch.delenv("SBMAE_COMMIT", raising=False)
    monkeypatch.setattr(_provenance, "__file__", str(tmp_path / "package" / "provenance.py"))
    assert _provenance.commit() == "unknown"


def test_in_the_repository_of_someone_else_the_commit_is_unknown(checkout, monkeypatch):
    installed = checkout / "venv" / "provenance.py"
    installed.parent.mkdir()
    installed.write_text("1")
    monkeypatch.setattr(_provenance, "__file__", str(installed))
    assert _provenance.commit() == "unknown"


def test_of_a_copy_the_environment_tells_the_commit(checkout, monkeypatch):
    monkeypatch.setenv("SBMAE_COMMIT", "0123456789ab")
    assert _provenance.commit() == "0123456789ab"


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(_provenance, "PACKAGES", ("jax", "a-package-of-no-one"))
    found = _provenance.versions()
    assert found["a-package-of-no-one"] == "not installed"
    assert found["jax"][0].isdigit()


@pytest.mark.slow
def test_the_peak_of_memory_is_not_that_of_the_process_that_started_it():
    code = "from sbmae_jax import _provenance; print(_provenance.peak_memory_bytes())"
    big = f"import subprocess, sys; x = bytearray(2**30); subprocess.run([sys.executable, '-c', {code!r}])"
    done = subprocess.run([sys.executable, "-c", big], capture_output=True, text=True, check=True)
    assert 2**24 < int(done.stdout) < 2**30
