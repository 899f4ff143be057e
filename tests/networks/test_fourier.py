"""Deep Fourier features against a network written out by hand in float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from hare_tortoise.networks import Fourier, fourier, mlp, vit_tiny


def waves(x: Tensor, dim: int = 1) -> Tensor:
    return torch.cat((torch.sin(x), torch.cos(x)), dim=dim)


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_the_module_gives_sine_then_cosine() -> None:
    x = randn(2, 3, 4)
    torch.testing.assert_close(Fourier(dim=1)(x), waves(x, 1))
    torch.testing.assert_close(Fourier(dim=-1)(x), waves(x, -1))
    torch.testing.assert_close(Fourier()(x).square().sum(1), torch.full((2, 4), 3.0, dtype=torch.float64))


def test_mlp_written_out_with_half_the_width_in_front_and_the_shapes_behind_as_before() -> None:
    network: Any = fourier(mlp((5,), 3, hidden=(6, 4))).double()
    layers = [network.body[1], network.body[3], network.head]
    w1, w2, w3 = (layer.weight for layer in layers)
    b1, b2, b3 = (layer.bias for layer in layers)
    assert [tuple(w.shape) for w in (w1, w2, w3)] == [(3, 5), (2, 6), (3, 4)]
    x = randn(7, 5)
    h = waves(waves(x @ w1.T + b1) @ w2.T + b2)
    torch.testing.assert_close(network(x), h @ w3.T + b3)


def test_convolutions_written_out() -> None:
    network = fourier(nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 2))).double()
    w1, b1, w2, b2 = (parameter.detach() for parameter in network.parameters())
    assert [tuple(w.shape) for w in (w1, w2)] == [(2, 2, 3, 3), (3, 4, 2, 2)]
    x = randn(5, 2, 6, 6)
    torch.testing.assert_close(network(x), conv2d(waves(conv2d(x, w1, b1)), w2, b2))


def test_feed_forward_of_the_vision_transformer_written_out() -> None:
    block = fourier(vit_tiny((1, 8, 4), 5)).double().eval().get_submodule("body.3.feed_forward")
    norm, first, _, _, last, _ = block.children()
    assert isinstance(first, nn.Linear)
    assert first.weight.shape == (384, 192)
    x = randn(2, 3, 192)
    torch.testing.assert_close(block(x), last(waves(norm(x) @ first.weight.T + first.bias, -1)))


def test_the_number_of_parameters_is_that_of_half_the_units() -> None:
    network = fourier(mlp((10,), 4, hidden=(8, 6)))
    assert sum(parameter.numel() for parameter in network.parameters()) == 11 * 4 + 9 * 3 + 7 * 4


def test_the_layer_in_front_is_drawn_by_its_own_initialiser() -> None:
    torch.manual_seed(5)
    network = fourier(nn.Sequential(nn.Linear(100, 400), nn.ReLU(), nn.Linear(400, 2)))
    weight = network.get_parameter("0.weight")
    assert weight.abs().max() <= 0.1
    assert abs(weight.std().item() - 0.1 / 3**0.5) < 1e-3
