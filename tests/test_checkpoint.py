import contextlib
import logging
import pickle
import pickletools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax.training import checkpoint, sharding


class State(NamedTuple):
    step: Any
    params: Any


def state(step):
    return State(jnp.asarray(step), {"w": jnp.arange(1000.0) + step})


def like(devices=1):
    return sharding.abstract_state(sharding.make_mesh(devices), state(0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with checkpoints of steps 1, 2 and 3, of which the last two are kept."""
    folder = tmp_path_factory.mktemp("saved")
    with checkpoint.opened(folder) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, state(step))
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of these checkpoints, to be damaged."""
    return shutil.copytree(saved, tmp_path / "copy")


def restore(folder, wanted=None):
    with checkpoint.opened(folder) as checkpoints:
        return checkpoints.restore(wanted or like())


def largest_file(path):
    files = [f for f in path.rglob("*") if f.is_file() and f.name != checkpoint.SEAL]
    return max(files, key=lambda f: f.stat().st_size)


def truncate(path):
    file = largest_file(path)
    file.write_bytes(file.read_bytes()[:-10])


def flip(path):
    file = largest_file(path)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def unseal(path):
    (path / checkpoint.SEAL).unlink()


def scribble(path):
    (path / checkpoint.SEAL).write_text("{")


def lose(path):
    largest_file(path).unlink()


def test_an_empty_folder_gives_none(tmp_path):
    assert restore(tmp_path) is None


def test_the_newest_is_restored_and_two_are_kept(folder):
    found = restore(folder)
    chex.assert_trees_all_equal(found, state(3))
    assert not (folder / "1").exists()
    assert (folder / "2").exists()


def test_restore_on_another_number_of_devices(folder):
    found = restore(folder, like(devices=8))
    assert len(found.params["w"].sharding.device_set) == 8
    np.testing.assert_array_equal(found.params["w"], state(3).params["w"])


@pytest.mark.parametrize("damage", [truncate, flip, unseal, scribble, lose])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(folder, damage, caplog):
    damage(folder / "3")
    with caplog.at_level(logging.WARNING, logger="absl"):
        found = restore(folder)
    chex.assert_trees_all_equal(found, state(2))
    assert f"{folder / '3'} is damaged" in caplog.text


def test_if_all_are_damaged_the_folder_is_named(folder):
    for step in ("2", "3"):
        flip(folder / step)
    with pytest.raises(ValueError, match=r"no checkpoint in .* is intact"):
        restore(folder)


def test_if_none_was_finished_the_training_begins_anew(folder):
    for step in ("2", "3"):
        unseal(folder / step)
    assert restore(folder) is None


def test_parts_can_be_left_out(folder):
    found = restore(folder, State(like().step, {"w": checkpoint.SKIP}))
    assert int(found.step) == 3
    assert found.params["w"] is checkpoint.SKIP


def test_an_interrupted_save_leaves_nothing_that_is_read(folder):
    half = folder / "4.orbax-checkpoint-tmp"
    half.mkdir()
    (half / "data").write_text("half")
    assert int(restore(folder).step) == 3


@pytest.mark.parametrize("cut", [True, False], ids=["truncated", "flipped"])
@pytest.mark.parametrize("seed", range(20))
def test_damage_at_any_place_is_found(folder, seed, cut):
    rng = np.random.default_rng([seed, cut])
    files = sorted(f for f in (folder / "3").rglob("*") if f.is_file() and f.stat().st_size)
    sizes = np.array([f.stat().st_size for f in files])
    file = files[rng.choice(len(files), p=sizes / sizes.sum())]
    data = bytearray(file.read_bytes())
    place = int(rng.integers(len(data)))
    if cut:
        del data[place:]
    else:
        data[place] ^= 1 << int(rng.integers(8))
    file.write_bytes(bytes(data))
    assert checkpoint.find_damage(folder / "3") is not None
    assert checkpoint.find_damage(folder / "2") is None


def is_pickle(data):
    try:
        return bool(list(pickletools.genops(data)))
    except Exception:  # whatever the reader of instructions makes of other bytes
        return False


def test_a_checkpoint_holds_no_pickle_and_loading_it_runs_nothing(folder, monkeypatch):
    for file in (f for f in folder.rglob("*") if f.is_file()):
        assert not is_pickle(file.read_bytes())
    assert is_pickle(pickle.dumps({"w": [1.0]}))

    def refuse(*args, **options):
        raise AssertionError("a pickle was loaded")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr("builtins.eval", refuse)
    monkeypatch.setattr("builtins.exec", refuse)
    assert int(restore(folder).step) == 3


def test_what_is_read_back_otherwise_is_not_sealed(tmp_path, monkeypatch):
    load = checkpoint.ocp.load_checkpointables

    def altered(path, like):
        found = load(path, like)
        found["state"].params["w"][7] += 1
        return found

    with checkpoint.opened(tmp_path) as checkpoints:
        checkpoints.save(1, state(1))
    monkeypatch.setattr(checkpoint.ocp, "load_checkpointables", altered)
    with (
        pytest.raises(
            OSError, match=r"2 could not be written \(.*'w'.* is read back with other values"
        ),
        checkpoint.opened(tmp_path) as checkpoints,
    ):
        checkpoints.save(2, state(2))
    assert not (tmp_path / "2" / checkpoint.SEAL).exists()
    monkeypatch.undo()
    chex.assert_trees_all_equal(restore(tmp_path), state(1))


def test_files_that_are_damaged_while_they_are_written_are_not_sealed(tmp_path):
    command = [
        sys.executable,
        str(Path(__file__).with_name("damaged_save.py")),
        str(tmp_path / "a"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 3, done.stderr
    assert "2 could not be written" in done.stdout
    assert checkpoint.find_damage(tmp_path / "a" / "1") is None
    assert checkpoint.find_damage(tmp_path / "a" / "2") == checkpoint.UNFINISHED


def test_files_that_cannot_be_read_back_are_not_sealed(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_plain_name", contextlib.nullcontext)
    with (
        pytest.raises(OSError, match="could not be written"),
        checkpoint.opened(tmp_path / "w=[64]") as checkpoints,
    ):
        checkpoints.save(1, state(1))
    assert not (tmp_path / "w=[64]" / "1" / checkpoint.SEAL).exists()


VANISHING = """
import os, sys
from pathlib import Path
import jax.numpy as jnp
from sbmae_jax.training import checkpoint

folder = Path(sys.argv[1])
try:
    with checkpoint.opened(folder / "fit") as checkpoints:
        checkpoints.save(1, {"w": jnp.zeros(3)})
        checkpoints.finish()
        os.rename(folder / "fit", folder / "away")
        (folder / "fit").write_text("in the way")
        checkpoints.save(2, {"w": jnp.zeros(3)})
except OSError as error:
    print("could not be written" in str(error))
"""


def test_python_ends_at_once_after_a_save_that_failed(tmp_path):
    command = [sys.executable, "-c", VANISHING, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "True\n")


def test_a_temporary_folder_may_have_any_name(tmp_path, monkeypatch):
    odd = tmp_path / "tmp [1]"
    odd.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    with checkpoint.opened(tmp_path / "w=[64]") as checkpoints:
        checkpoints.save(1, state(1))
    assert checkpoint.find_damage(tmp_path / "w=[64]" / "1") is None
    chex.assert_trees_all_equal(restore(tmp_path / "w=[64]"), state(1))


def test_where_no_folder_has_a_plain_name_the_fix_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_is_plain", lambda path: False)
    with (
        pytest.raises(OSError, match="or set TMPDIR to a folder whose name has none"),
        checkpoint.opened(tmp_path / "w=[64]"),
    ):
        pass


def test_what_is_saved_may_change_at_once(tmp_path):
    kept = {"w": np.arange(5.0), "b": jnp.ones((2, 3), jnp.bfloat16), "n": jnp.asarray(True)}
    with checkpoint.opened(tmp_path) as checkpoints:
        checkpoints.save(1, kept)
        kept["b"].delete()
    assert checkpoint.find_damage(tmp_path / "1") is None


def test_parts_on_several_devices_are_read_back(tmp_path):
    mesh = sharding.make_mesh(8, num_state_shards=4)
    wide = {"w": np.arange(4.0 * sharding.MIN_SHARDED_SIZE, dtype=np.float32)}
    wide = jax.device_put(
        wide, jax.tree.map(lambda a: sharding.state_sharding(mesh, a.shape), wide)
    )
    assert len(checkpoint._Saved.copy_of(wide["w"]).shards) == 4
    with checkpoint.opened(tmp_path) as checkpoints:
        checkpoints.save(1, wide)
    assert checkpoint.find_damage(tmp_path / "1") is None


def test_a_sealed_checkpoint_of_something_else_is_named(folder):
    wanted = sharding.abstract_state(sharding.make_mesh(1), {"other": jnp.zeros(3)})
    with pytest.raises(
        ValueError, match=r"3 cannot be restored .*: delete .* to train the stage again"
    ):
        restore(folder, wanted)
