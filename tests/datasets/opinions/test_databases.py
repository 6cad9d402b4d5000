"""Readers of the databases' own label files, on small files in exactly those formats."""

import numpy as np
import pandas as pd
import pytest
from openpyxl import Workbook
from scipy.io import savemat

from datasets.opinions.databases import DATABASES, LIVE_FOLDERS, database, read_database
from datasets.opinions.label_files import score_table
from learning.regression.fit.labelled_features import read_data
from networks.errors import UserError
from options.regressor import parse_regressor_options


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
    savemat(tmp_path / "clive/Data/AllStdDev_release.mat", {"AllStdDev_release": np.arange(9.0)[None] + 10})
    (tmp_path / "spaq/Annotations").mkdir()
    pd.DataFrame({"Image name": ["00001.jpg", "00002.jpg"], "MOS": [39.2, 55], "Brightness": [1, 2]}).to_excel(
        tmp_path / "spaq/Annotations/MOS and Image attribute scores.xlsx", index=False
    )
    (tmp_path / "flive/labels_image.csv").write_text(
        "name_image,mos_image,is_valid\nvoc_emotic_ava/JPEG_2010.jpg,70.1,False\nEE371R/cj23478.jpg,60.5,True\n"
        "AVA__1.jpg,50,False\n"
    )
    (tmp_path / "flive/labels640.csv").write_text("name,mos,is_valid\nAVA__1.jpg,51,True\nAVA__2.jpg,44,True\n")
    write_more_databases(tmp_path)
    return tmp_path


def write_more_databases(root):
    (root / "tid2008/mos_with_names.txt").write_text("5.9706 I01_01_1.bmp\n5.4167 I01_01_2.bmp\n6.5556 i25_17_4.bmp\n")
    for part, kind in (("Part 1", "jpeg"), ("Part 2", "noise")):
        (root / "livemd" / part).mkdir()
        lists = {
            "refimgs": cells([cells(["iceskater.bmp"]), cells(["babygirl.bmp"])]).T,
            "distimgs": cells([f"babygirl_blur1_{kind}1.bmp", f"iceskater_blur2_{kind}0.bmp"]).T,
            "ref4dist": np.array([[2], [1]], np.uint8),
        }
        savemat(root / f"livemd/{part}/Imagelists.mat", lists)
        savemat(root / f"livemd/{part}/Scores.mat", {"DMOSscores": np.array([[20.5, 60.25]])})
    (root / "pipal/Train_Label").mkdir()
    (root / "pipal/Train_Label/A0001.txt").write_text("A0001_00_00.bmp,1520.0648\nA0001_00_01.bmp,1437.0798\n")
    (root / "pipal/Train_Label/A0002.txt").write_text("A0002_00_00.bmp,1390.5\n")
    book = Workbook()
    book.active.title = "Read me"
    book.active.append(["Source_ID", "is the name of a file"])
    sheet = book.create_sheet("CID2013 MOS")
    sheet.append(["Source_ID", "Image set specific  MOS", "Realigned MOS"])
    for row in (["IS_I_C01_D01", 40.5, 38.25], ["IS_VI_C01_D13", 80, 77], ["IS_I_C02_D01", 20, 21]):
        sheet.append(row)
    book.save(root / "cid2013/CID2013 data - version 12112014.xlsx")
    book = Workbook()
    for row in (
        ["Image", "Prompt", "MOS"],
        ["deepai_0_0_0_0.jpg", "bird,driving aircraft, city, anime style", 2.5],
        ["dreamStudio_0_0_0_0.jpg", "bird,driving aircraft, city, anime style ", 1.25],
        ["deepai_1_0_0_0.jpg", "cat,driving aircraft, city, anime style", 3],
    ):
        book.active.append(row)
    book.save(root / "agiqa1k/AIGC_MOS_Zscore.xlsx")
    book = Workbook()
    for row in (["Image Number", "Average Subjective Grade", "std"], [1, 2.0769, 0.9], [587, 3.5, 1.1]):
        book.active.append(row)
    book.save(root / "bid/DatabaseGrades.xlsx")
    (root / "agiqa3k/data.csv").write_text(
        "name,prompt,adj1,adj2,style,mos_quality,std_quality,mos_align,std_align\n"
        "AttnGAN_normal_000.jpg,statue of a man,,,,0.965602553,0.223270101,0.40889324,0.615607722\n"
        'AttnGAN_normal_060.jpg,"artwork with only triangles, anime style",,,anime style,0.92,0.72,0.85,0.84\n'
        "midjourney_normal_000.jpg,statue of a man,,,,3.2,0.5,3.4,0.6\n"
        "sd1.5_normal_001.jpg,a tray of sushi,,,,2.2,0.4,2.4,0.6\n"
    )
    (root / "uhdiqa/uhd-iqa-metadata.csv").write_text(
        "image_name,quality_mos,set,subset,orig_width,orig_height,views\n"
        "1.jpg,0.543,training,,6000,4000,10\n2.jpg,0.25,validation,landscape,6000,4000,10\n3.jpg,0.75,test,,6,4,1\n"
    )
    (root / "biq2021/Train (Images and MOS).csv").write_text(
        "Image Name,MOS,,\nss03 (3753).jpg,0.8471,,\nss02 (1014).jpg,0.4357,,\n"
    )
    (root / "biq2021/Test (Images and MOS).csv").write_text("Image Name,MOS\nss01 (1726).jpg,0.2874\n")
    (root / "piq23/Scores_Overall.csv").write_text(
        "IMAGE PATH,JOD,JOD STD,CI LOW,CI HIGH,CI RANGE,QUALITY LEVEL,CLUSTER,TOTAL COMPARISONS,IMAGE,SCENE,ATTRIBUTE,"
        "SCENE IDX,CONDITION\n"
        "Overall\\66_Indoor_Scene_0.jpg,-3.720674450398623,0.39,-4.4,-2.8,1.5,0,-1.0,143.0,66_Indoor_Scene_0.jpg,"
        "Indoor_Scene_0,Overall,0,Indoor\n"
        "Overall\\122_Indoor_Scene_1.tiff,4.117761619686865,0.8,-5.4,-2.4,3,0,-1.0,104.0,122_Indoor_Scene_1.tiff,"
        "Indoor_Scene_1,Overall,1,Indoor\n"
    )


