"""Norms and distances against sums by hand in float64."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.measures import (
    distance_from_initialization,
    distances,
    feature_norm,
    hare_tortoise_distance,
    weight_norm,
    weight_norms,
)
from hare_tortoise.methods import HareTortoise
from hare_tortoise.testing import Network, TiedNetwork


def by_hand(tensor: Tensor) -> float:
    return math.sqrt(math.fsum(value * value for value in tensor.detach().double().flatten().tolist()))


def check_norms(norms: Callable[[nn.Module], dict[str, float]]) -> None:
    model = Network()
    expected = {name: by_hand(parameter) for name, parameter in model.named_parameters()}
    assert norms(model) == pytest.approx(expected, rel=1e-12)


def per_element(model: nn.Module) -> dict[str, float]:
    """The fault of the official code: each norm is divided by the number of elements."""
    return {name: by_hand(parameter) / parameter.numel() for name, parameter in model.named_parameters()}


def test_weight_norms() -> None:
    check_norms(weight_norms)


def test_norms_per_element_are_seen() -> None:
    with pytest.raises(AssertionError):
        check_norms(per_element)


def test_the_whole_is_one_vector() -> None:
    model = Network()
    assert weight_norm(model) == pytest.approx(
        by_hand(nn.utils.parameters_to_vector(model.parameters())), rel=1e-12
    )


def test_tied_weights_count_once_and_wrappers_do_not() -> None:
    model = TiedNetwork()
    names = {name for name, _ in model.named_parameters()}
    assert weight_norms(model).keys() == names
    assert weight_norms(nn.DataParallel(model)) == weight_norms(model)


def check_distance(distance: Callable[[nn.Module, dict[str, Tensor]], float]) -> None:
    """Each parameter is moved by its number; buffers move too, and do not count."""
    model = Network()
    start = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.add_(number + 1)
        for buffer in model.buffers():
            buffer.add_(7)
    expected = sum(p.numel() * (number + 1) ** 2 for number, p in enumerate(model.parameters()))
    assert distance(model, start) == pytest.approx(math.sqrt(expected), rel=1e-6)


def sum_of_tensors(model: nn.Module, start: dict[str, Tensor]) -> float:
    """The fault of the official code: norms per element, summed over tensors."""
    return sum(by_hand(p - start[name]) / p.numel() for name, p in model.named_parameters())


def root_mean_square(model: nn.Module, start: dict[str, Tensor]) -> float:
    """Plasticine's: divided by the root of the number of parameters."""
    count = sum(p.numel() for p in model.parameters())
    return distance_from_initialization(model, start) / math.sqrt(count)


def with_buffers(model: nn.Module, start: dict[str, Tensor]) -> float:
    return math.sqrt(sum(by_hand(t - start[n]) ** 2 for n, t in model.state_dict().items()))


def test_distance_from_initialization() -> None:
    check_distance(distance_from_initialization)


@pytest.mark.parametrize("fault", [sum_of_tensors, root_mean_square, with_buffers])
def test_other_distances_are_seen(fault: Callable[[nn.Module, dict[str, Tensor]], float]) -> None:
    with pytest.raises(AssertionError):
        check_distance(fault)


def test_distance_per_layer() -> None:
    model = nn.Linear(2, 2)
    start = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    with torch.no_grad():
        model.bias.add_(torch.tensor([3.0, 4.0]))
    assert distances(model, start) == pytest.approx({"weight": 0.0, "bias": 5.0}, abs=1e-6)


def test_the_start_must_be_of_the_same_network() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="initial lacks bias of the model, or has another shape"):
        distances(model, {"weight": torch.zeros(2, 2)})
    with pytest.raises(ValueError, match="initial lacks weight of the model"):
        distances(model, {"weight": torch.zeros(1, 2), "bias": torch.zeros(2)})


def test_hare_tortoise_distance_is_that_of_the_pair() -> None:
    model = Network()
    pair = HareTortoise(model, decay=0.9)
    assert hare_tortoise_distance(model, pair.tortoise) == 0.0
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    expected = pair.distance()
    assert expected > 1
    assert hare_tortoise_distance(model, pair.tortoise) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_higher(dtype: torch.dtype) -> None:
    model = nn.Linear(1000, 10, bias=False).to(dtype)
    nn.init.constant_(model.weight, 256.0)
    # 256² is infinite in float16, and the sum is not a number of bfloat16.
    assert weight_norm(model) == pytest.approx(25600.0, rel=1e-12)
    other = copy.deepcopy(model)
    nn.init.constant_(other.weight, -256.0)
    assert hare_tortoise_distance(model, other) == pytest.approx(51200.0, rel=1e-12)
    assert feature_norm(torch.full((3, 10000), 256.0, dtype=dtype)).item() == pytest.approx(
        25600.0, rel=1e-12
    )


def test_a_model_without_parameters_has_no_norm() -> None:
    with pytest.raises(ValueError, match="has no floating parameters"):
        weight_norm(nn.ReLU())


def test_feature_norm() -> None:
    features = torch.tensor([[3.0, 4.0], [6.0, 8.0], [0.0, 0.0]])
    found = feature_norm(features)
    assert found.item() == 5.0
    assert found.dtype == torch.float64
    # The mean of the lengths is neither the length of the mean nor the root of the mean square.
    assert feature_norm(torch.tensor([[1.0], [-3.0]])).item() == 2.0
    assert feature_norm(torch.zeros(1, 4)).item() == 0.0
    assert math.isnan(feature_norm(torch.tensor([[1.0, math.nan]])).item())
    for wrong in (torch.ones(3), torch.ones(0, 3)):
        with pytest.raises(ValueError, match=r"expected \(samples, features\)"):
            feature_norm(wrong)
