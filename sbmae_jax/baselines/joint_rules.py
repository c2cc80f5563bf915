r"""Variational autoencoders with one code for all modalities: what this library is compared with.

Each modality has an expert q_m(z) = N(mu_m, diag exp(logvar_m)), an encoder, and a decoder p(x_m|z). The
models differ in how they join the experts into q(z|x), and in what they minimise. With R_m = -ln p(x_m|z),
the product q_S of the experts of a set S, the prior p = N(0, I), and beta on all that is paid for the code,

    mvae        ELBO({1..M}) + sum_m ELBO({m}) + ELBO(a random S), the prior being one more expert, where
                ELBO(S) = E_{p q_S} sum_{m in S} R_m + beta KL(p q_S || p)                            (1)
    mmvae       q = 1/M sum_m q_m;            E_q { sum_m R_m + beta [ln q(z|x) - ln p(z)] }           (2)
    mopoe       q = 1/(2^M - 1) sum_S q_S;    E_q sum_m R_m + beta/(2^M - 1) sum_S KL(q_S || p)       (3)
    mvtcae      q = q_{1..M};                 (M - a)/M E_q sum_m R_m
                                              + beta [(1 - a) KL(q || p) + a/M sum_m KL(q || q_m)]    (4)
    mmvae_plus  as mmvae, but each modality has a part w_m of its own, w_m ~ q_m(w) where z is of its
                expert, and w_n ~ N(0, s_n^2) elsewhere with learned s_n;
                1/M sum_m E { sum_n R_n + beta [ln q(z|x) - ln p(z) + KL(q_m(w) || p)] }              (5)

The KL of a mixture is at most the mean of those of its components, by convexity: mopoe pays the mean, as its
authors do, mmvae and mmvae_plus the density of the mixture at the code. The mean over experts or sets in an
expectation is one of them for each row, drawn uniformly: the same in expectation, and cheaper to decode. With
`stratified` mmvae and mmvae_plus decode a code of each expert for each row, as their authors do: less noise,
and M times the cost of decoding.

Completion. Given the observed set O, mvae, mopoe and mvtcae draw z from the product of the experts of O, and
the mixtures of single experts from one of O, drawn for each row; nothing observed leaves the prior. In
mmvae_plus the w_n of what is not observed is drawn from N(0, I).

Rows that lack modalities: an expert that is not there has no precision, what is not there is not
reconstructed, and means run over what is there.

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

from sbmae_jax._check import require_int, require_number, require_type
from sbmae_jax.models import gaussian
from sbmae_jax.types import Array, Key


@dataclass(frozen=True)
class JointPosterior:
    """How the experts are joined; see the head of this file.

    rule: one of `RULES`.
    shared_size, private_size: of z, and of each w_m; the latter for "mmvae_plus" alone.
    alpha: a of (4), in 0..1.
    num_subsets: for "mopoe", how many sets are drawn for a batch, without repetition; 0 takes all 2^M - 1.
    stratified: for "mmvae" and "mmvae_plus", decode from each expert for each row, rather than from one.

    Raises ValueError for an unknown rule, and for a value out of its range or of another type.
    """

    rule: str
    shared_size: int
    private_size: int = 0
    beta: float = 1.0
    alpha: float = 0.9
    num_subsets: int = 0
    stratified: bool = False

    def __post_init__(self):
        if self.rule not in RULES:
            raise ValueError(f"rule must be one of {', '.join(RULES)}, got {self.rule!r}")
        require_int("shared_size", self.shared_size, 1)
        require_int("private_size", self.private_size)
        require_number("beta", self.beta, low=0)
        require_number("alpha", self.alpha, low=0, high=1)
        require_int("num_subsets", self.num_subsets)
        require_type("stratified", self.stratified, bool)
        if self.stratified and self.rule not in ("mmvae", "mmvae_plus"):
            raise ValueError(
                f"stratified is for rules 'mmvae' and 'mmvae_plus', got it for {self.rule!r}"
            )
        if (self.private_size > 0) != (self.rule == "mmvae_plus"):
            raise ValueError(
                "private_size must be above 0 for rule 'mmvae_plus', and 0 for the others, got "
                f"{self.private_size} for {self.rule!r}"
            )


class Experts(NamedTuple):
    """mean, log_var: of z, [M, B, d].  own_mean, own_log_var: of w_m, [M, B, p]."""

    mean: Array
    log_var: Array
    own_mean: Array
    own_log_var: Array


class Term(NamedTuple):
    """Part of an objective.

    codes: to decode, [M, B, d + p].  weights: of R_m, [B, M].  kl: divergence of the code from the
    prior, [B].
    """

    codes: Array
    weights: Array
    kl: Array


class Rule(NamedTuple):
    """How experts are joined.

    objective: (key, experts, present [B, M], posterior, elsewhere) -> terms, whose sum is minimised;
        elsewhere are ln s_n^2 of (5), [M, 1, p], or 0 for other rules.
    prior: whether N(0, I) is a factor of products.  mixture: whether completion takes one expert.
    """

    objective: Callable[[Key, Experts, Array, JointPosterior, Any], list[Term]]
    prior: bool
    mixture: bool


def join(z: Array, own: Array) -> Array:
    """Return codes [M, B, d + p] of one z for all [B, d], or of one for each [M, B, d], and w [M, B, p]."""
    return jnp.concatenate([jnp.broadcast_to(z, (*own.shape[:-1], z.shape[-1])), own], axis=-1)


def pick(key: Key, members: Array) -> Array:
    """Draw one of the members of each row uniformly: [B, M] bool -> [B, M] bool; none where there is none."""
    draws = jnp.where(members, jax.random.uniform(key, members.shape), -1)
    return members & (draws == jnp.max(draws, axis=-1, keepdims=True))


def alone(present: Array) -> Array:
    """Return the set of each modality alone, [M, B, M] bool, empty where it is not in present [B, M]."""
    num = present.shape[-1]
    return jnp.eye(num, dtype=bool)[:, None] & present[None]


def draw_product(key: Key, experts: Experts, members: Array, prior: bool) -> Array:
    """Draw from the product of the members' experts: [..., B, M] bool -> [..., B, d]."""
    return gaussian.sample(key, *gaussian.product(experts.mean, experts.log_var, members, prior))


