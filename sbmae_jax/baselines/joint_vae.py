"""Variational autoencoders with one code for all modalities; `joint_rules` defines how it is inferred."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sbmae_jax.baselines.joint_rules import (
    RULES,
    Experts,
    JointPosterior,
    draw_product,
    join_codes,
    pick_one,
    singletons,
)
from sbmae_jax.models import gaussian
from sbmae_jax.models.autoencoder import Modality, as_float
from sbmae_jax.models.likelihoods import LIKELIHOODS, negative_log_likelihood
from sbmae_jax.models.task import Params, Task
from sbmae_jax.types import Array, Key


class JointVAE(NamedTuple):
    """A model of all modalities with one code.

    Attributes:
        task: Its training, on batches `{name: [B, *shape]}` and, where rows lack modalities, `present`,
            `[B, M]` bool. The metrics are `reconstruction` and `kl`, the two terms of the loss before
            weighting.
        complete: `(params, key, batch, observed [B, M] bool) -> all modalities`, as `Model.complete`.
        reconstruct: `(params, batch) -> all modalities`, decoded from the mean code of all; for rules that
            are mixtures each from the mean code of its own expert.
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
    """Bind the networks of all modalities to the objective of an aggregation rule.

    Args:
        posterior: The rule, the sizes of the codes and the weight of the KL terms.
        modalities: What is modelled; their latent sizes, weights and networks are not used.
        encoders: Flax modules in the order of `modalities`, `x [B, *shape] ->
            [B, 2 (shared_size + private_size)]`, mean and log-variance.
        decoders: Flax modules in the order of `modalities`, `codes [B, shared_size + private_size] ->
            [B, *shape]`.

    Returns:
        The functions of the model; nothing is initialised yet.

    Example:
        >>> import flax.linen as nn
        >>> modalities = [Modality(name, (3,), "normal", "", 1, 1.0) for name in "ab"]
        >>> model = joint_vae(
        ...     JointPosterior("mopoe", shared_size=2), modalities, [nn.Dense(4)] * 2, [nn.Dense(3)] * 2
        ... )
        >>> batch = {name: jnp.zeros((5, 3)) for name in "ab"}
        >>> params = jax.eval_shape(model.task.init, jax.random.key(0), batch)
        >>> jax.eval_shape(model.reconstruct, params, batch)["a"].shape
        (5, 3)
    """
    rule, size = RULES[posterior.rule], posterior.shared_size + posterior.private_size
    names = [modality.name for modality in modalities]
    likelihoods = [LIKELIHOODS[modality.likelihood] for modality in modalities]

    def init(key, batch):
        networks = zip(names, encoders, decoders, strict=True)
        params: dict[str, Any] = {"encoders": {}, "decoders": {}, "log_var": {}}
        for m, (name, encoder, decoder) in enumerate(networks):
            encoder_key, decoder_key = jax.random.split(jax.random.fold_in(key, m))
            params["encoders"][name] = encoder.init(encoder_key, as_float(batch[name][:1]))
            params["decoders"][name] = decoder.init(decoder_key, jnp.zeros((1, size)))
            if likelihoods[m].has_variance:
                params["log_var"][name] = jnp.zeros((1,) * len(modalities[m].shape))
        if posterior.private_size:
            params["auxiliary_log_var"] = jnp.zeros((len(names), 1, posterior.private_size))
        return params

    def encode(params, batch, present):
        networks = zip(names, encoders, likelihoods, strict=True)
        outputs = jnp.stack([
            encoder.apply(params["encoders"][name], likelihood.features(as_float(batch[name])))
            for name, encoder, likelihood in networks
        ])  # fmt: skip
        # Absent experts are zeroed, so that their NaNs cannot propagate.
        outputs = jnp.where(present.T[..., None], outputs, 0)
        shared, private = jnp.split(
            jnp.stack(jnp.split(outputs, 2, axis=-1)), [posterior.shared_size], axis=-1
        )
        return Experts(*shared, *private)

    def decoder_outputs(params, codes):
        return [
            decoder.apply(params["decoders"][name], code)
            for name, decoder, code in zip(names, decoders, codes, strict=True)
        ]

    def decode(params, codes):
        outputs = zip(names, likelihoods, decoder_outputs(params, codes), strict=True)
        return {name: likelihood.mean(output) for name, likelihood, output in outputs}

    def reconstruction_errors(params, batch, codes):
        outputs = zip(modalities, decoder_outputs(params, codes), strict=True)
        return [
            negative_log_likelihood(
                m.likelihood, as_float(batch[m.name]), output, params["log_var"].get(m.name)
            )
            for m, output in outputs
        ]

    def loss(params, key, batch):
        num_rows = len(batch[names[0]])
        present = batch.get("present", jnp.ones((num_rows, len(names)), bool))
        experts = encode(params, batch, present)
        total = reconstruction = kl = jnp.zeros(num_rows)
        auxiliary_log_var = params.get("auxiliary_log_var", 0.0)
        for term in rule.objective(key, experts, present, posterior, auxiliary_log_var):
            errors = jnp.stack(reconstruction_errors(params, batch, term.codes), axis=1)
            error = jnp.sum(term.weights * errors, axis=1)
            reconstruction, kl = reconstruction + error, kl + term.kl
            total = total + error + posterior.beta * term.kl
        return total, {"reconstruction": reconstruction, "kl": kl}

    def complete(params, key, batch, observed):
        pick_key, shared_key, private_key = jax.random.split(key, 3)
        experts = encode(params, batch, observed)
        members = pick_one(pick_key, observed) if rule.mixture else observed
        z = draw_product(shared_key, experts, members, rule.prior)
        # Zeroed experts of unobserved modalities are the prior: mean 0 and log-variance 0.
        private = gaussian.sample(private_key, experts.private_mean, experts.private_log_var)
        return decode(params, join_codes(z, private))

    def reconstruct(params, batch):
        everything = jnp.ones((len(batch[names[0]]), len(names)), bool)
        experts = encode(params, batch, everything)
        members = singletons(everything) if rule.mixture else everything
        z, _ = gaussian.product(experts.mean, experts.log_var, members, rule.prior)
        return decode(params, join_codes(z, experts.private_mean))

    return JointVAE(Task(init, loss), complete, reconstruct)
