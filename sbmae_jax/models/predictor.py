"""Supervised prediction of one modality from another: what a score model has to measure up to.

The encoder of the one modality is joined to the decoder of the other, and both are trained on pairs. What it
reaches on real examples is the bound for generating the one given the other; applied to generated
examples, it reads what they show. Its code gives features in which pictures can be compared.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sbmae_jax.models.autoencoder import Modality, as_float
from sbmae_jax.models.likelihoods import output_mean, reconstruction_error
from sbmae_jax.models.task import Params, Task
from sbmae_jax.types import Array


class Predictor(NamedTuple):
    """task: trains on {"x": [B, *source.shape], "y": [B, *target.shape]}.

    apply: (params, x) -> (the mean of p(y|x) [B, *target.shape] in [0, 1], features [B, F]).
    """

    task: Task
    apply: Callable[[Params, Array], tuple[Array, Array]]


def predictor(source: Modality, target: Modality, encoder: Any, decoder: Any) -> Predictor:
    """Bind an encoder of `source` and a decoder of `target` to the likelihood of the target.

    encoder: a Flax module, x [B, *source.shape] -> [B, F].  decoder: [B, F] -> [B, *target.shape].
    """

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
        return reconstruction_error(target.likelihood, as_float(batch["y"]), output), {}

    def apply(params, x):
        output, code = outputs(params, x)
        return output_mean(target.likelihood, output), code

    return Predictor(Task(init, loss), apply)
