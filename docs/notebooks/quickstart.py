# %% [markdown]
# # Quick start: any digit from any other
#
# PolyDigits has five modalities. Each shows the same digit, in another handwriting and on crops of another photograph.
# A small model of it is installed with the package, so nothing has to be trained or downloaded: the package with its extra
# `train` is enough ([Install](../install.md)).

# %%
import matplotlib.pyplot as plt
import numpy as np
import sbmae_jax
from sbmae_jax.data.polydigits import polydigits

model = sbmae_jax.load("polydigits-small")
names = [modality.name for modality in model.modalities]
print(*names)

# %% [markdown]
# ## From nothing
#
# Nothing is observed, so the model makes up all five. Each column is one sample: its pictures should agree on a digit.


# %%
def show(rows, edges=()):
    """Draw {name: [N, 28, 28, 3]} with a row for each name; those in edges have a red frame."""
    num = len(next(iter(rows.values())))
    size = (0.8 * num + 1, 0.75 * len(rows))
    _, axes = plt.subplots(len(rows), num, figsize=size, squeeze=False, dpi=60)
    for (name, images), line in zip(rows.items(), axes, strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for image, axis in zip(images, line, strict=True):
            axis.imshow(np.clip(image, 0, 1))
            axis.set(xticks=[], yticks=[])
            if name in edges:
                axis.spines[:].set(color="red", linewidth=2.5)
    plt.show()


show(model.generate({}, num_samples=8, key=1))

# %% [markdown]
# ## From one to all others
#
# Now one modality is observed: test pictures that the model was not trained on. What you give comes back unchanged, framed in red;
# the other four are generated.

# %%
test = polydigits("test", 8, tuple(names), seed=0).arrays
show(model.generate({"hubble": test["hubble"] / 255}, key=2), edges=["hubble"])

# %% [markdown]
# Any set of modalities may be given. With two, there is less to guess:

# %%
given = {name: test[name] / 255 for name in ("hubble", "coffee")}
show(model.generate(given, key=3), edges=given)

# %% [markdown]
# ## Several answers
#
# One observation has many answers: the digit is told, the handwriting and the background are not. `num_samples` draws several
# for each row.

# %%
one = {"hubble": test["hubble"][5:6] / 255}
several = model.generate(one, num_samples=8, key=4)
show({name: images[0] for name, images in several.items()}, edges=["hubble"])

# %% [markdown]
# ## Temperature
#
# The temperature scales the noise that sampling adds. 1 samples the distribution that was learned. Less is more coherent and less
# diverse: the digits become more regular, and the samples more alike. The spread below is the mean standard deviation of a pixel
# over eight samples for the same observation.

# %%
for temperature in (1.0, 0.7, 0.3):
    typical = model.with_sampling(temperature=temperature).generate(one, num_samples=8, key=4)
    spread = np.mean([np.std(typical[name][0], axis=0).mean() for name in names[:2]])
    print(f"temperature {temperature}: spread {spread:.3f}")
    show({name: typical[name][0] for name in names[:2]})

# %% [markdown]
# `sbmae app` shows the same model in your browser, where you can draw the digit yourself. Next: a model of
# [your own arrays](own_arrays.ipynb).
