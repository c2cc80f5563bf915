"""The comparison with other methods: equal budgets, what is chosen and claimed, what an ablation changes."""

from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.peers import ablations, comparison, methods, modalities, together
from benchmarks.peers import claims as claims_of
from benchmarks.peers.claims import (
    BASELINES,
    COMPARED,
    FEW_STEPS,
    GIVEN,
    LOW_TEMPERATURE,
    LOWER,
    OURS,
    SINGLE_PASS,
)
from benchmarks.peers.report import QUALITY, REPORT
from configs import polydigits
from sbmae_jax.data.source import PRESENT
from sbmae_jax.evaluation.generator import Generator
from sbmae_jax.models.task import Task

COSTS = {"hub": 3.0, "mlp": 2.0}  # GFLOP of one step of a score


@pytest.fixture
def costs(monkeypatch):
    """Costs of steps that are known: 1 GFLOP of an autoencoder, and in proportion to the batch of a score."""

    def step_costs(text):
        config = methods.json.loads(text)
        assert list(config["modalities"]) == sorted(config["modalities"]), "names cost nothing"
        share = config["score_training"]["batch_size"] / 64
        score = COSTS[config["network"]["name"]] * share * 1e9
        return [1e9] * len(config["modalities"]) + [score]

    monkeypatch.setattr(methods, "_step_costs", step_costs)


def test_a_budget_is_the_cost_of_a_step_times_the_steps(costs):
    config = methods.base_config(0, 2)
    (coding_steps, scoring_steps) = (config[stage]["num_steps"] for stage in methods.STAGES)
    assert methods.gflop(config) == (2 * coding_steps, 3 * scoring_steps)
    assert sum(methods.gflop(methods.scaled(config, 0.5))) == sum(methods.gflop(config)) / 2


def test_latent_diffusion_has_our_operations_in_plain_autoencoders(costs):
    config = methods.base_config(0)
    theirs = methods.mld_config(config, 0.2)
    assert methods.gflop(theirs) == pytest.approx(methods.gflop(config), rel=1e-3)
    assert theirs["score_training"]["num_steps"] == config["score_training"]["num_steps"] * 3 / 2
    assert theirs["autoencoder"] == {"kind": "rae"}
    assert all(section["weight"] == 0 for section in theirs["modalities"].values())


def test_large_batches_are_the_demos_and_see_as_many_rows():
    few, large = (methods.base_config(0, large=large) for large in (False, True))
    demo = polydigits.get_config()
    for stage in methods.STAGES:
        assert large[stage]["batch_size"] == demo[stage].batch_size > few[stage]["batch_size"]
        rows = [c[stage]["batch_size"] * c[stage]["num_steps"] for c in (few, large)]
        assert rows[0] == rows[1]
    changed = {key for key in few if few[key] != large[key]}
    assert changed == {*methods.STAGES, "score"}
    assert large["score"] == few["score"] | {"subset_size_power": 0.0}


def test_smaller_batches_of_the_score_cost_as_much(costs):
    config = methods.base_config(0, large=True)
    often = ablations.score_often(config)
    assert methods.gflop(often) == pytest.approx(methods.gflop(config), rel=1e-3)
    before, after = (c["score_training"] for c in (config, often))
    assert (after["batch_size"], after["num_steps"]) == (
        before["batch_size"] / 4,
        before["num_steps"] * 4,
    )
    assert often["autoencoder_training"] == config["autoencoder_training"]


def test_a_joint_autoencoder_gets_the_steps_that_its_budget_pays_for(monkeypatch):
    asked = []

    def cost(task, training, example):
        asked.append(training)
        return {"flops": 4e9}

    monkeypatch.setattr(methods, "step_cost", cost)
    training = SimpleNamespace(training=polydigits_training())
    layout = SimpleNamespace(names=("a", "b", "c", "d"))
    run = SimpleNamespace(parts=SimpleNamespace(groups=[training], layout=layout))
    found, gflop = methods.joint_training(run, None, 30.0)
    assert (found.num_steps, gflop) == (8, 32.0)
    assert asked[0].clip_norm == 2 * training.training.clip_norm, "all gradients are clipped as one"
    assert methods.joint_training(run, None, 0.0)[0].num_steps == 1
    size = methods.base_config(0)["modalities"]["hubble"]["latent_size"]
    for rule, shared, private in (("mvtcae", 5 * size, 0), ("mmvae_plus", size, size)):
        posterior = methods.posterior_of(rule, methods.base_config(0), 0.5)
        assert (posterior.shared_size, posterior.private_size) == (shared, private)


