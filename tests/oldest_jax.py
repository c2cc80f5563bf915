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


def main():
    """Trace everything, and run a little of it."""
    x = jnp.ones((4, 2))
    for sde in PROCESSES:
        shapes = jax.eval_shape(lambda x, sde=sde: everything(sde, x), x)
        assert (shapes[0].shape, shapes[1].shape, shapes[3].shape) == ((4, 2), (3, 4, 2), (4,)), sde
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
