"""Features on disk: found for the images of a table, read in their order, never mixed between encoders."""

import hashlib
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest

from datasets.features import files as feature_files
from datasets.features.files import (
    FeatureFolder,
    check_settings,
    claim_folder,
    feature_file,
    read_encoder,
)
from datasets.features.reading import FeatureFiles, write_single_file
from datasets.images import lists
from datasets.images.lists import FileStamp, ListedImage, stamp_file
from networks.errors import UserError
from tests.common.test_atomic_files import largest_file

NAMES = ["a", "sub/b", "sub/c d"]


def write_folder(folder, kinds=("quality_aware", "content_aware"), size=4):
    for offset, kind in enumerate(kinds):
        claim_folder(folder, kind, f"{kind} encoder")
        for index, name in enumerate(NAMES):
            path = feature_file(folder, kind, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.full((1, size), 10 * offset + index, np.float32))
    return folder


def test_a_folder_gives_rows_in_the_order_asked_for(tmp_path):
    files = FeatureFiles(write_folder(tmp_path))
    assert files.kinds == ["quality_aware", "content_aware"] and files.names == NAMES
    assert files.encoders == {"quality_aware": "quality_aware encoder", "content_aware": "content_aware encoder"}
    rows = files.read(["sub/c d", "a"])
    assert rows.dtype == np.float32 and rows.tolist() == [[2] * 4 + [12] * 4, [0] * 4 + [10] * 4]
    assert FeatureFiles(tmp_path, ["content_aware"]).read(["a"]).tolist() == [[10] * 4]


def test_a_single_file_gives_the_same(tmp_path):
    np.savez(
        tmp_path / "f.npz",
        names=np.array(["a.png", "sub/b.png"]),
        quality_aware=np.array([[1, 2], [3, 4]], np.float32),
        quality_aware_encoder=np.array("abc"),
    )
    files = FeatureFiles(tmp_path / "f.npz")
    assert files.kinds == ["quality_aware"] and files.encoders == {"quality_aware": "abc"}
    matched = files.match(["sub/b.png", "a.png"])
    assert files.read([matched["sub/b.png"], matched["a.png"]]).tolist() == [[3, 4], [1, 2]]


