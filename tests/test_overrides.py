"""What the command line sets in a config: every value, by its key; whatever nothing reads is refused."""

import copy
import functools
from pathlib import Path

import numpy as np
import pytest
from fuzzing import attempt, counts, fuzz
from hypothesis import strategies as st
from test_choices import arrays
from test_fuzz_configs import CONFIGS

from sbmae_jax.app.build import build, build_source
from sbmae_jax.app.choices import choose_values
from sbmae_jax.app.config_files import load_config
from sbmae_jax.app.overrides import (
    Override,
    parse_value,
    split_overrides,
    with_overrides,
)
from sbmae_jax.app.pipeline import resolve_open_values
from sbmae_jax.app.sections import check_keys
from sbmae_jax.configs import custom, polydigits
from sbmae_jax.data.description import describe

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "own.npz"
    values = arrays()
    np.savez(path, **{name: values[name] for name in ("wide", "counts", "town", "photo")})
    return path


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "vectors.npz"
    np.savez(path, **{name: arrays()[name] for name in ("wide", "counts")})
    return path


def set_values(config, *words):
    argv, overrides = split_overrides([f"--config.{word}" for word in words])
    assert argv == []
    return with_overrides(config, overrides)


def own_config(path, *words):
    return set_values(custom.get_config().to_dict(), f"data.path={path}", *words)[0]


def built(config, data=None):
    """Build the parts of a run, as far as nothing is computed."""
    closed, _ = resolve_open_values(config)
    check_keys(closed)
    return closed, build(closed, data or describe(build_source(closed, "train", 1)))


def place(config, key):
    return functools.reduce(lambda section, word: section[word], key.split("."), config)


@pytest.mark.parametrize("which", ["path", "vectors"])
def test_every_value_that_is_chosen_can_be_set(which, request):
    file = request.getfixturevalue(which)
    closed, choices, _ = choose_values(own_config(file))
    assert len(choices) > 15
    for choice in choices:
        chosen = own_config(file, f"{choice.key}={choice.value}")
        again, made, _ = choose_values(chosen)
        assert choice.key not in [other.key for other in made]
        assert again == closed
    words = [f"{choice.key}={choice.value}" for choice in choices]
    again, made, _ = choose_values(own_config(file, *words))
    assert made == []
    assert again == closed


def test_a_value_of_a_modality_that_is_open_is_set(vectors):
    closed, parts = built(own_config(vectors, "modalities.wide.latent_size=1"))
    assert closed["modalities"]["wide"]["latent_size"] == 1
    assert closed["modalities"]["wide"]["likelihood"] == "normal"  # the rest is chosen
    assert {m.name: m.latent_size for m in parts.modalities} == {"counts": 3, "wide": 1}
    training = "modalities.wide.training.num_steps=7"
    _, parts = built(own_config(vectors, training))
    assert [g.training.num_steps for g in parts.groups] == [1500, 7]
    closed, _ = built(
        own_config(vectors, "modalities.wide.kind=signal", "data.kinds.counts=vector")
    )
    assert closed["data"]["kinds"] == {"counts": "vector", "wide": "signal"}
    whole = 'modalities={"wide": {"latent_size": 2, "weight": 0.1}}'
    assert built(own_config(vectors, whole))[0]["modalities"]["wide"]["weight"] == 0.1


@pytest.mark.parametrize(
    "name", ["site.a", "a.b.c", "x.training", "training", "latent_size", "Größe 1", "name"]
)
def test_names_of_modalities_may_have_dots_and_be_those_of_keys(name):
    words = ("latent_size=3", "training.num_steps=7", "weight=1", 'training={"num_steps": 8}')
    made = own_config("x", *(f"modalities.{name}.{word}" for word in words))["modalities"]
    assert made == {name: {"latent_size": 3, "training": {"num_steps": 8}, "weight": 1}}
    whole = own_config("x", f'modalities.{name}={{"weight": 2}}', f"data.kinds.{name}=signal")
    # A whole section at x.training is that of the trainings of x.
    assert whole["modalities"] == (
        {"x": {"training": {"weight": 2}}} if "x." in name else {name: {"weight": 2}}
    )
    assert whole["data"]["kinds"] == {name: "signal"}


