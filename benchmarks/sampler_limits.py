"""What `samplers.py` measures besides its table: solver orders, the particle method, and speed."""

import time

import analytic
import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from sbmae_jax import (
    VP,
    ancestral,
    chain,
    dpm_solver,
    draw_particles,
    edm_times,
    given,
    heun,
    init_multistep,
    langevin,
    log_snr_times,
    probability_flow,
    renoise,
    repeat,
    sample,
    twisted_sample,
)  # fmt: skip

SDE = VP()


def measure(quick=False):
    found = {"order": order(quick), "particles": particles(quick), "speed": speed(quick)}
    return found


def order(quick):
    """Fit the order of each ODE solver on a correlated Gaussian of ten dimensions, in float64."""
    truth, t_min, steps = small_gaussian(), 0.02, (40, 80) if quick else (100, 200, 400, 800)
    solvers = {"DDIM": (probability_flow, edm_times), "Heun": (heun, edm_times)}
    solvers["DPM++(2M)"] = (dpm_solver, log_snr_times)
    found = {}
    with jax.enable_x64(True):
        x = SDE.prior(jax.random.key(0), (16, 10))
        exact = truth.flow(SDE, x, 1.0, t_min)
        for name, (solver, grid) in solvers.items():
            errors = []
            for num in steps:
                start = init_multistep(x) if solver is dpm_solver else x
                step, times = solver(SDE, truth.score(SDE)), grid(SDE, num, t_min)
                end = sample(jax.random.key(0), step, start, times)
                end = end.x if solver is dpm_solver else end
                errors.append(float(np.abs(end - exact).max()))
            slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
            found[name] = {"steps": list(steps), "errors": errors, "order": float(slope)}
    return found


def small_gaussian():
    """Five modalities of two coordinates that share three factors."""
    rng = np.random.default_rng(1)
    factors = rng.normal(size=(10, 3))
    factors *= np.sqrt(0.7) / np.linalg.norm(factors, axis=1, keepdims=True)
    return analytic.gaussian(np.zeros(10), factors @ factors.T + 0.3 * np.eye(10))


def particles(quick, num_steps=256):
    """Error of the twisted sampler's conditional mean as particles grow; its calibration; its ESS."""
    truth, mask = small_gaussian(), jnp.arange(10) < 4
    score, times = truth.score(SDE), log_snr_times(SDE, num_steps)
    value = truth.sample(jax.random.key(3), 1)[0]
    exact = truth.given(value, np.asarray(mask)).mean
    counts, repeats = ((8, 32), 20) if quick else ((4, 8, 16, 32, 64, 128, 256, 512), 100)

    def mean(key, num):
        found = twisted_sample(key, SDE, score, value, mask, times, num)
        return jnp.exp(found.log_weights) @ found.x, found.ess.min()

    errors, sizes = [], []
    for num in counts:
        keys = jax.random.split(jax.random.key(num), repeats)
        run = jax.jit(
            lambda keys, num=num: jax.lax.map(lambda key: mean(key, num), keys, batch_size=20)
        )
        means, ess = run(keys)
        errors.append(float(np.sqrt(((np.asarray(means)[:, 4:] - exact) ** 2).mean())))
        sizes.append(float(ess.mean()))
    slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    return {
        "observed": "4 of 10 coordinates", "steps": num_steps, "repeats": repeats,
        "particles": list(counts), "errors": errors, "smallest_ess": sizes, "slope": float(slope),
        **particle_calibration(truth, mask, score, quick),
    }  # fmt: skip


def particles_at_size(truth, observed, quick):
    """Error and effective sample size where the table is: 320 coordinates, 128 of them observed."""
    score, times = truth.score(SDE), log_snr_times(SDE, 100)
    points = truth.sample(jax.random.key(7), 4)
    rows = []
    for num in (8,) if quick else (16, 64, 256):
        args = jnp.asarray(observed), times, num
        run = jax.jit(lambda key, value, args=args: twisted_sample(key, SDE, score, value, *args))
        gaps, sizes = [], []
        for i, value in enumerate(points):
            found, part = run(jax.random.key(i), value), truth.given(value, observed)
            mean = np.exp(found.log_weights) @ np.asarray(found.x)[:, ~observed]
            gaps.append((((mean - part.mean) ** 2) / np.diag(part.covariance)).mean())
            sizes.append(float(found.ess.min()))
        error = float(np.sqrt(np.mean(gaps)))
        rows.append({"particles": num, "error": error, "smallest_ess": float(np.mean(sizes))})
    return rows