def polydigits_training():
    """The training of an autoencoder."""
    return methods.TrainingConfig(**polydigits.get_config().autoencoder_training.to_dict())


def test_rows_that_lack_modalities_come_with_which_those_are():
    arrays, view = {"a": [1, 2], "b": [3, 4], PRESENT: [[True, False]] * 2}, {"a": "a", "b": "b"}

    def fed(shapes):
        data = SimpleNamespace(
            train=SimpleNamespace(shapes=shapes), train_loaded=SimpleNamespace(arrays=arrays),
            batches=lambda views: views, batches_of=lambda make: make(),
        )  # fmt: skip
        return methods.rows_of_any(SimpleNamespace(data=data), view)

    assert fed({"a": (), "b": ()}) == (view,)
    assert {name: array.tolist() for name, array in fed(arrays).items()} == arrays


def linear_coder():
    """An autoencoder of two weights, whose bound is the squared error."""

    def encode(params, x):
        return jnp.sin(params["encoder"] * x)  # no scale, which standardising takes away

    def loss(params, key, batch):
        error = params["decoder"] * encode(params, batch["x"]) - batch["x"]
        return jnp.sum(error**2, axis=1), {}

    init = {"encoder": jnp.ones((1, 3)), "decoder": 0.5 * jnp.ones((1, 3))}
    return SimpleNamespace(task=Task(lambda *_: init, loss), encode=encode)


def test_trained_together_the_score_moves_the_encoders_and_never_the_decoders(monkeypatch):
    def loss(params, key, batch):
        return jnp.sum(jnp.sin(params * batch["z"]), axis=1), {}

    layout = SimpleNamespace(names=("a", "b"), size=6)
    parts = SimpleNamespace(
        layout=layout, modalities=None, autoencoders=(linear_coder(), linear_coder()),
        score_task=lambda: Task(lambda key, batch: jnp.ones((1, 6)), loss),
    )  # fmt: skip

    def encode(modalities, autoencoders, params, batch):
        latents = [a.encode(params[n], batch[n]) for n, a in zip("ab", autoencoders, strict=True)]
        return jnp.concatenate(latents, axis=1)

    monkeypatch.setattr(together.models, "encode", encode)
    rng = np.random.default_rng(0)
    batch = {name: jnp.asarray(rng.normal(size=(8, 3)), jnp.float32) for name in "ab"}
    params = together.together_task(parts, 0.0).init(jax.random.key(0), batch)

    def gradient(weight):
        def mean(params):
            task = together.together_task(parts, weight)
            losses, aux = task.loss(params, jax.random.key(1), batch)
            return jnp.mean(losses), (losses, aux)

        return jax.grad(mean, has_aux=True)(params)

    (alone, _), (both, (losses, aux)) = gradient(0.0), gradient(0.7)
    for name in layout.names:
        before, after = (g["autoencoders"][name] for g in (alone, both))
        np.testing.assert_array_equal(before["decoder"], after["decoder"])
        assert float(jnp.abs(before["encoder"] - after["encoder"]).max()) > 1e-3
    assert float(jnp.abs(alone["score"]).max()) == 0
    np.testing.assert_allclose(losses, aux["bound"] + 0.7 * 6 * aux["matching"], rtol=1e-5)


