"""The judge that coherence needs: one classifier for the pictures of all modalities.

Its last hidden layer gives the features of the Fréchet distance where no Inception weights are at
hand; a distance on them is never called FID.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from sbmae_jax.models.autoencoder import as_float
from sbmae_jax.models.task import Params, Task
from sbmae_jax.types import Array


class Classifier(NamedTuple):
    """task: trains on {"x": [B, *shape], "label": [B]}.

    apply: (params, x [B, *shape]) -> (logits [B, C], features [B, F]), without dropout.
    """

    task: Task
    apply: Callable[[Params, Array], tuple[Array, Array]]


def classifier(network: Any, label_smoothing: float = 0.1) -> Classifier:
    """Bind a network to the cross-entropy with smoothed labels.

    network: a Flax module, (x, train) -> (logits, features), with a "dropout" stream when training.
    """

    def init(key, batch):
        return network.init(key, as_float(batch["x"][:1]), False)

    def loss(params, key, batch):
        logits, _ = network.apply(params, as_float(batch["x"]), True, rngs={"dropout": key})
        one_hot = jax.nn.one_hot(batch["label"], logits.shape[-1])
        error = optax.softmax_cross_entropy(logits, optax.smooth_labels(one_hot, label_smoothing))
        return error, {"accuracy": (logits.argmax(axis=-1) == batch["label"]).astype(error.dtype)}

    def apply(params, x):
        return network.apply(params, as_float(x), False)

    return Classifier(Task(init, loss), apply)
