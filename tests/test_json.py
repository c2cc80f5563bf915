"""Figures are strict JSON; what is undefined says why, and comes back as NaN."""

import json
import math

import numpy as np
import pytest

from sbmae_jax._json import UNDEFINED, from_json, to_json
from sbmae_jax.metrics.coherence import estimate
from sbmae_jax.metrics.prediction import ratio
from sbmae_jax.training.log import METRICS, Log, read_metrics


def strictly(text):
    """Read JSON as other programs do, which know no NaN."""

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


FIGURES = {
    "one row": estimate(np.array([3.0]))._asdict(),
    "no variance": ratio(np.ones(5), np.zeros(5))._asdict(),
    "list": [{"x": 1.0}, {"x": math.inf}],
    "fine": {"mean": 0.5, "none": None, "n": 3, "word": "NaN"},
}


def test_undefined_figures_are_null_with_a_reason():
    values = strictly(to_json(FIGURES))
    assert values["one row"] == {"mean": 3.0, "se": None, "low": None, "high": None}
    assert values["no variance"] == {"mean": None, "se": None, "low": None, "high": None}
    assert values["fine"] == FIGURES["fine"]
    assert values[UNDEFINED] == {
        "one row.se": "a standard error needs two rows",
        "one row.low": "an interval needs two rows",
        "one row.high": "an interval needs two rows",
        "no variance.mean": "too few rows, or values that do not vary",
        "no variance.se": "its mean is undefined",
        "no variance.low": "its mean is undefined",
        "no variance.high": "its mean is undefined",
        "list.1.x": "infinite: something is divided by 0",
    }


def test_they_come_back_as_nan_and_what_was_none_stays_none():
    values = from_json(to_json(FIGURES))
    assert math.isnan(values["one row"]["se"])
    assert math.isnan(values["list"][1]["x"])
    assert values["fine"] == FIGURES["fine"]
    assert UNDEFINED not in values
    assert to_json(from_json(to_json({"a": math.nan}))) == to_json({"a": math.nan})


def test_finite_figures_are_written_as_they_are():
    assert to_json(FIGURES["fine"]) == json.dumps(FIGURES["fine"])


@pytest.mark.parametrize("text", ["[1]", "3", "{"])
def test_what_is_no_object_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 (the decoder's own)
        from_json(text)


def test_the_log_is_strict_too(tmp_path):
    log = Log(tmp_path)
    log.scalars("a", 1, {"loss": 0.5, "accuracy": math.nan})
    log.scalars("a", 2, {"loss": 0.5, "stage": 7.0, "step": 9.0})  # names of modalities, in a stack
    log.close()
    first, second = map(strictly, (tmp_path / METRICS).read_text().splitlines())
    assert first["accuracy"] is None
    assert first[UNDEFINED].keys() == {"accuracy"}
    assert (second["stage"], second["step"]) == ("a", 2)
    assert math.isnan(read_metrics(tmp_path)["a"][0]["accuracy"])