def test_ours_is_sampled_as_was_chosen_for_what_each_row_observes(monkeypatch):
    asked = []

    class Model:
        def __init__(self, **sampling):
            evaluations = 65 * (2 if sampling.get("classifier_free", 1) != 1 else 1)
            self.sampling = SimpleNamespace(num_evaluations=evaluations, **sampling)

        def with_sampling(self, **changes):
            return Model(**changes)

    monkeypatch.setattr(methods, "load_model", lambda run: Model())
    monkeypatch.setattr(
        methods.models, "complete", lambda model, *_: asked.append(model.sampling.temperature)
    )
    given, nothing = {"temperature": 0.5, "classifier_free": 3.0}, {"temperature": 0.7}
    found = methods.sampled(trained(), given, nothing)
    for observed in (np.zeros((2, 2), bool), np.eye(2, dtype=bool)):
        found.complete(jax.random.key(0), {}, observed)
    assert asked == [0.7, 0.5]
    assert found.evaluations == 130, "guidance doubles the evaluations"


def trained(**changes):
    """A trained method of stand-ins."""
    fields = {"run": None, "complete": None, "reconstruct": dict, "evaluations": 65, "parameters": 1,
              "gflop": 1.0, "steps": 1}  # fmt: skip
    return methods.Trained(**fields | changes)


def test_each_sampler_is_timed_once_in_each_round():
    calls = []

    def make(name):
        def complete(key, rows, observed):
            calls.append(name)
            return jnp.zeros(1)

        return complete

    found = comparison.time_samplers({"x": make("x"), "y": make("y")}, {}, np.zeros((500, 2)))
    assert calls == ["x", "y"] * (comparison.ROUNDS + 1)
    assert set(found) == {"x", "y"}


def test_ours_is_chosen_one_way_given_something_and_one_from_nothing():
    figures = dict.fromkeys(GIVEN, 0.5) | {"all agree": 0.5}
    rows = [how | figures for how in comparison.LOW_TEMPERATURES]
    assert {row["temperature"] for row in rows} == {0.5, 0.7, 0.8, 0.9}
    assert [row["classifier_free"] for row in (rows[1], rows[4])] == [1, 3]
    rows[4] |= {"given 2": 0.9, "all agree": 0.9}  # guided, so not for what is drawn from nothing
    rows[1] |= {"all agree": 0.6}
    assert comparison.best_temperature(rows)["value"] == {
        "given": {"temperature": rows[4]["temperature"], "classifier_free": 3},
        "nothing": {"temperature": rows[1]["temperature"], "classifier_free": 1},
    }
    tried = {0.1: figures, 0.5: figures | {"all agree": 0.6}, 2.5: figures | {"given 1": 0.2}}
    found = comparison.best(tried)
    assert found["value"] == 0.5
    assert comparison.ranked(found["validation coherence"])[1] == "0.1"


def test_a_row_is_measured_once_and_each_way_of_sampling_is_one_of_its_own(monkeypatch, tmp_path):
    made, setting = [], comparison.Setting(tmp_path)

    def measure(method, split, num_rows):
        made.append((method.steps, method.evaluations, split, num_rows))
        return {"number": len(made)}

    monkeypatch.setattr(comparison.Setting, "evaluator", lambda self, seed: tmp_path)
    monkeypatch.setattr(comparison, "reuse", lambda *_: None)
    monkeypatch.setattr(
        methods, "train_latent", lambda config, workdir: trained(steps=workdir.name)
    )
    monkeypatch.setattr(
        methods, "train_joint", lambda config, workdir, *how: trained(steps=how[:2])
    )
    monkeypatch.setattr(methods, "measure", measure)
    monkeypatch.setattr(
        methods, "sampled", lambda method, **ways: trained(evaluations=ways["given"]["n"])
    )
    monkeypatch.setattr(comparison.Setting, "gflop", lambda self: 8.0)
    for _ in range(2):
        assert setting.row("ours", 0) == {"number": 1}
        assert setting.row("ours", 0, ways=comparison.alike({"n": 3})) == {"number": 2}
        assert setting.row("mopoe", 1, 0.5, 0.25, "valid") == {"number": 3}
    assert made == [
        ("ours-0-1-0", 65, "test", 0),
        (1, 3, "test", 0),
        (("mopoe", 0.5), 65, "valid", 500),
    ]
    assert comparison.Setting(tmp_path, large=True).folder != setting.folder


