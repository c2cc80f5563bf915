"""Several shared factors: what is measured of a generator that is known exactly, and what is refused."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import own_files
import pytest

from sbmae_jax._json import from_json
from sbmae_jax.app import pipeline
from sbmae_jax.app.evaluations import build_protocol
from sbmae_jax.app.overrides import Override, with_overrides
from sbmae_jax.app.sections import plain
from sbmae_jax.configs import custom, polydigits
from sbmae_jax.data.description import Description
from sbmae_jax.evaluation.generator import Generator
from sbmae_jax.evaluation.labels import factor_pages
from sbmae_jax.evaluation.labels.factor_protocol import FactorProtocol
from sbmae_jax.evaluation.labels.factors import Factor, Verifier, make_factor_reader
from sbmae_jax.metrics.diversity import expected_total_variation, total_variation
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.task import Task

NAMES = (
    "a",
    "b",
    "c",
    "digit",
    "quadrant",
)  # three views, whose values are digit, quadrant and style
VIEWS = NAMES[:3]
SIZES = {"digit": 5, "quadrant": 3}
LABELS = tuple(
    Factor(name=name, array=name, classes=tuple(map(str, range(size))))
    for name, size in SIZES.items()
)
NUM = 600


def verifier(index, factor):
    def apply(params, x):
        values = x[:, index]
        return -((values[:, None] - jnp.arange(len(factor.classes))[None]) ** 2), x[:, 2:]

    classifier = SimpleNamespace(apply=apply)
    return Verifier(factor=factor, views=VIEWS, classifier=classifier, stage=factor.name)  # pyright: ignore


PROTOCOL = FactorProtocol(
    names=NAMES, labels=LABELS, verifiers=tuple(verifier(i, f) for i, f in enumerate(LABELS)),
    training=None, factors=tuple(SIZES), views=VIEWS, num_rows=NUM, num_unconditional=NUM,
    batch_size=NUM,
)  # pyright: ignore  # fmt: skip


def rows_of(rng, num, digit=None, quadrant=None):
    """Draw rows as the data have them."""
    drawn = {name: rng.integers(size, size=num) for name, size in SIZES.items()}
    chosen = {
        n: drawn[n] if given is None else given for n, given in zip(SIZES, (digit, quadrant), strict=True)
    }  # fmt: skip
    rows = {
        view: np.stack([*chosen.values(), *rng.normal(size=(2, num))], axis=1).astype(np.float32)
        for view in VIEWS
    }
    return rows | {n: np.eye(SIZES[n], dtype=np.float32)[chosen[n]] for n in SIZES}


def measured(change=lambda made, rng, observed: None, rows=None):
    """Measure a generator that draws exactly from the data, but for a change of what it made."""
    rng = np.random.default_rng(0)

    def complete(key, batch, observed):
        observed, num = np.asarray(observed), len(batch["a"])
        given = {}
        for name in SIZES:
            if observed[:, NAMES.index(name)].all():
                given[name] = np.asarray(batch[name]).argmax(axis=1)
            for v, view in enumerate(VIEWS):
                if observed[:, v].all():
                    given[name] = np.asarray(batch[view])[:, list(SIZES).index(name)].astype(int)
        made = rows_of(rng, num, **given)
        change(made, rng, observed)
        return {
            name: np.where(observed[:, [m]], batch[name], made[name])
            for m, name in enumerate(NAMES)
        }

    read = make_factor_reader(LABELS, VIEWS, PROTOCOL.verifiers, dict.fromkeys(SIZES), LABELS)
    generator = Generator(
        names=NAMES, complete=complete, reconstruct=dict, batch_size=NUM, read=read
    )
    test, train = rows or rows_of(np.random.default_rng(1), NUM), rows_of(rng, 20_000)
    return PROTOCOL.measure_factors(jax.random.key(0), test, generator, train)


@pytest.fixture(scope="module")
def exact():
    """The results of a generator that draws exactly from the data."""
    return measured()


def test_exact_draws_agree_in_everything_and_vary_as_much_as_they_should(exact):
    assert list(exact["given_labels"]) == ["digit", "quadrant", "digit, quadrant"]
    for given, other in (("digit", "quadrant"), ("quadrant", "digit")):
        found = exact["given_labels"][given]
        assert found["shown"][given]["mean"] == 1
        assert found["open"][other]["pairs_agree"]["mean"] == 1
        assert found["open"][other]["show_label"]["mean"] == 1
        assert list(found["open"]) == [other]
        ratio = found["open"][other]["total_variation"] / found["open"][other]["expected"]
        assert 0.6 < ratio < 1.5
    both = exact["given_labels"]["digit, quadrant"]
    assert both["shown"]["all factors"]["mean"] == 1
    assert both["open"] == {}
    assert exact["unconditional"]["all factors"]["show_label"]["mean"] == 1
    assert exact["given_view"]["b"]["labels"]["digit"]["mean"] == 1
    assert set(exact["given_view"]["b"]["shown"]["digit"]["by_modality"]) == {"a", "c"}
    for ratio in exact["diversity"].values():
        assert 0.8 < ratio < 1.25
    assert exact["frechet_verifier_features"]["digit"]["mean"] < 0.1
    assert exact["views_left_out"] == {"digit": [], "quadrant": []}
    right = {"given": 1.0, "from nothing": 1.0}
    assert exact["ceilings"] == dict.fromkeys(("classifiers", "autoencoders", "sampler"), right)


def test_views_on_their_own_agree_by_chance_in_what_is_open_and_only_there():
    def alone(made, rng, observed):
        for name, size in SIZES.items():
            if not observed[:, NAMES.index(name)].all() and not observed[:, :3].any():
                made["b"][:, list(SIZES).index(name)] = rng.integers(size, size=len(made["b"]))

    found = measured(alone)["given_labels"]
    assert found["digit"]["shown"]["digit"]["mean"] == 1
    entry = found["digit"]["open"]["quadrant"]
    # One of three pairs does not have the view that is alone; the others agree one time in three.
    assert entry["pairs_agree"]["mean"] == pytest.approx(5 / 9, abs=0.04)
    assert entry["all_agree"]["mean"] == pytest.approx(1 / 3, abs=0.06)
    assert entry["show_label"]["mean"] == pytest.approx(1 / 3, abs=0.06)
    assert entry["total_variation"] < 1.5 * entry["expected"]


def test_one_class_for_all_agrees_but_is_far_from_the_data():
    def collapse(made, rng, observed):
        if observed[:, 3].all() and not observed[:, 4].any():  # the digit, and not the quadrant
            for view in VIEWS:
                made[view][:, 1] = 2

    entry = measured(collapse)["given_labels"]["digit"]["open"]["quadrant"]
    assert entry["pairs_agree"]["mean"] == 1
    assert entry["total_variation"] == pytest.approx(2 / 3, abs=0.02)
    assert entry["total_variation"] > 5 * entry["expected"]


def test_a_view_that_shows_no_factor_does_not_count():
    rows = rows_of(np.random.default_rng(1), NUM)
    rows["c"][:, 0] = 0  # as good as the most frequent class at best
    found = measured(rows=rows)
    assert found["views_left_out"] == {"digit": ["c"], "quadrant": []}
    shown = found["given_labels"]["digit"]["shown"]["digit"]
    assert set(shown["by_modality"]) == {"a", "b"}


def test_rows_without_a_label_are_left_out_and_counted():
    rows = rows_of(np.random.default_rng(1), NUM)
    rows["digit"][:7] = 0
    rows["present"] = np.ones((NUM, len(NAMES)), bool)
    rows["present"][5:10, NAMES.index("quadrant")] = False
    found = measured(rows=rows)
    assert (found["num_rows"], found["num_rows_without_label"]) == (NUM - 10, 10)
    rows["present"][:, NAMES.index("quadrant")] = False
    with pytest.raises(ValueError, match="no test row has all of the labels digit, quadrant"):
        measured(rows=rows)


def test_the_report_lists_what_was_measured(exact, tmp_path):
    def complete(key, batch, observed):
        pictures = {view: np.zeros((len(observed), 8, 8, 3)) for view in ("a", "b")}
        return {name: pictures.get(name, np.asarray(batch[name])) for name in NAMES}

    generator = Generator(names=NAMES, complete=complete, reconstruct=dict, batch_size=NUM)
    rows = rows_of(np.random.default_rng(1), 20)
    key = jax.random.key(0)
    samples = factor_pages.draw_samples(key, rows, generator, LABELS, ("a", "b"))
    assert samples["digit, quadrant/label/digit"].shape == (factor_pages.NUM_SHOWN,)
    sections = PROTOCOL.report.sections(exact, samples, NAMES, tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == 4  # nothing, each label, both
    open_rows = sections[0].table
    assert open_rows[1][:2] == ("nothing", "digit")
    assert open_rows[-1][:3] == ("quadrant", "digit", "1.000 (0.994 to 1.000)")
    results = exact | {"seconds_per_1000_samples": 1.0, "num_evaluations": 5}
    titles = [headline.name for headline in PROTOCOL.report.headlines(results)]
    assert "given digit, pairs of views agree in quadrant" in titles
    assert [section.title for section in sections[:2]] == [
        "Agreement in open factors",
        "What binds",
    ]
    assert "from nothing, all views show all generated labels" in titles
    assert factor_pages.draw_samples(key, rows, generator, LABELS, ()) == {}


def test_labels_that_are_not_known_do_not_teach():
    seen = {}

    def loss(params, key, batch):
        seen.update(batch)
        return jnp.ones(4), {}

    classifier = SimpleNamespace(task=Task(lambda key, batch: {}, loss))
    factor = Factor(name="site", array="site", classes=("x", "y"))
    made = Verifier(factor=factor, views=("a",), classifier=classifier, stage="site")  # pyright: ignore
    batch = {"x": jnp.zeros(4), "label": jnp.array([0, 1, -1, 1])}
    assert made.task.loss({}, None, batch)[0].tolist() == [1, 1, 0, 1]  # pyright: ignore
    assert seen["label"].tolist() == [0, 1, -1, 1]


def test_shares_of_exact_draws_lie_as_far_as_expected():
    rng, p = np.random.default_rng(0), np.array([0.7, 0.2, 0.1])
    draws = rng.multinomial(13, p, size=4000) / 13
    mean = np.mean([total_variation(shares, p) for shares in draws])
    assert expected_total_variation(p, 13) == pytest.approx(mean, abs=0.004)
    assert expected_total_variation([1.0, 0.0], 5) == 0
    with pytest.raises(ValueError, match="p must be probabilities that add up to 1"):
        expected_total_variation([0.5, 0.4], 5)


CONFIG = polydigits.get_config("dq").to_dict()
KINDS = {
    "bits": ((2,), "bernoulli"), "coffee": ((32, 32, 3), "gaussian"), "digit": ((10,), "categorical"),
    "hubble": ((32, 32, 3), "gaussian"), "ill": ((1,), "bernoulli"), "one": ((1,), "categorical"),
    "quadrant": ((4,), "categorical"),
}  # fmt: skip
MODALITIES = tuple(
    Modality(name=name, shape=shape, likelihood=kind, network="", latent_size=2, weight=1.0)
    for name, (shape, kind) in KINDS.items()
)
SHAPES = {m.name: m.shape for m in MODALITIES}
DATA = Description(
    SHAPES | {"site": ()}, dict.fromkeys(SHAPES, np.dtype(np.float32)),
    {"bits": ("Hat", "Smile"), "one": ("only",)},
)  # fmt: skip


def build(**options):
    config = CONFIG | {"evaluation": {"name": "factors", **options}}
    return build_protocol(config, MODALITIES, DATA)


def test_factors_are_found_where_none_are_named():
    found = build()
    assert found.factors == ("digit", "quadrant", "ill")  # pyright: ignore
    assert found.views == ("bits", "coffee", "hubble", "one")  # pyright: ignore
    stages = [verifier.stage for verifier in found.verifiers]  # pyright: ignore
    assert stages[:2] == ["verifier/digit-bits", "verifier/digit-coffee+hubble"]
    alone = build(factors=("digit",))
    assert alone.views == ("bits", "coffee", "hubble", "one")  # pyright: ignore
    named = build(factors=("bits.Smile",), views=("coffee",))
    (factor,) = named.labels  # pyright: ignore
    assert factor.read(np.array([[1.0, 0.2], [0.0, 0.9]])).tolist() == [0, 1]
    assert list(named.evaluators()) == ["verifier/bits.Smile"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"factors": ("one",)}, "the factor 'one' has one class, so nothing can agree"),
        ({"factors": ("digits",)}, r"the data have no labels 'digits' \(did you mean 'digit'"),
        ({"factors": ("bits.Hut",)}, r"bits has no entry 'Hut' \(did you mean 'Hat'\?\), only Hat"),
        ({"factors": ("bits",)}, "'bits' holds no classes: .* or one of its entries, as bits.Hat"),
        ({"factors": ("coffee",)}, "'coffee' holds no classes: name an array of labels"),
        ({"factors": ("site",)}, "the classes of 'site' have no names: add them to `entries`"),
        ({"views": ("digit",)}, "'digit' is no modality that may show a factor.* choose from"),
        ({"factors": "digit"}, "factors must be a tuple"),
        ({"num_unconditional": 1}, "num_unconditional must be at least 2"),
    ],
)
def test_factors_that_data_do_not_have_are_refused_before_training(options, said):
    with pytest.raises(ValueError, match=rf"config\.evaluation.*{said}"):
        build(**options)


def test_data_without_labels_or_without_views_are_refused():
    config = CONFIG | {"evaluation": {"name": "factors"}}
    pictures = tuple(m for m in MODALITIES if m.name in ("coffee", "hubble"))
    with pytest.raises(ValueError, match=r"needs data with labels.*choose 'paired'"):
        build_protocol(config, pictures, DATA)
    labels = tuple(m for m in MODALITIES if m.name in ("digit", "quadrant"))
    with pytest.raises(ValueError, match="no modality is left that could show the factors digit"):
        build_protocol(config, labels, DATA)


@pytest.mark.slow
def test_labels_of_a_user_are_factors(tmp_path):
    made = own_files.arrays()
    chosen = ("vector", "label", "town")
    np.savez(tmp_path / "own.npz", **{name: made[name] for name in chosen})
    config = custom.get_config("smoke")
    config.data.path = str(tmp_path / "own.npz")
    changes = {
        "evaluation.name": "factors", "classifier_training.num_steps": "20",
        "classifier_training.learning_rate": "1e-3", "classifier_training.batch_size": "32",
        "classifier_training.steps_per_call": "10", "classifier_training.checkpoint_every": "20",
    }  # fmt: skip
    values, _ = with_overrides(plain(config), [Override(*change) for change in changes.items()])
    pipeline.run(values, tmp_path / "run", quiet=True)
    found = from_json((tmp_path / "run" / "results.json").read_text())
    assert set(found["factors"]) == {"label", "town"}
    assert list(found["given_labels"]) == ["town"]  # the label is no modality
    assert set(found["unconditional"]) >= {"label", "town"}
    assert found["num_rows"] + found["num_rows_without_label"] == 20
    assert "Agreement in open factors" in (tmp_path / "run/report/index.html").read_text()
