"""Normalize-and-Project against its definition: norms are what they were, scale-invariant functions stay."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods import Chain, HareTortoise, NormalizeAndProject
from hare_tortoise.networks import layer_norm, mlp
from hare_tortoise.testing import Run


def network() -> nn.Sequential:
    """A scale-invariant network but for its head, in float64."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs in (5, 8):
        layers += [nn.Linear(inputs, 8, bias=False), nn.LayerNorm(8, eps=1e-12), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(8, 3)).double()
    with torch.no_grad():
        for index in (1, 4):
            model.get_parameter(f"{index}.bias").normal_(std=0.3)
    return model


def norms(model: nn.Sequential) -> dict[str, float]:
    """`‖W‖` of the layers, and the joint norm of scale and offset of the normalisations."""
    return {
        str(index): float(
            torch.cat([parameter.detach().flatten() for parameter in model[index].parameters()]).norm()
        )
        for index in (0, 1, 3, 4)
    }


def check_norms(kind: type[NormalizeAndProject] = NormalizeAndProject) -> None:
    """After the weights grew and turned: the norms are those of the start, directions kept, the head untouched."""
    model = network()
    method = kind(model, head="6")
    start = norms(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.7).add_(0.2 * torch.randn_like(parameter))
    before = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    method.after_step()
    for index, norm in norms(model).items():
        assert abs(norm - start[index]) < 1e-12 * norm, index
    for name, now in model.named_parameters():
        ratio = now / before[name]
        assert ratio.std() < 1e-12, name
        assert (name[0] == "6") == torch.equal(now, before[name]), name


class HeadToo(NormalizeAndProject):
    """A public implementation: the output layer is projected like any."""

    def __init__(self, model: nn.Module, *, head: str) -> None:
        super().__init__(model, head=None)


class RootTwo(NormalizeAndProject):
    """The same: the joint norm of scale and offset is set to √2, as if there were one unit."""

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        for group in self._groups:
            if len(group) == 2:
                self.rho[group[0]] = torch.tensor(2.0, dtype=torch.float64).sqrt()
        super().project(weights, skipped)


class EachRow(NormalizeAndProject):
    """The norm of each row is held instead of that of the matrix."""

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        super().project(weights, skipped)
        for name in ("0.weight", "3.weight"):
            rows = weights[name].norm(dim=1, keepdim=True)
            weights[name].mul_(self.rho[name] / len(rows) ** 0.5 / rows)


class Squared(NormalizeAndProject):
    """Squares of norms in place of norms."""

    def norms(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: norm.square() for name, norm in super().norms(weights).items()}


class IntoACopy(NormalizeAndProject):
    """The fault of the official ReDo: what is written to is a copy."""

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        super().project({name: tensor.clone() for name, tensor in weights.items()}, skipped)


def test_norms() -> None:
    check_norms()


@pytest.mark.parametrize("kind", [HeadToo, RootTwo, EachRow, Squared, IntoACopy])
def test_faults_are_seen(kind: type[NormalizeAndProject]) -> None:
    with pytest.raises(AssertionError):
        check_norms(kind)


