"""Tables as people's programs write them, byte by byte: read where there is one way to read them, refused otherwise."""

import datetime
import io
import unicodedata

import numpy as np
import openpyxl
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.opinions.scores import read_scores
from datasets.opinions.tables import read_csv, visible, write_csv
from networks.errors import UserError

PLAIN = "image,mos\nb/a 1.jpg,3.5\nc.png,4\n"
NAMES, MOS = ["b/a 1.jpg", "c.png"], [3.5, 4.0]


def workbook(rows, sheet="Sheet1", more=()):
    """The bytes of an .xlsx with one sheet, or several."""
    book = openpyxl.Workbook()
    book.active.title = sheet
    for row in rows:
        book.active.append(row)
    for title, other_rows in more:
        other = book.create_sheet(title)
        for row in other_rows:
            other.append(row)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


ROWS = [["image", "mos"], ["b/a 1.jpg", 3.5], ["c.png", 4]]


@pytest.mark.parametrize(
    ("content", "report"),
    [
        (PLAIN.encode(), ""),
        (PLAIN.encode("utf-8-sig").replace(b"\n", b"\r\n"), ""),
        (PLAIN.replace("\n", "\r").encode(), ""),
        (b"\xff\xfe" + PLAIN.encode("utf-16-le"), "read as UTF-16"),
        (b"\xfe\xff" + PLAIN.encode("utf-16-be"), "read as UTF-16"),
        (PLAIN.replace(",", "\t").encode("utf-16"), "read as UTF-16, tab-separated"),
        (PLAIN.replace(",", "\t").encode(), "read as tab-separated"),
        (PLAIN.replace(",", ";").encode(), "read as semicolon-separated"),
        (
            PLAIN.replace(",", ";").replace("3.5", "3,5").encode(),
            "read as semicolon-separated with decimal commas in 'mos'",
        ),
        (b"\n,,\n" + PLAIN.encode() + b",\n,,\n\n", ""),
        (b"image,mos\nb/a 1.jpg,3.5,\nc.png,4,\n", ""),
        (b"image,mos,\nb/a 1.jpg,3.5,\nc.png,4,\n", ""),
        (b",image,mos\n0,b/a 1.jpg,3.5\n1,c.png,4\n", ""),
        (PLAIN.replace("mos", " mos ").encode(), ""),
        (PLAIN.replace("mos", "MOS").encode(), ""),
        (PLAIN.replace("image", "Image Path").encode(), ""),
        (PLAIN.replace("image", "image_name").encode(), ""),
        (PLAIN.replace("jpg", "jpg ").encode(), r"read with 1 names changed ('b/a 1.jpg\x20' to 'b/a 1.jpg')"),
        ("image,mos\nb/a 1.jpg\u00a0,3.5\nc.png,4\n".encode(), r"names changed ('b/a 1.jpg\xa0' to 'b/a 1.jpg')"),
        (PLAIN.replace(",3.5", " , 3.5 ").encode(), "1 names changed"),
        (PLAIN.replace("/", "\\").encode(), r"read with 1 names changed ('b\a 1.jpg' to 'b/a 1.jpg')"),
        (b'image, mos\n"b/a 1.jpg", "3.5"\n"c.png", "4"\n', ""),
        (b"image\tpath\tmos\nb/a 1.jpg\tx\t3.5\nc.png\ty\t4\n", "read as tab-separated"),
        (PLAIN.encode() + b"\n", ""),
        (workbook(ROWS), "read as an Excel workbook, sheet 'Sheet1'"),
        (workbook([[], *ROWS, [None, None], []]), "an Excel workbook"),
        (workbook([["notes"]], "About", [("Scores", ROWS)]), "an Excel workbook, sheet 'Scores'"),
    ],
)
def test_one_way_to_read_it(tmp_path, capsys, content, report):
    path = tmp_path / "scores.csv"
    path.write_bytes(content)
    scores = read_scores(path)
    assert scores.images == NAMES and scores.mos.tolist() == MOS
    printed = capsys.readouterr().out
    assert (
        (report in printed and printed.startswith("scores.csv: read") and printed.count("\n") == 1)
        if report
        else (printed == "")
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'image,mos\na,"3,5"\nb,4\n', "line 2: the score '3,5' is not a number"),
        (b"image\tmos\na\t1,055\nb\t950\n", "line 2: the score '1,055' is not a number"),
        (b"image;mos\na;950\nb;1,055\n", "line 3: the comma in '1,055' can be a decimal one or separate thousands"),
        (b"image;mos\na;3,5\nb;3.5\n", "line 2: the comma in '3,5' can be"),
        (b'image,mos\na,"1,055.5"\n', "line 2: the score '1,055.5' is not a number"),
        (b"image;mos\na;1.055,5\n", "line 2: the comma in '1.055,5' can be"),
        (b'image,mos\na,"3,"\n', "line 2: the score '3,' is not a number"),
        (b"sep=;\nimage;mos\na;1\n", "no column 'Image_path' or 'image' or 'image_name'; its columns are: sep=;"),
        (b"# 2024\nimage,mos\na,1\n", "line 2 has 2 fields, but line 1 names 1 columns"),
        (b"image|mos\na|1\n", "its columns are: image|mos; columns are separated by commas, tabs or semicolons"),
        (b"image,mos\na,3,5\n", "line 2 has 3 fields, but line 1 names 2 columns"),
        (b"image,mos,MOS\na,1,2\n", "columns 'mos' and 'MOS' have the same meaning"),
        (b"image,mos,mos\na,1,2\n", "columns 'mos' and 'mos' have the same meaning"),
        (b"image;a,image,mos\na;1,2,3\n", "can be separated by commas or semicolons"),
        (b'image,mos\na,1\n"b,2\nc,3\n', "line 3: a quotation mark is not closed"),
        (b"image,mos\na,1\na ,2\n", "line 3: image a has a score on line 2 already"),
        (b"\xff\xfei\0m\0a", "it is UTF-16, and damaged at byte 6"),
        (
            PLAIN.encode("utf-16-le"),
            r"line 1 'i\x00m\x00a\x00g\x00e\x00,\x00m\x00o\x00s\x00' holds NUL",
        ),
        (b"image,mos\na,1\nb\0,2\n", r"line 3 'b\x00,2' holds NUL; save the table as CSV in UTF-8, or as .xlsx"),
        (b"PK\x03\x04image,mos\n", "it is not an Excel workbook (.xlsx), or is damaged"),
        (workbook(ROWS)[:2000], "it is not an Excel workbook (.xlsx), or is damaged"),
        (workbook([]), "it is empty"),
        (workbook([["a"]], "A", [("B", [["b"]])]), "its columns are: a"),
        (workbook(ROWS, "A", [("B", ROWS)]), "its sheets 'A' and 'B' both hold such a table"),
        (workbook([["image", "mos"], ["a", datetime.datetime(2024, 5, 3)]]), "the score '2024-05-03 00:00:00' is not"),
        (workbook([["image", "mos"], ["a", True]]), "the score 'True' is not a number"),
        (workbook([["image", "mos"], ["a", "#N/A"]]), "the score '#N/A' is not a number"),
        (
            workbook([["Scores of 2024"], *ROWS]),
            "no column 'Image_path' or 'image' or 'image_name'; its columns are: Scores of 2024",
        ),
        (b"", "it is empty"),
        (b"\n\n", "it is empty"),
        ("image,mos\na,\u22123\n".encode(), "the score '\u22123' is not a number"),
        ("image,mos\na,\u0663\n".encode(), "is not a number"),
        ("image,mos\na,3\u200b\n".encode(), r"the score '3\u200b' is not a number"),
        (b"image,mos\na,5.5%\n", "'5.5%' is not a number"),
        (b"image,mos\na,0x5\n", "'0x5' is not a number"),
        (b"image,mos\na,5_0\n", "'5_0' is not a number"),
        ("im\u200bage,mos\na,5\n".encode(), r"its columns are: 'im\u200bage', mos"),
    ],
)
def test_more_than_one_way_or_none(tmp_path, capsys, content, sentence):
    path = tmp_path / "scores.csv"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_scores(path)
    assert sentence in caught.value.sentence and "scores.csv" in caught.value.sentence
    assert "\n" not in caught.value.sentence and capsys.readouterr().out.count("\n") <= 1


