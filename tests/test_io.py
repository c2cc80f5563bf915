from pathlib import Path

import pytest

from sbmae_jax._io import as_path, copy_folder, files_below, is_remote, local_folder


def test_urls_stay_urls_and_paths_paths(tmp_path):
    assert str(as_path("gs://bucket/run") / "a") == "gs://bucket/run/a"
    assert as_path(str(tmp_path)) == tmp_path
    assert as_path(as_path("gs://bucket/run")) == as_path("gs://bucket/run")
    assert isinstance(as_path(tmp_path), Path)


@pytest.mark.parametrize(("path", "expected"), [("gs://b/a", True), ("runs/a", False)])
def test_what_is_remote(path, expected):
    assert is_remote(path) == is_remote(as_path(path)) == expected


def test_all_files_of_a_folder_are_found_and_copied(tmp_path):
    (tmp_path / "a" / "deep").mkdir(parents=True)
    for name in ("two", "deep/one", "three"):
        (tmp_path / "a" / name).write_text(name)
    assert [str(f.relative_to(tmp_path / "a")) for f in files_below(tmp_path / "a")] == [
        "deep/one", "three", "two"
    ]  # fmt: skip
    copy_folder(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "deep" / "one").read_text() == "deep/one"


def test_a_folder_of_this_machine_is_drawn_into_directly(tmp_path):
    with local_folder(tmp_path / "report") as folder:
        assert folder == tmp_path / "report"
        (folder / "page").write_text("")
    assert (tmp_path / "report" / "page").exists()
