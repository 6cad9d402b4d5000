"""Training images in tar shards: the same samples as from single files, and every defect gets a sentence."""

import functools
import io
import multiprocessing
import os
import pickle
import re
import tarfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from datasets.training import shards
from datasets.training.content_aware import ContentAwareDataset
from datasets.training.image_lists import read_training_csv
from datasets.training.quality_aware import QualityAwareDataset
from datasets.training.shards import find_shards, scan_shard
from networks.errors import UserError
from tests.images import write_shards, write_training_set

N = 10


@pytest.fixture(scope="module")
def csv_path(tmp_path_factory):
    return write_training_set(tmp_path_factory.mktemp("images"), N)


def files(csv_path):
    return csv_path.read_text().splitlines()[1:]


@pytest.fixture
def folder(csv_path, tmp_path):
    """Shards of a few images each."""
    return write_shards(files(csv_path), tmp_path / "shards")


def make_tar(path, members, **options):
    """A tar of (name or TarInfo, content)."""
    Path(path).parent.mkdir(exist_ok=True)
    with tarfile.open(path, **{"mode": "w", **options}) as tar:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_the_files_are_read_unchanged_and_in_order(csv_path, folder):
    found = find_shards(folder)
    assert [Path(path).name for path in found] == [f"shard-{number:06d}.tar" for number in range(4)]
    images = read_training_csv(folder)
    assert [images.shards.read(index) for index in range(N)] == [Path(path).read_bytes() for path in files(csv_path)]


@pytest.mark.parametrize("given", ["folder", "txt"])
def test_every_sample_is_that_of_the_single_files(csv_path, folder, tmp_path, given):
    paths = find_shards(folder)
    (tmp_path / "list.txt").write_text("\n".join(paths) + "\n")
    source = {"folder": folder, "txt": tmp_path / "list.txt"}[given]
    single, sharded = read_training_csv(csv_path), read_training_csv(source)
    options = {"n_aug": 2, "n_scale": 2, "patch_size": 32, "seed": 3}
    for make in (
        lambda images: QualityAwareDataset(images, **options),
        lambda images: ContentAwareDataset(images, "MoCov2", 32, 3),
    ):
        a, b = make(single), make(sharded)
        assert len(a) == len(b) == N
        for key in ((1, 0), (2, 9), (1, 4), (7, 3)):
            assert torch.equal(a[key], b[key])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_each_worker_opens_the_shards_itself(csv_path, folder, method):
    options = {"n_aug": 1, "n_scale": 1, "patch_size": 32}
    dataset = QualityAwareDataset(folder, **options)
    expected = [QualityAwareDataset(csv_path, **options)[0, index] for index in range(N)]
    for index in range(N):  # opens all shards here
        assert torch.equal(dataset[0, index], expected[index])
    loader = DataLoader(
        dataset, 1, num_workers=1 + (method == "fork"), multiprocessing_context=multiprocessing.get_context(method)
    )
    assert torch.equal(torch.cat(list(loader)), torch.stack(expected))


def test_few_shards_are_open_at_once(folder, monkeypatch):
    monkeypatch.setattr(shards, "_open", functools.lru_cache(2)(shards._open.__wrapped__))
    images = read_training_csv(folder).shards
    before = len(os.listdir("/dev/fd"))
    for index in [*range(N), *reversed(range(N))]:
        images.read(index)
        assert len(os.listdir("/dev/fd")) <= before + 2
    assert len(pickle.loads(pickle.dumps(images)).read(N - 1)) > 0


def test_members_that_are_no_images_are_counted_and_never_followed(csv_path, tmp_path, capsys):
    content = Path(files(csv_path)[0]).read_bytes()
    long_name = "f" * 150 + "/" + "g" * 120 + ".png"
    members = [
        ("a/0001.png", content), ("a/0001.json", b"{}"), ("a/0001.cls", b"1"), ("a/._0001.png", b"x"),
        ("./b.png", content), ("../../up.png", content), ("/absolute.png", content), ("no_ending", content),
        ("README", b"text"), ("gr\u00fc\u00dfe \u4f60.png", content), (long_name, content), ("by\udcffte.png", content),
        (special("link.png", tarfile.SYMTYPE, "/etc/passwd"), b""),
        (special("hard.png", tarfile.LNKTYPE, "b.png"), b""), (special("fifo.png", tarfile.FIFOTYPE), b""),
        (special("folder", tarfile.DIRTYPE), b""), ("x.CR2", b"raw"),
    ]  # fmt: skip
    expected = ["a/0001.png", "./b.png", "../../up.png", "/absolute.png", "no_ending", "gr\u00fc\u00dfe \u4f60.png"]
    expected += [long_name, "by\udcffte.png"]
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        path = make_tar(tmp_path / f"{form}.tar", members, format=form, encoding="utf-8", errors="surrogateescape")
        listed, left_out = scan_shard(str(path))
        assert [member.name for member in listed] == expected
        assert left_out == Counter(
            {shards.SPECIAL: 3, "with the ending .json": 1, "with the ending .cls": 1, "hidden": 1,
             "without an ending, and not images": 1, "camera raw, to be developed first": 1}
        )  # fmt: skip
        images = read_training_csv(path)
        assert all(images.shards.read(index) == content for index in range(len(expected)))
        assert f"shards {path}: 8 images, 8 left out (3 links, sparse and special files" in capsys.readouterr().out


