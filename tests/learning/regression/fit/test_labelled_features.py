"""The same photograph under two names, as CLIVE's 246.bmp and 333.bmp."""

import numpy as np
import pytest

from learning.regression.fit.labelled_features import feature_digests, read_data, similar_images
from learning.regression.fit.splits import make_splits
from learning.regression.train import train_regressor
from networks.errors import UserError
from options.regressor import parse_regressor_options


@pytest.fixture
def scored(tmp_path):
    """40 photographs; 246 and 333 have the same features, 7 and 8 the same file; no two files are alike otherwise."""
    rng = np.random.default_rng(0)
    names = [f"{number}.bmp" for number in [246, 333, *range(38)]]
    features = rng.normal(size=(40, 32)).astype(np.float32)
    features[1] = features[0]
    digests = [f"{number:064x}" for number in range(40)]
    digests[names.index("8.bmp")] = digests[names.index("7.bmp")]
    np.savez(tmp_path / "f.npz", names=np.array(names), quality_aware=features, sha256=np.array(digests))
    mos = features[:, 0] + rng.normal(size=40)
    rows = [f"{name},{score}" for name, score in zip(names, mos, strict=True)]
    (tmp_path / "s.csv").write_text("\n".join(["image,mos", *rows]) + "\n")
    return tmp_path


def options(folder, *arguments):
    return parse_regressor_options(
        ["--features", str(folder / "f.npz"), "--scores", str(folder / "s.csv"), "--output", str(folder / "r.skops"),
         "--estimator", "ridge", "--no_report", "--n_bootstrap", "0", "--n_splits", "5", *arguments]
    )  # fmt: skip


def test_both_sides_of_a_split_give_a_warning(scored, capsys):
    train_regressor(options(scored))
    said = " ".join(capsys.readouterr().err.split())
    assert "2 pairs of identical images are on both sides of a split: " in said and "--group_identical" in said
    assert "246.bmp and 333.bmp" in said or "7.bmp and 8.bmp" in said


def test_group_identical_keeps_them_together(scored, capsys):
    chosen = options(scored, "--group_identical")
    data = read_data(chosen)
    images = data.scores.images
    splits, protocol = make_splits(data, chosen)
    assert "by group (38 groups)" in protocol
    for first, second in (("246.bmp", "333.bmp"), ("7.bmp", "8.bmp")):
        rows = {images.index(first), images.index(second)}
        assert all(len(rows & set(part.tolist())) in (0, 2) for split in splits for part in split.parts().values())
    train_regressor(chosen)
    captured = capsys.readouterr()
    assert "identical images share one: 38 groups of 40 images" in captured.out
    assert "both sides" not in captured.err


def test_kinds_at_two_sizes_are_not_joined(scored):
    with np.load(scored / "f.npz") as archive:
        arrays = dict(archive)
    arrays |= {"content_aware": arrays["quality_aware"], "content_aware_encoder": np.array("b" * 64 + "@512")}
    np.savez(scored / "f.npz", **arrays, quality_aware_encoder=np.array("a" * 64))
    with pytest.raises(UserError, match="the two kinds have a different --max_side; use one kind"):
        read_data(options(scored))
    assert read_data(options(scored, "--kind", "content")).files.encoders == {"content_aware": "b" * 64 + "@512"}


def test_few_features_prove_nothing():
    features = np.zeros((3, 2), np.float32)
    assert feature_digests(features) == []


def test_images_of_one_scene_are_similar():
    rng = np.random.default_rng(0)
    scenes = rng.normal(size=(1500, 60))
    features = (10 + 3 * scenes).astype(np.float32)
    features[1400] = features[7] + 0.3 * rng.normal(size=60)  # more rows apart than are compared at once
    features[3] = features[1400] + 0.3 * rng.normal(size=60)
    features[20] = features[21]
    found = similar_images(features, 0.9)
    assert found[3] == found[7] == found[1400] and found[20] == found[21]
    assert len(set(found)) == 1500 - 2 - 1
    equal = similar_images(features, 1)
    assert equal[20] == equal[21] and len(set(equal)) == 1500 - 1, "only equal ones reach this threshold"


def test_a_feature_that_never_changes_makes_nothing_similar():
    features = np.random.default_rng(1).normal(size=(30, 20)).astype(np.float32)
    features[:, 3] = 5
    assert len(set(similar_images(features, 0.95))) == 30
    assert len(set(similar_images(np.ones((4, 20), np.float32), 0.5))) == 4, "no feature says anything"
