"""What a fit and its evaluation can be asked for. Imports numpy alone, so that options stay fast to parse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CHOICES = ("nested", "shared")
"""How hyper-parameters are chosen; ``evaluation`` explains both."""

LOGISTICS = (4, 5)
"""Numbers of parameters of the logistic before PLCC fit and RMSE fit; ``metrics`` has the formulas."""

N_RESAMPLES = 1000
"""Resamples of a bootstrap interval."""

N_SPLITS, SHARES = 10, (70, 10, 20)
"""Random splits, and the shares of their training, validation and test images in percent."""


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
