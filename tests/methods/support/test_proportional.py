"""Paths of biases: with the factors that they name, the output of a network is multiplied by a constant."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, max_pool2d

from hare_tortoise.methods.support.norms import frobenius_norms, quotient
from hare_tortoise.methods.support.proportional import Path, bias_paths
from hare_tortoise.networks import mlp, resnet18, vgg16, vit_tiny


class Backwards(nn.Module):
    """Layers defined in the reverse order of their calls, functional activations, a view, a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 2)
        self.middle = nn.Linear(8, 4)
        self.first = nn.Conv2d(1, 2, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        features = max_pool2d(self.first(inputs).relu(), 2)
        features = leaky_relu(self.middle(features.view(len(inputs), -1)) * 0.5)
        outputs: Tensor = self.last(features)
        return outputs


class Shortcut(nn.Module):
    """A sum of unequal terms, or with `both`, of two layers that share the path before them."""

    def __init__(self, activation: Callable[[Tensor], Tensor] = torch.relu) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)
        self.activation = activation

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.activation(self.first(inputs))
        outputs: Tensor = self.last(features + self.activation(self.second(features)))
        return outputs


class Twice(nn.Module):
    """One layer, called in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.last(torch.relu(self.layer(torch.relu(self.layer(inputs)))))
        return outputs


def scaled(model: nn.Module, paths: dict[str, Path], seed: int = 0) -> float:
    """Multiply all weights on the paths by random factors, and biases as the paths say; return the last product."""
    generator = torch.Generator().manual_seed(seed)
    names = list(dict.fromkeys(name for path in paths.values() for name in path))
    factors = {name: 0.5 + float(torch.rand((), generator=generator)) for name in names}
    with torch.no_grad():
        for name, factor in factors.items():
            model.get_parameter(name).mul_(factor)
        for bias, path in paths.items():
            model.get_parameter(bias).mul_(prod(factors[name] for name in path))
    return prod(factors[name] for name in list(paths.values())[-1])


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "mlp": (lambda: mlp((5,), 3, hidden=(8, 8)), (2, 5), 3),
    "mlp with BatchNorm": (lambda: mlp((5,), 3, hidden=(8, 8), batch_norm=True), (2, 5), 2),
    "backwards": (Backwards, (2, 1, 6, 6), 3),
    "vgg16": (lambda: vgg16((3, 32, 32), 10), (1, 3, 32, 32), 4),
    "vit-tiny": (lambda: vit_tiny((3, 8, 8), 10), (2, 3, 8, 8), 2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_output_is_multiplied_by_a_constant(name: str) -> None:
    build, shape, count = NETWORKS[name]
    torch.manual_seed(0)
    model, inputs = build().double(), torch.randn(shape, dtype=torch.float64)
    model.train()
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    paths = bias_paths(model, (inputs,), {})
    assert len(paths) == count
    assert list(paths)[-1].startswith(("head", "last"))
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())
    model.eval()
    before = model(inputs).detach()
    constant = scaled(model, paths)
    assert abs(constant - 1) > 0.01
    torch.testing.assert_close(model(inputs).detach(), constant * before, rtol=1e-9, atol=1e-12)


def test_paths_follow_the_calls_and_not_the_definitions() -> None:
    paths = bias_paths(Backwards(), (torch.randn(2, 1, 6, 6),), {})
    assert list(paths) == ["first.bias", "middle.bias", "last.bias"]
    assert paths["last.bias"] == ("first.weight", "middle.weight", "last.weight")


def test_a_residual_sum_ends_the_path() -> None:
    paths = bias_paths(Shortcut(), (torch.randn(2, 3),), {})
    assert list(paths) == ["first.bias", "second.bias"]


@pytest.mark.parametrize("activation", [torch.tanh, torch.sigmoid, nn.GELU(), nn.Softmax(-1), torch.exp])
def test_what_is_not_homogeneous_ends_the_path(activation: Callable[[Tensor], Tensor]) -> None:
    assert list(bias_paths(Shortcut(activation), (torch.randn(2, 3),), {})) == ["first.bias"]


def test_a_layer_that_is_called_twice_has_no_path() -> None:
    assert bias_paths(Twice(), (torch.randn(2, 3),), {}) == {}


def test_behind_a_residual_network_the_head_has_no_path() -> None:
    paths = bias_paths(resnet18((3, 8, 8), 10), (), {"inputs": torch.randn(1, 3, 8, 8)})
    assert paths == {"body.3.1.residual.4.bias": ("body.3.1.residual.4.weight",)}


def test_norms_of_extremes() -> None:
    half = torch.full((1000, 1000), 3.0, dtype=torch.float16)
    found = frobenius_norms(
        {"half": half, "empty": torch.empty(0, 3), "double": torch.tensor([[3.0, 4.0]]).double()}
    )
    assert [float(norm) for norm in found.values()] == [3000.0, 0.0, 5.0]
    for norm in (0.0, float("nan"), float("inf")):
        assert float(quotient(2.0, torch.tensor(norm))) == 1.0
