"""``python -m benchmarks.reading_scores HELD_OUT.csv PICTURE.jpg``: tables and picture of docs/reading_scores.md.

The tables are of the embedded model's held-out predictions, the file that train_regressor.py writes beside it. The
picture has scikit-learn's two photographs and distorted versions, one for each grade that occurs among them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_image

from datasets.distortions import DISTORTIONS, distort
from learning.regression.evaluate.held_out import read_held_out
from learning.regression.model.description import RegressorDescription, read_description
from learning.regression.model.meaning import GRADES, Opinions
from learning.regression.model.predict import load_pixel_scorer
from networks.embedded import embedded_regressor
from networks.regressor import DESCRIPTION_SUFFIX
from options.images import ScoringOptions

TRIED = (
    ("gaussian_blur", 3), ("gaussian_blur", 4), ("gaussian_noise", 4), ("jpeg", 4), ("motion_blur", 4),
    ("resize_bicubic", 4),
)  # fmt: skip
"""Kinds of distortion and levels from 0."""

SIZE, TILE, CAPTION = (480, 320), (320, 213), 44
"""Pixels: of the photographs, about as many as CLIVE's have; in the picture; of the texts below."""


def print_tables(path: Path, description: RegressorDescription, opinions: Opinions) -> None:
    """How often each grade is given, and what a threshold rejects: shares of all held-out scores of all splits."""
    held_out = read_held_out(path)
    scores, mos = np.concatenate([np.stack([of, mos]) for _, of, mos in held_out.parts()], axis=1)
    scores = description.calibration(scores)
    print(f"{len(scores):,d} scores of {len(held_out.tested):,d} photographs\n")
    print("| grade | given by the model | by people |\n| --- | --- | --- |")
    for grade in GRADES:
        given, by_people = (np.mean([opinions.grade(one) == grade for one in values]) for values in (scores, mos))
        print(f"| {grade} | {given:.1%} | {by_people:.1%} |")
    low, high = opinions.scale
    at = [low + part * (high - low) for part in (0.4, 0.6)]
    print(f"\n| threshold | rejected | of those with an opinion of {at[1]:g} or more | below {at[0]:g} |")
    print("| --- | --- | --- | --- |")
    for threshold in np.linspace(low, high, 21)[6:16]:
        shares = [np.mean(scores[of] < threshold) for of in (mos >= low, mos >= at[1], mos < at[0])]
        print(f"| {threshold:g} | " + " | ".join(f"{share:.0%}" for share in shares) + " |")


def draw_grades(path: Path, opinions: Opinions) -> None:
    """Scores undistorted and distorted photographs; the picture shows the one nearest to the middle of each grade."""
    score = load_pixel_scorer(ScoringOptions(input=()), "cpu")
    found: list[tuple[float, str, np.ndarray]] = []
    for name in ("china.jpg", "flower.jpg"):
        photograph = np.array(Image.fromarray(load_sample_image(name)).resize(SIZE, Image.Resampling.LANCZOS))
        versions = [(f"{name}, undistorted", photograph)]
        for kind, level in TRIED:
            version = distort(photograph, kind, level, np.random.default_rng(0))
            versions.append((f"{name}, {kind}, {DISTORTIONS[kind].levels[level]:g}", version))
        for title, pixels in versions:
            found.append((float(score([pixels])[0]), title, pixels))
            print(f"{found[-1][0]:8.4g}  {opinions.grade(found[-1][0]):9}  {title}", flush=True)
    low, high = opinions.scale
    chosen = []
    for number, grade in enumerate(GRADES):
        middle = low + (number + 0.5) / len(GRADES) * (high - low)
        chosen += sorted(
            (one for one in found if opinions.grade(one[0]) == grade), key=lambda one: abs(one[0] - middle)
        )[:1]
    width, height = TILE
    sheet = Image.new("RGB", (len(chosen) * (width + 8) - 8, height + CAPTION), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for column, (value, title, pixels) in enumerate(chosen):
        x = column * (width + 8)
        sheet.paste(Image.fromarray(pixels).resize(TILE, Image.Resampling.LANCZOS), (x, 0))
        draw.text((x + 2, height + 2), f"{opinions.grade(value)}: {value:.3g}", fill="black", font=font)
        draw.text((x + 2, height + 22), title, fill="dimgray", font=font)
    sheet.save(path, quality=88)


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("usage: python -m benchmarks.reading_scores HELD_OUT.csv PICTURE.jpg")
    description = read_description(embedded_regressor().with_suffix(DESCRIPTION_SUFFIX))
    opinions = description.opinions or Opinions.of(np.array(description.score_range))
    print_tables(Path(sys.argv[1]), description, opinions)
    draw_grades(Path(sys.argv[2]), opinions)


if __name__ == "__main__":
    main()
