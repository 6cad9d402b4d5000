"""``python -m benchmarks.h265 PHOTOS OUT``: a test of features on compressed photographs, without people's opinions.

Compresses 60 photographs of PHOTOS as H.265 intra frames (x265) at five strengths. Writes the decoded pictures to OUT,
and ``mos.csv`` (image, mos, group), in which ``mos`` is the MS-SSIM of a picture with its original, as decibels: -10
log10(1 - MS-SSIM). MS-SSIM uses the original, a quality model the frame alone. Pictures of one photograph are a group.
Then features of OUT and a regressor are made as for opinions (docs/results.md, Compression). Needs ``pip install av
piq``. With the same arguments, the pictures are the same.
"""

from __future__ import annotations

import argparse
import io
import random
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from piq import multi_scale_ssim
from torch import Tensor

from datasets.images.folders import find_images
from datasets.opinions.tables import write_csv

QPS = (22, 27, 32, 37, 42)
"""Quantisation parameters, from mild to strong: those of the codec's common test conditions, and one more."""
SMALLEST_SIDE = 176  # MS-SSIM halves a picture four times, for a window of 11


def compressed(picture: Image.Image, qp: int) -> Image.Image:
    """The picture after H.265 with 4:2:0 colour; its sides must be even."""
    file = io.BytesIO()
    with av.open(file, "w", format="hevc") as container:
        stream = container.add_stream("libx265", rate=1)
        stream.width, stream.height = picture.size
        stream.pix_fmt = "yuv420p"
        stream.options = {"x265-params": f"qp={qp}:log-level=none"}
        for packet in [*stream.encode(av.VideoFrame.from_image(picture)), *stream.encode(None)]:
            container.mux(packet)
    file.seek(0)
    with av.open(file) as container:
        return next(container.decode(video=0)).to_image()


def ms_ssim_decibels(picture: Image.Image, original: Image.Image) -> float:
    """MS-SSIM of the luma, as -10 log10(1 - MS-SSIM)."""

    def luma(image: Image.Image) -> Tensor:
        return torch.from_numpy(np.array(image.convert("L"), dtype=np.float32))[None, None] / 255

    return -10 * torch.log10(1 - multi_scale_ssim(luma(picture), luma(original), data_range=1.0)).item()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.h265", description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="folder of undistorted photographs, at any depth")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--n_photos", type=int, default=60, help="photographs, chosen at random (default: 60)")
    options = parser.parse_args()
    paths = find_images(options.photos)
    random.Random(0).shuffle(paths)
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, str, str]] = []
    for path in paths:
        if len(rows) == options.n_photos * len(QPS):
            break
        original = Image.open(path).convert("RGB")
        if min(original.size) < SMALLEST_SIDE:
            continue
        width, height = original.size
        original = original.crop((0, 0, width // 8 * 8, height // 8 * 8))
        group = f"{len(rows) // len(QPS):03d}"
        for qp in QPS:
            picture = compressed(original, qp)
            picture.save(options.out / f"{group}_{qp}.png")
            rows.append((f"{group}_{qp}.png", f"{ms_ssim_decibels(picture, original):.4f}", group))
        print(f"{group} {path}: {', '.join(mos for _, mos, _ in rows[-len(QPS) :])} dB", flush=True)
    write_csv(options.out / "mos.csv", ("image", "mos", "group"), rows)


if __name__ == "__main__":
    main()
