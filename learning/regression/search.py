"""From features to opinion: linear regressors, the search over their hyper-parameters, and their test.

The protocol of the literature: on each of several splits, every candidate learns from the training part and is ranked
by its SRCC on the validation part; the candidate with the best median is refitted on training and validation parts,
and only then is each test part looked at, once.

The search does not fit each candidate on its own. All splits share one Gram matrix of the raw features; all Ridge
penalties of a split share a few factorisations; all ElasticNet penalties of a split share one path with warm starts.
The regressor that is tested and saved is a plain scikit-learn pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import ElasticNet, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from learning.regression.elastic_net import GAP, elasticnet_solutions
from learning.regression.linear_paths import (
    BLOCK,
    Standardizer,
    elasticnet_path,
    gram_matrix,
    ridge_path,
    ridge_path_of_gram,
)
from learning.regression.metrics import Metrics, evaluate, srcc
from learning.regression.settings import Grid, Hyperparameters
from learning.regression.splits import Split


@dataclass(frozen=True)
class Search:
    """SRCC on the validation parts, (splits, candidates); ``unconverged`` marks ElasticNet fits that were cut off."""

    candidates: list[Hyperparameters]
    srcc: np.ndarray
    unconverged: np.ndarray

    @property
    def median(self) -> np.ndarray:
        """(candidates,) median over the splits."""
        return np.median(self.srcc, axis=0)

    @property
    def best(self) -> Hyperparameters:
        """The best median; of equals, the first in the grid's order, which has the stronger penalty."""
        return self.candidates[int(np.argmax(self.median))]

    def best_in_each_split(self) -> list[Hyperparameters]:
        """The candidate that each split prefers by its own validation part."""
        return [self.candidates[index] for index in np.argmax(self.srcc, axis=1)]


def _is_raw_ridge(path: list[Hyperparameters]) -> bool:
    return path[0].estimator == "ridge" and not path[0].standardized


