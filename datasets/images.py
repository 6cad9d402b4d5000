"""Any image file, safely, as RGB uint8."""

import os
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from common.errors import UserError

# Pillow has a limit of its own, by warning and at twice that by error; read_image has one that a person can set.
Image.MAX_IMAGE_PIXELS = None

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"))

_SUFFIX_BYTES = frozenset(suffix.encode() for suffix in IMAGE_SUFFIXES)

MAX_PIXELS = 100_000_000
"""More pixels than any camera's photograph: what claims more is taken for a decompression bomb."""


def read_image(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads an image file as RGB, uint8 (H, W, 3), turned as its EXIF orientation says.

    Grey is repeated in the three channels; palettes are looked up; what is transparent lies on white, as a page
    shows it; CMYK is converted without its profile; 16 bits become 8 by dropping the lower half; of an animation
    the first frame counts. Raises UserError, with the path, for whatever is not a readable image, and for one of more
    than ``max_pixels``, before it is decoded.
    """
    name = os.fspath(path)
    try:
        # A pipe would be waited for, and a device read for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
            raise UserError(f"image {name} is not a file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise UserError(
                        f"image {name} has {width}x{height} pixels, more than --max_pixels {max_pixels:,d} allows"
                    )
                ImageOps.exif_transpose(image, in_place=True)
                return np.array(_as_rgb(image))
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"image {name} does not exist") from None
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads them to
        raise UserError(f"image {name} cannot be read: {type(error).__name__}: {error}") from None


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image)
        return Image.fromarray(np.clip(values // 256, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        page = Image.new("RGB", image.size, "white")
        page.paste(image, mask=image.getchannel("A"))
        return page
    return image.convert("RGB")


def scan_images(folder: str | os.PathLike, progress: bool = False) -> list[bytes]:
    """The paths of all image files below ``folder``, by their ending, sorted; with a bar that counts, if wanted.

    Hidden files, such as macOS's ._ ones, are left out. Links to folders are followed, each folder once. Raises
    UserError for a folder that is not there or holds no images.
    """
    if not os.path.isdir(folder):  # noqa: PTH112
        raise UserError(f"{os.fspath(folder)} is not a folder")
    found: list[bytes] = []
    visited = set()
    with tqdm(desc=f"scanning {os.fspath(folder)}", unit="image", disable=None if progress else True) as bar:
        for parent, folders, names in os.walk(os.fsencode(folder), followlinks=True):
            real = os.path.realpath(parent)
            if real in visited:
                folders.clear()
                continue
            visited.add(real)
            images = [
                os.path.join(parent, name)
                for name in names
                if os.path.splitext(name)[1].lower() in _SUFFIX_BYTES and not name.startswith(b".")
            ]
            found += images
            bar.update(len(images))
    if not found:
        raise UserError(f"{os.fspath(folder)} holds no images")
    return sorted(found)


def find_images(folder: Path) -> list[Path]:
    """The images below ``folder`` as in ``scan_images``; an empty list where there are none."""
    try:
        return [Path(os.fsdecode(path)) for path in scan_images(folder)]
    except UserError:
        return []