def page(ours, other):
    """A page on which all baselines are alike, measured with stand-ins for trainings."""
    figures = (
        *QUALITY,
        "classifier",
        "training seconds",
        "GFLOP",
        "parameters",
        "evaluations",
        "num_rows",
    )

    def row(self, method, seed, choice=0.0, share=1.0, split="test", ways=None):
        value = (ours if method == "ours" else other) + 0.01 * (seed - 1)
        if split == "valid":  # the better, the smaller what was chosen
            value -= 0.1 * choice + sum(how.get("num_levels", 0) for how in (ways or {}).values())
        return {f: 1 - value if f in LOWER else value for f in figures}

    def times(self, chosen):
        seconds = dict.fromkeys(("ours", *BASELINES), 1.0) | {"ours, 1 level": 1.9}
        return {f"seconds per 1,000, {what}": seconds for what in ("given 1", "from nothing")}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison.Setting, "row", row)
        patch.setattr(comparison.Setting, "gflop", lambda self: 1.0)
        patch.setattr(comparison, "time_all", times)
        patch.setattr(jax.config, "update", lambda name, value: None)
        options = Namespace(runs=Path("runs"), smoke=False, seeds=[0, 1, 2])
        made = {"comparison": comparison.measure_comparison(options)}
        options.page = made
        return made | {"choices": comparison.measure_choices(options)}


def held(made, words):
    """Return by name the claims that have some words."""
    return {
        claim["name"]: claim["holds"] for claim in REPORT.claims(made) if words in claim["name"]
    }


def test_a_claim_holds_only_beyond_the_deviation():
    words = "better than the best baseline"
    assert len(held(page(0.9, 0.8), words)) == len(COMPARED) * 3
    assert all(held(page(0.9, 0.8), words).values())
    assert not any(held(page(0.9, 0.89), words).values())
    assert not any(held(page(0.8, 0.9), words).values())
    one = page(0.9, 0.8)
    one["comparison"]["rows"] = {m: rows[:1] for m, rows in one["comparison"]["rows"].items()}
    assert not held(one, words)


def test_a_baseline_with_its_second_choice_is_compared_as_well():
    made = page(0.9, 0.8)
    assert made["choices"]["values"] == {"mopoe": "0.5"}
    assert made["comparison"]["chosen"]["mopoe"]["value"] == 0.1
    found = held(made, "MoPoE with its second choice, 0.5")
    assert len(found) == len(COMPARED)
    assert all(found.values())
    made["choices"]["rows"]["mopoe"] = made["comparison"]["rows"]["ours"]
    assert not any(held(made, "second choice").values())


def test_what_large_batches_miss_stays_in_the_list():
    made = page(0.9, 0.8)
    before = REPORT.claims(made)
    made["large"] = page(0.8, 0.9)["comparison"]
    added = [claim for claim in REPORT.claims(made) if claim not in before]
    assert {claim["name"].split(": ")[0] for claim in added} == {"large batches"}
    name = "large batches: given 2: ours is better than the best baseline, MLD, by more than the deviation"
    assert not held(made, "large batches: given 2: ours is better")[name]


def test_a_baseline_that_is_more_coherent_and_less_diverse_does_not_dominate():
    rows = page(0.8, 0.7)["comparison"]["rows"]
    for row in rows["mopoe"]:
        row |= dict.fromkeys(GIVEN, 0.95)
    assert claims_of.dominating(rows) == []
    for row in rows["mopoe"]:
        row["diversity"] = 0.85
    assert claims_of.dominating(rows) == ["mopoe"]
    for row in rows[LOW_TEMPERATURE]:
        row["given 2"] = 1.6  # the mean given 1 to 4 is 1
    assert claims_of.dominating(rows, LOW_TEMPERATURE) == []


def test_sampling_is_compared_with_the_fastest_single_pass():
    made, words = page(0.9, 0.8), "1,000 samples given 1"
    assert made["comparison"]["chosen"][FEW_STEPS]["value"] == 1
    assert list(held(made, words).values()) == [True]
    made["comparison"]["sampling"]["seconds per 1,000, given 1"]["ours, 1 level"] = 2.1
    assert list(held(made, words).values()) == [False]
    for method in SINGLE_PASS:
        del made["comparison"]["rows"][method]
        made["comparison"]["sampling"]["seconds per 1,000, given 1"].pop(method, None)
    assert not held(made, words)
    assert held(made, "seconds of training ours at half the operations over MLD")