def table(databases, name):
    return read_database(name, databases / name)


def test_koniq_reads_its_sets_by_name_not_by_row(databases):
    scores = table(databases, "koniq")
    assert scores.images[0] == "10004473376.jpg" and scores.mos[0] == pytest.approx(3.82857142857143)
    assert scores.official_split.tolist() == ["train", "validation", "test"] and scores.groups is None
    assert scores.std.tolist() == [0.527278894037, 0.5, 0.56] and scores.n_raters.tolist() == [105, 96, 96]


def test_kadid_and_tid_group_by_reference(databases):
    assert table(databases, "kadid").groups.tolist() == ["I01.png", "I81.png"]
    assert table(databases, "kadid").std.tolist() == [0.496, 0.9] and table(databases, "kadid").n_raters is None
    tid = table(databases, "tid2013")
    assert tid.groups.tolist() == ["I01", "I01", "I25"] and tid.mos.tolist() == [5.51429, 5.56757, 4.1]
    tid = table(databases, "tid2008")
    assert tid.groups.tolist() == ["I01", "I01", "I25"] and tid.mos.tolist() == [5.9706, 5.4167, 6.5556]


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
    assert scores.std.tolist() == [17, 18]
    (databases / "clive/Data/AllStdDev_release.mat").unlink()
    assert table(databases, "clive").std is None


def test_spaq_and_flive(databases):
    assert table(databases, "spaq").mos.tolist() == [39.2, 55]
    flive = table(databases, "flive")
    assert dict(zip(flive.images, flive.official_split, strict=True)) == {
        "voc_emotic_ava/JPEG_2010.jpg": "train", "EE371R/cj23478.jpg": "validation", "AVA__1.jpg": "test",
        "AVA__2.jpg": "test",
    }, "an image of the test file is not trained on"  # fmt: skip


def test_livemd_is_inverted_and_grouped_by_reference(databases):
    scores = table(databases, "livemd")
    assert scores.images == [
        "Part 1/blurjpeg/babygirl_blur1_jpeg1.bmp", "Part 1/blurjpeg/iceskater_blur2_jpeg0.bmp",
        "Part 2/blurnoise/babygirl_blur1_noise1.bmp", "Part 2/blurnoise/iceskater_blur2_noise0.bmp",
    ]  # fmt: skip
    assert scores.mos.tolist() == [79.5, 39.75] * 2 and "100 - DMOS" in scores.inversion
    assert scores.groups.tolist() == ["babygirl.bmp", "iceskater.bmp"] * 2


def test_pipal_reads_every_label_file(databases):
    scores = table(databases, "pipal")
    assert scores.images == ["A0001_00_00.bmp", "A0001_00_01.bmp", "A0002_00_00.bmp"]
    assert scores.mos.tolist() == [1520.0648, 1437.0798, 1390.5]
    assert scores.groups.tolist() == ["A0001", "A0001", "A0002"]


def test_cid2013_reads_the_realigned_scores_of_its_sheet(databases):
    scores = table(databases, "cid2013")
    assert scores.images == ["IS_I_C01_D01.jpg", "IS_VI_C01_D13.jpg", "IS_I_C02_D01.jpg"]
    assert scores.mos.tolist() == [38.25, 77, 21]
    assert scores.groups.tolist() == ["C01", "C01", "C02"], "a cluster is one group across the image sets"


