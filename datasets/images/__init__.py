"""From an image file to uint8 RGB: decoding, formats, depth, resampling; folders and lists of inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets.images.reading import read_image

__all__ = ["read_image"]


def __getattr__(name: str) -> Any:
    """Imports the reader when it is asked for: commands that only list images do not wait for Pillow."""
    if name in __all__:
        from datasets.images import reading

        return getattr(reading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
