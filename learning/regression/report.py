"""What a regressor is worth, as one HTML page with everything inside: figures, plots, pictures."""

from __future__ import annotations

import base64
import contextlib
import io
import os
from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from common.atomic_files import whole_file
from common.errors import UserError
from datasets.image_lists import match_names
from datasets.images import find_images, read_image
from datasets.opinion_scores import OpinionScores
from learning.regression.evaluation import METRICS, Evaluation, Spread
from learning.regression.metrics import OpinionMapping

N_PICTURES = 12
THUMBNAIL_PIXELS = 220

INK, ACCENT, WARM, PALE = "#1f2933", "#2f6f9f", "#d1603d", "#c9d3dc"

_STYLE = """
:root { color-scheme: light }
body { font: 15px/1.5 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; color: #1f2933; background: #f5f7f9;
  margin: 0 }
main { max-width: 1080px; margin: 0 auto; padding: 32px 24px 64px }
h1 { font-size: 26px; margin: 0 0 4px } h2 { font-size: 18px; margin: 0 0 12px }
.lead, figcaption, footer, .note { color: #5b6976 } .lead { margin: 0 0 24px }
section { background: #fff; border: 1px solid #e3e8ed; border-radius: 8px; padding: 20px 24px; margin: 0 0 20px }
.cards { display: grid; grid-template-columns: repeat(4, 1fr); gap: 16px; margin: 0 0 20px }
.card { background: #fff; border: 1px solid #e3e8ed; border-radius: 8px; padding: 14px 18px }
.card b { display: block; font-size: 30px; line-height: 1.2 }
.card span { color: #5b6976; font-size: 13px }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 20px; margin: 0 0 20px } .pair section { margin: 0 }
svg { width: 100%; height: auto; display: block }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
td, th { text-align: right; padding: 4px 8px; border-bottom: 1px solid #edf0f3 }
th { color: #5b6976; font-weight: 600 } td:first-child, th:first-child { text-align: left }
.facts td { text-align: left; vertical-align: top } .facts td:first-child { color: #5b6976; white-space: nowrap }
.facts { overflow-wrap: anywhere }
.strip { display: grid; grid-template-columns: repeat(6, 1fr); gap: 12px }
figure { margin: 0 } figure img, .blank { width: 100%; aspect-ratio: 4/3; object-fit: cover; border-radius: 4px;
  background: #edf0f3; display: block }
figcaption { font-size: 12px; line-height: 1.35; margin-top: 4px; overflow-wrap: anywhere }
figcaption b { color: #1f2933 } .note { font-size: 13px; margin: 10px 0 0 }
.callout { border-left: 4px solid #d1603d; background: #fdf3ef; padding: 10px 16px; margin: 0 0 20px }
@media (max-width: 760px) {
  .cards, .strip { grid-template-columns: repeat(2, 1fr) } .pair { grid-template-columns: 1fr }
}
@media print { body { background: #fff } section, .card { break-inside: avoid } }
"""


def find_pictures(images: Sequence[str], beside: Path, folder: Path | None) -> dict[str, Path]:
    """Image, as the table of scores calls it -> its file, for those that are found.

    Looked for under the name as it is, ``beside`` the table, and anywhere in ``folder``.
    """
    found = {}
    for image in images:
        for path in (Path(image), beside / image):
            if os.path.isfile(path):  # noqa: PTH113  (does not mind names that are too long for the disk)
                found[image] = path
                break
    missing = [image for image in images if image not in found]
    if missing and folder is not None:
        names = {path.relative_to(folder).as_posix(): path for path in find_images(folder)}
        # Pictures that fit several files are better left out than shown wrong.
        with contextlib.suppress(UserError):
            found |= {image: names[name] for image, name in match_names(missing, list(names), str(folder)).items()}
    return found


