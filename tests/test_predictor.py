import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.predictor import predictor
from sbmae_jax.training.step import TrainState, make_step

X = np.random.default_rng(0).integers(0, 256, (64, 2, 2, 1)).astype(np.uint8)
Y = (X.reshape(64, 4)[:, :3] > 127).astype(np.float32)
PICTURE = Modality("picture", (2, 2, 1), "gaussian", "", 8, 1.0)
WORDS = Modality("words", (3,), "bernoulli", "", 8, 1.0)


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Dense(8)(x.reshape(len(x), -1)))


class Decoder(nn.Module):
    @nn.compact
    def __call__(self, z):
        return nn.Dense(3)(z)


@pytest.fixture
def made():
    return predictor(WORDS, Encoder(), Decoder())


def test_it_learns_the_target_from_the_source(made, key):
    init_key, train_key = jax.random.split(key)
    optimizer = optax.adam(3e-2)

    @jax.jit
    def fit(init_key, train_key):
        params = made.task.init(init_key, {"x": X, "y": Y})
        state = TrainState(jnp.zeros((), jnp.int32), params, params, optimizer.init(params))
        step = make_step(made.task, optimizer, 0.9)
        body = lambda state, _: (step(train_key, state, {"x": X, "y": Y})[0], None)  # noqa: E731
        return jax.lax.scan(body, state, length=300)[0].params

    shown, features = jax.jit(made.apply)(fit(init_key, train_key), X)
    assert features.shape == (64, 8)
    assert ((np.asarray(shown) > 0.5) == Y).mean() > 0.97
    assert 0 <= shown.min() <= shown.max() <= 1


def test_its_loss_is_the_likelihood_of_the_target(made, key):
    init_key, loss_key = jax.random.split(key)
    params = jax.jit(made.task.init)(init_key, {"x": X, "y": Y})
    loss, _ = jax.jit(made.task.loss)(params, loss_key, {"x": X, "y": Y})
    shown, _ = jax.jit(made.apply)(params, X)
    expected = -np.sum(Y * np.log(shown) + (1 - Y) * np.log(1 - shown), axis=1)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
