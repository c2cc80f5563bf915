"""Parts of a user's own by import path: networks, coders, likelihoods, sources, evaluations."""

import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from sbmae_jax.app.build import build, build_source
from sbmae_jax.app.imported import import_part, path_of
from sbmae_jax.app.sections import plain
from sbmae_jax.data.description import describe
from sbmae_jax.models import likelihoods
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.values import check_array

CODE = """
    import dataclasses
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    import numpy as np
    from sbmae_jax import FrozenCoder
    from sbmae_jax.data.source import ArraySource
    from sbmae_jax.models.likelihoods import Likelihood

    class Encoder(nn.Module):
        latent_size: int
        heads: int = 2
        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.heads * self.latent_size)(x.reshape(x.shape[0], -1))

    class Decoder(nn.Module):
        shape: tuple[int, ...]
        @nn.compact
        def __call__(self, z):
            return nn.Dense(int(np.prod(self.shape)))(z).reshape(-1, *self.shape)

    class Score(nn.Module):
        width: int = 8
        more: int = 0
        @nn.compact
        def __call__(self, x, log_snr):
            return nn.Dense(x.shape[1] + self.more)(nn.tanh(nn.Dense(self.width)(x)))

    class Raising(nn.Module):
        def __call__(self, x, log_snr):
            raise KeyError("no such layer")

    class NoModule:
        pass

    class Unsaved(Score):
        options: object = NoModule()

    def failing():
        raise OSError("parameters.npz is not there")

    def constant_source(split, num_rows, names, seed, value: float = 0.5):
        rows = np.full((num_rows or 20, 4), value, np.float32)
        return ArraySource({name: rows for name in names})

    @dataclasses.dataclass(frozen=True)
    class Counting:
        modalities: tuple
        num_rows: int = 5
        batch_size: int = 5
        report = None
        def evaluators(self):
            return {}

    def halves():
        return FrozenCoder(lambda x: x.reshape(len(x), -1) / 2, lambda z: 2 * z)

    def on_host():
        encode = lambda x: np.asarray(x).reshape(len(x), -1)[:, :4]
        return FrozenCoder(encode, lambda z: jnp.zeros((z.shape[0], 28, 28, 3)))

    LAPLACE = Likelihood(lambda x: x, lambda x, y, _: jnp.abs(x - y), lambda y: y,
                         lambda key, y, _: y + jax.random.laplace(key, y.shape))
    WHITE = 3
"""


@pytest.fixture
def parts(tmp_path, monkeypatch):
    name = "parts_of_a_test"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(CODE))
    (tmp_path / "broken_parts.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def built(**sections):
    config = tiny.config()
    for key, value in sections.items():
        config[key] = value
    return build(config, describe(build_source(config, "train", 1)))


def test_networks_are_imported_and_get_the_sizes_that_they_have(parts):
    encoder, decoder = {"name": f"{parts}:Encoder"}, {"name": f"{parts}:Decoder"}
    found = built(
        encoder_decoders={"patch": {"encoder": encoder, "decoder": decoder}},
        network={"name": f"{parts}:Score", "width": 12},
    )
    assert type(found.autoencoders[0].encoder).__name__ == "Encoder"
    assert found.network.width == 12


def test_one_of_two_networks_may_be_of_this_package(parts):
    patch = {"name": "dense", "encoder": {"name": f"{parts}:Encoder"}, "decoder": {"widths": (16,)}}
    found = built(encoder_decoders={"patch": patch})
    assert type(found.autoencoders[0].decoder).__name__ == "DenseDecoder"


def test_a_source_and_an_evaluation_are_imported(parts):
    vectors = {"likelihood": "normal", "network": "patch", "latent_size": 2, "weight": 0.1}
    widths = {"widths": (16,)}
    found = built(
        data={"name": f"{parts}:constant_source", "value": 0.25},
        modalities={"a": vectors, "b": vectors},
        encoder_decoders={"patch": {"name": "dense", "encoder": widths, "decoder": widths}},
        evaluation={"name": f"{parts}:Counting", "num_rows": 7},
    )
    assert [m.shape for m in found.modalities] == [(4,), (4,)]
    assert found.protocol.num_rows == 7
    assert found.protocol.modalities == found.modalities


def test_a_coder_is_imported_as_itself_or_from_a_function(parts):
    modality = tiny.config()["modalities"]["hubble"] | {"coder": f"{parts}:halves"}
    for key in ("network", "latent_size", "weight"):
        del modality[key]
    modalities = tiny.config()["modalities"] | {"hubble": modality}
    found = built(modalities=modalities)
    assert found.modalities[0].latent_size == 28 * 28 * 3
    assert [group.names for group in found.groups] == [("retina",)]
    assert found.frozen["hubble"].origin == f"{parts}:halves"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("not_there:Score", r"config.network.name: the module 'not_there' .* cannot be imported"),
        ("broken_parts:Score", r"\(ModuleNotFoundError: No module named 'a_package_that_is"),
        ("PARTS:Scor", r"config.network.name: parts_of_a_test defines no 'Scor'"),
        ("PARTS:", r"defines no ''"),
        ("MODULE:NAME", r"the module 'MODULE' .* cannot be imported"),
        (":Score", r"the module '' .* cannot be imported"),
        ("PARTS:WHITE", r"config.network.name: 'parts_of_a_test:WHITE' is 3: name a class or a"),
        ("PARTS:failing", r"'parts_of_a_test:failing' failed \(OSError: parameters.npz is not"),
        ("PARTS:NoModule", r"NoModule is not a Flax module"),
        (
            "PARTS:Unsaved",
            r"config.network: Unsaved.options cannot be saved, because it is <parts_of",
        ),
        ("PARTS:Raising", r"Raising fails on arrays of shape .* \(KeyError: 'no such layer'\)"),
    ],
)
def test_a_path_that_does_not_lead_to_a_network_is_refused(parts, name, message):
    with pytest.raises(ValueError, match=message):
        built(network={"name": name.replace("PARTS", parts)})


