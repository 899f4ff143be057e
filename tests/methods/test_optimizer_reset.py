"""Optimizer reset: the next steps are bit for bit those of a newly built optimizer, for every class of torch."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hare_tortoise.methods import OptimizerReset
from hare_tortoise.methods import optimizer_reset as module
from hare_tortoise.methods.support.optimizer_state import clear_state

KINDS: list[type[Optimizer]] = [
    kind
    for _, kind in inspect.getmembers(torch.optim, inspect.isclass)
    if issubclass(kind, Optimizer) and kind is not Optimizer
]
SETTINGS: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.9, "nesterov": True},
    "RMSprop": {"momentum": 0.9, "centered": True},
    "Adagrad": {"initial_accumulator_value": 0.5, "lr_decay": 0.1},
    "Adam": {"amsgrad": True},
    "ASGD": {"t0": 2.0},
    "LBFGS": {"history_size": 3, "max_iter": 3},
}


def network(kind: type[Optimizer]) -> nn.Module:
    if kind is torch.optim.SparseAdam:
        return nn.Embedding(5, 3, sparse=True)
    # Muon takes matrices only.
    return nn.Linear(5, 3, bias=kind is not torch.optim.Muon)


def loss(model: nn.Module, number: int) -> Tensor:
    generator = torch.Generator().manual_seed(number)
    if isinstance(model, nn.Embedding):
        output: Tensor = model(torch.randint(5, (4,), generator=generator))
    else:
        output = model(torch.randn(4, 5, generator=generator))
    return (output - 1).square().mean()


def train(model: nn.Module, optimizer: Optimizer, first: int, last: int) -> None:
    for number in range(first, last):

        def closure(number: int = number) -> Tensor:
            optimizer.zero_grad()
            value = loss(model, number)
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimizer.step(closure)  # type: ignore[arg-type]


def check_next_steps(kind: type[Optimizer], settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = network(kind)
    make: Callable[..., Optimizer] = kind
    optimizer = make(model.parameters(), lr=0.05, **settings)
    method = OptimizerReset(model, optimizer)
    train(model, optimizer, 0, 4)
    # What the user has set meanwhile stays.
    optimizer.param_groups[0]["lr"] = 0.02
    other = copy.deepcopy(model)
    new = make(other.parameters(), lr=0.02, **settings)
    method.new_data()
    train(model, optimizer, 4, 8)
    train(other, new, 4, 8)
    for value, expected in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(value, expected)
    assert optimizer.param_groups[0]["lr"] == 0.02


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_next_steps_are_those_of_a_new_optimizer(kind: type[Optimizer]) -> None:
    check_next_steps(kind, SETTINGS.get(kind.__name__, {}))


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "Adagrad"])
@pytest.mark.parametrize("setting", ["fused", "foreach"])
def test_and_of_its_implementations(name: str, setting: str) -> None:
    check_next_steps(getattr(torch.optim, name), {**SETTINGS.get(name, {}), setting: True})


def test_the_list_of_classes_is_that_of_torch() -> None:
    assert {"Adadelta", "Adagrad", "Adam", "LBFGS", "Muon", "SGD", "SparseAdam"} <= {
        kind.__name__ for kind in KINDS
    }


def zero_moments(optimizer: Optimizer) -> None:
    for state in optimizer.state.values():
        for name, value in state.items():
            if isinstance(value, Tensor) and name != "step":
                value.zero_()


def zero_copies(optimizer: Optimizer) -> None:
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor) and value.ndim:
                value[torch.ones_like(value, dtype=torch.bool)].zero_()


@pytest.mark.parametrize("fault", [zero_moments, zero_copies, lambda optimizer: None])
def test_faults_are_seen(fault: Callable[[Optimizer], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "clear_state", fault)
    with pytest.raises(AssertionError):
        check_next_steps(torch.optim.Adam, {})


def test_adagrad_has_the_state_that_it_is_built_with() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adagrad([weight], initial_accumulator_value=0.5)
    weight.grad = torch.ones(2)
    optimizer.step()
    clear_state(optimizer)
    assert optimizer.state[weight]["sum"].tolist() == [0.5, 0.5]
    assert optimizer.state[weight]["step"].item() == 0


def test_all_of_several_optimizers_are_reset() -> None:
    model = nn.Linear(2, 1)
    optimizers = [torch.optim.Adam([model.weight]), torch.optim.SGD([model.bias], momentum=0.9)]
    method = OptimizerReset(model, optimizers)
    model(torch.ones(1, 2)).sum().backward()
    for optimizer in optimizers:
        optimizer.step()
        assert optimizer.state
    method.new_data()
    assert [len(optimizer.state) for optimizer in optimizers] == [0, 0]


def test_without_an_optimizer_there_is_nothing_to_reset() -> None:
    method = OptimizerReset(nn.Linear(2, 1))
    with pytest.raises(RuntimeError, match="no optimizer to reset"):
        method.new_data()
