import functools
import math

import analytic
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from sbmae_jax import VP, guide
from sbmae_jax.models.energy import NCEConfig, energy_fn, energy_task
from sbmae_jax.models.latents import Layout
from sbmae_jax.models.noise_levels import MAX_LOG_SNR, LatentNetwork
from sbmae_jax.nets.energy import PairEnergy, TowerEnergy
from sbmae_jax.sampling.generate import SamplingConfig, generate_latents
from sbmae_jax.sampling.sde import VE

LAYOUT = Layout(("a", "b", "c"), (1, 1, 2))
TOWERS = TowerEnergy(LAYOUT.sizes, width=48, num_blocks=1, embedding=16, level_width=16)
NUM_STEPS = 400
SUBSETS = [(True, False, False), (True, True, False), (False, False, True)]
NETWORKS = {
    "pair": PairEnergy(LAYOUT.sizes, width=8),
    "tower": TowerEnergy(LAYOUT.sizes, width=8, num_blocks=1, embedding=6, level_width=8),
}
both_networks = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
X = jnp.linspace(-2, 2, 20).reshape(5, 4)
ROWS = jnp.asarray([*SUBSETS, (False, False, False), (True, True, True)])


def gaussian():
    """One factor in all coordinates, each with correlation 0.6 to any other, or its negative."""
    side = np.array([1.0, 1.0, 1.0, -1.0])
    return analytic.gaussian(np.zeros(4), 0.6 * np.outer(side, side) + 0.4 * np.eye(4))


def scrambled(network):
    """Return parameters none of which is zero; drawing them would have to be compiled."""
    params = jax.eval_shape(network.init, jax.random.key(0), X, jnp.zeros((5, 3)), ROWS)
    return jax.tree.map(
        lambda a: 0.5 * np.cos(a.size + 1.7 * np.arange(a.size, dtype=np.float32)).reshape(a.shape),
        params,
    )


def count(network, sizes):
    num = len(sizes)
    shapes = jnp.zeros((1, sum(sizes))), jnp.zeros((1, num)), jnp.zeros((1, num), bool)
    params = jax.eval_shape(network.init, jax.random.key(0), *shapes)
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_the_energy_of_a_pair_is_of_the_size_of_the_reference():
    assert count(PairEnergy((256, 256)), (256, 256)) == 4_199_937
    assert count(PairEnergy((256, 256, 256)), (256, 256, 256)) == 3 * 4_199_937


def test_pairs_are_summed_over_targets_and_averaged_over_what_is_observed():
    network = NETWORKS["pair"]
    terms, weights = jax.jit(network.apply)(scrambled(network), X, jnp.zeros((5, 3)), ROWS)
    assert (jnp.abs(terms) > 0).all()
    # The pairs are ab, ac, bc.
    expected = [[1, 1, 0], [0, 0.5, 0.5], [0, 1, 1], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(weights, expected)


def test_a_pair_depends_on_its_two_modalities_and_levels_only():
    network = NETWORKS["pair"]

    def terms(x, log_snr):
        return network.apply(scrambled(network), x, log_snr, ROWS[:1])[0][0]

    by_x, by_level = jax.jit(jax.jacobian(terms, argnums=(0, 1)))(X[:1], jnp.ones((1, 3)))
    reads = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]], bool)
    np.testing.assert_array_equal(by_level[:, 0] != 0, reads)
    np.testing.assert_array_equal(by_x[:, 0] != 0, LAYOUT.expand(reads))