@pytest.mark.parametrize("name", ["training", "latent_size", "name", "kinds", "a-b", "0"])
def test_a_modality_may_have_the_name_of_a_key(name, tmp_path):
    np.savez(tmp_path / "own.npz", **{name: arrays()["wide"], "other": arrays()["counts"]})
    words = [f"modalities.{name}.latent_size=3", f"modalities.{name}.training.num_steps=7"]
    closed, parts = built(own_config(tmp_path / "own.npz", *words))
    assert closed["modalities"].keys() == {name, "other"}
    assert closed["modalities"][name]["latent_size"] == 3
    steps = {group.names[0]: group.training.num_steps for group in parts.groups}
    assert steps == {name: 7, "other": 1500}
    kinds = built(own_config(tmp_path / "own.npz", f"data.kinds.{name}=signal"))[0]["data"]["kinds"]
    assert kinds == {name: "signal", "other": "counts"}


def test_arrays_are_left_out_by_name(path):
    for words in ("photo,town", "('photo', 'town')", "['photo', 'town']"):
        closed, _ = built(own_config(path, f"data.leave_out={words}"))
        assert closed["modalities"].keys() == {"counts", "wide"}
    assert own_config(path, "data.leave_out=2024,town")["data"]["leave_out"] == ("2024", "town")
    assert own_config(path, "data.leave_out=")["data"]["leave_out"] == ()


@pytest.mark.parametrize(
    ("text", "current", "value"),
    [
        ("3", 1, 3), ("3", 1.0, 3.0), ("3", None, 3), ("3", "a", "3"), ("2.5", 1, 2.5), ("-1", 0, -1),
        ("1e-3", 1.0, 1e-3), ("None", 1, None), ("None", "a", None), ("null", 1, None),
        ("null", "a", "null"), ("'None'", "a", "None"), ("true", False, True), ("True", None, True),
        ("0", False, 0), ("1,2", (3,), (1, 2)), ("4", (3,), (4,)), ("(1, 2)", (), (1, 2)),
        ("[1, 2]", (), [1, 2]), ("nested,prefix", ("nested",), ("nested", "prefix")),
        ("((64, 64, 2),)", ((1, 2, 3),), ((64, 64, 2),)), ("a=b", "", "a=b"), ("007", None, "007"),
        ("007", "x", "007"), ("1_0", None, 10), ("{'width': 3}", {}, {"width": 3}), ("", "x", ""),
        ('{"a": null}', None, {"a": None}), ("[64]", "x", "[64]"), ("~/data", "", "~/data"),
        ("a,b", "", "a,b"), ("(", None, "("), ("\x00", None, "\x00"),
    ],
)  # fmt: skip
def test_values_are_read_by_what_they_replace(text, current, value):
    made = parse_value(text, current)
    assert (made, type(made)) == (value, type(value))


def test_words_of_other_flags_are_left_alone():
    argv = [
        "launch.py", "--config=configs/custom.py:smoke", "--config.seed", "3", "-config.num_train=5",
        "--noconfig.stack_autoencoders", "--workdir=--config.seed=1", "--config.stack_autoencoders",
        "--stage=all", "--config.score.level_mean", "-0.5", "--", "--config.seed=9",
    ]  # fmt: skip
    left, found = split_overrides(argv)
    assert left == [
        "launch.py", "--config=configs/custom.py:smoke", "--workdir=--config.seed=1", "--stage=all", "--",
        "--config.seed=9",
    ]  # fmt: skip
    assert found == [
        ("seed", "3"), ("num_train", "5"), ("stack_autoencoders", "False"),
        ("stack_autoencoders", "True"), ("score.level_mean", "-0.5"),
    ]  # fmt: skip
    assert set_values({"seed": 0, "data": {}, "modalities": {}}, "seed=1", "seed=2")[0]["seed"] == 2


