"""The classifier that measures coherence: one for the pictures of all modalities.

Where Inception weights are not available, its last hidden layer gives the features of the Fréchet distance.
Such a distance is never called FID.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from sbmae_jax.models.autoencoder import as_float
from sbmae_jax.models.task import Params, Task
from sbmae_jax.types import Array


class Classifier(NamedTuple):
    """A trainable classifier of pictures.

    Attributes:
        task: Its training, on batches `{"x": [B, *shape], "label": [B]}`. The metric is `accuracy`.
        apply: `(params, x [B, *shape]) -> (logits [B, C], features [B, F])`, without dropout.
    """

    task: Task
    apply: Callable[[Params, Array], tuple[Array, Array]]


def classifier(network: Any, label_smoothing: float = 0.1) -> Classifier:
    """Bind a network to the cross-entropy with smoothed labels.

    Args:
        network: A Flax module, `(x, train) -> (logits, features)`, with a "dropout" stream in training.
        label_smoothing: The probability that is spread evenly over all classes.
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