def write_report(
    path: Path,
    scores: OpinionScores,
    evaluation: Evaluation,
    description: dict[str, Any],
    pictures: dict[str, Path],
    note: str = "",
) -> None:
    """Writes the page; ``description`` is the one saved with the regressor, ``pictures`` is from ``find_pictures``.

    ``note`` is what a reader has to know before all else.
    """
    mos = scores.mos
    predicted = evaluation.held_out(len(mos))
    mapping = evaluation.held_out_mapping(mos)
    tested = np.flatnonzero(np.isfinite(predicted))

    def strip(title: str, rows: np.ndarray) -> str:
        figures = [_picture(scores.images[row], mapping(predicted[row]), mos[row], pictures) for row in rows]
        note = "" if pictures else "The image files were not found; --images names their folder."
        return _section(title, f'<div class="strip">{"".join(figures)}</div>', note)

    title = f"Predicted quality: {escape(Path(scores.source).name)}"
    body = [
        f"<h1>{title}</h1>",
        f'<p class="callout">{escape(note)}</p>' if note else "",
        f'<p class="lead">{len(mos):,d} images with opinion scores from {mos.min():g} to {mos.max():g}, higher is '
        f"better. {escape(scores.inversion)} Every figure is of images that the regressor had not seen.</p>",
        _cards(evaluation),
        '<div class="pair">',
        _section(
            "Predicted against opinion",
            _svg(_scatter, predicted[tested], mos[tested], mapping),
            f"{len(tested):,d} images, each with the median of its predictions over the splits that tested on it; "
            f"the line is the {mapping.kind} fit.",
        ),
        _section(
            "Metrics on each split",
            _svg(_split_plot, evaluation),
            "A dot is the test part of a split, the bar the median.",
        ),
        "</div>",
        _section(
            "The search",
            _svg(_search_plot, evaluation, size=(10.4, 3.4)),
            "Median SRCC on the validation parts for every candidate; the band holds the middle half of the splits, "
            f"the ring is the choice: {evaluation.hyperparameters}.",
        ),
        strip("From best to worst predicted", _evenly_ranked(predicted, tested)),
        strip("Largest errors", _largest_errors(predicted, mos, mapping, tested)),
        _section("Every split", _split_table(evaluation)),
        _section("What this is", _facts(scores, evaluation, description)),
    ]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head>\n"
        f"<body><main>\n{chr(10).join(body)}\n</main></body></html>\n"
    )
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")


def _section(title: str, content: str, note: str = "") -> str:
    note = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{content}{note}</section>"


def _cards(evaluation: Evaluation) -> str:
    cards = []
    for metric in METRICS:
        spread = evaluation.spread(metric)
        over = "on the one test part"
        if len(evaluation.splits) > 1:
            over = f"{spread.lower_quartile:.3f} to {spread.upper_quartile:.3f}, middle half of the splits"
        cards.append(
            f'<div class="card"><span>{metric.upper()}</span><b>{spread.median:.3f}</b><span>{over}</span></div>'
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _split_table(evaluation: Evaluation) -> str:
    columns = ["split", "train", "validation", "test", *(metric.upper() for metric in METRICS), "PLCC, RMSE after"]
    rows = [f"<tr>{''.join(f'<th>{column}</th>' for column in columns)}</tr>"]
    for number, (split, metrics) in enumerate(zip(evaluation.splits, evaluation.metrics, strict=True), start=1):
        sizes = [f"{len(part):,d}" for part in split.parts().values()]
        values = [f"{getattr(metrics, metric):.4f}" for metric in METRICS]
        cells = [str(number), *sizes, *values, metrics.mapping.kind]
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f"<table>{''.join(rows)}</table>"


def _facts(scores: OpinionScores, evaluation: Evaluation, description: dict[str, Any]) -> str:
    within = Spread.of([result.metrics.srcc for result in evaluation.chosen_within]).median
    encoders = ", ".join(
        f"{kind.replace('_', '-')}: {fingerprint[:12] if fingerprint else 'not recorded'}"
        for kind, fingerprint in description["encoders"].items()
    )
    facts = {
        "scores": f"{scores.source}. {scores.inversion}".strip(),
        "features": f"{evaluation.pipeline.n_features_in_:,d} values, encoder {encoders}",
        "splits": description["protocol"],
        "regressor": str(evaluation.hyperparameters),
        "chosen by": f"median SRCC on the validation parts, {evaluation.search.median.max():.4f}, of "
        f"{len(evaluation.search.candidates)} candidates; then fitted on train and validation parts for the test, and "
        "on all images for use",
        "SRCC, choice within splits": f"{within:.4f} where each split takes the candidate that its own validation part "
        "prefers, so that splits share nothing",
        "PLCC and RMSE": "after the 4-parameter logistic of the VQEG, fitted on each test part",
        "versions": ", ".join(f"{name} {version}" for name, version in description.get("versions", {}).items()),
    }
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in facts.items() if text)
    return f'<table class="facts">{rows}</table>'


