"""Any value anywhere in a config either makes a run, or is refused in a sentence that names its key."""

import copy
import functools

import jax
import jax.numpy as jnp
import numpy as np
from fuzzing import attempt, counts, fuzz
from hypothesis import strategies as st

from sbmae_jax.app.build import build
from sbmae_jax.app.sections import check_keys
from sbmae_jax.configs import celebahq, polydigits, polymnist, polymnist_dq
from sbmae_jax.data.description import Description
from sbmae_jax.data.quadrants import ENTRIES
from sbmae_jax.models.energy import energy_task
from sbmae_jax.models.factor_gaussian import FactorGaussian
from sbmae_jax.models.score import score_task
from sbmae_jax.sampling.generate import generate_latents

DIGITS = tuple("0123456789")
BYTES = np.dtype(np.uint8)


def pictures(config):
    shapes = dict.fromkeys(config["modalities"], (28, 28, 3)) | {"label": ()}
    return Description(shapes, dict.fromkeys(shapes, BYTES), {"label": DIGITS})


def two_labels(config):
    shapes = dict.fromkeys(config["modalities"], (64, 64, 3)) | {"digit": (10,), "quadrant": (4,)}
    return Description(shapes, dict.fromkeys(shapes, BYTES), ENTRIES)


def faces(config):
    side = config["data"]["side"]
    shapes = {"image": (side, side, 3), "mask": (side, side, 1), "attributes": (18,)}
    shapes |= {"caption": (12,)} if "caption" in config["modalities"] else {}
    return Description(shapes, dict.fromkeys(shapes, BYTES), {"attributes": ("Hat",) * 18})


def known():
    """Return {name: (config, description of its data)} of every variant that needs no data."""
    found = {}
    for module, variants, describe_data in (
        (polydigits, ("default", "smoke"), pictures),
        (polymnist, polymnist.VARIANTS, pictures),
        (polymnist_dq, polymnist_dq.VARIANTS, two_labels),
        (celebahq, celebahq.VARIANTS, faces),
    ):
        for variant in variants:
            config = module.get_config(variant).to_dict()
            found[f"{module.__name__}:{variant}"] = config, describe_data(config)
    return found


CONFIGS = known()
FEW = 70
SECTIONS = {  # what no config has, but could
    "network": [
        {"name": "transformer", "width": 12, "num_blocks": 1, "num_heads": 3},
        {"name": "unet", "dim": 8, "mults": (1,), "per_modality_levels": True},
        {"name": "mlp", "width": 8},
    ],
    "energy": [{"name": "pair"}, {"name": "tower", "width": 8}],
    "sde": [{"name": "ve"}, {"name": "sub_vp"}],
    "evaluation": [{"name": "paired"}],
    "autoencoder": [{"kind": "rae"}],
}
WORDS = (
    "", "name", "vp", "ve", "sub_vp", "hub", "mlp", "transformer", "unet", "tower", "pair", "conv",
    "patch", "resnet", "dense", "vector", "renoise", "clamp", "langevin", "dpm_solver", "rae", "vae",
    "two", "unit", "noise", "paired", "classes", "faces", "poisson", "normal", "bfloat16", "nested",
)  # fmt: skip
NUMBERS = (
    0, 1, 2, 3, 7, -1, 10**6, 2**31, 2**63, 10**30, 0.0, -0.5, 0.5, 1.0, 1e-30, 1e300, float("inf"),
    -float("inf"), float("nan"), True, False,
)  # fmt: skip


def values():
    """Return any plain value: of each type, at the ends of its range, and nested."""
    plain = st.one_of(
        st.none(), st.sampled_from(NUMBERS), st.sampled_from(WORDS), st.text(max_size=5),
        st.integers(-(10**9), 10**9), st.floats(),
    )  # fmt: skip
    several = st.lists(plain, max_size=3)
    return st.one_of(
        plain, several, several.map(tuple), st.dictionaries(st.sampled_from(WORDS), plain, max_size=2),
        st.lists(st.tuples(plain, plain, plain), max_size=2).map(tuple),
    )  # fmt: skip


def alike(value):
    """Return values of the same type and about the same size."""
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int):
        return st.one_of(st.integers(0, 40), st.integers(0, 2 * value))
    if isinstance(value, float):
        return st.floats(0, 2 * value)
    if isinstance(value, tuple):
        return st.lists(st.sampled_from(value), max_size=4).map(tuple) if value else st.just(())
    return st.sampled_from(WORDS)


def places(config, path=()):
    """Return the paths of all values and sections."""
    found = []
    for key, value in config.items():
        found.append((*path, key))
        if isinstance(value, dict):
            found += places(value, (*path, key))
    return found


