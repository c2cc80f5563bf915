"""The classifier that measures coherence: one for the pictures of all modalities.

Where Inception weights are not available, its last hidden layer gives the features of the Fréchet distance.
Such a distance is never called FID.
"""

from dataclasses import dataclass
from typing import Any

import jax
import optax

from sbmae_jax.models.autoencoder import as_float
from sbmae_jax.models.task import Params, Task
from sbmae_jax.types import Array


@dataclass(frozen=True)
class Classifier:
    """A trainable classifier of pictures: a network, bound to the cross-entropy with smoothed labels.

    Attributes:
        network: A Flax module, `(x, train) -> (logits, features)`, with a "dropout" stream in training.
        label_smoothing: The probability that is spread evenly over all classes.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax.nets.conv import ConvClassifier
        >>> made = Classifier(ConvClassifier(num_classes=10))
        >>> batch = {"x": jnp.zeros((2, 28, 28, 3)), "label": jnp.zeros(2, int)}
        >>> params = jax.eval_shape(made.task.init, jax.random.key(0), batch)
        >>> jax.eval_shape(made.apply, params, batch["x"])[0].shape
        (2, 10)
    """

    network: Any
    label_smoothing: float = 0.1

    @property
    def task(self) -> Task:
        """Its training, on batches `{"x": [B, *shape], "label": [B]}`. The metric is `accuracy`."""
        return Task(self._init, self._loss)

    def apply(self, params: Params, x: Array) -> tuple[Array, Array]:
        """Return the logits `[B, C]` and the features `[B, F]` of pictures `[B, *shape]`, without dropout."""
        return self.network.apply(params, as_float(x), False)

    def _init(self, key, batch):
        return self.network.init(key, as_float(batch["x"][:1]), False)

    def _loss(self, params, key, batch):
        logits, _ = self.network.apply(params, as_float(batch["x"]), True, rngs={"dropout": key})
        one_hot = jax.nn.one_hot(batch["label"], logits.shape[-1])
        smoothed = optax.smooth_labels(one_hot, self.label_smoothing)
        error = optax.softmax_cross_entropy(logits, smoothed)
        return error, {"accuracy": (logits.argmax(axis=-1) == batch["label"]).astype(error.dtype)}
