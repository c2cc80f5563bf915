"""The convolutional classifier of the reference implementation."""

import flax.linen as nn

from sbmae_jax._check import require_number
from sbmae_jax.nets.blocks import check_sizes
from sbmae_jax.types import Array


class ConvClassifier(nn.Module):
    """Classify pictures by 3x3 convolutions that each halve the sides, then a dense layer.

    With its defaults this is the digit classifier of the reference implementation: for 28x28x3 pictures and
    10 classes it has 1,147,466 parameters. To train it on a CPU, set `steps_per_call=1` in `TrainingConfig`,
    because gradients of convolutions inside a scan are slow there.

    Attributes:
        num_classes: Number of classes.
        channels: Width of each convolution. With three of them a 28x28 picture shrinks to 4x4.
        width: Width of the dense layer, whose outputs are the features that a Fréchet distance can be
            measured in.
        dropout: Share of the features that is dropped in training, in [0, 1). The reference drops none.

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.conv import ConvClassifier
        >>> network, pictures = ConvClassifier(num_classes=10), np.zeros((2, 28, 28, 3))
        >>> params = jax.eval_shape(lambda key: network.init(key, pictures, False), jax.random.key(0))
        >>> sum(leaf.size for leaf in jax.tree.leaves(params))
        1147466
    """

    num_classes: int
    channels: tuple[int, ...] = (32, 64, 128)
    width: int = 512
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, train: bool) -> tuple[Array, Array]:
        """Classify pictures in [0, 1], `[B, H, W, C]`.

        Args:
            x: The pictures.
            train: Whether to apply dropout, which needs an rng "dropout".

        Returns:
            Logits `[B, num_classes]` and features `[B, width]`.

        Raises:
            ValueError: If `x` is not a batch of pictures, or a field is out of range.
        """
        if x.ndim != 4:
            raise ValueError(f"pictures must be [height, width, channels], got {x.shape[1:]}")
        check_sizes(self, "channels", "width")
        require_number("dropout", self.dropout, 0, below=1)
        for channels in self.channels:
            x = nn.relu(nn.Conv(channels, (3, 3), strides=2, padding=1)(x))
        features = nn.relu(nn.Dense(self.width)(x.reshape(x.shape[0], -1)))
        h = nn.Dropout(self.dropout, deterministic=not train)(features)
        return nn.Dense(self.num_classes)(h), features
