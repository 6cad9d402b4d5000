"""``python -m datasets.distortions IMAGE --sheet out.png`` draws all kinds at all levels, with their names."""

import argparse
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common import log
from common.atomic_files import whole_file
from common.process import run_script
from datasets.distortions import DISTORTIONS, N_LEVELS, distort
from networks.errors import UserError
from networks.images.reading import read_image

TILE_WIDTH = 256
CAPTION_HEIGHT = 18
NAME_WIDTH = 170
MARGIN = 6


def contact_sheet(image: np.ndarray) -> Image.Image:
    """One row for each kind of distortion: the undistorted image, then the five levels.

    ``image`` is uint8 RGB (H, W, 3). It is reduced to ``TILE_WIDTH`` before it is distorted, so that the
    distortions are visible at their true size. A very tall image is squeezed to twice its width.
    """
    height, width = image.shape[:2]
    tile_height = min(max(1, round(height * TILE_WIDTH / width)), 2 * TILE_WIDTH)
    tile = cv2.resize(image, (TILE_WIDTH, tile_height), interpolation=cv2.INTER_AREA)

    row_height = tile_height + CAPTION_HEIGHT
    sheet_size = (NAME_WIDTH + (N_LEVELS + 1) * (TILE_WIDTH + MARGIN), len(DISTORTIONS) * row_height + MARGIN)
    sheet = Image.new("RGB", sheet_size, "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    rng = np.random.default_rng(0)
    for row, (name, kind) in enumerate(DISTORTIONS.items()):
        y = MARGIN + row * row_height
        draw.text((MARGIN, y + tile_height // 2), name, fill="black", font=font)
        tiles = [("undistorted", tile)]
        tiles += [
            (f"level {level}: {kind.levels[level]:g}", distort(tile, name, level, rng)) for level in range(N_LEVELS)
        ]
        for column, (caption, pixels) in enumerate(tiles):
            x = NAME_WIDTH + column * (TILE_WIDTH + MARGIN)
            sheet.paste(Image.fromarray(pixels), (x, y))
            draw.text((x, y + tile_height), caption, fill="dimgray", font=font)
    return sheet


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws the sheet that the command line asks for; UserError where it cannot be drawn."""
    parser = argparse.ArgumentParser(
        prog="python -m datasets.distortions",
        description="Draws all kinds of distortion at all levels, with their names.",
    )
    parser.add_argument("image", help="any image file")
    parser.add_argument("--sheet", default="distortions.png", help="where to write the picture (default: %(default)s)")
    options = parser.parse_args(arguments)
    sheet = contact_sheet(read_image(options.image))
    try:
        with whole_file(options.sheet) as path:
            sheet.save(path)
    except ValueError as error:  # Pillow knows no format with that ending
        raise UserError(f"--sheet {options.sheet}: {error}") from None
    log.info(f"{len(DISTORTIONS)} distortions of {options.image} at {N_LEVELS} levels: {options.sheet}")


if __name__ == "__main__":
    run_script(main)
