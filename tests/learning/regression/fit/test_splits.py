"""Splits: nothing on two sides, groups whole, the same for a seed, and no split where there cannot be one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.regression.fit.splits import official_split, random_splits
from networks.errors import UserError


@given(st.integers(20, 60), st.integers(0, 5), st.booleans())
def test_parts_share_no_image_and_no_group_and_cover_all(n_groups, seed, grouped):
    n_images = 3 * n_groups
    groups = (
        np.random.default_rng(seed).permutation(np.repeat([f"g{i}" for i in range(n_groups)], 3)) if grouped else None
    )
    splits = random_splits(n_images, groups, 3, (70, 10, 20), seed)
    for split in splits:
        assert sorted(np.concatenate([*split.parts().values()])) == list(range(n_images))
        assert len(split.test) == pytest.approx(0.2 * n_images, abs=2)
        assert len(split.validation) == pytest.approx(0.1 * n_images, abs=2)
        if grouped:
            parts = [set(groups[part]) for part in split.parts().values()]
            assert sum(map(len, parts)) == n_groups, "a group stands on two sides"
    assert any(set(splits[0].test) != set(split.test) for split in splits[1:])


def test_a_seed_gives_the_same_splits_and_more_of_them_begin_alike():
    few, many = (random_splits(50, None, n, (70, 10, 20), 3) for n in (2, 6))
    other = random_splits(50, None, 2, (70, 10, 20), 4)
    for a, b in zip(few, many, strict=False):
        assert all(np.array_equal(x, y) for x, y in zip(a.parts().values(), b.parts().values(), strict=True))
    assert not np.array_equal(few[0].test, other[0].test)


def test_the_official_split_is_taken_as_it_is():
    (split,) = official_split(np.array(["test", "train", "validation"] * 3, dtype=object))
    assert split.train.tolist() == [1, 4, 7] and split.test.tolist() == [0, 3, 6]
    assert split.train_and_validation.tolist() == [1, 4, 7, 2, 5, 8]


def test_an_official_split_without_validation_takes_an_eighth_of_the_training_groups():
    parts = np.array(["train"] * 80 + ["test"] * 20, dtype=object)
    groups = np.array([f"g{n // 2}" for n in range(100)], dtype=object)
    (split,) = official_split(parts, groups)
    assert split.test.tolist() == list(range(80, 100))
    assert sorted(split.train_and_validation) == list(range(80)) and len(split.validation) == 10
    assert not set(groups[split.train]) & set(groups[split.validation])


def test_an_official_split_that_divides_a_group_is_refused():
    parts = np.array(["train", "validation", "test"] * 3, dtype=object)
    official_split(parts, np.array(["a", "b", "c"] * 3, dtype=object))
    with pytest.raises(UserError, match=r"the official split: group a is in train and validation\. --splits random"):
        official_split(parts, np.array(["a", "a", "c"] * 3, dtype=object))


def test_too_few_are_refused():
    with pytest.raises(UserError, match="4 images are too few"):
        random_splits(4, None, 1, (70, 10, 20), 0)
    with pytest.raises(UserError, match=r"1 groups are too few to be split"):
        random_splits(100, np.array(["one"] * 100, dtype=object), 1, (70, 10, 20), 0)
    with pytest.raises(UserError, match="validation part of a split has 1 images"):
        random_splits(10, None, 1, (70, 10, 20), 0)
    with pytest.raises(UserError, match="test part of a split has 0 images"):
        official_split(np.array(["train"] * 9 + ["validation"] * 9, dtype=object))
