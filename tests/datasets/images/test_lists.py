"""What --input means: file, folder, glob, CSV; and names under which results do not overwrite each other."""

import io
import os
from pathlib import Path, PureWindowsPath

import pandas as pd
import pytest

from datasets.images.lists import ListedImage, image_name, list_images, match_names
from networks.errors import UserError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jpg", "a.png", "sub/a.png", "sub/deep/c.JPG", "note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(source):
    listed = list_images(source).images
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


@pytest.mark.parametrize("name", ["t.csv", "t.txt"])
def test_a_file_beside_a_table_comes_before_one_from_here(tmp_path, monkeypatch, name):
    """Databases have files of the same names: images/1.jpg of another one is not scored in silence."""
    table, here = tmp_path / "db" / name, tmp_path / "other"
    for folder in ("db/images", "other/images"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "1.jpg").write_bytes(b"the same content")
    table.write_text(("image\n" if name == "t.csv" else "") + "images/1.jpg\n")
    monkeypatch.chdir(here)
    beside = tmp_path / "db/images/1.jpg"
    assert [image.path for image in list_images(table).images] == [str(beside)]
    Path("images/1.jpg").write_bytes(b"other content of it")
    with pytest.raises(UserError) as caught:
        list_images(table)
    assert f"image images/1.jpg can be {beside} or {here}/images/1.jpg, which differ" in caught.value.sentence
    beside.unlink()
    assert [image.path for image in list_images(table).images] == ["images/1.jpg"]
    beside.symlink_to("a disk that is not there")
    assert [image.path for image in list_images(table).images] == [str(beside)], "to be reported as unreadable"


def test_the_rows_of_several_folders_have_different_names_that_open(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("a/s", "b/s"):
        Path(folder).mkdir(parents=True)
        Path(folder, "x.jpg").touch()
    for folder in ("a", "b"):
        Path(folder, "l.txt").write_text("s/x.jpg\n")
    expected = ["a/s/x.jpg", "b/s/x.jpg"]
    assert [given for given, _ in list_images(["a", "b"]).rows] == expected
    assert [given for given, _ in list_images(["a/s", "./b/"]).rows] == expected
    assert [given for given, _ in list_images(["a/l.txt", "b/l.txt"]).rows] == ["s/x.jpg", "b/s/x.jpg"]
    assert [given for given, _ in list_images(["a/l.txt", "b/l.txt", "a/l.txt"]).rows] == [
        *["s/x.jpg", "b/s/x.jpg"],
        "s/x.jpg",
    ]
    Path("a/b/s").mkdir(parents=True)
    Path("a/b/s/x.jpg").touch()
    Path("a/m.txt").write_text("b/s/x.jpg\n")
    with pytest.raises(UserError, match="run the command in another folder"):
        Path("a/b/s/x.jpg").write_bytes(b"1")
        list_images("a/m.txt")
    Path("b/s/x.jpg").write_bytes(b"1")
    rows = [given for given, _ in list_images(["a/m.txt", "b"]).rows]
    assert rows == ["b/s/x.jpg", f"{tmp_path}/b/s/x.jpg"], "the last resort"


def test_a_closed_standard_input_is_said(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UserError, match=r"^--input -: standard input is closed; pipe a list"):
        list_images("-")


@pytest.mark.parametrize("source, said", [("none", "does not exist"), ("*.gif", "no images"), ("empty", "no images")])
def test_nothing_found_is_said(folder, source, said):
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match=said):
        list_images(folder / source)


def test_a_csv_without_a_path_column_is_said(folder):
    (folder / "t.csv").write_text("file\na.png\n")
    with pytest.raises(UserError, match="no column 'Image_path' or 'image' or 'image_name'; its columns are: file"):
        list_images(folder / "t.csv")


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
    assert list_images(path).images == [ListedImage(str(tmp_path / "a b.png"), "a b.png")]


def test_a_name_that_fits_several_is_refused():
    with pytest.raises(UserError, match=r"image img1.bmp fits several in there: jp2k/img1, jpeg/img1"):
        match_names(["img1.bmp"], ["jp2k/img1", "jpeg/img1"], "there")