def test_embeddings_give_the_terms_of_the_towers():
    network, log_snr = NETWORKS["tower"], jnp.ones((5, 3))
    params = scrambled(network)

    @jax.jit
    def both(x, log_snr):
        given = network.apply(params, x, log_snr, ROWS, method="embed_given")
        target = network.apply(params, x, log_snr, method="embed_target")
        return given, target, network.apply(params, x, log_snr, ROWS)

    given, target, (terms, weights) = both(X, log_snr)
    np.testing.assert_allclose(terms, -jnp.einsum("bk,bmk->bm", given, target), rtol=1e-5)
    np.testing.assert_array_equal(weights, [[0, 1, 1], [0, 0, 1], [1, 1, 0], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("combine", [False, True])
def test_towers_do_not_read_what_is_not_observed_or_not_a_target(combine):
    network = TowerEnergy(LAYOUT.sizes, 8, 1, 6, 8, combine)

    def term(x):  # of b given a
        return network.apply(scrambled(network), x, jnp.ones((1, 3)), ROWS[:1])[0][0, 1]

    np.testing.assert_array_equal(
        jax.jit(jax.grad(term))(X[:1])[0] != 0, [True, True, False, False]
    )


@both_networks
def test_energy_is_zero_where_nothing_or_everything_is_observed(network):
    energy = energy_fn(LatentNetwork(network.apply, scrambled(network), VP(), LAYOUT), ROWS)
    values, gradient = jax.jit(
        lambda x: (energy(x, 0.3), jax.grad(lambda x: energy(x, 0.3).sum())(x))
    )(X)
    assert (jnp.abs(values[:3]) > 0).all()
    assert (jnp.abs(gradient[:3]) > 0).any(axis=1).all()
    np.testing.assert_array_equal(values[3:], 0)
    np.testing.assert_array_equal(gradient[3:], 0)


@both_networks
@pytest.mark.parametrize("sde", [VP(), VE()], ids=["vp", "ve"])
def test_a_row_alone_has_the_energy_it_has_in_a_batch(network, sde):
    params = scrambled(network)

    @jax.jit
    def energy(x, observed):
        return energy_fn(LatentNetwork(network.apply, params, sde, LAYOUT), observed)(
            x, jnp.asarray(0.3)
        )

    whole, alone = energy(X, ROWS), energy(X[1:2], ROWS[1:2])
    np.testing.assert_allclose(alone[0], whole[1], rtol=1e-4)


@both_networks
def test_one_compiled_energy_serves_all_subsets(network):
    traces = 0

    @jax.jit
    def push(params, x, t, observed):
        nonlocal traces
        traces += 1
        energy = energy_fn(LatentNetwork(network.apply, params, VP(), LAYOUT), observed)
        return jax.grad(lambda x: energy(x, t).sum())(x)

    for observed in (ROWS, ~ROWS, ROWS[::-1]):
        push(scrambled(network), X, 0.3, observed)
    assert traces == 1


@both_networks
def test_guidance_of_strength_zero_changes_no_sample(network):
    sde = VP()
    energy = energy_fn(LatentNetwork(network.apply, scrambled(network), sde, LAYOUT), ROWS)
    mask = LAYOUT.expand(ROWS)

    def score(x, t):
        return -x / (sde.alpha(t) ** 2 + sde.sigma(t) ** 2)

    @jax.jit
    def draw(strength):
        sampling = SamplingConfig(num_levels=3)
        guided = guide(score, energy, strength, mask=mask)
        keys = [jax.random.clone(jax.random.key(5)) for _ in range(2)]
        return [
            generate_latents(k, sde, s, sampling, X, mask)
            for k, s in zip(keys, (score, guided), strict=True)
        ]

    plain, guided = draw(0.0)
    np.testing.assert_allclose(guided, plain, atol=1e-6)
    plain, steered = draw(2.0)
    np.testing.assert_array_equal(steered[mask], X[mask])
    assert (steered != plain)[:3].any(axis=1).all()
    np.testing.assert_allclose(steered[3], plain[3], atol=1e-6)  # nothing observed


class Nothing:
    """A network that knows nothing."""

    def apply(self, params, x, log_snr, observed=None, method=None):
        if method is None:
            return jnp.zeros((len(x), 3)), ROWS[:1].astype(x.dtype)
        return jnp.zeros((len(x), 7) if method == "embed_given" else (len(x), 3, 7))

    def embed_target(self):
        """Stand for the method that negatives "batch" ask for."""


@pytest.mark.parametrize("observed_clean", [True, False])
@pytest.mark.parametrize("times", ["level", "uniform"])
@pytest.mark.parametrize("negatives", ["two", "batch"])
def test_a_network_that_knows_nothing_pays_the_entropy(negatives, times, observed_clean, key):
    # ln B for one among B, and ln 2 for each of two questions answered by a coin.
    task = energy_task(Nothing(), VP(), LAYOUT, NCEConfig(negatives, observed_clean, times))
    loss, metrics = task.loss({}, key, {"z": jnp.ones((6, 4))})
    expected = 2 * math.log(2) if negatives == "two" else math.log(6)
    np.testing.assert_allclose(loss, np.full(6, expected), rtol=1e-6)
    assert metrics["nce_accuracy"].shape == (6,)


def test_towers_start_by_knowing_nothing():
    start, unravel = untrained()
    energy = energy_fn(LatentNetwork(TOWERS.apply, unravel(start), VP(), LAYOUT), ROWS)
    np.testing.assert_array_equal(jax.jit(energy)(X, 0.3), 0)


class Recorder:
    """A network that keeps its inputs."""

    def __init__(self):
        self.calls = []

    def apply(self, params, x, log_snr, observed):
        self.calls.append((x, log_snr, observed))
        return jnp.zeros(observed.shape), (~observed).astype(float)


@pytest.mark.parametrize("observed_clean", [True, False])
def test_the_reference_shuffles_targets_and_shares_levels(observed_clean, key):
    z = 100 * jnp.arange(8.0)[:, None] + jnp.zeros((8, 4))
    nce = NCEConfig("two", observed_clean, level_mean=-4.0, level_std=0.1)

    @jax.jit
    def calls(key):
        network = Recorder()
        energy_task(network, VP(), LAYOUT, nce).loss({}, key, {"z": z})
        return network.calls

    (own, own_level, observed), (other, level, _), (noise, noise_level, _) = calls(key)
    seen = LAYOUT.expand(observed)
    # At this noise, 0.02, and with alpha near 1, the hundreds say from which row a latent comes.
    np.testing.assert_array_equal(jnp.round(own / 100), z / 100)
    np.testing.assert_array_equal(
        jnp.round(other / 100), jnp.where(seen, z, jnp.roll(z, 1, axis=0)) / 100
    )
    assert jnp.abs(noise).max() < 6
    np.testing.assert_array_equal(level, noise_level)
    assert not (own_level == level)[~observed].any()
    if observed_clean:
        np.testing.assert_array_equal(own[seen], z[seen])
        np.testing.assert_array_equal(own_level[observed], MAX_LOG_SNR)
    else:
        assert (own_level == own_level[:, :1]).all()


@functools.cache
def trained(negatives):
    """Train small towers on a known Gaussian; one vector of parameters compiles fastest."""
    z = gaussian().sample(jax.random.key(0), 20_000)
    task = energy_task(TOWERS, VP(), LAYOUT, NCEConfig(negatives))
    start, unravel = untrained()
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-2, NUM_STEPS), b2=0.99)

    def mean_loss(flat, key, z):
        return jnp.mean(task.loss(unravel(flat), key, {"z": z})[0])

    def body(state, i):
        flat, opt_state = state
        rows_key, loss_key = jax.random.split(jax.random.fold_in(jax.random.key(1), i))
        rows = jax.random.randint(rows_key, (256,), 0, len(z))
        gradient = jax.grad(mean_loss)(flat, loss_key, z[rows])
        updates, opt_state = optimizer.update(gradient, opt_state)
        return (optax.apply_updates(flat, updates), opt_state), None

    @jax.jit
    def run(flat):
        return jax.lax.scan(body, (flat, optimizer.init(flat)), jnp.arange(NUM_STEPS))[0][0]

    return unravel(run(start))