def test_tables_have_every_method():
    made = page(0.9, 0.8)
    quality, cost = (REPORT.tables[f"peers.{name}"][1](made) for name in ("quality", "cost"))
    assert [len(table.splitlines()) for table in (quality, cost)] == [2 + len(OURS + BASELINES)] * 2
    assert "| MLD | 0.800 ± 0.010 |" in quality
    assert "| MLD | conditioning probability 0.2 |" in cost
    assert cost.count("temperature 0.5; from nothing temperature 0.5") == 2
    samplers = REPORT.tables["peers.samplers"][1](made)
    assert len(samplers.splitlines()) == 2 + 1 + len(comparison.LOW_TEMPERATURES) + len(
        comparison.FEW_LEVELS
    )
    assert "| ours, temperature 0.7, guidance 3 | " in samplers
    choices = REPORT.tables["peers.choices"][1](made)
    assert "| MoPoE, beta 0.1 | 0.800" in choices
    assert "| MoPoE, beta 0.5 | 0.800" in choices


def numbered(num, given):
    """A row of a method with a number of modalities."""
    first = dict.fromkeys(("given the other", "given all others"), given) | {"classifier": 0.9}
    return {"classifier": 0.9, **{f"given {n}": given for n in range(1, num)}, "first two": first}


def test_more_modalities_are_compared_with_fewer():
    def found(**last):
        rows = {m: {"2": numbered(2, 0.8), "10": numbered(10, value)} for m, value in last.items()}
        return REPORT.claims({"modalities": {"rows": rows}})

    def holds(*last):
        return [
            c["holds"]
            for c in found(**dict(zip(("ours", "mopoe", "mvtcae", "mmvae"), last, strict=True)))
        ]

    assert (
        holds(0.79, 0.5, 0.6, 0.8) == [True] * 8
    )  # ours and two baselines, for each of four figures
    assert holds(0.7, 0.5, 0.6, 0.8) == [False, True] * 4
    assert holds(0.79, 0.5, 0.79, 0.8) == [True, False] * 4
    named = {c["name"]: c for c in found(**{"ours": 0.8, LOW_TEMPERATURE: 0.7, "mopoe": 0.8})}
    one = [c for name, c in named.items() if name.startswith("all, given one")]
    assert [(c["value"], c["holds"]) for c in one] == [(0, True), (0.1111, False), (0, False)]
    assert "all, given one: baselines of 1 that fall more than 0.03" in named, "ours is none"


def test_each_method_is_measured_with_each_number_as_it_was_chosen(monkeypatch, tmp_path):
    def train(self, method, seed, choice=0.0):
        return {"number": self.num_modalities, "method": method, "choice": choice}

    monkeypatch.setattr(modalities.Setting, "train", train)
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    monkeypatch.setattr(modalities, "measure", lambda trained, split: trained)
    monkeypatch.setattr(modalities, "measure_first", lambda trained, split: {"classifier": 1.0})
    monkeypatch.setattr(modalities, "sampled", lambda trained, **ways: trained | {"ways": ways})
    chosen = {
        LOW_TEMPERATURE: {"value": {"given": 1}},
        "mopoe": {"value": 0.5},
        "mvtcae": {"value": 2.5},
    }
    options = Namespace(runs=tmp_path, smoke=True, page={"comparison": {"chosen": chosen}})
    rows = modalities.measure_modalities(options)["rows"]
    assert list(rows) == ["ours", LOW_TEMPERATURE, "mopoe", "mvtcae"]
    assert [row["number"] for row in rows["ours"].values()] == [2, 3]
    assert rows[LOW_TEMPERATURE]["3"] == {
        "number": 3, "method": "ours", "choice": 0.0, "ways": {"given": 1},
        "first two": {"classifier": 1.0},
    }  # fmt: skip
    assert rows["mopoe"]["2"]["choice"] == 0.5


