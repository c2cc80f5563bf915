"""Train one model of the PyTorch library MultiVae by its own trainer, and write its samples.

Run by benchmarks/multivae.py in an environment of its own, which has PyTorch and not this library. The file
that it reads has `train.NAME` [N, 28, 28, 3] uint8, `test.NAME` and, for each request, `observed.REQUEST`
[N, M] bool; the one that it writes has `REQUEST.NAME` [N, 28, 28, 3] uint8, `seconds` and `parameters`.
"""

import argparse
import json
import time

import numpy as np
import torch
from multivae.data.datasets.base import MultimodalBaseDataset
from multivae.models import (
    JNF,
    MMVAE,
    MVAE,
    MVTCAE,
    JNFConfig,
    MMVAEConfig,
    MMVAEPlus,
    MMVAEPlusConfig,
    MoPoE,
    MoPoEConfig,
    MVAEConfig,
    MVTCAEConfig,
)
from multivae.models.nn import BaseMultilatentEncoder
from multivae.trainers import (
    BaseTrainer,
    BaseTrainerConfig,
    MultistageTrainer,
    MultistageTrainerConfig,
)
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn.base_architectures import BaseDecoder, BaseEncoder
from torch import nn

PATCH, CHANNELS, WIDTH, SIDE = 4, 48, 384, 28
ROWS = (SIDE // PATCH) ** 2
SCALE = 0.5**0.5  # of a normal likelihood with variance 1/2, so that its error is the squared one


class Body(nn.Module):
    """The layers of this library's PatchEncoder."""

    def __init__(self, size: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, CHANNELS, PATCH, PATCH), nn.GELU(), nn.Flatten(),
            nn.Linear(ROWS * CHANNELS, WIDTH), nn.GELU(), nn.Linear(WIDTH, size),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(2 * x - 1)


class Encoder(BaseEncoder):
    """Mean and log-variance of one code."""

    def __init__(self, latent: int):
        BaseEncoder.__init__(self)
        self.latent_dim, self.body = latent, Body(2 * latent)

    def forward(self, x):
        mean, log_var = self.body(x).chunk(2, dim=1)
        return ModelOutput(embedding=mean, log_covariance=log_var)


class TwoEncoder(BaseMultilatentEncoder):
    """Mean and log-variance of a shared code and of one's own."""

    def __init__(self, latent: int):
        BaseMultilatentEncoder.__init__(self)
        self.latent_dim = self.style_dim = latent
        self.body = Body(4 * latent)

    def forward(self, x):
        mean, log_var, own, own_log_var = self.body(x).chunk(4, dim=1)
        return ModelOutput(
            embedding=mean, log_covariance=log_var,
            style_embedding=own, style_log_covariance=own_log_var,
        )  # fmt: skip


class Decoder(BaseDecoder):
    """The layers of this library's PatchDecoder: two pictures and a mask that chooses between them."""

    def __init__(self, latent: int):
        BaseDecoder.__init__(self)
        self.dense = nn.Sequential(
            nn.Linear(latent, WIDTH), nn.GELU(), nn.Linear(WIDTH, ROWS * CHANNELS), nn.GELU()
        )
        self.out = nn.ConvTranspose2d(CHANNELS, 7, PATCH, PATCH)

    def forward(self, z):
        h = self.dense(z).reshape(-1, CHANNELS, SIDE // PATCH, SIDE // PATCH)
        front, back, mask = self.out(h).split([3, 3, 1], dim=1)
        mask = torch.sigmoid(4 * mask)
        return ModelOutput(
            reconstruction=mask * torch.sigmoid(front) + (1 - mask) * torch.sigmoid(back)
        )


def build(name: str, names: list[str], latent: int, beta: float, epochs: int):
    """Build a model of MultiVae with our networks."""
    common = {
        "n_modalities": len(names), "latent_dim": latent, "beta": beta,
        "input_dims": dict.fromkeys(names, (3, SIDE, SIDE)),
        "decoders_dist": dict.fromkeys(names, "normal"),
        "decoder_dist_params": {n: {"scale": SCALE} for n in names},
    }  # fmt: skip
    if name == "mmvae_plus":
        config = MMVAEPlusConfig(**common, K=1, modalities_specific_dim=latent)
        encoders = {n: TwoEncoder(latent) for n in names}
        return MMVAEPlus(config, encoders, {n: Decoder(2 * latent) for n in names})
    networks = {n: Encoder(latent) for n in names}, {n: Decoder(latent) for n in names}
    if name == "mvtcae":
        return MVTCAE(MVTCAEConfig(**common, alpha=0.9), *networks)
    if name == "mopoe":
        return MoPoE(MoPoEConfig(**common), *networks)
    if name == "mvae":
        return MVAE(MVAEConfig(**common, k=1, warmup=0), *networks)
    if name == "mmvae":
        # One sample of Gaussians, as in our port. The library gives beta no effect.
        how = {"K": 1, "prior_and_posterior_dist": "normal", "learn_prior": False}
        return MMVAE(MMVAEConfig(**common, **how, loss="iwae_looser"), *networks)
    return JNF(JNFConfig(**common, warmup=max(epochs // 2, 1)), *networks)


def as_tensors(arrays, split: str, names: list[str]) -> dict[str, torch.Tensor]:
    """Return pictures with the channels first, in [0, 1]."""
    return {
        n: torch.from_numpy(arrays[f"{split}.{n}"]).permute(0, 3, 1, 2).float() / 255 for n in names
    }


def complete(model, data, observed: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    """Generate all modalities of rows given what each observes; rows that observe the same go together."""
    made = {n: np.zeros((len(observed), SIDE, SIDE, 3), np.uint8) for n in names}
    for pattern in np.unique(observed, axis=0):
        rows = np.flatnonzero((observed == pattern).all(axis=1))
        given = [n for n, seen in zip(names, pattern, strict=True) if seen]
        if given:
            some = MultimodalBaseDataset({n: data[n][rows] for n in names})
            output = model.predict(some, cond_mod=given, gen_mod="all")
        else:
            output = model.decode(model.generate_from_prior(len(rows)))
        for n in names:
            picture = output[n].detach().permute(0, 2, 3, 1).numpy()
            made[n][rows] = np.round(255 * picture.clip(0, 1)).astype(np.uint8)
    return made


def main() -> None:
    """Train, sample, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = ["mvtcae", "mmvae_plus", "mopoe", "mvae", "mmvae", "jnf"]
    parser.add_argument("--model", choices=known, required=True)
    for name in ("input", "output", "folder"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--latent", type=int, required=True)
    parser.add_argument("--beta", type=float, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    np.random.seed(arguments.seed)
    arrays = np.load(arguments.input)
    names = json.loads(str(arrays["names"]))
    model = build(arguments.model, names, arguments.latent, arguments.beta, arguments.epochs)
    settings = {
        "output_dir": arguments.folder, "per_device_train_batch_size": 128,
        "num_epochs": arguments.epochs, "learning_rate": 2e-3, "no_cuda": True,
        "optimizer_params": {"betas": (0.9, 0.99)}, "seed": arguments.seed,
        "scheduler_cls": "CosineAnnealingLR", "scheduler_params": {"T_max": arguments.epochs},
    }  # fmt: skip
    staged = arguments.model == "jnf"
    config = (MultistageTrainerConfig if staged else BaseTrainerConfig)(**settings)
    data = MultimodalBaseDataset(as_tensors(arrays, "train", names))
    trainer = (MultistageTrainer if staged else BaseTrainer)(
        model, train_dataset=data, training_config=config
    )
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    model, test = trainer.model.eval(), as_tensors(arrays, "test", names)
    made = {}
    for key in arrays.files:
        if key.startswith("observed."):
            request = key.removeprefix("observed.")
            for n, pictures in complete(model, test, arrays[key], names).items():
                made[f"{request}.{n}"] = pictures
    parameters = sum(p.numel() for p in model.parameters())
    np.savez(arguments.output, seconds=seconds, parameters=parameters, **made)


if __name__ == "__main__":
    main()
