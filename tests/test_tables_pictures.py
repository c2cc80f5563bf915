"""Folders of pictures beside a CSV file are opened as they lie there; what is wrong with them is named."""

import numpy as np
import pytest
from opening import one_sentence, rows_of
from PIL import Image

from sbmae_jax.data.user.groups import HOW_TO_GROUP
from sbmae_jax.data.user.tables import open_table


@pytest.fixture
def pictures(tmp_path):
    """Write photos of all rows but the second, sketches of all, and a table."""
    for name, mode in (("photo", "RGB"), ("sketch", "L")):
        (tmp_path / name).mkdir()
        for i in range(4):
            if (name, i) != ("photo", 1):
                colour = (10 * i, 20, 30) if mode == "RGB" else 10 * i
                Image.new(mode, (6, 5), colour).save(tmp_path / name / f"r{i}.png")
    (tmp_path / "facts.csv").write_text(
        "id,age,label,town,split,height\n"
        "r2.png,3,b,Rome,train,1.5\nr0,1,a,Oslo,train,\nr1,,a,,test,\nr3,NA,b,Rome,valid,\n"
    )
    return tmp_path


def test_pictures_are_put_beside_their_rows_of_the_table(pictures):
    table = open_table(pictures)
    assert table.names == ("facts", "photo", "sketch", "town")
    assert table.shapes == {"facts": (2,), "photo": (5, 6, 3), "sketch": (5, 6), "town": ()}
    read = rows_of(table, [0, 1, 2, 3])
    assert read["photo"][:, 0, 0, 0].tolist() == [20, 0, 0, 30]
    assert read["sketch"][:, 0, 0].tolist() == [20, 0, 10, 30]
    assert table.present["photo"].tolist() == [True, True, False, True]
    np.testing.assert_array_equal(
        read["facts"], [[3, 1.5], [1, np.nan], [np.nan, np.nan], [np.nan, np.nan]]
    )
    assert table.entries == {"facts": ("age", "height")}
    assert read["town"].tolist() == ["Rome", "Oslo", "", "Rome"]
    assert table.label is not None
    assert table.label.tolist() == ["b", "a", "a", "b"]
    assert table.split is not None
    assert table.split.tolist() == ["train", "train", "test", "valid"]
    assert table.notices == (
        "facts.csv: the column id names the rows",
        "facts.csv has columns of numbers, together the vector facts: age, height; words, each a category "
        "or text: town",
        HOW_TO_GROUP,
    )
    assert table.ignored == ("id",)


def test_without_a_table_the_rows_are_all_names_of_pictures(pictures):
    (pictures / "facts.csv").unlink()
    table = open_table(pictures)
    assert table.num_rows == 4
    assert table.present["photo"].tolist() == [True, False, True, True]
    assert rows_of(table, [2])["sketch"][0, 0, 0] == 20


def test_pictures_that_the_table_does_not_name_are_reported(pictures):
    text = (pictures / "facts.csv").read_text().splitlines()
    (pictures / "facts.csv").write_text("\n".join(text[:-1]))
    assert open_table(pictures).notices[3:] == (
        "photo: 1 images are not used: facts.csv lacks them",
        "sketch: 1 images are not used: facts.csv lacks them",
    )


def test_grey_and_colour_pictures_of_one_folder_are_read_as_colour(pictures):
    Image.new("L", (6, 5), 77).save(pictures / "photo" / "r0.png")
    table = open_table(pictures)
    assert rows_of(table, [1])["photo"][0, 0, 0].tolist() == [77, 77, 77]


def spoil(pictures, what):
    """Spoil a folder of pictures in one way."""
    csv = pictures / "facts.csv"
    if what == "size":
        Image.new("RGB", (6, 7)).save(pictures / "photo" / "r3.png")
    elif what == "no picture":
        (pictures / "photo" / "r3.png").write_bytes(b"text")
    elif what == "deep":
        Image.new("I;16", (6, 5)).save(pictures / "sketch" / "r3.png")
    elif what == "two files":
        Image.new("RGB", (6, 5)).save(pictures / "photo" / "r3.jpg")
    elif what == "two tables":
        (pictures / "other.csv").write_text("")
    elif what == "folder and column":
        csv.write_text(csv.read_text().replace("town", "photo"))
    elif what == "column and vector":
        csv.write_text(csv.read_text().replace("town", "facts"))
    elif what == "two columns":
        csv.write_text(csv.read_text().replace("height", "age"))
    elif what == "two rows":
        csv.write_text(csv.read_text().replace("r3", "r2"))
    elif what == "short line":
        csv.write_text(csv.read_text().replace("Oslo,", ""))
    elif what == "other names":
        csv.write_text(csv.read_text().replace("\nr", "\ns"))
    elif what == "no rows":
        csv.write_text("id,age\n")
    elif what == "not text":
        csv.write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("size", r"r3.png has 6 x 7 pixels, but r2.png has 6 x 5: resize the images"),
        ("no picture", r"r3.png is not an image, or damaged"),
        ("deep", r"r3.png has pixels of type I;16: save it with 8 bits"),
        ("two files", r"photo has r3.jpg and r3.png: keep one per row"),
        ("two tables", r"other.csv has no rows below its header"),
        (
            "folder and column",
            r"photo is both an image folder and an array from facts.csv: rename one",
        ),
        (
            "column and vector",
            r"facts.csv has a column facts, which is also the name of its vector",
        ),
        ("two columns", r"facts.csv has two columns 'age'"),
        ("two rows", r"facts.csv has 'r2' twice in the column id"),
        ("short line", r"facts.csv, line 3 has 5 cells for 6 columns"),
        ("other names", r"facts.csv names no image of .*photo"),
        ("no rows", r"facts.csv has no rows below its header"),
        ("not text", r"facts.csv cannot be read .*: save it as UTF-8 with commas"),
    ],
)
def test_what_is_wrong_with_a_folder_of_pictures_is_named(what, message, pictures):
    spoil(pictures, what)
    with pytest.raises(ValueError, match=message) as error:
        open_table(pictures)
    one_sentence(error)
