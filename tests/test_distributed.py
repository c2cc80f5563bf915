"""How processes find each other, and how arrays are laid out over devices."""

import functools

import chex
import grain
import jax
import numpy as np
import pytest

from sbmae_jax.training import distributed, sharding
from sbmae_jax.training.batches import take_positions

TOLD = {
    "JAX_COORDINATOR_ADDRESS": "host:1", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"
}  # fmt: skip


def test_flags_and_environment_say_where_a_process_stands():
    assert distributed.find_settings({}, None, None, None) is None
    assert distributed.find_settings(TOLD, None, None, None) == ("host:1", 4, 3)
    assert distributed.find_settings(TOLD, "other:2", 2, 0) == ("other:2", 2, 0)


@pytest.mark.parametrize(
    ("address", "count", "index", "message"),
    [
        (None, 2, 0, "JAX_COORDINATOR_ADDRESS is missing"),
        ("host:1", None, 0, "JAX_NUM_PROCESSES is missing"),
        ("host:1", 2, None, "JAX_PROCESS_ID is missing"),
        ("host:1", 2, 2, r"must be in 0..1, got 2 of 2"),
        ("host:1", 2, -1, r"must be in 0..1, got -1 of 2"),
        ("host", 2, 0, "must be HOST:PORT, got 'host'"),
    ],
)
def test_settings_that_do_not_fit_are_named(address, count, index, message):
    with pytest.raises(ValueError, match=message):
        distributed.find_settings({}, address, count, index)


def test_an_environment_that_holds_no_number_is_named():
    with pytest.raises(ValueError, match="JAX_NUM_PROCESSES must be an integer, got 'four'"):
        distributed.find_settings(TOLD | {"JAX_NUM_PROCESSES": "four"}, None, None, None)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"SLURM_STEP_NUM_TASKS": "8"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
    ],
)
def test_launchers_that_count_their_processes_are_known(environ, expected):
    assert distributed.started_by_launcher(environ) == expected
    assert distributed.can_autodetect(environ | {"JAX_PLATFORMS": "cpu"}) == expected


def test_one_process_agrees_with_itself():
    assert distributed.is_first()
    assert distributed.is_alone()
    assert distributed.broadcast_from_first(7) == 7
    assert distributed.any_process(True)
    assert not distributed.any_process(False)
    distributed.barrier("here")


@pytest.mark.parametrize(
    ("shards", "expected"), [(1, (8, 1)), (2, (4, 2)), (4, (2, 4)), (6, (4, 2))]
)
def test_the_mesh_has_as_many_state_shards_as_the_devices_allow(shards, expected):
    assert tuple(sharding.make_mesh(num_state_shards=shards).shape.values()) == expected


def test_the_number_of_state_shards_is_checked():
    with pytest.raises(ValueError, match="num_state_shards must be at least 1, got 0"):
        sharding.make_mesh(num_state_shards=0)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((512, 256), ("state",)),
        ((3, 256, 512), (None, None, "state")),
        ((8, 8), ()),  # small
        ((255, 511), ()),  # nothing to divide
        ((), ()),
    ],
)
def test_large_arrays_of_the_state_are_split_along_their_largest_axis(shape, expected):
    mesh = sharding.make_mesh(num_state_shards=4)
    assert tuple(sharding.state_sharding(mesh, shape).spec) == expected
    assert tuple(sharding.state_sharding(sharding.make_mesh(), shape).spec) == ()


@functools.cache  # compiled once for all numbers of rows
def noisy(num_devices):
    def function(key, batch, row):
        return {"y": batch["x"] + jax.random.normal(key, batch["x"].shape), "row": row}

    mesh = sharding.make_mesh(num_devices)
    compiled = jax.jit(function, out_shardings=sharding.replicated(mesh))
    return sharding.batched(compiled, 12, mesh)


@pytest.mark.parametrize("num_rows", [1, 12, 20])
def test_batches_are_shared_out_whatever_the_number_of_rows(num_rows):
    row = np.arange(num_rows)
    x = np.stack([row, row / 2, row / 3], axis=1).astype(np.float32)
    shared, alone = (noisy(n)({"x": x}, row, key=jax.random.key(5)) for n in (8, 1))
    np.testing.assert_array_equal(shared["row"], row)
    chex.assert_trees_all_close(shared, alone, rtol=1e-6)  # the same draws, rounded otherwise


def test_batches_have_one_size_and_keys_of_their_own():
    sizes, seconds = [], []

    def double(key, batch):
        sizes.append(len(batch["x"]))
        return {"y": 2 * batch["x"], "draw": jax.random.uniform(key, (len(batch["x"]),))}

    call = sharding.batched(
        double, 8, read=lambda made: {"z": -made["y"], "draw": made["draw"]}, seconds=seconds
    )
    made = call({"x": np.arange(20)}, key=jax.random.key(1))
    np.testing.assert_array_equal(made["z"], -2 * np.arange(20))
    keys = [jax.random.fold_in(jax.random.key(1), i) for i in range(3)]
    expected = np.concatenate([jax.random.uniform(k, (8,)) for k in keys])[:20]
    np.testing.assert_array_equal(made["draw"], expected)
    assert sizes == [8, 8, 8]
    assert len(seconds) == 3


def test_devices_share_the_rows_of_a_batch():
    mesh, chunk = sharding.make_mesh(), np.arange(2 * 16 * 3).reshape(2, 16, 3)
    np.testing.assert_array_equal(sharding.local_rows(mesh, 16), np.arange(16))
    shared = sharding.put(chunk, sharding.sharded(mesh, axis=1))
    np.testing.assert_array_equal(shared, chunk)
    assert shared.addressable_shards[0].data.shape == (2, 2, 3)


@pytest.mark.parametrize("num_processes", [1, 2, 4])
def test_processes_read_disjoint_rows_of_the_same_batches(num_processes):
    rows = grain.MapDataset.range(37).seed(3).shuffle().repeat()
    places = np.arange(8).reshape(num_processes, -1)
    parts = [take_positions(rows, 8, mine).batch(len(mine)) for mine in places]
    for i in (0, 1, 9):
        joined = np.concatenate([part[i] for part in parts])
        np.testing.assert_array_equal(joined, [rows[8 * i + j] for j in range(8)])


def test_settings_in_the_environment_reach_jax(monkeypatch):
    seen = []
    monkeypatch.setattr(
        jax.distributed, "initialize", lambda *args, **options: seen.append((args, options))
    )
    for name, value in TOLD.items():
        monkeypatch.setenv(name, value)
    distributed.initialize(heartbeat_seconds=5)
    assert seen == [(("host:1", 4, 3), {"heartbeat_timeout_seconds": 5})]


def test_one_process_alone_joins_nothing(monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args, **options: 1 / 0)
    for name in (*TOLD, *distributed.LAUNCHER_COUNTS):
        monkeypatch.delenv(name, raising=False)
    distributed.initialize()
