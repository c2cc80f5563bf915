"""Protocols of conditional coherence, on generators whose mistakes are known."""

import dataclasses
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax.evaluation import inception as inception_weights
from sbmae_jax.evaluation.generator import Generator
from sbmae_jax.evaluation.labels import ceilings, coherence_pages
from sbmae_jax.evaluation.labels.evaluators import make_reader
from sbmae_jax.evaluation.labels.protocol import SharedLabelProtocol, measure_labelled
from sbmae_jax.evaluation.subsets import prefixes, subsets_by_size
from sbmae_jax.metrics.coherence import estimate, macro_estimate

NAMES = ("a", "b", "c")
LABEL = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2, 2])  # classes of different sizes
NOISE = np.random.default_rng(0).normal(size=(len(LABEL), 3))
# A picture is three numbers: its class, its row, noise.
ROWS = {
    name: np.stack([LABEL, np.arange(len(LABEL)), NOISE[:, m]], axis=1)
    for m, name in enumerate(NAMES)
} | {"label": LABEL}
ALL = ("nested", "prefix", "all_subsets")


def classify(x):
    x = np.asarray(x)
    return x[:, 0].astype(int), x


def generator(complete, batch_size=4):
    return Generator(names=NAMES, complete=complete, reconstruct=dict, batch_size=batch_size)


def measured(mistaken, protocols=ALL, classify=classify, inception=None):
    """Measure a generator that copies the test rows, but for the class where `mistaken` says so.

    mistaken: (target, observed modalities, class) -> bool
    """

    def complete(key, batch, observed):
        made = {name: np.array(batch[name]) for name in NAMES}
        for name in NAMES:
            for row, seen in zip(made[name], np.asarray(observed), strict=True):
                given = "".join(n for n, there in zip(NAMES, seen, strict=True) if there)
                if mistaken(name, given, row[0]):
                    row[0] = 2 - row[0] if row[0] != 1 else 0
        return made

    read = make_reader(NAMES, classify, inception)
    return measure_labelled(
        jax.random.key(0), ROWS, generator(complete).reading(read), 10, protocols
    )


@pytest.mark.parametrize("num_modalities", [2, 5, 7, 10])
@pytest.mark.parametrize("per_size", [1, 3, 10])
def test_subsets_are_different_and_observe_all_modalities_about_equally_often(
    num_modalities, per_size
):
    sizes = subsets_by_size(num_modalities, per_size)
    assert len(sizes) == num_modalities - 1
    for size, subsets in enumerate(sizes, 1):
        assert (subsets.sum(axis=1) == size).all()
        expected = min(per_size, math.comb(num_modalities, size))
        assert len(np.unique(subsets, axis=0)) == len(subsets) == expected
        assert np.ptp(subsets.sum(axis=0)) <= 2
        np.testing.assert_array_equal(subsets, subsets_by_size(num_modalities, per_size)[size - 1])


def test_five_modalities_have_thirty_subsets_and_ten_have_ninety_of_their_thousand():
    assert sum(map(len, subsets_by_size(5, 10))) == 30
    assert sum(map(len, subsets_by_size(10, 10))) == 90


def test_a_list_of_subsets_can_come_close_to_all():
    subsets = subsets_by_size(6, 19)[2]
    assert len(np.unique(subsets, axis=0)) == 19


def test_the_list_of_subsets_is_what_was_published():
    first = [np.flatnonzero(subset).tolist() for subset in subsets_by_size(10, 10)[1][:3]]
    assert first == [[3, 8], [0, 1], [5, 6]]


def test_prefixes_observe_the_first_modalities():
    np.testing.assert_array_equal(prefixes(3), [[True, False, False], [True, True, False]])


def test_the_macro_mean_counts_classes_alike_and_its_error_matches_repeated_experiments():
    values, label = np.array([1.0, 1.0, 1.0, 0.0]), np.array([0, 0, 0, 1])
    assert macro_estimate(values, label).mean == 0.5
    assert math.isnan(macro_estimate(values, label).se)
    label = np.repeat([0, 1], [30, 90])
    chance = np.where(label == 0, 0.3, 0.8)
    draws = np.random.default_rng(0).random((2000, 120)) < chance
    found = [macro_estimate(draw.astype(float), label) for draw in draws]
    means, errors = np.array(found)[:, :2].T
    assert means.mean() == pytest.approx(0.55, abs=0.01)
    assert errors.mean() == pytest.approx(means.std(), rel=0.1)


