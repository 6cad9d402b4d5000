"""The plots of the report, as SVG that stands in an HTML page."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from learning.regression.evaluate.protocol import Evaluation
from learning.regression.evaluate.results import LABELS
from learning.regression.fit.search import Search

INK, ACCENT, WARM, PALE, GRID_LINES = "#1f2933", "#2f6f9f", "#d1603d", "#c9d3dc", "#edf0f3"

MOST_VECTOR_DOTS = 5000
"""A scatter of more dots is drawn as pixels: an SVG with more elements opens too slowly."""


def scatter_plot(predicted: np.ndarray, mos: np.ndarray) -> str:
    """Opinions (n,) over predictions (n,) on the same scale, and the line on which they are equal."""

    def draw(figure: Figure) -> None:
        axes: Axes = figure.subplots()
        many = len(mos) > MOST_VECTOR_DOTS
        axes.scatter(predicted, mos, s=6 if many else 14, alpha=0.25 if many else 0.55, color=ACCENT, linewidths=0,
                     rasterized=many)  # fmt: skip
        ends = [predicted.min(), predicted.max()]
        axes.plot(ends, ends, color=WARM, linewidth=2)
        axes.set_xlabel("predicted")
        axes.set_ylabel("opinion")

    return _svg(draw)


def split_plot(evaluation: Evaluation) -> str:
    """The correlations on the test part of every split, and their medians."""

    def draw(figure: Figure) -> None:
        axes: Axes = figure.subplots()
        shown = ("srcc", "plcc_raw", "plcc", "krcc")
        for position, name in enumerate(shown):
            values = np.array([getattr(metrics, name) for metrics in evaluation.reported.metrics])
            jitter = np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else np.zeros(1)
            axes.scatter(position + jitter, values, s=26, color=ACCENT, alpha=0.7, linewidths=0)
            axes.hlines(np.median(values), position - 0.28, position + 0.28, color=WARM, linewidth=2)
        axes.set_xticks(range(len(shown)), [LABELS[name] for name in shown])
        axes.set_xlim(-0.5, len(shown) - 0.5)
        axes.grid(axis="y", color=GRID_LINES)
        axes.set_axisbelow(True)

    return _svg(draw)


def search_plot(search: Search) -> str:
    """Validation SRCC over the penalty, one panel per estimator; a ring marks the choice."""

    def draw(figure: Figure) -> None:
        estimators = list(dict.fromkeys(candidate.estimator for candidate in search.candidates))
        panels = np.atleast_1d(figure.subplots(1, len(estimators), sharey=True))
        for axes, estimator in zip(panels, estimators, strict=True):
            _draw_paths(axes, search, estimator)
        figure.axes[0].set_ylabel("validation SRCC")

    return _svg(draw, size=(10.4, 3.4))


def _draw_paths(axes: Axes, search: Search, estimator: str) -> None:
    """The candidates of one estimator: a line for each path, a band for the middle half of the splits."""
    lower, median, upper = np.percentile(search.srcc, (25, 50, 75), axis=0)
    of_family = [(index, one) for index, one in enumerate(search.candidates) if one.estimator == estimator]
    paths = groupby(of_family, key=lambda pair: (pair[1].standardized, pair[1].l1_ratio))
    for number, ((standardized, l1_ratio), path) in enumerate(paths):
        rows = [index for index, _ in path]
        alphas = [search.candidates[index].alpha for index in rows]
        label = ("standardised" if standardized else "raw") + (f", l1_ratio {l1_ratio:g}" if l1_ratio else "")
        (line,) = axes.plot(alphas, median[rows], marker=".", color=f"C{number}", label=label)
        axes.fill_between(alphas, lower[rows], upper[rows], color=line.get_color(), alpha=0.12, linewidth=0)
    if search.best.estimator == estimator:
        best = int(np.argmax(median))
        axes.plot(search.candidates[best].alpha, median[best], "o", markersize=12, markerfacecolor="none",
                  markeredgecolor=WARM, markeredgewidth=2)  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel(f"alpha ({'Ridge' if estimator == 'ridge' else 'ElasticNet'})")
    axes.grid(axis="y", color=GRID_LINES)
    axes.legend(frameon=False, fontsize=8)


def _svg(draw: Callable[[Figure], None], size: tuple[float, float] = (5.0, 4.2)) -> str:
    """What ``draw`` draws on an empty figure of ``size`` inches, as an <svg> element."""
    figure = Figure(figsize=size, layout="constrained")
    draw(figure)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(PALE)
        axes.tick_params(colors=INK, labelsize=9, length=3)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