def _evenly_ranked(predicted: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Images at even steps of the ranking, best first."""
    ranking = tested[np.argsort(-predicted[tested], kind="stable")]
    return ranking[np.unique(np.linspace(0, len(ranking) - 1, N_PICTURES).round().astype(int))]


def _largest_errors(predicted: np.ndarray, mos: np.ndarray, mapping: OpinionMapping, tested: np.ndarray) -> np.ndarray:
    errors = np.abs(mapping(predicted[tested]) - mos[tested])
    return tested[np.argsort(-errors, kind="stable")[:N_PICTURES]]


def _picture(image: str, predicted: float, mos: float, pictures: dict[str, Path]) -> str:
    return (
        f"<figure>{_thumbnail(pictures.get(image))}<figcaption>predicted <b>{predicted:.3g}</b><br>"
        f"opinion <b>{mos:.3g}</b><br>{escape(image)}</figcaption></figure>"
    )


def _thumbnail(path: Path | None) -> str:
    try:
        if path is None:
            raise UserError("not found")
        image = Image.fromarray(read_image(path))
    except UserError:
        return '<div class="blank"></div>'
    image.thumbnail((2 * THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def _svg(draw, *arguments, size: tuple[float, float] = (5.0, 4.2)) -> str:
    figure = Figure(figsize=size, layout="constrained")
    draw(figure, *arguments)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(PALE)
        axes.tick_params(colors=INK, labelsize=9, length=3)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _scatter(figure: Figure, predicted: np.ndarray, mos: np.ndarray, mapping: OpinionMapping) -> None:
    axes = figure.subplots()
    # As dots up to some thousands; an SVG of more would not open.
    many = len(mos) > 5000
    axes.scatter(predicted, mos, s=6 if many else 14, alpha=0.25 if many else 0.55, color=ACCENT, linewidths=0,
                 rasterized=many)  # fmt: skip
    along = np.linspace(predicted.min(), predicted.max(), 200)
    axes.plot(along, mapping(along), color=WARM, linewidth=2)
    axes.set_xlabel("predicted")
    axes.set_ylabel("opinion")


def _split_plot(figure: Figure, evaluation: Evaluation) -> None:
    axes: Axes = figure.subplots()
    shown = ("srcc", "plcc", "krcc")
    for position, name in enumerate(shown):
        values = np.array([getattr(metrics, name) for metrics in evaluation.metrics])
        jitter = np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else np.zeros(1)
        axes.scatter(position + jitter, values, s=26, color=ACCENT, alpha=0.7, linewidths=0)
        axes.hlines(np.median(values), position - 0.28, position + 0.28, color=WARM, linewidth=2)
    axes.set_xticks(range(len(shown)), [name.upper() for name in shown])
    axes.set_xlim(-0.5, len(shown) - 0.5)
    axes.grid(axis="y", color="#edf0f3")
    axes.set_axisbelow(True)


def _search_plot(figure: Figure, evaluation: Evaluation) -> None:
    search = evaluation.search
    lower, median, upper = np.percentile(search.srcc, (25, 50, 75), axis=0)
    numbered = list(enumerate(search.candidates))
    estimators = list(dict.fromkeys(candidate.estimator for candidate in search.candidates))
    for axes, estimator in zip(
        np.atleast_1d(figure.subplots(1, len(estimators), sharey=True)), estimators, strict=True
    ):
        of_family = [(index, one) for index, one in numbered if one.estimator == estimator]
        paths = groupby(of_family, key=lambda pair: (pair[1].standardized, pair[1].l1_ratio))
        for number, ((standardized, l1_ratio), path) in enumerate(paths):
            rows = [index for index, _ in path]
            alphas = [search.candidates[index].alpha for index in rows]
            label = ("standardised" if standardized else "raw") + (f", l1_ratio {l1_ratio:g}" if l1_ratio else "")
            (line,) = axes.plot(alphas, median[rows], marker=".", color=f"C{number}", label=label)
            axes.fill_between(alphas, lower[rows], upper[rows], color=line.get_color(), alpha=0.12, linewidth=0)
        if evaluation.hyperparameters.estimator == estimator:
            best = int(np.argmax(median))
            axes.plot(search.candidates[best].alpha, median[best], "o", markersize=12, markerfacecolor="none",
                      markeredgecolor=WARM, markeredgewidth=2)  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlabel(f"alpha ({'Ridge' if estimator == 'ridge' else 'ElasticNet'})")
        axes.grid(axis="y", color="#edf0f3")
        axes.legend(frameon=False, fontsize=8)
    figure.axes[0].set_ylabel("validation SRCC")
