"""FIRE against the singular value decomposition in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods import FIRE, Chain, HareTortoise
from hare_tortoise.methods import fire as module
from hare_tortoise.methods.fire import isometry, newton_schulz
from hare_tortoise.methods.support.names import named_weights
from hare_tortoise.networks.vit import VisionTransformer
from hare_tortoise.testing import Network

SHAPES = [(7, 4), (4, 7), (5, 5), (6, 1), (1, 6)]


def polar(matrix: Tensor) -> Tensor:
    """The nearest matrix whose singular values are 1."""
    u, _, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    nearest: Tensor = u @ vh
    return nearest


def iterated(matrix: Tensor, iterations: int) -> Tensor:
    """What Newton-Schulz gives: each singular value goes its own way by a scalar iteration."""
    u, values, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    values = values / values.square().sum().sqrt()
    for _ in range(iterations):
        values = 1.5 * values - 0.5 * values**3
    result: Tensor = u @ torch.diag(values) @ vh
    return result


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, (3, 2)),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 8, 1, groups=2),
        nn.Flatten(),
        nn.Linear(8, 3),
    ).double()


def check_network(kind: type[FIRE] = FIRE) -> None:
    """Each matrix is the oracle's with its factor, and nothing else changes."""
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    kind(model, iterations=5).new_data()
    now = model.state_dict()
    for i in range(3):
        for j in range(2):
            wanted = iterated(before["0.weight"][:, :, i, j], 5) * math.sqrt(6 / 2) / 6
            torch.testing.assert_close(now["0.weight"][:, :, i, j], wanted, rtol=1e-9, atol=1e-12)
    for group in (slice(0, 4), slice(4, 8)):
        wanted = iterated(before["2.weight"][group, :, 0, 0], 5) * math.sqrt(4 / 3)
        torch.testing.assert_close(now["2.weight"][group, :, 0, 0], wanted, rtol=1e-9, atol=1e-12)
    wanted = iterated(before["4.weight"], 5) * math.sqrt(3 / 8)
    torch.testing.assert_close(now["4.weight"], wanted, rtol=1e-9, atol=1e-12)
    for name in now.keys() - {"0.weight", "2.weight", "4.weight"}:
        assert torch.equal(now[name], before[name]), name


class IntoACopy(FIRE):
    """Writes to an indexed copy."""

    def new_data(self, *_: Any, **__: Any) -> None:
        for theta in named_weights(self.model).values():
            if theta.ndim > 1:
                theta.data[torch.arange(len(theta))].copy_(theta.data * 0)


class OnlyLinear(FIRE):
    """Leaves out convolutions."""

    def __init__(self, model: nn.Module, **settings: Any) -> None:
        super().__init__(model, layers="4", **settings)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("iterations", [1, 5, 10])
def test_newton_schulz(shape: tuple[int, int], iterations: int) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape, dtype=torch.float64) * 100
    torch.testing.assert_close(newton_schulz(matrix, iterations), iterated(matrix, iterations))
    torch.testing.assert_close(newton_schulz(matrix, 60), polar(matrix))


def test_newton_schulz_takes_many_at_once() -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, 2, 4, 6, dtype=torch.float64)
    together = newton_schulz(matrices, 7)
    for i in range(3):
        for j in range(2):
            torch.testing.assert_close(together[i, j], newton_schulz(matrices[i, j], 7))


def test_how_far_it_converges() -> None:
    """As was found by running the authors' iteration on 256 × 128: 0.95 to 1 after 10, 0.22 to 0.84 after 5."""
    torch.manual_seed(0)
    matrix = torch.randn(256, 128)
    few, many = (torch.linalg.svdvals(newton_schulz(matrix, iterations)) for iterations in (5, 10))
    assert 0.15 < few.min() < 0.25
    assert 0.8 < few.max() < 0.9
    assert many.min() > 0.93
    assert many.max() < 1.0001


def test_zero_and_huge_matrices() -> None:
    assert torch.equal(newton_schulz(torch.zeros(3, 2), 10), torch.zeros(3, 2))
    torch.testing.assert_close(newton_schulz(torch.eye(2) * 1e18, 30), torch.eye(2))


def test_network() -> None:
    check_network()