def particle_calibration(truth, mask, score, quick, num_particles=64):
    rows = 50 if quick else 2_000
    values = truth.sample(jax.random.key(5), rows)
    times = log_snr_times(SDE, 128)

    def one(pair):
        key, value = pair
        run_key, draw_key = jax.random.split(key)
        found = twisted_sample(run_key, SDE, score, value, mask, times, num_particles)
        return draw_particles(draw_key, found, 1)[0]

    keys = jax.random.split(jax.random.key(6), rows)
    x = np.asarray(jax.jit(lambda k, v: jax.lax.map(one, (k, v), batch_size=50))(keys, values))
    u = []
    for row in x:
        part = truth.given(row, np.asarray(mask))
        scale = np.sqrt(part.cov.sum())
        u.append(scipy.stats.norm.cdf((row[4:].sum() - part.mean.sum()) / scale))
    p_value = float(scipy.stats.kstest(u, "uniform").pvalue)
    return {"calibration_p_value": p_value, "calibration_particles": num_particles}


def network(key, size):
    """The widest dense score network of the method: about 35 million weights at 640 coordinates."""
    widths = [size * w for w in (1, 2, 6, 6, 4, 2, 1, 1)]
    keys = jax.random.split(key, len(widths) - 1)
    shapes = zip(widths[:-1], widths[1:], keys, strict=True)
    weights = [jax.random.normal(k, (a, b)) / np.sqrt(a) for a, b, k in shapes]

    def score(weights, x, t):
        for w in weights[:-1]:
            x = jax.nn.softplus(x @ w + t)
        return x @ weights[-1]

    return weights, score


def speed(quick, batch=256, evaluations=32):
    """Time samplers against a loop over the network alone; interleaved, the fastest of each counts."""
    size = 64 if quick else 640
    weights, score = network(jax.random.key(0), size)
    value, mask = jnp.ones((batch, size)), jnp.arange(size) < size // 10
    x = jax.random.normal(jax.random.key(1), (batch, size))

    def alone(key, weights, x):
        ts = log_snr_times(SDE, evaluations)[:-1]
        return jax.lax.scan(lambda x, t: (score(weights, x, t), None), x, ts)[0]

    def few_step(key, weights, x):
        step = dpm_solver(SDE, lambda x, t: score(weights, x, t))
        return sample(key, step, init_multistep(x), log_snr_times(SDE, evaluations)).x

    def conditional(key, weights, x):
        net, put = (lambda x, t: score(weights, x, t)), renoise(SDE, value, mask)
        correct = repeat(given(langevin(SDE, net, 0.3, mask=mask), put), 3)
        step = chain(given(ancestral(SDE, net, 1.0), put), correct)
        return sample(key, step, x, log_snr_times(SDE, evaluations // 4))

    compiled, compiling = {}, {}
    for run in (alone, few_step, conditional):
        start = time.perf_counter()
        compiled[run.__name__] = jax.jit(run).lower(jax.random.key(2), weights, x).compile()
        compiling[run.__name__] = time.perf_counter() - start
    seconds = {name: [] for name in compiled}
    for _ in range(2 if quick else 5):
        for name, run in compiled.items():
            start = time.perf_counter()
            run(jax.random.key(2), weights, x).block_until_ready()
            seconds[name].append(time.perf_counter() - start)
    best = {name: min(times) for name, times in seconds.items()}
    shares = {f"share_{n}": best["alone"] / best[n] for n in ("few_step", "conditional")}
    return {"weights": int(sum(w.size for w in weights)), "batch": batch, "evaluations": evaluations,
            "seconds": best, "compile_seconds": compiling, **shares}  # fmt: skip
