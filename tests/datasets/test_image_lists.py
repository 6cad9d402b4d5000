"""What --input means: file, folder, glob, CSV; and names under which results do not overwrite each other."""

import os

import pytest

from common.errors import UserError
from datasets.image_lists import ListedImage, feature_names, list_images, match_names


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jpg", "a.png", "sub/a.png", "sub/deep/c.JPG", "note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(source):
    listed = list_images(source)
    assert all(os.path.isfile(image.path) for image in listed)  # noqa: PTH113
    return [image.name for image in listed]


def test_a_file_a_folder_and_a_glob(folder):
    assert names(folder / "b.jpg") == ["b.jpg"]
    assert names(folder) == ["a.png", "b.jpg", "sub/a.png", "sub/deep/c.JPG"]
    assert names(f"{folder}/*.png") == ["a.png"]
    assert names(f"{folder}/sub/**/*.*") == ["a.png", "deep/c.JPG"]


@pytest.mark.parametrize("column", ["Image_path", "image"])
def test_a_csv_from_here_or_beside_it(folder, column, monkeypatch):
    table = folder / "lists" / "t.csv"
    table.parent.mkdir()
    table.write_text(f"{column},mos\n../b.jpg,1\n../sub/a.png,2\n../b.jpg,3\n")
    assert names(table) == ["b.jpg", "sub/a.png"]
    monkeypatch.chdir(folder)
    table.write_text(f"{column}\nsub/a.png\n{folder}/b.jpg\n")
    assert names(table) == ["sub/a.png", str(folder / "b.jpg").lstrip("/")]


@pytest.mark.parametrize("source, said", [("none", "does not exist"), ("*.gif", "no images"), ("empty", "no images")])
def test_nothing_found_is_said(folder, source, said):
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match=said):
        list_images(folder / source)


def test_a_csv_without_a_path_column_is_said(folder):
    (folder / "t.csv").write_text("file\na.png\n")
    with pytest.raises(UserError, match="no column 'Image_path' or 'image'; its columns are: file"):
        list_images(folder / "t.csv")


def test_equal_stems_keep_their_ending():
    images = [ListedImage("", name) for name in ("a.png", "a.jpg", "b.png", "sub/a.png")]
    assert list(feature_names(images).values()) == ["a.png", "a.jpg", "b", "sub/a"]


@pytest.mark.parametrize(
    ("wanted", "available", "found"),
    [
        ("a.jpg", ["a", "b"], "a"),
        ("images/a.jpg", ["a"], "a"),
        ("a.jpg", ["512x384/a", "512x384/b"], "512x384/a"),
        ("/data/db/images/a.jpg", ["images/a", "other/a"], "images/a"),
        ("I01_01_1.bmp", ["i01_01_1"], "i01_01_1"),
        ("img1.bmp", ["img1", "IMG1"], "img1"),
        ("a.png", ["a.png", "a.jpg"], "a.png"),
        ("1600.AWGN.1.png", ["AWGN/1600.AWGN.1", "AWGN/1600.AWGN.2"], "AWGN/1600.AWGN.1"),
        ("a.b", ["a.b"], "a.b"),
        ("a", ["a.jpg"], "a.jpg"),
        ("jp2k/img1.bmp", ["jp2k/img1", "jpeg/img1"], "jp2k/img1"),
        ("c.jpg", ["a", "b"], None),
        ("x/a.jpg", ["y/a"], None),
    ],
)
def test_a_table_and_a_folder_need_not_spell_a_name_alike(wanted, available, found):
    """Folders in front, endings and case differ between label files and what was unpacked."""
    assert match_names([wanted], available, "there") == ({wanted: found} if found else {})


def test_a_name_that_fits_several_is_refused():
    with pytest.raises(UserError, match=r"image img1.bmp fits several in there: jp2k/img1, jpeg/img1"):
        match_names(["img1.bmp"], ["jp2k/img1", "jpeg/img1"], "there")
