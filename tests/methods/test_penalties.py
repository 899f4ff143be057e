"""What all penalties keep: no wait for the device, one value in every precision that the outputs may have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from hare_tortoise.methods import (
    L2,
    CChain,
    L2Init,
    Method,
    Parseval,
    SelfDistillation,
    SpectralDecoupling,
    SpectralRegularization,
    WassersteinInit,
)
from hare_tortoise.testing import Network, batch
from tests.methods.test_hare_tortoise_cost import WAITS, Recorder

KINDS: list[Callable[..., Method]] = [
    L2,
    L2Init,
    WassersteinInit,
    SpectralRegularization,
    Parseval,
    SpectralDecoupling,
    SelfDistillation,
    CChain,
]


class Waits(L2):
    """Asks the device for a number at each step."""

    def penalty(self, *args: Any) -> torch.Tensor:
        return torch.tensor(super().penalty(*args).item())


def waits(kind: Callable[..., Method]) -> list[str]:
    """What waits for the device in a step, skipped or not, after some that fill what is kept."""
    model = Network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method = kind(model)
    recorder = Recorder()
    for number in range(6):
        inputs, targets = batch(number)
        outputs = model(inputs)
        loss = cross_entropy(outputs, targets)
        method.penalty(inputs, outputs, targets)
        if number > 3:
            with recorder:
                loss = loss + method.penalty(inputs, outputs, targets)
                method.after_step(torch.tensor(float(number == 4)))
        else:
            method.after_step()
        optimizer.step()
    return [name for name in recorder.operations if name.startswith(WAITS)]


@pytest.mark.parametrize("kind", KINDS)
def test_no_step_waits_for_the_device(kind: Callable[..., Method]) -> None:
    assert waits(kind) == []


def test_a_wait_is_seen() -> None:
    assert waits(Waits)


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_in_half_precision_give_a_penalty_in_float32(kind: Callable[..., Method]) -> None:
    """As under autocast, where the loss is in float32 and the outputs are not."""
    model = Network()
    method = kind(model)
    for number in range(3):
        inputs, targets = batch(number)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.1)
        penalty = method.penalty(inputs, model(inputs).to(torch.bfloat16), targets)
        method.after_step()
    assert penalty.dtype == torch.float32
    assert penalty.item() > 0


@pytest.mark.parametrize("kind", [L2, L2Init, WassersteinInit, SpectralRegularization, Parseval])
def test_penalties_on_weights_follow_a_network_that_was_cast(kind: Callable[..., Method]) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    method = kind(model)
    with torch.no_grad():
        model.get_parameter("0.weight").mul_(3)
    method.after_step()
    before = method.penalty(torch.zeros(1, 4), torch.zeros(1, 2))
    model.double()
    after = method.penalty(torch.zeros(1, 4).double(), torch.zeros(1, 2).double())
    assert after.dtype == torch.float64
    assert after.item() == pytest.approx(before.item(), rel=1e-5)
    assert before.item() > 0


def test_parseval_leaves_a_normalisation_over_several_dimensions_alone() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.LayerNorm([3, 2]))
    with torch.no_grad():
        model.get_parameter("0.weight").copy_(2 * torch.eye(2))
    value = Parseval(model, strength=1.0).penalty(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2))
    assert value.item() == 2 * 3**2


@pytest.mark.parametrize("kind", [L2, L2Init, WassersteinInit])
def test_layer_norm_and_its_kin_are_left_free(kind: Callable[..., Method]) -> None:
    """RMSNorm, and GroupNorm with one group, which stands for LayerNorm behind convolutions."""
    free = [nn.LayerNorm(4), nn.RMSNorm(4), nn.GroupNorm(1, 4)]
    held = [nn.GroupNorm(2, 4), nn.BatchNorm1d(4)]
    model = nn.Sequential(*free, *held)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    method, thorough = kind(model, strength=1.0), kind(model, strength=1.0, layer_norm=True)
    outputs = torch.zeros(1, 2)

    def raised(layer: nn.Module, how: Method) -> bool:
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.add_(1.0)
            value = how.penalty(outputs, outputs)
            for parameter in layer.parameters():
                parameter.sub_(1.0)
        return bool(value > 0)

    assert [raised(layer, method) for layer in model] == [False] * 3 + [True] * 2
    assert all(raised(layer, thorough) for layer in model)


@pytest.mark.parametrize("kind", [SelfDistillation, CChain])
def test_what_is_no_tensor_is_refused(kind: type[SelfDistillation | CChain]) -> None:
    model = nn.Linear(2, 3)
    method = kind(model)
    inputs, targets = torch.ones(4, 2), torch.zeros(4, dtype=torch.long)
    with pytest.raises(TypeError, match="inputs are a tuple, expected a tensor"):
        method.penalty((inputs, inputs), model(inputs), targets)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="outputs are a dict, expected a tensor"):
        method.penalty(inputs, {"logits": model(inputs)}, targets)  # type: ignore[arg-type]
