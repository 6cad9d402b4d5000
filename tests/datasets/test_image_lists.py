"""What --input means: file, folder, glob, CSV; and names under which results do not overwrite each other."""

import os

import pytest

from common.errors import UserError
from datasets.image_lists import ListedImage, feature_names, list_images


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