@pytest.mark.parametrize("kind", [IntoACopy, OnlyLinear])
def test_faults_are_seen(kind: type[FIRE]) -> None:
    with pytest.raises(AssertionError):
        check_network(kind)


def without_scale(weight: Tensor, iterations: int, groups: int = 1) -> Tensor:
    """Forgets the factor of the shape."""
    return isometry(weight, iterations, groups) * math.sqrt(weight.shape[1] * groups / weight.shape[0])


def as_one_matrix(weight: Tensor, iterations: int, groups: int = 1) -> Tensor:
    """Takes a convolution as one matrix of inputs times places."""
    scale = math.sqrt(weight.shape[0] / weight.shape[1])
    return newton_schulz(weight.flatten(1), iterations).reshape(weight.shape) * scale


@pytest.mark.parametrize("fault", [without_scale, as_one_matrix])
def test_faults_of_the_map_are_seen(fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "isometry", fault)
    with pytest.raises(AssertionError):
        check_network()


def test_query_and_key_of_a_transformer() -> None:
    torch.manual_seed(0)
    model = VisionTransformer(
        (3, 8, 8), 3, patch=4, dim=12, heads=3, depth=2, hidden=16, dropout=0.0
    ).double()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    FIRE(model, iterations=40, layers="*.query_key_value", parts=(True, True, False)).new_data()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {f"body.{i}.attention.query_key_value.weight" for i in (0, 1)}
    for name in changed:
        query, key, value = model.state_dict()[name].chunk(3)
        torch.testing.assert_close(query, polar(before[name][:12]))
        torch.testing.assert_close(key, polar(before[name][12:24]))
        assert torch.equal(value, before[name][24:])


def test_frozen_weights_stay_in_the_average_too() -> None:
    model = network()
    pair = HareTortoise(model, reset_every=100)
    with torch.no_grad():
        model.get_parameter("0.weight").add_(0.3)
    model.get_parameter("0.weight").requires_grad_(False)
    before = [named_weights(net)["0.weight"].clone() for net in (model, pair.tortoise)]
    last = list(dict(model.named_parameters()))[-2]
    other = model.get_parameter(last).detach().clone()
    Chain(FIRE(model), pair).new_data()
    for net, weight in zip((model, pair.tortoise), before, strict=True):
        assert torch.equal(named_weights(net)["0.weight"], weight)
    assert not torch.equal(model.get_parameter(last), other)


def test_layers_of_several_patterns() -> None:
    model = Network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    FIRE(model, layers=("head", "body.0")).new_data()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"head.weight", "body.0.weight"}


def check_tortoise(kind: type[FIRE] = FIRE) -> None:
    """The tortoise's own weights become isometries, which a reset of the hare keeps."""
    model = network()
    pair = HareTortoise(model, decay=0.5)
    chain = Chain(pair, kind(model, iterations=40))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    pair.after_step()
    hare, mean = (m.state_dict()["4.weight"].clone() for m in (model, pair.tortoise))
    chain.new_data()
    torch.testing.assert_close(model.state_dict()["4.weight"], polar(hare) * math.sqrt(3 / 8))
    torch.testing.assert_close(pair.tortoise.state_dict()["4.weight"], polar(mean) * math.sqrt(3 / 8))
    assert not torch.allclose(polar(hare), polar(mean))
    pair.reset()
    torch.testing.assert_close(model.state_dict()["4.weight"], polar(mean) * math.sqrt(3 / 8))


class TellsNobody(FIRE):
    """Leaves the average alone."""

    def changed(self, change: Any) -> None:
        """Do nothing."""


def test_tortoise() -> None:
    check_tortoise()


def test_fault_the_average_pulls_back_is_seen() -> None:
    with pytest.raises(AssertionError):
        check_tortoise(TellsNobody)


def test_half_precision_is_rounded_once() -> None:
    torch.manual_seed(0)
    model = nn.Linear(6, 4).bfloat16()
    before = model.weight.detach().float()
    FIRE(model).new_data()
    wanted = newton_schulz(before, 10) * math.sqrt(4 / 6)
    assert torch.equal(model.weight, wanted.bfloat16())


def test_computed_weights_are_refused_or_left_out() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"0 \(ParametrizedLinear\) computes its weight from other tensors"):
        FIRE(model)
    FIRE(model, layers="1").new_data()
