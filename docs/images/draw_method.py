"""``python -m docs.images.draw_method`` draws the pictures of docs/method.md from the training samples themselves."""

from pathlib import Path

import numpy as np
import sklearn.datasets
from PIL import Image, ImageDraw, ImageFont

from datasets.images.resampling import half_size_fast
from datasets.training import QualityAwareDataset
from datasets.training.crops import plan_crops
from datasets.training.image_lists import TrainingImages
from datasets.training.quality_aware import draw_steps

N_AUG, SIZE, SEED, EPOCH = 5, 160, 0, 1
COLORS = "royalblue", "darkorange"  # of the two places of a scale


def draw_tiles(rows: list[list[tuple[np.ndarray, str, str]]], target: str) -> None:
    """Writes rows of crops, uint8 (3, P, P), each with its caption and the colour of its frame."""
    sheet = Image.new("RGB", (184 * max(map(len, rows)), 200 * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for y, row in enumerate(rows):
        for x, (crop, caption, color) in enumerate(row):
            left, top = 184 * x + 8, 200 * y + 8
            draw.text((left, top), caption, fill="black", font=ImageFont.load_default(13))
            draw.rectangle((left, top + 18, left + SIZE + 7, top + SIZE + 25), fill=color)
            sheet.paste(Image.fromarray(crop.transpose(1, 2, 0)), (left + 4, top + 22))
    sheet.save(Path(__file__).with_name(target), quality=85)


def main() -> None:
    folder = Path(sklearn.datasets.__file__).parent / "images"
    images = TrainingImages("", np.array([bytes(folder / name) for name in ("china.jpg", "flower.jpg")]), None)
    data = QualityAwareDataset(images, N_AUG, n_scale=2, patch_size=SIZE, seed=SEED)
    chunk, other = (data[EPOCH, i][0].numpy().reshape(2, N_AUG + 1, 2, 3, SIZE, SIZE) for i in (0, 1))
    image, rng = data.read(EPOCH, 0), np.random.default_rng((SEED, EPOCH, 0))  # the random numbers of that sample
    plans = [plan_crops(image.shape[0], image.shape[1], factor, SIZE, rng) for factor in (1, 2)]
    names = ["original", *(f"{kind} {level}" for [(kind, level)] in draw_steps(N_AUG, 1, rng))]
    scales = [Image.fromarray(image), Image.fromarray(half_size_fast(image))]
    sheet = Image.new("RGB", (sum(scale.width for scale in scales) + 8, scales[0].height), "white")
    for left, scale, plan in zip((0, scales[0].width + 8), scales, plans, strict=True):
        for box, color in zip((plan.query, plan.key), COLORS, strict=True):
            ImageDraw.Draw(scale).rectangle((box.left, box.top, box.right - 1, box.bottom - 1), None, color, 4)
        sheet.paste(scale, (left, 0))
    sheet.save(Path(__file__).with_name("method_crops.jpg"), quality=85)

    def tile(crop: int, version: int, scale: int = 0, role: str = "") -> tuple[np.ndarray, str, str]:
        is_exchanged = (version < (N_AUG + 1) // 2) == (scale == 0)
        caption = f"{role or ('query', 'key')[crop]}: {names[version]}"
        return chunk[scale, version, crop], caption, COLORS[crop ^ is_exchanged]

    rows = [[tile(crop, version, scale) for version in range(N_AUG + 1)] for scale in (0, 1) for crop in (0, 1)]
    draw_tiles(rows, "method_sample.jpg")
    of_others = (other[0, 0, 1], "another image", "gray")
    draw_tiles([[tile(0, 3), tile(1, 3, role="positive"), tile(1, 5), tile(1, 2), of_others]], "method_keys.jpg")


if __name__ == "__main__":
    main()
