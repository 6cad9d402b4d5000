"""The search over the hyper-parameters of linear regressors, and the fit of the chosen one.

The protocol of the literature: on each of several splits, every candidate learns from the training part and is ranked
by its SRCC on the validation part; the candidate with the best median is refitted on training and validation parts,
and only then is each test part looked at, once.

The candidates of a split are not fitted one by one: all Ridge penalties share one decomposition and all
ElasticNet penalties one path with warm starts (``linear_models``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from learning.regression.evaluate.metrics import srcc
from learning.regression.fit.linear_models import (
    MOST_FEATURES_PER_IMAGE,
    TrainingPart,
    elastic_net_weights,
    ridge_weights,
)
from learning.regression.fit.splits import Split
from learning.regression.model.description import Hyperparameters
from networks.regressor import LinearModel
from options.regressor import RegressorOptions


@dataclass(frozen=True)
class Grid:
    """The candidates of a search; the default covers scores on 1..5 and on 0..100, and from 100 to 100,000 images."""

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


def search_grid(options: RegressorOptions) -> Grid:
    """The candidates that a command line asks for."""
    return Grid(
        estimators=Grid.estimators if options.estimator == "both" else (options.estimator,),
        standardized=Grid.standardized if options.standardize == "both" else (options.standardize == "yes",),
        ridge_alphas=options.ridge_alphas or Grid.ridge_alphas,
        elasticnet_alphas=options.elasticnet_alphas or Grid.elasticnet_alphas,
        l1_ratios=options.l1_ratios or Grid.l1_ratios,
    )


@dataclass(frozen=True)
class Search:
    """SRCC on the validation parts, (splits, candidates)."""

    candidates: list[Hyperparameters]
    srcc: np.ndarray

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


FEWEST_VALUES = 2**19
"""Features with fewer values are searched in this process, since starting more processes would take longer."""

BYTES_OF_PYTHON = 2**28
"""Memory of a process that has imported scipy and scikit-learn."""


def search(
    features: np.ndarray,
    mos: np.ndarray,
    splits: Sequence[Split],
    grid: Grid,
    n_threads: int,
    memory: int,
    advance: Callable[[int], None] = lambda n_paths: None,
) -> Search:
    """Ranks every candidate of ``grid`` on every split.

    ``features`` (n, p) float32, ``mos`` (n,), higher is better. Splits are searched side by side, in as many processes
    as ``memory`` bytes allow, by ``n_threads`` threads in all. ``advance`` is called with the number of paths that were
    searched since its last call, of len(splits) * len(grid.paths()).
    """
    n_train, n_features = max(len(split.train) for split in splits), features.shape[1]
    image_products = None
    if "ridge" in grid.estimators and False in grid.standardized and n_features > n_train:
        with threadpool_limits(n_threads):
            image_products = TrainingPart(features, mos, standardized=False).image_products()
        memory -= 2 * image_products.nbytes

    paths = grid.paths()
    jobs = [
        (split, [path for path in paths if path[0].standardized == standardized])
        for split in splits
        for standardized in grid.standardized
    ]
    most = min(n_threads, len(jobs)) if features.size >= FEWEST_VALUES else 1
    at_once = int(np.clip((memory - features.nbytes) // _bytes_of_a_job(n_train, n_features), 1, most))
    results = Parallel(at_once, return_as="generator")(
        delayed(_rank)(features, mos, split, of_job, image_products, n_threads // at_once) for split, of_job in jobs
    )
    found = []
    for (_, of_job), result in zip(jobs, results, strict=True):
        found += result
        advance(len(of_job))
    candidates = [candidate for path in paths for candidate in path]  # in the order in which the jobs rank them
    return Search(candidates, np.concatenate(found).reshape(len(splits), -1))


def _bytes_of_a_job(n_train: int, n_features: int) -> int:
    """An upper bound of the memory of a process in ``_rank``, without features and inner products of all images."""
    ridge = 3 * min(n_train, n_features) ** 2
    elastic_net = 2 * n_features**2 if n_features <= MOST_FEATURES_PER_IMAGE * n_train else 2 * n_train * n_features
    return BYTES_OF_PYTHON + 8 * (2 * n_train * n_features + max(ridge, elastic_net))


def _rank(
    features: np.ndarray,
    mos: np.ndarray,
    split: Split,
    paths: Sequence[Sequence[Hyperparameters]],
    image_products: np.ndarray | None,
    n_threads: int,
) -> list[np.ndarray]:
    """For each path, the candidates' SRCC on the validation part.

    The ``paths`` are all on raw or all on standardised features. ``image_products`` has the inner products of the raw
    features of all images.
    """
    found = []
    with threadpool_limits(n_threads):
        train, standardized = split.train, paths[0][0].standardized
        products = None if image_products is None or standardized else image_products[np.ix_(train, train)]
        part = TrainingPart(features[train], mos[train], standardized, products)
        for path in paths:
            predicted = part.predict(features[split.validation], _weights(part, path))
            found.append(srcc(predicted, mos[split.validation]))
    return found


def _weights(part: TrainingPart, path: Sequence[Hyperparameters]) -> np.ndarray:
    """Weights (p, k) of candidates that differ in alpha alone."""
    alphas, l1_ratio = [candidate.alpha for candidate in path], path[0].l1_ratio
    return ridge_weights(part, alphas) if l1_ratio is None else elastic_net_weights(part, l1_ratio, alphas)


def fit(features: np.ndarray, mos: np.ndarray, hyperparameters: Hyperparameters) -> LinearModel:
    """The candidate fitted on features (n, p) float32 and scores (n,) of all n images."""
    part = TrainingPart(features, mos, hyperparameters.standardized)
    return part.model(_weights(part, [hyperparameters])[:, 0])
