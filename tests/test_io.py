import io
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest

from sbmae_jax._io import (
    as_path,
    copy_folder,
    files_below,
    is_remote,
    local_folder,
    require_folder,
    require_writable,
    write_atomically,
    write_npz,
    write_results,
)  # fmt: skip


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


def test_an_interrupted_write_leaves_nothing_beside_the_file(tmp_path):
    def fail(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", fail)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "folder", lambda file: file.write(b"whole"))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_results_that_cannot_be_written_are_kept_together(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fills = {name: lambda file, name=name: file.write(name.encode()) for name in ("a", "b")}
    (tmp_path / "run").mkdir()
    write_results(tmp_path / "run", fills)
    assert (tmp_path / "run" / "b").read_text() == "b"
    (tmp_path / "full" / "b").mkdir(parents=True)  # a folder is in the way of the second file
    with pytest.raises(OSError, match=r"cannot write a and b in .*full .*: kept in ") as raised:
        write_results(tmp_path / "full", fills)
    kept = Path(re.search(r"kept in (\S+),", str(raised.value))[1])
    assert {path.name: path.read_text() for path in kept.iterdir()} == {"a": "a", "b": "b"}


def test_what_can_be_written_is_found_out_without_a_trace(tmp_path):
    require_writable(tmp_path / "new" / "file")
    require_writable(tmp_path / "new" / "file")
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(ValueError, match="new is a folder: choose the name of a file"):
        require_writable(tmp_path / "new")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file is no folder that can be written \("):
        require_writable(tmp_path / "file" / "below")
    with pytest.raises(ValueError, match="/proc/1 is no folder that can be written"):
        require_folder(Path("/proc/1"))


@pytest.mark.parametrize("name", ["x.npz", "x.json"])
def test_what_is_read_back_otherwise_gets_no_name(tmp_path, name):
    def fill(file):
        if name == "x.json":
            file.write(b'{"a": [1, 2')
            return
        whole = io.BytesIO()
        write_npz(whole, {"a": np.arange(1000)})
        content = bytearray(whole.getvalue())
        content[len(content) // 2] ^= 1
        file.write(content)

    good = {"x.npz": lambda file: write_npz(file, {}), "x.json": lambda file: file.write(b"{}")}
    write_atomically(tmp_path / name, good[name])
    before = (tmp_path / name).read_bytes()
    with pytest.raises(OSError, match="is read back with other content than was written"):
        write_atomically(tmp_path / name, fill)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("name", ["n" * 251 + ".npz", "n" * 247 + ".npz", "\u00e4" * 125 + ".json"])
def test_a_name_may_be_as_long_as_files_allow(tmp_path, name):
    require_writable(tmp_path / name)
    write_atomically(tmp_path / name, lambda file: write_npz(file, {"x": np.arange(3)})
                     if name.endswith("npz") else file.write(b"[1]"))  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_name_that_is_too_long_is_refused_before_the_work(tmp_path):
    with pytest.raises(ValueError, match=r"no name that a file can have \(File name too long\)"):
        require_writable(tmp_path / ("n" * 252 + ".npz"))
