"""CReLU against networks written out by hand in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from hare_tortoise.networks import CReLU, crelu, mlp, resnet18


def both(x: Tensor, dim: int = 1) -> Tensor:
    return torch.cat((x.clamp(min=0), (-x).clamp(min=0)), dim=dim)


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def weights(network: nn.Module, *names: str) -> list[Tensor]:
    tensors = dict(network.named_parameters())
    return [tensors[name].detach() for name in names]


def test_the_module_gives_both_halves_in_the_order_of_the_paper() -> None:
    x = randn(2, 3, 4)
    torch.testing.assert_close(CReLU(dim=1)(x), both(x, 1))
    torch.testing.assert_close(CReLU(dim=-1)(x), both(x, -1))
    positive, negative = CReLU()(x).split(3, dim=1)
    torch.testing.assert_close(positive - negative, x)


@pytest.mark.parametrize(("width", "first", "second"), [("double", 6, 4), ("halve", 3, 2)])
def test_mlp_written_out(width: Any, first: int, second: int) -> None:
    network = crelu(mlp((5,), 3, hidden=(6, 4)), width=width).double()
    names = [f"{layer}.{kind}" for layer in ("body.1", "body.3", "head") for kind in ("weight", "bias")]
    w1, b1, w2, b2, w3, b3 = weights(network, *names)
    assert [tuple(w.shape) for w in (w1, w2, w3)] == [(first, 5), (second, 2 * first), (3, 2 * second)]
    x = randn(7, 5)
    h = both(x @ w1.T + b1)
    h = both(h @ w2.T + b2)
    torch.testing.assert_close(network(x), h @ w3.T + b3)


def test_convolutions_written_out_with_pooling_flattening_and_a_norm_behind() -> None:
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    )
    crelu(network).double().eval()
    x = randn(5, 2, 6, 6)
    w1, b1, scale, offset, w2, b2 = weights(
        network, "0.weight", "0.bias", "2.weight", "2.bias", "5.weight", "5.bias"
    )
    assert scale.shape == (8,)
    h = both(conv2d(x, w1, b1)) / (1 + 1e-5) ** 0.5 * scale[:, None, None] + offset[:, None, None]
    h = h.unflatten(2, (2, 2)).unflatten(4, (2, 2)).amax((3, 5))
    torch.testing.assert_close(network(x), h.reshape(5, 32) @ w2.T + b2)


def test_a_residual_block_with_a_projection_written_out() -> None:
    with pytest.warns(UserWarning, match="leaves as they are"):
        network = crelu(resnet18((1, 8, 8), 3), width="halve").double().eval()
    block = network.get_submodule("body.1.0")
    x = randn(2, 64, 8, 8)
    tensors = dict(block.named_parameters())

    def conv_norm(x: Tensor, conv: str, norm: str, stride: int) -> Tensor:
        kernel = tensors[f"{conv}.weight"]
        h = conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2) / (1 + 1e-5) ** 0.5
        scale, offset = (tensors[f"{norm}.{name}"][:, None, None] for name in ("weight", "bias"))
        return torch.addcmul(offset, h, scale)

    h = both(conv_norm(x, "residual.0", "residual.1", 2))
    h = both(conv_norm(h, "residual.3", "residual.4", 1) + conv_norm(x, "shortcut.0", "shortcut.1", 2))
    assert h.shape[1] == 128
    torch.testing.assert_close(block(x), h)


@pytest.mark.parametrize("width", ["double", "halve"])
def test_the_number_of_parameters(width: Any) -> None:
    def count(d: int, h1: int, h2: int, outputs: int) -> int:
        return (d + 1) * h1 + (2 * h1 + 1) * h2 + (2 * h2 + 1) * outputs

    network = crelu(mlp((10,), 4, hidden=(8, 6)), width=width)
    expected = count(10, 8, 6, 4) if width == "double" else count(10, 4, 3, 4)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


def test_layers_that_keep_their_shape_keep_their_weights() -> None:
    network = mlp((5,), 3, hidden=(6, 4))
    first = network.body[1]
    before = first.weight
    crelu(network)
    assert network.body[1] is first
    assert first.weight is before


def test_no_unit_can_die() -> None:
    network = crelu(mlp((5,), 3, hidden=(6,)))
    with torch.no_grad():
        network.get_parameter("body.1.bias").fill_(-100.0)  # a ReLU would give zeros, and no gradients
    network(torch.randn(4, 5)).sum().backward()
    gradient = network.get_parameter("body.1.weight").grad
    assert gradient is not None
    assert bool((gradient != 0).all())
