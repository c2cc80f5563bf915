r"""Joint variational autoencoders: how experts are aggregated, and what each model minimises.

These models have one code z for all modalities. Each modality has an encoder, its expert
q_m(z) = N(mu_m, diag exp(logvar_m)), and a decoder p(x_m|z). They differ in the rule that aggregates the
experts into q(z|x), and in the objective. With R_m = -ln p(x_m|z), the product q_S of the experts of a subset
S, the prior p = N(0, I), and beta as the weight of the KL terms, they minimise

    mvae        ELBO({1..M}) + sum_m ELBO({m}) + ELBO(a random S), where the prior is one more expert and
                ELBO(S) = E_{p q_S} sum_{m in S} R_m + beta KL(p q_S || p)                            (1)
    mmvae       q = 1/M sum_m q_m;            E_q { sum_m R_m + beta [ln q(z|x) - ln p(z)] }           (2)
    mopoe       q = 1/(2^M - 1) sum_S q_S;    E_q sum_m R_m + beta/(2^M - 1) sum_S KL(q_S || p)       (3)
    mvtcae      q = q_{1..M};                 (M - a)/M E_q sum_m R_m
                                              + beta [(1 - a) KL(q || p) + a/M sum_m KL(q || q_m)]    (4)
    mmvae_plus  as mmvae, but each modality also has a private code w_m. If z is drawn from expert m, then
                w_m ~ q_m(w), and all others w_n ~ N(0, s_n^2) with learned s_n, the auxiliary priors;
                1/M sum_m E { sum_n R_n + beta [ln q(z|x) - ln p(z) + KL(q_m(w) || p)] }              (5)

By convexity the KL of a mixture is at most the mean KL of its components. mopoe uses this mean, as its
authors do; mmvae and mmvae_plus use the log-density of the mixture at the code. A mean over experts or
subsets within an expectation is estimated by one of them for each row, drawn uniformly: the expectation is
the same, and there are fewer codes to decode. With `stratified`, mmvae and mmvae_plus decode one code from
each expert for each row, as their authors do: less noise, at M times the cost of decoding.

Completion. Given the observed subset O, mvae, mopoe and mvtcae draw z from the product of the experts of O.
The mixtures draw it from one expert of O, chosen at random for each row. Without observations z is drawn
from the prior. In mmvae_plus the private codes of unobserved modalities are drawn from N(0, I).

Rows that lack modalities: absent experts have no precision, absent modalities are not reconstructed, and
means run over the present ones.

Sources: Wu and Goodman 2018 (arXiv:1802.05335); Shi et al. 2019 (arXiv:1911.03393), here with Gaussians and
one sample; Sutter et al. 2021 (arXiv:2105.02470), without the empty set; Hwang et al. 2021 (NeurIPS);
Palumbo et al. 2023 (ICLR), here with Gaussians and K = 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax._check import require_int, require_number, require_one_of, require_type
from sbmae_jax.models import gaussian
from sbmae_jax.types import Array, Key


@dataclass(frozen=True)
class JointPosterior:
    """An aggregation rule and its settings; the head of this file defines the rules.

    Attributes:
        rule: A name in `RULES`.
        shared_size: Length of z, at least 1.
        private_size: Length of each private code w_m: above 0 for "mmvae_plus", 0 for the others.
        beta: Weight of the KL terms, at least 0.
        alpha: The weight a of (4), in 0..1; only "mvtcae" uses it.
        num_subsets: For "mopoe", the number of subsets that are drawn for a batch, without replacement; 0
            takes all 2^M - 1.
        stratified: For "mmvae" and "mmvae_plus", decode a code from each expert for each row.

    Raises:
        ValueError: For an unknown rule, for a value that is out of range or of the wrong type, and for a
            setting that the rule does not have.

    Example:
        >>> JointPosterior("mmvae_plus", shared_size=8, private_size=8, beta=2.5).rule
        'mmvae_plus'
    """

    rule: str
    shared_size: int
    private_size: int = 0
    beta: float = 1.0
    alpha: float = 0.9
    num_subsets: int = 0
    stratified: bool = False

    def __post_init__(self):
        require_one_of("rule", self.rule, tuple(RULES))
        require_int("shared_size", self.shared_size, 1)
        require_int("private_size", self.private_size)
        require_number("beta", self.beta, low=0)
        require_number("alpha", self.alpha, low=0, high=1)
        require_int("num_subsets", self.num_subsets)
        require_type("stratified", self.stratified, bool)
        if self.stratified and self.rule not in ("mmvae", "mmvae_plus"):
            raise ValueError(
                f"stratified needs rule 'mmvae' or 'mmvae_plus', got rule {self.rule!r}"
            )
        if (self.private_size > 0) != (self.rule == "mmvae_plus"):
            raise ValueError(
                "private_size must be above 0 for rule 'mmvae_plus', and 0 for the others, got "
                f"{self.private_size} for {self.rule!r}"
            )


class Experts(NamedTuple):
    """The Gaussians that the encoders of M modalities return for B rows.

    Attributes:
        mean: Means of z, `[M, B, d]`.
        log_var: Log-variances of z, `[M, B, d]`.
        private_mean: Means of w_m, `[M, B, p]`; p is 0 without private codes.
        private_log_var: Log-variances of w_m, `[M, B, p]`.
    """

    mean: Array
    log_var: Array
    private_mean: Array
    private_log_var: Array


class Term(NamedTuple):
    """One term of an objective: sum_m weights_m R_m(codes_m) + beta kl.

    Attributes:
        codes: What each modality is decoded from, `[M, B, d + p]`.
        weights: The weight of each R_m, `[B, M]`.
        kl: Divergence of the code from the prior, `[B]`.
    """

    codes: Array
    weights: Array
    kl: Array


class Rule(NamedTuple):
    """How experts are aggregated.

    Attributes:
        objective: `(key, experts, present [B, M], posterior, auxiliary_log_var) -> terms`, whose sum is
            minimised. The last argument is ln s_n^2 of (5), `[M, 1, p]`, or 0 for other rules.
        prior: Whether N(0, I) is a factor of products of experts.
        mixture: Whether completion draws from a single expert.
    """

    objective: Callable[[Key, Experts, Array, JointPosterior, Any], list[Term]]
    prior: bool
    mixture: bool


def join_codes(z: Array, private: Array) -> Array:
    """Concatenate shared and private codes.

    Args:
        z: Shared code, `[B, d]` for all modalities or `[M, B, d]`.
        private: Private codes `[M, B, p]`.

    Returns:
        `[M, B, d + p]`.
    """
    shared = jnp.broadcast_to(z, (*private.shape[:-1], z.shape[-1]))
    return jnp.concatenate([shared, private], axis=-1)


def pick_one(key: Key, members: Array) -> Array:
    """Draw one member of each row's subset uniformly, `[B, M]` bool each; an empty subset stays empty."""
    draws = jnp.where(members, jax.random.uniform(key, members.shape), -1)
    return members & (draws == jnp.max(draws, axis=-1, keepdims=True))


