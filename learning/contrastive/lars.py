"""LARS: layer-wise adaptive rate scaling (You, Gitman, Ginsburg 2017), as MoCo v3 uses it.

Written here because torch has no LARS; torch's foreach functions update all layers in a few calls.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.optim import Optimizer


class LARS(Optimizer):
    """SGD with momentum whose step is scaled, layer by layer, to the size of the layer's weights.

    For a parameter p of more than one dimension with gradient g:

        g <- g + weight_decay * p
        g <- g * trust_coefficient * |p| / |g|        (unscaled where a norm is 0)

    and for every parameter, biases and normalisation included:

        m <- momentum * m + g
        p <- p - lr * m
    """

    def __init__(
        self,
        params: Iterable,
        lr: float,
        weight_decay: float = 0,
        momentum: float = 0.9,
        trust_coefficient: float = 0.001,
    ):
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, defaults | {"trust_coefficient": trust_coefficient})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # torch's optimisers also take a closure
        """Updates all parameters that have a gradient."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            layers = [p for p in params if p.ndim > 1]
            others = [p for p in params if p.ndim <= 1]
            updates = [p.grad for p in others]
            if layers:
                # g <- g + weight_decay * p;  g <- g * trust_coefficient * |p| / |g|
                scaled = torch._foreach_add([p.grad for p in layers], layers, alpha=group["weight_decay"])
                p_norms, g_norms = torch.stack(torch._foreach_norm(layers)), torch.stack(torch._foreach_norm(scaled))
                trust = group["trust_coefficient"] * p_norms / g_norms
                trust = torch.where((p_norms > 0) & (g_norms > 0), trust, torch.ones_like(trust))
                torch._foreach_mul_(scaled, list(trust.unbind()))
                updates = [*scaled, *updates]
            params = [*layers, *others]
            for p in params:
                if "momentum_buffer" not in self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            # m <- momentum * m + g;  p <- p - lr * m
            momenta = [self.state[p]["momentum_buffer"] for p in params]
            torch._foreach_mul_(momenta, group["momentum"])
            torch._foreach_add_(momenta, updates)
            torch._foreach_add_(params, momenta, alpha=-group["lr"])
