"""Joint variational autoencoders against closed forms, a plain second derivation, and each other."""

import functools
import itertools

import analytic
import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import filled, jit

from sbmae_jax.baselines.joint_rules import (
    RULES,
    Experts,
    JointPosterior,
    draw_subsets,
    pick_one,
    subsets,
)
from sbmae_jax.baselines.joint_vae import JointVAE
from sbmae_jax.models.autoencoder import Modality

B, D, P = 5, 4, 2
PRESENT = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 0], [1, 1, 0], [1, 1, 1]], bool)


def experts_of(seed, private=0):
    """Return experts of three modalities, in float32."""
    rng = np.random.default_rng(seed)
    sizes = (D, D, private, private)
    arrays = [rng.normal(size=(3, B, size)).astype(np.float32) for size in sizes]
    return Experts(arrays[0], 0.5 * arrays[1], arrays[2], 0.5 * arrays[3])


def objective(posterior, experts, auxiliary_log_var=0.0):
    """Return the compiled `key -> terms` of a rule, for rows that lack modalities."""
    rule = RULES[posterior.rule]
    return jit(lambda key: rule.objective(key, experts, PRESENT, posterior, auxiliary_log_var))


def kl_by_hand(m, v, m2=0.0, v2=1.0):
    return (0.5 * (np.log(v2 / v) + (v + (m - m2) ** 2) / v2 - 1)).sum(axis=-1)


def factors(experts, b, chosen, prior=False):
    """Return means and variances of the chosen experts of a row, and of the prior, in float64."""
    means = [np.asarray(experts.mean[m, b], np.float64) for m in chosen]
    variances = [np.exp(np.asarray(experts.log_var[m, b], np.float64)) for m in chosen]
    return (means + [np.zeros(D)] * prior, variances + [np.ones(D)] * prior)


def kl_of_product(experts, b, chosen, prior=False):
    return kl_by_hand(*analytic.product(*factors(experts, b, chosen, prior)))


def test_mopoe_pays_the_mean_over_all_subsets(key):
    experts = experts_of(2)
    (term,) = objective(JointPosterior("mopoe", D), experts)(key)
    for b, row in enumerate(PRESENT):
        there = np.flatnonzero(row)
        chosen = [c for n in range(1, len(there) + 1) for c in itertools.combinations(there, n)]
        assert len(chosen) == 2 ** len(there) - 1
        exact = np.mean([kl_of_product(experts, b, c) for c in chosen])
        np.testing.assert_allclose(term.kl[b], exact, rtol=1e-4)
    np.testing.assert_array_equal(term.weights, PRESENT)