@pytest.mark.parametrize(
    ("wanted", "available"),
    [
        (["jp2k/img1.bmp", "jpeg/img1.bmp"], ["img1"]),
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


def test_two_spellings_of_one_path_are_one_image():
    with pytest.raises(UserError, match=r"^a.png and ./a.png are the same image; give each image once"):
        match_names(["a.png", "./a.png"], ["a.png"], "there")


def test_every_row_is_kept_as_it_was_given(folder):
    """Scores are joined with the input by row or by path: repeated and differently spelt rows all count."""
    table = folder / "lists" / "t.csv"
    table.parent.mkdir()
    rows = ["../b.jpg", f"{folder}/sub/a.png", "../b.jpg", f"{folder}/sub/../b.jpg"]
    table.write_text("image,camera\n" + "".join(f"{row},x\n" for row in rows))
    listing = list_images(table)
    assert [given for given, _ in listing.rows] == rows and [
        listing.images.index(image) for _, image in listing.rows
    ] == [0, 1, 0, 0]
    assert [image.name for image in listing.images] == ["b.jpg", f"{folder}/sub/a.png".lstrip("/")]


def test_files_of_one_name_are_told_apart(tmp_path, monkeypatch):
    for path in ("x.jpg", "monday/x.jpg", "tuesday/x.jpg"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    monkeypatch.chdir(tmp_path / "monday")
    (tmp_path / "monday" / "l.csv").write_text("image\nx.jpg\n../x.jpg\n")
    assert [image.name for image in list_images("l.csv").images] == ["x.jpg", str(tmp_path / "x.jpg").lstrip("/")]
    monkeypatch.chdir(tmp_path)
    listing = list_images(["monday", "tuesday", "x.jpg", "monday/x.jpg"])
    assert len(listing.images) == 3 and len({image.name for image in listing.images}) == 3
    assert [listing.images.index(image) for _, image in listing.rows] == [0, 1, 2, 0]


def test_lists_of_paths(folder, monkeypatch):
    (folder / "list.txt").write_bytes(b"\xef\xbb\xbfb.jpg\r\n\r\nsub/a.png\nb.jpg\n")
    listing = list_images(folder / "list.txt")
    assert [given for given, _ in listing.rows] == ["b.jpg", "sub/a.png", "b.jpg"] and len(listing.images) == 2
    monkeypatch.chdir(folder)
    for content in (b"b.jpg\nsub/a.png\n", b"b.jpg\0sub/a.png\0"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert [image.path for image in list_images("-").images] == ["b.jpg", "sub/a.png"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    with pytest.raises(UserError, match="standard input lists no images"):
        list_images("-")


def test_what_a_folder_leaves_out_is_accounted_for(folder):
    for name in ("@eaDir/b.jpg", ".thumbnails/t.png", "._a.png", "raw.NEF"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    listing = list_images(folder)
    assert len(listing.images) == 4 and listing.folders.left_out.total() == 5
    account = listing.folders.account()
    for part in (
        "5 left out",
        "2 in hidden, thumbnail or system folders",
        "1 hidden",
        "1 camera raw",
        "1 with the ending .txt",
    ):
        assert part in account


def test_mistakes_in_a_table_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "l.csv").write_text('image,mos\nx.jpg,1\n"",2\n')
    with pytest.raises(UserError, match="line 3: no image is named"):
        list_images("l.csv")
    (tmp_path / "l.csv").write_text("image\n" + "x" * 300 + ".jpg\n")
    assert len(list_images("l.csv").images) == 1, "a name that no disk can hold is a missing image, not a crash"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_as_people_write_it(tmp_path, encoding):
    for name in ("a.png", "b c.png", "é.png", "#d.png", " e.png"):
        (tmp_path / name).touch()
    text = '# my photographs\r\na.png\r\n\r\n  b c.png  \r\n"é.png"\n#d.png\n e.png\n'
    (tmp_path / "list.txt").write_bytes(text.encode(encoding))
    listing = list_images(tmp_path / "list.txt")
    assert [image.name for image in listing.images] == ["a.png", "b c.png", "é.png", "#d.png", " e.png"]
    # As they are in the file, so that scores can be joined to it.
    assert [given for given, _ in listing.rows] == ["a.png", "  b c.png  ", '"é.png"', "#d.png", " e.png"]
    assert all(os.path.lexists(image.path) for image in listing.images)


def test_an_image_named_as_a_list(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(UserError, match=r"a.txt is an image, not a list of paths"):
        list_images(tmp_path / "a.txt")


@pytest.mark.parametrize(
    "given, name",
    [
        ("//disk/a.png", "disk/a.png"),
        ("/disk//a.png", "disk/a.png"),
        ("../a/./b.png", "a/b.png"),
        ("C:/photos/a.png", "C/photos/a.png"),
        ("d:/a.png", "d/a.png"),
        ("16:9/a.png", "16:9/a.png"),
    ],
)
def test_a_name_is_a_path_below_any_folder(given, name):
    """Features would be written beside the image otherwise: joined to a folder, an absolute path replaces it."""
    assert image_name(given) == name
    assert Path("features", name).parts[0] == PureWindowsPath("features", name).parts[0] == "features"


def test_names_stay_unique_whatever_the_spellings(tmp_path, monkeypatch):
    """The last resort, the absolute path, can be the name of an image below the current folder."""
    here = tmp_path / "w"
    inner = here / str(tmp_path).lstrip("/") / "w"
    paths = [inner / "x.png", Path(f"{here}/x.png"), here / "w" / "x.png"]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(here)
    lines = [str(inner / "x.png").removeprefix(f"{here}/"), str(here / "x.png"), "x.png", "w/x.png"]
    (here / "list.txt").write_text("\n".join([*lines, "./w/x.png", str(here / "w" / "x.png")]))
    listing = list_images("list.txt")
    assert len({image.name for image in listing.images}) == len(listing.images) == 3


def test_a_list_with_the_backslashes_of_windows(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "x\\y.png").touch()
    (folder / "list.txt").write_bytes(b'sub\\a.png\r\n"sub\\deep\\c.JPG"\r\nx\\y.png\r\n')
    listing = list_images("list.txt")
    assert [image.path for image in listing.images] == ["sub/a.png", "sub/deep/c.JPG", "x\\y.png"]


def test_rows_of_a_table_keep_their_spelling(tmp_path):
    """A join of the scores with the table compares its own cells."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.png").touch()
    cells = ["sub\\a.png", " sub/a.png ", "./sub/a.png"]
    (tmp_path / "list.csv").write_text("\n".join(["image,mos", *(f"{cell},1" for cell in cells)]) + "\n")
    listing = list_images(tmp_path / "list.csv")
    assert [given for given, _ in listing.rows] == cells and len(listing.images) == 1


def test_the_spelling_of_a_row_does_not_name_an_image(tmp_path):
    """Two files of one name: blanks and quotation marks of the list belong to neither."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").touch()
        (tmp_path / folder / "list.txt").write_text(' "x.png" \n')
    names = [image.name for image in list_images([tmp_path / "a" / "list.txt", tmp_path / "b" / "list.txt"]).images]
    assert names == ["x.png", image_name(str(tmp_path / "b" / "x.png"))]
