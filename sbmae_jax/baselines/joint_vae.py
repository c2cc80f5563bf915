"""Variational autoencoders with one code for all modalities; `joint_rules` defines how it is inferred."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from sbmae_jax.baselines.joint_rules import (
    RULES,
    Experts,
    JointPosterior,
    Rule,
    draw_product,
    join_codes,
    pick_one,
    singletons,
)
from sbmae_jax.models import gaussian
from sbmae_jax.models.autoencoder import Modality, as_float
from sbmae_jax.models.likelihoods import LIKELIHOODS, Likelihood, negative_log_likelihood
from sbmae_jax.models.task import Params, Task
from sbmae_jax.types import Array, Key


@dataclass(frozen=True)
class JointVAE:
    """A model of all modalities with one code: networks, bound to the objective of an aggregation rule.

    Attributes:
        posterior: The rule, the sizes of the codes and the weight of the KL terms.
        modalities: What is modelled; their latent sizes, weights and networks are not used.
        encoders: Flax modules in the order of `modalities`, `x [B, *shape] ->
            [B, 2 (shared_size + private_size)]`, mean and log-variance.
        decoders: Flax modules in the order of `modalities`, `codes [B, shared_size + private_size] ->
            [B, *shape]`.

    Example:
        >>> import flax.linen as nn
        >>> modalities = tuple(Modality(name, (3,), "normal", "", 1, 1.0) for name in "ab")
        >>> posterior = JointPosterior("mopoe", shared_size=2)
        >>> model = JointVAE(posterior, modalities, (nn.Dense(4),) * 2, (nn.Dense(3),) * 2)
        >>> batch = {name: jnp.zeros((5, 3)) for name in "ab"}
        >>> params = jax.eval_shape(model.task.init, jax.random.key(0), batch)
        >>> jax.eval_shape(model.reconstruct, params, batch)["a"].shape
        (5, 3)
    """

    posterior: JointPosterior
    modalities: tuple[Modality, ...]
    encoders: tuple[Any, ...]
    decoders: tuple[Any, ...]

    @property
    def task(self) -> Task:
        """Its training, on batches `{name: [B, *shape]}`.

        Where rows lack modalities, batches also have `present`, `[B, M]` bool. The metrics are
        `reconstruction` and `kl`, the two terms of the loss before weighting.
        """
        return Task(self._init, self._loss)

    def complete(
        self, params: Params, key: Key, batch: Mapping[str, Array], observed: Array
    ) -> dict[str, Array]:
        """Generate all modalities given those that are `observed`, `[B, M]` bool, as `Model.complete`."""
        pick_key, shared_key, private_key = jax.random.split(key, 3)
        experts = self._encode(params, batch, observed)
        members = pick_one(pick_key, observed) if self._rule.mixture else observed
        z = draw_product(shared_key, experts, members, self._rule.prior)
        # Zeroed experts of unobserved modalities are the prior: mean 0 and log-variance 0.
        private = gaussian.sample(private_key, experts.private_mean, experts.private_log_var)
        return self._decode(params, join_codes(z, private))

    def reconstruct(self, params: Params, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Decode all modalities from the mean code of all.

        For rules that are mixtures each is decoded from the mean code of its own expert.
        """
        everything = jnp.ones((len(batch[self._names[0]]), len(self._names)), bool)
        experts = self._encode(params, batch, everything)
        members = singletons(everything) if self._rule.mixture else everything
        z, _ = gaussian.product(experts.mean, experts.log_var, members, self._rule.prior)
        return self._decode(params, join_codes(z, experts.private_mean))

    @property
    def _rule(self) -> Rule:
        return RULES[self.posterior.rule]

    @property
    def _names(self) -> list[str]:
        return [modality.name for modality in self.modalities]

    @property
    def _likelihoods(self) -> list[Likelihood]:
        return [LIKELIHOODS[modality.likelihood] for modality in self.modalities]

    def _init(self, key, batch):
        size = self.posterior.shared_size + self.posterior.private_size
        networks = zip(self.modalities, self.encoders, self.decoders, strict=True)
        params: dict[str, Any] = {"encoders": {}, "decoders": {}, "log_var": {}}
        for m, (modality, encoder, decoder) in enumerate(networks):
            name = modality.name
            encoder_key, decoder_key = jax.random.split(jax.random.fold_in(key, m))
            params["encoders"][name] = encoder.init(encoder_key, as_float(batch[name][:1]))
            params["decoders"][name] = decoder.init(decoder_key, jnp.zeros((1, size)))
            if self._likelihoods[m].has_variance:
                params["log_var"][name] = jnp.zeros((1,) * len(modality.shape))
        if self.posterior.private_size:
            shape = (len(self.modalities), 1, self.posterior.private_size)
            params["auxiliary_log_var"] = jnp.zeros(shape)
        return params

    def _encode(self, params, batch, present) -> Experts:
        networks = zip(self._names, self.encoders, self._likelihoods, strict=True)
        outputs = jnp.stack([
            encoder.apply(params["encoders"][name], likelihood.features(as_float(batch[name])))
            for name, encoder, likelihood in networks
        ])  # fmt: skip
        # Absent experts are zeroed, so that their NaNs cannot propagate.
        outputs = jnp.where(present.T[..., None], outputs, 0)
        shared, private = jnp.split(
            jnp.stack(jnp.split(outputs, 2, axis=-1)), [self.posterior.shared_size], axis=-1
        )
        return Experts(*shared, *private)

    def _decoder_outputs(self, params, codes):
        return [
            decoder.apply(params["decoders"][name], code)
            for name, decoder, code in zip(self._names, self.decoders, codes, strict=True)
        ]

    def _decode(self, params, codes):
        outputs = zip(
            self._names, self._likelihoods, self._decoder_outputs(params, codes), strict=True
        )
        return {name: likelihood.mean(output) for name, likelihood, output in outputs}

    def _reconstruction_errors(self, params, batch, codes):
        outputs = zip(self.modalities, self._decoder_outputs(params, codes), strict=True)
        return [
            negative_log_likelihood(
                m.likelihood, as_float(batch[m.name]), output, params["log_var"].get(m.name)
            )
            for m, output in outputs
        ]

    def _loss(self, params, key, batch):
        num_rows = len(batch[self._names[0]])
        present = batch.get("present", jnp.ones((num_rows, len(self._names)), bool))
        experts = self._encode(params, batch, present)
        total = reconstruction = kl = jnp.zeros(num_rows)
        auxiliary_log_var = params.get("auxiliary_log_var", 0.0)
        terms = self._rule.objective(key, experts, present, self.posterior, auxiliary_log_var)
        for term in terms:
            errors = jnp.stack(self._reconstruction_errors(params, batch, term.codes), axis=1)
            error = jnp.sum(term.weights * errors, axis=1)
            reconstruction, kl = reconstruction + error, kl + term.kl
            total = total + error + self.posterior.beta * term.kl
        return total, {"reconstruction": reconstruction, "kl": kl}
