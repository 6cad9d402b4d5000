"""The two views of the content-aware encoder: what they contain, and that they depend on (seed, epoch, index) alone."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from datasets.training import content_aware
from datasets.training.content_aware import ContentAwareDataset, blur, build_views, turn_hue
from datasets.training.image_lists import scan_data_folder
from networks.errors import UserError
from tests.images import photograph, write_training_set


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_training_set(folder, n_images=6)
    return scan_data_folder(folder)


def chunks(images, n_workers, epoch, seed=0, method="MoCov2"):
    dataset = ContentAwareDataset(images, method, patch_size=48, seed=seed)
    dataset.set_epoch(epoch)
    return torch.cat(list(DataLoader(dataset, batch_size=2, num_workers=n_workers)))


@pytest.mark.parametrize("method", ["MoCo", "MoCov2"])
def test_views_depend_on_seed_epoch_and_index_alone(images, method):
    alone = chunks(images, 0, epoch=2, method=method)
    assert alone.shape == (6, 1, 6, 48, 48) and alone.dtype == torch.uint8
    assert torch.equal(alone, chunks(images, 2, epoch=2, method=method))
    assert not torch.equal(alone, chunks(images, 0, epoch=3, method=method))
    assert not torch.equal(alone, chunks(images, 0, epoch=2, seed=1, method=method))
    assert not torch.equal(alone[:, :, :3], alone[:, :, 3:])
    dataset = ContentAwareDataset(images, method, patch_size=48)
    before = torch.get_rng_state()
    assert torch.equal(dataset[2, 4], alone[4])
    crops, reached = dataset.sample(2, 4)
    assert torch.equal(crops, alone[4]) and reached.shape == (1, 0)
    assert torch.equal(before, torch.get_rng_state())


def test_how_often_each_transform_is_applied():
    """Grey in a fifth of the views; in version 1 the rest is always jittered, in version 2 four fifths."""
    torch.manual_seed(0)
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    image[0], image[1], image[2] = 180, 120, 60
    for method, unchanged_share in (("MoCov2", 0.8 * 0.2), ("MoCo", 0)):
        view = build_views(method, 16)
        results = [view(image) for _ in range(800)]
        grey = np.mean([bool((r[0] == r[1]).all() and (r[1] == r[2]).all()) for r in results])
        unchanged = np.mean([bool((r == image[:, :16, :16]).all()) for r in results])
        assert abs(grey - 0.2) < 0.06 and abs(unchanged - unchanged_share) < 0.06


def test_crops_cover_a_fifth_of_the_image_or_more():
    """On a ramp the range of a crop's values tells its width and height."""
    height, width = 200, 250
    ramp = np.zeros((3, height, width), np.uint8)
    ramp[0], ramp[1] = np.arange(width), np.arange(height)[:, None]
    crop = build_views("MoCov2", 64).transforms[0]
    torch.manual_seed(0)
    shares = []
    for _ in range(300):
        view = crop(torch.from_numpy(ramp)).int()
        spans = [(view[channel].max() - view[channel].min() + 1).item() for channel in (0, 1)]
        shares.append(spans[0] * spans[1] / (height * width))
    assert 0.15 < min(shares) < 0.3 and max(shares) > 0.85


def test_blur_smooths_and_leaves_flat_images_alone():
    flat = torch.full((3, 20, 20), 77, dtype=torch.uint8)
    assert torch.equal(blur(flat, 1.3), flat)
    sharp = torch.from_numpy(photograph(64, 64)).permute(2, 0, 1)
    blurred = blur(sharp, 2.0).float()
    assert blurred.diff(dim=2).abs().mean() < 0.6 * sharp.float().diff(dim=2).abs().mean()


def test_hue_turns_as_torchvisions_does():
    image = torch.from_numpy(photograph(64, 64)).permute(2, 0, 1)
    for turn in (-0.4, -0.1, 0.05, 0.3):
        ours = turn_hue(image, turn).float()
        theirs = v2.functional.adjust_hue(image, turn).float()
        assert (ours - theirs).abs().mean() < 1.5


@pytest.mark.parametrize("method, ranges", [("MoCo", [(-0.4, 0.4)]), ("MoCov2", [(-0.1, 0.1), (0.1, 2.0)])])
def test_hues_and_blurs_have_the_stated_ranges(monkeypatch, method, ranges):
    drawn = {"turn_hue": [], "blur": []}
    for name, amounts in drawn.items():
        monkeypatch.setattr(content_aware, name, lambda image, amount, to=amounts: to.append(amount) or image)
    view = content_aware.build_views(method, 8)
    for _ in range(700):
        view(torch.zeros(3, 8, 8, dtype=torch.uint8))
    for (low, high), amounts in zip(ranges, drawn.values(), strict=False):
        margin = 0.05 * (high - low)
        assert low <= min(amounts) < low + margin and high - margin < max(amounts) <= high


def test_an_imagenet_folder_and_any_other(tmp_path):
    for name in ("train/n01/a.JPEG", "train/n02/b.JPEG", "val/c.JPEG", ".hidden.png", "train/n01/._a.JPEG"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name, "PNG")
    (tmp_path / "train" / "n01" / "loop").symlink_to(tmp_path / "train")
    names = [path.decode().split("/")[-1] for path in scan_data_folder(tmp_path).paths]
    assert names == ["a.JPEG", "b.JPEG"]
    assert len(scan_data_folder(tmp_path / "val").paths) == 1
    for folder, said in ((tmp_path / "none", "is not a folder"), (tmp_path / "empty", "holds no images")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=said):
            scan_data_folder(folder)


def test_a_broken_image_is_replaced(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    Image.fromarray(photograph(40, 50)).save(tmp_path / "b.png")
    dataset = ContentAwareDataset(scan_data_folder(tmp_path), patch_size=32)
    assert dataset[0].float().std() > 1 and dataset.unreadable().tolist() == [0]
    assert "a.png cannot be read" in dataset.why_unreadable(0)
