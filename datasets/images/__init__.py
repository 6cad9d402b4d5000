"""From an image file to uint8 RGB: decoding, formats, depth, resampling; folders and lists of inputs."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Imports ``read_image`` when it is asked for: commands that only list images do not wait for Pillow."""
    if name == "read_image":
        from networks.images.reading import read_image

        return read_image
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
