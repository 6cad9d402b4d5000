"""``python -m benchmarks.as_loss OUT.jpg``: steps of Adam on a photograph that raise its score, and a picture of them.

The image is a part of scikit-learn's ``china.jpg``. Scores are printed for the losses -score and -linear_sum; the
picture shows the image before and after steps of the first one.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_image
from torch import Tensor

from networks import QualityScorer, load

SHOWN = (0, 10, 50)
LEARNING_RATE = 0.01
PART = (slice(130, 290), slice(330, 554))
"""Rows and columns of the photograph."""


def steps(scorer: QualityScorer, image: Tensor, by_score: bool) -> dict[int, tuple[Tensor, float]]:
    """Number of steps -> the image (1, 3, H, W) after them, and its score."""
    image = image.clone().requires_grad_()
    optimiser = torch.optim.Adam([image], lr=LEARNING_RATE)
    found = {}
    for step in range(max(SHOWN) + 1):
        sums = scorer.linear_sum(scorer.features(image))
        score = scorer.calibration(sums)
        if step in SHOWN:
            found[step] = image.detach().clone(), score.item()
            print(f"{'score' if by_score else 'linear_sum'}, step {step}: score {score.item():.1f}", flush=True)
        optimiser.zero_grad()
        (-(score if by_score else sums)).sum().backward()
        optimiser.step()
        with torch.no_grad():
            image.clamp_(0, 1)
    return found


def main(path: str) -> None:
    image = torch.from_numpy(np.array(load_sample_image("china.jpg")[PART])).permute(2, 0, 1)[None] / 255
    scorer = load()
    found = steps(scorer, image, by_score=True)
    height, width = 2 * image.shape[2], 2 * image.shape[3]
    page = Image.new("RGB", (len(found) * (width + 8) - 8, height + 24), "white")
    for position, (step, (result, score)) in enumerate(found.items()):
        pixels = (255 * result[0]).round().to(torch.uint8).permute(1, 2, 0).numpy()
        left = position * (width + 8)
        page.paste(Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST), (left, 24))
        ImageDraw.Draw(page).text((left, 2), f"{step} steps: score {score:.0f}", "black", font_size=18)
    page.save(path, quality=80)
    steps(scorer, image, by_score=False)


if __name__ == "__main__":
    main(sys.argv[1])