def test_mvtcae_pays_the_prior_and_each_expert(key):
    experts = experts_of(3)
    (term,) = objective(JointPosterior("mvtcae", D, alpha=0.7), experts)(key)
    for b, row in enumerate(PRESENT):
        means, variances = factors(experts, b, np.flatnonzero(row))
        mean, variance = analytic.product(means, variances)
        each = [kl_by_hand(mean, variance, m, v) for m, v in zip(means, variances, strict=True)]
        exact = 0.3 * kl_by_hand(mean, variance) + 0.7 * np.mean(each)
        np.testing.assert_allclose(term.kl[b], exact, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(term.weights[b], row * (row.sum() - 0.7) / row.sum(), rtol=1e-6)


def test_mvae_pays_all_each_and_one_random_subset(key):
    experts = experts_of(5)
    whole, random, alone = objective(JointPosterior("mvae", D), experts)(key)
    np.testing.assert_array_equal(whole.weights, PRESENT)
    np.testing.assert_array_equal(alone.weights, PRESENT)
    # Of three modalities, a random subset has two, less what is absent.
    drawn = np.asarray(random.weights, bool)
    assert not (drawn & ~PRESENT).any()
    assert (drawn.sum(axis=1) >= PRESENT.sum(axis=1) - 1).all()
    assert (drawn.sum(axis=1) <= 2).all()
    for b, row in enumerate(PRESENT):
        there = np.flatnonzero(row)
        each = sum(kl_of_product(experts, b, [m], True) for m in there)
        np.testing.assert_allclose(whole.kl[b], kl_of_product(experts, b, there, True), rtol=1e-4)
        np.testing.assert_allclose(alone.kl[b], each, rtol=1e-4)
        exact = kl_of_product(experts, b, np.flatnonzero(drawn[b]), True)
        np.testing.assert_allclose(random.kl[b], exact, rtol=1e-4, atol=1e-6)


def test_mmvae_pays_the_divergence_of_the_mixture_which_is_less_than_the_mean(key):
    """Its KL is ln q(z) - ln p(z) at a draw, of mean KL(q || p): here by quadrature in 1-D."""
    mean, log_var = np.float32([[[-1]], [[2]]]), np.float32([[[-1]], [[0.5]]])
    nothing = np.zeros((2, 1, 0), np.float32)
    experts, present = Experts(mean, log_var, nothing, nothing), np.ones((1, 2), bool)

    def kl(i):
        each = jax.random.fold_in(key, i)
        (term,) = RULES["mmvae"].objective(each, experts, present, JointPosterior("mmvae", 1), 0.0)
        return term.kl[0]

    z = np.linspace(-12, 12, 20_001)
    q = np.mean([np.exp(-0.5 * (z - m) ** 2 / v) / np.sqrt(2 * np.pi * v)
                 for m, v in zip([-1, 2], np.exp([-1, 0.5]), strict=True)], axis=0)  # fmt: skip
    log_prior = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    exact = np.sum(q * (np.log(q) - log_prior)) * (z[1] - z[0])
    draws = np.asarray(jit(jax.vmap(kl))(np.arange(20_000)))
    assert abs(draws.mean() - exact) < 4 * draws.std() / len(draws) ** 0.5
    assert exact < kl_by_hand(mean, np.exp(log_var)).mean() - 0.1


@pytest.mark.parametrize("stratified", [False, True])
def test_mmvae_plus_pays_the_mixture_and_the_private_code_of_its_expert(stratified, key):
    experts = experts_of(6, private=P)
    posterior = JointPosterior("mmvae_plus", D, P, stratified=stratified)
    terms = objective(posterior, experts, np.full((3, 1, P), -30, np.float32))(key)
    assert len(terms) == (3 if stratified else 1)
    means, log_vars = (np.asarray(a, np.float64) for a in (experts.mean, experts.log_var))
    private_kl = kl_by_hand(experts.private_mean, np.exp(experts.private_log_var))
    times_chosen = np.zeros((3, B))
    for term in terms:
        codes = np.asarray(term.codes, np.float64)
        z, private = codes[0, :, :D], codes[:, :, D:]
        # The auxiliary priors have next to no variance: what is not near zero is of the chosen expert.
        chosen = np.abs(private).max(axis=-1) > 1e-3
        assert not (chosen.T & ~PRESENT).any()
        used = chosen.any(axis=0)  # with strata, an absent expert has a term of weight 0
        np.testing.assert_array_equal(
            used, 1 if not stratified else np.asarray(term.weights).any(1)
        )
        times_chosen += chosen
        exponent = -0.5 * ((z - means) ** 2 / np.exp(log_vars) + log_vars).sum(axis=-1)
        density = np.where(PRESENT.T, np.exp(exponent), 0).sum(axis=0) / PRESENT.sum(axis=1)
        exact = np.log(density) + 0.5 * (z**2).sum(axis=-1) + (private_kl * chosen).sum(axis=0)
        weight = np.where(used, 1 / PRESENT.sum(axis=1) if stratified else 1, 0)
        np.testing.assert_allclose(term.kl, weight * exact, rtol=1e-3)
        np.testing.assert_allclose(term.weights, weight[:, None] * PRESENT, rtol=1e-6)
        np.testing.assert_array_equal(codes[:, :, :D], np.broadcast_to(z, (3, B, D)))
    if stratified:
        np.testing.assert_array_equal(times_chosen, PRESENT.T)  # each expert once for each row


def test_strata_are_one_draw_in_expectation(key):
    experts = experts_of(8, private=P)

    def measured(i, stratified):
        """Return a reconstruction error that depends on the expert of a code, and the KL."""
        posterior = JointPosterior("mmvae_plus", D, P, stratified=stratified)
        terms = RULES["mmvae_plus"].objective(
            jax.random.fold_in(key, 2 * i + stratified), experts, PRESENT, posterior,
            jnp.zeros((3, 1, P)),
        )  # fmt: skip
        errors = [term.weights * jnp.sum(term.codes, axis=-1).T for term in terms]
        return sum(errors), sum(term.kl for term in terms)

    def mean_and_error(stratified):
        draws = jit(jax.vmap(lambda i: measured(i, stratified)))(np.arange(2000))
        return [(np.mean(d, axis=0), np.std(d, axis=0) / 2000**0.5) for d in draws]

    for (one, e1), (every, e2) in zip(mean_and_error(False), mean_and_error(True), strict=True):
        assert (np.abs(one - every) <= 4.5 * np.hypot(e1, e2) + 1e-5).all()
        assert e2.mean() < e1.mean() + 1e-6  # what strata are for


def test_sampled_subsets_are_the_full_sum_in_expectation(key):
    experts = experts_of(7)

    def kl(i, num):
        posterior = JointPosterior("mopoe", D, num_subsets=num)
        (term,) = RULES["mopoe"].objective(
            jax.random.fold_in(key, i), experts, np.ones((B, 3), bool), posterior, 0.0
        )
        return term.kl

    exact, all_seven = jit(lambda: (kl(0, 0), kl(1, 7)))()
    np.testing.assert_array_equal(all_seven, exact)
    draws = np.asarray(jit(jax.vmap(lambda i: kl(i, 3)))(np.arange(2, 2002)))
    error = draws.std(axis=0) / len(draws) ** 0.5
    assert error.min() > 0
    assert (np.abs(draws.mean(axis=0) - exact) < 4 * error).all()


def test_all_subsets_but_the_empty_one_are_there_once():
    found = subsets(4)
    assert found.shape == (15, 4)
    assert len({tuple(row) for row in found.tolist()}) == 15
    assert found.any(axis=1).all()


def test_one_member_is_picked_and_each_as_often(key):
    members = np.tile([[True, False, True, True], [False] * 4], (9000, 1))
    picked = np.asarray(jit(pick_one)(key, members))
    assert not picked[1::2].any()
    np.testing.assert_array_equal(picked[::2].sum(axis=1), 1)
    shares = picked[::2].mean(axis=0)
    assert shares[1] == 0
    assert np.abs(shares[[0, 2, 3]] - 1 / 3).max() < 4 * (2 / 9 / 9000) ** 0.5


def test_random_subsets_have_every_size_between_two_and_all_but_one(key):
    sizes = np.asarray(jit(draw_subsets)(key, np.ones((600, 5), bool))).sum(axis=1)
    assert set(sizes.tolist()) == {2, 3, 4}


SHAPES = {"a": (3,), "b": (4,), "c": (2,)}


def make(rule, shapes=SHAPES, stratified=False):
    """Return a model of linear networks, and parameters none of which is zero but the log-variances."""
    private = P if rule == "mmvae_plus" else 0
    posterior = JointPosterior(rule, D, private, stratified=stratified)
    modalities = tuple(Modality(n, s, "normal", "", 1, 1.0) for n, s in shapes.items())
    encoders = tuple(nn.Dense(2 * (D + private)) for _ in shapes)
    decoders = tuple(nn.Dense(*s) for s in shapes.values())
    model = JointVAE(posterior, modalities, encoders, decoders)
    params = filled(model.task, rows(1, shapes))
    return model, params | {"log_var": jax.tree.map(jnp.zeros_like, params["log_var"])}


def rows(num=B, shapes=SHAPES):
    rng = np.random.default_rng(0)
    return {n: rng.normal(size=(num, *s)).astype(np.float32) for n, s in shapes.items()}


@pytest.mark.parametrize(
    ("rule", "stratified"), [*((rule, False) for rule in RULES), ("mmvae_plus", True)]
)
def test_gradients_are_finite_and_absent_modalities_have_none(rule, stratified, key):
    model, params = make(rule, stratified=stratified)

    @jit
    def value_and_gradients(params, batch):
        def mean_loss(params, batch):
            return jnp.mean(model.task.loss(params, key, batch | {"present": PRESENT})[0])

        return jax.value_and_grad(mean_loss, argnums=(0, 1))(params, batch)

    value, gradients = value_and_gradients(params, rows())
    chex.assert_tree_all_finite((value, gradients))
    for m, name in enumerate(SHAPES):
        moved = np.abs(gradients[1][name]).max(axis=1) > 0
        np.testing.assert_array_equal(moved, PRESENT[:, m])


@functools.cache
def completed(rule):
    """Return the compiled completion with fixed noise: (batch, observed) -> all modalities [B, 9]."""
    model, params = make(rule)

    @jit
    def complete(batch, observed):
        made = model.complete(params, jax.random.key(1), batch, observed)
        return jnp.concatenate([made[name] for name in SHAPES], axis=1)

    return complete


@pytest.mark.parametrize("rule", RULES)
def test_completion_does_not_see_what_is_not_observed(rule):
    complete, batch = completed(rule), rows()
    observed = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 1], [0, 0, 0]], bool)
    before = np.asarray(complete(batch, observed))
    for m, name in enumerate(SHAPES):
        for b in range(B):
            changed = batch | {name: batch[name] + np.eye(B, dtype=np.float32)[b, :, None]}
            moved = (complete(changed, observed) != before).any(axis=1)
            assert not moved[np.arange(B) != b].any(), "a row sees another one"
            if not observed[b, m]:
                assert not moved[b]
            elif rule in ("mvae", "mopoe", "mvtcae"):  # a mixture sees one of them
                assert moved[b]
    holes = {n: np.where(observed[:, m, None], a, np.nan) for m, (n, a) in enumerate(batch.items())}
    np.testing.assert_array_equal(complete(holes, observed), before)
    complete(batch, ~observed)
    assert complete._cache_size() == 1, "one executable serves all subsets"