def test_a_copy_of_real_rows_scores_what_the_classifier_reads_from_them():
    def short_sighted(x):
        x = np.asarray(x)
        return np.where(x[:, 2] > 0.5, 9, x[:, 0]).astype(int), x

    results = measured(lambda *_: False, classify=short_sighted)
    read = NOISE <= 0.5
    ceiling = results["classifier_accuracy"]["by_modality"]
    assert 0 < ceiling["c"] < 1
    for n in ("1", "2"):
        assert results["prefix_coherence"][n]["mean"] == pytest.approx(ceiling["c"])
        for m, name in enumerate(NAMES):
            expected = macro_estimate(read[:, m].astype(float), LABEL).mean
            assert results["all_subsets_coherence"][n][name] == pytest.approx(expected)
        for protocol in ("prefix", "all_subsets"):
            distance = results[f"{protocol}_frechet_classifier_features"][n]["mean"]
            assert distance == pytest.approx(0, abs=1e-6)


def test_the_prefix_protocol_scores_the_last_modality_alone():
    results = measured(
        lambda target, given, _: target == "b" or (target == "c" and given == "a"), ("prefix",)
    )
    assert results["prefix_target"] == "c"
    assert [entry["mean"] for entry in results["prefix_coherence"].values()] == [0, 1]
    distances = [e["mean"] for e in results["prefix_frechet_classifier_features"].values()]
    assert distances[0] > 0.1 > distances[1]


def test_the_error_of_the_prefix_protocol_is_over_rows():
    results = measured(lambda target, _, label: label == 0, ("prefix",))
    expected = estimate((LABEL != 0).astype(float))._asdict()
    assert results["prefix_coherence"]["1"] == expected


def test_all_subsets_average_over_subsets_targets_and_classes():
    # Wrong for class 0 alone, which is most of the rows but one class of three.
    results = measured(lambda target, given, label: (target, given, label) == ("c", "a", 0))
    coherence = results["all_subsets_coherence"]
    # Of one observed modality there are a, b and c, with two targets each.
    assert coherence["1"]["mean"] == pytest.approx(1 - 1 / 6 / 3)
    assert coherence["1"]["a"] == coherence["1"]["b"] == 1
    assert coherence["1"]["c"] == pytest.approx(1 - 1 / 2 / 3)
    assert coherence["2"]["mean"] == 1
    first, second, third = results["all_subsets_listed"]["1"]
    assert [entry["observed"] for entry in (first, second, third)] == [["a"], ["b"], ["c"]]
    assert first["coherence"]["mean"] == pytest.approx(1 - 1 / 2 / 3)
    assert second["coherence"]["mean"] == third["coherence"]["mean"] == 1
    assert [e["observed"] for e in results["all_subsets_listed"]["2"]] == [
        ["a", "b"], ["a", "c"], ["b", "c"],
    ]  # fmt: skip


def test_the_distance_over_all_subsets_is_the_mean_over_subsets_and_targets():
    results = measured(lambda target, given, label: (target, given, label) == ("c", "a", 0))
    distances = results["all_subsets_frechet_classifier_features"]
    wrong = results["all_subsets_listed"]["1"][0]["frechet_classifier_features"]
    assert wrong > 0.1
    assert distances["1"]["c"] == pytest.approx(wrong, abs=1e-6)
    assert distances["1"]["mean"] == pytest.approx(wrong / 3, abs=1e-6)
    assert distances["2"]["mean"] == pytest.approx(0, abs=1e-6)


def test_only_the_protocols_that_are_asked_for_are_measured():
    nested, prefix = (
        measured(lambda *_: False, ("nested",)),
        measured(lambda *_: False, ("prefix",)),
    )
    assert "conditional_coherence" in nested
    assert not any(key.startswith(("prefix", "all_subsets")) for key in nested)
    assert "prefix_coherence" in prefix
    assert "conditional_coherence" not in prefix


def test_fid_is_measured_where_there_are_weights_and_only_there(monkeypatch, tmp_path):
    weights = tmp_path / "inception.npz"
    apply = lambda params, x: (-((x[:, :1] - jnp.arange(3.0)[None]) ** 2), x)  # noqa: E731
    protocol = SharedLabelProtocol(
        names=NAMES, classifier=SimpleNamespace(apply=apply), training=None, protocols=ALL
    )
    with pytest.raises(ValueError, match=r"no file .*inception.npz: make it with python -m"):
        dataclasses.replace(protocol, inception=str(weights))
    weights.touch()
    monkeypatch.setattr(inception_weights, "load", lambda path: 2.0)
    monkeypatch.setattr(inception_weights, "features", lambda params, x: params * x)
    rows = {name: np.concatenate([x, x]).astype(np.float32) for name, x in ROWS.items()}
    rows["label"] = rows["label"].astype(int)
    shifted = lambda key, batch, observed: {name: batch[name] + [0, 0, 3] for name in NAMES}  # noqa: E731
    plain, found = (
        dataclasses.replace(protocol, inception=inception).measure(
            jax.random.key(0), rows, generator(shifted, 20), {"classifier": None}, dict
        )[0]
        for inception in ("", str(weights))
    )
    assert not any("fid" in key for key in plain)
    for fid, distance in (
        (found["fid"]["b"], plain["frechet_classifier_features"]["b"]),
        (
            found["prefix_fid"]["1"]["mean"],
            plain["prefix_frechet_classifier_features"]["1"]["mean"],
        ),
        (
            found["all_subsets_fid"]["2"]["a"],
            plain["all_subsets_frechet_classifier_features"]["2"]["a"],
        ),
    ):
        assert distance > 8
        assert fid == pytest.approx(4 * distance, rel=1e-3)  # of features twice as large
    names = [row[0] for row in coherence_pages.protocol_table(found)[0].table]
    assert names[-2:] == ["FID, prefix", "FID, all subsets"]


