# %% [markdown]
# # Bring a pretrained autoencoder
#
# The autoencoders of this method are independent, so any of them may come from elsewhere: another framework, another data set,
# last year. Here an autoencoder of handwritten digits is trained by scikit-learn first, and stands for yours.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import sbmae_jax
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPRegressor

images, labels = load_digits(return_X_y=True)
pixels = (images / 16).astype(np.float32)  # [1797, 64], in [0, 1]
train = np.arange(len(pixels)) < 1500
yours = MLPRegressor(
    hidden_layer_sizes=(96, 12, 96), activation="tanh", max_iter=150, random_state=0
)
_ = yours.fit(pixels[train], pixels[train])

# %% [markdown]
# ## Its two halves
#
# A `FrozenCoder` is a pair of functions and their parameters, arrays in dicts: `encode(params, x) -> z` and `decode(params, z) -> x`.
# Written with JAX, they become part of the compiled program. Functions of PyTorch or scikit-learn work too, and are then called from Python.

# %%
params = {
    name: {str(layer): jnp.asarray(array, jnp.float32) for layer, array in enumerate(arrays)}
    for name, arrays in (("weights", yours.coefs_), ("bias", yours.intercepts_))
}


def linear(params, x, layer):
    return x @ params["weights"][layer] + params["bias"][layer]


def encode(params, x):
    return jnp.tanh(linear(params, jnp.tanh(linear(params, x, "0")), "1"))


def decode(params, z):
    return linear(params, jnp.tanh(linear(params, z, "2")), "3")


coder = sbmae_jax.FrozenCoder(encode=encode, decode=decode, params=params)

# %% [markdown]
# Look at what it keeps before anything else: no sample can be better than this. Above test digits, below the same after encoding and
# decoding.


# %%
def show(*lines):
    """Draw rows of digits."""
    size = (0.6 * len(lines[0]), 0.65 * len(lines))
    _, axes = plt.subplots(len(lines), len(lines[0]), figsize=size, squeeze=False, dpi=70)
    for line, row in zip(axes, lines, strict=True):
        for axis, image in zip(line, row, strict=True):
            axis.imshow(np.reshape(image, (8, 8)), cmap="gray_r", vmin=0, vmax=1)
            axis.axis("off")
    plt.show()


tests = pixels[~train]
kept = np.asarray(jax.jit(decode)(params, jax.jit(encode)(params, tests)))
show(tests[:12], kept[:12])
explained = 1 - ((tests - kept) ** 2).mean() / tests.var(axis=0).mean()
print(f"12 latents explain {explained:.2f} of the variance of test digits")

# %% [markdown]
# ## Learn the joint distribution
#
# Pass it as `coders=`. It is not trained any further; the autoencoder of the name is trained as usual, and the score learns how the
# latents of both go together. (An array `label` would be taken for the classes to evaluate by, and not be modelled.)

# %%
rows = {
    "digit": pixels,
    "name": labels.astype(str),
    "split": np.where(train, "train", "test"),
}
rows["split"][train & (np.arange(len(pixels)) >= 1350)] = "validation"
model = sbmae_jax.fit(rows, coders={"digit": coder}, num_steps=1200, quiet=True)

# %% [markdown]
# Digits from names, eight of each, and names from test digits:

# %%
asked = model.generate({"name": np.array([str(k) for k in range(10)])}, num_samples=8)
show(*np.swapaxes(asked["digit"], 0, 1))

# %%
read = model.generate({"digit": tests}, num_samples=9)["name"]
votes = [max(set(row), key=list(row).count) for row in read.tolist()]
right = np.mean(np.array(votes) == labels[~train].astype(str))
print(f"the most frequent of nine names is right for {right:.2f} of {len(votes)} test digits")

# %% [markdown]
# ## Save it
#
# The file holds the parameters of your coder, but no functions: pass the coder again when you load.

# %%
import tempfile

with tempfile.TemporaryDirectory() as folder:
    model.save(f"{folder}/digits")
    again = sbmae_jax.load(f"{folder}/digits", coders={"digit": coder})
same = again.generate({"digit": tests[:5]}, key=1)["name"]
print(same, (same == model.generate({"digit": tests[:5]}, key=1)["name"]).all())

# %% [markdown]
# [Bring your own parts](../own_parts.md) has the other kinds of coders, and networks and likelihoods of your own.
