"""Any image file, safely, as RGB uint8."""

import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from common.errors import UserError

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"))


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Reads an image file as RGB, uint8 (H, W, 3), turned as its EXIF orientation says.

    Grey is repeated in the three channels; palettes are looked up; what is transparent lies on white, as a page
    shows it; CMYK is converted without its profile; 16 bits become 8 by dropping the lower half; of an animation
    the first frame counts. Raises UserError, with the path, for whatever is not a readable image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return np.array(_as_rgb(ImageOps.exif_transpose(image)))
    except FileNotFoundError:
        raise UserError(f"image {os.fspath(path)} does not exist") from None
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads them to
        raise UserError(f"image {os.fspath(path)} cannot be read: {type(error).__name__}: {error}") from None


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image)
        return Image.fromarray(np.clip(values // 256, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def find_images(folder: Path) -> list[Path]:
    """All image files below ``folder``, by their ending, sorted; hidden ones, such as macOS's ._ files, left out.

    Links to folders are followed, each folder once.
    """
    found, visited = [], set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        found += [
            Path(parent, name)
            for name in names
            if Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")
        ]
    return sorted(found)
