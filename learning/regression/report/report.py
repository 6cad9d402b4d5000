"""The report on a regressor, as one HTML page with everything inside: metrics, plots, pictures."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from common.names import CHOICES
from datasets.images.folders import scan_folder
from datasets.images.lists import match_names
from datasets.opinions.scores import OpinionScores
from learning.regression.evaluate.comparison import srcc_difference
from learning.regression.evaluate.embedded import EmbeddedModel
from learning.regression.evaluate.held_out import HeldOut
from learning.regression.evaluate.protocol import Evaluation
from learning.regression.fit.search import Search
from learning.regression.model.description import LABELS, METRICS, RegressorDescription
from learning.regression.report.pages import model_facts, thumbnail, write_page
from networks.errors import UserError
from networks.images.reading import read_image

N_PICTURES = 12

INK, ACCENT, WARM, PALE, GRID_LINES = "#1f2933", "#2f6f9f", "#d1603d", "#c9d3dc", "#edf0f3"

SIZE = (5.0, 4.2)
"""Inches of a plot, which has another beside it on a wide screen."""

MOST_VECTOR_DOTS = 5000
"""A scatter of more dots is drawn as pixels: an SVG with more elements opens too slowly."""

Picture = tuple[str, float, float, str | None]
"""An image's name, prediction and opinion, and its thumbnail, None where the file was not found or cannot be read."""


def find_pictures(images: Sequence[str], beside: Path, folder: Path | None) -> dict[str, Path]:
    """The files of the images that are found, by the images' names in the table of scores.

    Looked for under the name as it is, ``beside`` the table, and anywhere in ``folder``.
    """
    # os.path does not mind names that are too long for the disk. The last path of an image counts.
    paths = ((image, path) for image in images for path in (beside / image, Path(image)))
    found = {image: path for image, path in paths if os.path.isfile(path)}  # noqa: PTH113
    missing = [image for image in images if image not in found]
    if missing and folder is not None:
        names = {path.relative_to(folder).as_posix(): path for path in map(Path, scan_folder(folder).images)}
        # A picture that fits several files is left out rather than shown wrong.
        with contextlib.suppress(UserError):
            found |= {image: names[name] for image, name in match_names(missing, list(names), str(folder)).items()}
    return found


def write_report(
    path: Path,
    scores: OpinionScores,
    evaluation: Evaluation,
    held_out: HeldOut,
    description: RegressorDescription,
    pictures: dict[str, Path],
    comparison: Sequence[Sequence[str]],
) -> None:
    """Writes the page; ``description`` is the one saved with the regressor, ``pictures`` is from ``find_pictures``, and
    ``comparison`` from ``comparison_rows``.
    """
    mos, predicted, tested = scores.mos, held_out.mapped, held_out.tested
    ranking = tested[np.argsort(-predicted[tested], kind="stable")]
    even_steps = np.unique(np.linspace(0, len(ranking) - 1, N_PICTURES).round().astype(int))
    by_error = tested[np.argsort(-np.abs(predicted[tested] - mos[tested]), kind="stable")]

    def with_thumbnails(rows: np.ndarray) -> Iterator[Picture]:
        for row in rows:
            name, picture = scores.images[row], None
            with contextlib.suppress(UserError):
                picture = thumbnail(Image.fromarray(read_image(pictures[name]))) if name in pictures else None
            yield name, predicted[row], mos[row], picture

    # The table's name with its folder: most are called alike.
    source = "/".join(part for part in Path(scores.source).parts[-2:] if part != Path(scores.source).anchor)
    write_page(
        path,
        "report.html.j2",
        title=f"Predicted quality: {source}",
        note=description.note,
        lead=f"{len(mos):,d} images with opinion scores from {mos.min():g} to {mos.max():g}, higher is better. "
        f"{scores.inversion} Metrics of this regressor are of images that it had not seen.",
        srcc=held_out.median("srcc"),
        interval=description.intervals.metrics["srcc"] if description.intervals else None,
        choice=CHOICES[description.choice],
        cards=_cards(held_out, description),
        columns=list(LABELS.values()),
        comparison=comparison,
        pair_orders=description.pair_orders,
        scatter_plot=scatter_plot(predicted[tested], mos[tested]),
        search_plots=search_plots(evaluation.search),
        n_tested=f"{len(tested):,d}",
        images_found=bool(pictures),
        ranked=with_thumbnails(ranking[even_steps]),
        largest_errors=with_thumbnails(by_error[:N_PICTURES]),
        splits=list(zip(evaluation.splits, held_out.metrics, strict=True)),
        metrics=METRICS,
        facts=_facts(evaluation, description),
    )


def _digits(metric: str, value: float) -> str:
    """Correlations with three decimals; an error in units of the opinions with four digits."""
    return f"{value:#.4g}" if metric == "rmse" else f"{value:.3f}"


