"""Information between modalities of a model, whose score is exact for a Gaussian."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
import test_density
from test_density import COV, NAMES, OWNER, gaussian_model, rows
from test_model_covariance import gaussian_start

from sbmae_jax.data.parts import part_details
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.models import information


def entropy(*names):
    """Return the entropy of modalities, up to a constant for each latent."""
    chosen = np.isin(OWNER, [NAMES.index(name) for name in names])
    return 0.5 * np.linalg.slogdet(COV[np.ix_(chosen, chosen)])[1]


def model(start=gaussian_start, **changes):
    return dataclasses.replace(start(), **({"marginals": True} | changes))


@pytest.fixture(scope="module")
def exact():
    return model(), rows(600, seed=5)


def near(found, true):
    assert abs(found.value - true) < 3 * found.se + 0.003
    assert found.se < 0.1 * abs(true)
    assert abs(found.by_error - true) < 4 * found.by_error_se
    assert found.interval == (found.value - 1.96 * found.se, found.value + 1.96 * found.se)


def test_information_of_pairs_and_groups_is_that_of_the_gaussian(exact):
    known, data = exact
    pairs = known.information(data, num_levels=24)
    assert set(pairs) == set(itertools.permutations(NAMES, 2))
    for a, b in itertools.combinations(NAMES, 2):
        near(pairs[a, b], entropy(a) + entropy(b) - entropy(a, b))
        assert pairs[b, a] is pairs[a, b]
    found = known.mutual_information(data, "a", ["c", "b"], num_levels=24)
    near(found, entropy("a") + entropy("b", "c") - entropy(*NAMES))
    given = known.mutual_information(data, ["a"], "b", "c", num_levels=24)
    near(given, entropy("a", "c") + entropy("b", "c") - entropy(*NAMES) - entropy("c"))
    # Only what is named is looked at.
    some = {name: data[name] for name in "ab"}
    assert known.mutual_information(some, "b", "a", num_levels=24).value > 0


def test_a_vector_that_is_learned_in_parts_has_its_own_name(exact):
    known, data = exact
    parts = tuple(
        (name, Scaling(
            "vector", (1,), "float32", np.zeros(1), np.ones(1), details=part_details("lab", (k,), 2)
        ))
        for k, name in enumerate("bc")
    )  # fmt: skip
    lab = {"a": data["a"], "lab": np.concatenate([data["b"], data["c"]], axis=1)}
    inner = dataclasses.replace(known, scalings=parts)
    found = inner.mutual_information(lab, "lab", "a", num_levels=24)
    near(found, entropy("a") + entropy("b", "c") - entropy(*NAMES))
    assert set(inner.information(lab, num_levels=24)) == {("a", "lab"), ("lab", "a")}
    with pytest.raises(ValueError, match="'b' is named twice"):
        inner.mutual_information(lab, "lab", "b")


def test_several_modalities(exact):
    known, data = exact
    found = information.summarise(known, jax.random.key(2), data)
    assert found["num_rows"] == 600
    true = entropy("a") + entropy("b") - entropy("a", "b")
    assert abs(found["pairs"]["a"]["b"]["mean"] - true) < 3 * found["pairs"]["a"]["b"]["se"]
    assert found["pairs"]["a"]["b"] == found["pairs"]["b"]["a"]
    assert not found["o_information"]["doubtful"]
    alone, total = sum(map(entropy, NAMES)), entropy(*NAMES)
    near(known.total_correlation(data, num_levels=24), alone - total)
    rest = sum(total - entropy(*set(NAMES) - {name}) for name in NAMES)
    near(known.o_information(data, num_levels=24), alone - total - (total - rest))


@pytest.mark.slow
def test_a_network_that_is_shown_what_is_absent(monkeypatch):
    """Without a covariance; and of many rows, in parts."""
    monkeypatch.setattr(information, "MAX_ROWS", 250)
    data = rows(500, seed=3)
    found = model(gaussian_model).mutual_information(data, "a", "b", num_levels=16)
    near(found, entropy("a") + entropy("b") - entropy("a", "b"))


GOOD = rows()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (("mutual_information", GOOD, "a", "d"), "unknown modality 'd': this model has a, b, c"),
        (("mutual_information", GOOD, "a", ["b", "a"]), "'a' is named twice, in a and in b"),
        (("mutual_information", GOOD, "a", "b", "a"), "'a' is named twice, in a and in given"),
        (("mutual_information", GOOD, "a", []), "b must name at least one modality"),
        (("mutual_information", GOOD, "", "b"), "unknown modality ''"),
        (("mutual_information", GOOD, 3, "b"), "a must be a name or a list of names, got 3"),
        (("mutual_information", {"a": GOOD["a"]}, "a", "b"), "b names 'b', which rows do not have"),
        (("mutual_information", None, "a", "b"), "rows must be {name: array}"),
        (("mutual_information", {n: x[:1] for n, x in GOOD.items()}, "a", "b"), "at least two"),
        (("mutual_information", GOOD | {"a": np.full((6, 2), np.nan)}, "a", "b"), "a"),
        (("mutual_information", GOOD | {"a": np.ones((6, 3))}, "a", "b"), "a"),
        (("total_correlation", GOOD, "ab"), "groups must be a list"),
        (("total_correlation", GOOD, [["a", "b"]]), "at least 2 groups"),
        (("total_correlation", GOOD, ["a", ["b", "a"]]), r"in groups\[0\] and in groups\[1\]"),
        (("total_correlation", GOOD, ["a", []]), r"groups\[1\] must name at least one"),
        (("o_information", GOOD, ["a", "b"]), "at least 3 groups"),
        (("information", {"a": GOOD["a"]}), "at least 2 groups"),
        (("information", None), "rows must be"),
    ],
)
def test_what_cannot_be_estimated_is_refused(ask, message):
    method, *args = ask
    with pytest.raises(ValueError, match=message):
        getattr(model(gaussian_model), method)(*args)
    with pytest.raises(ValueError, match="num_levels"):
        model(gaussian_model).total_correlation(GOOD, num_levels=1)


def test_a_model_without_marginals_names_the_key_that_trains_them():
    plain = gaussian_model()
    for ask in (
        lambda: plain.mutual_information(GOOD, "a", "b"),
        lambda: plain.total_correlation(GOOD),
        lambda: plain.o_information(GOOD),
        lambda: plain.conditional_score(np.zeros((6, 3), bool), np.zeros((6, 3), bool)),
    ):
        with pytest.raises(ValueError, match=r"config\.score\.absent_prob above 0"):
            ask()
    with pytest.raises(ValueError, match=r"config\.score\.conditioning_prob above 0"):
        model(lambda: test_density.gaussian_model(conditioning="clamp")).o_information(GOOD)
    with pytest.raises(ValueError, match=r"absent must be \[B, 3\]"):
        model().conditional_score(np.zeros((6, 3), bool), np.zeros((6, 2), bool))
