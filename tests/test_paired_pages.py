"""The report of paired data shows what there is, and says what it means."""

import copy
import math
import re

import jax
import numpy as np
import pytest
import tiny
from PIL import Image
from stand_ins import Gaussian, Mixture

from sbmae_jax._json import from_json, to_json
from sbmae_jax.app import pipeline
from sbmae_jax.evaluation.formatting import percent_with_error, with_error
from sbmae_jax.evaluation.generator import Generator
from sbmae_jax.evaluation.labels import coherence_pages
from sbmae_jax.evaluation.paired import calibration_pages, pages
from sbmae_jax.evaluation.paired.headlines import headlines
from sbmae_jax.evaluation.paired.information_pages import information_sections
from sbmae_jax.evaluation.paired.labels import find_judges
from sbmae_jax.evaluation.paired.pages import sections
from sbmae_jax.evaluation.paired.plots import plot_matrix, plot_prediction, plot_vectors
from sbmae_jax.evaluation.paired.protocol import PairedProtocol
from sbmae_jax.evaluation.paired.samples import MAX_FEATURES
from sbmae_jax.metrics.coherence import estimate

SPEED = {"seconds_per_1000_samples": 1.0, "num_evaluations": 3}
MIXTURE = Mixture()


def reported(model, rows, train, likelihoods, folder, least_bytes=500, information=None, **options):
    """Measure a model and report it, and return headlines, sections, samples and results."""
    generator = Generator(
        names=model.names, complete=model.complete, draw=model.draw, reconstruct=dict, batch_size=500,
        information=information,
    )  # fmt: skip
    protocol = PairedProtocol(
        likelihoods=likelihoods, num_unconditional=50, num_samples=9, **options
    )
    results, samples = protocol.measure(jax.random.key(0), rows, generator, {}, lambda: train)
    results = from_json(to_json(results | SPEED))  # as from results.json
    sections = protocol.report.sections(results, samples, model.names, folder)
    for section in sections:
        assert all((folder / image.file).stat().st_size > least_bytes for image in section.images)
        assert len({len(row) for row in section.table}) <= 1
    headlines = {headline.name: headline for headline in protocol.report.headlines(results)}
    return headlines, {section.title: section for section in sections}, samples, results


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def mixture(folder):
    rows = MIXTURE.rows(60, seed=1)
    present = np.ones((60, 4), bool)
    present[1:, 0], present[2:30, 3], present[50:, 2] = False, False, False
    train = MIXTURE.rows(300, seed=2)
    return reported(MIXTURE, rows | {"present": present}, train, MIXTURE.likelihoods, folder)


def test_the_headlines_are_about_each_modality_and_its_baselines(mixture):
    headlines, _, _, _ = mixture
    word = headlines["word, given all others"]
    assert word.remark.startswith("accuracy; logistic regression")
    assert "most frequent value" in word.remark
    assert "explained; linear" in headlines["picture, given all others"].remark
    assert "consistency of joint samples" in headlines
    assert "unconditional coherence" in headlines


def test_all_sections_are_there(mixture):
    _, sections, _, _ = mixture
    assert list(sections) == [
        "Each modality, given all others", "Each modality, given one other", "Calibration of intervals",
        "Calibration of probabilities", "Examples: values, given all others",
        "Examples: picture, generated", "Coherence: do modalities agree on the label?",
        "Unconditional samples", "Reconstructions",
    ]  # fmt: skip
    assert "Not shown: picture" in sections["Calibration of intervals"].remark
    assert [row[0] for row in sections["Reconstructions"].table[1:]] == list(MIXTURE.names)


@pytest.mark.parametrize(
    ("mean", "se", "text"),
    [
        (0.912, 0.004, "91.2 ± 0.4 %"),
        (0.912, math.nan, "91.2 %"),
        (1.0004, 0.002, "100.0 ± 0.2 %"),
        (1.031, 0.02, "100 % (estimate 103.1 ± 2.0 %: too few rows to tell)"),
        (1.5, math.nan, "100 % (estimate 150.0 %: too few rows to tell)"),
        (-8.33, 1.0, "-833.0 ± 100.0 %"),
        (math.nan, math.nan, "undefined"),
    ],
)
def test_a_share_above_one_is_not_printed_without_a_word(mean, se, text):
    assert percent_with_error({"mean": mean, "se": se}) == text


