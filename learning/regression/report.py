"""The report on a regressor, as one HTML page with everything inside: metrics, plots, pictures."""

from __future__ import annotations

import base64
import contextlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from common.atomic_files import whole_file
from common.errors import UserError
from datasets.image_lists import match_names
from datasets.images import find_images, read_image
from datasets.opinion_scores import OpinionScores
from learning.regression.description import RegressorDescription
from learning.regression.evaluation import METRICS, Evaluation
from learning.regression.metrics import OpinionMapping
from learning.regression.plots import scatter_plot, search_plot, split_plot

TEMPLATES = Path(__file__).parent / "templates"

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
    range: str


def write_report(
    path: Path,
    scores: OpinionScores,
    evaluation: Evaluation,
    description: RegressorDescription,
    pictures: dict[str, Path],
) -> None:
    """Writes the page; ``description`` is the one saved with the regressor, ``pictures`` is from ``find_pictures``."""
    mos = scores.mos
    predicted = evaluation.held_out(len(mos))
    mapping = evaluation.held_out_mapping(mos)
    tested = np.flatnonzero(np.isfinite(predicted))

    def thumbnails(rows: np.ndarray) -> list[_Picture]:
        opinions = [float(mapping(predicted[row])) for row in rows]
        return [
            _Picture(scores.images[row], opinion, mos[row], _thumbnail(pictures.get(scores.images[row])))
            for row, opinion in zip(rows, opinions, strict=True)
        ]

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("report.html.j2").render(
        style=(TEMPLATES / "report.css").read_text(),
        title=f"Predicted quality: {Path(scores.source).name}",
        note=description.note,
        lead=f"{len(mos):,d} images with opinion scores from {mos.min():g} to {mos.max():g}, higher is better. "
        f"{scores.inversion} Every metric is of images that the regressor had not seen.",
        cards=_cards(evaluation),
        scatter_plot=scatter_plot(predicted[tested], mos[tested], mapping),
        split_plot=split_plot(evaluation),
        search_plot=search_plot(evaluation.search),
        n_tested=f"{len(tested):,d}",
        mapping_kind=mapping.kind,
        choice=str(evaluation.hyperparameters),
        images_found=bool(pictures),
        ranked=thumbnails(_evenly_ranked(predicted, tested)),
        largest_errors=thumbnails(_largest_errors(predicted, mos, mapping, tested)),
        split_columns=["split", "train", "validation", "test", *map(str.upper, METRICS), "PLCC, RMSE after"],
        split_rows=_split_rows(evaluation),
        facts=_facts(scores, evaluation, description),
    )
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")


def _cards(evaluation: Evaluation) -> list[_Card]:
    cards = []
    for metric in METRICS:
        spread = evaluation.spread(metric)
        over = "on the one test part"
        if len(evaluation.splits) > 1:
            over = f"{spread.lower_quartile:.3f} to {spread.upper_quartile:.3f}, middle half of the splits"
        cards.append(_Card(metric.upper(), f"{spread.median:.3f}", over))
    return cards


def _split_rows(evaluation: Evaluation) -> list[list[str]]:
    rows = []
    for number, (split, metrics) in enumerate(zip(evaluation.splits, evaluation.metrics, strict=True), start=1):
        sizes = [f"{len(part):,d}" for part in split.parts().values()]
        values = [f"{getattr(metrics, metric):.4f}" for metric in METRICS]
        rows.append([str(number), *sizes, *values, metrics.mapping.kind])
    return rows


def _facts(scores: OpinionScores, evaluation: Evaluation, description: RegressorDescription) -> dict[str, str]:
    encoders = ", ".join(
        f"{kind.replace('_', '-')}: {fingerprint[:12] if fingerprint else 'not recorded'}"
        for kind, fingerprint in description.encoders.items()
    )
    return {
        "scores": f"{scores.source}. {scores.inversion}".strip(),
        "features": f"{evaluation.pipeline.n_features_in_:,d} values, encoder {encoders}",
        "splits": description.protocol,
        "regressor": str(evaluation.hyperparameters),
        "chosen by": f"median SRCC on the validation parts, {evaluation.search.median.max():.4f}, of "
        f"{len(evaluation.search.candidates)} candidates; then fitted on train and validation parts for the test, and "
        "on all images for use",
        "SRCC, choice within splits": f"{description.srcc_chosen_within_each_split:.4f} where each split takes the "
        "candidate that its own validation part prefers, so that splits share nothing",
        "PLCC and RMSE": "after the 4-parameter logistic of the VQEG, fitted on each test part",
        "versions": ", ".join(f"{name} {version}" for name, version in description.versions.items()),
    }


def _evenly_ranked(predicted: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Images at even steps of the ranking, best first."""
    ranking = tested[np.argsort(-predicted[tested], kind="stable")]
    return ranking[np.unique(np.linspace(0, len(ranking) - 1, N_PICTURES).round().astype(int))]


def _largest_errors(predicted: np.ndarray, mos: np.ndarray, mapping: OpinionMapping, tested: np.ndarray) -> np.ndarray:
    errors = np.abs(mapping(predicted[tested]) - mos[tested])
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
