"""From features to opinion: linear regressors and the search over their hyper-parameters.

The protocol of the literature: on each of several splits, every candidate learns from the training part and is ranked
by its SRCC on the validation part; the candidate with the best median is refitted on training and validation parts,
and only then is each test part looked at, once.

The search does not fit each candidate on its own. All splits share the inner products of the features (``gram``) or,
where there are far more features than images, those of the images. All Ridge penalties of a split share a few
factorisations; all ElasticNet penalties of a split share one path with warm starts. The regressor that is tested and
saved is a plain scikit-learn pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from threading import Lock

import numpy as np
from scipy.linalg import cho_solve
from sklearn.linear_model import ElasticNet, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from learning.regression.evaluate.metrics import srcc
from learning.regression.fit.blas import shifted_factor
from learning.regression.fit.elastic_net import GAP, elasticnet_solutions
from learning.regression.fit.elastic_net_of_gram import elasticnet_weights
from learning.regression.fit.gram import BLOCK, SharedGram, TrainingGram
from learning.regression.fit.linear_paths import (
    Standardizer,
    elasticnet_path,
    gram_matrix,
    ridge_path,
    ridge_path_of_gram,
    solve_shifted,
)
from learning.regression.fit.settings import Grid, Hyperparameters
from learning.regression.fit.splits import Split


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


MOST_FEATURES_PER_IMAGE = 2
"""With more features than this for each training image, inner products of images are the smaller ones."""


def shared_gram(features: np.ndarray, splits: Sequence[Split], n_threads: int) -> SharedGram | None:
    """The inner products of the (n, p) features; None where those of the images serve better."""
    n_train = max(len(split.train) for split in splits)
    if features.shape[1] > MOST_FEATURES_PER_IMAGE * n_train:
        return None
    with threadpool_limits(n_threads):
        return SharedGram(features)


def search(
    features: np.ndarray,
    mos: np.ndarray,
    splits: Sequence[Split],
    grid: Grid,
    n_threads: int,
    memory: int,
    advance: Callable[[int], None] = lambda n_paths: None,
    gram: SharedGram | None = None,
) -> Search:
    """Ranks every candidate of ``grid`` on every split.

    ``features`` (n, p) float32, ``mos`` (n,), higher is better; ``gram`` is their ``shared_gram``, computed here if
    None. Splits run side by side in as many of ``n_threads`` threads as ``memory`` bytes allow. ``advance`` is called
    with 1 after each of the len(splits) * len(grid.paths()) paths, from any thread, but from one at a time.
    """
    paths, lock = grid.paths(), Lock()
    offsets = np.cumsum([0, *(len(path) for path in paths)])
    scores = np.zeros((len(splits), offsets[-1]))
    unconverged = np.zeros(scores.shape, bool)
    gram = gram or shared_gram(features, splits, n_threads)
    ranking: _RankingByFeatures | _RankingByImages
    if gram is not None:
        ranking, memory = _RankingByFeatures(features, mos, gram), memory - gram.nbytes
    else:
        ranking = _RankingByImages(features, mos, splits, paths, n_threads)
        memory -= ranking.nbytes

    def work(row: int, positions: Sequence[int]) -> None:
        for position, found in zip(positions, ranking.of(splits[row], [paths[k] for k in positions]), strict=True):
            columns = slice(offsets[position], offsets[position + 1])
            scores[row, columns], unconverged[row, columns] = found
            with lock:
                advance(1)

    at_once = int(np.clip(memory // ranking.bytes_at_once(splits), 1, n_threads))
    with threadpool_limits(max(1, n_threads // at_once)), ThreadPoolExecutor(at_once) as executor:
        jobs = [
            executor.submit(work, row, positions) for row in range(len(splits)) for positions in ranking.jobs(paths)
        ]
        try:
            for job in as_completed(jobs):
                job.result()
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
    return Search([candidate for path in paths for candidate in path], scores, unconverged)


Path = list[Hyperparameters]
"""Candidates that differ in alpha alone, strongest penalty first."""

Ranks = tuple[np.ndarray, np.ndarray]
"""(candidates,) validation SRCC of a path, and whether each fit is unconverged."""


def _alphas(path: Path) -> list[float]:
    return [candidate.alpha for candidate in path]


class _RankingByFeatures:
    """Ranks candidates by inner products of features, which the paths of a split share."""

    def __init__(self, features: np.ndarray, mos: np.ndarray, gram: SharedGram):
        self._features, self._mos, self._gram = features, mos, gram

    def jobs(self, paths: Sequence[Path]) -> list[list[int]]:
        """Positions of paths that share their inner products."""
        standardized = dict.fromkeys(path[0].standardized for path in paths)
        return [[k for k, path in enumerate(paths) if path[0].standardized == value] for value in standardized]

    def bytes_at_once(self, splits: Sequence[Split]) -> int:
        """An upper bound of the memory of a job: the matrix and a factor of it in float64."""
        n_features = self._features.shape[1]
        return 8 * (2 * n_features**2 + 3 * BLOCK * n_features)

    def of(self, split: Split, paths: Sequence[Path]) -> Iterator[Ranks]:
        """SRCC on the validation part for each of the ``paths``, which are all standardised or all raw."""
        training = self._gram.of_training(split.train, self._mos[split.train], paths[0][0].standardized)
        for path in paths:
            weights, unconverged = _weights_of_path(training, path)
            predicted = training.predict(self._features[split.validation], weights)
            yield srcc(predicted, self._mos[split.validation]), unconverged


def _weights_of_path(training: TrainingGram, path: Path) -> Ranks:
    """Weights (p, candidates) of the training part's features, and whether each fit is unconverged."""
    if path[0].estimator == "ridge":
        return solve_shifted(training.matrix, training.moment, np.array(_alphas(path))), np.zeros(len(path), bool)
    assert path[0].l1_ratio is not None, "every ElasticNet candidate has an l1_ratio"
    return elasticnet_weights(training, path[0].l1_ratio, _alphas(path))


