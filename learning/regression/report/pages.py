"""Templates, small pictures and texts on the regressor, which both HTML pages share."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import jinja2
from PIL import Image

from common.atomic_files import whole_file
from learning.regression.model.description import RegressorDescription

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


def encoders_in_words(description: RegressorDescription) -> str:
    """The kinds of features with the beginning of their encoders' identities."""
    return ", ".join(
        f"{kind.replace('_', '-')}: {identity[:12] if identity else 'not recorded'}"
        for kind, identity in description.encoders.items()
    )


def versions_in_words(description: RegressorDescription) -> str:
    """The packages with which the regressor was fitted."""
    return ", ".join(f"{name} {version}" for name, version in description.versions.items())