@functools.cache
def untrained():
    shapes = jnp.zeros((1, 4)), jnp.zeros((1, 3)), jnp.zeros((1, 3), bool)
    return ravel_pytree(jax.jit(TOWERS.init)(jax.random.key(0), *shapes))


@jax.jit
def compiled_push(params, x, t, observed):
    energy = energy_fn(LatentNetwork(TOWERS.apply, params, VP(), LAYOUT), observed)
    return jax.grad(lambda x: -energy(x, t).sum())(x)


def push(negatives, observed, t):
    """Return noised rows x and the learned -grad E there: [2000, 4] each."""
    key, noise_key = jax.random.split(jax.random.key(2))
    z, eps = gaussian().sample(key, 2000), jax.random.normal(noise_key, (2000, 4))
    x = jnp.where(LAYOUT.expand(jnp.asarray(observed))[None], z, VP().perturb(z, eps, t))
    known = jnp.broadcast_to(jnp.asarray(observed), (2000, 3))
    return x, compiled_push(trained(negatives), x, t, known)


def optimum(negatives, x, observed, target, t):
    """Return the energy of one target alone, by (1) or (2) of sbmae_jax/models/energy.py, with c = 0: [B]."""
    seen = np.flatnonzero(np.repeat(observed, LAYOUT.sizes))
    free = np.flatnonzero(np.repeat(np.arange(3) == target, LAYOUT.sizes))
    alpha, sigma = VP().alpha(t), VP().sigma(t)
    both, num = np.concatenate([seen, free]), len(seen)
    cov = jnp.asarray(gaussian().cov[np.ix_(both, both)])
    scale = jnp.where(jnp.arange(len(both)) < num, 1.0, alpha)
    cov = cov * scale[:, None] * scale[None]
    cov = cov + jnp.diag(jnp.where(jnp.arange(len(both)) < num, 0.0, sigma**2))
    x, eye = x[:, both], jnp.eye(len(both))
    together = log_normal(x, cov)
    apart = log_normal(x[:, :num], cov[:num, :num]) + log_normal(x[:, num:], cov[num:, num:])
    if negatives == "batch":
        return apart - together
    return jnp.logaddexp(apart, log_normal(x, eye)) - math.log(2) - together


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def exact_push(x, t, *which):
    negatives, observed, target = which
    return jax.grad(lambda x: -optimum(negatives, x, observed, target, t).sum())(x)


