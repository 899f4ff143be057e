"""Weight clipping against its definition: every weight within `zeta/√fan_in`, what was within it untouched."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods import Chain, HareTortoise, WeightClipping
from hare_tortoise.methods.support.projection import norm_layers
from hare_tortoise.testing import Run
from tests.methods.test_hare_tortoise_cost import WAITS, Recorder


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 5),
        nn.ReLU(),
        nn.Linear(5, 3),
    )


FAN_IN = {"0": 2 * 9, "4": 16, "6": 5}


def check_bounds(kind: type[WeightClipping] = WeightClipping) -> None:
    """Each weight and bias, by hand in float64; the BatchNorm is not touched."""
    model = network()
    method = kind(model, zeta=1.5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=2.0)
    before = {name: tensor.detach().double() for name, tensor in model.named_parameters()}
    method.after_step()
    for name, now in model.named_parameters():
        expected = before[name].clone()
        if (layer := name.split(".")[0]) in FAN_IN:
            bound = 1.5 / math.sqrt(FAN_IN[layer])
            assert expected.abs().max() > bound
            expected = torch.where(expected > bound, bound, torch.where(expected < -bound, -bound, expected))
        torch.testing.assert_close(now.double(), expected, rtol=1e-7, atol=0.0, msg=name)


class FanInAndOut(WeightClipping):
    """An early version of the authors' code: the bound is `1/√(rows + columns)`, and 1 for biases."""

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        self.bounds = {
            name: 1.0 if weights[name].ndim == 1 else 1 / math.sqrt(sum(weights[name].shape[:2]))
            for name in self.bounds
        }
        super().project(weights, skipped)


class NormsToo(WeightClipping):
    """The authors' code: scales and offsets are clipped by the bound of the weight before them."""

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        bound = 1.0
        for name in weights:
            bound = self.bounds.get(name, bound)
            if name in {part for layer in norm_layers(self.model) for part in (layer.weight, layer.bias)}:
                self.bounds[name] = bound
        super().project(weights, skipped)


class NoBiases(WeightClipping):
    """Leaves biases alone."""

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        self.bounds = {name: bound for name, bound in self.bounds.items() if "bias" not in name}
        super().project(weights, skipped)


class IntoACopy(WeightClipping):
    """The fault of the official ReDo: what is written to is a copy."""

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        for name, bound in self.bounds.items():
            everywhere = torch.ones_like(weights[name], dtype=torch.bool)
            weights[name][everywhere].clamp_(-self.zeta * bound, self.zeta * bound)


def test_bounds() -> None:
    check_bounds()


@pytest.mark.parametrize("kind", [FanInAndOut, NormsToo, NoBiases, IntoACopy])
def test_faults_are_seen(kind: type[WeightClipping]) -> None:
    with pytest.raises(AssertionError):
        check_bounds(kind)


def test_torch_draws_within_the_bounds_of_one() -> None:
    model = network()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    WeightClipping(model, zeta=1.0).after_step()
    for now, then in zip(model.parameters(), before, strict=True):
        assert torch.equal(now, then)


def test_the_head_can_be_left_out() -> None:
    model = network()
    method = WeightClipping(model, head="6")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(9.0)
    method.after_step()
    assert model.get_parameter("4.weight").max() < 9.0
    assert torch.equal(model.get_parameter("6.weight"), torch.full((3, 5), 9.0))
    assert torch.equal(model.get_parameter("6.bias"), torch.full((3,), 9.0))


def test_a_head_that_is_all_there_is_is_an_error() -> None:
    with pytest.raises(ValueError, match="outside the head"):
        WeightClipping(nn.Sequential(nn.LayerNorm(2), nn.Linear(2, 2)), head="1")


def test_attention_and_recurrent_layers() -> None:
    attention, recurrent = nn.MultiheadAttention(8, 2), nn.GRU(3, 4)
    for layer, names in (
        (attention, {"in_proj_weight": 8, "in_proj_bias": 8, "out_proj.weight": 8, "out_proj.bias": 8}),
        (recurrent, {"weight_ih_l0": 3, "weight_hh_l0": 4, "bias_ih_l0": 3, "bias_hh_l0": 4}),
    ):
        method = WeightClipping(layer)
        assert method.bounds == {name: 1 / math.sqrt(fan_in) for name, fan_in in names.items()}


def test_a_step_is_two_foreach_calls_that_allocate_nothing() -> None:
    method = WeightClipping(network())
    with Recorder() as recorder:
        method.after_step()
    assert recorder.operations == {"_foreach_clamp_max_.ScalarList": 1, "_foreach_clamp_min_.ScalarList": 1}
    assert not recorder.allocated
    assert not any(name.startswith(WAITS) for name in recorder.operations)


def test_the_average_of_clipped_weights_is_within_the_bounds() -> None:
    run = Run.start(
        lambda m, o: Chain(
            WeightClipping(m, zeta=1.0), HareTortoise(m, decay=0.5, reset_every=3), optimizer=o
        )
    )
    run.train()
    for net in (run.model, run.method.deployed):
        assert 0.39 < net.get_parameter("body.0.weight").abs().max() <= 1 / math.sqrt(6) + 1e-7
