"""CSV files as people and programs write them; what was read as what is said, what is unclear is refused."""

import numpy as np
import pytest
from opening import one_sentence, rows_of

from sbmae_jax.data.numbers import has_decimal_comma, parse_formatted, parse_number
from sbmae_jax.data.user.groups import HOW_TO_GROUP
from sbmae_jax.data.user.profile import profile
from sbmae_jax.data.user.tables import open_table


def opened(path, text, name="lab.csv"):
    (path / name).write_text(text)
    return open_table(path)


def table_of(path, columns, delimiter=","):
    lines = zip(*columns.values(), strict=True)
    return "\n".join(delimiter.join(line) for line in [tuple(columns), *lines]) + "\n"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_detected(tmp_path, delimiter):
    columns = {"id": ("1", "2", "3"), "a": ("1.5", "2", "-3e2"), "town": ("Bonn", "Oslo", "Bonn")}
    table = opened(tmp_path, table_of(tmp_path, columns, delimiter))
    read = rows_of(table, [0, 1, 2])
    np.testing.assert_array_equal(read["lab"], [[1.5], [2], [-300]])
    assert read["town"].tolist() == ["Bonn", "Oslo", "Bonn"]
    assert table.ignored == ("id",)


def test_a_file_alone_is_a_table_and_a_feature_is_no_key(tmp_path):
    opened(tmp_path, "age,height\n31,1.7\n47,1.8\n")
    table = open_table(tmp_path / "lab.csv")
    np.testing.assert_array_equal(rows_of(table, [0, 1])["lab"], [[31, 1.7], [47, 1.8]])
    assert table.entries == {"lab": ("age", "height")}
    assert table.notices == (
        "lab.csv has columns of numbers, together the vector lab: age, height",
        HOW_TO_GROUP,
    )
    (tmp_path / "lab.csv").rename(tmp_path / "lab.tsv")
    assert open_table(tmp_path / "lab.tsv").shapes == {"lab": (2,)}


def test_an_index_that_a_program_wrote_is_no_feature(tmp_path):
    table = opened(tmp_path, ",age\n0,31\n1,47\n")
    np.testing.assert_array_equal(rows_of(table, [0, 1])["lab"], [[31], [47]])
    with pytest.raises(ValueError, match="a column without a name: give each column its own name"):
        opened(tmp_path, ",age\nx,31\n1,47\n")


@pytest.mark.parametrize("marker", ["", "NA", "N/A", "nan", "NaN", "None", "null", "<NA>", "#N/A"])
def test_what_marks_missing_numbers_marks_missing_words(tmp_path, marker):
    columns = {"id": ("1", "2", "3"), "age": ("31", marker, "5"), "town": ("Bonn", "Oslo", marker)}
    table = opened(tmp_path, table_of(tmp_path, columns))
    found = profile(table)
    assert found["lab"].present.tolist() == [True, False, True]
    assert found["town"].present.tolist() == [True, True, False]
    assert found["town"].values.tolist() == ["Bonn", "Oslo"]
    assert found["town"].markers == ((marker,) if marker else ())


def test_what_marks_missing_cells_can_be_set(tmp_path):
    text = "id,age,town\n1,31,None\n2,?,Oslo\n3,5,?\n"
    with pytest.raises(ValueError, match="missing in every row"):
        profile(opened(tmp_path, "id,town\n1,None\n2,None\n"))
    (tmp_path / "lab.csv").write_text(text)
    found = profile(open_table(tmp_path, ("", "?")))
    assert found["lab"].present.tolist() == [True, False, True]
    assert found["town"].values.tolist() == ["None", "Oslo"]


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("1", 1), ("-1.5e3", -1500), (".5", 0.5), ("5.", 5), ("+2", 2), (" 7 ", 7), ("inf", np.inf),
        ("1_1", None), ("0x1F", None), ("nan", None), ("1,5", None), ("", None), ("٣", None), ("1e", None),
        ("1 000", None), ("infinit", None), ("--1", None), ("1.2.3", None),
    ],
)  # fmt: skip
def test_words_that_are_numbers(word, number):
    assert parse_number(word) == number


@pytest.mark.parametrize(
    ("word", "thousands", "decimal"),
    [
        ("1,234", 1234, 1.234), ("1,234.5", 1234.5, None), ("1,234,567", 1234567, None), ("1,5", None, 1.5),
        ("5%", 5, 5), ("1.5 %", 1.5, 1.5), ("12,34", None, 12.34), ("a,b", None, None),
        ("-1,234", -1234, -1.234), ("0,123", None, 0.123),
    ],
)  # fmt: skip
def test_commas_and_per_cent_signs(word, thousands, decimal):
    assert parse_formatted(word) == thousands
    assert parse_formatted(word, decimal_comma=True) == decimal
    if "," in word and "a" not in word:
        unclear = thousands is not None and decimal is not None
        assert has_decimal_comma(word) == (None if unclear else decimal is not None)