def test_the_function_stays_where_weights_only_grew() -> None:
    model, inputs = network(), torch.randn(16, 5, dtype=torch.float64)
    method = NormalizeAndProject(model, head="6")
    outputs = model(inputs).detach()
    with torch.no_grad():
        for index, factor in zip((0, 3), (7.0, 0.3), strict=True):
            model.get_parameter(f"{index}.weight").mul_(factor)
    torch.testing.assert_close(model(inputs).detach(), outputs, rtol=1e-9, atol=1e-9)
    method.after_step()
    torch.testing.assert_close(model(inputs).detach(), outputs, rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        for index, factor in zip((1, 4), (3.0, 5.0), strict=True):
            model.get_parameter(f"{index}.weight").mul_(factor)
            model.get_parameter(f"{index}.bias").mul_(factor)
    assert (model(inputs) - outputs).abs().max() > 0.1
    method.after_step()
    torch.testing.assert_close(model(inputs).detach(), outputs, rtol=1e-9, atol=1e-9)


def test_scale_and_offset_can_be_kept() -> None:
    model = network()
    method = NormalizeAndProject(model, head="6", affine="keep")
    with torch.no_grad():
        model.get_parameter("1.weight").mul_(3.0)
        model.get_parameter("0.weight").mul_(3.0)
    kept = model.get_parameter("1.weight").detach().clone()
    start = method.rho["0.weight"]
    method.after_step()
    assert torch.equal(model.get_parameter("1.weight"), kept)
    torch.testing.assert_close(model.get_parameter("0.weight").norm().detach(), start, rtol=1e-12, atol=0.0)


def test_the_interval_is_in_steps_that_were_taken() -> None:
    model = network()
    method = NormalizeAndProject(model, head="6", every=3)
    start, seen = norms(model)["0"], []
    for skipped in (False, True, torch.tensor(False), torch.tensor(True), None, None, None, None):
        with torch.no_grad():
            model.get_parameter("0.weight").mul_(2.0)
        method.after_step(skipped)
        seen.append(abs(norms(model)["0"] - start) < 1e-9)
    assert seen == [False, False, False, False, True, False, False, True]


def test_what_started_at_zero_is_left_alone() -> None:
    model = nn.Linear(3, 3)
    nn.init.zeros_(model.weight)
    method = NormalizeAndProject(model, head=None)
    with torch.no_grad():
        model.weight.fill_(2.0)
    method.after_step()
    assert torch.equal(model.weight, torch.full((3, 3), 2.0))


def test_half_precision_is_measured_in_higher_precision() -> None:
    model = nn.Linear(512, 512, bias=False).to(torch.bfloat16)
    method = NormalizeAndProject(model, head=None)
    start = float(model.weight.detach().double().norm())
    with torch.no_grad():
        model.weight.mul_(1.5)
    method.after_step()
    # Rounding to bfloat16 leaves each weight within 2⁻⁹, and errors of both signs cancel in the norm.
    assert abs(float(model.weight.detach().double().norm()) / start - 1) < 1e-4


def test_it_makes_a_pair_with_the_transform_that_normalises() -> None:
    torch.manual_seed(0)
    model = layer_norm(mlp((6,), 3, hidden=(8, 8)))
    method = NormalizeAndProject(model, head="head")
    assert sum(len(group) == 2 for group in method._groups) == 2
    inputs = torch.randn(4, 6)
    outputs = model(inputs).detach()
    with torch.no_grad():
        for group in method._groups:
            for name in group:
                model.get_parameter(name).mul_(2.0)
    method.after_step()
    torch.testing.assert_close(model(inputs).detach(), outputs, rtol=1e-4, atol=1e-5)


def test_the_average_has_at_most_the_norm() -> None:
    run = Run.start(
        lambda m, o: Chain(NormalizeAndProject(m, head="head"), HareTortoise(m, decay=0.8), optimizer=o)
    )
    start = float(run.model.get_parameter("body.0.weight").detach().norm())
    run.train()
    assert abs(float(run.model.get_parameter("body.0.weight").detach().norm()) / start - 1) < 1e-6
    assert 0.9 < float(run.method.deployed.get_parameter("body.0.weight").detach().norm()) / start < 1 - 1e-6


def test_a_head_with_a_normalisation_is_left_alone_with_it() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 2)))
    method = NormalizeAndProject(model, head="1")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7.0)
    method.after_step()
    assert all((parameter == 7.0).all() for parameter in model[1].parameters())
    assert not (model.get_parameter("0.weight") == 7.0).any()


@pytest.mark.parametrize("frozen", ["1.weight", "1.bias"])
def test_beside_a_frozen_offset_or_scale_the_other_stays_too(frozen: str) -> None:
    """Their joint norm could be held by one of them alone only at the price of its direction."""
    model = network()
    method = NormalizeAndProject(model, head="6")
    model.get_parameter(frozen).requires_grad_(False)
    with torch.no_grad():
        for name in ("1.weight", "1.bias"):
            model.get_parameter(name).fill_(7.0)
    method.after_step()
    for name in ("1.weight", "1.bias"):
        assert (model.get_parameter(name) == 7.0).all()
