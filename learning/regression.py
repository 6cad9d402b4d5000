"""From features to opinion: linear regressors, the search over their hyper-parameters, and their test.

The protocol of the literature: on each of several splits, every candidate learns from the training part and is ranked
by its SRCC on the validation part; the candidate with the best median is refitted on training and validation parts,
and only then is each test part looked at, once.

The search fits no candidate by itself. All splits share one Gram matrix of the raw features, all Ridge penalties of a
split few factorisations, all ElasticNet penalties one path with warm starts. What is tested and saved is a plain
scikit-learn pipeline.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.linalg.blas import dsyrk
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet, Ridge, enet_path
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from learning.metrics import Figures, evaluate, srcc
from learning.splits import Split

ELASTICNET_TOLERANCE = 1e-3
ELASTICNET_ITERATIONS = 1000

_BLOCK = 1024
"""Rows or columns that are converted to float64 at a time."""

_RESIDUAL = 1e-8
_VECTORS_PER_POLE = 6
_NOTHING_NEW = 1e-10
"""Of ``solve_shifted``: what is left over of b; directions that a factorisation gives; a direction in the span."""


@dataclass(frozen=True)
class Hyperparameters:
    """One candidate; ``alpha`` and ``l1_ratio`` (None for ridge) as scikit-learn defines them."""

    estimator: str
    standardized: bool
    alpha: float
    l1_ratio: float | None = None

    def pipeline(self) -> Pipeline:
        """An unfitted scikit-learn pipeline."""
        steps = [("standardize", StandardScaler())] if self.standardized else []
        if self.estimator == "ridge":
            return Pipeline([*steps, ("regressor", Ridge(alpha=self.alpha))])
        regressor = ElasticNet(
            alpha=self.alpha, l1_ratio=self.l1_ratio, tol=ELASTICNET_TOLERANCE, max_iter=ELASTICNET_ITERATIONS
        )
        return Pipeline([*steps, ("regressor", regressor)])

    def __str__(self) -> str:
        family = "Ridge" if self.estimator == "ridge" else f"ElasticNet, l1_ratio {self.l1_ratio:g}"
        return f"{family}, alpha {self.alpha:.3g}, {'standardised' if self.standardized else 'raw'} features"


@dataclass(frozen=True)
class Grid:
    """What is searched; the default covers scores on 1..5 and on 0..100, and from 100 to 100,000 images."""

    estimators: tuple[str, ...] = ("ridge", "elasticnet")
    standardized: tuple[bool, ...] = (True, False)
    ridge_alphas: tuple[float, ...] = tuple(np.logspace(-3, 6, 28).tolist())
    elasticnet_alphas: tuple[float, ...] = tuple(np.logspace(-3, 1, 9).tolist())
    l1_ratios: tuple[float, ...] = (0.1, 0.5, 0.9)

    def paths(self) -> list[list[Hyperparameters]]:
        """The candidates in lists that differ in alpha alone, strongest penalty first."""
        families: list[tuple[str, float | None, tuple[float, ...]]] = []
        if "ridge" in self.estimators:
            families.append(("ridge", None, self.ridge_alphas))
        if "elasticnet" in self.estimators:
            families += [("elasticnet", l1_ratio, self.elasticnet_alphas) for l1_ratio in self.l1_ratios]
        return [
            [Hyperparameters(estimator, standardized, alpha, l1_ratio) for alpha in sorted(set(alphas), reverse=True)]
            for standardized in self.standardized
            for estimator, l1_ratio, alphas in families
        ]


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
        """What each split would choose by its own validation part."""
        return [self.candidates[index] for index in np.argmax(self.srcc, axis=1)]


class _Standardizer:
    """Centres columns by the training part's means, and scales them by its deviations if wanted, in float64."""

    def __init__(self, train: np.ndarray, scaled: bool):
        self.mean = train.mean(axis=0, dtype=np.float64)
        self.scale = np.ones_like(self.mean)
        if scaled:
            deviation = train.std(axis=0, dtype=np.float64)
            # A column that does not vary stays 0, as in scikit-learn.
            self.scale = np.where(deviation > 10 * np.finfo(train.dtype).eps * np.abs(self.mean), deviation, 1.0)

    def __call__(self, features: np.ndarray, columns: slice = slice(None)) -> np.ndarray:
        return (features[:, columns] - self.mean[columns]) / self.scale[columns]


def gram_matrix(features: np.ndarray, standardize: Callable[[np.ndarray, slice], np.ndarray]) -> np.ndarray:
    """Inner products of the standardised rows of (n, p): (n, n) float64, without a float64 copy of the features."""
    gram = np.zeros((len(features), len(features)), order="F")
    for start in range(0, features.shape[1], _BLOCK):
        block = standardize(features, slice(start, start + _BLOCK))
        gram = dsyrk(1.0, block.T, beta=1.0, c=gram, trans=1, lower=1, overwrite_c=1)
    return _symmetric(gram)


