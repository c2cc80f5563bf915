"""Dates and times: recognised, brought to numbers and back, and returned as they were given."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest

from sbmae_jax.data.kinds.date import fit_dates, format_of
from sbmae_jax.data.scaling import Scaling, from_json, to_json
from sbmae_jax.data.user.columns import as_column
from sbmae_jax.data.user.frames import put_into
from sbmae_jax.data.user.opened import open_files
from sbmae_jax.data.user.survey import survey
from sbmae_jax.models.values import as_array

DAYS = np.datetime64("2023-01-02") + 7 * np.arange(60)  # Mondays


def fitted(words):
    form = format_of(np.asarray(words))
    assert form
    found = Scaling("date", (), "str", **fit_dates(np.asarray(words), form))
    return from_json(to_json(found))


@pytest.mark.parametrize(
    "words",
    [
        ["2024-02-29", "1969-12-31", "2023-01-01"],
        ["2024-02", "1999-12"],
        ["2024-02-29 15:30", "2024-03-01 00:00"],
        ["2024-02-29T15:30:07", "2024-03-01T00:00:00"],
        ["2024-02-29T15:30:07Z", "2024-03-01T00:00:00Z"],
        ["2024-02-29 15:30:07.25+01:00", "2024-03-01 00:00:00.00+01:00"],
        ["2024-02-29T15:30:07.123456789", "2024-03-01T00:00:00.000000001"],
        ["2024-02-29T15:30:07.0", "2024-03-01T00:00:00.5"],
    ],
)
def test_every_form_comes_back_as_it_was(words):
    found = fitted(words)
    x = found.prepare(np.array(words))
    assert x.shape == (len(words), 1)
    assert np.isfinite(x).all()
    precise = "789" not in words[0]  # floats of 32 bits do not hold the nanoseconds of a day
    if precise:
        assert found.restore(x).tolist() == words
    assert format_of(found.restore(x + 0.3)) == format_of(np.array(words))


@pytest.mark.parametrize(
    "words",
    [
        ["2024-02-30"], ["31.12.2024"], ["12/31/2024"], ["2024"], ["2024-01-01", "2024-01-01T10:00"],
        ["2024-01-01T10:00Z", "2024-01-01T10:00+01:00"], ["2024-01-01", "soon"], ["2024-01-01Z"],
        ["20240101"],
    ],
)  # fmt: skip
def test_what_is_no_date(words):
    assert format_of(np.array(words)) == ""


def test_what_is_drawn_keeps_the_step_and_the_calendar():
    found = fitted(np.datetime_as_string(DAYS))
    drawn = found.restore(np.random.default_rng(0).normal(size=(50, 20, 1)))
    assert drawn.shape == (50, 20)
    weekdays = (drawn.astype("datetime64[D]").astype(int) - DAYS[0].astype(int)) % 7
    assert (weekdays == 0).all()
    assert found.restore(np.array([[1e30], [-1e30]])).tolist()[0].startswith("9999-12")
    constant = fitted(["2024-01-01"] * 3)
    assert constant.restore(np.array([[5.0]])).tolist() == ["2024-01-01"]
    mean = found.value_kind.best_guess(found, np.array([["2023-01-02", "2023-01-16"]]))
    assert mean.tolist() == ["2023-01-09"]
    std = found.value_kind.std_in_days(found, np.array([["2023-01-02", "2023-01-16"]]))
    np.testing.assert_allclose(std, np.sqrt(2) * 7, rtol=1e-5)
    with pytest.raises(ValueError, match="'tomorrow' in row 1 is no date written as 2024-12-31"):
        found.prepare(np.array(["2024-05-06", "tomorrow"]))


def test_the_kind_of_columns_of_dates(tmp_path):
    frame = pd.DataFrame({
        "day": np.datetime_as_string(DAYS), "wave": ["2024-01-01", "2024-06-01"] * 30, "x": np.arange(60) / 7,
    })  # fmt: skip
    frame.loc[3, "day"] = None
    frame.to_csv(tmp_path / "visits.csv", index=False)
    found = survey(tmp_path / "visits.csv")
    kinds = {m.name: (m.kind, m.num_missing) for m in found.modalities}
    assert kinds["day"] == ("date", 1)
    assert kinds["wave"] == ("date", 0)
    assert any("--config.modalities.wave.kind=category" in notice for notice in found.notices)
    first, last = found.modalities[0].span.split(" to ")
    assert DAYS[0] <= np.datetime64(first) < np.datetime64(last) <= DAYS[-1]
    as_classes = survey(tmp_path / "visits.csv", kinds={"wave": "category"})
    assert {m.name: m.kind for m in as_classes.modalities}["wave"] == "category"
    with pytest.raises(
        ValueError, match=r"^visits cannot be of the kind date: its values must be strings"
    ):
        survey(tmp_path / "visits.csv", kinds={"visits": "date"})


def test_dates_of_numpy_in_files(tmp_path):
    days = DAYS.astype("datetime64[s]").copy()
    days[5] = np.datetime64("NaT", "s")
    np.savez(tmp_path / "d.npz", day=days, x=np.arange(60) / 7)
    opened = open_files(tmp_path / "d.npz")
    assert opened.kinds["day"].name == "date"
    assert np.flatnonzero(~opened.profiles["day"].present).tolist() == [5]
    assert opened.scalings["day"].details["step"] == 7 * 86400


@pytest.mark.parametrize("make", [list, pd.Series, pl.Series, np.array])
def test_dates_in_memory(make):
    days = [datetime.date(2024, 2, 29), None, datetime.date(2024, 3, 1)]
    given = np.array(days, "datetime64[D]") if make is np.array else make(days)
    column = as_column("day", given)
    assert column.present.tolist() == [True, False, True]
    assert [word[:10] for word in column.values[column.present]] == ["2024-02-29", "2024-03-01"]


def test_dates_with_time_zones_are_refused():
    zoned = pd.Series(pd.to_datetime(["2024-01-01", "2024-01-02"])).dt.tz_localize("Europe/Berlin")
    with pytest.raises(ValueError, match=r"^day has times with a time zone: convert them"):
        as_column("day", zoned)


def test_filled_dates_have_the_type_that_was_given():
    filled, holes = np.array(["2024-02-29", "2024-03-01"]), {"day": np.array([1])}
    for given in (
        {"day": np.array(["2024-02-29", "NaT"], "datetime64[D]")},
        pd.DataFrame({"day": pd.to_datetime(["2024-02-29", None])}),
        pl.DataFrame({"day": [datetime.date(2024, 2, 29), None]}),
        pl.DataFrame({"day": [datetime.datetime(2024, 2, 29), None]}),
    ):
        found = put_into(given, {"day": filled}, holes, {})
        assert getattr(found["day"], "dtype", None) == given["day"].dtype
        assert [str(day)[:10] for day in found["day"]] == filled.tolist()
    assert as_array("day", DAYS[:1]).tolist() == ["2023-01-02"]
