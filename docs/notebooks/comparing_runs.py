# %% [markdown]
# # Reading and comparing runs
#
# A first run is not the last one. Here are two runs on the same rows: a first, short one, and one whose score was trained for ten times as
# many steps. Which is better, in what, and is the difference more than chance?
#
# The rows are scikit-learn's handwritten digits in black and white. Their upper half is one modality, and their lower half the other.

# %%
import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import sbmae_jax
from sklearn.datasets import load_digits

images = load_digits().data
rng = np.random.default_rng(0)
rows = {
    "top": images[:, :32] > 6,
    "bottom": images[:, 32:] > 6,
    "split": rng.choice(["train", "validation", "test"], len(images), p=[0.7, 0.1, 0.2]),
}

# %% [markdown]
# ## Two runs
#
# Change one thing at a time, or a difference has no single cause. `autoencoders_from` takes the autoencoders of the first run for the second,
# so that only the score differs. The split is ours: otherwise the seed draws it, and runs with different seeds would be measured on
# different rows.

# %%
folder = Path(tempfile.mkdtemp())  # "runs" keeps them


def run(name, num_steps, autoencoders_from=None):
    """Train a run that differs from others in the steps of its score."""
    return sbmae_jax.fit(
        rows,
        workdir=folder / name,
        config={
            "autoencoder_training.num_steps": 400,
            "score_training.num_steps": num_steps,
            "evaluation.num_unconditional": 200,
        },
        autoencoders_from=autoencoders_from,
        evaluate=True,
        quiet=True,
    )


models = {"short": run("short", 50)}

# %%
models["long"] = run("long", 500, autoencoders_from=folder / "short")

# %% [markdown]
# ## What a run leaves behind

# %%
for path in sorted((folder / "short").iterdir()):
    print(path.name + "/" * path.is_dir())

# %% [markdown]
# `report/index.html` is for reading. `results.json` has all its figures, `metrics.jsonl` the curves of the trainings, and `config.json` and
# `choices.txt` all that is needed to make the run again. `tensorboard --logdir` shows the curves of several runs as well.
#
# ## The curves first
#
# Is the loss of the score still falling at the end? Then a longer training would have learned more. Look at held-out rows: the loss of the
# training rows falls as well while a network learns them by heart.

# %%
figure, axis = plt.subplots(figsize=(6, 3), dpi=70, layout="constrained")
for name in models:
    lines = [json.loads(line) for line in (folder / name / "metrics.jsonl").open()]
    lines = [line for line in lines if line["stage"] == "score" and "held_out_loss" in line]
    points = [(line["step"], line["held_out_loss"]) for line in lines]
    axis.plot(*zip(*points, strict=True), ".-", label=name)
axis.set(xlabel="steps", ylabel="loss of the score, held-out rows")
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Figures with their errors
#
# Each figure of `results.json` has a standard error over test rows. 1 is the error of the training mean, and `linear` is linear regression
# on the same rows, the least that a model should be compared with.

# %%
results = {name: json.loads((folder / name / "results.json").read_text()) for name in models}
names = ["top", "bottom"]
print(f"{'error, given the other':24}{'short':>16}{'long':>16}{'linear':>16}")
for target in names:
    predicted = [results[name]["prediction"][target] for name in results]
    errors = [one["model"]["error"] for one in predicted] + [predicted[0]["linear"]["error"]]
    print(f"{target:24}", *(f"{one['mean']:8.3f} ± {one['se']:.3f}" for one in errors))

# %% [markdown]
# ## Is the difference more than chance?
#
# Those standard errors are mostly about the rows: some digits are hard for every run. Both runs were measured on the same rows, so take the
# difference row by row, and its standard error. Twice that is the least that a difference must be. This is chance in the rows alone: the
# seed of a training changes it as well, so train both with other seeds, `seed=1`, before you believe a small difference.

# %%
test = rows["split"] == "test"


def row_errors(model, target):
    """Return the squared error of the mean of 20 samples, for each test row."""
    (other,) = (name for name in names if name != target)
    drawn = model.generate({other: rows[other][test]}, num_samples=20, key=0)[target]
    return ((drawn.mean(axis=1) - rows[target][test]) ** 2).sum(axis=1)


for target in names:
    errors = np.stack([row_errors(model, target) for model in models.values()])  # [run, row]
    gap, root = errors[1] - errors[0], np.sqrt(errors.shape[1])
    se, apart = gap.std(ddof=1) / root, np.hypot(*errors.std(axis=1, ddof=1)) / root
    print(
        f"{target:7} long - short {gap.mean():+.3f} ± {se:.3f}"
        f"   (± {apart:.3f} if the rows were not the same)"
    )

# %% [markdown]
# ## Where does an error come from?
#
# What an autoencoder loses, no score can bring back: encoded and decoded, a modality has the least error that a sample of it can have. Here
# both runs have the same autoencoders, so the left bars are equal, and whatever changed on the right is the work of the score.

# %%
figure, axes = plt.subplots(1, 2, figsize=(7, 2.8), dpi=70, layout="constrained", sharey=True)
for place, name in enumerate(results):
    at = np.arange(len(names)) + 0.35 * (place - 0.5)
    for axis, part in zip(axes, ("reconstruction", "prediction"), strict=True):
        errors = [results[name][part][target]["model"]["error"] for target in names]
        means, ses = [one["mean"] for one in errors], [one["se"] for one in errors]
        axis.bar(at, means, 0.33, yerr=ses, label=name)
for axis, title in zip(axes, ("encoded and decoded", "given the other"), strict=True):
    axis.set_xticks(range(len(names)), names)
    axis.set_title(title)
axes[0].set_ylabel("error over that of the mean")
axes[0].legend(frameon=False)
plt.show()

# %% [markdown]
# ## Look at samples
#
# Figures are means, and a look at samples often says more. The upper half is given, framed in red; the lower half is generated, by each
# run with the same key.

# %%
figure, axes = plt.subplots(len(models), 14, figsize=(8, 1.6), dpi=70, layout="constrained")
tops = rows["top"][test][:14]
for line, (name, model) in zip(axes, models.items(), strict=True):
    made = model.generate({"top": tops}, key=0)["bottom"]
    for axis, top, bottom in zip(line, tops, made, strict=True):
        axis.imshow(np.concatenate([top, bottom]).reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        axis.add_patch(plt.Rectangle((-0.45, -0.45), 7.9, 3.9, fill=False, color="red"))
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")
plt.show()

# %% [markdown]
# [Reading the report](../reading_the_report.md) says for each figure what is normal, and what to do when it is bad;
# [What the figures mean](../figures.md) lists all keys of `results.json`. A finished run goes on with `redo="score"` after a change, in
# place; comparing needs the old one too, so give the changed run a folder of its own, as here.