def test_three_decimals_each_are_no_thousands_between_semicolons(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("image;mos;std\na;3,512;0,500\nb;12,250;0,125\n")
    scores = read_scores(path)
    assert scores.mos.tolist() == [3.512, 12.25] and scores.std.tolist() == [0.5, 0.125]


def test_lines_are_those_of_the_file(tmp_path):
    """Also below blank lines and a name with a line end in it."""
    path = tmp_path / "scores.csv"
    path.write_bytes(b'\r\n\r\nimage,mos\r\n\r\n"a\r\nb",1\r\n\r\nc,x\r\n')
    with pytest.raises(UserError, match="line 8: the score 'x'"):
        read_scores(path)
    path.write_bytes(workbook([[], ["image", "mos"], [], ["a", 1], ["b", "x"]]))
    with pytest.raises(UserError, match="line 5: the score 'x'"):
        read_scores(path)


def test_a_name_on_disk_is_that_name(tmp_path, monkeypatch, capsys):
    """Blanks, backslashes and the Unicode form are kept where a file is called so, beside the table or from here."""
    composed, decomposed = (unicodedata.normalize(form, "caf\u00e9.png") for form in ("NFC", "NFD"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table").mkdir()
    for name in ("here\\x.png", "table/blank.png ", f"table/{decomposed}"):
        (tmp_path / name).touch()
    path = tmp_path / "table/list.csv"
    path.write_text(f"image\nhere\\x.png\nblank.png \n{composed}\nother\\x.png\n", encoding="utf-8")
    table = read_csv(path, ("image",), "--input")
    assert table["image"].tolist() == ["here\\x.png", "blank.png ", decomposed, "other/x.png"]
    printed = capsys.readouterr().out
    assert "2 names changed ('caf\u00e9.png' to 'cafe\\u0301.png')" in printed


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("C:\\photos\\a.png", "C:/photos/a.png"),
        ("C:\\photos/b\\a.png", "C:/photos/b/a.png"),
        ("\\\\server\\share\\a.png", "//server/share/a.png"),
        ("folder/a\\b.png", "folder/a\\b.png"),
        ("", ""),
    ],
)
def test_backslashes(tmp_path, given, plain):
    (tmp_path / "list.csv").write_text(f"image,x\n{given},1\n")
    assert read_csv(tmp_path / "list.csv", ("image",), "--input")["image"].tolist() == [plain]


def test_the_training_list_is_read_the_same_way(tmp_path):
    """One reader for all tables: another required column, in the form that a spreadsheet saves as "Unicode text"."""
    (tmp_path / "list.csv").write_bytes("image_PATH\tnote\r\na.png\tx\r\n".encode("utf-16"))
    table = read_csv(tmp_path / "list.csv", ("Image_path",), "training CSV")
    assert table["image"].tolist() == ["a.png"] and table["note"].tolist() == ["x"] and table.index.tolist() == [2]


def test_names_that_are_not_unicode_come_back(tmp_path):
    names = [b"caf\xe9.png".decode("utf-8", "surrogateescape"), 'a"b,c.png', "d\re.png", "f\n.png", "#g.png"]
    write_csv(tmp_path / "list.csv", ("Image_path", "n"), [(name, 1) for name in names])
    assert read_csv(tmp_path / "list.csv", ("Image_path",), "training CSV")["image"].tolist() == names


def test_visible_shows_what_cannot_be_seen():
    assert visible("plain name.png") == "'plain name.png'"
    assert visible(" a\t\u00a0b\u200b ") == r"'\x20a\t\xa0b\u200b\x20'"
    assert visible("caf\u00e9") != visible("cafe\u0301") == r"'cafe\u0301'"


NAME = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp"), exclude_characters="\\\ufeff"),
    min_size=1,
    max_size=12,
).map(lambda name: unicodedata.normalize("NFC", name))


