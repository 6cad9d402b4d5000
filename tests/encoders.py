"""Small stand-ins for trained encoders."""

import torch
from torch import nn

from networks import build_encoder


def random_encoder(arch: str) -> nn.Module:
    """Random weights whose BatchNorm statistics and scales are not the initial ones."""
    torch.manual_seed(0)
    encoder = build_encoder(arch).train()
    with torch.no_grad():
        for _ in range(2):
            encoder(torch.rand(2, 3, 64, 64))
        for module in encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.2, 0.2)
    return encoder.eval()
