"""Faults from outside: full disks, vanished data, jumping clocks. Nothing is lost."""

import os
import subprocess
import time

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from sbmae_jax.app import pipeline
from sbmae_jax.data.source import ArraySource
from sbmae_jax.models.task import Task
from sbmae_jax.training import sharding
from sbmae_jax.training.batches import resident, streamed
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.log import METRICS, Log
from sbmae_jax.training.loop import Stage, train
from sbmae_jax.training.workdir import locked

SIZE = 300_000  # parameters, so that a checkpoint is over 2 MB
ROWS = {"y": np.random.default_rng(0).normal(size=64).astype(np.float32)}
TRAINING = TrainingConfig(
    num_steps=20, batch_size=8, learning_rate=0.1, steps_per_call=2, checkpoint_every=4
)
MESH = sharding.make_mesh(1)


def loss(params, key, batch):
    return (jnp.mean(params["w"]) - batch["y"] - jax.random.normal(key, batch["y"].shape)) ** 2, {}


TASK = Task(lambda key, batch: {"w": jax.random.normal(key, (SIZE,))}, loss)


def make_batches():
    return resident(jax.random.key(1), ROWS, 8, MESH)


def fit(directory, batch_fn=None):
    log = Log(directory)
    try:
        stage = Stage(name="fit", task=TASK, training=TRAINING, directory=directory / "fit")
        return train(stage, batch_fn or make_batches(), jax.random.key(2), mesh=MESH, log=log)
    finally:
        log.close()


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The final state of a training that nothing disturbed."""
    return fit(tmp_path_factory.mktemp("straight"))


@pytest.fixture
def small_disk(tmp_path):
    """Mount a disk of 5 MB, and give the function that mounts it anew with other options."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a disk")
    mount = ["mount", "-o"]
    yield (
        folder,
        lambda options: subprocess.run([*mount, f"remount,{options}", str(folder)], check=True),
    )
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_costs_the_steps_since_the_last_checkpoint(small_disk, straight):
    disk, remount = small_disk
    with pytest.raises(OSError, match=r"checkpoint .* could not be written .*: free some space"):
        fit(disk)
    saved = {path.name for path in (disk / "fit").iterdir() if path.name.isdigit()}
    assert saved, "the first checkpoint fits"
    remount("size=100m")
    chex.assert_trees_all_equal(fit(disk), straight)


def test_a_disk_that_lets_nobody_write_is_named(small_disk):
    disk, remount = small_disk
    remount("ro")
    with pytest.raises(OSError, match=r"workdir .* cannot be written \(Read-only file system\)"):
        pipeline.run(tiny.config(), disk / "run")


def test_a_disk_that_stops_being_written_loses_nothing(small_disk, straight):
    disk, remount = small_disk
    remount("size=100m")
    batch_fn = make_batches()

    def closing(step, num_steps):
        if step == 10:
            subprocess.run(["sync"], check=True)
            os.rename(disk / "fit", disk / "away")
            (disk / "fit").write_text("in the way")
        return batch_fn(step, num_steps)

    with pytest.raises(OSError, match="could not be written"):
        fit(disk, closing)
    (disk / "fit").unlink()
    os.rename(disk / "away", disk / "fit")
    chex.assert_trees_all_equal(fit(disk), straight)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_log_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / METRICS).symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"cannot write the log in .* \(No space left on device\)"):
        fit(tmp_path)


def test_data_that_vanish_in_the_middle_of_an_epoch_are_named_and_can_come_back(tmp_path):
    class Unreliable(ArraySource):
        def __getitem__(self, index):
            if not (tmp_path / "data").exists():
                raise FileNotFoundError(f"{tmp_path / 'data'} is gone")
            return super().__getitem__(index)

    def vanishing():
        stream = streamed(3, Unreliable(ROWS), 8, MESH)

        def batch_fn(step, num_steps):
            if step == 10 and (tmp_path / "vanish").exists():
                (tmp_path / "data").unlink()
            return stream(step, num_steps)

        return batch_fn

    (tmp_path / "data").touch()
    straight = fit(tmp_path / "straight", vanishing())
    (tmp_path / "vanish").touch()
    with pytest.raises(FileNotFoundError, match="data is gone"):
        fit(tmp_path / "run", vanishing())
    (tmp_path / "vanish").unlink()
    (tmp_path / "data").touch()
    chex.assert_trees_all_equal(fit(tmp_path / "run", vanishing()), straight)


@pytest.mark.parametrize("seconds", [-86_400.0, 60.0])
def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch, straight, seconds):
    batch_fn = make_batches()
    offset, now, now_ns = [0.0], time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: now() + offset[0])
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + int(1e9 * offset[0]))

    def jumping(step, num_steps):
        if step in (6, 14):
            offset[0] += seconds
        if step == 10 and offset[0] == seconds:
            raise KeyboardInterrupt
        return batch_fn(step, num_steps)

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run", jumping)
    offset[0] *= 2
    chex.assert_trees_all_equal(fit(tmp_path / "run", jumping), straight)


def test_a_second_launch_is_refused_and_touches_nothing(tmp_path):
    tmp_path.joinpath("run").mkdir()
    with locked(tmp_path / "run"), pytest.raises(ValueError, match="is in use by another process"):
        pipeline.run(tiny.config(), tmp_path / "run")
    assert not list(tmp_path.joinpath("run").glob("autoencoder*"))
