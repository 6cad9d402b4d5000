"""``python -m benchmarks.as_loss OUT.jpg``: steps of Adam on a photograph that raise its score, and a picture of them.

The photograph is scikit-learn's ``china.jpg`` at half its size. Scores and sums are printed for the loss -score and for
the loss -linear_sum; the picture shows the photograph, and the results of the second one, at twice their size.
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
PART = (slice(40, 200), slice(150, 310))
"""Rows and columns in the picture."""


def steps(scorer: QualityScorer, image: Tensor, by_score: bool) -> dict[int, Tensor]:
    """Number of steps -> the image (1, 3, H, W) after them."""
    image = image.clone().requires_grad_()
    optimiser = torch.optim.Adam([image], lr=LEARNING_RATE)
    found = {}
    for step in range(max(SHOWN) + 1):
        sums = scorer.linear_sum(scorer.features(image))
        score = scorer.calibration(sums)
        if step in SHOWN:
            found[step] = image.detach().clone()
            print(f"{'score' if by_score else 'linear_sum'}, step {step}: score {score.item():.1f}", flush=True)
        optimiser.zero_grad()
        (-(score if by_score else sums)).sum().backward()
        optimiser.step()
        with torch.no_grad():
            image.clamp_(0, 1)
    return found


def main(path: str) -> None:
    small = Image.fromarray(load_sample_image("china.jpg")).resize((320, 213), Image.Resampling.BICUBIC)
    image = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None] / 255
    scorer = load()
    steps(scorer, image, by_score=False)
    found = steps(scorer, image, by_score=True)
    panels = []
    for result in found.values():
        part = (255 * result[0][:, PART[0], PART[1]]).round().to(torch.uint8).permute(1, 2, 0).numpy()
        panels.append(Image.fromarray(part).resize((320, 320), Image.Resampling.NEAREST))
    page = Image.new("RGB", (len(panels) * 328 - 8, 344), "white")
    for position, (step, panel) in enumerate(zip(found, panels, strict=True)):
        page.paste(panel, (328 * position, 24))
        with torch.no_grad():
            score = scorer(found[step]).item()
        ImageDraw.Draw(page).text((328 * position, 6), f"{step} steps: score {score:.0f}", "black")
    page.save(path, quality=85)


if __name__ == "__main__":
    main(sys.argv[1])
