import grain
import jax
import numpy as np
import pytest

from sbmae_jax.data.source import ArraySource
from sbmae_jax.training import sharding
from sbmae_jax.training.batches import resident, streamed

ROWS = {"x": np.arange(20, dtype=np.uint8)[:, None], "label": np.arange(20)}
MESH = sharding.make_mesh(1)
MAKERS = {
    "resident": lambda: resident(jax.random.key(1), ROWS, 4, MESH),
    "streamed": lambda: streamed(1, ArraySource(ROWS), 4, MESH),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_chunk_depends_on_its_steps_alone(make):
    whole, again = make()(0, 4), make()
    parts = [again(0, 2), again(2, 2)]
    for name in ROWS:
        joined = np.concatenate([part[name] for part in parts])
        np.testing.assert_array_equal(whole[name], joined)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_modalities_of_a_row_stay_together(make):
    chunk = make()(3, 2)
    assert chunk["x"].shape == (2, 4, 1)
    np.testing.assert_array_equal(chunk["x"][..., 0], chunk["label"])


def test_a_stream_shows_each_row_once_in_an_epoch_in_changing_order():
    chunk = np.asarray(MAKERS["streamed"]()(0, 10)["label"])
    first, second = chunk[:5].ravel(), chunk[5:].ravel()
    assert sorted(first) == sorted(second) == list(range(20))
    assert (first != second).any()


@pytest.mark.parametrize("steps", [(0, 2, 4), (6, 2, 0), (3, 3), (5, 7, 1)])
def test_a_stream_may_be_asked_for_any_step(steps):
    batches = grain.MapDataset.source(ArraySource(ROWS)).seed(1).shuffle().repeat().batch(4)
    batch_fn = MAKERS["streamed"]()
    for step in steps:
        chunk = batch_fn(step, 2)
        for name in ROWS:
            direct = np.stack([batches[i][name] for i in (step, step + 1)])
            np.testing.assert_array_equal(chunk[name], direct)


def test_a_stream_that_failed_within_a_chunk_gives_that_chunk_again():
    class Unreliable(ArraySource):
        failures = iter([False] * 14 + [True])

        def __getitem__(self, index):
            if next(self.failures, False):
                raise OSError("the disk is gone")
            return super().__getitem__(index)

    batch_fn, wanted = streamed(1, Unreliable(ROWS), 4, MESH), MAKERS["streamed"]()(0, 6)["label"]
    with pytest.raises(OSError, match="the disk is gone"):
        batch_fn(0, 6)
    np.testing.assert_array_equal(batch_fn(0, 6)["label"], wanted)


def test_resident_rows_are_drawn_uniformly():
    batch_fn = MAKERS["resident"]()
    drawn = np.concatenate([np.ravel(batch_fn(step, 4)["label"]) for step in range(0, 2000, 4)])
    counts = np.bincount(drawn, minlength=20)
    expected = 8000 / 20
    assert np.sum((counts - expected) ** 2 / expected) < 50  # chi-square, 19 degrees: p = 1e-4


def test_resident_rows_are_drawn_by_their_weights():
    weights = np.repeat([0.0, 1.0, 30.0], [2, 16, 2])
    batch_fn = resident(jax.random.key(1), ROWS, 4, MESH, weights)
    counts = np.bincount(np.ravel(batch_fn(0, 2000)["label"]), minlength=20)
    expected = 8000 * weights / weights.sum()
    assert counts[:2].sum() == 0
    # chi-square, 17 degrees: p = 1e-4
    assert np.sum((counts[2:] - expected[2:]) ** 2 / expected[2:]) < 47


@pytest.mark.parametrize("make", [resident, streamed])
def test_a_batch_that_devices_cannot_share_is_refused(make):
    first, rows = (jax.random.key(0), ROWS) if make is resident else (0, ArraySource(ROWS))
    with pytest.raises(
        ValueError, match="batch_size must be a multiple of the number of devices, 8"
    ):
        make(first, rows, 12, sharding.make_mesh(8))
