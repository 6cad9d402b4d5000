"""Lists of scores: the selected images, in their order, under paths that open; names as they are, in any program."""

import csv

import openpyxl
import pytest

from datasets.images.lists import ListedImage, list_images, paths_in_list
from learning.regression.model.meaning import score_columns
from learning.regression.model.predict import print_scores, select_rows, write_scores
from options.images import parse_prediction_options

SCORES = {"0.png": 50.0, "1.png": 10.0, "2.png": 90.0, "3.png": 30.0}


@pytest.fixture
def listing(tmp_path, monkeypatch):
    """A list in another folder that names four images, one of them twice, and one that cannot be read."""
    (tmp_path / "photos").mkdir()
    for index in range(5):
        (tmp_path / f"photos/{index}.png").touch()
    (tmp_path / "photos/list.txt").write_text("\n".join(f"{index}.png" for index in (0, 1, 2, 3, 0, 4)))
    monkeypatch.chdir(tmp_path)
    return list_images("photos/list.txt")


def select(listing, *arguments):
    rows, sentence = select_rows(listing, SCORES, parse_prediction_options(["--input", "x", *arguments]))
    return [given for given, _ in rows], sentence


def test_a_selection_has_each_image_once_by_a_path_that_opens(listing):
    assert select(listing) == ([f"{index}.png" for index in (0, 1, 2, 3, 0, 4)], "")
    worst = ["photos/1.png", "photos/3.png", "photos/0.png", "photos/2.png"]
    assert select(listing, "--worst", "2") == (worst[:2], "the 2 worst of 4 images")
    assert select(listing, "--best", "30%") == (worst[:1:-1], "the 2 best of 4 images")
    assert select(listing, "--best", "9") == (worst[::-1], "the 4 best of 4 images")
    assert select(listing, "--threshold", "50") == (worst[:2], "2 of 4 images score below 50")
    assert select(listing, "--threshold", "0") == ([], "0 of 4 images score below 0")


def test_a_list_of_paths_is_read_again(listing, tmp_path):
    write_scores(tmp_path / "l.txt", listing.rows, SCORES, [])
    assert (tmp_path / "l.txt").read_text() == "".join(f"photos/{index}.png\n" for index in (0, 1, 2, 3, 0))
    assert len(list_images(tmp_path / "l.txt").images) == 4
    names = ["photos/a\nb.png", "photos/\udcff.png"]
    rows = [(name, ListedImage(name, name)) for name in names]
    write_scores(tmp_path / "l.txt", rows, dict.fromkeys(names, 1.0), [])
    content = (tmp_path / "l.txt").read_bytes()
    assert [given for _, _, given in paths_in_list(content, tmp_path) if given] == names


@pytest.mark.parametrize(("name", "marked"), [("a.png", False), ("ä.png", True), ("\udcff.png", True)])
def test_a_table_has_a_byte_order_mark_where_a_name_needs_it(tmp_path, name, marked):
    rows = [(name, ListedImage(name, name)), ("failed.png", ListedImage("failed.png", "failed.png"))]
    write_scores(tmp_path / "s.csv", rows, {name: 12.3456789}, score_columns(None, None))
    assert (tmp_path / "s.csv").read_bytes().startswith(b"\xef\xbb\xbf") == marked
    with open(tmp_path / "s.csv", encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        assert list(csv.reader(file)) == [["image", "score"], [name, "12.3457"], ["failed.png", ""]]


def test_a_workbook_holds_numbers_and_no_formulas(tmp_path):
    names = ["=1+1", "a\x1b\udcff.png", "ä.png"]
    rows = [(name, ListedImage(name, name)) for name in names]
    write_scores(tmp_path / "s.xlsx", rows, dict.fromkeys(names[:2], 12.5), score_columns(None, None))
    header, *found = openpyxl.load_workbook(tmp_path / "s.xlsx").active.iter_rows()
    assert [cell.value for cell in header] == ["image", "score"]
    assert [cell.value for cell, _ in found] == ["=1+1", "a\\x1b\\udcff.png", "ä.png"]
    assert [cell.data_type for cell, _ in found] == ["s", "s", "s"]
    assert [cell.value for _, cell in found] == [12.5, 12.5, None]


def test_a_long_selection_is_printed_completely(capsys):
    rows = [(str(index), ListedImage(str(index), str(index))) for index in range(60)]
    scores = {str(index): float(index) for index in range(60)}
    for selection, n_lines in (("", 1 + 1 + 41), ("the 60 worst of 90 images", 1 + 1 + 60)):
        print_scores(rows, scores, score_columns(None, None), selection)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == n_lines and lines[1] == "   score  image"
    assert lines[0] == "the 60 worst of 90 images" and lines[2] == "  0.0000  0"