@pytest.mark.parametrize(
    ("delimiter", "cells", "numbers", "notice"),
    [
        (",", ('"1,234"', "5", '"2,000,000"'), [1234, 5, 2e6], "'1,234' is read as 1234"),
        (";", ("1,5", "2", "-0,25"), [1.5, 2, -0.25], "'1,5' is read as 1.5"),
        (";", ("1,234", "2,5", "3"), [1.234, 2.5, 3], "'1,234' is read as 1.234"),
        (";", ("1,234,000", "2,500", "3"), [1234000, 2500, 3], "'1,234,000' is read as 1234000"),
        (";", ("1.234,50", "2.500", "3"), [1234.5, 2500, 3], "'1.234,50' is read as 1234.50"),
        (
            ";",
            ("-1.234.567,5", "NA", "0,25"),
            [-1234567.5, np.nan, 0.25],
            "'-1.234.567,5' is read as",
        ),
        (",", ("5%", "12.5%", "NA"), [5, 12.5, np.nan], "'5%' is read as 5"),
    ],
)
def test_formatted_numbers_are_numbers_and_that_is_said(
    tmp_path, delimiter, cells, numbers, notice
):
    columns = {"id": ("1", "2", "3"), "a": cells, "b": ("7", "8", "9")}
    table = opened(tmp_path, table_of(tmp_path, columns, delimiter))
    np.testing.assert_array_equal(rows_of(table, [0, 1, 2])["lab"][:, 0], numbers)
    assert any(notice in sentence for sentence in table.notices)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id;a\n1;1,234\n2;5\n", "column a: '1,234' may be 1234 or 1.234: write the numbers without"),
        ("id,a\n" + "".join(f"{i},{i}\n" for i in range(40)) + "40,?\n", "column a: '[?]' is not a number"),
        ("id,a\n" + "".join(f"{i},{i}\n" for i in range(40)) + "40,1_1\n", "column a: '1_1' is not a number"),
        ("id,a\n" + "".join(f"{i},{i}%\n" for i in range(40)), None),
        ("id,a\n" + "".join(f"{i},{i}%\n" for i in range(9)) + "".join(f"{i},{i}\n" for i in range(9, 40)),
         "column a: '0%' is not a number"),
    ],
)  # fmt: skip
def test_numbers_that_are_unclear_are_refused(tmp_path, text, message):
    if message is None:
        assert opened(tmp_path, text).shapes == {"lab": (1,)}
        return
    with pytest.raises(ValueError, match=message) as error:
        opened(tmp_path, text)
    one_sentence(error)


def test_a_blank_line_in_a_column_alone_is_a_missing_cell(tmp_path):
    table = opened(tmp_path, "cls\na\n\nb\na\n\n")
    assert rows_of(table, [0, 1, 2, 3])["cls"].tolist() == ["a", "", "b", "a"]
    assert table.num_rows == 4


def test_delimiters_inside_names_do_not_count(tmp_path):
    table = opened(tmp_path, "id;Größe, cm;Gewicht, kg\n1;171,5;70,1\n2;180;1,230\n")
    np.testing.assert_array_equal(rows_of(table, [0, 1])["lab"], [[171.5, 70.1], [180, 1.23]])
    with pytest.raises(ValueError, match=r"'1.050' and '950,5' have a point and a comma"):
        opened(tmp_path, "id;a\n1;950,5\n2;1.050\n")


def test_an_index_of_some_rows_is_no_feature(tmp_path):
    table = opened(tmp_path, "Unnamed: 0,age\n5,31\n9,47\n")
    assert table.entries == {"lab": ("age",)}


def test_keys_may_come_back_where_there_are_no_images(tmp_path):
    assert opened(tmp_path, "id,age\n1,31\n1,32\n").num_rows == 2


def test_tables_of_other_suffixes_are_read_or_reported(tmp_path):
    (tmp_path / "notes.xlsx").write_text("")
    table = opened(tmp_path, "id\tage\n1\t31\n", "lab.TSV")
    assert table.shapes == {"lab": (1,)}
    assert any("are read, not notes.xlsx" in notice for notice in table.notices)


def test_few_words_among_numbers_are_classes(tmp_path):
    table = opened(tmp_path, "id,grade\n" + "".join(f"{i},{'12h'[i % 3]}\n" for i in range(9)))
    assert profile(table)["grade"].values.tolist() == ["1", "2", "h"]


@pytest.mark.parametrize(
    ("text", "numbers", "notice"),
    [
        ("id,a\n1,1.234.567\n2,950\n3,1.050\n", [1234567, 950, 1050], "'1.234.567' is read as 1234567"),
        ("id;a;b\n1;1.234;1,5\n2;950;2\n3;1.050;3\n", [1234, 950, 1050], "'1.234' is read as 1234"),
        ("id,a\n1,1.234\n2,950\n3,1.050\n", [1.234, 950, 1.05], "'1.234' is read as 1.234, not as 1234:"),
        ("id,a\n1,1.234\n2,9.500\n3,1.050\n", [1.234, 9.5, 1.05], ""),
        ("id,a\n1,1.234\n2,950\n3,1.5\n", [1.234, 950, 1.5], ""),
        ("id,a\n1,0.234\n2,950\n3,1.050\n", [0.234, 950, 1.05], ""),
    ],
)  # fmt: skip
def test_points_that_may_separate_thousands_are_reported(tmp_path, text, numbers, notice):
    table = opened(tmp_path, text)
    assert rows_of(table, [0, 1, 2])["lab"][:, 0].tolist() == numbers
    said = [sentence for sentence in table.notices if " column a: '" in sentence]
    assert bool(said) == bool(notice)
    assert notice in " ".join(said)


def test_one_word_among_many_numbers_is_advised_on(tmp_path):
    rows = "".join(f"{i},{i if i % 3 else '-'}\n" for i in range(90))
    with pytest.raises(ValueError, match=r"column a: '-' is not a number, .*missing_markers"):
        opened(tmp_path, "id,a\n" + rows)
    mostly = "".join(f"{i},{'-' if i % 3 else i}\n" for i in range(90))
    with pytest.raises(ValueError, match=r"column a: '-' is not a number, .*missing_markers"):
        opened(tmp_path, "id,a\n" + mostly)
    table = open_table(tmp_path, ("", "-"))
    assert profile(table)["lab"].present.sum() == 30
