"""Features on disk: found for the images of a table, read in their order, never mixed between encoders."""

import numpy as np
import pytest

from common.errors import UserError
from datasets.feature_files import FeatureFiles, claim_folder, feature_file, read_encoder, single_file_encoder

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
        **{single_file_encoder("quality_aware"): np.array("abc")},
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
    with pytest.raises(UserError, match="holds features of another encoder"):
        claim_folder(tmp_path, "quality_aware", "other")
    assert read_encoder(tmp_path, "quality_aware") == "quality_aware encoder"


def test_older_features_of_an_unknown_encoder_stay_so(tmp_path):
    path = feature_file(tmp_path, "quality_aware", "a")
    path.parent.mkdir()
    np.save(path, np.zeros((1, 4), np.float32))
    claim_folder(tmp_path, "quality_aware", "new")
    assert read_encoder(tmp_path, "quality_aware") is None
