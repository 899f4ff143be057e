"""From scratch: all weights are those of a fresh network, in place."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hare_tortoise.methods import Change, FromScratch, Method
from hare_tortoise.methods import from_scratch as module
from hare_tortoise.methods.support.fresh import draw_fresh
from hare_tortoise.methods.support.names import named_weights
from hare_tortoise.testing import Network, Run


class Follower(Method):
    """Keeps the changes that it is told of."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.changes: list[Change] = []

    def weights_changed(self, change: Change) -> None:
        self.changes.append(change)


def check_equation(kind: type[FromScratch] = FromScratch) -> None:
    """θ ← φ for every parameter and buffer, a new φ each time, and never the storage of φ."""
    built: list[nn.Module] = []

    def fresh() -> nn.Module:
        built.append(Network())
        return built[-1]

    run = Run.start(lambda model, optimizer: kind(model, optimizer, fresh=fresh))
    run.train(last=2)
    pointers = [tensor.data_ptr() for tensor in named_weights(run.model).values()]
    for time in (1, 2):
        run.method.new_data()
        assert len(built) == time
        phi = {name: tensor.clone() for name, tensor in built[-1].state_dict().items()}
        for name, theta in run.model.state_dict().items():
            assert torch.equal(theta, phi[name]), name
        run.train(last=2)
        for name, value in built[-1].state_dict().items():
            assert torch.equal(value, phi[name]), name
    assert pointers == [tensor.data_ptr() for tensor in named_weights(run.model).values()]
    assert not torch.equal(built[0].state_dict()["head.weight"], built[1].state_dict()["head.weight"])


def test_equation() -> None:
    check_equation()


def test_fault_shared_storage_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def alias(theta: torch.Tensor, phi: torch.Tensor) -> None:
        theta.data = phi

    monkeypatch.setattr(module, "write", alias)
    with pytest.raises(AssertionError):
        check_equation()


def test_fault_one_network_for_all_times_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        module,
        "draw_fresh",
        lambda model, fresh, _: draw_fresh(model, fresh, torch.Generator().manual_seed(0)),
    )
    with pytest.raises(AssertionError):
        check_equation()


def test_without_fresh_every_module_is_drawn() -> None:
    model = Network()
    model(torch.randn(8, 6))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    FromScratch(model).new_data()
    assert not torch.equal(model.head.weight, before["head.weight"])
    # BatchNorm's statistics belong to the old network.
    assert model.state_dict()["body.1.running_mean"].tolist() == [0.0] * 8
    assert before["body.1.running_mean"].abs().max() > 0


def test_averages_are_told_that_the_network_is_new() -> None:
    model, average = Network(), Network()
    method, follower = FromScratch(model), Follower(model)
    method.listeners = (follower,)
    method.new_data()
    (change,) = follower.changes
    assert change.whole
    change.apply(named_weights(average))
    for name, value in average.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_frozen_weights_are_replaced_too() -> None:
    model = Network()
    model.requires_grad_(False)
    before = model.head.weight.clone()
    FromScratch(model).new_data()
    assert not torch.equal(model.head.weight, before)
    assert not model.head.weight.requires_grad