def _cards(held_out: HeldOut, description: RegressorDescription) -> list[tuple[str, str, list[str]]]:
    """A metric's name, its median, and lines on how sure it is."""
    cards = []
    for metric in ("srcc", "plcc", "krcc", "rmse"):
        _, lower, median, upper, _ = held_out.quartiles(metric)
        lines = []
        interval = description.intervals and description.intervals.metrics.get(metric)
        if interval:
            lines.append(f"95 % interval {_digits(metric, interval.low)} to {_digits(metric, interval.high)}")
        if len(held_out.metrics) > 1:
            lines.append(f"middle half of the splits {_digits(metric, lower)} to {_digits(metric, upper)}")
        cards.append((LABELS[metric], _digits(metric, median), lines or ["on the one test part"]))
    return cards


def comparison_rows(
    evaluation: Evaluation, description: RegressorDescription, held_out: HeldOut, embedded: Sequence[EmbeddedModel]
) -> list[list[str]]:
    """Rows of the table "Compared with": a name, then each of METRICS, empty where it does not exist."""
    names = {"nested": "choice within each split", "shared": "one choice for all splits"}

    def medians(tests: HeldOut) -> list[str]:
        return [_digits(metric, tests.median(metric)) for metric in METRICS]

    rows = [[f"this regressor, {names[choice]}", *medians(tests)] for choice, tests in evaluation.tests.items()]
    for model in embedded:
        fitted = f", fitted on {model.n_fitted:,d} of these images" if model.n_fitted else ""
        tests = model.on_test_parts_of(held_out)
        rows.append([f"embedded model {model.name}{fitted}", *medians(tests)])
        if description.intervals:
            difference, _ = srcc_difference(
                held_out, tests, description.intervals.n_resamples, description.intervals.seed
            )
            low, high = difference.low, difference.high
            verdict = "better" if low > 0 else "worse" if high < 0 else "no significant difference"
            verdict = "no comparison, since it has seen these images" if model.n_fitted else verdict
            rows.append([f"  this regressor minus it [95 % interval]: {verdict}", difference.as_difference()])
    if description.observers:
        rows.append(["ceiling: one half of the observers against the other", f"{description.observers.ceiling:.3f}"])
    rows.append(["the mean opinion for every image", "0", "0", "0", "0", _digits("rmse", held_out.mos.std())])
    return [row + [""] * (1 + len(METRICS) - len(row)) for row in rows]


def _facts(evaluation: Evaluation, description: RegressorDescription) -> dict[str, str]:
    """``model_facts``, and how the evaluation was made."""
    search, intervals = evaluation.search, description.intervals
    conformal, observers = description.prediction_intervals, description.observers
    return model_facts(description) | {
        "note": "",  # stands at the top
        "features": f"{len(evaluation.model.weights):,d} values",
        "chosen by": f"median SRCC on the validation parts, {search.median.max():.4f}, of {len(search.candidates)} "
        "candidates; then fitted on train and validation parts for the test, and on all images for use",
        "PLCC fit, RMSE fit": "after a logistic with 4 parameters, fitted on each test part",
        "95 % intervals": "percentile bootstrap over groups, moved by its bias, "
        f"{intervals.n_resamples:,d} samples, seed {intervals.seed}"
        if intervals
        else "",
        "prediction intervals": description.score_interval(0.9).in_words() if conformal and conformal.coverage else "",
        "observers": observers.in_words() if observers else "",
    }


def scatter_plot(predicted: np.ndarray, mos: np.ndarray) -> str:
    """Opinions (n,) over predictions (n,), both axes alike, and the line on which they are equal."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes: Axes = figure.subplots()
    many = len(mos) > MOST_VECTOR_DOTS
    axes.scatter(predicted, mos, s=6 if many else 14, alpha=0.25 if many else 0.55, color=ACCENT, linewidths=0,
                 rasterized=many)  # fmt: skip
    ends = [min(predicted.min(), mos.min()), max(predicted.max(), mos.max())]
    axes.plot(ends, ends, color=WARM, linewidth=2)
    axes.set_aspect("equal")
    axes.set_xlabel("predicted")
    axes.set_ylabel("opinion")
    return _svg(figure)


def search_plots(search: Search) -> list[str]:
    """Validation SRCC over the penalty, a plot per estimator; a ring marks the choice.

    Each path of penalties is a line, with a band for the middle half of the splits.
    """
    lower, median, upper = np.percentile(search.srcc, (25, 50, 75), axis=0)
    margin = 0.05 * (upper.max() - lower.min()) + 0.001
    plots = []
    for estimator in dict.fromkeys(candidate.estimator for candidate in search.candidates):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes: Axes = figure.subplots()
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
        axes.set(xscale="log", ylim=(lower.min() - margin, upper.max() + margin), ylabel="validation SRCC",
                 xlabel=f"alpha ({'Ridge' if estimator == 'ridge' else 'ElasticNet'})")  # fmt: skip
        axes.grid(axis="y", color=GRID_LINES)
        axes.legend(frameon=False, fontsize=8)
        plots.append(_svg(figure))
    return plots


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
