"""Use what one run has trained in another, which differs in what comes after it."""

import shutil
from collections.abc import Iterable
from pathlib import Path


def reuse(source: Path, target: Path, folders: Iterable[str], files: Iterable[str]) -> None:
    """Copy finished networks, unless they are there, and small files of a workdir into another."""
    for folder in folders:
        if not (target / folder).exists():
            shutil.copytree(source / folder, target / folder)
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(source / file, target / file)