def test_the_first_two_are_asked_with_each_number(monkeypatch):
    names, asked = ("coffee", *modalities.FIRST), []
    label = np.arange(60) % 3
    pictures = np.broadcast_to(label[:, None], (60, 4)) + 0.01 * np.random.default_rng(0).normal(
        size=(60, 4)
    )
    rows = dict.fromkeys(names, pictures) | {"label": label}

    def complete(key, batch, observed):
        asked.append(np.asarray(observed[0]))
        return dict(batch)

    def compile_classifier(classifier, params):
        return lambda x: (np.round(np.mean(x, axis=1)).astype(int), np.asarray(x))

    generator = Generator(names=names, complete=complete, reconstruct=dict, batch_size=20)
    protocol = SimpleNamespace(num_rows=60, classifier=None)
    monkeypatch.setattr(modalities, "asked", lambda *_: (protocol, rows, generator))
    monkeypatch.setattr(modalities, "load_evaluators", lambda run: {"classifier": None})
    monkeypatch.setattr(modalities.evaluators, "compile_classifier", compile_classifier)
    parts = SimpleNamespace(protocol=protocol, layout=SimpleNamespace(names=names))
    trainer = SimpleNamespace(stage_key=lambda name: jax.random.key(0))
    found = modalities.measure_first(
        trained(run=SimpleNamespace(parts=parts, trainer=trainer)), "test"
    )
    assert {found[f"given {what}"] for what in ("the other", "all others")} == {1.0}
    assert found["reconstruction"] == found["classifier"] == 1.0
    assert abs(found["Fréchet distance given the other"]) < 1e-3
    seen = {tuple(n for n, o in zip(names, mask, strict=True) if o) for mask in asked}
    first, second = modalities.FIRST
    pairs = {tuple(n for n in names if n != left_out) for left_out in (first, second)}
    assert seen == {(first,), (second,), *pairs}


def test_each_ablation_changes_what_it_says_and_nothing_else(monkeypatch, tmp_path, costs):
    made = {}

    def latent(config, workdir):
        made[workdir.name] = config
        groups = [SimpleNamespace(stage="autoencoder/hubble")]
        run = SimpleNamespace(
            folder=SimpleNamespace(path=tmp_path), parts=SimpleNamespace(groups=groups)
        )
        return trained(run=run)

    setting = ablations.Setting(tmp_path, large=True)
    monkeypatch.setattr(ablations.Setting, "evaluator", lambda self, seed: tmp_path)
    monkeypatch.setattr(
        ablations.Setting, "train", lambda self, *_: latent(self.config(0), Path("whole"))
    )
    monkeypatch.setattr(ablations, "reuse", lambda *_: None)
    monkeypatch.setattr(ablations, "sampled", lambda method, **ways: ways)
    for name in ("train_latent", "train_joint", "train_together"):
        monkeypatch.setattr(ablations, name, lambda config, workdir, **_: latent(config, workdir))
    low = {"given": {"temperature": 0.5}, "nothing": {"temperature": 0.5}}
    rows = ablations.rows(setting, {"mopoe": 0.5, "mvtcae": 0.5}, low)
    assert len(rows) == 23
    sampling = {name: make() for name, make in rows.items() if isinstance(make(), dict)}
    assert sampling.keys() == {
        *ablations.SAMPLED,
        "batches of the score a quarter, low temperature",
    }
    whole = made.pop("whole")
    changed = {
        name: {key for key in whole if config[key] != whole[key]} for name, config in made.items()
    }
    assert changed.pop("regularised-autoencoders-(RAE)") == {"autoencoder", "modalities"}
    assert changed.pop("variance-of-pictures-learned") == {"modalities"}
    assert changed.pop("autoencoders-and-score-trained-together") == set()
    half = "half-the-operations-learning-rate-of-the-score-doubled"
    assert changed.pop(half) == set(methods.STAGES)
    for name, keys in changed.items():
        score = name in ("often", "learning-rate-of-the-score-doubled")
        data = "missing" in name
        assert keys == {"score_training" if score else "data" if data else "num_train"}, name
