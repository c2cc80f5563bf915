# %% [markdown]
# # Your own arrays
#
# A data set that is not ours: 569 biopsies of scikit-learn, with thirty measurements of cell nuclei and a diagnosis. We treat the
# means, the errors and the largest values as three modalities of ten numbers each, and the diagnosis as a fourth.

# %%
import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import sbmae_jax
from sklearn.datasets import load_breast_cancer

table = load_breast_cancer()
rows = {
    "mean": table.data[:, :10],
    "error": table.data[:, 10:20],
    "worst": table.data[:, 20:],
    "diagnosis": table.target_names[table.target],
}
features = [name.removeprefix("mean ") for name in table.feature_names[:10]]

# %% [markdown]
# ## Make holes, and fit
#
# In a fifth of the rows `worst` was "not measured": NaN. Rows with holes are trained on as they are. `evaluate=True` measures the
# model on test rows, and writes a report into the workdir. The split is ours, so that we know which rows are the test rows.

# %%
rng = np.random.default_rng(0)
truth = rows["worst"].copy()
missing = rng.random(len(truth)) < 0.2
rows["worst"] = np.where(missing[:, None], np.nan, truth)
rows["split"] = rng.choice(["train", "validation", "test"], len(truth), p=[0.7, 0.1, 0.2])

workdir = Path(tempfile.mkdtemp()) / "biopsies"  # "runs/biopsies" keeps it
model = sbmae_jax.fit(rows, workdir=workdir, evaluate=True, num_steps=600, quiet=True)
print((workdir / "choices.txt").read_text())

# %% [markdown]
# ## Look at the report
#
# `report/index.html` in the workdir is a page to read in a browser; [Reading the report](../reading_the_report.md) explains it. Its
# figures are in `results.json` as well. Here is the first thing to look at: how wrong the model is about each modality, given all
# others, beside linear regression and nearest neighbours on the same test rows. 1 is the error of the training mean.

# %%
results = json.loads((workdir / "results.json").read_text())
methods = ["model", "linear", "neighbours"]
names = list(results["prediction"])
figure, axis = plt.subplots(figsize=(6, 2.8), dpi=70, layout="constrained")
for place, method in enumerate(methods):
    found = [results["prediction"][name][method]["error"] for name in names]
    axis.bar(
        np.arange(len(names)) + 0.27 * (place - 1),
        [error["mean"] for error in found],
        0.25,
        yerr=[error["se"] for error in found],
        label=method,
    )
axis.set_xticks(range(len(names)), names)
axis.set_ylabel("error over that of the mean")
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# Many relations of these measurements are close to linear, and there linear regression is hard to beat; compare the bars with their
# standard errors. It answers one question, though; the model answers all of them, with samples.
#
# ## Fill the holes
#
# `impute` returns the rows with the mean of the samples in each hole, and the samples of each row that has a hole: their spread says how
# uncertain a value is. We kept the truth, so we can look. Between the 5th and the 95th percentile of 20 exact samples lie 81 % of new
# values: the percentiles of so few samples are ranks 1.95 and 19.05 of 20, and each of 21 gaps is as likely.

# %%
found = model.impute({name: rows[name] for name in names})
held = missing & (rows["split"] == "test")
samples = found.samples["worst"][held[missing]]  # [rows, 20, 10]
figure, axes = plt.subplots(1, 3, figsize=(9, 3), dpi=70, layout="constrained")
for axis, column in zip(axes, (0, 4, 9), strict=True):
    value, drawn = truth[held, column], samples[:, :, column]
    axis.errorbar(value, drawn.mean(axis=1), yerr=2 * drawn.std(axis=1), fmt=".", alpha=0.6)
    axis.axline((value.mean(), value.mean()), slope=1, color="black", lw=1)
    axis.set(title=f"worst {features[column]}", xlabel="truth", ylabel="filled, ± 2 sd")
plt.show()

low, high = np.quantile(samples, [0.05, 0.95], axis=1)
inside = ((truth[held] >= low) & (truth[held] <= high)).mean()
print(f"{held.sum()} test rows with holes; {inside:.0%} of values within 5 to 95 % of the samples")

# %% [markdown]
# ## Ask for a modality
#
# What do the measurements look like for each diagnosis? Two hundred samples of each, in the units of the data:

# %%
asked = model.generate({"diagnosis": np.array(["benign", "malignant"])}, num_samples=200)
figure, axis = plt.subplots(figsize=(5, 3.2), dpi=70, layout="constrained")
for place, diagnosis in enumerate(("benign", "malignant")):
    real = rows["diagnosis"] == diagnosis
    axis.scatter(*rows["mean"][real][:, [0, 1]].T, s=8, alpha=0.25, color=f"C{place}")
    drawn = asked["mean"][place][:, [0, 1]]
    axis.scatter(*drawn.T, s=14, marker="x", color=f"C{place}", label=f"{diagnosis}, samples")
axis.set(xlabel="mean radius", ylabel="mean texture")
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Densities and outliers
#
# `log_density` compares rows under one model, in nats; `of=` makes it conditional. `surprise` is its negative: outliers come
# first. To see whether it finds any, we spoil ten complete test rows: each gets the `worst` of another row. All values stay
# plausible; only their combination is wrong.

# %%
whole = np.flatnonzero((rows["split"] == "test") & ~missing)
checked = {name: np.asarray(rows[name])[whole].copy() for name in names}
spoilt = np.arange(10)
checked["worst"][spoilt] = checked["worst"][np.roll(spoilt, 3)]
density = model.log_density(checked, of=["worst"])
order = np.argsort(density.value)  # the least probable first
hits = np.isin(order[:10], spoilt).sum()
print(f"of the ten least probable of {len(whole)} rows, {hits} are among the ten spoilt ones")
figure, axis = plt.subplots(figsize=(6, 2.4), dpi=70, layout="constrained")
axis.hist(np.delete(density.value, spoilt), bins=40, label="as measured")
axis.plot(density.value[spoilt], np.full(10, 1.0), "rv", label="spoilt")
axis.set(xlabel="ln p(worst | mean, error, diagnosis), nats", ylabel="rows")
axis.legend(frameon=False)
plt.show()
print("most surprising rows, all modalities:", whole[np.argsort(-model.surprise(checked))[:5]])

# %% [markdown]
# Rows that look alike in this respect, such as two tumours of the same size, can be swapped without a trace, so not all ten must be
# found. Next: [bring parts of your own](../own_parts.md), such as an autoencoder that you have trained already.