def test_no_more_than_a_batch_of_pictures_is_kept():
    def complete(key, batch, observed):
        assert len(observed) == 4
        return batch

    reading = generator(complete).reading(lambda made: {"class": made["a"][:, 0]})
    read = reading.complete_rows(jax.random.key(0), ROWS, np.ones(3, bool))
    assert read.keys() == {"class"}
    np.testing.assert_array_equal(read["class"], LABEL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"protocols": ("nested", "suffix")},
            r"some of .*'prefix', 'all_subsets'.* got .*'suffix'",
        ),
        ({"protocols": "prefix"}, "protocols must be a tuple"),
        ({"subsets_per_size": 0}, "subsets_per_size must be at least 1, got 0"),
    ],
)
def test_options_that_there_are_not_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SharedLabelProtocol(names=NAMES, classifier=None, training=None, **options)


def test_the_report_compares_the_protocols():
    results = measured(lambda target, _, label: (target, label) == ("b", 0))
    (section,) = coherence_pages.protocol_table(results)
    assert section.title == "Coherence by protocol"
    head, *rows = section.table
    assert head == ("", "given 1", "given 2")
    assert [row[0] for row in rows] == [
        "nested", "prefix", "all subsets",
        "Fréchet distance, prefix", "Fréchet distance, all subsets",
    ]  # fmt: skip
    assert rows[1][1:] == ("1.000 (0.722 to 1.000)", "1.000 (0.722 to 1.000)")
    assert "only the last one, c, is scored" in section.remark
    names = [headline.name for headline in coherence_pages.headlines(results)]
    assert "coherence, prefix, given 1" in names
    assert "coherence, all subsets, given 2" in names
    (axes,) = coherence_pages.plot_coherence(results).axes
    labels = " ".join(axes.get_legend_handles_labels()[1])
    assert all(title in labels for title in ("nested", "prefix", "all subsets"))


def test_the_report_has_no_comparison_of_one_protocol():
    results = measured(lambda *_: False, ("nested",))
    assert coherence_pages.protocol_table(results) == []
    assert len(coherence_pages.headlines(results)) == 2


def test_each_part_is_a_ceiling_of_the_next_and_the_largest_loss_is_named(tmp_path):
    def copies(wrong):  # of every `wrong`-th row the last modality is of another class
        def complete(key, batch, observed):
            made = {name: np.array(batch[name]) for name in NAMES}
            made["c"][::wrong, 0] = 7
            return made

        return complete

    def rebuilt(batch):
        return {
            name: np.where(name == "b", 9 - np.asarray(batch[name]), batch[name]) for name in NAMES
        }

    whole = dataclasses.replace(
        generator(copies(2), batch_size=10), reconstruct=dict, finely=lambda levels: copies(levels)
    ).reading(make_reader(NAMES, classify, None))

    def ceilings_of(generator, fine_levels=5):
        return measure_labelled(
            jax.random.key(0), ROWS, generator, 10, ("nested",), 10, fine_levels
        )["ceilings"]

    found = ceilings_of(whole)
    assert list(found) == ["classifiers", "autoencoders", "score", "sampler"]
    assert found["classifiers"] == found["autoencoders"] == {"given": 1.0, "from nothing": 1.0}
    assert found["score"]["from nothing"] == 0.8
    assert found["sampler"]["from nothing"] == 0.5
    assert ceilings.largest_loss(found, "from nothing") == ("sampler", 0.8, 0.5)
    assert "score" not in ceilings_of(whole, 0)
    found = ceilings_of(dataclasses.replace(whole, reconstruct=rebuilt))
    assert found["autoencoders"]["from nothing"] == 0
    assert ceilings.largest_loss(found, "from nothing")[0] == "autoencoders"
    (head,) = ceilings.headlines({"ceilings": found})
    assert (head.name, head.value) == ("what binds from nothing: autoencoders", "1.000 → 0.000")
    (section,) = ceilings.sections({"ceilings": found}, "Said first.")
    assert section.table[3] == (
        "score",
        *(f"{found['score'][k]:.3f}" for k in ("given", "from nothing")),
    )
    assert section.remark.startswith("Said first.")
    assert "more latents" in section.remark


def test_earlier_results_have_no_ceilings_and_are_shown_all_the_same():
    assert ceilings.headlines({}) == ceilings.sections({}, "") == []
