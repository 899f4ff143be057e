"""Head reset: the head is fresh or what it was, the rest is not touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods import Change, HeadReset, Method
from hare_tortoise.methods.support.names import named_weights
from hare_tortoise.testing import Network, Run

HEAD = {"head.weight", "head.bias"}


class Follower(Method):
    """Keeps the changes that it is told of."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.changes: list[Change] = []

    def weights_changed(self, change: Change) -> None:
        self.changes.append(change)


def copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def check_equation(kind: type[HeadReset], to: Any) -> None:
    """Twice: θ_head ← φ_head, with training in between, and no other tensor changes."""
    built: list[nn.Module] = []

    def fresh() -> nn.Module:
        built.append(Network())
        return built[-1]

    run = Run.start(lambda m, o: kind(m, o, head="head", to=to, fresh=fresh))
    theta0 = copies(run.model)
    for time in (1, 2):
        run.train(last=2)
        before = copies(run.model)
        run.method.new_data()
        phi = copies(built[-1]) if to == "fresh" else theta0
        assert len(built) == (time if to == "fresh" else 0)
        for name, theta in run.model.state_dict().items():
            assert torch.equal(theta, phi[name] if name in HEAD else before[name]), name


class IntoACopy(HeadReset):
    """Writes to a copy."""

    def new_data(self, *_: Any, **__: Any) -> None:
        for name, phi in self._values().items():
            rows = torch.arange(len(phi))
            named_weights(self.model)[name].data[rows].copy_(phi)


class Aliased(HeadReset):
    """Puts the kept tensor itself into the model, so that training changes it."""

    def new_data(self, *_: Any, **__: Any) -> None:
        for name, phi in self._values().items():
            named_weights(self.model)[name].data = phi


class OnlyTheWeight(HeadReset):
    """Forgets the bias."""

    def _values(self) -> Mapping[str, Tensor]:
        return {name: phi for name, phi in super()._values().items() if phi.ndim > 1}


class Everything(HeadReset):
    """Resets the features as well."""

    def new_data(self, *arguments: Any, **settings: Any) -> None:
        super().new_data(*arguments, **settings)
        with torch.no_grad():
            next(self.model.parameters()).zero_()


@pytest.mark.parametrize("to", ["fresh", "initial"])
def test_equation(to: str) -> None:
    check_equation(HeadReset, to)


@pytest.mark.parametrize(
    ("kind", "to"),
    [
        (IntoACopy, "fresh"),
        (IntoACopy, "initial"),
        (Aliased, "initial"),
        (OnlyTheWeight, "fresh"),
        (OnlyTheWeight, "initial"),
        (Everything, "fresh"),
    ],
)
def test_faults_are_seen(kind: type[HeadReset], to: str) -> None:
    with pytest.raises(AssertionError):
        check_equation(kind, to)


def test_a_head_of_several_layers_and_its_buffers() -> None:
    model = nn.ModuleDict(
        {
            "body": nn.Linear(2, 4),
            "out": nn.ModuleDict({"last": nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 1))}),
        }
    )
    with torch.no_grad():
        for tensor in named_weights(model).values():
            tensor.fill_(7)
    HeadReset(model, head="out.last").new_data()
    assert model.state_dict()["body.weight"].unique().tolist() == [7]
    assert model.state_dict()["out.last.0.running_mean"].tolist() == [0, 0, 0, 0]
    assert model.state_dict()["out.last.1.weight"].abs().max() <= 0.5


def test_the_head_is_found_inside_wrappers() -> None:
    model = Network()
    model.body = torch.compile(model.body, backend="eager")  # type: ignore[assignment]
    before = copies(model)
    HeadReset(torch.compile(model, backend="eager"), head="body.0").new_data()  # type: ignore[arg-type]
    changed = {name for name, value in copies(model).items() if not torch.equal(value, before[name])}
    assert changed == {"body._orig_mod.0.weight", "body._orig_mod.0.bias"}


def test_the_average_gets_the_same_head() -> None:
    model, average = Network(), Network()
    method, follower = HeadReset(model, head="head"), Follower(model)
    method.listeners = (follower,)
    before = copies(average)
    method.new_data()
    (change,) = follower.changes
    assert not change.whole
    change.apply(named_weights(average))
    for name, value in average.state_dict().items():
        assert torch.equal(value, model.state_dict()[name] if name in HEAD else before[name]), name


def test_the_head_alone_must_be_covered() -> None:
    class WithToken(Network):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.zeros(1))

    HeadReset(WithToken(), head="head").new_data()
    model = Network()
    model.head.scale = nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match=r"does not initialise head\.scale"):
        HeadReset(model, head="head")