@pytest.mark.parametrize(
    ("values", "text", "share"),
    [
        ([1] * 4, "1.000 (0.510 to 1.000)", "100.0 % (51 to 100 %)"),
        ([0, 1, 1], "0.667 (0.208 to 0.939)", "66.7 % (21 to 94 %)"),
        ([0.2, 0.4, 0.6], "0.400 (-0.097 to 0.897)", "40.0 % (-10 to 90 %)"),
        ([0, 1] * 50, "0.500 ± 0.050", "50.0 ± 5.0 %"),
        ([1] * 500, "1.000 (0.992 to 1.000)", "100.0 % (99 to 100 %)"),
        ([0.5], "0.500", "50.0 %"),
    ],
)
def test_of_few_rows_an_interval_is_shown(values, text, share):
    entry = estimate(values)._asdict()
    assert (with_error(entry), percent_with_error(entry)) == (text, share)


def test_few_test_rows_are_warned_of_and_many_are_not(mixture):
    found, _, _, results = mixture
    # One row alone has the first modality.
    assert found["warning: few test rows"].value == "1"
    assert "those of counts may be far off" in found["warning: few test rows"].remark
    several = copy.deepcopy(results)
    for entry in several["prediction"].values():
        entry["num_rows"] = 30
    assert "few test rows" not in str(headlines(several))
    several["num_rows"] = 29
    assert headlines(several)[0].value == "29"
    assert "all figures may be far off" in headlines(several)[0].remark


def information_of_nobody(key, rows):
    """Return what `models.information.summarise` could return."""
    names = [name for name in rows if name in MIXTURE.names]
    entry = {"mean": 0.5, "se": 0.02, "doubtful": False}
    pairs = {a: {b: entry for b in names if b != a} for a in names}
    total = {"mean": 1.25, "se": 0.1, "doubtful": False}
    return {
        "num_rows": len(rows[names[0]]), "pairs": pairs, "total_correlation": total,
        "o_information": total | {"mean": -0.25},
    }  # fmt: skip


def test_information_between_modalities_is_shown_where_it_was_measured(mixture):
    _, sections, _, results = mixture
    assert "Information, in nats" not in sections  # no generator of it, and no rows for it
    assert information_sections(results, MIXTURE.names) == []
    found = information_of_nobody(None, {name: np.zeros(60) for name in MIXTURE.names})
    (section,) = information_sections({"information": found}, MIXTURE.names)
    assert section.table[0] == ("", *MIXTURE.names)
    assert section.table[1] == (MIXTURE.names[0], "", *["0.50 ± 0.02"] * 3)
    assert "total correlation 1.25 ± 0.10 nats, O-information -0.25 ± 0.10" in section.remark
    assert "?" not in section.remark
    first, second, *_ = MIXTURE.names
    found["pairs"][first][second] = {"mean": 0.5, "se": 0.02, "doubtful": True}
    (section,) = information_sections({"information": found}, MIXTURE.names)
    assert section.table[1][2] == "0.50 ± 0.02 ?"
    assert "A question mark" in section.remark
    del found["o_information"]
    (section,) = information_sections({"information": found}, MIXTURE.names[:2])
    assert "total" not in section.remark


def test_a_modality_that_says_nothing_of_the_label_is_no_judge_of_agreement(folder):
    class Noisy(Mixture):
        """The counts are the same for all classes."""

        def __init__(self):
            super().__init__()
            self.rates = np.full_like(self.rates, 3.0)

    model = Noisy()
    rows, train = model.rows(60, seed=1), model.rows(300, seed=2)
    found, shown, _, results = reported(
        model, rows, train, model.likelihoods, folder, information=information_of_nobody
    )
    assert shown["Information, in nats"].table[1][2] == "0.50 ± 0.02"
    assert "60 complete test rows" in shown["Information, in nats"].remark
    assert results["judges_left_out"] == ["counts"]
    assert found["left out of coherence"].value == "counts"
    assert "counts." in shown["Coherence: do modalities agree on the label?"].remark
    # Agreement is that of the other three.
    assert set(results["unconditional_coherence"]["at_least_k"]) == {"2", "3"}
    others = np.mean(
        [a for n, a in results["classifier_accuracy"]["by_modality"].items() if n != "counts"]
    )
    assert results["classifier_accuracy"]["mean"] == pytest.approx(others)
    assert results["conditional_coherence"].keys() == {"1", "2", "3"}
    assert set(results["classifier_accuracy"]["by_modality"]) == set(model.names)


