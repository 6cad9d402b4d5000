"""Templates and the style sheet that all HTML pages share."""

from __future__ import annotations

from pathlib import Path

import jinja2

TEMPLATES = Path(__file__).parent / "templates"


def page_template(name: str) -> jinja2.Template:
    """A template of this package; a field that is missing raises an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(name)


def page_text(name: str) -> str:
    """The text of a style sheet or script of this package."""
    return (TEMPLATES / name).read_text(encoding="utf-8")