def _path_srcc(
    features: np.ndarray, mos: np.ndarray, split: Split, path: list[Hyperparameters], gram: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """(candidates,) validation SRCC and whether unconverged, of one path on one split.

    ``gram`` holds the inner products of all images' raw features, or is None.
    """
    first, alphas, opinions = path[0], [candidate.alpha for candidate in path], mos[split.train]
    unconverged = np.zeros(len(path), bool)
    if gram is not None and _is_raw_ridge(path):
        rows = split.train_and_validation
        predicted = ridge_path_of_gram(gram[np.ix_(rows, rows)], opinions, alphas)
        return srcc(predicted, mos[split.validation]), unconverged
    train, validation = features[split.train], features[split.validation]
    if first.estimator == "ridge":
        predicted = ridge_path(train, opinions, validation, first.standardized, alphas)
    else:
        assert first.l1_ratio is not None, "every ElasticNet candidate has an l1_ratio"
        predicted, unconverged = elasticnet_path(
            train, opinions, validation, first.standardized, first.l1_ratio, alphas
        )
    return srcc(predicted, mos[split.validation]), unconverged


def _bytes_of_a_path(splits: Sequence[Split], n_features: int) -> int:
    """An upper bound of the memory of one path on one split, without the features themselves."""
    n_train = max(len(split.train) for split in splits)
    n_validation = max(len(split.validation) for split in splits)
    parts = 4 * (n_train + n_validation) * n_features
    size = min(n_train, n_features)
    ridge = 8 * (5 * size * size + 2 * BLOCK * max(n_train, n_features) + 3 * n_validation * size)
    elasticnet = 8 * (2 * n_train * n_features + 3 * size * size + n_validation * n_features)
    return parts + max(ridge, elasticnet)


def search(
    features: np.ndarray,
    mos: np.ndarray,
    splits: Sequence[Split],
    grid: Grid,
    n_threads: int,
    memory: int,
    advance: Callable[[int], None] = lambda n_fits: None,
) -> Search:
    """Ranks every candidate of ``grid`` on every split.

    ``features`` (n, p) float32, ``mos`` (n,), higher is better. Splits and paths run side by side in as many of
    ``n_threads`` threads as ``memory`` bytes allow; ``advance`` is called with the number of candidates just done.
    """
    paths = grid.paths()
    offsets = np.cumsum([0, *(len(path) for path in paths)])
    scores = np.zeros((len(splits), offsets[-1]))
    unconverged = np.zeros(scores.shape, bool)
    gram = None
    if any(map(_is_raw_ridge, paths)) and max(len(split.train) for split in splits) <= features.shape[1]:
        with threadpool_limits(n_threads):
            gram = gram_matrix(features, Standardizer(features, scaled=False))
        memory -= gram.nbytes
    at_once = int(np.clip(memory // _bytes_of_a_path(splits, features.shape[1]), 1, n_threads))
    with threadpool_limits(max(1, n_threads // at_once)), ThreadPoolExecutor(at_once) as executor:
        jobs = {
            executor.submit(_path_srcc, features, mos, split, path, gram): (row, slice(offset, offset + len(path)))
            for row, split in enumerate(splits)
            for path, offset in zip(paths, offsets, strict=False)
        }
        try:
            for job in as_completed(jobs):
                row, columns = jobs[job]
                scores[row, columns], unconverged[row, columns] = job.result()
                advance(columns.stop - columns.start)
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
    return Search([candidate for path in paths for candidate in path], scores, unconverged)


@dataclass(frozen=True)
class SplitResult:
    """The predictions of a refitted candidate for the images of a split's test part, and their metrics."""

    images: np.ndarray
    predicted: np.ndarray
    metrics: Metrics


def unfitted_pipeline(hyperparameters: Hyperparameters) -> Pipeline:
    """The scikit-learn pipeline of a candidate."""
    steps = [("standardize", StandardScaler())] if hyperparameters.standardized else []
    alpha, l1_ratio = hyperparameters.alpha, hyperparameters.l1_ratio
    if hyperparameters.estimator == "ridge":
        return Pipeline([*steps, ("regressor", Ridge(alpha=alpha))])
    return Pipeline([*steps, ("regressor", ElasticNet(alpha=alpha, l1_ratio=l1_ratio, tol=GAP))])


def fit(features: np.ndarray, mos: np.ndarray, hyperparameters: Hyperparameters) -> Pipeline:
    """The candidate fitted on all rows, in float64, which small penalties need."""
    pipeline, values = unfitted_pipeline(hyperparameters), features.astype(np.float64)
    if hyperparameters.estimator == "ridge":
        return pipeline.fit(values, mos)
    for _, step in pipeline.steps[:-1]:
        values = step.fit_transform(values)
    _fit_elasticnet(pipeline[-1], values, mos)
    return pipeline


def _fit_elasticnet(regressor: ElasticNet, features: np.ndarray, mos: np.ndarray) -> None:
    """Gives scikit-learn's estimator the weights of our solver: its own does not converge on such features."""
    means = features.mean(axis=0)
    centred = np.asfortranarray(features - means)
    (solution,) = elasticnet_solutions(centred, mos - mos.mean(), regressor.l1_ratio, [regressor.alpha])
    regressor.coef_ = solution.weights
    regressor.intercept_ = float(mos.mean() - means @ solution.weights)
    regressor.n_features_in_ = features.shape[1]
    regressor.n_iter_ = 0
    regressor.dual_gap_ = GAP * float(((mos - mos.mean()) ** 2).sum())


def evaluate_on_test(
    features: np.ndarray, mos: np.ndarray, split: Split, hyperparameters: Hyperparameters, n_parameters: int = 4
) -> SplitResult:
    """Refits on the training and validation parts of a split and predicts its test part."""
    learnt_from = split.train_and_validation
    predicted = fit(features[learnt_from], mos[learnt_from], hyperparameters).predict(features[split.test])
    return SplitResult(split.test, predicted, evaluate(predicted, mos[split.test], n_parameters))
