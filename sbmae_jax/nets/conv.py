"""The convolutional classifier of the reference implementation."""

import flax.linen as nn

from sbmae_jax._check import require_number
from sbmae_jax.nets.blocks import check_sizes
from sbmae_jax.types import Array


class ConvClassifier(nn.Module):
    """A picture [B, H, W, C] in [0, 1] -> (logits [B, num_classes], features [B, width]).

    3x3 convolutions that each halve the sides, then a dense layer, whose outputs are the features; dropout
    on these where `train`. As it stands this is the digit classifier of the reference implementation
    (method, section 8): for pictures 28x28x3 and 10 classes it has 1,147,466 parameters.

    On a CPU train it with `steps_per_call` 1 (`TrainingConfig`).

    Raises ValueError for what is no picture.
    """

    num_classes: int
    channels: tuple[int, ...] = (32, 64, 128)
    width: int = 512
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, train: bool) -> tuple[Array, Array]:
        if x.ndim != 4:
            raise ValueError(
                f"network 'conv' needs pictures [height, width, channels], got {x.shape[1:]}"
            )
        check_sizes("conv", channels=self.channels, width=self.width)
        require_number("network 'conv': dropout", self.dropout, 0, below=1)
        for channels in self.channels:
            x = nn.relu(nn.Conv(channels, (3, 3), strides=2, padding=1)(x))
        features = nn.relu(nn.Dense(self.width)(x.reshape(len(x), -1)))
        h = nn.Dropout(self.dropout, deterministic=not train)(features)
        return nn.Dense(self.num_classes)(h), features
