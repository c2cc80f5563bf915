"""Joint variational autoencoders against closed forms, a plain second derivation, and each other."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax.baselines.joint_rules import (
    RULES,
    Experts,
    JointPosterior,
    draw_subsets,
    mixture,
    mopoe,
    mvae,
    mvtcae,
    pick_one,
    subsets,
)
from sbmae_jax.baselines.joint_vae import joint_vae
from sbmae_jax.models import gaussian
from sbmae_jax.models.autoencoder import Modality

B, D = 5, 4


def experts_of(num, rng, own=0):
    def draw(size):
        return jnp.asarray(rng.normal(size=(num, B, size)).astype(np.float32))

    return Experts(draw(D), 0.5 * draw(D), draw(own), 0.5 * draw(own))


def everything(num):
    return jnp.ones((B, num), bool)


def plain_product(means, variances):
    """One by one, by completing the square of two factors at a time."""
    mean, variance = means[0], variances[0]
    for m, v in zip(means[1:], variances[1:], strict=True):
        mean, variance = (mean * v + m * variance) / (variance + v), variance * v / (variance + v)
    return mean, variance


def plain_kl(m, v, m2=0.0, v2=1.0):
    return (0.5 * (np.log(v2 / v) + (v + (m - m2) ** 2) / v2 - 1)).sum(axis=-1)


@pytest.mark.parametrize("prior", [False, True])
def test_a_product_of_gaussians_is_the_closed_form(prior):
    experts = experts_of(3, np.random.default_rng(0))
    members = jnp.asarray([[1, 1, 1], [1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 0]], bool)
    mean, log_var = gaussian.product(experts.mean, experts.log_var, members, prior)
    for b in range(B):
        chosen = np.flatnonzero(members[b])
        means = [np.asarray(experts.mean[m, b], np.float64) for m in chosen]
        variances = [np.exp(np.asarray(experts.log_var[m, b], np.float64)) for m in chosen]
        if prior or not len(chosen):
            means, variances = [*means, np.zeros(D)], [*variances, np.ones(D)]
        exact_mean, exact_variance = plain_product(means, variances)
        np.testing.assert_allclose(mean[b], exact_mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(np.exp(log_var[b]), exact_variance, rtol=1e-4)


def test_kl_and_density_agree_with_draws_and_with_each_other(key):
    rng = np.random.default_rng(1)
    mean, log_var, mean2, log_var2 = (jnp.asarray(rng.normal(size=(1, 3))) for _ in range(4))
    exact = gaussian.kl(mean, log_var, mean2, log_var2)
    zeros = jnp.zeros_like(mean)
    np.testing.assert_allclose(
        gaussian.kl(mean, log_var, zeros, zeros), gaussian.kl_to_standard(mean, log_var), rtol=1e-5
    )
    np.testing.assert_allclose(
        exact, plain_kl(mean, np.exp(log_var), mean2, np.exp(log_var2)), rtol=1e-5
    )
    n = 100_000
    wide = [jnp.broadcast_to(a, (n, 3)) for a in (mean, log_var, mean2, log_var2)]
    x = gaussian.sample(key, *wide[:2])
    gap = gaussian.log_prob(x, *wide[:2]) - gaussian.log_prob(x, *wide[2:])
    error = float(jnp.std(gap)) / n**0.5
    assert abs(float(gap.mean()) - float(exact[0])) < 4 * error


@pytest.mark.parametrize("num", [2, 3])
def test_mopoe_pays_the_mean_over_all_sets(num, key):
    experts = experts_of(num, np.random.default_rng(2))
    (term,) = mopoe(
        key, experts, everything(num), JointPosterior("mopoe", D), jnp.zeros((num, 1, 0))
    )
    kl_paid = []
    for size in range(1, num + 1):
        for chosen in itertools.combinations(range(num), size):
            means = [np.asarray(experts.mean[m], np.float64) for m in chosen]
            variances = [np.exp(np.asarray(experts.log_var[m], np.float64)) for m in chosen]
            kl_paid.append(plain_kl(*plain_product(means, variances)))
    assert len(kl_paid) == 2**num - 1
    np.testing.assert_allclose(term.kl, np.mean(kl_paid, axis=0), rtol=1e-4)
    np.testing.assert_array_equal(term.weights, 1)


@pytest.mark.parametrize("num", [2, 3])
def test_mvtcae_pays_the_prior_and_each_expert(num, key):
    experts = experts_of(num, np.random.default_rng(3))
    posterior = JointPosterior("mvtcae", D, alpha=0.7)
    (term,) = mvtcae(key, experts, everything(num), posterior, jnp.zeros((num, 1, 0)))
    means = [np.asarray(m, np.float64) for m in experts.mean]
    variances = [np.exp(np.asarray(v, np.float64)) for v in experts.log_var]
    mean, variance = plain_product(means, variances)
    each = [plain_kl(mean, variance, m, v) for m, v in zip(means, variances, strict=True)]
    exact = 0.3 * plain_kl(mean, variance) + 0.7 / num * np.sum(each, axis=0)
    np.testing.assert_allclose(term.kl, exact, rtol=1e-4)
    np.testing.assert_allclose(term.weights, (num - 0.7) / num, rtol=1e-6)


def test_mmvae_pays_the_divergence_of_the_mixture_which_is_less_than_the_mean(key):
    """Its price is ln q(z) - ln p(z) at a draw, so its mean is KL(q || p): here by quadrature in 1-D."""
    mean, log_var = jnp.asarray([[[-1.0]], [[2.0]]]), jnp.asarray([[[-1.0]], [[0.5]]])
    nothing = jnp.zeros((2, 1, 0))
    experts, present = Experts(mean, log_var, nothing, nothing), jnp.ones((1, 2), bool)

    def kl(key):
        terms = mixture(key, experts, present, JointPosterior("mmvae", 1), 0.0)
        return sum(term.kl[0] for term in terms)

    z = np.linspace(-12, 12, 20_001)
    q = np.mean([np.exp(-0.5 * (z - m) ** 2 / v) / np.sqrt(2 * np.pi * v)
                 for m, v in zip([-1, 2], np.exp([-1, 0.5]), strict=True)], axis=0)  # fmt: skip
    log_prior = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    exact = np.sum(q * (np.log(q) - log_prior)) * (z[1] - z[0])
    draws = jax.vmap(lambda i: kl(jax.random.fold_in(key, i)))(jnp.arange(20_000))
    assert abs(float(draws.mean()) - exact) < 4 * float(draws.std()) / len(draws) ** 0.5
    assert exact < float(gaussian.kl_to_standard(mean, log_var).mean()) - 0.1


def test_all_sets_but_the_empty_one_are_there_once():
    sets = subsets(4)
    assert sets.shape == (15, 4)
    assert len({tuple(row) for row in sets.tolist()}) == 15
    assert sets.any(axis=1).all()


def test_mvae_pays_all_each_and_one_random_set(key):
    experts = experts_of(3, np.random.default_rng(5))
    terms = mvae(key, experts, everything(3), JointPosterior("mvae", D), jnp.zeros((3, 1, 0)))
    means = [np.zeros((B, D)), *(np.asarray(m, np.float64) for m in experts.mean)]
    variances = [np.ones((B, D)), *(np.exp(np.asarray(v, np.float64)) for v in experts.log_var)]

    def kl(*chosen):
        factors = [0, *(m + 1 for m in chosen)]
        return plain_kl(
            *plain_product([means[f] for f in factors], [variances[f] for f in factors])
        )

    np.testing.assert_allclose(terms[0].kl, kl(0, 1, 2), rtol=1e-4)
    np.testing.assert_allclose(terms[2].kl, kl(0) + kl(1) + kl(2), rtol=1e-4)
    weights = np.asarray(terms[1].weights)
    np.testing.assert_array_equal(weights.sum(axis=1), 2)  # of three, a set of 2 to 2
    for b in range(B):
        exact = kl(*np.flatnonzero(weights[b]))[b]
        np.testing.assert_allclose(terms[1].kl[b], exact, rtol=1e-4)


@pytest.mark.parametrize("stratified", [False, True])
def test_mmvae_plus_pays_the_mixture_and_its_own_part(stratified, key):
    experts = experts_of(3, np.random.default_rng(6), own=2)
    elsewhere = jnp.full((3, 1, 2), -30.0)
    posterior = JointPosterior("mmvae_plus", D, 2, stratified=stratified)
    terms = mixture(key, experts, everything(3), posterior, elsewhere)
    assert len(terms) == (3 if stratified else 1)
    means, log_vars = (np.asarray(a, np.float64) for a in (experts.mean, experts.log_var))
    own_price = plain_kl(
        np.asarray(experts.private_mean), np.exp(np.asarray(experts.private_log_var))
    )
    times_chosen = np.zeros((3, B))
    for term in terms:
        z, own = np.asarray(term.codes[0, :, :D], np.float64), np.asarray(term.codes[:, :, D:])
        # Elsewhere the variance is next to nothing, so what is not near zero is the chosen expert's.
        chosen = np.abs(own).max(axis=-1) > 1e-3
        np.testing.assert_array_equal(chosen.sum(axis=0), 1)
        times_chosen += chosen
        exponent = -0.5 * ((z - means) ** 2 / np.exp(log_vars) + log_vars).sum(axis=-1)
        density = np.log(np.mean(np.exp(exponent), axis=0)) + 0.5 * (z**2).sum(axis=-1)
        exact = density + (own_price * chosen).sum(axis=0)
        np.testing.assert_allclose(term.kl, exact / len(terms), rtol=1e-3)
        np.testing.assert_allclose(term.weights, 1 / len(terms), rtol=1e-6)
        for m in range(1, 3):
            np.testing.assert_array_equal(term.codes[m, :, :D], term.codes[0, :, :D])
    if stratified:
        np.testing.assert_array_equal(times_chosen, 1)  # each expert once for each row


@pytest.mark.parametrize("rule", ["mmvae", "mmvae_plus"])
def test_strata_are_one_draw_in_expectation(rule, key):
    own, elsewhere = (2, jnp.zeros((3, 1, 2))) if rule == "mmvae_plus" else (0, 0.0)
    experts = experts_of(3, np.random.default_rng(8), own)
    present = jnp.asarray([[1, 1, 1], [1, 0, 1], [0, 1, 0], [1, 1, 0], [1, 1, 1]], bool)

    def objective(key, stratified):
        """A reconstruction that knows which expert a code is from, and the price."""
        posterior = JointPosterior(rule, D, own, stratified=stratified)
        terms = RULES[rule].objective(key, experts, present, posterior, elsewhere)
        errors = [term.weights * jnp.sum(term.codes, axis=-1).T for term in terms]
        return sum(errors), sum(term.kl for term in terms)

    def mean_and_error(stratified):
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(2000 * stratified + jnp.arange(2000))
        draws = jax.vmap(lambda k: objective(k, stratified))(keys)
        return [(d.mean(axis=0), d.std(axis=0) / 2000**0.5) for d in draws]

    for (one, e1), (every, e2) in zip(mean_and_error(False), mean_and_error(True), strict=True):
        assert (jnp.abs(one - every) <= 4.5 * jnp.hypot(e1, e2) + 1e-5).all()
        assert float(jnp.mean(e2)) < float(jnp.mean(e1)) + 1e-6  # what strata are for


def test_sampled_sets_are_the_full_sum_in_expectation(key):
    experts = experts_of(3, np.random.default_rng(7))

    def kl(key, num):
        posterior = JointPosterior("mopoe", D, num_subsets=num)
        (term,) = mopoe(key, experts, everything(3), posterior, jnp.zeros((3, 1, 0)))
        return term.kl

    exact = kl(jax.random.fold_in(key, 0), 0)
    np.testing.assert_array_equal(kl(jax.random.fold_in(key, 1), 7), exact)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(2, 2002))
    draws = jax.vmap(lambda k: kl(k, 3))(keys)
    error = jnp.std(draws, axis=0) / len(draws) ** 0.5
    assert float(jnp.max(error)) > 0
    assert bool(jnp.all(jnp.abs(draws.mean(axis=0) - exact) < 4 * error))


def test_one_member_is_picked_and_each_as_often(key):
    members = jnp.broadcast_to(jnp.asarray([True, False, True, True]), (9000, 4))
    picked = np.asarray(pick_one(key, members))
    np.testing.assert_array_equal(picked.sum(axis=1), 1)
    shares = picked.mean(axis=0)
    assert shares[1] == 0
    assert np.abs(shares[[0, 2, 3]] - 1 / 3).max() < 4 * (2 / 9 / 9000) ** 0.5
    assert not pick_one(jax.random.fold_in(key, 1), jnp.zeros((3, 4), bool)).any()


def test_random_sets_have_every_size_between_two_and_all_but_one(key):
    sizes = np.asarray(draw_subsets(key, jnp.ones((600, 5), bool))).sum(axis=1)
    assert set(sizes.tolist()) == {2, 3, 4}


SHAPES = {"a": (3,), "b": (4,), "c": (2,)}


def make(rule, shapes=SHAPES, beta=1.0, stratified=False):
    own = 2 if rule == "mmvae_plus" else 0
    posterior = JointPosterior(rule, D, own, beta, stratified=stratified)
    modalities = [Modality(n, s, "normal", "", 1, 1.0) for n, s in shapes.items()]
    encoders = [nn.Dense(2 * (D + own)) for _ in shapes]
    return joint_vae(posterior, modalities, encoders, [nn.Dense(*s) for s in shapes.values()])


def rows(num=B, seed=0, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return {n: rng.normal(size=(num, *s)).astype(np.float32) for n, s in shapes.items()}


@pytest.mark.parametrize(
    ("rule", "stratified"),
    [*((rule, False) for rule in RULES), ("mmvae", True), ("mmvae_plus", True)],
)
def test_gradients_are_finite_and_absent_modalities_have_none(rule, stratified, key):
    model, batch = make(rule, stratified=stratified), rows()
    present = jnp.asarray([[1, 1, 1], [1, 0, 1], [0, 1, 0], [1, 1, 0], [1, 0, 0]], bool)
    init_key, loss_key = jax.random.split(key)
    params = model.task.init(init_key, batch)

    def mean_loss(params, batch):
        return jnp.mean(model.task.loss(params, loss_key, batch | {"present": present})[0])

    value, (gradient, by_input) = jax.jit(jax.value_and_grad(mean_loss, argnums=(0, 1)))(
        params, batch
    )
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    for m, name in enumerate(SHAPES):
        moved = np.abs(by_input[name]).max(axis=1) > 0
        np.testing.assert_array_equal(moved, present[:, m])


@pytest.mark.parametrize("rule", RULES)
def test_completion_does_not_see_what_is_not_observed(rule, key):
    model, batch = make(rule), rows()
    observed = jnp.asarray([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 1], [0, 0, 0]], bool)
    params = model.task.init(key, batch)

    @jax.jit
    def complete(batch, observed):
        made = model.complete(params, jax.random.key(1), batch, observed)
        return jnp.concatenate(list(made.values()), axis=1)

    jacobian = jax.jacobian(complete)(batch, observed)
    for m, name in enumerate(SHAPES):
        moved = np.abs(np.asarray(jacobian[name])).max(axis=(1, 3))  # by output row, by input row
        assert (moved[~np.eye(B, dtype=bool)] == 0).all(), "a row sees another one"
        assert (np.diag(moved)[~np.asarray(observed[:, m])] == 0).all()
        if rule in ("mvae", "mopoe", "mvtcae"):
            assert (np.diag(moved)[np.asarray(observed[:, m])] > 0).all()
    holes = {n: np.where(observed[:, m, None], a, np.nan) for m, (n, a) in enumerate(batch.items())}
    before = complete._cache_size()
    np.testing.assert_array_equal(complete(holes, observed), complete(batch, observed))
    complete(batch, ~observed)
    assert complete._cache_size() == max(before, 1), "one executable serves all subsets"


def test_nothing_observed_is_decoded_from_the_prior(key):
    model, batch = make("mvtcae"), rows(4000)
    params = model.task.init(jax.random.fold_in(key, 0), batch)
    nothing = jnp.zeros((4000, 3), bool)
    made = model.complete(params, jax.random.fold_in(key, 1), batch, nothing)
    kernel = params["decoders"]["a"]["params"]["kernel"]
    exact = np.asarray(kernel.T @ kernel)  # of a linear decoder and a standard normal code
    error = 4 * np.sqrt((np.outer(np.diag(exact), np.diag(exact)) + exact**2) / 4000)
    assert (np.abs(np.cov(made["a"].T) - exact) < error).all()


def test_the_bound_of_a_linear_model_is_its_analytic_value(key):
    """With linear decoders and the exact posterior as the product of experts the ELBO is ln p(x)."""
    shapes, n = {"a": (3,), "b": (4,)}, 40_000
    model = make("mvae", shapes)
    batch = rows(1, shapes=shapes)
    params = model.task.init(jax.random.fold_in(key, 0), batch)
    rng = np.random.default_rng(8)
    loadings, variance = {}, 1.001  # the decoders' learned variance at its start
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
    total, _ = jax.jit(model.task.loss)(params, jax.random.fold_in(key, 1), many)
    exact = 0.0
    for names in (["a", "b"], ["a"], ["b"]):  # the terms of (1); of two there is no random set
        x = np.concatenate([batch[name][0] for name in names])
        w = np.concatenate([loadings[name] for name in names], axis=1)
        cov = w.T @ w + variance * np.eye(len(x))
        # Without the constant of ln 2 pi, as reconstruction errors are.
        exact += 0.5 * (np.linalg.slogdet(cov)[1] + x @ np.linalg.solve(cov, x))
    error = float(jnp.std(total)) / n**0.5
    assert abs(float(total.mean()) - exact) < 4 * error
    assert error < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"stratified": True},
            "stratified needs rule 'mmvae' or 'mmvae_plus', got rule 'mopoe'",
        ),
        ({"rule": "vae"}, "rule must be one of mvae, mmvae, mopoe, mvtcae, mmvae_plus, got 'vae'"),
        ({"shared_size": 0}, "shared_size must be at least 1, got 0"),
        ({"private_size": 3}, "private_size must be above 0 for rule 'mmvae_plus', and 0 for the"),
        ({"rule": "mmvae_plus"}, "private_size must be above 0 for rule 'mmvae_plus'"),
    ],
)
def test_a_posterior_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        JointPosterior(**({"rule": "mopoe", "shared_size": 3} | options))