def _symmetric(lower: np.ndarray) -> np.ndarray:
    """Fills the upper triangle from the lower one, in place."""
    for start in range(0, len(lower), _BLOCK):
        rows = slice(start, start + _BLOCK)
        lower[rows, start + _BLOCK :] = lower[start + _BLOCK :, rows].T
        square = lower[rows, rows]
        lower[rows, rows] = np.tril(square) + np.tril(square, -1).T
    return lower


def solve_shifted(matrix: np.ndarray, target: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Solves (A + s I) x = b for many shifts s > 0, with few factorisations: (n, len(shifts)).

    ``matrix`` A is symmetric and positive semidefinite, (n, n) float64; ``target`` b is (n,). The solutions for all
    shifts lie close to the span of (A + p I)^-i b for few poles p: a rational Krylov space (Ruhe, Linear Algebra Appl.
    1984). A pole is put where the residual is largest until all are below ``_RESIDUAL`` of b; at a pole the solution is
    exact, so that there are never more poles than shifts.
    """
    shifts = np.maximum(shifts, 4 * np.finfo(np.float64).eps * np.trace(matrix))  # what float64 can tell from 0
    norm = np.linalg.norm(target)
    basis, image = np.empty((len(target), 0)), np.empty((len(target), 0))
    residuals = np.full(len(shifts), np.inf)
    solutions = np.zeros((len(target), len(shifts)))
    while norm > 0 and residuals.max() > _RESIDUAL:
        worst = int(np.argmax(residuals))
        factor = matrix.copy(order="F")
        factor[np.diag_indices_from(factor)] += shifts[worst]
        factor = cho_factor(factor, lower=True, overwrite_a=True, check_finite=False)
        known, direction = basis.shape[1], target / norm
        for _ in range(_VECTORS_PER_POLE):
            direction = cho_solve(factor, direction, check_finite=False)
            direction /= np.linalg.norm(direction)
            for _ in range(2):  # once loses orthogonality where little is left
                direction = direction - basis @ (basis.T @ direction)
            rest = np.linalg.norm(direction)
            if rest < _NOTHING_NEW:
                break
            direction /= rest
            basis = np.column_stack([basis, direction])
        image = np.column_stack([image, matrix @ basis[:, known:]])
        values, vectors = eigh(basis.T @ image)
        weights = vectors @ ((vectors.T @ (basis.T @ target))[:, None] / (np.maximum(values, 0)[:, None] + shifts))
        solutions = basis @ weights
        done = np.isneginf(residuals)
        residuals = np.linalg.norm(image @ weights + solutions * shifts - target[:, None], axis=0) / norm
        residuals[done] = residuals[worst] = -np.inf
    return solutions


def ridge_path_of_gram(gram: np.ndarray, mos: np.ndarray, alphas: Sequence[float]) -> np.ndarray:
    """Ridge predictions from inner products (the dual form): (len(alphas), m).

    ``gram`` is of n training rows with scores ``mos`` (n,), and m others after them; it is centred here by the means
    of the training rows.
    """
    n_train = len(mos)
    means = gram[:, :n_train].mean(axis=1)
    centred = gram[:, :n_train] - means[:, None] - (means[:n_train] - means[:n_train].mean())
    coefficients = solve_shifted(centred[:n_train], mos - mos.mean(), np.asarray(alphas, np.float64))
    return mos.mean() + (centred[n_train:] @ coefficients).T


def ridge_path(
    train: np.ndarray, mos: np.ndarray, others: np.ndarray, standardized: bool, alphas: Sequence[float]
) -> np.ndarray:
    """Predictions of Ridge regressions for ``others``, (m, p), from ``train``, (n, p): (len(alphas), m)."""
    standardize = _Standardizer(train, standardized)
    n_images, n_features = train.shape
    if n_images <= n_features:
        return ridge_path_of_gram(gram_matrix(np.concatenate([train, others]), standardize), mos, alphas)
    gram, moment = np.zeros((n_features, n_features), order="F"), np.zeros(n_features)
    for start in range(0, n_images, _BLOCK):
        block = standardize(train[start : start + _BLOCK])
        gram = dsyrk(1.0, block.T, beta=1.0, c=gram, lower=1, overwrite_c=1)
        moment += block.T @ (mos[start : start + _BLOCK] - mos.mean())
    weights = solve_shifted(_symmetric(gram), moment, np.asarray(alphas, np.float64))
    return (
        mos.mean()
        + np.concatenate(
            [standardize(others[start : start + _BLOCK]) @ weights for start in range(0, len(others), _BLOCK)]
        ).T
    )


def elasticnet_path(
    train: np.ndarray,
    mos: np.ndarray,
    others: np.ndarray,
    standardized: bool,
    l1_ratio: float,
    alphas: Sequence[float],
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of ElasticNets as in ``ridge_path``, and (len(alphas),) whether each was cut off unconverged.

    Each penalty starts from the solution of the one before (Friedman, Hastie, Tibshirani, J. Stat. Softw. 2010).
    """
    standardize = _Standardizer(train, standardized)
    centred = np.asfortranarray(standardize(train), dtype=np.float32)
    target = (mos - mos.mean()).astype(np.float32)
    _, weights, _, iterations = enet_path(
        centred,
        target,
        l1_ratio=l1_ratio,
        alphas=np.asarray(alphas, np.float32),
        precompute=False,
        copy_X=False,
        tol=ELASTICNET_TOLERANCE,
        max_iter=ELASTICNET_ITERATIONS,
        return_n_iter=True,
    )
    predicted = mos.mean() + (standardize(others) @ weights).T
    return predicted, np.asarray(iterations) >= ELASTICNET_ITERATIONS


def _path_srcc(
    features: np.ndarray, mos: np.ndarray, split: Split, path: list[Hyperparameters], gram: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """(candidates,) validation SRCC and whether unconverged, of one path on one split.

    ``gram`` holds the inner products of all images' raw features, where that is what serves this path.
    """
    first, alphas, opinions = path[0], [candidate.alpha for candidate in path], mos[split.train]
    unconverged = np.zeros(len(path), bool)
    if gram is not None:
        rows = split.train_and_validation
        predicted = ridge_path_of_gram(gram[np.ix_(rows, rows)], opinions, alphas)
    elif first.estimator == "ridge":
        train, validation = features[split.train], features[split.validation]
        predicted = ridge_path(train, opinions, validation, first.standardized, alphas)
    else:
        train, validation = features[split.train], features[split.validation]
        predicted, unconverged = elasticnet_path(
            train, opinions, validation, first.standardized, first.l1_ratio, alphas
        )
    return srcc(predicted, mos[split.validation]), unconverged


def _bytes_of_a_path(splits: Sequence[Split], n_features: int) -> int:
    """An upper bound of what one path on one split holds beside the features themselves."""
    n_train = max(len(split.train) for split in splits)
    n_validation = max(len(split.validation) for split in splits)
    parts = 4 * (n_train + n_validation) * n_features
    size = min(n_train, n_features)
    ridge = 8 * (5 * size * size + 2 * _BLOCK * max(n_train, n_features) + 3 * n_validation * size)
    elasticnet = 20 * n_train * n_features + 8 * n_validation * n_features
    return parts + max(ridge, elasticnet)


def physical_memory() -> int:
    """Bytes of the machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


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
    ``n_threads`` threads as ``memory`` bytes allow; ``advance`` is told how many candidates are done.
    """
    paths = grid.paths()
    offsets = np.cumsum([0, *(len(path) for path in paths)])
    scores = np.zeros((len(splits), offsets[-1]))
    unconverged = np.zeros(scores.shape, bool)
    gram = None
    shared = [path[0].estimator == "ridge" and not path[0].standardized for path in paths]
    if any(shared) and max(len(split.train) for split in splits) <= features.shape[1]:
        with threadpool_limits(n_threads):
            gram = gram_matrix(features, _Standardizer(features, scaled=False))
        memory -= gram.nbytes
    at_once = int(np.clip(memory // _bytes_of_a_path(splits, features.shape[1]), 1, n_threads))
    with (
        warnings.catch_warnings(),
        threadpool_limits(max(1, n_threads // at_once)),
        ThreadPoolExecutor(at_once) as executor,
    ):
        warnings.simplefilter("ignore", ConvergenceWarning)
        jobs = {
            executor.submit(_path_srcc, features, mos, split, path, gram if in_gram else None): (
                row,
                slice(offset, offset + len(path)),
            )
            for row, split in enumerate(splits)
            for path, offset, in_gram in zip(paths, offsets, shared, strict=False)
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
    """What a refitted candidate predicts for the images of a split's test part, and how well."""

    images: np.ndarray
    predicted: np.ndarray
    figures: Figures


def fit(features: np.ndarray, mos: np.ndarray, hyperparameters: Hyperparameters) -> Pipeline:
    """The candidate fitted on all rows, in float64, which small penalties need."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return hyperparameters.pipeline().fit(features.astype(np.float64), mos)


def evaluate_on_test(
    features: np.ndarray, mos: np.ndarray, split: Split, hyperparameters: Hyperparameters
) -> SplitResult:
    """Refits on the training and validation parts of a split, and predicts its test part."""
    learnt_from = split.train_and_validation
    predicted = fit(features[learnt_from], mos[learnt_from], hyperparameters).predict(features[split.test])
    return SplitResult(split.test, predicted, evaluate(predicted, mos[split.test]))
