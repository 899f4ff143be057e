"""Clearing what an optimizer knows of some entries, against an optimizer that starts at the new weight."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from schedulefree import AdamWScheduleFree
from torch import Tensor, nn, optim

from hare_tortoise.methods.support.optimizer_state import clear_entries, forget

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "sgd without momentum": lambda p: optim.SGD(p, lr=0.1),
    "adam amsgrad": lambda p: optim.Adam(p, amsgrad=True),
    "adamw fused": lambda p: optim.AdamW(p, fused=True),
    "adamw foreach": lambda p: optim.AdamW(p, foreach=True),
    "adagrad": lambda p: optim.Adagrad(p, initial_accumulator_value=0.5),
    "adadelta": optim.Adadelta,
    "adamax": optim.Adamax,
    "nadam": optim.NAdam,
    "radam": optim.RAdam,
    "rmsprop": lambda p: optim.RMSprop(p, centered=True, momentum=0.9),
    "rprop": lambda p: optim.Rprop(p, lr=0.03),
    "asgd": lambda p: optim.ASGD(p, t0=0),
    "adafactor": optim.Adafactor,
    "muon": optim.Muon,
    "schedule-free": AdamWScheduleFree,
}
# Averages that start at the weight; all else is compared with an optimizer that has seen gradients of zero only.
ALIKE = {"ax", "z"}


def trained(build: Callable[[Any], Any], steps: int = 5) -> tuple[nn.Parameter, Any]:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(6, 4))
    optimizer = build([weight])
    getattr(optimizer, "train", lambda: None)()
    for _ in range(steps):
        weight.grad = torch.randn(6, 4)
        optimizer.step()
    return weight, optimizer


def start(build: Callable[[Any], Any], weight: Tensor) -> dict[str, Any]:
    """What the optimizer knows that has seen no gradient but zero."""
    twin = nn.Parameter(weight.detach().clone())
    optimizer = build([twin])
    getattr(optimizer, "train", lambda: None)()
    twin.grad = torch.zeros_like(twin)
    optimizer.step()
    return dict(optimizer.state[twin])


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dim", [0, 1])
def test_entries_are_as_at_the_start_and_the_others_as_they_were(name: str, dim: int) -> None:
    weight, optimizer = trained(OPTIMIZERS[name])
    before, where = copy.deepcopy(dict(optimizer.state[weight])), torch.zeros(6, 4, dtype=torch.bool)
    where[(slice(None),) * dim + ([1, 3],)] = True
    with torch.no_grad():
        weight[where] = 7.0
    clear_entries(optimizer, weight, where)
    initial = start(OPTIMIZERS[name], weight)
    cleared = 0
    for key, value in optimizer.state[weight].items():
        if not isinstance(value, Tensor) or value.ndim == 0:
            assert value == before[key] or (value is None and before[key] is None), key
            continue
        mask = where if value.shape == where.shape else where.all(1 - dim, keepdim=True)
        if value.shape != mask.shape:
            assert torch.equal(value, before[key])
            continue
        expected = weight.detach() if key in ALIKE else initial[key]
        # Adamax has seen its epsilon, which is not there before the first step.
        torch.testing.assert_close(
            value[mask], expected[mask], rtol=0, atol=2e-8 if key == "exp_inf" else 0, msg=key
        )
        assert torch.equal(value[~mask], before[key][~mask]), key
        assert not torch.equal(value, before[key]), key
        cleared += 1
    assert cleared or name == "sgd without momentum"


def test_the_first_step_after_is_bounded_as_the_docstring_says() -> None:
    weight, optimizer = trained(lambda p: optim.Adam(p, lr=0.1), steps=20000)
    clear_entries(optimizer, weight, torch.ones(6, 4, dtype=torch.bool))
    before = weight.detach().clone()
    weight.grad = torch.randn(6, 4)
    optimizer.step()
    steps = (weight.detach() - before).abs() / 0.1
    assert steps.max().item() == pytest.approx(0.1 / 0.001**0.5, rel=1e-3)


def test_lbfgs_forgets_everything() -> None:
    weight = nn.Parameter(torch.randn(6, 4))
    optimizer = optim.LBFGS([weight])

    def closure() -> float:
        weight.grad = weight.detach() ** 3
        return float((weight.detach() ** 4).sum() / 4)

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    clear_entries(optimizer, weight, torch.ones(6, 4, dtype=torch.bool))
    assert len(optimizer.state) == 0


def test_nothing_known_is_nothing_to_clear() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = optim.Adam([weight])
    clear_entries(optimizer, weight, torch.tensor([True, False]))
    assert len(optimizer.state) == 0


def test_forgetting_a_parameter_leaves_the_others() -> None:
    weights = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = optim.Adagrad(weights, initial_accumulator_value=0.5)
    for weight in weights:
        weight.grad = torch.ones(2)
    optimizer.step()
    forget(optimizer, weights[:1])
    # It makes its state when it is built.
    assert optimizer.state[weights[0]]["sum"].tolist() == [0.5, 0.5]
    assert optimizer.state[weights[1]]["sum"].tolist() == [1.5, 1.5]


def test_lbfgs_forgets_everything_with_any_of_its_parameters() -> None:
    """Its history stands under the first parameter and is that of all."""
    weights = [nn.Parameter(torch.randn(3)) for _ in range(2)]
    optimizer = optim.LBFGS(weights, max_iter=3)

    def closure() -> float:
        for weight in weights:
            weight.grad = weight.detach() ** 3
        return float(sum((weight.detach() ** 4).sum() / 4 for weight in weights))

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    forget(optimizer, weights[1:])
    assert not optimizer.state
