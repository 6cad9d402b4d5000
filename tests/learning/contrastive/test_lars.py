"""LARS against the formula, worked out in NumPy for every element, to float64 rounding."""

import numpy as np
import pytest
import torch

from learning.contrastive.lars import LARS


def expected_weights(weights, gradients, lr, weight_decay, momentum, trust_coefficient):
    weights = [w.copy() for w in weights]
    momenta = [np.zeros_like(w) for w in weights]
    for step_gradients in gradients:
        for i, (w, g) in enumerate(zip(weights, step_gradients, strict=True)):
            if w.ndim > 1:
                g = g + weight_decay * w
                weight_norm, norm = np.sqrt((w**2).sum()), np.sqrt((g**2).sum())
                if weight_norm > 0 and norm > 0:
                    g = g * (trust_coefficient * weight_norm / norm)
            momenta[i] = momentum * momenta[i] + g
            weights[i] = w - lr * momenta[i]
    return weights


@pytest.mark.parametrize("weight_decay", [0, 1e-4, 0.1])
@pytest.mark.parametrize("momentum", [0, 0.9])
def test_steps_equal_the_formula(weight_decay, momentum):
    rng = np.random.default_rng(0)
    shapes = [(4, 3, 2, 2), (5,), (6, 4), (1,), (2, 2), (3, 3)]
    weights = [rng.normal(size=shape) for shape in shapes]
    weights[4][:] = 0  # norm of the weights 0
    gradients = [[rng.normal(size=shape) for shape in shapes] for _ in range(7)]
    gradients[2][5][:] = 0
    parameters = [torch.nn.Parameter(torch.tensor(w)) for w in weights]
    optimizer = LARS(parameters, lr=0.3, weight_decay=weight_decay, momentum=momentum)
    for step_gradients in gradients:
        for parameter, gradient in zip(parameters, step_gradients, strict=True):
            parameter.grad = torch.tensor(gradient)
        optimizer.step()
    expected = expected_weights(weights, gradients, 0.3, weight_decay, momentum, 0.001)
    for parameter, value in zip(parameters, expected, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), value, rtol=1e-13, atol=1e-15)


def test_gradients_and_parameters_without_one_stay_as_they_are():
    used, unused = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(3))
    optimizer = LARS([used, unused], lr=1.0, weight_decay=0.1)
    used.grad = torch.full((2, 2), 0.5)
    optimizer.step()
    assert torch.equal(used.grad, torch.full((2, 2), 0.5)) and torch.equal(unused, torch.ones(3))
    assert not torch.equal(used, torch.ones(2, 2))


def test_state_survives_saving():
    def train(optimizer, parameter, values):
        for value in values:
            parameter.grad = torch.full_like(parameter, value)
            optimizer.step()

    whole = torch.nn.Parameter(torch.ones(2, 3, dtype=torch.float64))
    train(LARS([whole], lr=0.1), whole, [1, 2, 3])
    halves = torch.nn.Parameter(torch.ones(2, 3, dtype=torch.float64))
    first = LARS([halves], lr=0.1)
    train(first, halves, [1, 2])
    second = LARS([halves], lr=0.1)
    second.load_state_dict(first.state_dict())
    train(second, halves, [3])
    assert torch.equal(whole, halves)
