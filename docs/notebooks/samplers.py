# %% [markdown]
# # Samplers, seen at work
#
# The samplers of this package need nothing but JAX and a score. Here the score is exact, that of three clusters in the plane,
# so whatever goes wrong is the sampler's doing.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image, display
from matplotlib.animation import FuncAnimation
from sbmae_jax import (
    VP,
    ancestral,
    chain,
    clamp,
    denoise,
    dpm_solver,
    draw_particles,
    given,
    heun,
    langevin,
    log_snr_times,
    renoise,
    repeat,
    sample,
    twisted_sample,
)

sde = VP()  # t = 0 is data, t = 1 is noise
centres = jnp.array([[-1.0, -1.0], [1.0, -0.6], [-0.4, 1.0]])
weights = jnp.array([0.5, 0.3, 0.2])
variance = 0.03


def log_p(x, t):
    """ln p of one row at time t, up to a constant."""
    spread = variance * sde.alpha(t) ** 2 + sde.sigma(t) ** 2
    gaps = jnp.sum((x - sde.alpha(t) * centres) ** 2, axis=1)
    return jax.nn.logsumexp(jnp.log(weights) - 0.5 * gaps / spread)


score = jax.vmap(jax.grad(log_p), in_axes=(0, None))
start = sde.prior(jax.random.key(0), (1500, 2))

# %% [markdown]
# ## Paths from noise to data
#
# `every=1` keeps the state after each step. Left, `dpm_solver` follows the deterministic flow: paths are smooth. Right, `ancestral`
# adds noise at each step: paths wander, and end in the same distribution.

# %%
times = log_snr_times(sde, 40)
makers = {"dpm_solver, no noise": dpm_solver, "ancestral, with noise": ancestral}
paths = {}
for title, make in makers.items():
    run = jax.jit(lambda key, x, make=make: sample(key, make(sde, score), x, times, every=1)[1])
    paths[title] = np.asarray(run(jax.random.key(1), start))


def animate(paths, file):
    """Write an animation of [T, N, 2] paths, with the trails of some rows, and show it."""
    size = (3.4 * len(paths), 3.2)
    figure, axes = plt.subplots(1, len(paths), figsize=size, dpi=50, layout="constrained")
    dots, trails = [], []
    for axis, (title, path) in zip(axes, paths.items(), strict=True):
        axis.set(xlim=(-2.5, 2.5), ylim=(-2.5, 2.5), title=title, xticks=[], yticks=[])
        dots.append(axis.scatter(*path[0, :300].T, s=2, color="tab:blue"))
        trails.append([axis.plot([], [], color="tab:orange", lw=1)[0] for _ in range(5)])

    def draw(frame):
        for dot, lines, path in zip(dots, trails, paths.values(), strict=True):
            dot.set_offsets(path[frame, :300])
            for row, line in enumerate(lines):
                line.set_data(*path[: frame + 1, row].T)

    frames = [*range(0, 41, 2), *[40] * 6]  # and a rest at the end
    FuncAnimation(figure, draw, frames=frames).save(file, writer="pillow", fps=8)
    plt.close(figure)
    display(Image(filename=file))


animate(paths, "paths.png")

# %% [markdown]
# ## Too few steps
#
# The same samplers with fewer steps. The numbers are the share of samples nearest to each cluster, which should be .5, .3, .2, and
# the standard deviation inside the clusters over the right one, which should be 1. 1500 samples tell the shares to about .013.


# %%
def measure(x):
    """Return the shares of the clusters, and the deviation within them over that of the data."""
    gaps = x[:, None] - np.asarray(centres)
    near = (gaps**2).sum(axis=2).argmin(axis=1)
    within = gaps[np.arange(len(x)), near]
    return np.bincount(near, minlength=3) / len(x), np.sqrt((within**2).mean() / variance)


