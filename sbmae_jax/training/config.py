"""How a stage is trained: the numbers of a config, and the optimiser they stand for."""

from dataclasses import dataclass

import jax
import optax

from sbmae_jax._check import require_int, require_number, require_type

# The number after it stands for the noise of held-out rows, `step.HELD_OUT_FOLD`.
MAX_STEPS = 2**31 - 2
COUNTS = (
    "num_steps", "batch_size", "steps_per_call", "checkpoint_every", "held_out_every",
    "num_microbatches",
)  # fmt: skip


@dataclass(frozen=True)
class TrainingConfig:
    """How a stage is trained: AdamW with linear warm-up and cosine decay to zero.

    ema_decay: of the exponential moving average of the parameters, which is what is evaluated;
        it is warmed up as min(ema_decay, (1 + step) / (10 + step)).
    steps_per_call: optimiser steps in one compiled call. Take 1 for convolutions on a CPU, whose
        gradient is slow inside `lax.scan` there.
    checkpoint_every: steps between checkpoints, rounded up to whole calls.
    patience: stop after so many steps without a smaller loss on held-out rows, and keep the averaged
        parameters that had the smallest; at least `held_out_every`. 0 trains to the last step and keeps
        the last.
    held_out_every: steps between looks at the held-out rows, rounded up to whole calls.
    num_microbatches: parts of a batch whose gradients are taken one after the other and averaged, for
        batches that do not fit the device. Each part has noise of its own.

    Raises ValueError for a value out of its range or of another type.
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

    def __post_init__(self):
        for name in COUNTS:
            require_int(name, getattr(self, name), 1, MAX_STEPS)
        require_int("warmup_steps", self.warmup_steps, 0, MAX_STEPS)
        require_type("patience", self.patience, int)
        for name in ("learning_rate", "weight_decay"):
            require_number(name, getattr(self, name), low=0, high=1e6)
        require_number("clip_norm", self.clip_norm, high=1e30, above=0)
        require_number("b2", self.b2, low=0, below=1)
        require_number("ema_decay", self.ema_decay, low=0, high=1)
        if self.patience and self.patience < self.held_out_every:
            raise ValueError(
                f"patience must be 0, or at least held_out_every = {self.held_out_every}, got "
                f"{self.patience}"
            )

    def optimizer(self, num_members: int = 0) -> optax.GradientTransformation:
        """Return the optimiser, of one network or of several whose parameters are stacked."""
        warmup = min(self.warmup_steps, self.num_steps // 2)
        schedule = optax.warmup_cosine_decay_schedule(
            0.0, self.learning_rate, warmup, decay_steps=self.num_steps
        )
        clip = optax.clip_by_global_norm(self.clip_norm)
        return optax.chain(
            by_member(clip) if num_members else clip,
            optax.adamw(schedule, b2=self.b2, weight_decay=self.weight_decay),
        )


def by_member(transform: optax.GradientTransformation) -> optax.GradientTransformation:
    """Apply a transformation that keeps no state to each of several stacked gradients alone."""

    def update(updates, state, params=None):
        return jax.vmap(lambda member: transform.update(member, state)[0])(updates), state

    return optax.GradientTransformation(transform.init, update)
