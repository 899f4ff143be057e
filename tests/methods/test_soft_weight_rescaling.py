"""Soft Weight Rescaling against its equations in float64, and against what they are for: proportional functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods import SoftWeightRescaling
from hare_tortoise.networks import mlp

INPUTS = torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def grown(
    kind: type[SoftWeightRescaling], *, batch_norm: bool, **settings: Any
) -> tuple[nn.Module, Any, Any]:
    """A network whose weights have grown by 2, 3, 4, …, its method, and the norms of the start."""
    torch.manual_seed(0)
    model = mlp((5,), 3, hidden=(8, 8), batch_norm=batch_norm).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eps = 1e-15
    method = kind(model, **settings)
    start = {name: float(tensor.detach().norm()) for name, tensor in model.named_parameters()}
    model(INPUTS)  # in training: how the layers are connected is seen
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.mul_(number + 2)
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model, method, start


LAST = {True: ("body.5", "head"), False: ("body.1", "body.3", "head")}
"""The layers from the last normalisation on, or all where there is none."""


def check_equations(kind: type[SoftWeightRescaling], *, batch_norm: bool) -> None:
    """Every weight by `c_l`, every bias by the product from the last normalisation on, or by its own `c_l`."""
    model, method, start = grown(kind, batch_norm=batch_norm, strength=0.3)
    before = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    outputs = model(INPUTS).detach()
    method.after_step()
    product = 1.0
    for name, now in model.named_parameters():
        layer, part = name.rsplit(".", 1)
        if part == "weight":
            norm = float(before[name].norm())
            factor = (0.3 * start[name] + 0.7 * norm) / norm
            product = factor * product if layer in LAST[batch_norm] else factor
            if batch_norm and layer == "body.5":
                product = factor
            assert abs(factor - 1) > 0.1, name
        torch.testing.assert_close(
            now, before[name] * (factor if part == "weight" else product), rtol=1e-12, atol=0.0, msg=name
        )
    torch.testing.assert_close(model(INPUTS).detach(), product * outputs, rtol=1e-9, atol=1e-12)


class OwnFactors(SoftWeightRescaling):
    """Biases by their own factor everywhere."""

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        self.biases = {name: path[-1:] for name, path in self.biases.items()}
        super().project(weights, skipped)


class NoBiases(SoftWeightRescaling):
    """Biases are left alone."""

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        self.biases = {}
        super().project(weights, skipped)


class HeldHard(SoftWeightRescaling):
    """The norm is put back to the initial one at once."""

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        self.strength = 1.0
        super().project(weights, skipped)


class OfPrintedAlgorithm(SoftWeightRescaling):
    """The paper's pseudocode to the letter: the factor before the last normalisation is in the product."""

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        self.biases = {
            name: ("body.4.weight", *path) if path[0] == "body.5.weight" else path
            for name, path in self.biases.items()
        }
        super().project(weights, skipped)


class FromTheStart(SoftWeightRescaling):
    """The product runs through the normalisations."""

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        self.biases["head.bias"] = tuple(name for name in weights if name in self.rho)
        super().project(weights, skipped)


class IntoACopy(SoftWeightRescaling):
    """The fault of the official ReDo: what is written to is a copy."""

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        super().project({name: tensor.clone() for name, tensor in weights.items()}, skipped)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_equations(batch_norm: bool) -> None:
    check_equations(SoftWeightRescaling, batch_norm=batch_norm)


@pytest.mark.parametrize(
    "kind", [OwnFactors, NoBiases, HeldHard, OfPrintedAlgorithm, FromTheStart, IntoACopy]
)
def test_faults_are_seen(kind: type[SoftWeightRescaling]) -> None:
    with pytest.raises(AssertionError):
        check_equations(kind, batch_norm=True)


def test_the_head_can_have_a_strength_of_its_own() -> None:
    model, method, start = grown(
        SoftWeightRescaling, batch_norm=False, strength=0.0, head="head", head_strength=1.0
    )
    body = model.get_parameter("body.3.weight").detach().clone()
    method.after_step()
    assert torch.equal(model.get_parameter("body.3.weight"), body)
    head = model.get_parameter("head.weight").detach()
    assert abs(float(head.norm()) - start["head.weight"]) < 1e-12


def test_norms_approach_those_of_the_start_geometrically() -> None:
    model = nn.Linear(3, 2).double()
    method = SoftWeightRescaling(model, strength=0.1)
    start = float(model.weight.detach().norm())
    with torch.no_grad():
        model.weight.mul_(5.0)
    for _ in range(20):
        method.after_step()
    assert abs(float(model.weight.detach().norm()) - start * (1 + 4 * 0.9**20)) < 1e-12


def test_until_a_forward_in_training_biases_have_their_own_factors() -> None:
    model = mlp((5,), 3, hidden=(8,))
    method = SoftWeightRescaling(model)
    own = {"body.1.bias": ("body.1.weight",), "head.bias": ("head.weight",)}
    model.eval()(INPUTS.float())
    assert method.biases == own
    model.train()(INPUTS.float())
    assert method.biases == own | {"head.bias": ("body.1.weight", "head.weight")}
    assert not model._forward_pre_hooks


def test_looking_at_the_first_forward_does_not_change_it() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(8)
    model = nn.Sequential(nn.Linear(5, 8), norm, nn.Dropout(0.5), nn.Linear(8, 2)).double()
    torch.manual_seed(1)
    expected, after = model(INPUTS), torch.rand(3)
    norm.reset_running_stats()
    _ = SoftWeightRescaling(model)
    torch.manual_seed(1)
    assert torch.equal(model(INPUTS), expected)
    assert torch.equal(torch.rand(3), after)
    assert int(norm.num_batches_tracked or 0) == 1


def test_the_method_goes_when_it_is_dropped_before_the_first_forward() -> None:
    model = mlp((5,), 3, hidden=(8,))
    SoftWeightRescaling(model)
    assert model(INPUTS.float()).shape == (8, 3)


class Tied(nn.Module):
    """Two layers that share a weight, with biases of their own, and ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.second.weight = self.first.weight

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.second(self.first(inputs).relu()).relu())
        return outputs


def test_a_shared_weight_counts_in_the_product_for_each_layer() -> None:
    torch.manual_seed(0)
    model = Tied().double()
    method = SoftWeightRescaling(model, strength=0.5)
    model(INPUTS)
    with torch.no_grad():
        model.first.weight.mul_(3.0)
        model.head.weight.mul_(2.0)
    before = model(INPUTS).detach()
    method.after_step()
    # 3 → 2 twice, 2 → 1.5.
    torch.testing.assert_close(model(INPUTS).detach(), (2 / 3) ** 2 * 0.75 * before, rtol=1e-9, atol=1e-12)
