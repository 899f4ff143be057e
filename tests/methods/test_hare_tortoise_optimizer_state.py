"""`optimizer_state="reset"`: the next steps are those of a newly built optimizer, for every class of torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adagrad, Adam, Optimizer

from hare_tortoise.methods import HareTortoise
from tests.methods.pair_checks import network, optimizer_starts_anew, steps, values

CLASSES = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, Optimizer) and kind is not Optimizer
}
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "SGD": [{"lr": 0.1, "momentum": 0.9}, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "fused": True}],
    "Adam": [{}, {"amsgrad": True}, {"fused": True}, {"foreach": True}],
    "AdamW": [{"weight_decay": 0.1}, {"fused": True}],
    "Adagrad": [{}, {"initial_accumulator_value": 0.5}, {"lr_decay": 0.1, "fused": True}],
    "LBFGS": [{"max_iter": 3}, {"line_search_fn": "strong_wolfe"}],
    "RMSprop": [{"momentum": 0.9, "centered": True}],
    "ASGD": [{"t0": 1.0}],
}
# Its gradients are sparse: an embedding, in a test of its own below.
SPARSE = {"SparseAdam"}


@pytest.mark.parametrize(
    ("name", "settings"),
    [(name, settings) for name in CLASSES if name not in SPARSE for settings in SETTINGS.get(name, [{}])],
)
def test_next_steps_are_those_of_a_newly_built_optimizer(name: str, settings: dict[str, Any]) -> None:
    optimizer_starts_anew(HareTortoise, lambda parameters: CLASSES[name](parameters, **settings))


def test_sparse_adam() -> None:
    model = nn.Embedding(6, 2, sparse=True)
    optimizer = torch.optim.SparseAdam(list(model.parameters()))
    pair = HareTortoise(model, optimizer, decay=0.5, reset_every=2, optimizer_state="reset")
    picks = [torch.tensor([0, 1, 1]), torch.tensor([2, 1]), torch.tensor([1, 5]), torch.tensor([0, 1])]

    def step(model: nn.Module, optimizer: Optimizer, picked: torch.Tensor) -> None:
        optimizer.zero_grad()
        model(picked).square().sum().backward()
        optimizer.step()

    for picked in picks[:2]:
        step(model, optimizer, picked)
    pair.reset_every = None
    twin = nn.Embedding(6, 2, sparse=True)
    twin.load_state_dict(model.state_dict())
    newly_built = torch.optim.SparseAdam(list(twin.parameters()))
    for picked in picks[2:]:
        step(model, optimizer, picked)
        step(twin, newly_built, picked)
    assert torch.equal(model.weight, twin.weight)


def test_groups_and_learning_rates_stay() -> None:
    model = network()
    optimizer = Adagrad(
        [
            {"params": model[0].parameters(), "lr": 0.3},
            {"params": [*model[1].parameters(), *model[3].parameters()]},
        ]
    )
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    HareTortoise(model, optimizer, decay=0.5, reset_every=1, optimizer_state="reset")
    for _ in steps(model, optimizer, 2):
        scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.3 / 4, 0.01 / 4]


def test_keep_leaves_the_state_alone() -> None:
    def train(**settings: Any) -> tuple[Adam, dict[str, torch.Tensor]]:
        model = network()
        optimizer = Adam(model.parameters())
        HareTortoise(model, optimizer, decay=0.0, reset_every=2, **settings)
        list(steps(model, optimizer, 5))
        return optimizer, values(model)

    # At decay 0 a reset changes no weight, so that only the optimizer's state can tell.
    kept, weights = train(optimizer_state="keep")
    plain_model = network()
    plain = Adam(plain_model.parameters())
    list(steps(plain_model, plain, 5))
    assert all(torch.equal(weights[name], tensor) for name, tensor in values(plain_model).items())
    assert {int(state["step"]) for state in kept.state.values()} == {5}
    anew, other = train(optimizer_state="reset")
    assert {int(state["step"]) for state in anew.state.values()} == {1}
    assert not torch.equal(other["0.weight"], weights["0.weight"])


def test_all_optimizers_are_reset() -> None:
    model = network()
    matrices = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2]
    first: Any = torch.optim.Muon(matrices)
    last = Adam(others)
    pair = HareTortoise(model, [first, last], decay=0.5, optimizer_state="reset")
    model(torch.randn(8, 3)).square().sum().backward()
    first.step()
    assert pair.steps == 0, "a step is the last one's"
    last.step()
    assert pair.steps == 1
    pair.reset()
    assert not first.state
    assert not last.state


def test_momentum_is_gone() -> None:
    model = nn.Linear(1, 1, bias=False)
    optimizer = SGD(model.parameters(), lr=0.0, momentum=0.9)
    pair = HareTortoise(model, optimizer, decay=0.5, optimizer_state="reset")
    model(torch.ones(1, 1)).sum().backward()
    optimizer.step()
    assert optimizer.state
    pair.reset()
    assert not optimizer.state