@st.composite
def changes(draw, config):
    """Draw a change: (path, what to do, value)."""
    path = draw(st.sampled_from(places(config)))
    what = draw(st.sampled_from(("set", "set", "set", "set", "delete", "add")))
    if what == "add":
        section = config
        for key in path[:-1]:
            section = section[key]
        path = (
            *path[:-1],
            draw(st.text(min_size=1, max_size=6).filter(lambda k: k not in section)),
        )
    if what == "set" and path[0] in SECTIONS and len(path) == 1 and draw(st.booleans()):
        return path, what, draw(st.sampled_from(SECTIONS[path[0]]))
    old = functools.reduce(
        lambda place, key: place[key], path[: -1 if what == "add" else None], config
    )
    return path, what, draw(alike(old) if draw(st.booleans()) else values())


@st.composite
def cases(draw, configs):
    """Draw the name of a config, and one or two changes of it."""
    name = draw(st.sampled_from(sorted(configs)))
    config, _ = configs[name]
    return name, draw(st.lists(changes(config), min_size=1, max_size=2))


def changed(config, made):
    config = copy.deepcopy(config)
    for path, what, value in made:
        place = config
        for key in path[:-1]:
            place = place.get(key) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            continue  # the change before took the section away
        if what == "delete":
            place.pop(path[-1], None)
        else:
            place[path[-1]] = copy.deepcopy(value)
    return config


def named(made):
    """Return the words of which an error must have one: keys on the path, but for the first of many."""
    return [key for path, _, _ in made for key in path] + [
        word for _, _, value in made for word in (value if isinstance(value, dict) else ())
    ]


@functools.lru_cache(maxsize=256)
def shapes_of_score(network, sde, layout, matching, sampling):
    """Trace what a score is trained and sampled by, without computing anything."""
    covariance = FactorGaussian(jnp.ones((layout.size, 1)), jnp.ones(layout.size))
    task, key = score_task(network, sde, layout, matching, covariance), jax.random.key(0)
    batch = {"z": jax.ShapeDtypeStruct((2, layout.size), jnp.float32)}
    params = jax.eval_shape(task.init, key, batch)
    loss, _ = jax.eval_shape(task.loss, params, key, batch)
    assert loss.shape == (2,)
    mask = jax.ShapeDtypeStruct((2, layout.size), bool)
    made = jax.eval_shape(
        lambda key, x, mask: generate_latents(key, sde, lambda x, t: -x, sampling, x, mask),
        key, batch["z"], mask,
    )  # fmt: skip
    assert made.shape == (2, layout.size)


@functools.lru_cache(maxsize=256)
def shapes_of(task, *views):
    params = jax.eval_shape(task.init, jax.random.key(0), dict(views))
    assert jax.tree.leaves(params)


def trace(parts, data):
    """Initialise all networks, and draw samples, as far as shapes go."""
    shapes_of_score(parts.network, parts.sde, parts.layout, parts.matching, parts.sampling)
    if parts.energy is not None:
        task = energy_task(parts.energy.network, parts.sde, parts.layout, parts.energy.nce)
        batch = {"z": jax.ShapeDtypeStruct((2, parts.layout.size), jnp.float32)}
        shapes_of.__wrapped__(task, *batch.items())
    for modality, autoencoder in zip(parts.modalities, parts.autoencoders, strict=True):
        shapes_of(autoencoder.task, ("x", jax.ShapeDtypeStruct((2, *modality.shape), jnp.float32)))
    trainings = [parts.score_training, *(g.training for g in parts.groups)]
    for evaluator in parts.protocol.evaluators().values():
        trainings.append(evaluator.training)
        batch = {
            field: jax.ShapeDtypeStruct((2, *data.shapes[name]), data.dtypes[name])
            for field, name in evaluator.views[0].items()
        }
        shapes_of(evaluator.task, *batch.items())
    for training in trainings:
        training.optimizer()


def make(config, data):
    check_keys(config)
    parts = build(config, data)
    assert parts.layout.size >= 1
    return parts


@counts(FEW, 4000)
def test_a_changed_config_works_or_is_refused_by_the_name_of_a_key(num):
    # In `make test` of networks that are traced in a moment.
    configs = {n: c for n, c in CONFIGS.items() if num > FEW or n.endswith("smoke")}

    def check(case):
        name, made = case
        config, data = CONFIGS[name]
        parts = attempt(lambda: make(changed(config, made), data), named(made))
        if parts is not None:
            trace(parts, data)

    fuzz(num, cases(configs), check)