@pytest.mark.parametrize(
    ("correct", "label", "found"),
    [
        ([1] * 12, [0, 1] * 6, True),
        ([1] * 3, [0, 1, 1], False),  # three rows cannot tell
        ([1, 0] * 20, [0, 1] * 20, False),
        ([1] * 9 + [0], [0] * 9 + [1], False),  # as good as always saying 0
        ([1] * 4, [0] * 4, True),  # one class alone
    ],
)
def test_a_judge_must_be_better_than_the_most_frequent_class(correct, label, found):
    label = np.array(label)
    classes = np.where(correct, label, label + 1)[:, None]
    assert find_judges(classes, label, np.ones_like(classes, bool)).tolist() == [found]
    assert not find_judges(classes, label, np.zeros_like(classes, bool)).any()


def test_vectors_of_many_modalities_are_all_shown_up_to_a_number_that_is_told(mixture, folder):
    _, _, _, results = mixture
    names = tuple(f"v{i:02}" for i in range(14))
    results = copy.deepcopy(results) | {"value_types": dict.fromkeys(names, "real")}
    values = np.random.default_rng(0).normal(size=(2, MAX_FEATURES))
    samples = {"shown": np.arange(2), "present": np.ones((2, 14), bool)}
    samples |= {f"true/{name}": values for name in names}
    samples |= {f"rest/{name}": values[:, None] for name in names}
    section = {s.title: s for s in pages._vectors(results, samples, names, folder)}
    caption = section["Examples: values, given all others"].images[0].caption
    assert caption.endswith("Not shown: v12, v13.")
    assert "v00, v01" in caption
    assert f"at most the first {MAX_FEATURES} values" in caption
    shown = {axes.get_title() for axes in plot_vectors(samples, names[:12], names).axes}
    assert shown - {""} == set(names[:12])


def test_a_report_on_few_rows_shows_no_share_above_one(mixture, folder):
    *_, results = mixture
    results = copy.deepcopy(results)
    for entry in results["prediction"].values():
        entry["model"]["error"] = {"mean": -0.07, "se": 0.05}
        entry["model"].pop("accuracy", None)
    results["value_types"] = dict.fromkeys(results["value_types"], "real")
    found = {h.name: h.value for h in headlines(results)}
    assert found["picture, given all others"].startswith("100 % (estimate 107.0 ± 5.0 %: too few")
    table = sections(results, mixture[2], MIXTURE.names, folder)[0].table
    assert [row[3][:5] for row in table[1:]] == ["100 %"] * 4
    texts = [text.get_text() for text in plot_matrix(results, MIXTURE.names).axes[0].texts]
    assert texts[-4:] == ["≈100 %"] * 4
    assert plot_prediction(results["prediction"]).axes[0].get_xlim()[1] > 1.07


def test_a_coherence_above_its_ceiling_is_explained(mixture):
    *_, results = mixture
    results = copy.deepcopy(results)
    results["conditional_coherence"] = {
        "1": {"mean": 0.6, "se": 0.1}, "2": {"mean": 0.9, "se": 0.1}, "3": {"mean": 0.8, "se": 0.1},
    }  # fmt: skip
    results["reconstruction_accuracy"]["mean"] = 0.8
    found = {h.name: h.remark for h in coherence_pages.headlines(results)}
    assert found["conditional coherence, given 1"] == "75% of the ceiling"
    assert found["conditional coherence, given 2"].startswith(
        "above the ceiling of 0.800: by chance"
    )
    assert found["conditional coherence, given 3"] == "100% of the ceiling"


def test_labels_of_rows_with_gaps_are_read_from_what_is_there(mixture):
    _, _, _, results = mixture
    assert results["classifier_accuracy"]["by_modality"]["picture"] == 1
    assert results["conditional_coherence"]["1"]["mean"] > 0.5