def strata(key: Key, present: Array, stratified: bool) -> list[tuple[Array, Array]]:
    """Return sets of one expert each [B, M], and the share of each in the objective [B].

    They are one set, drawn from present [B, M], or that of each modality.
    """
    if not stratified:
        return [(pick(key, present), jnp.ones(len(present)))]
    num = jnp.sum(present, axis=1)
    return [(one, jnp.any(one, axis=1) / num) for one in alone(present)]


def mean_over(values: Array, valid: Array) -> Array:
    """Return the mean over the first axis of [S, B], where `valid` holds."""
    return jnp.sum(jnp.where(valid, values, 0), axis=0) / jnp.maximum(jnp.sum(valid, axis=0), 1)


def draw_members(key: Key, present: Array) -> Array:
    """Draw sets of 2 to M - 1 modalities, each size as likely, without what is not in present [B, M]."""
    size_key, rank_key = jax.random.split(key)
    size = jax.random.randint(size_key, (len(present), 1), 2, present.shape[1])
    rank = jnp.argsort(jnp.argsort(jax.random.uniform(rank_key, present.shape), axis=-1), axis=-1)
    return present & (rank < size)


def mvae(key, experts, present, posterior, elsewhere) -> list[Term]:
    """Return the terms of (1)."""
    del posterior, elsewhere
    everything_key, some_key, alone_key = jax.random.split(key, 3)

    def kl(members):
        return gaussian.kl_to_standard(
            *gaussian.product(experts.mean, experts.log_var, members, True)
        )

    def elbo(term_key, members):
        z = draw_product(term_key, experts, members, True)
        return Term(join(z, experts.own_mean), members.astype(z.dtype), kl(members))

    terms = [elbo(everything_key, present)]
    if present.shape[1] > 2:
        members_key, code_key = jax.random.split(some_key)
        terms.append(elbo(code_key, draw_members(members_key, present)))
    z = draw_product(alone_key, experts, alone(present), True)
    # The product of nothing is the prior, which costs nothing.
    kl_paid = jnp.sum(kl(alone(present)), axis=0)
    return [*terms, Term(join(z, experts.own_mean), present.astype(z.dtype), kl_paid)]


