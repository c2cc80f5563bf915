"""Supervised prediction of one modality from another: the yardstick for a score model.

The encoder of the source modality feeds the decoder of the target modality, and both are trained on pairs.
The predictor's accuracy on real examples bounds how well the target can be generated from the source. Applied
to generated examples, the predictor reads what they show. Its code gives features in which pictures can be
compared.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from sbmae_jax.models.autoencoder import Modality, as_float
from sbmae_jax.models.likelihoods import LIKELIHOODS, negative_log_likelihood
from sbmae_jax.models.task import Params, Task
from sbmae_jax.types import Array


@dataclass(frozen=True)
class Predictor:
    """A trainable map from one modality to another: networks, bound to the likelihood of the target.

    Attributes:
        target: The modality that is predicted, of a likelihood without a learned variance.
        encoder: A Flax module, of the source, `x [B, *shape] -> [B, F]`.
        decoder: A Flax module, `[B, F] -> [B, *target.shape]`.

    Example:
        >>> import flax.linen as nn
        >>> word = Modality("word", (3,), "bernoulli", "", latent_size=2, weight=1.0)
        >>> reader = Predictor(word, nn.Dense(4), nn.Dense(3))
        >>> batch = {"x": jnp.zeros((5, 2)), "y": jnp.zeros((5, 3))}
        >>> params = reader.task.init(jax.random.key(0), batch)
        >>> reader.apply(params, batch["x"])[0].shape
        (5, 3)
    """

    target: Modality
    encoder: Any
    decoder: Any

    @property
    def task(self) -> Task:
        """Its training, on batches `{"x": [B, *shape], "y": [B, *target.shape]}`, x of the source."""
        return Task(self._init, self._loss)

    def apply(self, params: Params, x: Array) -> tuple[Array, Array]:
        """Predict the target.

        Args:
            params: The parameters.
            x: Examples of the source, `[B, *shape]`.

        Returns:
            The mean of p(y|x), `[B, *target.shape]` in [0, 1], and the features `[B, F]`.
        """
        output, code = self._outputs(params, x)
        return LIKELIHOODS[self.target.likelihood].mean(output), code

    def _init(self, key, batch):
        encoder_key, decoder_key = jax.random.split(key)
        x = as_float(batch["x"][:1])
        encoder_params = self.encoder.init(encoder_key, x)
        code = jax.eval_shape(self.encoder.apply, encoder_params, x)
        return {
            "encoder": encoder_params,
            "decoder": self.decoder.init(decoder_key, jnp.zeros(code.shape)),
        }

    def _outputs(self, params, x):
        code = self.encoder.apply(params["encoder"], as_float(x))
        return self.decoder.apply(params["decoder"], code), code

    def _loss(self, params, key, batch):
        del key
        output, _ = self._outputs(params, batch["x"])
        return negative_log_likelihood(self.target.likelihood, as_float(batch["y"]), output), {}