def test_agiqa_groups_by_prompt(databases):
    one = table(databases, "agiqa1k")
    assert one.mos.tolist() == [2.5, 1.25, 3] and one.groups[0] == one.groups[1] != one.groups[2]
    three = table(databases, "agiqa3k")
    assert three.mos[0] == 0.965602553 and three.std.tolist() == [0.223270101, 0.72, 0.5, 0.4]
    prompts = ["statue of a man", "artwork with only triangles, anime style", "statue of a man", "a tray of sushi"]
    assert three.groups.tolist() == prompts


def test_uhdiqa_has_official_parts(databases):
    scores = table(databases, "uhdiqa")
    assert scores.official_split.tolist() == ["train", "validation", "test"]
    assert scores.mos.tolist() == [0.543, 0.25, 0.75]


def test_piq23_groups_by_scene(databases):
    scores = table(databases, "piq23")
    assert scores.images == ["Overall/66_Indoor_Scene_0.jpg", "Overall/122_Indoor_Scene_1.tiff"]
    assert scores.mos[0] == -3.720674450398623 and scores.groups.tolist() == ["Indoor_Scene_0", "Indoor_Scene_1"]
    assert scores.std is None, "its JOD STD is that of the estimate"


def test_bid_names_images_by_their_number(databases):
    scores = table(databases, "bid")
    assert scores.images == ["DatabaseImage0001.JPG", "DatabaseImage0587.JPG"] and scores.mos.tolist() == [2.0769, 3.5]
    assert scores.std is None, "it may be that of the mean"
    book = Workbook()
    for row in (["Image Number", "Average Subjective Grade"], ["one", 2]):
        book.active.append(row)
    book.save(databases / "bid/DatabaseGrades.xlsx")
    with pytest.raises(UserError, match=r"line 2: .*one.* is no number of an image"):
        table(databases, "bid")


def test_biq2021_has_official_parts_and_names_as_on_the_disk(databases):
    scores = table(databases, "biq2021")
    assert scores.images == ["ss03 (3753).jpg", "ss02 (1014).jpg", "ss01 (1726).jpg"]
    assert scores.mos.tolist() == [0.8471, 0.4357, 0.2874]
    assert scores.official_split.tolist() == ["train", "train", "test"]
    photographs = databases / "biq2021/Images"
    photographs.mkdir()
    (photographs / "ss02 (1014).JPG").touch()
    with pytest.raises(UserError, match=r"lacks 2 photographs of the database; one is ss03 \(3753\).jpg"):
        table(databases, "biq2021")
    for image in ("ss03 (3753).jpg", "ss01 (1726).jpg"):
        (photographs / image).touch()
    assert table(databases, "biq2021").images[1] == "ss02 (1014).JPG"


def test_a_missing_file_is_named(databases):
    for name in DATABASES:
        files = [path for path in (databases / name).rglob("*") if path.is_file()]
        for file in files:
            if file.name in ("AllStdDev_release.mat", "A0001.txt", "A0002.txt"):
                continue  # may be missing
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


def test_pipal_without_labels(tmp_path):
    with pytest.raises(UserError, match="Train_Label does not exist"):
        read_database("pipal", tmp_path)


def test_a_missing_root(tmp_path):
    with pytest.raises(UserError, match="is not a folder; unpack KADID-10k there"):
        read_database("kadid", tmp_path / "none")


def test_a_new_database_is_one_function_in_one_file(tmp_path):
    """With its decorator, the command line offers it and train_regressor.py reads it: no other file names it."""
    (tmp_path / "labels.txt").write_text("a.png 1.5\nb.png 4\n")
    np.savez(tmp_path / "f.npz", names=np.array(["b.png", "a.png"]), features=np.array([[2.0], [1.0]], np.float32))

    @database("toy", "Toy database", "In its DMOS lower is better; they are inverted: mos = 5 - DMOS.")
    def read_toy(root):
        images, dmos = zip(*(line.split() for line in (root / "labels.txt").read_text().splitlines()), strict=True)
        return score_table(images, [5 - float(score) for score in dmos], group=["one", "two"])

    try:
        arguments = ["--database", "toy", "--root", str(tmp_path), "--features", str(tmp_path / "f.npz")]
        data = read_data(parse_regressor_options(arguments))
    finally:
        del DATABASES["toy"]
    assert data.images == ["a.png", "b.png"] and data.mos.tolist() == [3.5, 1] and data.features.tolist() == [[1], [2]]
    assert data.scores.source == "Toy database" and "5 - DMOS" in data.scores.inversion
