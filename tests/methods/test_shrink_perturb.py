"""Shrink & Perturb against its equation in float64: `θ ← shrink·θ + perturb·φ`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods import Change, Method, ShrinkPerturb
from hare_tortoise.methods.support.names import named_weights
from hare_tortoise.testing import Network, Run


class Follower(Method):
    """Keeps the changes that it is told of."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.changes: list[Change] = []

    def weights_changed(self, change: Change) -> None:
        self.changes.append(change)


def parameters(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone().double() for name, tensor in model.named_parameters()}


def check_fresh_noise(kind: type[ShrinkPerturb] = ShrinkPerturb) -> None:
    """Twice: each parameter by the equation, each time with the noise of another network."""
    built: list[nn.Module] = []

    def fresh() -> nn.Module:
        built.append(Network())
        return built[-1]

    run = Run.start(lambda m, o: kind(m, o, shrink=0.4, perturb=0.1, fresh=fresh))
    for time in (1, 2):
        run.train(last=2)
        before, buffers = parameters(run.model), dict(run.model.named_buffers())
        buffers = {name: tensor.clone() for name, tensor in buffers.items()}
        run.method.new_data()
        assert len(built) == time
        for name, theta in parameters(run.model).items():
            expected = 0.4 * before[name] + 0.1 * parameters(built[-1])[name]
            torch.testing.assert_close(theta, expected, rtol=1e-6, atol=1e-7, msg=name)
        for name, value in run.model.named_buffers():
            assert torch.equal(value, buffers[name]), name
    assert not torch.equal(parameters(built[0])["head.weight"], parameters(built[1])["head.weight"])


def check_initial_noise(kind: type[ShrinkPerturb] = ShrinkPerturb) -> None:
    """Twice: the convex form, towards the weights that the model had in the beginning."""
    run = Run.start(lambda m, o: kind(m, o, shrink=0.2, perturb=0.8, noise="initial"))
    theta0 = parameters(run.model)
    for _ in range(2):
        run.train(last=2)
        before = parameters(run.model)
        run.method.new_data()
        for name, theta in parameters(run.model).items():
            torch.testing.assert_close(theta, 0.2 * before[name] + 0.8 * theta0[name], rtol=1e-6, atol=1e-7)


class OnlyMatrices(ShrinkPerturb):
    """Leaves biases and norms alone."""

    def _noise(self) -> Mapping[str, Tensor]:
        return {name: phi for name, phi in super()._noise().items() if phi.ndim > 1}


class IntoACopy(ShrinkPerturb):
    """The fault of the official ReDo: what is written to is a copy."""

    def new_data(self, *_: Any, **__: Any) -> None:
        phi = self._noise()
        for name, theta in named_weights(self.model).items():
            if name in phi:
                everywhere = torch.ones_like(theta, dtype=torch.bool)
                theta.data[everywhere].copy_(
                    self.shrink * theta[everywhere] + self.perturb * phi[name][everywhere]
                )


class AliasedStart(ShrinkPerturb):
    """Keeps references to the first weights where it should keep copies."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.theta0 = {name: tensor.detach() for name, tensor in self.model.named_parameters()}


class NeverANewNoise(ShrinkPerturb):
    """Draws once."""

    def _noise(self) -> Mapping[str, Tensor]:
        if not self.theta0:
            self.theta0 = dict(super()._noise())
        return self.theta0


def test_fresh_noise() -> None:
    check_fresh_noise()


def test_initial_noise() -> None:
    check_initial_noise()


@pytest.mark.parametrize("kind", [OnlyMatrices, IntoACopy, NeverANewNoise])
def test_faults_with_fresh_noise_are_seen(kind: type[ShrinkPerturb]) -> None:
    with pytest.raises(AssertionError):
        check_fresh_noise(kind)


@pytest.mark.parametrize("kind", [OnlyMatrices, IntoACopy, AliasedStart])
def test_faults_with_initial_noise_are_seen(kind: type[ShrinkPerturb]) -> None:
    with pytest.raises(AssertionError):
        check_initial_noise(kind)


def test_noise_has_the_scale_of_each_tensor() -> None:
    wide, norm = nn.Linear(10000, 4, bias=False), nn.LayerNorm(4)
    ShrinkPerturb(nn.Sequential(wide, norm), shrink=0.0, perturb=1.0).new_data()
    # Uniform within ±1/√10000 has the standard deviation 0.01/√3; LayerNorm starts at one.
    assert abs(wide.weight.std().item() * 3**0.5 / 0.01 - 1) < 0.02
    assert torch.equal(norm.weight, torch.ones(4))


@pytest.mark.parametrize("noise", ["fresh", "initial"])
def test_averages_get_the_same_change_with_the_same_draw(noise: Any) -> None:
    model, average = Network(), Network().double()
    method, follower = ShrinkPerturb(model, noise=noise, shrink=0.5, perturb=0.25), Follower(model)
    method.listeners = (follower,)
    theta, mean = parameters(model), parameters(average)
    method.new_data()
    (change,) = follower.changes
    assert not change.whole
    change.apply(named_weights(average))
    for name, now in parameters(model).items():
        phi = (now - 0.5 * theta[name]) / 0.25
        torch.testing.assert_close(
            parameters(average)[name], 0.5 * mean[name] + 0.25 * phi, rtol=1e-5, atol=1e-6, msg=name
        )


def test_frozen_weights_stay() -> None:
    model = Network()
    model.body.requires_grad_(False)
    before = parameters(model)
    ShrinkPerturb(model).new_data()
    after = parameters(model)
    assert [name for name in before if not torch.equal(before[name], after[name])] == [
        "head.weight",
        "head.bias",
    ]


def test_half_precision_is_rounded_once() -> None:
    model = nn.Linear(64, 64).to(torch.bfloat16)
    built: list[nn.Linear] = []

    def fresh() -> nn.Module:
        built.append(nn.Linear(64, 64))
        return built[-1]

    before = model.weight.detach().float()
    ShrinkPerturb(model, shrink=0.4, perturb=0.1, fresh=fresh).new_data()
    expected = (0.4 * before + 0.1 * built[-1].weight.detach()).to(torch.bfloat16)
    assert torch.equal(model.weight, expected)


def test_the_start_is_a_part_of_the_state() -> None:
    model, other = nn.Linear(2, 2), nn.Linear(2, 2)
    method = ShrinkPerturb(model, noise="initial", shrink=0.0, perturb=1.0)
    loaded = ShrinkPerturb(other, noise="initial", shrink=0.0, perturb=1.0)
    loaded.load_state_dict(method.state_dict())
    loaded.new_data()
    assert torch.equal(other.weight, model.weight)