def test_examples_have_few_gaps_and_what_is_missing_is_blank(mixture, folder):
    _, _, samples, _ = mixture
    assert samples["present"].sum(axis=1).tolist() == [4, 3, 3, 3, 3, 3]
    assert samples["shown"][0] == 0
    page = np.asarray(Image.open(folder / "given_2.png").convert("RGB"))
    height, width = page.shape[0] // 7, page.shape[1]
    counts = slice(width * 4 // 10 + 40, width * 6 // 10 - 40)
    assert (page[-height:, counts] == 255).all()
    assert (page[height : 2 * height, counts] != 255).any()


def test_samples_fit_what_they_are_drawn_for(mixture):
    _, _, samples, _ = mixture
    assert samples["rest/counts"].shape == (6, 9, 2)
    assert samples["rest/picture"].shape == (6, 3, 6, 6, 1)
    assert samples["alone word/picture"].shape == (6, 2, 6, 6, 1)
    assert samples["joint/picture"].shape == (12, 6, 6, 1)
    # Given flags, word and counts, a picture shows one of the three labels.
    shown = samples["rest/picture"].reshape(18, -1)
    means = MIXTURE.means(np.arange(3))["picture"].reshape(3, -1)
    distance = np.abs(shown[:, None] - means).max(axis=2)
    np.testing.assert_allclose(distance.min(axis=1), 0, atol=1e-6)


def test_an_image_that_no_test_row_has_is_left_out(tmp_path):
    rows, train = ({n: MIXTURE.rows(30, seed)[n] for n in MIXTURE.names} for seed in (1, 2))
    present = np.array(MIXTURE.names) != "picture"
    rows["present"] = np.broadcast_to(present, (30, 4))
    _, sections, samples, results = reported(MIXTURE, rows, train, MIXTURE.likelihoods, tmp_path)
    assert "Examples: picture, generated" not in sections
    assert "real/picture" not in samples
    assert results["prediction"].keys() == {"counts", "flags", "word"}


def test_rows_that_have_one_modality_each_leave_nothing_to_observe(tmp_path):
    pair = Gaussian({"a": 2, "b": 1})
    present = np.arange(40)[:, None] % 2 == np.arange(2)
    rows, train = ({**pair.rows(40, seed), "present": present} for seed in (0, 1))
    _, sections, _, _ = reported(pair, rows, train, dict.fromkeys("ab", "normal"), tmp_path)
    assert list(sections) == ["Nothing to observe", "Unconditional samples", "Reconstructions"]


def test_one_modality_is_said_to_be_one(tmp_path):
    alone = Gaussian({"a": 2})
    headlines, sections, _, _ = reported(
        alone, alone.rows(40, 0), alone.rows(80, 1), {"a": "normal"}, tmp_path
    )
    assert "a latent diffusion model" in headlines["modalities"].remark
    assert list(sections) == ["One modality", "Unconditional samples", "Reconstructions"]


@pytest.mark.parametrize(
    ("coverage", "bias", "se", "words"),
    [
        (0.90, 0.0, 0.005, "calibrated"),
        (0.80, 0.0, 0.005, "overconfident: intervals too narrow"),
        (0.97, 0.1, 0.005, "underconfident: intervals too wide; samples too low"),
        (0.90, -0.1, 0.005, "samples too high"),
        (0.784, 0.0, 0.058, "too few rows to tell"),
        (0.90, 0.0, 0.058, "too few rows to tell"),
        (0.50, 0.0, 0.058, "overconfident: intervals too narrow"),
        (0.50, 0.3, math.nan, "too few rows to tell"),
    ],
)
def test_calibration_is_put_into_words(coverage, bias, se, words):
    entry = {
        "nominal": 0.9,
        "coverage": {"mean": coverage, "se": se},
        "bias": {"mean": bias, "se": se},
    }
    assert calibration_pages.verdict(entry) == words


@pytest.mark.slow
def test_a_run_can_be_evaluated_as_paired_data(tmp_path):
    config = tiny.config()
    config["evaluation"] = {
        "name": "paired", "num_rows": 24, "num_unconditional": 40, "batch_size": 40, "num_samples": 5,
    }  # fmt: skip
    workdir = pipeline.run(config, tmp_path / "run")
    page = (workdir / "report" / "index.html").read_text()
    assert "Each modality, given one other" in page
    assert 'src="matrix.png"' in page
    assert "Coherence: do modalities agree on the label?" in page


@pytest.mark.parametrize("constant", [False, True])
def test_what_one_row_or_no_variance_leaves_undefined_is_shown_as_such(constant, tmp_path):
    rows, train = MIXTURE.rows(1, seed=1), MIXTURE.rows(300, seed=2)
    if constant:
        rows = {name: np.repeat(array, 3, axis=0) for name, array in rows.items()}
        train |= {name: np.repeat(rows[name][:1], 300, axis=0) for name in MIXTURE.names}
    headlines, sections, _, results = reported(
        MIXTURE,
        rows,
        train,
        MIXTURE.likelihoods,
        tmp_path,
        least_bytes=100,  # a picture of one row
    )
    text = to_json(results)
    assert "NaN" not in text
    assert "undefined" in text
    shown = f"{headlines}{[(section.table, section.remark) for section in sections.values()]}"
    assert not re.search(r"\bnan\b|None", shown)
    if not constant:
        assert sections["Calibration of intervals"].table[1][-1] == "too few rows to tell"