def test_a_shard_that_changes_during_training_is_noticed(csv_path, folder):
    images = read_training_csv(folder)
    path = find_shards(folder)[0]
    with open(path, "r+b") as file:
        file.truncate(2_000)
    with pytest.raises(UserError, match=r"shard-000000.tar: 1.png is not where it was listed: the shard is damaged"):
        images.read(1, 10**6)
    make_tar(path, [("other.png", bytes(100_000))])
    with pytest.raises(UserError, match=r"0.png is not where it was listed"):
        images.read(0, 10**6)
    Path(path).unlink()
    with pytest.raises(UserError, match=r"shards .*: shard .*shard-000000.tar does not exist$"):
        images.check_existence()


def test_an_image_that_cannot_be_decoded_is_replaced_and_named(csv_path, tmp_path):
    members = [(f"{index}.png", Path(path).read_bytes()) for index, path in enumerate(files(csv_path))]
    members[3] = ("3.png", b"\x89PNG torn off")
    path = make_tar(tmp_path / "s.tar", members)
    dataset = QualityAwareDataset(path, n_aug=0, n_scale=1, patch_size=16)
    assert dataset[0, 3].shape == (1, 6, 16, 16)
    assert dataset.unreadable().tolist() == [3]
    assert f"{path}: 3.png cannot be read: " in dataset.why_unreadable(3)


def test_a_damaged_shard_gets_a_sentence(csv_path, tmp_path):
    content = Path(files(csv_path)[0]).read_bytes()
    path = make_tar(tmp_path / "good.tar", [("a.png", content), ("b.png", content)])
    good = path.read_bytes()
    second = 512 + -(-len(content) // 512) * 512
    assert good[second : second + 5] == b"b.png"
    broken = {
        "empty": (b"", "damaged or truncated .empty file"),
        "no tar": (b"text" * 1000, "damaged or truncated"),
        "header": (good[:second] + b"\xff" + good[second + 1 :], f"no tar header at byte {second:,d}"),
        "in data": (good[: second + 2000], "damaged or truncated .unexpected end of data"),
        "after a": (good[:second], "truncated: it ends at byte"),
        "two": (good + good, "several archives in one"),
        "gzip": (b"\x1f\x8b" + good, "is compressed"),
    }
    for name, (data, sentence) in broken.items():
        (tmp_path / "x.tar").write_bytes(data)
        with pytest.raises(UserError, match=rf"^shard .*x.tar .*{sentence}"):
            pytest.fail(f"{name}: {read_training_csv(tmp_path / 'x.tar')}")
    for given, sentence in (
        (tmp_path / "empty", "holds no tar files"),
        (tmp_path / "mixed.csv", "line 3: .*is a shard; list shards in a .txt file"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        (tmp_path / "mixed.csv").write_text(f"Image_path\na.png\n{path}\n")
        with pytest.raises(UserError, match=sentence):
            read_training_csv(given)
    make_tar(tmp_path / "x.tar", [("a.txt", b"text")])
    with pytest.raises(UserError, match=r"x.tar hold no images, 1 left out \(1 with the ending .txt"):
        read_training_csv(tmp_path / "x.tar")


def test_several_shards_are_named_as_webdataset_names_them(csv_path, tmp_path, monkeypatch):
    content = Path(files(csv_path)[0]).read_bytes()
    for name in ("s/000.tar", "s/001.tar", "s/010.tar", "t/9.tar", "t/10.tar", "t/{9,8}.tar"):
        make_tar(tmp_path / name, [("a.png", content)])
    monkeypatch.chdir(tmp_path)
    for pattern, named in {
        "s/{000..001}.tar": ["s/000.tar", "s/001.tar"],
        "s/*.tar": ["s/000.tar", "s/001.tar", "s/010.tar"],
        "t/{9..10}.tar": ["t/9.tar", "t/10.tar"],
        "{s/010,t/9}.tar": ["s/010.tar", "t/9.tar"],
        "s/0{00..01}.tar": ["s/000.tar", "s/001.tar"],
        "t/{9,8}.tar": ["t/{9,8}.tar"],
    }.items():
        assert read_training_csv(Path(pattern)).shards.shards == named, pattern
    for pattern, missing in {"s/{000..002}.tar": "s/002.tar", "n/*.tar": "n/*.tar", "x.tar": "x.tar"}.items():
        with pytest.raises(UserError, match=f"^shard {re.escape(missing)} cannot be read: No such file or directory$"):
            read_training_csv(pattern)


@pytest.mark.parametrize("name", ["x.tar.gz", "x.tgz"])
def test_compressed_shards_are_refused_however_they_are_named(tmp_path, name):
    path = make_tar(tmp_path / "s" / name, [("a.csv", b"Image_path\n")], mode="w:gz")
    (tmp_path / "l.txt").write_text(f"{path}\n")
    for given in (path, path.parent, tmp_path / "l.txt"):
        with pytest.raises(UserError, match=rf"^shard {path} is compressed, .*; plain tar files are read$"):
            read_training_csv(given)
