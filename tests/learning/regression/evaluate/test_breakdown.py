"""Metrics per kind and level, against a calculation by scipy for each split and kind."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from learning.regression.evaluate.held_out import HeldOut, breakdown, sorted_labels
from learning.regression.evaluate.metrics import fit_mapping
from learning.regression.model.description import Breakdown, PartResult, RegressorDescription
from networks.opinion_mapping import IDENTITY


def held_out(n=90, n_splits=3, seed=0):
    """A third of the images in each test part; the kinds have different errors."""
    rng = np.random.default_rng(seed)
    mos = rng.uniform(0, 10, n)
    kinds = np.array(["easy", "hard"], dtype=object)[rng.integers(2, size=n)]
    levels = np.array([*"12345"], dtype=object)[rng.integers(5, size=n)]
    predictions = mos + np.where(kinds == "easy", 0.3, 3) * rng.normal(size=(n_splits, n))
    tested = np.arange(n) % n_splits == np.arange(n_splits)[:, None]
    return HeldOut(mos, np.where(tested, predictions, np.nan), kinds=kinds, levels=levels)


def test_the_median_over_the_splits_by_scipy():
    data = held_out()
    found = {one.label: one for one in breakdown(data).per_kind}
    assert list(found) == ["easy", "hard"]
    for kind, one in found.items():
        expected = []
        for predictions in data.predictions:
            part = ~np.isnan(predictions)
            curve = fit_mapping(predictions[part], data.mos[part])
            rows = part & (data.kinds == kind)
            x, y = predictions[rows], data.mos[rows]
            expected.append(
                (spearmanr(x, y).statistic, pearsonr(curve(x), y).statistic, np.sqrt(np.mean((curve(x) - y) ** 2)))
            )
        assert (one.srcc, one.plcc, one.rmse) == pytest.approx(tuple(np.median(expected, axis=0)), rel=1e-9)
        assert one.n_images == (data.kinds == kind).sum() and one.n_splits == 3
    assert found["easy"].srcc > 0.95 > found["hard"].srcc and found["easy"].rmse < found["hard"].rmse


def test_a_split_with_few_images_of_a_kind_is_left_out():
    data = held_out(n=30)
    data.kinds[:] = "common"
    data.kinds[:4] = "rare"
    data.kinds[4] = None
    data.predictions[:, :4] = np.nan
    data.predictions[0, :4] = 1.0
    common, rare = breakdown(data).per_kind
    assert (rare.n_images, rare.n_splits, rare.srcc, rare.plcc, rare.rmse) == (4, 0, None, None, None)
    assert (common.n_images, common.n_splits) == (25, 3), "the image without a kind belongs to none"


def test_numbers_sort_by_value_and_names_by_letter():
    assert sorted_labels(["10", "9", None, "9"]) == ["9", "10"]
    assert sorted_labels(["b", "10", "a"]) == ["10", "a", "b"]


def test_a_database_without_kinds_has_none():
    data = held_out()
    assert breakdown(replace(data, kinds=None, levels=None)) is None
    found = breakdown(replace(data, kinds=None))
    assert found.per_kind == () and list(found.tables) == ["level"] and len(found.per_level) == 5


def test_the_description_keeps_it():
    results = (PartResult("blur", 20, 3, 0.5, 0.6, 1.5), PartResult("rare", 2, 0, None, None, None))
    for found in (None, Breakdown(results, ()), Breakdown((), results)):
        description = RegressorDescription(("quality_aware",), {}, IDENTITY, (0.0, 1.0), breakdown=found)
        content = json.loads(json.dumps(asdict(description)))
        assert RegressorDescription.from_json(content).breakdown == found