def singletons(present: Array) -> Array:
    """Return the subset of each modality alone `[M, B, M]`, empty where it is absent in `[B, M]` bool."""
    num = present.shape[-1]
    return jnp.eye(num, dtype=bool)[:, None] & present[None]


def draw_product(key: Key, experts: Experts, members: Array, prior: bool) -> Array:
    """Draw z from the product of the members' experts.

    Args:
        key: A typed key.
        experts: The experts of all modalities.
        members: `[..., B, M]` bool, the experts to multiply.
        prior: Whether N(0, I) is one more factor.

    Returns:
        `[..., B, d]`.
    """
    return gaussian.sample(key, *gaussian.product(experts.mean, experts.log_var, members, prior))


def draw_subsets(key: Key, present: Array) -> Array:
    """Draw subsets of 2 to M - 1 modalities, sizes uniform, less what is absent in `[B, M]` bool."""
    size_key, rank_key = jax.random.split(key)
    size = jax.random.randint(size_key, (len(present), 1), 2, present.shape[1])
    rank = jnp.argsort(jnp.argsort(jax.random.uniform(rank_key, present.shape), axis=-1), axis=-1)
    return present & (rank < size)


def subsets(num: int) -> np.ndarray:
    """Return all subsets of `num` modalities but the empty one: `[2^num - 1, num]` bool."""
    numbers = np.arange(1, 2**num)
    return (numbers[:, None] >> np.arange(num)[None]) % 2 == 1


def _strata(key: Key, present: Array, stratified: bool) -> list[tuple[Array, Array]]:
    """Return subsets of one expert each [B, M], with the weight of each in the objective [B]."""
    if not stratified:
        return [(pick_one(key, present), jnp.ones(len(present)))]
    num = jnp.sum(present, axis=1)
    return [(expert, jnp.any(expert, axis=1) / num) for expert in singletons(present)]


def _mean_over(values: Array, valid: Array) -> Array:
    """Return the mean over the first axis of [S, B], where `valid` holds."""
    return jnp.sum(jnp.where(valid, values, 0), axis=0) / jnp.maximum(jnp.sum(valid, axis=0), 1)


