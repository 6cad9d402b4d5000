"""Tables of opinion scores: a mistake in one is reported with its line."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.opinions.label_files import score_table
from datasets.opinions.scores import (
    OpinionScores,
    joined,
    read_scores,
    with_identical_grouped,
)
from networks.errors import UserError


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
        ("name,mos\na,1\n", "no column 'Image_path' or 'image' or 'image_name'"),
        ("image,mos\na,1\n\nb,good\n", "line 4: the score 'good' is not a number"),
        ("image,mos\na,1\nb,nan\n", "line 3: the score 'nan' is not a number"),
        ("image,mos\na,inf\n", "line 2"),
        ("image,mos\na,1\nb,\n", "line 3: the score '' is not a number"),
        ("image,mos\n,1\n", "line 2: no image is named"),
        ("image,mos\na,1\nb,2\na,3\n", "line 4: image a has a score on line 2 already"),
        ("image,mos,split\na,1,train\nb,2,dev\n", "line 3: split 'dev' is not one of train, validation, test"),
        ("image,mos\na.jpg,3,5\n", "line 2 has 3 fields, but line 1 names 2 columns"),
        ("image,mos,std\na,1,0.5\nb,2,-1\n", "line 3: std is -1, less than 0"),
        ("image,mos,std\na,1,0.5\nb,2,x\n", "line 3: the std 'x' is not a number"),
        ("image,mos,std\na,1,0.5\nb,2,\n", "line 3: the std '' is not a number"),
        ("image,mos,n_raters\na,1,1\n", "line 2: n_raters is 1, less than 2"),
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


def test_reads_the_spread_of_the_ratings(tmp_path):
    scores = read_scores(write(tmp_path, "image,mos,std,n_raters\na,1,0.5,20\nb,2,1.5,21\nc,3,0,22\n"))
    assert scores.std.tolist() == [0.5, 1.5, 0] and scores.n_raters.tolist() == [20, 21, 22]
    assert scores.rows([2, 0]).std.tolist() == [0, 0.5] and scores.rows([2, 0]).n_raters.tolist() == [22, 20]
    scores = read_scores(write(tmp_path, "image,mos,std\na,1,\n"))
    assert scores.std is None and scores.n_raters is None


def test_group_names_are_trimmed_and_of_one_unicode_form(tmp_path):
    path = write(tmp_path, "image,mos,group\na,1,caf\u00e9\nb,2, cafe\u0301 \nc,3,  \nd,4,Scene\ne,5,scene\n")
    assert read_scores(path).groups.tolist() == ["caf\u00e9", "caf\u00e9", "image c", "Scene", "scene"]


def scores_in_groups(*groups):
    images = [f"{number}.png" for number in range(len(groups))]
    return OpinionScores(score_table(images, np.arange(len(groups)), group=groups), "<scores>")


def test_identical_images_share_a_group():
    scores = scores_in_groups("a", "b", "b", "c", None, None, "d")
    digests = ["x", "x", "y", "z", "z", "w", None]
    grouped = with_identical_grouped(scores, digests)
    assert grouped.groups.tolist() == ["a", "a", "a", "c", "c", "image 5.png", "d"]
    assert grouped.images == scores.images and grouped.mos.tolist() == scores.mos.tolist()
    assert scores.groups[1] == "b", "the scores that were given are not changed"


def test_groups_that_share_images_become_one_in_a_chain():
    grouped = with_identical_grouped(scores_in_groups("a", "b", "c", "d", "e"), ["x", "x", "y", "z", None])
    assert grouped.groups.tolist() == ["a", "a", "c", "d", "e"]
    chain = with_identical_grouped(scores_in_groups("a", "b", "b", "c", "c", "d"), ["z", "x", "y", "y", "x", "z"])
    assert chain.groups.tolist() == ["a", "b", "b", "b", "b", "a"]


def test_without_groups_only_identical_images_are_grouped():
    scores = scores_in_groups(None, None, None)
    assert with_identical_grouped(scores, ["x", "y", None]).groups is None
    assert with_identical_grouped(scores, [None, None, None]).groups is None, "two unknown contents are not the same"
    assert with_identical_grouped(scores, ["x", "y", "x"]).groups.tolist() == [
        "image 0.png", "image 1.png", "image 0.png",
    ]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([None, *"abcd"]), st.sampled_from([None, *"wxyz"])), min_size=1, max_size=9))
def test_grouping_is_the_finest_that_keeps_both_together(rows):
    """Against the definition: a chain of equal groups or contents joins two images."""
    groups, digests = zip(*rows, strict=True)
    scores = scores_in_groups(*groups)
    n = len(rows)
    together = np.array(
        [
            [i == j or (groups[i] or i) == (groups[j] or j) or (digests[i] or i) == (digests[j] or j) for j in range(n)]
            for i in range(n)
        ]
    )
    for _ in range(n):
        together = together @ together
    grouped = with_identical_grouped(scores, digests).groups
    if grouped is None:
        grouped = np.arange(n)
    np.testing.assert_array_equal(grouped[:, None] == grouped[None, :], together)


def test_sets_are_joined_by_any_evidence():
    by_file = joined(np.arange(6), ["x", "y", "x", None, None, "y"])
    assert by_file.tolist() == [0, 1, 0, 3, 4, 1]
    assert joined(by_file, [1, 1, 2, 3, 4, 5]).tolist() == [0, 0, 0, 3, 4, 0]
    assert joined(by_file, []).tolist() == by_file.tolist(), "no evidence"
