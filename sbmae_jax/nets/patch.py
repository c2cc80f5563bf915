"""Networks of patches and dense layers, for small pictures on few cores."""

import flax.linen as nn
import jax.numpy as jnp

from sbmae_jax._check import require_number
from sbmae_jax.nets.blocks import check_sizes, from_patches, neighbourhoods, to_patches
from sbmae_jax.types import Array


def check_patches(shape: tuple[int, ...], patch: int) -> None:
    """Raise ValueError if pictures of this shape cannot be cut into patches."""
    if len(shape) != 3 or shape[0] % patch or shape[1] % patch:
        raise ValueError(
            f"pictures must be [height, width, channels] with sides that are multiples of patch = {patch}, "
            f"got {shape}"
        )


class PatchEncoder(nn.Module):
    """Encode pictures by one dense layer on each patch, then two on the whole picture.

    Attributes:
        num_heads: 2 for the mean and the log-variance of a VAE, 1 for a regularised autoencoder.
        latent_size: Size of the latent.
        patch: Side of a patch in pixels; it must divide the sides of the picture.
        channels: Features of a patch.
        width: Width of the dense layer on the whole picture.

    Raises:
        ValueError: When called, if the patches do not fit the pictures, or a field is out of range.

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.patch import PatchEncoder
        >>> encoder, x = PatchEncoder(num_heads=2, latent_size=32), np.zeros((8, 28, 28, 3))
        >>> output, _ = jax.eval_shape(encoder.init_with_output, jax.random.key(0), x)
        >>> output.shape
        (8, 64)
    """

    num_heads: int
    latent_size: int
    patch: int = 4
    channels: int = 48
    width: int = 384

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Encode pictures in [0, 1], `[B, H, W, C]`, as `[B, num_heads latent_size]`."""
        check_sizes(self, "patch", "channels", "width")
        check_patches(x.shape[1:], self.patch)
        h = nn.gelu(nn.Dense(self.channels)(to_patches(2 * x - 1, self.patch)))
        h = nn.gelu(nn.Dense(self.width)(h.reshape(h.shape[0], -1)))
        return nn.Dense(self.num_heads * self.latent_size)(h)


class PatchDecoder(nn.Module):
    """Decode latents into pictures of two layers, front and back, and a mask that chooses between them.

    Pictures show things in front of other things. A plain decoder spends capacity on a sharp edge at every
    pixel; here an edge is one zero crossing of the mask, whatever the two layers show.

    Attributes:
        shape: Height, width and channels of the pictures, both sides multiples of `patch`.
        patch: Side of a patch in pixels.
        channels: Features of a patch, from which its pixels of both layers and the mask are made.
        width: Width of the dense layer on the whole picture.
        logits: Whether the two layers are logits, of any size, as classes of pixels need.

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.patch import PatchDecoder
        >>> decoder = PatchDecoder(shape=(28, 28, 3))
        >>> params = jax.eval_shape(decoder.init, jax.random.key(0), np.zeros((1, 32)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(params))
        923680
    """

    shape: tuple[int, ...]
    patch: int = 4
    channels: int = 48
    width: int = 384
    logits: bool = False

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Decode latents `[B, latent_size]` into pictures in [0, 1], or logits, `[B, *shape]`."""
        check_sizes(self, "patch", "channels", "width")
        check_patches(self.shape, self.patch)
        height, width, depth = self.shape
        height, width = height // self.patch, width // self.patch
        h = nn.gelu(nn.Dense(self.width)(z))
        h = nn.gelu(nn.Dense(height * width * self.channels)(h))
        h = h.reshape(z.shape[0], height, width, self.channels)
        y = from_patches(nn.Dense(self.patch**2 * (2 * depth + 1))(h), self.patch)
        front, back, mask = jnp.split(y, [depth, 2 * depth], axis=-1)
        mask = nn.sigmoid(4 * mask)
        if not self.logits:
            front, back = nn.sigmoid(front), nn.sigmoid(back)
        return mask * front + (1 - mask) * back


class PatchClassifier(nn.Module):
    """Classify pictures by two 3x3 convolutions on patches of 2 pixels, written as dense layers.

    Attributes:
        num_classes: Number of classes.
        channels: Width of each convolution.
        width: Width of the dense layer, whose outputs are the features.
        dropout: Share of the activations that is dropped in training, in [0, 1).

    Raises:
        ValueError: When called, if the sides of the pictures are not multiples of 4, or a field is out of
            range.

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.patch import PatchClassifier
        >>> network = PatchClassifier(num_classes=10)
        >>> apply = lambda key: network.init_with_output(key, np.zeros((2, 28, 28, 3)), train=False)
        >>> (logits, features), params = jax.eval_shape(apply, jax.random.key(0))
        >>> logits.shape, features.shape
        ((2, 10), (2, 128))
    """

    num_classes: int
    channels: tuple[int, int] = (32, 64)
    width: int = 128
    dropout: float = 0.3

    @nn.compact
    def __call__(self, x: Array, train: bool) -> tuple[Array, Array]:
        """Return logits `[B, num_classes]` and features `[B, width]`, as `ConvClassifier` does."""
        check_sizes(self, "channels", "width")
        require_number("dropout", self.dropout, 0, below=1)
        check_patches(x.shape[1:], 4)
        h = to_patches(2 * x - 1, 2)
        h = nn.relu(nn.Dense(self.channels[0])(neighbourhoods(h)))
        h = nn.relu(nn.Dense(self.channels[1])(neighbourhoods(to_patches(h, 2))))
        h = nn.Dropout(self.dropout, deterministic=not train)(h.reshape(h.shape[0], -1))
        features = nn.relu(nn.Dense(self.width)(h))
        h = nn.Dropout(self.dropout, deterministic=not train)(features)
        return nn.Dense(self.num_classes)(h), features