def test_a_network_of_other_shapes_is_refused(parts):
    with pytest.raises(
        ValueError,
        match=r"config.network: Score returns shape \(1, 65\) for one row, and must return \(1, 64\)",
    ):
        built(network={"name": f"{parts}:Score", "more": 1})
    encoder = {"name": f"{parts}:Encoder", "heads": 3}
    with pytest.raises(
        ValueError, match=r"encoder_decoders.patch: Encoder returns shape \(1, 96\)"
    ):
        built(
            encoder_decoders={
                "patch": {"name": "dense", "encoder": encoder, "decoder": {"widths": (8,)}}
            }
        )
    with pytest.raises(
        ValueError, match=r"config.network: unknown key 'depth'.*; its keys are width, more"
    ):
        built(network={"name": f"{parts}:Score", "depth": 1})


def test_a_coder_that_runs_in_python_is_refused_in_several_processes(parts, monkeypatch):
    modalities = {"hubble": {"likelihood": "gaussian", "coder": f"{parts}:on_host"}}
    assert built(modalities=modalities).frozen["hubble"].on_host == (True, False)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match=r"runs in Python cannot be used in several processes"):
        built(modalities=modalities)


def test_a_coder_that_cannot_be_imported_is_refused(parts):
    for path, message in {
        "not_there:pca": "config.modalities.hubble.coder: the module 'not_there'",
        f"{parts}:WHITE": "the coder of hubble must be a FrozenCoder",
        f"{parts}:failing": "OSError",
    }.items():
        modality = {"likelihood": "gaussian", "coder": path}
        with pytest.raises(ValueError, match=message):
            built(modalities=tiny.config()["modalities"] | {"hubble": modality})


# --------------------------------------------------------------- from Python


class OfThisModule:
    """A class that an import finds."""


def test_a_class_in_a_config_becomes_its_path():
    assert plain({"network": {"name": OfThisModule}}) == {
        "network": {"name": f"{__name__}:OfThisModule"}
    }
    assert import_part("here", path_of("here", OfThisModule)) is OfThisModule


def test_what_an_import_does_not_find_is_refused():
    class Local:
        pass

    for part in (Local, lambda: None):
        with pytest.raises(ValueError, match=r"config.network.name: an import does not find"):
            plain({"network": {"name": part}})


# --------------------------------------------------------------- likelihoods


def test_a_likelihood_is_found_by_its_path(parts):
    modality = tiny.config()["modalities"]["hubble"] | {"likelihood": f"{parts}:LAPLACE"}
    autoencoder = built(modalities={"hubble": modality}).autoencoders[0]
    x = jnp.zeros((2, 28, 28, 3))
    params = autoencoder.task.init(jax.random.key(0), {"x": x})
    _, metrics = autoencoder.task.loss(params, jax.random.key(1), {"x": x})
    z = autoencoder.encode(params, x)
    assert metrics["reconstruction"].shape == (2,)
    noise = autoencoder.draw(params, jax.random.key(2), z) - autoencoder.decode(params, z)
    np.testing.assert_allclose(np.abs(noise).mean(), 1, atol=0.1)  # of Laplace noise of scale 1


def test_values_that_a_likelihood_excludes_are_those_of_the_one_that_it_is_like():
    likelihoods.add_likelihood("probit", likelihoods.LIKELIHOODS["bernoulli"])
    modality = Modality("a", (2,), "probit", "", 1, 0.1)
    with pytest.raises(ValueError, match=r"a: values must be in 0..1"):
        check_array(modality, np.full((3, 2), 2.0, np.float32))
    likelihoods.LIKELIHOODS.pop("probit")


def test_likelihoods_that_cannot_be_are_refused(parts):
    with pytest.raises(ValueError, match="likelihood must be a Likelihood, got 3"):
        likelihoods.add_likelihood("three", 3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="name must be a new string, got 'normal'"):
        likelihoods.add_likelihood("normal", likelihoods.LIKELIHOODS["poisson"])
    modality = tiny.config()["modalities"]["hubble"] | {"likelihood": f"{parts}:WHITE"}
    with pytest.raises(
        ValueError, match=r"hubble.likelihood: likelihood must be a Likelihood, got 3"
    ):
        built(modalities={"hubble": modality})
    with pytest.raises(ValueError, match="a: likelihood must be one of"):
        Modality("a", (2,), "nowhere:LAPLACE", "", 1, 0.1)


# Tokens are no numbers of which a mean could be taken.
@pytest.mark.parametrize("name", [name for name in likelihoods.BUILT_IN if name != "tokens"])
def test_link_is_the_inverse_of_mean(name):
    found = likelihoods.LIKELIHOODS[name]
    y = jnp.array([[0.2, 0.5, 0.9], [0.1, 0.3, 0.4]])
    mean = found.mean(y)
    np.testing.assert_allclose(found.mean(found.link(mean)), mean, rtol=1e-5)
