"""A model as one compiled function in a file, which JAX alone can run.

The file holds StableHLO as `jax.export` writes it, with the parameters inside and a symbolic number of rows.
The function is `Model.complete` or `Model.draw` with the sampling of the model:

    (key data [2], {name: [B, *shape]}, observed [B, M] bool) -> {name: [B, *shape]}
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp

from sbmae_jax._check import require_type, short_repr
from sbmae_jax._extras import require_extra
from sbmae_jax._io import as_path, one_line, require_writable, write_atomically
from sbmae_jax.models.coders import FrozenAutoencoder

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def export_model(
    model: Any, path: str | Path, noise: bool = False, platforms: Sequence[str] | None = None
) -> None:
    """Write a model as a compiled function, see `Model.export`."""
    path = as_path(path)
    require_type("noise", noise, bool)
    if platforms is not None and (
        isinstance(platforms, str) or not platforms or not set(platforms) <= set(PLATFORMS)
    ):
        raise ValueError(
            f"platforms must be a list of {', '.join(PLATFORMS)}, got {short_repr(platforms)}"
        )
    for m, autoencoder in zip(model.modalities, model.autoencoders, strict=True):
        if isinstance(autoencoder, FrozenAutoencoder) and any(autoencoder.on_host):
            raise ValueError(
                f"the model cannot be exported, because the coder of {m.name} runs in Python: write it with "
                "jax.numpy, so that JAX can trace it"
            )
    require_extra("Model.export", "train", "flatbuffers")
    require_writable(path)

    def complete(key_data, batch, observed):
        key = jax.random.wrap_key_data(key_data, impl="threefry2x32")
        return (model.draw if noise else model.complete)(key, batch, observed)

    (rows,) = jax.export.symbolic_shape("rows")
    batch = {m.name: jax.ShapeDtypeStruct((rows, *m.shape), jnp.float32) for m in model.modalities}
    observed = jax.ShapeDtypeStruct((rows, len(model.modalities)), jnp.bool_)
    key_data = jax.ShapeDtypeStruct((2,), jnp.uint32)
    try:
        exported = jax.export.export(jax.jit(complete), platforms=platforms)(
            key_data, batch, observed
        )
    except (TypeError, jax.errors.InconclusiveDimensionOperation) as error:
        raise ValueError(
            f"the model cannot be exported for any number of rows ({one_line(error, 300)}): networks of your "
            "own must use x.shape[0] instead of len(x), and not compare it"
        ) from error
    content = bytes(exported.serialize())
    write_atomically(path, lambda file: file.write(content), lambda p: p.read_bytes() == content)
