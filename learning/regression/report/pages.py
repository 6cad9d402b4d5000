"""The page of scores, and what it shares with the report: templates, small pictures, texts on the regressor.

A page is one self-contained HTML file: thumbnails, scores, maps of local quality, the model's card.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import jinja2
import numpy as np
from PIL import Image

from common import log
from common.atomic_files import whole_file
from common.progress_bar import ProgressBar
from learning.regression.model.description import RegressorDescription
from learning.regression.model.meaning import Opinions, ScoreInterval
from networks.errors import UserError
from networks.images.formats import MAX_PIXELS
from networks.images.reading import read_image
from networks.names import GIVEN

TEMPLATES = Path(__file__).parent / "templates"

THUMBNAIL_SIDE = 320
"""Pixels of a thumbnail's longer side."""

THUMBNAIL_BYTES = 20_000
"""A thumbnail with more bytes is compressed further: a page of 2,000 images with maps stays below 110 MB."""

WEBP_QUALITIES = (60, 30, 5)


def write_page(path: Path, template: str, **fields: object) -> None:
    """Writes a page from a template of this package, in which fields are text and not HTML.

    A field may be an iterator of which the template takes one element at a time; one that is missing raises an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        environment.get_template(template).stream(**fields).dump(file, encoding="utf-8", errors="replace")


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


def model_facts(description: RegressorDescription) -> dict[str, str]:
    """Name -> text of what the description records of the model; a text is empty where there is nothing to tell."""
    intervals = description.intervals
    srcc = [metrics.srcc for metrics in description.reported.splits]
    agreement = f"SRCC with opinions {np.median(srcc):.3f}, no interval recorded" if srcc else ""
    if intervals:
        agreement = f"SRCC with opinions {intervals.metrics['srcc'].in_words()}, 95 % interval in brackets"
    n_images = f", {description.n_images:,d} images" if description.n_images else ""
    encoders = [
        "of another program"
        if kind == GIVEN
        else f"{kind.replace('_', '-')}: {identity[:12] if identity else 'not recorded'}"
        for kind, identity in description.encoders.items()
    ]
    return {
        "fitted on": f"{description.scores or 'not recorded'}{n_images}. {description.inversion}".strip(),
        "on held-out images": agreement,
        "encoders": ", ".join(encoders),
        "regressor": str(description.hyperparameters) if description.hyperparameters else "",
        "splits": description.protocol,
        "note": description.note,
        "versions": ", ".join(f"{name} {version}" for name, version in description.versions.items()),
    }


@dataclass(frozen=True)
class ScoredImage:
    """A row of the page: the name that the input gives, the file, the score, and the picture that holds its map."""

    name: str
    path: str
    score: float
    map: Path | None = None


def write_score_page(
    path: Path,
    images: Sequence[ScoredImage],
    description: RegressorDescription,
    interval: ScoreInterval | None,
    model: str,
    card: str,
    closing: str,
    problems: Sequence[str] = (),
    max_pixels: int = MAX_PIXELS,
) -> list[str]:
    """Writes the page, best image first; one image at a time is in memory. Names and thumbnails link to the files.

    ``interval`` is explained once, ``model`` is a line about the model, ``card`` its card or empty, ``closing`` a line
    about all files, and ``problems`` has a sentence for each file with one.
    Returns a sentence for each image that could not be read again for its thumbnail; the page holds it too.
    """
    scores = np.array([image.score for image in images])
    lowest, highest = description.score_range
    lead = f"The model was fitted to opinions from {lowest:.3g} to {highest:.3g}; higher is better."
    if images:
        lead = f"Scores from {scores.min():.3g} to {scores.max():.3g}, median {np.median(scores):.3g}. {lead}"
    folder = os.path.abspath(path.parent)
    unread: list[str] = []
    write_page(
        path,
        "scores.html.j2",
        title=f"Quality of {len(images):,d} image{'s' * (len(images) != 1)}",
        lead=lead,
        notes=description.meaning(interval),
        has_maps=any(image.map is not None for image in images),
        figures=_figures(sorted(images, key=lambda image: -image.score), max_pixels, unread),
        opinions=description.opinions or Opinions.of(np.array(description.score_range)),
        graded=description.opinions is not None,
        link=lambda image: quote(os.fsencode(os.path.relpath(image.path, folder).replace(os.sep, "/"))),
        unread=unread,  # filled while the figures are written; the template prints it after them
        model=model,
        card=card,
        closing=closing,
        problems=problems,
        facts=model_facts(description),
    )
    return unread


def _figures(
    images: Sequence[ScoredImage], max_pixels: int, unread: list[str]
) -> Iterator[tuple[ScoredImage, str | None, str | None]]:
    """Each image with the thumbnails of its photograph and its map, None where it has none."""
    bar = ProgressBar(len(images), "thumbnail")
    for image in images:
        photograph, local_quality = None, None
        try:
            photograph = thumbnail(Image.fromarray(read_image(image.path, max_pixels)))
        except UserError as error:  # the file was scored and has vanished since, for example
            unread.append(f"no picture: {error}")
            log.error(unread[-1])
        if image.map is not None:
            with Image.open(image.map) as picture:  # of ``quality_maps``: its right half is the map
                local_quality = thumbnail(picture.crop((picture.width // 2, 0, picture.width, picture.height)))
        yield image, photograph, local_quality
        bar.add(1)
    bar.close()