class _RankingByImages:
    """Ranks candidates where features are many: by inner products of images, and from the features themselves."""

    def __init__(
        self, features: np.ndarray, mos: np.ndarray, splits: Sequence[Split], paths: Sequence[Path], n_threads: int
    ):
        self._features, self._mos = features, mos
        self._raw: np.ndarray | None = None
        if any(map(_is_raw_ridge, paths)):
            with threadpool_limits(n_threads):
                self._raw = gram_matrix(features, Standardizer(features, scaled=False))

    @property
    def nbytes(self) -> int:
        """Bytes that all jobs share."""
        return 0 if self._raw is None else self._raw.nbytes

    def jobs(self, paths: Sequence[Path]) -> list[list[int]]:
        """Every path is a job of its own."""
        return [[position] for position in range(len(paths))]

    def bytes_at_once(self, splits: Sequence[Split]) -> int:
        """An upper bound of the memory of one path on one split, without the features themselves."""
        n_features = self._features.shape[1]
        n_train = max(len(split.train) for split in splits)
        n_validation = max(len(split.validation) for split in splits)
        parts = 4 * (n_train + n_validation) * n_features
        size = min(n_train, n_features)
        ridge = 8 * (5 * size * size + 2 * BLOCK * max(n_train, n_features) + 3 * n_validation * size)
        elasticnet = 8 * (2 * n_train * n_features + 3 * size * size + n_validation * n_features)
        return parts + max(ridge, elasticnet)

    def of(self, split: Split, paths: Sequence[Path]) -> Iterator[Ranks]:
        """SRCC on the validation part for each of the ``paths``."""
        for path in paths:
            predicted, unconverged = self._predicted(split, path)
            yield srcc(predicted, self._mos[split.validation]), unconverged

    def _predicted(self, split: Split, path: Path) -> Ranks:
        """(candidates, m) predictions for the validation part, and whether each fit is unconverged."""
        first, opinions, converged = path[0], self._mos[split.train], np.zeros(len(path), bool)
        if self._raw is not None and _is_raw_ridge(path):
            rows = split.train_and_validation
            return ridge_path_of_gram(self._raw[np.ix_(rows, rows)], opinions, _alphas(path)), converged
        train, validation = self._features[split.train], self._features[split.validation]
        if first.estimator == "ridge":
            return ridge_path(train, opinions, validation, first.standardized, _alphas(path)), converged
        assert first.l1_ratio is not None, "every ElasticNet candidate has an l1_ratio"
        return elasticnet_path(train, opinions, validation, first.standardized, first.l1_ratio, _alphas(path))