def _log_mixture(z: Array, experts: Experts, present: Array) -> Array:
    """Return the log-density of z [B, d] under the mixture of the experts in present [B, M]: [B]."""
    each = jax.vmap(gaussian.log_prob, in_axes=(None, 0, 0))(z, experts.mean, experts.log_var)
    each = jnp.where(present.T, each, -jnp.inf)
    return jax.nn.logsumexp(each, axis=0) - jnp.log(jnp.sum(present, axis=1))


def mvae(key, experts, present, posterior, auxiliary_log_var) -> list[Term]:
    """Return the terms of (1)."""
    del posterior, auxiliary_log_var
    all_key, subset_key, code_key, singleton_key = jax.random.split(key, 4)

    def kl(members):
        product = gaussian.product(experts.mean, experts.log_var, members, True)
        return gaussian.kl_to_standard(*product)

    def elbo(term_key, members):
        z = draw_product(term_key, experts, members, True)
        return Term(join_codes(z, experts.private_mean), members.astype(z.dtype), kl(members))

    terms = [elbo(all_key, present)]
    if present.shape[1] > 2:
        terms.append(elbo(code_key, draw_subsets(subset_key, present)))
    each = singletons(present)
    z = draw_product(singleton_key, experts, each, True)
    codes = join_codes(z, experts.private_mean)
    # An absent modality leaves the prior alone, whose KL is 0.
    return [*terms, Term(codes, present.astype(z.dtype), jnp.sum(kl(each), axis=0))]


def mopoe(key, experts, present, posterior, auxiliary_log_var) -> list[Term]:
    """Return the term of (3)."""
    del auxiliary_log_var
    subsets_key, row_key, code_key = jax.random.split(key, 3)
    chosen = jnp.asarray(subsets(present.shape[1]))
    if 0 < posterior.num_subsets < len(chosen):
        chosen = jax.random.choice(subsets_key, chosen, (posterior.num_subsets,), replace=False)
    members = chosen[:, None] & present[None]
    products = gaussian.product(experts.mean, experts.log_var, members, False)
    valid = jnp.any(members, axis=-1)
    drawn = jnp.argmax(pick_one(row_key, valid.T), axis=-1)
    z = draw_product(code_key, experts, chosen[drawn] & present, False)
    kl = _mean_over(gaussian.kl_to_standard(*products), valid)
    return [Term(join_codes(z, experts.private_mean), present.astype(z.dtype), kl)]


def mvtcae(key, experts, present, posterior, auxiliary_log_var) -> list[Term]:
    """Return the term of (4)."""
    del auxiliary_log_var
    alpha, num = posterior.alpha, jnp.sum(present, axis=1)
    mean, log_var = gaussian.product(experts.mean, experts.log_var, present, False)
    z = gaussian.sample(key, mean, log_var)
    to_each = jax.vmap(gaussian.kl, in_axes=(None, None, 0, 0))(
        mean, log_var, experts.mean, experts.log_var
    )
    kl = (1 - alpha) * gaussian.kl_to_standard(mean, log_var)
    kl = kl + alpha * _mean_over(to_each, present.T)
    weights = present * ((num - alpha) / num)[:, None]
    return [Term(join_codes(z, experts.private_mean), weights, kl)]


def mixture(key, experts, present, posterior, auxiliary_log_var) -> list[Term]:
    """Return the terms of (5), and of (2) without private codes."""
    pick_key, code_key = jax.random.split(key)
    private_kl = gaussian.kl_to_standard(experts.private_mean, experts.private_log_var)
    terms = []
    for m, (expert, weight) in enumerate(_strata(pick_key, present, posterior.stratified)):
        shared_key, private_key = jax.random.split(jax.random.fold_in(code_key, m))
        z = draw_product(shared_key, experts, expert, False)
        chosen = expert.T[..., None]
        private = gaussian.sample(
            private_key,
            jnp.where(chosen, experts.private_mean, 0),
            jnp.where(chosen, experts.private_log_var, auxiliary_log_var),
        )
        zeros = jnp.zeros_like(z)
        kl = _log_mixture(z, experts, present) - gaussian.log_prob(z, zeros, zeros)
        kl = kl + jnp.sum(jnp.where(expert.T, private_kl, 0), axis=0)
        terms.append(Term(join_codes(z, private), weight[:, None] * present, weight * kl))
    return terms


RULES: dict[str, Rule] = {
    "mvae": Rule(mvae, prior=True, mixture=False),
    "mmvae": Rule(mixture, prior=False, mixture=True),
    "mopoe": Rule(mopoe, prior=False, mixture=False),
    "mvtcae": Rule(mvtcae, prior=False, mixture=False),
    "mmvae_plus": Rule(mixture, prior=False, mixture=True),
}
"""The aggregation rules by name."""
