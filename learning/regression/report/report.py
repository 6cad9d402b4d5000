"""The report on a regressor, as one HTML page with everything inside: metrics, plots, pictures."""

from __future__ import annotations

import base64
import contextlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from common.atomic_files import whole_file
from common.errors import UserError
from common.names import GIVEN
from datasets.images import read_image
from datasets.images.folders import find_images
from datasets.images.lists import match_names
from datasets.opinions.scores import OpinionScores
from learning.regression.evaluate.held_out import HeldOut
from learning.regression.evaluate.protocol import Evaluation
from learning.regression.evaluate.results import LABELS, METRICS
from learning.regression.model.description import RegressorDescription
from learning.regression.report.pages import page_template, page_text
from learning.regression.report.plots import scatter_plot, search_plot, split_plot

N_PICTURES = 12
THUMBNAIL_PIXELS = 220


def find_pictures(images: Sequence[str], beside: Path, folder: Path | None) -> dict[str, Path]:
    """The files of the images that are found, by the images' names in the table of scores.

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
        # A picture that fits several files is left out rather than shown wrong.
        with contextlib.suppress(UserError):
            found |= {image: names[name] for image, name in match_names(missing, list(names), str(folder)).items()}
    return found


@dataclass(frozen=True)
class _Picture:
    """A thumbnail (JPEG in base64, or None where the image cannot be shown) with what was predicted of it."""

    image: str
    predicted: float
    mos: float
    jpeg: str | None


@dataclass(frozen=True)
class _Card:
    name: str
    value: str
    lines: list[str]


def write_report(
    path: Path,
    scores: OpinionScores,
    evaluation: Evaluation,
    held_out: HeldOut,
    description: RegressorDescription,
    pictures: dict[str, Path],
) -> None:
    """Writes the page; ``description`` is the one saved with the regressor, ``pictures`` is from ``find_pictures``."""
    mos, predicted, tested = scores.mos, held_out.mapped, held_out.tested

    def thumbnails(rows: np.ndarray) -> list[_Picture]:
        return [
            _Picture(scores.images[row], predicted[row], mos[row], _thumbnail(pictures.get(scores.images[row])))
            for row in rows
        ]

    page = page_template("report.html.j2").render(
        style=page_text("report.css"),
        title=f"Predicted quality: {_short_source(scores.source)}",
        note=description.note,
        lead=f"{len(mos):,d} images with opinion scores from {mos.min():g} to {mos.max():g}, higher is better. "
        f"{scores.inversion} Every metric is of images that the regressor had not seen.",
        answer=_answer(evaluation, description),
        cards=_cards(evaluation, description),
        comparison=_comparison(evaluation, description, mos),
        columns=list(LABELS.values()),
        breakdown=_breakdown_rows(description),
        scatter_plot=scatter_plot(predicted[tested], mos[tested]),
        split_plot=split_plot(evaluation),
        search_plot=search_plot(evaluation.search),
        n_tested=f"{len(tested):,d}",
        choice=str(evaluation.hyperparameters),
        images_found=bool(pictures),
        ranked=thumbnails(_evenly_ranked(predicted, tested)),
        largest_errors=thumbnails(_largest_errors(predicted, mos, tested)),
        split_columns=["split", "train", "validation", "test", *LABELS.values(), "fit"],
        split_rows=_split_rows(evaluation),
        facts=_facts(scores, evaluation, description),
    )
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")


def _short_source(source: str) -> str:
    """The table's name with its folder: most are called alike."""
    return "/".join(part for part in Path(source).parts[-2:] if part != Path(source).anchor)


CHOICE_TEXTS = {
    "nested": "hyper-parameters chosen within each split: no test image has any influence",
    "shared": "one choice of hyper-parameters for all splits: test images influence the choice",
}


def _answer(evaluation: Evaluation, description: RegressorDescription) -> str:
    """How good and how sure, in two sentences."""
    n_splits = len(evaluation.splits)
    srcc = evaluation.reported.spread("srcc").median
    where = f"the median over {n_splits} test parts" if n_splits > 1 else "on the test part"
    sentence = f"SRCC {srcc:.3f}, {where}"
    if description.intervals:
        interval = description.intervals.metrics["srcc"]
        sentence += f"; with 95 % confidence between {interval.low:.3f} and {interval.high:.3f}"
    return f"{sentence}. {CHOICE_TEXTS[evaluation.choice].capitalize()}."


def _shown(metric: str, value: float) -> str:
    """Correlations with three decimals; an error in units of the opinions with four digits."""
    return f"{value:#.4g}" if metric == "rmse" else f"{value:.3f}"


def _cards(evaluation: Evaluation, description: RegressorDescription) -> list[_Card]:
    cards = []
    for metric in ("srcc", "plcc", "krcc", "rmse"):
        spread = evaluation.reported.spread(metric)
        lines = []
        if description.intervals:
            interval = description.intervals.metrics[metric]
            lines.append(f"95 % interval {_shown(metric, interval.low)} to {_shown(metric, interval.high)}")
        if len(evaluation.splits) > 1:
            middle = f"{_shown(metric, spread.lower_quartile)} to {_shown(metric, spread.upper_quartile)}"
            lines.append(f"middle half of the splits {middle}")
        cards.append(_Card(LABELS[metric], _shown(metric, spread.median), lines or ["on the one test part"]))
    return cards