def _is_raw_ridge(path: Path) -> bool:
    return path[0].estimator == "ridge" and not path[0].standardized


def unfitted_pipeline(hyperparameters: Hyperparameters) -> Pipeline:
    """The scikit-learn pipeline of a candidate."""
    steps = [("standardize", StandardScaler())] if hyperparameters.standardized else []
    alpha, l1_ratio = hyperparameters.alpha, hyperparameters.l1_ratio
    if hyperparameters.estimator == "ridge":
        return Pipeline([*steps, ("regressor", Ridge(alpha=alpha))])
    return Pipeline([*steps, ("regressor", ElasticNet(alpha=alpha, l1_ratio=l1_ratio, tol=GAP))])


def fit(
    features: np.ndarray,
    mos: np.ndarray,
    hyperparameters: Hyperparameters,
    rows: np.ndarray | None = None,
    gram: SharedGram | None = None,
) -> Pipeline:
    """The candidate fitted on ``rows`` of the images (None: all), in float64, which small penalties need.

    ``gram`` is the ``shared_gram`` of the features; with it, a fit needs no float64 copy of them.
    """
    rows = np.arange(len(mos)) if rows is None else rows
    if gram is not None:
        return _fit_by_gram(gram.of_training(rows, mos[rows], hyperparameters.standardized), hyperparameters)
    pipeline, values, opinions = unfitted_pipeline(hyperparameters), features[rows].astype(np.float64), mos[rows]
    if hyperparameters.estimator == "ridge":
        return pipeline.fit(values, opinions)
    for _, step in pipeline.steps[:-1]:
        values = step.fit_transform(values)
    _fit_elasticnet(pipeline[-1], values, opinions)
    return pipeline


def _fit_by_gram(training: TrainingGram, hyperparameters: Hyperparameters) -> Pipeline:
    """The pipeline with the attributes that scikit-learn's ``fit`` would set."""
    pipeline, n_features = unfitted_pipeline(hyperparameters), len(training.moment)
    if hyperparameters.estimator == "ridge":
        weights = _ridge_weights(training, hyperparameters.alpha)
    else:
        assert hyperparameters.l1_ratio is not None, "every ElasticNet candidate has an l1_ratio"
        weights = elasticnet_weights(training, hyperparameters.l1_ratio, [hyperparameters.alpha])[0][:, 0]
    mean = training.feature_mean
    if hyperparameters.standardized:
        scaler, scale = pipeline[0], 1 / np.where(training.inverse_scale > 0, training.inverse_scale, 1.0)
        scaler.mean_, scaler.scale_, scaler.n_features_in_ = mean, scale, n_features
        scaler.var_ = np.where(training.inverse_scale > 0, scale**2, 0.0)
        scaler.n_samples_seen_ = training.n_images
        mean = np.zeros(n_features)
    _set_weights(pipeline[-1], weights, training.mos_mean - float(mean @ weights), training.target_squares)
    return pipeline


def _ridge_weights(training: TrainingGram, alpha: float) -> np.ndarray:
    return cho_solve(shifted_factor(training.matrix, alpha), training.moment)


def _set_weights(regressor: Ridge | ElasticNet, weights: np.ndarray, intercept: float, target_squares: float) -> None:
    """Gives scikit-learn's estimator the weights of our solver."""
    regressor.coef_, regressor.intercept_, regressor.n_features_in_ = weights, intercept, len(weights)
    if isinstance(regressor, ElasticNet):
        regressor.n_iter_, regressor.dual_gap_ = 0, GAP * target_squares
    else:
        regressor.n_iter_, regressor.solver_ = None, "cholesky"


def _fit_elasticnet(regressor: ElasticNet, features: np.ndarray, mos: np.ndarray) -> None:
    """Fits by our solver: scikit-learn's does not converge on such features."""
    means, target = features.mean(axis=0), mos - mos.mean()
    centred = np.asfortranarray(features - means)
    (solution,) = elasticnet_solutions(centred, target, regressor.l1_ratio, [regressor.alpha])
    intercept = float(mos.mean() - means @ solution.weights)
    _set_weights(regressor, solution.weights, intercept, float(target @ target))
