"""Chunks: their shape and contents, and that they depend on (seed, epoch, index) alone."""

import csv
import os

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from datasets.distortions import DISTORTIONS
from datasets.training.crops import plan_crops
from datasets.training.image_lists import read_training_csv
from datasets.training.quality_aware import (
    QualityAwareDataset,
    cut_crops,
    draw_steps,
    make_chunk,
    reached_levels,
)
from networks.errors import UserError
from tests.images import noise_image, photograph, write_training_set


@pytest.fixture(scope="module")
def csv_path(tmp_path_factory):
    return write_training_set(tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize("n_aug, n_scale, n_distortions", [(11, 2, 1), (3, 1, 2), (26, 1, 1), (0, 2, 1)])
def test_shape_and_type(csv_path, n_aug, n_scale, n_distortions):
    dataset = QualityAwareDataset(csv_path, n_aug, n_scale, n_distortions, patch_size=32)
    sample = dataset[0]
    assert sample.dtype == torch.uint8 and sample.shape == (n_scale * (n_aug + 1), 6, 32, 32)
    assert len(dataset) == 8


def _all_chunks(csv_path, n_workers, epoch, **options):
    dataset = QualityAwareDataset(csv_path, n_aug=5, n_scale=2, n_distortions=2, patch_size=32, **options)
    dataset.set_epoch(epoch)
    return torch.cat(list(DataLoader(dataset, batch_size=2, num_workers=n_workers)))


def test_chunks_depend_on_seed_epoch_and_index_alone(csv_path):
    alone = _all_chunks(csv_path, n_workers=0, epoch=3)
    assert torch.equal(alone, _all_chunks(csv_path, n_workers=2, epoch=3))
    assert not torch.equal(alone, _all_chunks(csv_path, n_workers=0, epoch=4))
    assert not torch.equal(alone, _all_chunks(csv_path, n_workers=0, epoch=3, seed=1))
    dataset = QualityAwareDataset(csv_path, n_aug=5, n_scale=2, n_distortions=2, patch_size=32)
    assert torch.equal(dataset[3, 5], alone[5])  # no epoch set, none of the others read before


def test_persistent_workers_see_the_epoch_change(csv_path):
    dataset = QualityAwareDataset(csv_path, n_aug=1, n_scale=1, patch_size=32)
    loader = DataLoader(dataset, batch_size=4, num_workers=1, persistent_workers=True)
    for epoch in (1, 2):
        dataset.set_epoch(epoch)
        assert torch.equal(next(iter(loader))[0], dataset[epoch, 0])


def test_half_swap_exchanges_complementary_halves():
    image, n_aug, size = photograph(200, 260), 4, 64
    plain, swapped = (make_chunk(image, n_aug, 2, 1, size, swap, np.random.default_rng(7))[0] for swap in (False, True))
    exchanged = np.concatenate([plain[:, 3:], plain[:, :3]], axis=1)
    # Five versions: at full scale the first two exchange, at half scale the last three.
    rows_exchanged = [True, True, False, False, False, False, False, True, True, True]
    for row, is_exchanged in enumerate(rows_exchanged):
        assert np.array_equal(swapped[row], exchanged[row] if is_exchanged else plain[row]), row


def test_the_first_version_is_the_image_itself_at_both_scales():
    image = photograph(200, 260)
    chunk, _ = make_chunk(image, 2, 2, 1, 64, False, np.random.default_rng(3))
    half = np.asarray(Image.fromarray(image).resize((130, 100)))
    for row, scaled in ((0, image), (3, half)):
        for crop in (chunk[row, :3], chunk[row, 3:]):
            crop = crop.transpose(1, 2, 0)
            _, _, (left, top), _ = cv2.minMaxLoc(cv2.matchTemplate(scaled, crop, cv2.TM_SQDIFF))
            # Torch's fixed-point weights differ from Pillow's by 1 in about one value of a million.
            assert np.abs(scaled[top : top + 64, left : left + 64].astype(int) - crop).max() <= 1


@pytest.mark.parametrize("height, width", [(200, 260), (201, 260), (200, 263), (75, 300), (40, 40)])
@pytest.mark.parametrize("factor", [1, 2])
def test_crops_from_a_part_are_those_from_the_whole(height, width, factor):
    """Also for odd sizes and mirrored ones: the part that is computed changes nothing."""
    image = photograph(height, width)
    size = 64
    whole = image if factor == 1 else np.asarray(Image.fromarray(image).resize((width // 2, height // 2)))
    pad_y, pad_x = max(0, size - whole.shape[0]), max(0, size - whole.shape[1])
    padding = ((pad_y // 2, pad_y - pad_y // 2), (pad_x // 2, pad_x - pad_x // 2), (0, 0))
    whole = np.pad(whole, padding, mode="reflect")
    for seed in range(20):
        plan = plan_crops(height, width, factor, size, np.random.default_rng(seed))
        crops = np.empty((2, 3, size, size), np.uint8)
        sources_alone = np.full_like(image, 255)
        for source in plan.sources:
            source.cut(sources_alone)[...] = source.cut(image)
        cut_crops(plan.source.cut(sources_alone), plan, *crops)
        for box, crop in zip((plan.query, plan.key), crops, strict=True):
            assert np.abs(box.cut(whole).astype(int) - crop.transpose(1, 2, 0)).max() <= 1


@pytest.mark.parametrize("height, width", [(384, 512), (480, 640), (192, 256), (50, 400), (20, 20)])
def test_never_black_bars(height, width):
    """At half scale a KADIS image is 256x192 and a COCO image 320x240: too small for two crops of 160 in a square."""
    image = np.full((height, width, 3), 200, np.uint8)
    chunk, _ = make_chunk(image, 0, 2, 1, 160, True, np.random.default_rng(0))
    assert chunk.min() == chunk.max() == 200


def test_versions_are_of_different_kinds_at_all_levels():
    rng = np.random.default_rng(0)
    levels = np.zeros(5)
    for _ in range(300):
        versions = draw_steps(11, 1, rng)
        assert all(len(steps) == 1 for steps in versions)
        assert len({steps[0][0] for steps in versions}) == 11
        for steps in versions:
            levels[steps[0][1]] += 1
    assert np.abs(levels / levels.sum() - 0.2).max() < 0.03
    assert len(draw_steps(26, 1, rng)) == 26


def test_one_version_in_ten_is_distorted_twice_and_shares_its_level():
    rng = np.random.default_rng(0)
    versions = [steps for _ in range(500) for steps in draw_steps(11, 2, rng)]
    twice = [steps for steps in versions if len(steps) == 2]
    assert 0.08 < len(twice) / len(versions) < 0.12
    assert all(first[0] != second[0] for first, second in twice)
    sums = np.bincount([first[1] + second[1] for first, second in twice], minlength=5)
    assert len(sums) == 5 and np.abs(sums / sums.sum() - 0.2).max() < 0.06


def test_options_out_of_range_are_named(csv_path):
    with pytest.raises(UserError, match=r"n_aug=27.* is out of range; .* 26 kinds"):
        QualityAwareDataset(csv_path, n_aug=27)
    with pytest.raises(UserError, match="n_scale=3"):
        QualityAwareDataset(csv_path, n_scale=3)


@pytest.mark.parametrize(
    "content, said",
    [
        (None, "does not exist"),
        ("", "cannot be read"),
        ("path\na.jpg\n", "no column 'Image_path'; its columns are: path"),
        ("Image_path\n", "lists no images"),
        ("Image_path,x\na.jpg,1\n,2\n", "line 3"),
        ("Image_path,x\n\n\n\na.jpg,1\n,2\n", "line 6"),
    ],
)
def test_a_csv_that_cannot_serve_is_explained(tmp_path, content, said):
    path = tmp_path / "train.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=said) as caught:
        read_training_csv(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_names_of_any_kind_are_read_as_they_are(tmp_path, encoding):
    names = ["a b.png", 'comma,quote".png', "ünï.png", "NA", "1.0", "bytes\udcff.png", "line\nbreak.png"]
    with open(tmp_path / "t.csv", "w", errors="surrogateescape", newline="", encoding=encoding) as file:
        csv.writer(file).writerows([["Image_path"], *([name] for name in names)])
    assert [os.fsdecode(path) for path in read_training_csv(tmp_path / "t.csv").paths] == names


def test_missing_images_are_named_with_their_line(tmp_path):
    csv_path = write_training_set(tmp_path, n_images=2)
    with open(csv_path, "a") as file:
        file.write(f"{tmp_path / 'gone.jpg'}\n")
    with pytest.raises(UserError, match=r"line 4: image .*gone.jpg does not exist"):
        read_training_csv(csv_path).check_existence()


def test_a_name_that_the_disk_opens_exists_though_it_is_listed_otherwise(tmp_path, monkeypatch):
    """IMG.JPG, where the list has img.jpg, on a disk that ignores case."""
    csv_path = write_training_set(tmp_path, n_images=2)
    listed = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: [name.upper() for name in listed(folder)])
    read_training_csv(csv_path).check_existence()


def test_a_long_list_is_held_in_arrays_which_workers_share(tmp_path):
    """Python strings would be copied into each worker by their reference counts."""
    n_images = 200_000
    (tmp_path / "t.csv").write_text("Image_path\n" + "".join(f"images/{index:07d}.jpg\n" for index in range(n_images)))
    dataset = QualityAwareDataset(tmp_path / "t.csv")
    paths, lines = dataset.images.paths, dataset.images.lines
    assert len(dataset) == n_images and paths.dtype.kind == "S" and paths.nbytes == 18 * n_images
    assert lines.dtype.kind == "i" and dataset.images.place(n_images - 1).endswith(f"line {n_images + 1}")


def with_broken_images(folder, n_good, n_broken):
    csv_path = write_training_set(folder, n_images=n_good)
    for index in range(n_broken):
        (folder / f"broken{index}.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn off")
        with open(csv_path, "a") as file:
            file.write(f"{folder / f'broken{index}.jpg'}\n")
    return csv_path


def test_a_broken_image_is_replaced_by_the_same_other_always(tmp_path):
    csv_path = with_broken_images(tmp_path, 6, 1)
    datasets = [QualityAwareDataset(csv_path, n_aug=1, patch_size=32, seed=3) for _ in range(2)]
    chunks = [dataset[6] for dataset in datasets]
    assert torch.equal(*chunks) and chunks[0].float().std() > 1
    assert any(not torch.equal(datasets[0][epoch, 6], chunks[0]) for epoch in (1, 2, 3)), "another epoch, another image"
    assert datasets[0].unreadable().tolist() == [6]
    assert "line 8: image" in datasets[0].why_unreadable(6) and "broken0.jpg cannot be read" in datasets[
        0
    ].why_unreadable(6)


@pytest.mark.parametrize("n_workers", [0, 2])
def test_what_workers_could_not_read_is_known_outside(tmp_path, n_workers):
    dataset = QualityAwareDataset(with_broken_images(tmp_path, 6, 2), n_aug=1, patch_size=32)
    chunks = list(DataLoader(dataset, batch_size=2, num_workers=n_workers))
    assert len(chunks) == 4 and dataset.unreadable().tolist() == [6, 7]


def test_where_nothing_can_be_read_training_stops_with_the_line(tmp_path):
    csv_path = with_broken_images(tmp_path, 0, 3)
    loader = DataLoader(QualityAwareDataset(csv_path, patch_size=32), num_workers=1)
    with pytest.raises(UserError) as caught:
        next(iter(loader))
    assert caught.value.sentence.startswith(f"training CSV {csv_path}, line 2: image")
    assert "none of 10 others drawn in its place can be read" in caught.value.sentence
    assert "Traceback" not in caught.value.sentence


def test_noise_does_not_repeat_between_versions():
    """Two draws of one kind from one chunk's generator must be different noise."""
    rng = np.random.default_rng(0)
    kind, image = DISTORTIONS["gaussian_noise"], noise_image(64, 64)
    assert not np.array_equal(kind.apply(image, 0.01, rng), kind.apply(image, 0.01, rng))


def test_reached_levels_by_hand():
    names = list(DISTORTIONS)
    blur, jpeg = names.index("gaussian_blur"), names.index("jpeg")
    assert reached_levels([]).sum() == 0 and reached_levels([]).shape == (26, 5)
    reached = reached_levels([("jpeg", 3), ("gaussian_blur", 0)])
    assert reached[jpeg].tolist() == [1, 1, 1, 1, 0] and reached[blur].tolist() == [1, 0, 0, 0, 0]
    assert reached.sum() == 5


def test_levels_come_with_their_rows(csv_path):
    """Both scales of a version have the same; the crops are those that ``[epoch, index]`` gives alone."""
    dataset = QualityAwareDataset(csv_path, 3, 2, 2, 32)
    chunk, reached = dataset.sample(4, 1)
    assert torch.equal(chunk, dataset[4, 1])
    assert reached.dtype == torch.uint8 and reached.shape == (2 * 4, 26 * 5)
    assert torch.equal(reached[:4], reached[4:]) and reached[0].sum() == 0
    rng = np.random.default_rng((0, 4, 1))
    height, width = dataset.read(4, 1).shape[:2]
    for factor in (1, 2):
        plan_crops(height, width, factor, 32, rng)
    for row, steps in zip(reached[1:4], draw_steps(3, 2, rng), strict=True):
        assert np.array_equal(row, reached_levels(steps).ravel())
