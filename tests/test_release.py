"""What a release is made of: one version, every package, targets that exist, and licences."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
TOML = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = TOML["project"]


def test_the_changelog_begins_with_the_version_of_the_package():
    versions = re.findall(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions[0] == PROJECT["version"]
    assert "version" not in yaml.safe_load(
        (ROOT / "CITATION.cff").read_text()
    )  # one place is enough


def test_the_workflow_runs_targets_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    runs = [
        step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step
    ]
    targets = {re.fullmatch(r"make PYTHON=python (\w+)", run)[1] for run in runs}
    assert targets == {"lint", "test", "docs", "smoke"}
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets)
    versions = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert f">={versions[0]}" == PROJECT["requires-python"]


def test_locks_name_no_index():
    for lock in ROOT.glob("requirements*.lock"):
        assert "//" not in lock.read_text(), lock.name


def test_licences_are_named():
    assert set(PROJECT["license-files"]) == {"LICENSE", "NOTICE"}
    notice = (ROOT / "NOTICE").read_text()
    assert all((ROOT / path).exists() for path in re.findall(r"docs/[\w./-]+\w", notice))


def test_every_package_is_in_the_wheel():
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "sbmae_jax").rglob("*.py")}
    packages = {".".join(folder.parts) for folder in folders} | {"sbmae_jax.configs"}
    # A folder of data alone is a package to setuptools, which warns of those that are not named.
    data = TOML["tool"]["setuptools"]["package-data"]
    assert set(TOML["tool"]["setuptools"]["packages"]) == packages | data.keys()
    for package, patterns in data.items():
        folder = ROOT.joinpath(*package.split("."))
        assert not [
            pattern for pattern in patterns if "/" in pattern or not [*folder.glob(pattern)]
        ]


def test_the_page_on_installing_names_the_wheel_and_every_extra():
    page = (ROOT / "docs" / "install.md").read_text()
    wheels = re.findall(r"sbmae_jax-\S+?\.whl", page)
    assert set(wheels) == {f"sbmae_jax-{PROJECT['version']}-py3-none-any.whl"}
    table = re.findall(r"^\| (`.+?) \|", page.partition("## Extras")[2], re.M)
    extras = {extra for cell in table for extra in re.findall(r"`(\w+)`", cell)}
    assert extras == PROJECT["optional-dependencies"].keys() - {"dev", "docs"}
