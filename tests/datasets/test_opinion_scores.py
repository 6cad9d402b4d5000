"""Tables of opinion scores: a mistake in one is reported with its line."""

import numpy as np
import pytest

from common.errors import UserError
from datasets.opinion_scores import read_scores


def write(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "scores.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_reads_what_excel_writes(tmp_path):
    """A byte-order mark, Windows line ends, a blank line, upper-case split names."""
    path = write(tmp_path, "\ufeffimage,mos,group,split\r\na.jpg,3.5,s1,Training\r\n\r\nb/c.jpg,1e1,,TEST\r\n")
    scores = read_scores(path)
    assert scores.images == ["a.jpg", "b/c.jpg"] and scores.mos.tolist() == [3.5, 10]
    assert scores.official_split.tolist() == ["train", "test"]
    assert scores.groups.tolist() == ["s1", "image b/c.jpg"], "an image without a group is its own"


def test_lower_is_better_is_inverted_once(tmp_path):
    path = write(tmp_path, "Image_path,mos\na,1\nb,2\n")
    assert read_scores(path).inversion == ""
    inverted = read_scores(path, lower_is_better=True)
    assert inverted.mos.tolist() == [-1, -2] and "lower is better" in inverted.inversion
    assert inverted.groups is None and inverted.official_split is None
    assert inverted.rows([1]).images == ["b"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("image,score\na,1\n", "no column 'mos'; its columns are: image, score"),
        ("name,mos\na,1\n", "no column 'Image_path' or 'image'"),
        ("image,mos\na,1\n\nb,good\n", "line 4: the score 'good' is not a number"),
        ("image,mos\na,1\nb,nan\n", "line 3: the score 'nan' is not a number"),
        ("image,mos\na,inf\n", "line 2"),
        ("image,mos\na,1\nb,\n", "line 3: the score '' is not a number"),
        ("image,mos\n,1\n", "line 2: no image is named"),
        ("image,mos\na,1\nb,2\na,3\n", "line 4: image a has a score on line 2 already"),
        ("image,mos,split\na,1,train\nb,2,dev\n", "line 3: split 'dev' is not one of train, validation, test"),
        ("image,mos\na.jpg,3.5,\nb.jpg,4,\n", "its lines have more fields than its first line names"),
        ("image,mos\n", "lists no images"),
        ("", "cannot be read"),
    ],
)
def test_a_mistake_is_reported_with_its_line(tmp_path, text, sentence):
    with pytest.raises(UserError) as caught:
        read_scores(write(tmp_path, text))
    assert sentence in caught.value.sentence and "scores.csv" in caught.value.sentence


def test_a_long_table_is_read_completely(tmp_path):
    path = write(tmp_path, "image,mos\n" + "".join(f"folder/{i}.jpg,{i % 5}\n" for i in range(200_000)))
    assert np.bincount(read_scores(path).mos.astype(int)).tolist() == [40_000] * 5
