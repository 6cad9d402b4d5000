"""Splits of others are read, and refused where they do not fit the table."""

import numpy as np
import pytest

from datasets.opinions.label_files import score_table
from datasets.opinions.scores import OpinionScores
from learning.regression.fit.splits import read_splits
from networks.errors import UserError

N = 40
NAMES = [f"images/{i}.bmp" for i in range(N)]
SCORES = OpinionScores(score_table(NAMES, np.arange(N)), "table.csv")


def write_meta(path, values, names=NAMES, column="ratio802_seed123_split_01"):
    """In the form of pyiqa's meta_info_LIVEChallengeDataset.csv: names without folders, in any order."""
    rows = [f"{name.split('/')[1]},50.1,18.2,{value}" for name, value in zip(names, values, strict=True)]
    path.write_text(f"img_name,mos,std,{column}\n" + "\n".join(rows[::-1]) + "\n")


def test_pyiqas_80_20_columns_test_on_what_they_call_val(tmp_path):
    write_meta(tmp_path / "m.csv", ["val" if i % 5 == 0 else "train" for i in range(N)])
    (split,) = read_splits(tmp_path / "m.csv", SCORES)
    assert split.test.tolist() == list(range(0, N, 5)) and len(split.validation) == 4
    assert sorted(np.concatenate(list(split.parts().values()))) == list(range(N))
    assert read_splits(tmp_path / "m.csv", SCORES)[0].validation.tolist() == split.validation.tolist()


def test_an_official_split(tmp_path):
    write_meta(tmp_path / "m.csv", [("train", "val", "test")[i % 3] for i in range(N)], column="official_split")
    (split,) = read_splits(tmp_path / "m.csv", SCORES)
    assert split.validation.tolist() == list(range(1, N, 3)) and split.test.tolist() == list(range(2, N, 3))


def test_what_does_not_fit_is_refused_with_the_first_image(tmp_path):
    path = tmp_path / "m.csv"
    values = ["val" if i % 5 == 0 else "train" for i in range(N)]
    write_meta(path, values[1:], NAMES[1:])
    with pytest.raises(UserError, match=r"do not fit table.csv: they lack image images/0.bmp"):
        read_splits(path, SCORES)
    write_meta(path, [*values, "val"], [*NAMES, "images/new.bmp"])
    with pytest.raises(UserError, match=r"it lacks image new.bmp"):
        read_splits(path, SCORES)
    write_meta(path, ["fold1", *values[1:]])
    with pytest.raises(UserError, match=r"image images/0.bmp is in 'fold1'"):
        read_splits(path, SCORES)
    grouped = OpinionScores(score_table(NAMES, np.arange(N), group=[f"g{i // 2}" for i in range(N)]), "table.csv")
    write_meta(path, values)
    with pytest.raises(UserError, match=r"splits .*m.csv, column ratio802.*: group g0 is in train and test"):
        read_splits(path, grouped)
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_splits(tmp_path, SCORES)
