"""The same photograph under two names, as CLIVE's 246.bmp and 333.bmp."""

import numpy as np
import pytest

from learning.regression.fit.labelled_features import digests_of, read_data
from learning.regression.fit.splits import make_splits
from learning.regression.train import train_regressor
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


def test_few_features_prove_nothing():
    features = np.zeros((3, 2), np.float32)
    assert digests_of([None, None, None], features) == [[None, None, None]]
