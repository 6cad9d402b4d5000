"""The plots of the report, as SVG that stands in an HTML page."""

from __future__ import annotations

import io
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from learning.regression.evaluate.protocol import Evaluation
from learning.regression.evaluate.results import LABELS
from learning.regression.fit.search import Search

INK, ACCENT, WARM, PALE, GRID_LINES = "#1f2933", "#2f6f9f", "#d1603d", "#c9d3dc", "#edf0f3"

SIZE, WIDE = (5.0, 4.2), (10.4, 3.4)
"""Inches of a plot that has another beside it, and of one as wide as the page."""

MOST_VECTOR_DOTS = 5000
"""A scatter of more dots is drawn as pixels: an SVG with more elements opens too slowly."""


def scatter_plot(predicted: np.ndarray, mos: np.ndarray) -> str:
    """Opinions (n,) over predictions (n,) on the same scale, and the line on which they are equal."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes: Axes = figure.subplots()
    many = len(mos) > MOST_VECTOR_DOTS
    axes.scatter(predicted, mos, s=6 if many else 14, alpha=0.25 if many else 0.55, color=ACCENT, linewidths=0,
                 rasterized=many)  # fmt: skip
    ends = [predicted.min(), predicted.max()]
    axes.plot(ends, ends, color=WARM, linewidth=2)
    axes.set_xlabel("predicted")
    axes.set_ylabel("opinion")
    return _svg(figure)


def split_plot(evaluation: Evaluation) -> str:
    """The correlations on the test part of every split, and their medians."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes: Axes = figure.subplots()
    correlations = ("srcc", "plcc_raw", "plcc", "krcc")
    for position, name in enumerate(correlations):
        values = np.array([getattr(metrics, name) for metrics in evaluation.reported.metrics])
        jitter = np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else np.zeros(1)
        axes.scatter(position + jitter, values, s=26, color=ACCENT, alpha=0.7, linewidths=0)
        axes.hlines(np.median(values), position - 0.28, position + 0.28, color=WARM, linewidth=2)
    axes.set_xticks(range(len(correlations)), [LABELS[name] for name in correlations])
    axes.set_xlim(-0.5, len(correlations) - 0.5)
    axes.grid(axis="y", color=GRID_LINES)
    axes.set_axisbelow(True)
    return _svg(figure)


def search_plot(search: Search) -> str:
    """Validation SRCC over the penalty, one panel per estimator; a ring marks the choice.

    Each path of penalties is a line, with a band for the middle half of the splits.
    """
    figure = Figure(figsize=WIDE, layout="constrained")
    lower, median, upper = np.percentile(search.srcc, (25, 50, 75), axis=0)
    estimators = list(dict.fromkeys(candidate.estimator for candidate in search.candidates))
    panels = np.atleast_1d(figure.subplots(1, len(estimators), sharey=True))
    panels[0].set_ylabel("validation SRCC")
    for axes, estimator in zip(panels, estimators, strict=True):
        of_estimator = [(row, one) for row, one in enumerate(search.candidates) if one.estimator == estimator]
        paths = groupby(of_estimator, key=lambda pair: (pair[1].standardized, pair[1].l1_ratio))
        for number, ((standardized, l1_ratio), path) in enumerate(paths):
            rows = [row for row, _ in path]
            alphas = [search.candidates[row].alpha for row in rows]
            label = ("standardised" if standardized else "raw") + (f", l1_ratio {l1_ratio:g}" if l1_ratio else "")
            axes.plot(alphas, median[rows], marker=".", color=f"C{number}", label=label)
            axes.fill_between(alphas, lower[rows], upper[rows], color=f"C{number}", alpha=0.12, linewidth=0)
        if search.best.estimator == estimator:
            axes.plot(search.best.alpha, median.max(), "o", markersize=12, markerfacecolor="none",
                      markeredgecolor=WARM, markeredgewidth=2)  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlabel(f"alpha ({'Ridge' if estimator == 'ridge' else 'ElasticNet'})")
        axes.grid(axis="y", color=GRID_LINES)
        axes.legend(frameon=False, fontsize=8)
    return _svg(figure)


def _svg(figure: Figure) -> str:
    """The figure in the style of the page, as an <svg> element."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(PALE)
        axes.tick_params(colors=INK, labelsize=9, length=3)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
