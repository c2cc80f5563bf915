"""Run the samplers under the oldest JAX that pyproject.toml allows; `make test-oldest` installs it."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np

warnings.simplefilter("error")

import sbmae_jax as sbm  # noqa: E402

KEY, VALUE, MASK = jax.random.key(0), jnp.asarray([0.5, 0.0]), jnp.asarray([True, False])
PROCESSES = (
    sbm.VP(), sbm.SubVP(), sbm.VE(), sbm.EDM(), sbm.CosineVP(), sbm.RectifiedFlow(),
    sbm.DiscreteVP(np.linspace(1e-4, 0.02, 1000)), sbm.Process(sbm.VP().log_alpha, sbm.VP().sigma),
)  # fmt: skip


def score(x, t):
    return jax.tree.map(lambda x: -x, x)


def everything(sde, x):
    """Use each kernel, with its combinators, and what goes beyond sampling."""
    times, put = sbm.log_snr_times(sde, 4), sbm.renoise(sde, VALUE, MASK)
    solver = sbm.dpm_solver(sde, score, eta=1.0)
    step = sbm.chain(
        sbm.given(sbm.ancestral(sde, score), put),
        sbm.repaint(sbm.given(solver, sbm.clamp(VALUE, MASK)), sde, 2),
        sbm.heun(sde, score, churn=0.1),
        sbm.adams(sde, score),
        sbm.hamiltonian(sde, score, num_steps=2, mask=MASK),
        sbm.euler_maruyama(sde, score),
        sbm.langevin(sde, score, num_steps=2, rule=sbm.by_norm),
        sbm.substeps(sbm.probability_flow(sde, score), 2),
        sbm.repeat(sbm.forward_transition(sde), 1),
    )
    end, path = sbm.sample(KEY, step, x, times, every=3, last=sbm.denoise(sde, score))
    particles = sbm.twisted_sample(KEY, sde, score, VALUE, MASK, times, 4, eta=1.0)
    exact = sbm.log_density(sde, score, x, times[::-1])
    probed = sbm.log_density(sde, score, x, times[::-1], key=KEY, mask=MASK)
    return end, path, particles, exact, probed


def beyond(sde, x):
    """Use guidance, twists, other grids and information."""
    times, total = sbm.vp_times(sde, 4), jnp.ones((1, 2))
    conditional = sbm.amortised(lambda x, t, mask: -x, MASK)
    mixed = sbm.classifier_free(
        conditional, sbm.noise_condition(score, sde, x, MASK), lambda t: 2 * t
    )
    guided = sbm.guide(mixed, lambda x, t: jnp.sum(x**2, axis=1), lambda t: 1 - t)
    options = {"noise": 0.1, "covariance": "jacobian", "frozen_below": 0.3}
    weighed = sbm.reconstruction_guidance(sde, score, jnp.ones(1), total, **options)
    warm = sbm.tilt(sde, score, lambda x, t, denoised: denoised[:, 0])
    return (
        sbm.sample(KEY, sbm.adams(sde, guided), x, times),
        sbm.sample(KEY, sbm.annealed_langevin(sde, weighed, 1e-4, 0.1), x, sbm.edm_times(sde, 4)),
        sbm.draw_particles(KEY, sbm.feynman_kac(KEY, sde, warm, times, (4, 2)), 4),
        sbm.acceptance_rates(KEY, sde, score, x, times[:-1]),
        sbm.mutual_information(KEY, sde, score, conditional, x, mask=MASK),
        sbm.total_correlation(KEY, sde, score, score, x),
        sbm.sample(KEY, sbm.adams({"a": sde, "b": sde}, score), {"a": x, "b": x}, times),
    )


def main():
    """Trace everything, and run a little of it."""
    x = jnp.ones((4, 2))
    for sde in PROCESSES:
        shapes = jax.eval_shape(lambda x, sde=sde: everything(sde, x), x)
        assert (shapes[0].shape, shapes[1].shape, shapes[3].shape) == ((4, 2), (3, 4, 2), (4,)), sde
        assert jax.eval_shape(lambda x, sde=sde: beyond(sde, x), x)[0].shape == (4, 2)
    sde = sbm.VP()
    times = sbm.log_snr_times(sde, 20)

    def run(x):
        return sbm.sample(KEY, sbm.dpm_solver(sde, score), x, times)

    np.testing.assert_allclose(run(x), x, atol=0.03)  # the flow of a normal to itself moves nothing
    np.testing.assert_allclose(jax.grad(lambda x: run(x).sum())(x), x, atol=0.03)
    np.testing.assert_allclose(jax.vmap(run)(x[None])[0], x, atol=0.03)
    print(f"the samplers run under JAX {jax.__version__}")


if __name__ == "__main__":
    main()
