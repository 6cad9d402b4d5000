"""From an image file to uint8 RGB: reading, depth, formats, resampling; folders and lists of inputs."""

from datasets.images.reading import MAX_PIXELS, read_image

__all__ = ["MAX_PIXELS", "read_image"]