def test_nothing_observed_is_decoded_from_the_prior(key):
    model, params = make("mvtcae")
    complete = jit(lambda batch, nothing: model.complete(params, key, batch, nothing)["a"])
    made = complete(rows(4000), np.zeros((4000, 3), bool))
    kernel = params["decoders"]["a"]["params"]["kernel"]
    exact = np.asarray(kernel.T @ kernel)  # of a linear decoder and a standard normal code
    error = 4 * np.sqrt((np.outer(np.diag(exact), np.diag(exact)) + exact**2) / 4000)
    assert (np.abs(np.cov(made.T) - exact) < error).all()


def test_the_bound_of_a_linear_model_is_its_analytic_value(key):
    """With linear decoders and the exact posterior as the product of experts the ELBO is ln p(x)."""
    shapes, n = {"a": (3,), "b": (4,)}, 40_000
    model, params = make("mvae", shapes)
    batch = rows(1, shapes)
    rng = np.random.default_rng(8)
    loadings, variance = {}, 1.001  # the decoders' variance where their parameter is 0
    for name, (size,) in shapes.items():
        # Orthogonal columns give a diagonal posterior, which is then a product of one factor each.
        w = np.eye(D)[:, :size] * rng.uniform(0.5, 1.5, size)
        loadings[name] = w
        kernel = params["decoders"][name]["params"]
        kernel["kernel"], kernel["bias"] = jnp.asarray(w, jnp.float32), jnp.zeros(size)
        precision = (w**2).sum(axis=1) / variance
        # A coordinate that a modality does not see has an expert of no precision.
        spread = np.where(precision > 0, 1 / np.maximum(precision, 1e-12), 1e8)
        encoder = np.concatenate([w.T * spread[None] / variance, np.zeros((size, D))], axis=1)
        dense = params["encoders"][name]["params"]
        dense["kernel"] = jnp.asarray(encoder, jnp.float32)
        dense["bias"] = jnp.asarray(np.concatenate([np.zeros(D), np.log(spread)]), jnp.float32)
    many = {name: np.repeat(array, n, axis=0) for name, array in batch.items()}
    total = np.asarray(jit(model.task.loss)(params, key, many)[0])
    exact = 0.0
    for names in (["a", "b"], ["a"], ["b"]):  # the terms of (1); of two there is no random subset
        x = np.concatenate([batch[name][0] for name in names])
        w = np.concatenate([loadings[name] for name in names], axis=1)
        cov = w.T @ w + variance * np.eye(len(x))
        # Without the constant of ln 2 pi, as reconstruction errors are.
        exact += 0.5 * (np.linalg.slogdet(cov)[1] + x @ np.linalg.solve(cov, x))
    error = total.std() / n**0.5
    assert abs(total.mean() - exact) < 4 * error
    assert error < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stratified": True}, "stratified needs rule 'mmvae' or 'mmvae_plus', got rule 'mopoe'"),
        ({"rule": "vae"}, "rule must be one of mvae, mmvae, mopoe, mvtcae, mmvae_plus, got 'vae'"),
        ({"shared_size": 0}, "shared_size must be at least 1, got 0"),
        ({"private_size": 3}, "private_size must be above 0 for rule 'mmvae_plus', and 0 for the"),
        ({"rule": "mmvae_plus"}, "private_size must be above 0 for rule 'mmvae_plus'"),
    ],
)
def test_a_posterior_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        JointPosterior(**({"rule": "mopoe", "shared_size": 3} | options))