def log_normal(x, cov):
    root = jnp.linalg.cholesky(cov)
    white = jax.scipy.linalg.solve_triangular(root, x.T, lower=True)
    constant = jnp.sum(jnp.log(jnp.diag(root))) + 0.5 * len(cov) * math.log(2 * math.pi)
    return -0.5 * jnp.sum(white**2, axis=0) - constant


@pytest.mark.parametrize("level", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("observed", SUBSETS)
@pytest.mark.parametrize("negatives", ["batch", "two"])
def test_trained_towers_push_as_the_optimum_of_their_loss(negatives, observed, level):
    # After 400 small steps the direction is right and the size within a third. The optimum of the other
    # kind of negatives would not pass: for two coordinates its correlation is below 0.89.
    least = {"batch": 0.95, "two": 0.9}[negatives]
    t = VP().time(jnp.asarray(-2 * level))
    x, found = push(negatives, observed, t)
    for target in np.flatnonzero(~np.asarray(observed)):
        exact = exact_push(x, t, negatives, observed, int(target))
        own = np.repeat(np.arange(3) == target, LAYOUT.sizes)
        a, b = np.asarray(found[:, own]).ravel(), np.asarray(exact[:, own]).ravel()
        assert np.corrcoef(a, b)[0, 1] > least
        assert 0.7 < a @ b / (b @ b) < 1.3


def test_the_push_is_the_difference_of_the_conditional_and_the_marginal_score():
    # So `optimum` above is what the head of the file says; b given a.
    t, observed = jnp.asarray(0.3), SUBSETS[0]
    x = jax.random.normal(jax.random.key(0), (50, 4))
    found = exact_push(x, t, "batch", observed, 1)[:, 1]
    pair = analytic.gaussian(np.zeros(2), gaussian().cov[:2, :2])
    conditional = pair.conditional_score(VP(), np.array([True, False]))(x[:, :2], t)[:, 1]
    marginal = analytic.gaussian(np.zeros(1), gaussian().cov[1:2, 1:2]).score(VP())(x[:, 1:2], t)
    np.testing.assert_allclose(found, conditional - marginal[:, 0], atol=1e-4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"negatives": "three"}, "negatives must be one of two, batch, got 'three'"),
        ({"times": "log"}, "times must be one of level, uniform, got 'log'"),
        ({"level_std": -1.0}, "level_std must be in 0..20, got -1.0"),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        NCEConfig(**values)


def test_a_network_without_embeddings_cannot_be_set_against_the_batch():
    with pytest.raises(
        ValueError, match="negatives 'batch' needs an energy that embeds both sides, Tower"
    ):
        energy_task(NETWORKS["pair"], VP(), LAYOUT, NCEConfig("batch"))


def test_one_modality_has_no_energy():
    with pytest.raises(ValueError, match=r"an energy needs at least two modalities, got \('a',\)"):
        energy_task(NETWORKS["pair"], VP(), Layout(("a",), (4,)), NCEConfig("two"))


def test_one_row_has_nothing_to_be_set_against(key):
    task = energy_task(NETWORKS["tower"], VP(), LAYOUT, NCEConfig())
    with pytest.raises(ValueError, match="at least 2 rows, got a batch of 1"):
        task.loss({}, key, {"z": X[:1]})
