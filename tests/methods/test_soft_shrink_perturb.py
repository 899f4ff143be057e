"""Soft Shrink & Perturb against its equation in float64: `θ ← shrink·θ + perturb·φ` after every step."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods import Chain, HareTortoise, SoftShrinkPerturb
from hare_tortoise.testing import Network, Run


def parameters(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone().double() for name, tensor in model.named_parameters()}


def check_equation(kind: type[SoftShrinkPerturb] = SoftShrinkPerturb) -> None:
    """Three steps: each parameter by the equation to half a unit in the last place, each time with another noise."""
    built: list[nn.Module] = []

    def fresh() -> nn.Module:
        built.append(Network())
        return built[-1]

    torch.manual_seed(0)
    model = Network()
    method = kind(model, shrink=0.999, perturb=0.01, fresh=fresh)
    buffers = {name: tensor.clone() for name, tensor in model.named_buffers()}
    for step in (1, 2, 3):
        before = parameters(model)
        method.after_step()
        assert len(built) == step
        for name, theta in parameters(model).items():
            change = 0.01 * parameters(built[-1])[name] - 0.001 * before[name]
            # The change is rounded once, and its sum with θ.
            tolerance = 2**-24 * ((before[name] + change).abs() * 1.001 + 4 * change.abs()) + 1e-12
            assert ((theta - before[name] - change).abs() <= tolerance).all(), name
    for name, value in model.named_buffers():
        assert torch.equal(value, buffers[name]), name
    assert not torch.equal(parameters(built[0])["head.weight"], parameters(built[1])["head.weight"])


class OnlyMatrices(SoftShrinkPerturb):
    """Leaves biases and norms alone."""

    def _names(self, weights: Mapping[str, Tensor]) -> list[str]:
        return [name for name in super()._names(weights) if weights[name].ndim > 1]


class IntoACopy(SoftShrinkPerturb):
    """The fault of the official ReDo: what is written to is a copy."""

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        copies = {
            name: nn.Parameter(tensor.clone(), tensor.requires_grad) for name, tensor in weights.items()
        }
        super().project(copies, skipped)


class NeverANewNoise(SoftShrinkPerturb):
    """Draws once."""

    def __init__(self, model: nn.Module, **settings: Any) -> None:
        super().__init__(model, **(settings | {"redraw_every": 1000}))


class TwoRoundings(SoftShrinkPerturb):
    """Multiplies, and adds to what was rounded: of a shrinking by 1e-6 that would be a tenth."""

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        thetas = self.trained(weights, self._names(weights))
        phi = self._draw(thetas)
        for name, theta in thetas.items():
            theta.mul_(self.shrink).add_(phi[name], alpha=self.perturb)


def test_equation() -> None:
    check_equation()


@pytest.mark.parametrize("kind", [OnlyMatrices, IntoACopy, NeverANewNoise, TwoRoundings])
def test_faults_are_seen(kind: type[SoftShrinkPerturb]) -> None:
    with pytest.raises(AssertionError):
        check_equation(kind)


def test_the_noise_is_one_minus_shrink_unless_told() -> None:
    assert SoftShrinkPerturb(nn.Linear(1, 1), shrink=0.75).perturb == 0.25
    assert SoftShrinkPerturb(nn.Linear(1, 1), shrink=0.75, perturb=0.0).perturb == 0.0


def test_noise_is_that_of_the_layers_own_initialisers() -> None:
    wide, norm = nn.Linear(10000, 4, bias=False), nn.LayerNorm(4)
    SoftShrinkPerturb(nn.Sequential(wide, norm), shrink=0.0).after_step()
    # Uniform within ±1/√10000 has the standard deviation 0.01/√3; LayerNorm starts at one.
    assert abs(wide.weight.std().item() * 3**0.5 / 0.01 - 1) < 0.02
    assert torch.equal(norm.weight, torch.ones(4))


def test_independent_draws_add_up_as_their_variances_do() -> None:
    """After many steps the variance is that of a first-order autoregression, `perturb² / (1 − shrink²)` of one draw."""
    model = nn.Linear(100, 100, bias=False)
    method = SoftShrinkPerturb(model, shrink=0.5)
    for _ in range(12):
        method.after_step()
    one_draw = 0.1 / 3**0.5
    assert abs(model.weight.std().item() / (one_draw * (0.25 / 0.75) ** 0.5) - 1) < 0.03


def test_a_draw_can_be_used_for_several_steps() -> None:
    draws = 0

    def fresh() -> nn.Module:
        nonlocal draws
        draws += 1
        return nn.Linear(3, 2)

    model = nn.Linear(3, 2).double()
    method = SoftShrinkPerturb(model, shrink=1.0, perturb=1.0, redraw_every=3, fresh=fresh)
    weights = [model.weight.detach().clone()]
    for _ in range(7):
        method.after_step()
        weights.append(model.weight.detach().clone())
    added = [after - before for before, after in pairwise(weights)]
    assert draws == 3
    same = [torch.allclose(first, second, rtol=1e-12) for first, second in pairwise(added)]
    assert same == [True, True, False, True, True, False]


def test_nothing_is_drawn_where_nothing_is_added() -> None:
    def fresh() -> nn.Module:
        raise AssertionError("drawn")

    model = nn.Linear(3, 2)
    before = model.weight.detach().clone()
    SoftShrinkPerturb(model, shrink=0.5, perturb=0.0, fresh=fresh).after_step()
    torch.testing.assert_close(model.weight, 0.5 * before)


def test_a_draw_of_other_settings_is_refused() -> None:
    method = SoftShrinkPerturb(nn.Linear(3, 2), redraw_every=5)
    for _ in range(3):
        method.after_step()
    with pytest.raises(ValueError, match=r"used 3 times, expected fewer than redraw_every \(2\)"):
        SoftShrinkPerturb(nn.Linear(3, 2), redraw_every=2).load_state_dict(method.state_dict())


def test_an_average_is_not_nudged_by_itself() -> None:
    run = Run.start(
        lambda m, o: Chain(SoftShrinkPerturb(m, shrink=0.5, seed=1), HareTortoise(m, decay=0.9), optimizer=o)
    )
    start = parameters(run.method.deployed)
    run.train(last=1)
    hare = parameters(run.model)
    for name, value in parameters(run.method.deployed).items():
        torch.testing.assert_close(
            value, 0.9 * start[name] + 0.1 * hare[name], rtol=1e-5, atol=1e-6, msg=name
        )


def test_half_precision_is_computed_in_float32_and_rounded_once() -> None:
    torch.manual_seed(0)
    model = nn.Linear(64, 64).to(torch.bfloat16)
    before = model.weight.detach().clone().double()
    twin = nn.Linear(64, 64)
    method = SoftShrinkPerturb(model, shrink=0.97, perturb=0.01, fresh=lambda: twin)
    method.after_step()
    exact = 0.97 * before + 0.01 * twin.weight.detach().double()
    # The change in float32 leaves nearly all at the nearest number; rounded before, a tenth would not be.
    nearest = exact.to(torch.bfloat16)
    assert (model.weight == nearest).double().mean() > 0.995


@pytest.mark.parametrize(("dtype", "least"), [(torch.bfloat16, 2**-9), (torch.float16, 2**-12)])
def test_a_shrink_that_half_precision_rounds_away_is_refused(dtype: torch.dtype, least: float) -> None:
    model = nn.Linear(64, 64).to(dtype)
    with pytest.raises(
        ValueError, match=r"shrink is 0\.999999, which in b?float16 \(weight\) changes no weight"
    ):
        SoftShrinkPerturb(model)
    SoftShrinkPerturb(model, shrink=1.0, perturb=0.1)
    SoftShrinkPerturb(model.requires_grad_(False))
    model.requires_grad_(True)
    for factor, moves in ((0.99, False), (1.1, True)):
        shrunk = model.weight.detach() + (model.weight.detach().float() * -least * factor)
        assert torch.equal(shrunk.to(dtype), model.weight) is not moves
        if moves:
            SoftShrinkPerturb(model, shrink=1 - least * factor)
        else:
            with pytest.raises(ValueError, match="changes no weight"):
                SoftShrinkPerturb(model, shrink=1 - least * factor)
