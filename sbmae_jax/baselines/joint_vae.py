"""Variational autoencoders with one code for all modalities; how it is inferred stands in `joint_rules`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sbmae_jax.baselines.joint_rules import (
    RULES,
    Experts,
    JointPosterior,
    alone,
    draw_product,
    join,
    pick,
)
from sbmae_jax.models import gaussian
from sbmae_jax.models.autoencoder import Modality, as_float
from sbmae_jax.models.likelihoods import OBSERVATIONS, reconstruction_error
from sbmae_jax.models.task import Params, Task
from sbmae_jax.types import Array, Key


class JointVAE(NamedTuple):
    """A model of all modalities with one code.

    task: on batches {name: [B, *shape]} and, where rows lack modalities, `present` [B, M] bool.
    complete: (params, key, batch, observed [B, M] bool) -> all modalities, as `Model.complete`.
    reconstruct: (params, batch) -> all modalities, from the mean code of all, or of each alone in mixtures.
    """

    task: Task
    complete: Callable[[Params, Key, Mapping[str, Array], Array], dict[str, Array]]
    reconstruct: Callable[[Params, Mapping[str, Array]], dict[str, Array]]


def joint_vae(
    posterior: JointPosterior,
    modalities: Sequence[Modality],
    encoders: Sequence[Any],
    decoders: Sequence[Any],
) -> JointVAE:
    """Bind the networks of all modalities, in their order, to the objective of a rule.

    encoders: Flax modules, x [B, *shape] -> [B, 2 (shared_size + private_size)], mean and log-variance.
    decoders: codes [B, shared_size + private_size] -> [B, *shape].
    """
    rule, size = RULES[posterior.rule], posterior.shared_size + posterior.private_size
    names = [modality.name for modality in modalities]
    likelihoods = [modality.likelihood for modality in modalities]
    observations = [OBSERVATIONS[likelihood] for likelihood in likelihoods]

    def init(key, batch):
        networks = zip(names, encoders, decoders, strict=True)
        params: dict[str, Any] = {"encoders": {}, "decoders": {}, "log_var": {}}
        for m, (name, encoder, decoder) in enumerate(networks):
            encoder_key, decoder_key = jax.random.split(jax.random.fold_in(key, m))
            params["encoders"][name] = encoder.init(encoder_key, as_float(batch[name][:1]))
            params["decoders"][name] = decoder.init(decoder_key, jnp.zeros((1, size)))
            if observations[m].has_variance:
                params["log_var"][name] = jnp.zeros((1,) * len(modalities[m].shape))
        if posterior.private_size:
            params["elsewhere_log_var"] = jnp.zeros((len(names), 1, posterior.private_size))
        return params

    def encode(params, batch, present):
        inputs = [o.features(as_float(batch[n])) for n, o in zip(names, observations, strict=True)]
        said = [
            encoder.apply(params["encoders"][name], x)
            for name, encoder, x in zip(names, encoders, inputs, strict=True)
        ]
        # What is not there says nothing, not even that it is not a number.
        said = jnp.where(present.T[..., None], jnp.stack(said), 0)
        mean, log_var = jnp.split(said, 2, axis=-1)
        cut = [posterior.shared_size]
        (mean, own_mean), (log_var, own_log_var) = (
            jnp.split(a, cut, axis=-1) for a in (mean, log_var)
        )
        return Experts(mean, log_var, own_mean, own_log_var)

    def outputs(params, codes):
        return [
            decoder.apply(params["decoders"][name], code)
            for name, decoder, code in zip(names, decoders, codes, strict=True)
        ]

    def decoded(params, codes):
        made = zip(names, observations, outputs(params, codes), strict=True)
        return {name: observation.mean(output) for name, observation, output in made}

    def loss(params, key, batch):
        num_rows = len(batch[names[0]])
        present = batch.get("present", jnp.ones((num_rows, len(names)), bool))
        experts = encode(params, batch, present)
        total = reconstruction = kl = jnp.zeros(num_rows)
        elsewhere = params.get("elsewhere_log_var", 0.0)
        for term in rule.objective(key, experts, present, posterior, elsewhere):
            errors = [
                reconstruction_error(how, as_float(batch[name]), y, params["log_var"].get(name))
                for how, name, y in zip(
                    likelihoods, names, outputs(params, term.codes), strict=True
                )
            ]
            error = jnp.sum(term.weights * jnp.stack(errors, axis=1), axis=1)
            reconstruction, kl = reconstruction + error, kl + term.kl
            total = total + error + posterior.beta * term.kl
        return total, {"reconstruction": reconstruction, "kl": kl}

    def complete(params, key, batch, observed):
        pick_key, shared_key, own_key = jax.random.split(key, 3)
        experts = encode(params, batch, observed)
        members = pick(pick_key, observed) if rule.mixture else observed
        z = draw_product(shared_key, experts, members, rule.prior)
        # Of what is not observed, mean and log-variance are 0 here: the prior.
        own = gaussian.sample(own_key, experts.own_mean, experts.own_log_var)
        return decoded(params, join(z, own))

    def reconstruct(params, batch):
        everything = jnp.ones((len(batch[names[0]]), len(names)), bool)
        experts = encode(params, batch, everything)
        members = alone(everything) if rule.mixture else everything
        z, _ = gaussian.product(experts.mean, experts.log_var, members, rule.prior)
        return decoded(params, join(z, experts.own_mean))

    return JointVAE(Task(init, loss), complete, reconstruct)
