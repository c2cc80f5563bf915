"""What tests of opened tables and of records share."""

import numpy as np
import tensorflow_datasets as tfds

from sbmae_jax.data.prepared import Shard, publish, write_records


def one_sentence(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def rows_of(table, rows):
    return table.read(np.asarray(rows), table.names)


def write_tfds(target, shards, features, rows):
    """Write rows as a data set in TFDS's format, where `shards` are numbers of rows by split."""
    work, rows = target.with_name(target.name + "-work"), iter(rows)
    work.mkdir()
    features, written = tfds.features.FeaturesDict(features), {}
    for split, sizes in shards.items():
        written[split] = []
        for i, num in enumerate(sizes):
            encoded = (features.encode_example(next(rows)) for _ in range(num))
            write_records(work / f"{split}-{i}", map(features.serialize_example, encoded))
            written[split].append(Shard(work / f"{split}-{i}", num))
    publish(work, target, written, features, "rows")