@settings(max_examples=150, deadline=None)
@given(
    names=st.lists(NAME, min_size=1, max_size=6, unique=True),
    score=st.floats(-100, 100).map(lambda value: round(value, 2)),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    separator=st.sampled_from(",;\t"),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    comma=st.booleans(),
    trailing=st.booleans(),
    header=st.sampled_from(["image{}mos", "IMAGE{} Mos ", "Image_Path{}MOS"]),
)
def test_a_table_comes_back_through_any_dialect(
    tmp_path_factory, names, score, encoding, separator, line_end, comma, trailing, header
):
    texts = [repr(score + row) for row in range(len(names))]
    mos = [float(text) for text in texts]
    table = pd.DataFrame({"a": names, "b": [text.replace(".", ",") if comma else text for text in texts]})
    body = table.to_csv(index=False, header=False, sep=separator, lineterminator="\n")
    lines = [header.format(separator), *body.split("\n")[:-1]]
    text = line_end.join(line + separator * (trailing and row > 0) for row, line in enumerate([*lines]))
    text += line_end
    path = tmp_path_factory.mktemp("dialects") / "t.csv"
    path.write_bytes(text.encode(encoding))
    try:
        scores = read_scores(path)
    except UserError as error:
        assert comma and ("is not a number" in error.sentence) == (separator != ";"), error
    else:
        assert scores.images == names and not (comma and separator != ";")
        np.testing.assert_array_equal(scores.mos, mos)


def test_a_caption_may_be_long(tmp_path):
    table = tmp_path / "scores.csv"
    table.write_text(f"image,mos,prompt\na.png,1,{'x' * 200_000}\n")
    assert list(read_csv(table, ("image", "mos"), "scores")["image"]) == ["a.png"]


def test_lines_end_with_a_line_feed_alone(tmp_path):
    """``cut`` and ``grep`` would carry a carriage return along; one in a name stays in quotation marks."""
    rows = [["a.png", 1], ["b\rc.png", 2], ["d\r\n", 3], ["", ""]]
    write_csv(tmp_path / "t.csv", ["image", "mos"], rows)
    assert (tmp_path / "t.csv").read_bytes() == b'image,mos\na.png,1\n"b\rc.png",2\n"d\r\n",3\n,\n'
