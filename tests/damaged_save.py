"""Save two checkpoints, the second on a disk that flips a bit: damaged_save.py FOLDER [ADDRESS PROCESS].

FOLDER may be the URL of a bucket. With an address, two processes save one array together, and only the second
one sees the damage: it is gone when the first one reads.
"""

import os
import sys
import time

import jax
import numpy as np

from sbmae_jax._io import as_path, files_below
from sbmae_jax.training import checkpoint, distributed


def flip_a_bit(path, process):
    """Damage the largest file that a process has written of a checkpoint."""
    files = [file for file in files_below(path) if f"process_{process}/" in str(file)]
    file = max(files, key=lambda file: len(file.read_bytes()))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def main(folder, address=None, process=0):
    checkpoint.MAX_WAIT = 10
    if address is not None:
        distributed.initialize(address, 2, int(process))
    values = np.random.default_rng(0).normal(size=(2 * jax.device_count(), 1000))
    mesh = jax.make_mesh((jax.device_count(),), ("rows",))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))
    state = {"w": jax.make_array_from_callback(values.shape, split, lambda i: values[i])}
    read_back = checkpoint._read_back

    def damaged(path, saved):
        flip_a_bit(path, process)
        try:
            read_back(path, saved)
        finally:
            if address is not None:
                flip_a_bit(path, process)

    def later(path, saved):
        time.sleep(5)
        read_back(path, saved)

    try:
        with checkpoint.opened(as_path(folder)) as checkpoints:
            checkpoints.save(1, state)
            checkpoints.finish()
            first_of_two = address is not None and int(process) == 0
            checkpoint._read_back = later if first_of_two else damaged
            checkpoints.save(2, state)
    except OSError as error:
        print(error, flush=True)
        os._exit(3)  # the other process may be gone


if __name__ == "__main__":
    main(*sys.argv[1:])