def _comparison(evaluation: Evaluation, description: RegressorDescription, mos: np.ndarray) -> list[list[str]]:
    """Rows of the table "Compared with": a name, then each of METRICS, empty where it does not exist."""
    both = {"nested": evaluation.nested, "shared": evaluation.shared}
    names = {"nested": "choice within each split", "shared": "one choice for all splits"}
    order = [evaluation.choice, *(choice for choice in both if choice != evaluation.choice)]
    rows = [
        [
            f"this regressor, {names[choice]}",
            *(_shown(metric, both[choice].spread(metric).median) for metric in METRICS),
        ]
        for choice in order
    ]
    if description.observers:
        rows.append(["ceiling: one half of the observers against the other", f"{description.observers.ceiling:.3f}"])
    rows.append(["the mean opinion for every image", "0", "0", "0", "0", _shown("rmse", mos.std())])
    return [row + [""] * (1 + len(METRICS) - len(row)) for row in rows]


def _breakdown_rows(description: RegressorDescription) -> dict[str, list[list[str]]]:
    """Kind and level of distortion -> rows: label, number of images, SRCC, PLCC fit, RMSE fit."""
    found = description.breakdown
    return {
        name: [
            [one.label, f"{one.n_images:,d}"]
            + ["-" if value is None else f"{value:.3f}" for value in (one.srcc, one.plcc, one.rmse)]
            for one in results
        ]
        for name, results in (found.tables if found else {}).items()
    }


def _split_rows(evaluation: Evaluation) -> list[list[str]]:
    rows = []
    for number, (split, metrics) in enumerate(
        zip(evaluation.splits, evaluation.reported.metrics, strict=True), start=1
    ):
        sizes = [f"{len(part):,d}" for part in split.parts().values()]
        values = [f"{getattr(metrics, metric):.4f}" for metric in METRICS]
        rows.append([str(number), *sizes, *values, metrics.mapping])
    return rows


def _facts(scores: OpinionScores, evaluation: Evaluation, description: RegressorDescription) -> dict[str, str]:
    encoders = (
        "of another program"
        if description.kinds == (GIVEN,)
        else "encoder "
        + ", ".join(
            f"{kind.replace('_', '-')}: {fingerprint[:12] if fingerprint else 'not recorded'}"
            for kind, fingerprint in description.encoders.items()
        )
    )
    return {
        "scores": f"{scores.source}. {scores.inversion}" if scores.inversion else scores.source,
        "features": f"{len(evaluation.model.weights):,d} values, {encoders}",
        "splits": description.protocol,
        "regressor": str(evaluation.hyperparameters),
        "chosen by": f"median SRCC on the validation parts, {evaluation.search.median.max():.4f}, of "
        f"{len(evaluation.search.candidates)} candidates; then fitted on train and validation parts for the test, and "
        "on all images for use",
        "PLCC fit, RMSE fit": f"after a logistic with {evaluation.reported.n_parameters} parameters, fitted on each "
        "test part",
        "95 % intervals": _intervals_in_words(description),
        "prediction intervals": _prediction_intervals_in_words(description),
        "observers": _observers_in_words(description),
        "versions": ", ".join(f"{name} {version}" for name, version in description.versions.items()),
    }


def _intervals_in_words(description: RegressorDescription) -> str:
    found = description.intervals
    if found is None:
        return ""
    return f"percentile bootstrap over groups, moved by its bias, {found.n_resamples:,d} samples, seed {found.seed}"


def _prediction_intervals_in_words(description: RegressorDescription) -> str:
    found = description.prediction_intervals
    if found is None or found.coverage is None:
        return ""
    return (
        f"90 % of opinions lie within {found.half_width(0.9):.3g} of the prediction (split conformal); on held-out "
        f"images {found.coverage:.1%} did"
    )


def _observers_in_words(description: RegressorDescription) -> str:
    found = description.observers
    if found is None:
        return ""
    return (
        f"std {found.mean_std:.3g}, {found.mean_raters:.3g} raters an image; SRCC between two simulated halves "
        f"{found.ceiling:.4f}; outlier ratio {found.outlier_ratio:.4f}, epsilon-insensitive RMSE "
        f"{found.rmse_epsilon:.4f} (ITU-T P.1401)"
    )


def _evenly_ranked(predicted: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Images at even steps of the ranking, best first."""
    ranking = tested[np.argsort(-predicted[tested], kind="stable")]
    return ranking[np.unique(np.linspace(0, len(ranking) - 1, N_PICTURES).round().astype(int))]


def _largest_errors(predicted: np.ndarray, mos: np.ndarray, tested: np.ndarray) -> np.ndarray:
    errors = np.abs(predicted[tested] - mos[tested])
    return tested[np.argsort(-errors, kind="stable")[:N_PICTURES]]


def _thumbnail(path: Path | None) -> str | None:
    """A small JPEG of the image in base64; None where it was not found or cannot be read."""
    if path is None:
        return None
    try:
        image = Image.fromarray(read_image(path))
    except UserError:
        return None
    image.thumbnail((2 * THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()