solvers = {"ancestral": ancestral, "heun": heun, "dpm_solver": dpm_solver}
figure, axes = plt.subplots(3, 3, figsize=(7, 7), dpi=60, layout="constrained")
for line, (name, make) in zip(axes, solvers.items(), strict=True):
    for axis, num in zip(line, (6, 10, 40), strict=True):
        evaluated = num // 2 if name == "heun" else num  # Heun's rule evaluates the score twice
        grid = log_snr_times(sde, evaluated)
        draw = jax.jit(lambda key, x, make=make, grid=grid: sample(key, make(sde, score), x, grid))
        x = np.asarray(draw(jax.random.key(2), start))
        shares, width = measure(x)
        told = " ".join(f"{share:.2f}" for share in shares)
        axis.scatter(*x.T, s=1)
        axis.set(xlim=(-2, 2), ylim=(-2, 2), xticks=[], yticks=[])
        axis.set_title(f"{name}, {num} evaluations\n{told}; width {width:.2f}", fontsize=9)
plt.show()

# %% [markdown]
# ## The biases of conditioning
#
# Observe the first coordinate, x = -0.6, and draw the second. A joint score does not tell how the second should follow a *clean* first
# coordinate while it is noisy itself, and each answer has its price:
#
# - `clamp` puts the clean value in: too much trust early on;
# - `renoise` puts a noised value in: the second coordinate commits itself before it sees what is observed;
# - `langevin` corrections at every level let the second coordinate react, as far as they can carry it;
# - particles, `twisted_sample`, tend to the exact conditional.
#
# The black line is exact.

# %%
mask, value = jnp.array([True, False]), jnp.array([-0.6, 0.0])


def conditional(put, num_corrections=0):
    """Return a compiled sampler of the second coordinate."""
    step = given(ancestral(sde, score), put)
    if num_corrections:
        correct = given(langevin(sde, score, snr=0.16, mask=mask), put)
        step = chain(step, repeat(correct, num_corrections))
    last = chain(denoise(sde, score), clamp(value, mask))
    return jax.jit(lambda key, x: sample(key, step, x, log_snr_times(sde, 60), last=last))


@jax.jit
def by_particles(key, x):
    draw_key, pick_key = jax.random.split(key)
    cloud = twisted_sample(draw_key, sde, score, value, mask, log_snr_times(sde, 60), 4096)
    return draw_particles(pick_key, cloud, len(x))


ways = {
    "clamp": conditional(clamp(value, mask)),
    "renoise": conditional(renoise(sde, value, mask)),
    "renoise + 8 langevin": conditional(renoise(sde, value, mask), 8),
    "particles": by_particles,
}
line = np.linspace(-1.8, 1.8, 361)
towards = np.exp(-0.5 * (value[0] - centres[:, 0]) ** 2 / variance) * weights
exact = sum(
    w * np.exp(-0.5 * (line - c) ** 2 / variance)
    for w, c in zip(towards, centres[:, 1], strict=True)
)
exact /= exact.sum() * (line[1] - line[0])
upper = exact[line > 0].sum() / exact.sum()

figure, axes = plt.subplots(1, 4, figsize=(9, 2.6), dpi=70, sharey=True, layout="constrained")
for axis, (name, draw) in zip(axes, ways.items(), strict=True):
    x = np.asarray(draw(jax.random.key(3), start))
    axis.hist(x[:, 1], bins=60, range=(-1.8, 1.8), density=True, color="tab:blue", alpha=0.6)
    axis.plot(line, exact, color="black", lw=1)
    axis.set_title(f"{name}\nabove 0: {(x[:, 1] > 0).mean():.2f}, exact {upper:.2f}", fontsize=9)
    axis.set(xlabel="second coordinate", yticks=[])
plt.show()

# %% [markdown]
# Compare the shares above 0. What is observed lies nearer to the smaller cluster, above. The first three ways decide for a cluster
# while noise still hides that, and then it is too late: the clusters are so far apart that corrections hardly carry a sample
# across. No histogram looks wrong by itself, which is why biases of this kind go unnoticed. A score that was trained with the mask as an input, as the models of this
# package have it, needs none of this; then `amortised` is all there is to do. The guide to [sampling](../sampling.md) measures all of
# these in 320 dimensions.
