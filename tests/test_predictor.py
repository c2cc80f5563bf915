import flax.linen as nn
import numpy as np
from minimise import minimise
from networks import filled, jit

from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.predictor import Predictor

X = np.random.default_rng(0).integers(0, 256, (64, 2, 2, 1)).astype(np.uint8)
Y = (X.reshape(64, 4)[:, :3] > 127).astype(np.float32)
BATCH = {"x": X, "y": Y}
WORDS = Modality("words", (3,), "bernoulli", "", 8, 1.0)


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Dense(8)(x.reshape(len(x), -1)))


PREDICTOR = Predictor(WORDS, Encoder(), nn.Dense(3))
START = filled(PREDICTOR.task, BATCH)
apply = jit(PREDICTOR.apply)


def test_it_learns_the_target_from_the_source():
    def mean_loss(params, key):
        return PREDICTOR.task.loss(params, key, BATCH)[0].mean()

    probability, features = apply(minimise(mean_loss, START, 300, 3e-2), X)
    assert features.shape == (64, 8)
    assert ((np.asarray(probability) > 0.5) == Y).mean() > 0.97
    assert 0 <= probability.min() <= probability.max() <= 1


def test_its_loss_is_the_likelihood_of_the_target(key):
    loss, _ = jit(PREDICTOR.task.loss)(START, key, BATCH)
    probability, _ = apply(START, X)
    expected = -np.sum(Y * np.log(probability) + (1 - Y) * np.log(1 - probability), axis=1)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
