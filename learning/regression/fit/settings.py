"""The candidates of a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from options.regressor import RegressorOptions


@dataclass(frozen=True)
class Hyperparameters:
    """One candidate; ``alpha`` and ``l1_ratio`` (None for ridge) as scikit-learn defines them."""

    estimator: str
    standardized: bool
    alpha: float
    l1_ratio: float | None = None

    def __str__(self) -> str:
        family = "Ridge" if self.estimator == "ridge" else f"ElasticNet, l1_ratio {self.l1_ratio:g}"
        return f"{family}, alpha {self.alpha:.3g}, {'standardised' if self.standardized else 'raw'} features"


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
    default = Grid()
    return Grid(
        estimators=default.estimators if options.estimator == "both" else (options.estimator,),
        standardized=default.standardized if options.standardize == "both" else (options.standardize == "yes",),
        ridge_alphas=options.ridge_alphas or default.ridge_alphas,
        elasticnet_alphas=options.elasticnet_alphas or default.elasticnet_alphas,
        l1_ratios=options.l1_ratios or default.l1_ratios,
    )
