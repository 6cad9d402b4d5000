"""The scored images as one self-contained HTML page: thumbnails, scores, maps of local quality, the model's card."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from common import log
from common.atomic_files import whole_file
from common.errors import UserError
from common.progress_bar import ProgressBar
from datasets.images import MAX_PIXELS, read_image
from learning.regression.model.description import RegressorDescription
from learning.regression.report.pages import page_template, page_text

THUMBNAIL_SIDE = 320
"""Pixels of a thumbnail's longer side."""

THUMBNAIL_BYTES = 20_000
"""A thumbnail with more bytes is compressed further: a page of 2,000 images with maps stays below 110 MB."""

WEBP_QUALITIES = (60, 30, 5)


@dataclass(frozen=True)
class ScoredImage:
    """A row of the page: the name that the input gives, the file, the score, and the picture that holds its map."""

    name: str
    path: str
    score: float
    map: Path | None = None


@dataclass(frozen=True)
class PageTexts:
    """Sentences of the page: about the model, ``closing`` on all files, ``failed`` on each file with a problem.

    ``card`` is a longer text on the model and ``interval`` explains the intervals; empty where there is none.
    """

    model: str
    closing: str
    failed: Sequence[str] = ()
    card: str = ""
    interval: str = ""


Ends = Callable[[float], tuple[float, float]]
"""A score -> the ends of its prediction interval."""


@dataclass(frozen=True)
class _Figure:
    """A ScoredImage as the template shows it; pictures are WebP in base64, ``share`` is the score's place in 0..1."""

    name: str
    score: float
    share: float
    photograph: str | None
    map: str | None
    interval: tuple[float, float] | None


def write_page(
    path: Path,
    images: Sequence[ScoredImage],
    description: RegressorDescription,
    texts: PageTexts,
    ends: Ends | None = None,
    max_pixels: int = MAX_PIXELS,
) -> list[str]:
    """Writes the page, best image first; one image at a time is in memory. ``ends`` adds a prediction interval.

    Returns a sentence for each image that could not be read again for its thumbnail; the page holds it too.
    """
    unread: list[str] = []
    ranked = sorted(images, key=lambda image: -image.score)
    scores = np.array([image.score for image in images])
    stream = page_template("scores.html.j2").stream(
        style=page_text("report.css") + page_text("scores.css"),
        script=page_text("scores.js"),
        title=f"Quality of {len(images):,d} image{'s' * (len(images) != 1)}",
        lead=_lead(scores, description),
        n_images=len(images),
        has_maps=any(image.map is not None for image in images),
        figures=_figures(ranked, description.score_range, ends, max_pixels, unread),
        unread=unread,  # filled while the figures are written; the template prints it after them
        texts=texts,
        facts=model_facts(description),
    )
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        stream.dump(file, encoding="utf-8", errors="replace")
    return unread


def _lead(scores: np.ndarray, description: RegressorDescription) -> str:
    lowest, highest = description.score_range
    return (
        f"Scores from {scores.min():.3g} to {scores.max():.3g}, median {np.median(scores):.3g}; higher is better. "
        f"The model was fitted to opinions from {lowest:.3g} to {highest:.3g}."
    )


def _figures(
    images: Sequence[ScoredImage],
    score_range: tuple[float, float],
    ends: Ends | None,
    max_pixels: int,
    unread: list[str],
) -> Iterator[_Figure]:
    lowest, highest = score_range
    bar = ProgressBar(len(images), "thumbnail")
    for image in images:
        share = float(np.clip((image.score - lowest) / ((highest - lowest) or 1), 0, 1))
        interval = ends(image.score) if ends else None
        photograph = _photograph(image.path, max_pixels, unread)
        yield _Figure(image.name, image.score, share, photograph, _map(image.map), interval)
        bar.add(1)
    bar.close()


def _photograph(path: str, max_pixels: int, unread: list[str]) -> str | None:
    try:
        return thumbnail(Image.fromarray(read_image(path, max_pixels)))
    except UserError as error:  # the file was scored and has vanished since, for example
        unread.append(f"no picture: {error}")
        log.error(unread[-1])
        return None


def _map(picture: Path | None) -> str | None:
    """The right half of a picture of ``quality_maps``, which is the map."""
    if picture is None:
        return None
    with Image.open(picture) as opened:
        width, height = opened.size
        return thumbnail(opened.crop((width // 2, 0, width, height)))


def thumbnail(image: Image.Image) -> str:
    """A small WebP in base64, which is at most THUMBNAIL_SIDE pixels wide and high. It changes ``image``."""
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    content = b""
    for quality in WEBP_QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=quality)
        content = buffer.getvalue()
        if len(content) <= THUMBNAIL_BYTES:
            break
    return base64.b64encode(content).decode()


def model_facts(description: RegressorDescription) -> Mapping[str, str]:
    """Name -> text of what the description records of the model; texts may be empty."""
    encoders = ", ".join(
        f"{kind.replace('_', '-')}: {identity[:12] if identity else 'not recorded'}"
        for kind, identity in description.encoders.items()
    )
    intervals = description.intervals
    spread = description.reported.spreads.get("srcc")
    agreement = f"SRCC with opinions {spread.median:.3f}, no interval recorded" if spread else ""
    if intervals:
        agreement = f"SRCC with opinions {intervals.metrics['srcc'].in_words()}, 95 % interval in brackets"
    n_images = f", {description.n_images:,d} images" if description.n_images else ""
    return {
        "fitted on": f"{description.scores or 'not recorded'}{n_images}. {description.inversion}".strip(),
        "on held-out images": agreement,
        "encoders": encoders,
        "regressor": str(description.hyperparameters) if description.hyperparameters else "",
        "splits": description.protocol,
        "note": description.note,
        "versions": ", ".join(f"{name} {version}" for name, version in description.versions.items()),
    }
