"""Readers of the databases' own label files, on small files in exactly those formats."""

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from common.errors import UserError
from datasets.iqa_databases import DATABASES, LIVE_FOLDERS, read_database


def cells(texts):
    """A MATLAB cell array of strings, (1, n)."""
    return np.array([texts], dtype=object)


@pytest.fixture
def databases(tmp_path):
    """Name -> root of a small database of each kind."""
    for name in DATABASES:
        (tmp_path / name).mkdir()
    (tmp_path / "koniq/koniq10k_scores_and_distributions.csv").write_text(
        '"image_name","c1","c2","c3","c4","c5","c_total","MOS","SD","MOS_zscore"\n'
        '"10004473376.jpg",0,0,25,73,7,105,3.82857142857143,0.527278894037,77.4\n'
        '"10007357496.jpg",0,3,45,47,1,96,3.47916666666667,0.5,66.0\n'
        '"10020766793.jpg",1,0,20,73,2,96,3.78125,0.56,75.0\n'
    )
    (tmp_path / "koniq/koniq10k_distributions_sets.csv").write_text(
        "image_name,c1,c2,c3,c4,c5,MOS,SD,set\n"
        "10020766793.jpg,1,0,20,73,2,75.0,.5,test\n"
        "10004473376.jpg,0,0,25,73,7,77.4,.5,training\n"
        "10007357496.jpg,0,3,45,47,1,66.0,.5,validation\n"
    )
    (tmp_path / "kadid/dmos.csv").write_text(
        "dist_img,ref_img,dmos,var\nI01_01_01.png,I01.png,4.57,0.496\nI81_25_05.png,I81.png,1.2,0.9\n"
    )
    (tmp_path / "tid2013/mos_with_names.txt").write_text(
        "5.51429 I01_01_1.bmp\n5.56757 i01_01_2.bmp\n4.1 I25_24_5.bmp\n"
    )
    n = sum(LIVE_FOLDERS.values())
    undistorted = np.zeros(n)
    undistorted[[0, 227]] = 1
    savemat(
        tmp_path / "live/dmos_realigned.mat", {"dmos_new": np.linspace(0, 98.1, n)[None], "orgs": undistorted[None]}
    )
    savemat(tmp_path / "live/refnames_all.mat", {"refnames_all": cells([f"ref{i % 29}.bmp" for i in range(n)])})
    (tmp_path / "csiq/csiq_label.txt").write_text(
        "1600.AWGN.1.png\t0.061\n1600.AWGN.2.png 0.206\nfamily.JPEG.5.png 0.9\n"
    )
    (tmp_path / "clive/Data").mkdir()
    names = [f"t{i}.bmp" for i in range(1, 8)] + ["10.bmp", "100.bmp"]
    savemat(tmp_path / "clive/Data/AllImages_release.mat", {"AllImages_release": cells(names).T})
    savemat(tmp_path / "clive/Data/AllMOS_release.mat", {"AllMOS_release": np.arange(9.0)[None] * 10})
    (tmp_path / "spaq/Annotations").mkdir()
    pd.DataFrame({"Image name": ["00001.jpg", "00002.jpg"], "MOS": [39.2, 55], "Brightness": [1, 2]}).to_excel(
        tmp_path / "spaq/Annotations/MOS and Image attribute scores.xlsx", index=False
    )
    (tmp_path / "flive/labels_image.csv").write_text(
        "name_image,mos_image,is_valid\nvoc_emotic_ava/JPEG_2010.jpg,70.1,False\nEE371R/cj23478.jpg,60.5,True\n"
        "AVA__1.jpg,50,False\n"
    )
    (tmp_path / "flive/labels640.csv").write_text("name,mos,is_valid\nAVA__1.jpg,51,True\nAVA__2.jpg,44,True\n")
    return tmp_path


def table(databases, name):
    return read_database(name, databases / name)


def test_koniq_reads_its_sets_by_name_not_by_row(databases):
    scores = table(databases, "koniq")
    assert scores.images[0] == "10004473376.jpg" and scores.mos[0] == pytest.approx(3.82857142857143)
    assert scores.official_split.tolist() == ["train", "validation", "test"] and scores.groups is None


def test_kadid_and_tid_group_by_reference(databases):
    assert table(databases, "kadid").groups.tolist() == ["I01.png", "I81.png"]
    tid = table(databases, "tid2013")
    assert tid.groups.tolist() == ["I01", "I01", "I25"] and tid.mos.tolist() == [5.51429, 5.56757, 4.1]


def test_live_leaves_out_the_undistorted_and_is_inverted(databases):
    scores = table(databases, "live")
    assert len(scores) == 980 and scores.images[0] == "jp2k/img2.bmp" and scores.images[-1] == "fastfading/img174.bmp"
    assert scores.images[226] == "jpeg/img2.bmp", "jpeg's first entry, the 228th of all, is undistorted"
    assert scores.mos[0] == pytest.approx(99.9) and "100 - DMOS" in scores.inversion
    assert scores.groups[0] == "ref1.bmp"


def test_live_reads_the_older_file_too(databases):
    realigned = databases / "live/dmos_realigned.mat"
    realigned.unlink()
    savemat(databases / "live/dmos.mat", {"dmos": np.full((1, 982), 40.0), "orgs": np.zeros((1, 982))})
    assert table(databases, "live").mos.tolist() == [60.0] * 982


def test_csiq_is_inverted(databases):
    scores = table(databases, "csiq")
    assert scores.mos == pytest.approx([0.939, 0.794, 0.1]) and scores.groups.tolist() == ["1600", "1600", "family"]
    assert "1 - DMOS" in scores.inversion


def test_clive_leaves_out_the_seven_training_images(databases):
    scores = table(databases, "clive")
    assert scores.images == ["10.bmp", "100.bmp"] and scores.mos.tolist() == [70, 80]


def test_spaq_and_flive(databases):
    assert table(databases, "spaq").mos.tolist() == [39.2, 55]
    flive = table(databases, "flive")
    assert dict(zip(flive.images, flive.official_split, strict=True)) == {
        "voc_emotic_ava/JPEG_2010.jpg": "train", "EE371R/cj23478.jpg": "validation", "AVA__1.jpg": "test",
        "AVA__2.jpg": "test",
    }, "an image of the test file is not trained on"  # fmt: skip


def test_a_missing_file_is_named(databases):
    for name in DATABASES:
        files = [path for path in (databases / name).rglob("*") if path.is_file()]
        for file in files:
            content = file.read_bytes()
            file.unlink()
            with pytest.raises(UserError, match=r"does not exist") as caught:
                table(databases, name)
            assert file.parent.name in caught.value.sentence, "LIVE's older name may be asked for instead"
            file.write_bytes(content)


def test_a_changed_file_is_named(databases):
    for name in DATABASES:
        for file in [path for path in (databases / name).rglob("*") if path.is_file()]:
            content = file.read_bytes()
            for damaged in (b"", b"something else altogether\n1,2,3\n", content[: len(content) // 2]):
                file.write_bytes(damaged)
                try:
                    scores = table(databases, name)
                except UserError as error:
                    assert file.name in error.sentence or "line" in error.sentence
                else:
                    # A text table cut off between two lines is a shorter table, which nobody can tell.
                    assert damaged == content[: len(content) // 2] and np.isfinite(scores.mos).all()
            file.write_bytes(content)


def test_a_missing_root(tmp_path):
    with pytest.raises(UserError, match="is not a folder; unpack KADID-10k there"):
        read_database("kadid", tmp_path / "none")
