"""What --input means: file, folder, glob, CSV; and names under which results do not overwrite each other."""

import os

import pandas as pd
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
        ("IMG_1.jpg", ["IMG_1", "old/IMG_1"], "IMG_1"),
        ("f/a.png", ["a.png", "a.jpg"], "a.png"),
    ],
)
def test_a_table_and_a_folder_need_not_spell_a_name_alike(wanted, available, found):
    """Folders in front, endings and case differ between label files and what was unpacked."""
    assert match_names([wanted], available, "there") == ({wanted: found} if found else {})


def test_the_unicode_form_of_a_name_may_differ():
    """macOS writes an accent as a character of its own: names of labels and files look alike, and differ."""
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    for given, available in ((composed, decomposed), (decomposed, composed)):
        assert match_names([f"x/{given}.png"], [available], "there") == {f"x/{given}.png": available}
        assert match_names([f"x/{given}.png"], [available, given], "there") == {f"x/{given}.png": given}
    with pytest.raises(UserError) as caught:
        match_names([f"{composed}.png", f"{decomposed}.png"], [composed.upper()], "there")
    assert caught.value.sentence.startswith("images caf\u00e9.png and 'cafe\\u0301.png' both fit CAF\u00c9 in there")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".xlsx"])
def test_any_table_lists_images(tmp_path, suffix):
    (tmp_path / "a b.png").touch()
    path = tmp_path / f"list{suffix}"
    if suffix == ".xlsx":
        pd.DataFrame({"Image": ["a b.png"], "mos": [1]}).to_excel(path, index=False)
    else:
        path.write_bytes("Image\tmos\r\na b.png \t1\r\n".encode("utf-16"))
    assert list_images(path) == [ListedImage(str(tmp_path / "a b.png"), "a b.png")]


def test_a_name_that_fits_several_is_refused():
    with pytest.raises(UserError, match=r"image img1.bmp fits several in there: jp2k/img1, jpeg/img1"):
        match_names(["img1.bmp"], ["jp2k/img1", "jpeg/img1"], "there")


@pytest.mark.parametrize(
    ("wanted", "available"),
    [
        (["jp2k/img1.bmp", "jpeg/img1.bmp"], ["img1"]),
        (["a.png", "./a.png"], ["a"]),
        (["a.png", "a.jpg"], ["a"]),
    ],
)
def test_two_images_do_not_share_features(wanted, available):
    """They could stand on both sides of a split, and be learnt from and tested on."""
    with pytest.raises(UserError, match=r"both fit .* in there; one of them is not there"):
        match_names(wanted, available, "there")
    assert match_names(["jp2k/img1.bmp", "img1.bmp"], ["img1"], "there") == {"img1.bmp": "img1"}, "exact comes first"


def test_the_same_end_in_other_folders_is_no_match():
    with pytest.raises(UserError, match="fits several"):
        match_names(["a.png"], ["x/a", "y/A"], "there")


def test_a_csv_whose_files_would_share_a_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for path in ("x.jpg", "sub/x.jpg"):
        (tmp_path / path).touch()
    (tmp_path / "sub" / "l.csv").write_text(f"image\nx.jpg\n./x.jpg\n{tmp_path}/x.jpg\n")
    names = [image.name for image in list_images("sub/l.csv")]
    assert names[0] == "x.jpg" and len(names) == 2, "one file, spelt twice, and its absolute path"
    (tmp_path / "sub" / "l.csv").write_text("image\nx.jpg\n../x.jpg\n")
    monkeypatch.chdir(tmp_path / "sub")
    with pytest.raises(
        UserError, match=r"line 3: \.\./x.jpg would have the same name, x.jpg, as another file on line 2"
    ):
        list_images("l.csv")
    (tmp_path / "sub" / "l.csv").write_text('image,mos\nx.jpg,1\n"",2\n')
    with pytest.raises(UserError, match="line 3: no image is named"):
        list_images("l.csv")
    (tmp_path / "sub" / "l.csv").write_text("image\n" + "x" * 300 + ".jpg\n")
    assert len(list_images("l.csv")) == 1, "a name that no disk can hold is a missing image, not a crash"
