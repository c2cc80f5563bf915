"""Supervised prediction of one modality from another: the yardstick for a score model.

The encoder of the source modality feeds the decoder of the target modality, and both are trained on pairs.
The predictor's accuracy on real examples bounds how well the target can be generated from the source. Applied
to generated examples, the predictor reads what they show. Its code gives features in which pictures can be
compared.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sbmae_jax.models.autoencoder import Modality, as_float
from sbmae_jax.models.likelihoods import LIKELIHOODS, negative_log_likelihood
from sbmae_jax.models.task import Params, Task
from sbmae_jax.types import Array


class Predictor(NamedTuple):
    """A trainable map from one modality to another.

    Attributes:
        task: Its training, on batches `{"x": [B, *shape], "y": [B, *target.shape]}`, x of the source.
        apply: `(params, x) -> (mean of p(y|x) [B, *target.shape] in [0, 1], features [B, F])`.
    """

    task: Task
    apply: Callable[[Params, Array], tuple[Array, Array]]


def predictor(target: Modality, encoder: Any, decoder: Any) -> Predictor:
    """Bind an encoder of the source and a decoder of the target to the likelihood of the target.

    Args:
        target: The modality that is predicted, of a likelihood without a learned variance.
        encoder: A Flax module, of the source, `x [B, *shape] -> [B, F]`.
        decoder: A Flax module, `[B, F] -> [B, *target.shape]`.
    """
    likelihood = LIKELIHOODS[target.likelihood]

    def init(key, batch):
        encoder_key, decoder_key = jax.random.split(key)
        x = as_float(batch["x"][:1])
        encoder_params = encoder.init(encoder_key, x)
        code = jax.eval_shape(encoder.apply, encoder_params, x)
        return {
            "encoder": encoder_params,
            "decoder": decoder.init(decoder_key, jnp.zeros(code.shape)),
        }

    def outputs(params, x):
        code = encoder.apply(params["encoder"], as_float(x))
        return decoder.apply(params["decoder"], code), code

    def loss(params, key, batch):
        del key
        output, _ = outputs(params, batch["x"])
        return negative_log_likelihood(target.likelihood, as_float(batch["y"]), output), {}

    def apply(params, x):
        output, code = outputs(params, x)
        return likelihood.mean(output), code

    return Predictor(Task(init, loss), apply)
