"""How a stage is trained: the numbers in a config, and the optimiser that they define."""

from dataclasses import dataclass

import jax
import optax

from sbmae_jax._check import require_int, require_number

MAX_STEPS = 2**31 - 1  # the step is an int32 on the device
COUNTS = (
    "num_steps", "batch_size", "steps_per_call", "checkpoint_every", "held_out_every",
    "num_microbatches",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long and how fast to train: AdamW with linear warm-up and cosine decay to zero.

    Attributes:
        num_steps: Number of optimiser steps.
        batch_size: Rows per step, over all devices. A multiple of `num_microbatches` times the number of
            devices.
        learning_rate: Peak learning rate, which the schedule reaches after the warm-up.
        warmup_steps: Steps of linear warm-up from zero, at most half of `num_steps`.
        weight_decay: Decoupled weight decay of AdamW (Loshchilov & Hutter, arXiv:1711.05101).
        clip_norm: Largest global norm of a gradient; a longer gradient is scaled down to it. Where networks
            are stacked, each has a norm of its own.
        b2: AdamW's decay rate of the second moments.
        ema_decay: Decay rate of the exponential moving average of the parameters, which is what gets
            evaluated. It is warmed up as min(ema_decay, (1 + step) / (10 + step)).
        steps_per_call: Optimiser steps in one compiled call. Use 1 for convolutions on a CPU, where their
            gradient is slow inside `lax.scan`.
        checkpoint_every: Steps between checkpoints, rounded up to whole calls.
        patience: Stop after this many steps without a smaller loss on held-out rows, and keep the averaged
            parameters with the smallest, which may be those of the start. At least `held_out_every`; 0
            trains to the last step and keeps the last parameters.
        held_out_every: Steps between two measurements of the held-out loss, rounded up to whole calls.
        max_minutes: End after this many minutes, with what was learned until then, as with patience; the time
            before an interruption counts. The result then depends on the speed of the machine. 0 sets no
            limit.
        num_microbatches: Number of parts of a batch whose gradients are computed one after the other and
            averaged, for batches that do not fit in memory. Each part has its own noise.

    Raises:
        ValueError: A value has the wrong type or is out of range.

    Example:
        >>> TrainingConfig(num_steps=1000, batch_size=64, learning_rate=1e-3).patience
        0
    """

    num_steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int = 100
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    b2: float = 0.999
    ema_decay: float = 0.999
    steps_per_call: int = 50
    checkpoint_every: int = 500
    patience: int = 0
    held_out_every: int = 100
    num_microbatches: int = 1
    max_minutes: float = 0.0

    def __post_init__(self):
        for name in COUNTS:
            require_int(name, getattr(self, name), 1, MAX_STEPS)
        for name in ("warmup_steps", "patience"):
            require_int(name, getattr(self, name), 0, MAX_STEPS)
        for name in ("learning_rate", "weight_decay", "max_minutes"):
            require_number(name, getattr(self, name), low=0, high=1e6)
        require_number("clip_norm", self.clip_norm, high=1e30, above=0)
        require_number("b2", self.b2, low=0, below=1)
        require_number("ema_decay", self.ema_decay, low=0, high=1)
        if 0 < self.patience < self.held_out_every:
            raise ValueError(
                f"patience must be 0, or at least held_out_every = {self.held_out_every}, got "
                f"{self.patience}"
            )

    def optimizer(self, num_members: int = 0) -> optax.GradientTransformation:
        """Build the optimiser.

        Args:
            num_members: How many networks are stacked in the parameters; 0 for a single network.
        """
        warmup = min(self.warmup_steps, self.num_steps // 2)
        schedule = optax.warmup_cosine_decay_schedule(
            0.0, self.learning_rate, warmup, decay_steps=self.num_steps
        )
        clip = optax.clip_by_global_norm(self.clip_norm)
        return optax.chain(
            _per_member(clip) if num_members else clip,
            optax.adamw(schedule, b2=self.b2, weight_decay=self.weight_decay),
        )


def _per_member(transform: optax.GradientTransformation) -> optax.GradientTransformation:
    """Apply a stateless transformation to the gradient of each stacked network alone."""

    def update(updates, state, params=None):
        return jax.vmap(lambda member: transform.update(member, state)[0])(updates), state

    return optax.GradientTransformation(transform.init, update)