def mopoe(key, experts, present, posterior, elsewhere) -> list[Term]:
    """Return the term of (3)."""
    del elsewhere
    sets_key, row_key, code_key = jax.random.split(key, 3)
    sets = jnp.asarray(subsets(present.shape[1]))
    if 0 < posterior.num_subsets < len(sets):
        sets = jax.random.choice(sets_key, sets, (posterior.num_subsets,), replace=False)
    members = sets[:, None] & present[None]
    products = gaussian.product(experts.mean, experts.log_var, members, False)
    valid = jnp.any(members, axis=-1)
    drawn = jnp.argmax(pick(row_key, valid.T), axis=-1)
    z = draw_product(code_key, experts, sets[drawn] & present, False)
    kl = mean_over(gaussian.kl_to_standard(*products), valid)
    return [Term(join(z, experts.own_mean), present.astype(z.dtype), kl)]


def mvtcae(key, experts, present, posterior, elsewhere) -> list[Term]:
    """Return the term of (4)."""
    del elsewhere
    alpha, num = posterior.alpha, jnp.sum(present, axis=1)
    mean, log_var = gaussian.product(experts.mean, experts.log_var, present, False)
    z = gaussian.sample(key, mean, log_var)
    to_each = jax.vmap(gaussian.kl, in_axes=(None, None, 0, 0))(
        mean, log_var, experts.mean, experts.log_var
    )
    kl = (1 - alpha) * gaussian.kl_to_standard(mean, log_var)
    kl = kl + alpha * mean_over(to_each, present.T)
    weights = present * ((num - alpha) / num)[:, None]
    return [Term(join(z, experts.own_mean), weights, kl)]


def mixture(key, experts, present, posterior, elsewhere) -> list[Term]:
    """Return the terms of (5), and of (2) where no modality has a part of its own."""
    pick_key, code_key = jax.random.split(key)
    paid_own = gaussian.kl_to_standard(experts.own_mean, experts.own_log_var)
    terms = []
    for m, (one, share) in enumerate(strata(pick_key, present, posterior.stratified)):
        shared_key, own_key = jax.random.split(jax.random.fold_in(code_key, m))
        z = draw_product(shared_key, experts, one, False)
        chosen = one.T[..., None]
        own = gaussian.sample(
            own_key,
            jnp.where(chosen, experts.own_mean, 0),
            jnp.where(chosen, experts.own_log_var, elsewhere),
        )
        zeros = jnp.zeros_like(z)
        kl_paid = log_mixture(z, experts, present) - gaussian.log_prob(z, zeros, zeros)
        kl = kl_paid + jnp.sum(jnp.where(one.T, paid_own, 0), axis=0)
        terms.append(Term(join(z, own), share[:, None] * present, share * kl))
    return terms


def log_mixture(z: Array, experts: Experts, present: Array) -> Array:
    """Return the log-density of z [B, d] under the mixture of the experts in present [B, M]: [B]."""
    each = jax.vmap(gaussian.log_prob, in_axes=(None, 0, 0))(z, experts.mean, experts.log_var)
    each = jnp.where(present.T, each, -jnp.inf)
    return jax.nn.logsumexp(each, axis=0) - jnp.log(jnp.sum(present, axis=1))


def subsets(num: int) -> np.ndarray:
    """Return all sets of modalities but the empty one: [2^num - 1, num] bool."""
    numbers = np.arange(1, 2**num)
    return (numbers[:, None] >> np.arange(num)[None]) % 2 == 1


RULES: dict[str, Rule] = {
    "mvae": Rule(mvae, prior=True, mixture=False),
    "mmvae": Rule(mixture, prior=False, mixture=True),
    "mopoe": Rule(mopoe, prior=False, mixture=False),
    "mvtcae": Rule(mvtcae, prior=False, mixture=False),
    "mmvae_plus": Rule(mixture, prior=False, mixture=True),
}