@pytest.mark.parametrize(
    "word", ["--config.=3", "--config..seed=3", "--config.a..b=1", "--noconfig.a=1"]
)
def test_a_word_that_sets_nothing_is_refused(word):
    with pytest.raises(ValueError, match=r"write --config\.KEY=VALUE"):
        split_overrides([word])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sampling.num_level=3"], r"config\.sampling: unknown key 'num_level' \(did you mean 'num_levels'"),
        (["num_trian=3"], r"config: unknown key 'num_trian' \(did you mean 'num_train'\?\)"),
        (["sampling.foo.bar=3"], r"config\.sampling: unknown key 'foo'"),
        (["seed.foo=3"], r"config\.seed\.foo: config\.seed is a value, 0"),
        (["seed=1.5"], r"config\.seed must be an integer"),
        (["seed='1'"], r"config\.seed must be an integer"),
        (["seed=007"], r"config\.seed must be an integer"),
        (["num_train=many"], r"config\.num_train must be an integer, got 'many'"),
        (["score_training.num_steps=100.0"], r"score_training: num_steps must be an integer, got 100.0"),
        (["score_training.num_steps=None"], r"score_training: num_steps must be an integer, got None"),
        (["stack_autoencoders=1"], r"config\.stack_autoencoders must be True or False, got 1"),
        (["sampling=5"], r"config\.sampling must be a section"),
        (["modalities=None"], r"config\.modalities must be a section"),
        (["data=None"], r"config\.data must be a section"),
        (["modalities.hubble.latent_siz=3"], r"unknown key 'latent_siz' \(did you mean 'latent_size'"),
        (["modalities.hubbel.latent_size=3"], r"config\.modalities\.hubbel: the data have no such array"),
        (["encoder_decoders.pach.encoder.width=3"], r"encoder_decoders\.pach\.encoder\.width has no effect"),
        (["encoder_decoders.patch.encodr.width=3"], r"unknown key 'encodr' \(did you mean 'encoder'"),
        (["nce.level_mean=3"], r"config\.nce\.level_mean has no effect, as config\.energy is None"),
        (["predictor.mask=image"], r"config\.predictor\.mask has no effect, as .*name is not 'faces'"),
        (["energy.name=tower"], r"config\.energy needs a section config\.nce: add it"),
        (["network.name=mpl"], r"config\.network\.name must be one of hub, mlp, .*, got 'mpl'"),
        (["network.name=mlp", "network.hub_width=8"], r"config\.network: unknown key 'hub_width'"),
        (["sde.name=ve", "sde.beta_max=9"], r"config\.sde: unknown key 'beta_max'"),
    ],
)  # fmt: skip
def test_what_nothing_reads_or_what_does_not_fit_is_refused(words, message):
    config, data = CONFIGS["sbmae_jax.configs.polydigits:smoke"]
    with pytest.raises(ValueError, match=message):
        built(set_values(config, *words)[0], data)


@pytest.mark.parametrize("name", [n for n in CONFIGS if n.endswith(("smoke", "rae", "five"))])
def test_any_value_can_be_set_to_none(name):
    config, data = CONFIGS[name]
    for key in keys_of(config):
        made, _ = set_values(config, f"{key}=None")
        assert place(made, key) is None
        attempt(lambda made=made: built(made, data), key.split("."))


def test_without_an_energy_nothing_guides():
    config, data = CONFIGS["sbmae_jax.configs.celebahq:smoke"]
    _, parts = built(set_values(config, "energy=None", "sampling.guidance=0")[0], data)
    assert parts.energy is None
    with pytest.raises(ValueError, match=r"config\.sampling\.guidance: there is no energy"):
        built(set_values(config, "energy=None")[0], data)


def keys_of(config, prefix=""):
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from keys_of(value, f"{prefix}{key}.")