def test_only_images_with_every_kind_are_there(tmp_path):
    feature_file(write_folder(tmp_path), "content_aware", "a").unlink()
    assert FeatureFiles(tmp_path).names == ["sub/b", "sub/c d"]


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(UserError, match="do not exist"):
        FeatureFiles(tmp_path / "none")
    with pytest.raises(UserError, match="no quality_aware or content_aware features there"):
        FeatureFiles(tmp_path)
    write_folder(tmp_path, ["quality_aware"])
    with pytest.raises(UserError, match="no content_aware features"):
        FeatureFiles(tmp_path, ["content_aware"])
    broken = feature_file(tmp_path, "quality_aware", "sub/b")
    for content, said in (
        (np.zeros((1, 5), np.float32), "have 5 values, and .*a_quality_aware_features.npy has 4"),
        (np.full((1, 4), np.nan, np.float32), "sub/b_quality_aware_features.npy are not finite"),
        (np.array(["x"]), "not an array of numbers"),
    ):
        np.save(broken, content)
        with pytest.raises(UserError, match=said):
            FeatureFiles(tmp_path).read(NAMES)
    broken.write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match="cannot be read"):
        FeatureFiles(tmp_path).read(NAMES)
    (tmp_path / "f.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"f\.npz cannot be read"):
        FeatureFiles(tmp_path / "f.npz")


def test_no_pickle_is_read(tmp_path):
    write_folder(tmp_path, ["quality_aware"])
    np.save(feature_file(tmp_path, "quality_aware", "a"), np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="cannot be read"):
        FeatureFiles(tmp_path).read(["a"])
    np.savez(tmp_path / "f.npz", names=np.array([{}], dtype=object), quality_aware=np.zeros((1, 2)))
    with pytest.raises(UserError):
        FeatureFiles(tmp_path / "f.npz")


def test_a_folder_belongs_to_one_encoder(tmp_path):
    write_folder(tmp_path, ["quality_aware"])
    claim_folder(tmp_path, "quality_aware", "quality_aware encoder")
    with pytest.raises(UserError, match="holds features of encoder quality_aware encoder, not of encoder other; "):
        claim_folder(tmp_path, "quality_aware", "other")
    with pytest.raises(
        UserError, match="holds features with --pooling layer4_mean, not with --pooling stages_mean_std; "
    ):
        claim_folder(tmp_path, "quality_aware", "quality_aware encoder:stages_mean_std")
    assert read_encoder(tmp_path, "quality_aware") == "quality_aware encoder"


def test_a_folder_holds_features_of_one_precision(tmp_path):
    claim_folder(tmp_path, "quality_aware", "encoder", amp=True)
    claim_folder(tmp_path, "quality_aware", "encoder", amp=True)
    with pytest.raises(
        UserError,
        match="features computed with --amp --max_side 0, not computed with --max_side 0; compute these in the",
    ):
        claim_folder(tmp_path, "quality_aware", "encoder")
    older = write_folder(tmp_path / "older", ["quality_aware"]) / "feats_quality_aware/encoder.json"
    older.write_text(json.dumps({"fingerprint": "encoder", "images_recorded": True}))
    unknown = write_folder(tmp_path / "unknown", ["quality_aware"])
    (unknown / "feats_quality_aware/encoder.json").unlink()
    for folder in (unknown, tmp_path / "empty"):
        claim_folder(folder, "quality_aware", "encoder")
    with pytest.raises(
        UserError,
        match=r"unknown/feats_quality_aware holds .* computed with --max_side 0, not computed with --amp --max_side 0",
    ):
        claim_folder(unknown, "quality_aware", "encoder", amp=True)
    check_settings(tmp_path / "older", "quality_aware", "encoder", amp=False)
    with pytest.raises(UserError, match="computed with --max_side 0, not computed with --amp"):
        check_settings(tmp_path / "older", "quality_aware", "encoder", amp=True)


def test_a_folder_holds_features_of_one_size(tmp_path):
    claim_folder(tmp_path, "quality_aware", "encoder:stages_mean_std@512")
    check_settings(tmp_path, "quality_aware", "encoder:stages_mean_std@512", amp=False)
    for other, asked in (
        ("encoder:stages_mean_std", "with --max_side 0"),
        ("encoder:stages_mean_std@768", "with --max_side 768"),
    ):
        with pytest.raises(UserError, match=f"holds features computed with --max_side 512, not computed {asked}"):
            claim_folder(tmp_path, "quality_aware", other)
    with pytest.raises(UserError, match="with --pooling stages_mean_std, not with --pooling layer4_mean"):
        claim_folder(tmp_path, "quality_aware", "encoder@512")
    older = write_folder(tmp_path / "older", ["quality_aware"])
    check_settings(older, "quality_aware", "quality_aware encoder", amp=False)
    (older / "feats_quality_aware/encoder.json").unlink()
    with pytest.raises(UserError, match="computed with --max_side 0, not computed with --max_side 512"):
        claim_folder(older, "quality_aware", "encoder@512")


def test_older_features_of_an_unknown_encoder_stay_so(tmp_path):
    path = feature_file(tmp_path, "quality_aware", "a")
    path.parent.mkdir()
    np.save(path, np.zeros((1, 4), np.float32))
    claim_folder(tmp_path, "quality_aware", "new")
    assert read_encoder(tmp_path, "quality_aware") is None


class Photographs:
    """Files that stand for photographs, and a folder with features of them: their content's length."""

    def __init__(self, root):
        self.root, self.folder = root, root / "features"
        self.kinds = ["quality_aware"]

    def put(self, name, content, **times):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if times:
            os.utime(path, ns=(times["mtime_ns"], times["mtime_ns"]))

    def extract(self, *names, folder="", rank=0):
        """As a run of a script on these images: what was computed, and how many of these were stale."""
        features = FeatureFolder(self.folder, self.kinds, rank)
        images = [ListedImage(str(self.root / folder / name), name) for name in names]
        plan = features.plan(images)
        for position in plan.to_do:
            image = images[position]
            with open(image.path, "rb") as file:
                stamp = stamp_file(file)
                row = np.full(4, len(file.read()), np.float32)
            features.write(image, plan.names[image.name], dict.fromkeys(self.kinds, row), stamp)
        return [images[position].name for position in plan.to_do], plan.n_stale

    def lengths(self):
        files = FeatureFiles(self.folder)
        return {name: files.read([name])[0, 0] for name in files.names}


@pytest.fixture
def photographs(tmp_path):
    return Photographs(tmp_path)


def test_features_follow_the_content_of_their_file(photographs):
    photographs.put("a.png", b"one")
    assert photographs.extract("a.png") == (["a.png"], 0)
    assert photographs.extract("a.png") == ([], 0)
    photographs.put("a.png", b"another")
    assert photographs.extract("a.png") == (["a.png"], 1) and photographs.lengths() == {"a.png": 7}
    os.utime(photographs.root / "a.png", ns=(10**18 + 1, 10**18 + 1))
    assert photographs.extract("a.png") == (["a.png"], 1), "a touched file is computed again"
    assert photographs.extract("a.png") == ([], 0)


def test_an_earlier_content_does_not_get_the_features_of_a_later_one(photographs):
    """The file comes back with its size and times; the journal has a line for each content."""
    photographs.put("a.png", b"one", mtime_ns=10**18 + 1)
    photographs.extract("a.png")
    photographs.put("a.png", b"another", mtime_ns=10**18 + 2)
    photographs.extract("a.png")
    photographs.put("a.png", b"one", mtime_ns=10**18 + 1)
    assert photographs.extract("a.png") == (["a.png"], 1) and photographs.lengths() == {"a.png": 3}


def test_another_file_of_the_same_name_size_and_time(photographs):
    """What copying programs and archives preserve does not suffice: the content decides."""
    for folder, content in (("monday", b"abc"), ("tuesday", b"xyz"), ("copy", b"xyz")):
        photographs.put(f"{folder}/IMG_0001.png", content, mtime_ns=10**18)
    assert photographs.extract("IMG_0001.png", folder="monday") == (["IMG_0001.png"], 0)
    assert photographs.extract("IMG_0001.png", folder="tuesday") == (["IMG_0001.png"], 1)
    assert photographs.extract("IMG_0001.png", folder="copy") == ([], 0)


def test_a_change_within_the_resolution_of_the_times_is_seen(photographs, monkeypatch):
    """On a disk that counts in whole seconds, a change at once leaves size and times as they were."""
    status = SimpleNamespace(st_size=3, st_mtime_ns=10**18, st_ctime_ns=10**18)
    monkeypatch.setattr(lists, "os", SimpleNamespace(stat=lambda path: status, fstat=lambda number: status))
    photographs.put("a.png", b"one")
    photographs.extract("a.png")
    photographs.put("a.png", b"two")
    assert photographs.extract("a.png") == (["a.png"], 1)
    assert photographs.extract("a.png") == ([], 0), "the content is the same"


def test_two_processes_with_journals_of_their_own(photographs):
    """Each rank writes a journal. Features count with the line that was written with them, whatever the clocks say."""
    for content, rank in ((b"one", 1), (b"another", 0), (b"a third", 1)):
        photographs.put("a.png", content)
        assert photographs.extract("a.png", rank=rank)[0] == ["a.png"]
        assert photographs.extract("a.png") == photographs.extract("a.png", rank=1) == ([], 0)
        assert photographs.lengths() == {"a.png": len(content)}
    photographs.put("a.png", b"another")
    assert photographs.extract("a.png") == (["a.png"], 1)


def older_journal(photographs):
    """Makes the journal one of an older version: with clocks and inodes, and without digests of features."""
    path = photographs.folder / "feats_quality_aware/sources_0.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        del record["written"]
        record |= {"inode": 7, "recorded_ns": 10**18}
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_a_folder_with_a_journal_of_an_older_version(photographs):
    """Its features stay as far as size and times agree; of two contents nobody knows which one the features are of."""
    for name in ("a.png", "b.png", "c.png"):
        photographs.put(name, name.encode())
    photographs.extract("a.png", "b.png", "c.png")
    photographs.put("b.png", b"later")
    photographs.extract("b.png")
    older_journal(photographs)
    photographs.put("c.png", b"changed since")
    assert photographs.extract("a.png", "b.png", "c.png") == (["b.png", "c.png"], 1)
    assert photographs.extract("a.png", "b.png", "c.png") == ([], 0)
    assert photographs.lengths() == {"a.png": 5, "b.png": 5, "c.png": 13}
    photographs.put("a.png", b"changed")
    photographs.extract("a.png")
    assert photographs.lengths()["a.png"] == 7 and photographs.extract("a.png") == ([], 0)


def test_endings_tell_images_apart_whatever_the_runs(photographs):
    for name, content in (("x.jpg", b"1"), ("x.png", b"22"), ("x.png.jpg", b"333"), ("sub/x.jpg", b"4444")):
        photographs.put(name, content)
    assert photographs.extract("x.jpg")[0] == ["x.jpg"] and photographs.extract("x.png")[0] == ["x.png"]
    assert photographs.extract("x.png", "x.jpg", "x.png.jpg", "sub/x.jpg")[0] == ["x.png.jpg", "sub/x.jpg"]
    assert photographs.extract("x.png.jpg", "x.jpg", "sub/x.jpg", "x.png") == ([], 0)
    assert photographs.lengths() == {"x.jpg": 1, "x.png": 2, "x.png.jpg": 3, "sub/x.jpg": 4}
    published = feature_file(photographs.folder, "quality_aware", "x")
    assert published.name == "x_quality_aware_features.npy" and published.exists()


def test_equal_stems_in_one_run(photographs):
    for name in ("a.png", "a.jpg", "b.png", "sub/a.png"):
        photographs.put(name, name.encode())
    photographs.extract("a.png", "a.jpg", "b.png", "sub/a.png")
    root = photographs.folder / "feats_quality_aware"
    names = sorted(
        str(path.relative_to(root)).removesuffix("_quality_aware_features.npy") for path in root.rglob("*.npy")
    )
    assert names == ["a.jpg", "a.png", "b", "sub/a"]


@pytest.mark.parametrize("name", ["n" * 251 + ".png", "写" * 83 + ".png", "f/" + "é" * 125 + ".png", "a~b\udce9.png"])
def test_any_name_that_a_disk_takes(photographs, name):
    photographs.put(name, b"12345")
    assert photographs.extract(name) == ([name], 0) and photographs.extract(name) == ([], 0)
    assert photographs.lengths() == {name: 5}


def test_older_folders_are_read(photographs):
    """Features without a record of their file: nothing is known against them."""
    photographs.put("a.png", b"12345")
    path = feature_file(photographs.folder, "quality_aware", "a")
    path.parent.mkdir(parents=True)
    np.save(path, np.full((1, 4), 9, np.float32))
    assert photographs.extract("a.png") == ([], 0) and photographs.lengths() == {"a": 9}


def test_features_copied_from_another_folder_are_not_trusted(photographs, tmp_path):
    """Without a line in the journal nobody knows of which image they are; an image of the same name is another one."""
    claim_folder(photographs.folder, "quality_aware", "encoder")
    photographs.put("a.png", b"1")
    photographs.extract("a.png")
    elsewhere = Photographs(tmp_path / "elsewhere")
    elsewhere.put("b.png", b"333")
    elsewhere.extract("b.png")
    name = "b_quality_aware_features.npy"
    (photographs.folder / "feats_quality_aware" / name).write_bytes(
        (elsewhere.folder / "feats_quality_aware" / name).read_bytes()
    )
    photographs.put("b.png", b"22")
    assert photographs.extract("a.png", "b.png") == (["b.png"], 0)
    assert photographs.lengths() == {"a.png": 1, "b.png": 2}


@pytest.mark.parametrize("names", [("IMG.png", "img.png"), ("caf\u00e9.png", "cafe\u0301.png")])
def test_names_that_some_disks_do_not_tell_apart(photographs, monkeypatch, names):
    """In one list they are refused. In two lists each gets features of its own, also where the disk has one file."""
    first, second = names
    photographs.put(f"x/{first}", b"1")
    photographs.put(f"y/{second}", b"22")
    images = [ListedImage(f"x/{first}", first), ListedImage(f"y/{second}", second)]
    with pytest.raises(UserError, match=f"images x/{first} and y/{second}: their names differ in upper and lower case"):
        FeatureFolder(photographs.folder, photographs.kinds).plan(images)

    def one_file_for_all_spellings(folder, kind, name):
        return feature_file(folder, kind, feature_files._folded(name))

    monkeypatch.setattr(feature_files, "feature_file", one_file_for_all_spellings)
    assert photographs.extract(first, folder="x")[0] == [first]
    assert photographs.extract(second, folder="y")[0] == [second]
    assert photographs.extract(first, folder="x") == photographs.extract(second, folder="y") == ([], 0)
    features = FeatureFolder(photographs.folder, photographs.kinds)
    found = [features.names([ListedImage("", name)])[name] for name in names]
    assert features.read(found)[:, 0].tolist() == [1, 2]


def test_a_torn_journal_line_is_no_record(photographs):
    photographs.put("a.png", b"12345")
    photographs.extract("a.png")
    with open(photographs.folder / "feats_quality_aware" / "sources_0.jsonl", "ab") as file:
        file.write(b'{"features": "a", "ima')
    assert photographs.extract("a.png") == ([], 0)


@pytest.mark.parametrize("killed_in", ["whole_file", "Sources.add"])
def test_a_kill_between_record_and_features_leaves_no_wrong_features(photographs, monkeypatch, killed_in):
    """Nor where the file is then what it was before."""
    photographs.put("a.png", b"1", mtime_ns=10**18 + 1)
    photographs.extract("a.png")
    photographs.put("a.png", b"22", mtime_ns=10**18 + 2)
    with monkeypatch.context() as patch:
        patch.setattr(f"datasets.features.files.{killed_in}", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            photographs.extract("a.png")
    photographs.put("a.png", b"1", mtime_ns=10**18 + 1)
    assert photographs.extract("a.png")[0] == ["a.png"] and photographs.lengths() == {"a.png": 1}
    assert photographs.extract("a.png") == ([], 0)


def test_an_empty_file_is_computed_again(photographs):
    """A power failure can keep the line and the name of a file, and lose its content."""
    photographs.put("a.png", b"12345")
    photographs.extract("a.png")
    feature_file(photographs.folder, "quality_aware", "a").write_bytes(b"")
    assert photographs.extract("a.png")[0] == ["a.png"] and photographs.lengths() == {"a.png": 5}


def test_existing_features_are_found_without_being_read(photographs, monkeypatch):
    """A million files would be gigabytes."""
    for name in ("a.png", "b.png"):
        photographs.put(name, name.encode())
    photographs.extract("a.png", "b.png")
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda path: 1 / 0)
    assert photographs.extract("a.png", "b.png") == ([], 0)


@pytest.mark.parametrize("length", [960, 1000, 2000])
def test_an_array_that_does_not_fit_on_the_disk_is_an_error_and_no_file(photographs, length):
    """numpy alone writes 1,024 bytes of the first two, and reports nothing."""
    features, row = FeatureFolder(photographs.folder, ["quality_aware"]), np.ones(length, np.float32)
    with (
        largest_file(1024),
        pytest.raises(UserError, match=r"a_quality_aware_features\.npy cannot be written: File too"),
    ):
        features.write(ListedImage("a.png", "a.png"), "a", {"quality_aware": row}, FileStamp(1, 1, 1, ""))
    assert [path.name for path in (photographs.folder / "feats_quality_aware").iterdir()] == ["sources_0.jsonl"]


def test_a_single_file_records_the_images(photographs):
    for name in ("a.png", "b.png"):
        photographs.put(name, name.encode() * 2)
    photographs.extract("a.png", "b.png")
    images = [ListedImage(str(photographs.root / name), name) for name in ("a.png", "b.png", "missing.png")]
    features = FeatureFolder(photographs.folder, ["quality_aware"])
    target = photographs.root / "f.npz"
    digests = [hashlib.sha256(name * 2).hexdigest() for name in (b"b.png", b"a.png")]
    assert FeatureFiles(photographs.folder).file_digests(["b.png", "a.png"]) == digests
    for n_failed, expected in (
        (0, "features of 2 images, and 3 were computed"),
        (2, "features of 2 images, and 1 were"),
    ):
        with pytest.raises(UserError, match=f"f.npz was not written: .*{expected}"):
            write_single_file(target, features, images, n_failed)
    assert not target.exists()
    write_single_file(target, features, images, n_failed=1)
    with np.load(target, allow_pickle=False) as archive:
        assert archive["names"].tolist() == ["a.png", "b.png"] and archive["size"].tolist() == [10, 10]
        assert archive["sha256"].tolist()[0] == hashlib.sha256(b"a.png" * 2).hexdigest()
        assert (archive["mtime_ns"] > 0).all()
    assert FeatureFiles(target).names == ["a.png", "b.png"] and not photographs.folder.exists()
    assert FeatureFiles(target).file_digests(["b.png", "a.png"]) == digests


@pytest.mark.parametrize(
    "values, dtype",
    [
        (np.array([[1 + 1e-9, 1e8 + 1e-7], [3, 4]]), np.float64),
        (np.array([[1, 2**40 + 1], [3, 4]]), np.float64),
        (np.array([[1, 2], [3, 4]], np.float16), np.float32),
        (np.array([[[1, 2]], [[3, 4]]], np.float32), np.float32),
        (np.array([[1, 2], [3, 4]], np.uint8).reshape(2, 2, 1, 1), np.float32),
    ],
)
def test_no_digit_of_given_features_is_lost(tmp_path, values, dtype):
    np.savez(tmp_path / "f.npz", names=np.array(["a.png", "b.png"]), features=values)
    read = FeatureFiles(tmp_path / "f.npz").read(["b.png", "a.png"])
    assert read.dtype == dtype and np.array_equal(read[::-1], values.reshape(2, 2))
    folder = tmp_path / "f" / "feats_quality_aware"
    folder.mkdir(parents=True)
    for name, row in zip("ab", values, strict=True):
        np.save(folder / f"{name}_quality_aware_features.npy", row)
    read = FeatureFiles(tmp_path / "f").read(["b", "a"])
    assert read.dtype == dtype and np.array_equal(read[::-1], values.reshape(2, 2))


@pytest.mark.parametrize(
    "values, said",
    [
        (np.array([[1, 2], [3, -1e200]]), r"the given features of b.png are as large as 1e\+200; at most 3.4e\+38 is"),
        (np.array([[1, 2], [3, -np.inf]]), "the given features of b.png are not finite"),
        (np.array([[1, 2], [np.nan, 4]], np.float32), "the given features of b.png are not finite"),
        (
            np.ones((2, 3, 3)),
            r"'features' is float64 \(2, 3, 3\); real numbers in the shape \(2, number of features\) are",
        ),
        (np.ones((3, 2)), r"is float64 \(3, 2\); .* a row for each of the 2 names"),
        (np.ones((2, 0)), r"is float64 \(2, 0\); "),
        (np.ones(2), r"is float64 \(2,\); "),
        (np.ones((2, 2), complex), r"is complex128 \(2, 2\); real numbers"),
        (np.ones((2, 2), bool), r"is bool \(2, 2\); real numbers"),
    ],
)
def test_features_that_cannot_be_used_are_named(tmp_path, values, said):
    np.savez(tmp_path / "f.npz", names=np.array(["a.png", "b.png"]), features=values)
    with pytest.raises(UserError, match=said):
        FeatureFiles(tmp_path / "f.npz").read(["a.png", "b.png"])


def test_features_of_another_program(tmp_path):
    """As a table and as an .npz: read alike, under a kind of their own."""
    values = np.array([[1.5, -2], [3, 4e-3]])
    (tmp_path / "f.csv").write_text("image,f1,f2\nx/a.png,1.5,-2\nb.png,3,4e-3\n")
    np.savez(tmp_path / "f.npz", names=np.array(["x/a.png", "b.png"]), features=values)
    for name in ("f.csv", "f.npz"):
        files = FeatureFiles(tmp_path / name)
        assert files.kinds == ["given"] and files.encoders == {"given": None}
        matched = files.match(["b.png", "a.png"])
        assert np.array_equal(files.read([matched["b.png"], matched["a.png"]]), values[::-1])
        assert files.file_digests(files.names) == [None, None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,f1\na.png,1\na.png,2\n", "line 3: image a.png has features above already"),
        ("image,f1\na.png,nan\n", "line 2: the feature f1 'nan' is not a number"),
        ("image\na.png\n", "have no column but that of the images; each"),
        ("name,f1\na.png,1\n", "has no column"),
    ],
)
def test_a_damaged_table_of_features_is_refused(tmp_path, text, said):
    (tmp_path / "f.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        FeatureFiles(tmp_path / "f.csv")
