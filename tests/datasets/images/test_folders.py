"""Folders: all of Pillow's endings, none at all, and an account of what is left out."""

import os

import pytest
from PIL import Image

from datasets.images.folders import scan_folder
from datasets.training.image_lists import scan_data_folder
from networks.errors import UserError
from networks.images.formats import IMAGE_SUFFIXES
from networks.images.reading import read_image


def test_every_ending_that_pillow_decodes_counts():
    not_photographs = ".bufr .eps .emf .fit .fits .grib .h5 .hdf .iim .mpeg .mpg .palm .pdf .ps .wmf .blp"
    Image.init()
    assert set(Image.registered_extensions()) - IMAGE_SUFFIXES <= set(not_photographs.split())


def test_files_without_an_ending_are_told_by_their_content(tmp_path):
    for form in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "QOI"):
        Image.new("RGB", (4, 3)).save(tmp_path / form, form)
        assert read_image(tmp_path / form).shape == (3, 4, 3)
    (tmp_path / "README").write_text("text")
    os.mkfifo(tmp_path / "pipe")
    listing = scan_folder(tmp_path)
    assert len(listing.images) == 10 and listing.reasons() == "2 without an ending, and not images"


def test_thumbnails_hidden_files_and_others_are_counted(tmp_path):
    names = ("a.png", "sub/b.JFIF", ".x.png", "@eaDir/a.png", "sub/.thumbnails/t/t.png", "__MACOSX/._a.png",
             "c.txt", "d.nef", "e.pdf", ".git/config")  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listing = scan_folder(tmp_path)
    assert [os.path.relpath(path, tmp_path) for path in listing.images] == ["a.png", "sub/b.JFIF"]
    account = listing.reasons()
    for part in ("3 in hidden, thumbnail or system folders", "1 with the ending .pdf", "1 with the ending .txt",
                 "1 hidden", "1 camera raw, to be developed first"):  # fmt: skip
        assert part in account


@pytest.mark.parametrize(
    "name", ["#recycle", "@Recycle", "System Volume Information", "lost+found", "A Previews.lrdata", "iPod Photo Cache"]
)
def test_system_folders_are_left_out(tmp_path, name):
    for folder in (name, "recycle"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").touch()
    listing = scan_folder(tmp_path)
    assert [os.path.relpath(path, tmp_path) for path in listing.images] == ["recycle/a.png"]
    assert listing.reasons() == "1 in hidden, thumbnail or system folders"


def test_loops_of_links_end(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.png").touch()
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    assert len(scan_folder(tmp_path).images) == 1


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.png").touch()
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(path):
        if os.fsdecode(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    listing = scan_folder(tmp_path)
    assert len(listing.images) == 1 and listing.unreadable == [
        f"folder {tmp_path}/closed cannot be read: Permission denied"
    ]


def test_no_images_says_what_there_is(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(UserError, match=r"holds no images \(1 with the ending .txt\)"):
        scan_data_folder(tmp_path)
    assert scan_folder(tmp_path).images == []


def test_heic_needs_its_package(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    assert len(scan_folder(tmp_path).images) == 1
    with pytest.raises(UserError, match=r"pillow-heif|cannot be read"):
        read_image(tmp_path / "a.heic")