NAMES = {
    "polydigits": [
        "sde.name=ve", "sde.name=sub_vp", "network.name=mlp", "network.name=transformer",
        "evaluation.name=paired", "classifier.name=conv", "encoder_decoders.patch.name=resnet",
        "encoder_decoders.patch.name=dense", "encoder_decoders.patch.name=vector",
    ],
    "polymnist": ["network.name=unet", "classifier.name=conv", "sde.name=ve"],
    "celebahq": [
        "energy.name=pair", "evaluation.name=paired", "network.name=mlp", "sde.name=sub_vp",
        "encoder_decoders.image.name=resnet", "encoder_decoders.attributes.name=vector",
        "encoder_decoders.evaluator.name=patch",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("module", "word"), [(m, word) for m, words in NAMES.items() for word in words]
)
def test_any_name_can_be_chosen(module, word):
    config, data = CONFIGS[f"sbmae_jax.configs.{module}:smoke"]
    more = ["sampling.guidance=0", "nce.negatives=two"] if word == "energy.name=pair" else []
    latents = [f"modalities.{m}.latent_size=64" for m in config["modalities"]] * ("unet" in word)
    made, notes = set_values(config, word, *more, *latents)
    key, _, name = word.partition("=")
    assert place(made, key) == name
    built(made, data)
    (note,) = notes
    assert note.startswith(f"config.{key} is '{name}': ")
    assert note.endswith("not apply")


def test_only_what_does_not_apply_is_replaced():
    config, _ = CONFIGS["sbmae_jax.configs.polydigits:smoke"]
    made, notes = set_values(config, "network.width=24", "network.name=mlp")  # in any order
    assert made["network"] == {"name": "mlp", "width": 24}
    assert notes == ["config.network.name is 'mlp': hub_width, num_blocks of 'hub' do not apply"]
    assert set_values(config, "network.name=hub") == (config, [])
    made, notes = set_values(config, "evaluation.name=paired")
    assert made["evaluation"] == {
        "name": "paired", "num_rows": 40, "num_unconditional": 40, "batch_size": 40,
    }  # fmt: skip
    assert notes == [
        "config.evaluation.name is 'paired': fine_levels, protocols, subsets_per_size of 'classes' do not "
        "apply"
    ]
    toy, _ = CONFIGS["sbmae_jax.configs.celebahq:default"]
    made, notes = set_values(toy, "data.name=toyfaces", "data.num_faces=10")
    assert made["data"] == {"name": "toyfaces", "side": 128, "num_faces": 10}
    assert notes == ["config.data.name is 'toyfaces': folder of 'celebahq' does not apply"]


@pytest.mark.parametrize("name", ["mlp", "transformer"])
def test_values_are_chosen_for_the_network_that_is_named(name, vectors):
    typed = own_config(vectors, f"network.name={name}")
    written = custom.get_config()
    written.data.path = str(vectors)
    written.network.name = name
    for config in (typed, written):
        closed, choices, _ = choose_values(config)
        assert "hub_width" not in closed["network"]
        assert "network.width" in [choice.key for choice in choices]
        built(closed)
    assert choose_values(typed)[0]["network"] == choose_values(written)[0]["network"]
    odd = own_config(vectors, f"network.name={name}", "network.num_blocks=3")
    assert built(odd)[0]["network"]["num_blocks"] == 3
    if name == "transformer":
        odd = own_config(vectors, "network.name=transformer", "network.num_heads=6")
        assert built(odd)[0]["network"]["width"] % 6 == 0


def test_a_unet_can_be_named_for_latents_of_one_square(vectors):
    sizes = [f"modalities.{name}.latent_size=16" for name in ("wide", "counts")]
    small = ("network.name=unet", "network.mults=1,2", "network.dim=8")
    assert built(own_config(vectors, *small, *sizes))[1].network.per_modality_levels


@pytest.mark.parametrize("sampler", ["langevin", "predictor_corrector", "dpm_solver"])
@pytest.mark.parametrize("conditioning", ["amortised", "clamp", "renoise"])
def test_values_are_chosen_for_the_sampler_that_is_named(sampler, conditioning, vectors):
    words = (f"sampling.sampler={sampler}", f"sampling.conditioning={conditioning}")
    sampling = built(own_config(vectors, *words))[1].sampling
    assert (sampling.num_corrections > 0) == (sampler == "langevin" or conditioning != "amortised")
    kept = built(own_config(vectors, *words, "sampling.num_corrections=2"))[1].sampling
    assert kept.num_corrections == 2


@pytest.mark.parametrize("sampler", ["predictor_corrector", "dpm_solver"])
def test_particles_are_chosen_by_the_config_and_need_the_joint_score_alone(sampler, vectors):
    words = (f"sampling.sampler={sampler}", "sampling.conditioning=particles")
    sampling = built(own_config(vectors, *words, "score.conditioning_prob=0"))[1].sampling
    assert (sampling.num_particles, sampling.num_corrections) == (64, 0)
    few = built(own_config(vectors, *words, "sampling.num_particles=8"))[1].sampling
    assert few.num_particles == 8
    with pytest.raises(ValueError, match=r"config\.sampling: num_particles must be at least 1"):
        built(own_config(vectors, *words, "sampling.num_particles=0"))
    with pytest.raises(ValueError, match=r"config\.sampling: .*set num_corrections to 0, got 2"):
        built(own_config(vectors, *words, "sampling.num_corrections=2"))


def test_networks_that_are_chosen_can_be_changed(vectors):
    closed, _ = built(own_config(vectors, "encoder_decoders.vector-128.encoder.width=32"))
    section = closed["encoder_decoders"]["vector-128"]
    assert section["encoder"] == {"width": 32}
    assert section["decoder"] == {"width": 128}
    with pytest.raises(
        ValueError, match=r"encoder_decoders: no modality has the network 'vector-64'"
    ):
        built(own_config(vectors, "encoder_decoders.vector-64.encoder.width=32"))
    with pytest.raises(ValueError, match="unknown key 'widht'"):
        built(own_config(vectors, "encoder_decoders.vector-128.encoder.widht=32"))


def test_a_modality_that_the_data_do_not_have_is_named(vectors):
    with pytest.raises(
        ValueError, match=r"no modality 'wid' \(did you mean 'wide'\?\), only counts, wide"
    ):
        built(own_config(vectors, "modalities.wid.latent_size=1"))


def test_setting_values_does_not_change_the_config():
    config, _ = CONFIGS["sbmae_jax.configs.polydigits:smoke"]
    before = copy.deepcopy(config)
    set_values(config, "network.name=mlp", "modalities.hubble.latent_size=3", "sde.beta_max=5")
    assert config == before


FILES = {
    "syntax.py": ("def get_config(:", r"SyntaxError: .*line 1"),
    "raises.py": ("def get_config():\n    return 1 / 0", "ZeroDivisionError: division by zero"),
    "refuses.py": ("def get_config():\n    raise ValueError('no')", r"refuses\.py: no$"),
    "none.py": ("x = 3", "the file has no function get_config"),
    "empty.py": ("def get_config():\n    return None", "get_config must return a config, got None"),
    "imports.py": ("import nothing_at_all", "ModuleNotFoundError: No module named 'nothing_at_all'"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_config_file_that_cannot_be_loaded_is_named(name, tmp_path):
    text, message = FILES[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message) as raised:
        load_config(str(tmp_path / name))
    assert f"--config={tmp_path / name}: " in str(raised.value)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("configs/missing.py", r"there is no file configs/missing\.py"),
        ("configs", r"write a Python file, as in --config=configs/custom\.py"),
        (str(ROOT / "configs/polydigits.py:tiny"), "unknown variant 'tiny'"),
    ],
)
def test_a_config_that_is_not_there_is_named(place, message):
    with pytest.raises(ValueError, match=message):
        load_config(place)


def test_configs_are_loaded_from_their_files(tmp_path):
    smoke = load_config(str(ROOT / "configs" / "polydigits.py:smoke"))
    assert smoke == CONFIGS["sbmae_jax.configs.polydigits:smoke"][0]
    odd = tmp_path / "a:b[1] ü"
    odd.mkdir()
    (odd / "mine.py").write_text(
        "def get_config(variant='x'):\n    return {'seed': 3, 'v': variant}"
    )
    assert load_config(str(odd / "mine.py")) == {"seed": 3, "v": "x"}
    assert load_config(f"{odd / 'mine.py'}:y:z") == {"seed": 3, "v": "y:z"}


@st.composite
def typed_words(draw):
    """Draw a word of the command line: a key of a config, or one like it, and any value."""
    keys = [
        *keys_of(CONFIGS["sbmae_jax.configs.celebahq:smoke"][0]),
        "nce.times",
        "modalities.new.weight",
    ]
    key = draw(st.sampled_from(keys))
    if draw(st.integers(0, 4)) == 0:
        key += draw(st.sampled_from([".x", "x", ".name", ".0", ".a.b"]))
    values = st.one_of(
        st.text(max_size=8), st.integers().map(str), st.floats().map(str), st.sampled_from(
            ["None", "True", "{}", "()", "[1, 2]", "{'name': 'mlp'}", "1,2", "a,b", "mlp", "ve", "pair"]
        ),
    )  # fmt: skip
    return key, draw(values)


@counts(60, 2000)
def test_whatever_is_typed_works_or_is_refused_by_a_key(num):
    config, data = CONFIGS["sbmae_jax.configs.celebahq:smoke"]

    def check(case):
        key, text = case
        words = [*key.split("."), "config"]
        attempt(lambda: built(set_values(config, f"{key}={text}")[0], data), words)

    fuzz(num, typed_words(), check)


def test_weights_of_another_kind_of_autoencoder_are_named(path):
    config, _ = CONFIGS["sbmae_jax.configs.celebahq:default"]
    made, notes = set_values(config, "autoencoder.kind=rae", "modalities.mask.weight=1e-5")
    assert made["modalities"]["image"]["weight"] == config["modalities"]["image"]["weight"]
    assert len(notes) == 1
    assert "config.autoencoder.kind is 'rae': the weights in the file are for 'vae'" in notes[0]
    assert notes[0].endswith("set config.modalities.NAME.weight of attributes, image")
    assert set_values(config, "autoencoder.kind=vae")[1] == []
    words = [f"modalities.{name}.weight=1e-4" for name in config["modalities"]]
    assert set_values(config, "autoencoder.kind=rae", *words)[1] == []
    given = custom.get_config().to_dict()
    assert set_values(given, f"data.path={path}", "autoencoder.kind=rae")[1] == []


def test_a_coder_and_a_network_of_ones_own_replace_the_values_of_the_file():
    config = polydigits.get_config().to_dict()
    values, notes = with_overrides(
        config,
        [
            Override("encoder_decoders.patch.encoder.width", "32"),
            Override("encoder_decoders.patch.encoder.name", "my.nets:Encoder"),
            Override("modalities.hubble.coder", "my.coders:pca"),
        ],
    )
    assert values["modalities"]["hubble"] == {"likelihood": "gaussian", "coder": "my.coders:pca"}
    encoder = {"name": "my.nets:Encoder", "width": 32}
    assert values["encoder_decoders"]["patch"]["encoder"] == encoder
    assert [note.partition(": ")[0] for note in notes] == [
        "config.encoder_decoders.patch.encoder.name is 'my.nets:Encoder'",
        "config.modalities.hubble.coder is 'my.coders:pca'",
    ]
    assert "patch" in notes[0]
    assert "latent_size" in notes[1]


def test_a_modality_may_be_named_coder():
    config = {"modalities": {"lab": {"latent_size": 2}}}
    values, notes = with_overrides(config, [Override("modalities.coder", '{"latent_size": 3}')])
    assert values["modalities"] == {"lab": {"latent_size": 2}, "coder": {"latent_size": 3}}
    assert notes == []
