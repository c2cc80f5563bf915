import numpy as np
import pytest

from sbmae_jax._io import as_path, write_atomically
from sbmae_jax.app.run import load_moments
from sbmae_jax.training.workdir import CONFIG, check_names, read_config, write_config

CONFIG_A = {"seed": 0, "score": {"steps": 3, "names": ("x", "y")}}


def test_a_config_comes_back_as_it_is_in_json(tmp_path):
    assert read_config(tmp_path / "run") is None
    write_config(tmp_path / "run", CONFIG_A)
    assert read_config(tmp_path / "run") == {"seed": 0, "score": {"steps": 3, "names": ["x", "y"]}}


def test_a_config_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / CONFIG).write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        read_config(tmp_path)


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("damage", ["missing", "truncated", "empty"])
def test_moments_that_cannot_be_read_say_how_to_get_them_back(tmp_path, damage):
    path = tmp_path / "moments.npz"
    np.savez(path, mean=np.zeros(3), std=np.ones(3))
    assert load_moments(path).std.shape == (3,)
    whole = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(whole[:40] if damage == "truncated" else b"")
    with pytest.raises(ValueError, match=r"moments.npz is missing or damaged: delete the folder"):
        load_moments(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_config_with_a_number_that_json_has_not_is_refused(tmp_path, value):
    with pytest.raises(ValueError, match=r"config\.score\.steps must be a finite number"):
        write_config(tmp_path / "run", {"score": {"steps": value}})
    assert not (tmp_path / "run" / CONFIG).exists()


@pytest.mark.parametrize("name", ["w=[64]", "a*", "q?"])
def test_a_bucket_whose_name_would_be_a_pattern_is_refused(name):
    with pytest.raises(ValueError, match="are not found again: choose another workdir"):
        write_config(as_path(f"gs://bucket/{name}"), CONFIG_A)


def test_names_that_differ_in_case_only_are_refused_where_files_do_not_distinguish_them(tmp_path):
    write_config(tmp_path, CONFIG_A)
    check_names(tmp_path, ["lab", "Lab", "town"])
    (tmp_path / CONFIG.upper()).symlink_to(CONFIG)  # as such a file system finds it
    check_names(tmp_path, ["lab", "labs", "town"])
    with pytest.raises(ValueError, match="lab and Lab differ in case only"):
        check_names(tmp_path, ["lab", "Lab", "town"])


def test_names_that_are_too_long_for_files_are_refused(tmp_path):
    check_names(tmp_path, ["n" * 200, "\u00e4" * 100])
    for name in ("n" * 250, "\u00e4" * 125):
        with pytest.raises(ValueError, match=r"cannot be that of a file .*: rename the modality"):
            check_names(tmp_path, ["lab", name])
