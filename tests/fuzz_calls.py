"""The functions that are fuzzed, with arguments that are right, and what else an argument may be given."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from sbmae_jax import (
    EDM,
    VE,
    VP,
    Particles,
    SubVP,
    amortised,
    amortised_times,
    ancestral,
    annealed_langevin,
    by_level,
    by_norm,
    chain,
    clamp,
    classifier_free,
    denoise,
    divide,
    dpm_solver,
    draw,
    edm_times,
    euler_maruyama,
    given,
    guide,
    heun,
    jump,
    ladder_times,
    langevin,
    lift,
    log_density,
    log_density_adaptive,
    log_snr_times,
    probability_flow,
    remember,
    renoise,
    repeat,
    resample,
    sample,
    steer,
    twisted_sample,
    uniform_times,
)  # fmt: skip
from sbmae_jax.generate import Sampling, generate_latents
from sbmae_jax.latents import Layout, moments

SDES = (VP(), SubVP(), VE(), EDM())
X = jnp.asarray([[0.5, -1.0, 0.3], [0.1, 0.2, -0.7]])
ROW, MASK, T = X[0], jnp.asarray([True, False, False]), jnp.asarray(0.5)
TIMES = jnp.asarray([1.0, 0.5, 0.25, 0.1])
SHAPES = ((), (0,), (1,), (2,), (3,), (2, 3), (3, 2), (0, 3), (2, 0), (1, 3), (2, 3, 1), (3, 3))
DTYPES = ("float32", "float16", "int32", "bool", "uint8", "complex64")
NUMBERS = (
    0, 1, 2, -1, 7, 0.0, 0.5, 1.0, -0.5, 1e-30, 1e30, 1e300, 10**30, float("nan"), float("inf"), True,
    None, "a", (), (1, 2),
)  # fmt: skip


def score(x, t):
    return -1.0 * x


def network(x, t, observed):
    return -1.0 * x


SCORES = (
    lambda x, t: jnp.zeros(7), lambda x, t: jnp.sum(x), lambda x, t: -x[None], lambda x, t: 0.0,
)  # fmt: skip
STEPS = (
    lambda key, x, t, t_next: jnp.zeros(7), lambda key, x, t, t_next: x.astype(jnp.float16),
    lambda key, x, t, t_next: (x, x), lambda key, x, t, t_next: None,
)  # fmt: skip


@st.composite
def arrays(draw):
    """Draw an array, small, of any shape and type, maybe with NaN."""
    shape, dtype = draw(st.sampled_from(SHAPES)), draw(st.sampled_from(DTYPES))
    values = np.random.default_rng(draw(st.integers(0, 3))).normal(size=shape)
    if draw(st.integers(0, 4)) == 0:
        values = np.full(shape, draw(st.sampled_from([0.0, 1.0, np.nan, np.inf])))
    with np.errstate(all="ignore"):
        values = values.astype(dtype)
    return jnp.asarray(values) if draw(st.booleans()) else values


def odd(kind):
    """Return values that an argument of a kind may not have, and some that it may."""
    numbers = st.one_of(st.sampled_from(NUMBERS), st.integers(-3, 50), st.floats(width=32))
    wrong = st.sampled_from([None, "a", [1.0, 2.0, 3.0], ("a",), {}])
    return {
        "array": st.one_of(arrays(), arrays(), arrays(), wrong),
        "number": st.one_of(numbers, arrays()),
        "whole": st.one_of(numbers, arrays()),
        "key": st.one_of(
            st.sampled_from([0, None, "a", 1.5]), arrays(), st.just(jax.random.split(jax.random.key(0), 2))
        ),
        "score": st.sampled_from(SCORES),
        "step": st.sampled_from(STEPS),
        "name": st.sampled_from(["", "noise", "likelihood", "unit", None, 3]),
        "shape": st.sampled_from([(), (2, 3), (-1,), (0,), 3, None, ("a",), (2.5,)]),
        "window": st.sampled_from(
            [(0, 1), (1, 0), (0.5,), (), None, 3, ("a", "b"), (float("nan"), 1), (0, 1, 2)]
        ),
        "sde": st.sampled_from(SDES),
        "fixed": st.nothing(),
    }[kind]  # fmt: skip


class Call:
    """A function, and for each of its arguments (kind, a value that is right).

    traced: whether the call is traced, not computed.  like: what comes out of right values has this shape.
    """

    def __init__(self, function, like, traced=True, **arguments):
        self.function, self.like, self.traced = function, like, traced
        self.arguments = {"key": ("key", jax.random.key(0)), **arguments}
        wanted = inspect.signature(function).parameters
        self.arguments = {name: self.arguments[name] for name in wanted}

    def run(self, values):
        def call():
            return self.function(**values)

        return jax.eval_shape(call) if self.traced else call()


def sampled(kernel, key, x, times=TIMES):
    return sample(key, kernel, x, times)


x = ("array", X)
sde = ("sde", VP())
s = ("score", score)
mask = ("array", MASK)
value = ("array", ROW)
t = ("array", T)
whole = ("whole", 2)
CALLS = {
    "VP": Call(
        lambda beta_min, beta_max: VP(beta_min, beta_max).sigma(T),
        (),
        False,
        beta_min=("number", 0.1),
        beta_max=("number", 20.0),
    ),
    "SubVP": Call(
        lambda beta_min, beta_max: SubVP(beta_min, beta_max).sigma(T),
        (),
        False,
        beta_min=("number", 0.1),
        beta_max=("number", 20.0),
    ),
    "VE": Call(
        lambda sigma_min, sigma_max: VE(sigma_min, sigma_max).sigma(T),
        (),
        False,
        sigma_min=("number", 0.1),
        sigma_max=("number", 20.0),
    ),
    "EDM": Call(
        lambda sigma_min, sigma_max, rho: EDM(sigma_min, sigma_max, rho).sigma(T),
        (),
        False,
        sigma_min=("number", 0.1),
        sigma_max=("number", 20.0),
        rho=("number", 7.0),
    ),
    "SDE.perturb": Call(
        lambda sde, x, eps, t: sde.perturb(x, eps, t), (2, 3), sde=sde, x=x, eps=x, t=t
    ),
    "SDE.slope": Call(
        lambda sde, x, score, t: sde.slope(x, score, t), (2, 3), sde=sde, x=x, score=x, t=t
    ),
    "SDE.score_from_noise": Call(
        lambda sde, eps, t: sde.score_from_noise(eps, t), (2, 3), sde=sde, eps=x, t=t
    ),
    "SDE.noise_from_score": Call(
        lambda sde, score, t: sde.noise_from_score(score, t), (2, 3), sde=sde, score=x, t=t
    ),
    "SDE.score_from_denoised": Call(
        lambda sde, denoised, x, t: sde.score_from_denoised(denoised, x, t),
        (2, 3),
        sde=sde,
        denoised=x,
        x=x,
        t=t,
    ),
    "SDE.denoised_from_score": Call(
        lambda sde, score, x, t: sde.denoised_from_score(score, x, t),
        (2, 3),
        sde=sde,
        score=x,
        x=x,
        t=t,
    ),
    "SDE.prior": Call(
        lambda sde, key, shape: sde.prior(key, shape), (2, 3), sde=sde, shape=("shape", (2, 3))
    ),
    "SDE.prior_log_prob": Call(lambda sde, x: sde.prior_log_prob(x), (2,), sde=sde, x=x),
    "SDE.sample_time": Call(
        lambda sde, key, shape, weighting, t_min: sde.sample_time(key, shape, weighting, t_min),
        (2,),
        sde=sde,
        shape=("shape", (2,)),
        weighting=("name", "noise"),
        t_min=("number", 1e-3),
    ),
    "uniform_times": Call(uniform_times, (3,), False, num=whole, t_min=("number", 1e-3)),
    "log_snr_times": Call(log_snr_times, (3,), False, sde=sde, num=whole, t_min=("number", 1e-3)),
    "edm_times": Call(
        edm_times, (3,), False, sde=sde, num=whole, t_min=("number", 1e-3), rho=("number", 7.0)
    ),
    "ladder_times": Call(
        ladder_times, (4,), False, sde=sde, sigmas=("array", jnp.asarray([0.9, 0.5, 0.1]))
    ),
    "sample": Call(
        lambda key, step, x, times: sample(key, step, x, times),
        (2, 3),
        step=("step", euler_maruyama(VP(), score)),
        x=x,
        times=("array", TIMES),
    ),
    "sample every": Call(
        lambda key, x, times, every: sample(key, jump(VP()), x, times, every=every)[0],
        (2, 3),
        x=x,
        times=("array", TIMES),
        every=whole,
    ),
    "sample last": Call(
        lambda key, last, x: sample(key, jump(VP()), x, TIMES, last=last),
        (2, 3),
        last=("step", denoise(VP(), score)),
        x=x,
    ),
    "euler_maruyama": Call(
        lambda key, sde, score, x: sampled(euler_maruyama(sde, score), key, x),
        (2, 3),
        sde=sde,
        score=s,
        x=x,
    ),
    "ancestral": Call(
        lambda key, sde, score, x, data_scale: sampled(ancestral(sde, score, data_scale), key, x),
        (2, 3),
        sde=sde,
        score=s,
        x=x,
        data_scale=("number", 1.0),
    ),
    "probability_flow": Call(
        lambda key, sde, score, x: sampled(probability_flow(sde, score), key, x),
        (2, 3),
        sde=sde,
        score=s,
        x=x,
    ),
    "heun": Call(
        lambda key, sde, score, x, churn: sampled(heun(sde, score, churn), key, x),
        (2, 3),
        sde=sde,
        score=s,
        x=x,
        churn=("number", 0.1),
    ),
    "denoise": Call(
        lambda key, sde, score, x: sampled(denoise(sde, score), key, x),
        (2, 3),
        sde=sde,
        score=s,
        x=x,
    ),
    "dpm_solver": Call(
        lambda key, sde, score, x, eta: sampled(dpm_solver(sde, score, eta), key, remember(x)).x,
        (2, 3),
        sde=sde,
        score=s,
        x=x,
        eta=("number", 0.5),
    ),
    "dpm_solver alone": Call(lambda key, x: sampled(dpm_solver(VP(), score), key, x), None, x=x),
    "remember": Call(lambda x: remember(x).x, (2, 3), x=x),
    "lift": Call(lambda key, x: sampled(lift(jump(VP())), key, x), None, x=x),
    "langevin": Call(
        lambda key, sde, score, snr, num_steps, mask, noise_scale, x: sampled(
            langevin(sde, score, snr, num_steps, mask, noise_scale), key, x
        ),
        (2, 3),
        sde=sde,
        score=s,
        snr=("number", 0.1),
        num_steps=whole,
        mask=mask,
        noise_scale=("number", 1.0),
        x=x,
    ),
    "annealed_langevin": Call(
        lambda key, sde, score, rate, sigma_last, num_steps, x: sampled(
            annealed_langevin(sde, score, rate, sigma_last, num_steps), key, x
        ),
        (2, 3),
        sde=sde,
        score=s,
        rate=("number", 0.1),
        sigma_last=("number", 0.1),
        num_steps=whole,
        x=x,
    ),
    "by_level": Call(
        lambda key, score, x: sampled(langevin(VP(), score, rule=by_level), key, x),
        (2, 3),
        score=s,
        x=x,
    ),
    "by_norm": Call(
        lambda key, score, x: sampled(langevin(VP(), score, rule=by_norm), key, x),
        (2, 3),
        score=s,
        x=x,
    ),
    "chain": Call(
        lambda key, step, x: sampled(chain(step, jump(VP())), key, x),
        (2, 3),
        step=("step", denoise(VP(), score)),
        x=x,
    ),
    "repeat": Call(
        lambda key, step, num, x: sampled(repeat(step, num), key, x),
        (2, 3),
        step=("step", denoise(VP(), score)),
        num=whole,
        x=x,
    ),
    "resample": Call(
        lambda key, step, num, x: sampled(resample(step, VP(), num), key, x),
        (2, 3),
        step=("step", denoise(VP(), score)),
        num=whole,
        x=x,
    ),
    "divide": Call(
        lambda key, step, num, x: sampled(divide(step, num), key, x),
        (2, 3),
        step=("step", denoise(VP(), score)),
        num=whole,
        x=x,
    ),
    "jump": Call(lambda key, sde, x: sampled(jump(sde), key, x), (2, 3), sde=sde, x=x),
    "clamp": Call(
        lambda key, value, mask, x: sampled(clamp(value, mask), key, x),
        (2, 3),
        value=value,
        mask=mask,
        x=x,
    ),
    "renoise": Call(
        lambda key, sde, value, mask, noise, x: sampled(renoise(sde, value, mask, noise), key, x),
        (2, 3),
        sde=sde,
        value=value,
        mask=mask,
        noise=value,
        x=x,
    ),
    "given": Call(
        lambda key, step, value, mask, x: sampled(given(step, clamp(value, mask)), key, x),
        (2, 3),
        step=("step", denoise(VP(), score)),
        value=value,
        mask=mask,
        x=x,
    ),
    "amortised": Call(
        lambda network, mask, x, t: amortised(lambda x, t, o: network(x, t), mask)(x, t),
        (2, 3),
        network=s,
        mask=mask,
        x=x,
        t=t,
    ),
    "amortised_times": Call(
        lambda network, mask, x, t: amortised_times(network, mask)(x, t),
        (2, 3),
        network=s,
        mask=mask,
        x=x,
        t=t,
    ),
    "guide": Call(
        lambda score, strength, mask, weights, window, x: guide(
            score,
            lambda x, t: jnp.sum(x**2, axis=-1),
            strength,
            mask=mask,
            weights=weights,
            window=window,
        )(x, T),
        (2, 3),
        score=s,
        strength=("number", 0.5),
        mask=mask,
        weights=value,
        window=("window", (0.0, 1.0)),
        x=x,
    ),
    "guide energy": Call(lambda energy, x: guide(score, energy)(x, T), None, energy=s, x=x),
    "classifier_free": Call(
        lambda conditional, unconditional, weight, x: classifier_free(
            conditional, unconditional, weight
        )(x, T),
        (2, 3),
        conditional=s,
        unconditional=s,
        weight=("number", 2.0),
        x=x,
    ),
    "log_density": Call(
        lambda sde, score, x, times, num_probes, mask: log_density(
            sde, score, x, times, num_probes=num_probes, mask=mask
        ),
        (2,),
        sde=sde,
        score=s,
        x=x,
        times=("array", TIMES[::-1]),
        num_probes=whole,
        mask=mask,
    ),
    "log_density probes": Call(
        lambda x, key, num_probes: log_density(
            VP(), score, x, TIMES[::-1], key=key, num_probes=num_probes
        ),
        (2,),
        x=x,
        num_probes=whole,
    ),
    "log_density_adaptive": Call(
        lambda score, x, t_min, rtol, atol, max_steps, key, mask: log_density_adaptive(
            VP(),
            score,
            x,
            t_min=t_min,
            rtol=rtol,
            atol=atol,
            max_steps=max_steps,
            key=key,
            mask=mask,
        ),
        (2,),
        score=s,
        x=x,
        t_min=("number", 1e-3),
        rtol=("number", 1e-3),
        atol=("number", 1e-3),
        max_steps=("whole", 16),
        mask=mask,
    ),
    "steer": Call(
        lambda sde, score, value, mask, covariance, x, t: steer(
            sde, score, value, mask, covariance
        )(x, t),
        (2, 3),
        sde=sde,
        score=s,
        value=value,
        mask=mask,
        covariance=("array", jnp.eye(3)),
        x=x,
        t=t,
    ),
    "twisted_sample": Call(
        lambda key, sde, score, value, mask, times, num_particles, threshold, data_scale: (
            twisted_sample(
                key,
                sde,
                score,
                value,
                mask,
                times,
                num_particles,
                threshold=threshold,
                data_scale=data_scale,
            ).x
        ),
        (2, 3),
        sde=sde,
        score=s,
        value=value,
        mask=mask,
        times=("array", TIMES),
        num_particles=whole,
        threshold=("number", 0.5),
        data_scale=("number", 1.0),
    ),
    "twisted_sample covariance": Call(
        lambda key, value, mask, covariance: (
            twisted_sample(key, VP(), score, value, mask, TIMES, 2, covariance=covariance).x
        ),
        (2, 3),
        value=value,
        mask=mask,
        covariance=("array", jnp.eye(3)),
    ),
    "draw": Call(
        lambda key, num: draw(key, Particles(X, jnp.log(jnp.ones(2) / 2), jnp.ones(4), T), num),
        (2, 3),
        num=whole,
    ),
    "generate_latents": Call(
        lambda key, value, mask: generate_latents(
            key, VP(), score, Sampling(num_levels=2, num_corrections=1), value, mask
        ),
        (2, 3),
        value=x,
        mask=("array", X > 0),
    ),
    "Layout": Call(
        lambda names, sizes, x: Layout(names, sizes).unpack(x)["a"],
        (2, 1),
        names=("shape", ("a", "b")),
        sizes=("shape", (1, 2)),
        x=x,
    ),
    "moments": Call(
        lambda x, present: moments(x, present).std, (3,), x=x, present=("array", X > -5)
    ),
}
# Arguments of which an error may speak where another is wrong: they must fit together.
TOGETHER = {
    "beta_min": ("beta_max",),
    "sigma_min": ("sigma_max",),
    "t": ("x",),
    "times": ("step",),
    "value": ("x", "mask"),
    "x": (
        "step",
        "state",
        "score",
        "mask",
        "value",
        "weights",
        "energy",
        "noise",
        "sizes",
        "t ",
        "covariance",
        "present",
        "weight",
        "strength",
    ),
    "mask": ("value", "covariance"),
}
