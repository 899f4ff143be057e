"""Networks whose forwards differ from one another, or that change after units were found."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise import ContinualBackprop, ReDo, ReGraMa
from hare_tortoise.methods.support.unit_method import UnitMethod


def network(width: int = 8) -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 2))


def step(method: UnitMethod, model: nn.Module, *inputs: Tensor) -> None:
    model.zero_grad()
    for value in inputs or (torch.randn(6, 4),):
        model(value).square().mean().backward()
    method.after_step()


class Shared(nn.Module):
    """One activation for all layers; in training it serves another branch first."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.a, self.aux, self.b, self.out = (nn.Linear(4, 4) for _ in range(4))
        self.own = nn.Tanh()

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.act(self.a(inputs))
        extra = self.act(self.aux(hidden)).sum() if self.training else 0.0
        result: Tensor = self.out(self.own(self.b(hidden))) + extra
        return result


@pytest.mark.parametrize("kind", ["activations", "gradients"])
def test_calls_that_cannot_be_told_apart_do_not_count(kind: str) -> None:
    model = Shared()
    method: UnitMethod = (
        ReDo(model, every=1) if kind == "activations" else ReGraMa(model, every=1, gradient="activations")
    )
    seen: list[list[bool]] = []
    method.act = lambda skipped: seen.append(  # type: ignore[method-assign]
        [method.observation(name) is not None for name in ("a", "b")]
    )
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        step(method, model, torch.randn(3, 4))
        step(method, model, torch.randn(3, 4))
    assert seen == [[False, True]] * 2
    told = [str(warning.message) for warning in warned]
    assert sum(r"act (2 times, not 1)" in message for message in told) == 1
    assert any("aux (did not run in the first forward" in message for message in told)


def test_another_size_in_another_branch_does_not_count() -> None:
    class Wider(Shared):
        def forward(self, inputs: Tensor) -> Tensor:
            extra = self.act(torch.cat([inputs, inputs], 1)).sum() if self.training else 0.0
            result: Tensor = self.out(self.act(self.a(inputs))) + extra
            return result

    model = Wider()
    method = ReDo(model, every=1)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        step(method, model)
    assert any("act (2 times, not 1)" in str(warning.message) for warning in warned)


def test_inputs_of_any_rank_are_averaged_alike() -> None:
    model = network()
    method = ReDo(model, every=1)
    seen: list[Tensor] = []
    method.act = lambda skipped: seen.append(method.observation("0").magnitude)  # type: ignore[method-assign,union-attr]
    many, few, single = torch.randn(3, 7, 4), torch.randn(5, 4), torch.randn(4)
    step(method, model, many, few, single)
    rows = torch.cat([many.reshape(-1, 4), few, single.unsqueeze(0)])
    torch.testing.assert_close(seen[0], model[1](model[0](rows)).detach().abs().mean(0))


def test_an_activation_of_another_size_is_an_error() -> None:
    class Sized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act, self.a, self.b, self.c = nn.ReLU(), nn.Linear(4, 8), nn.Linear(4, 6), nn.Linear(8, 2)
            self.other = False

        def forward(self, inputs: Tensor) -> Tensor:
            if self.other:
                return torch.as_tensor(self.act(self.b(inputs)))
            return torch.as_tensor(self.c(self.act(self.a(inputs))))

    model = Sized()
    method = ReDo(model, every=1)
    with pytest.warns(UserWarning, match=r"b \(did not run"):
        step(method, model)
    model.other = True
    with pytest.raises(RuntimeError, match=r"act was expected to show 8 units of a .* got \(6, 6\)"):
        step(method, model)


def test_frozen_weights_are_not_written() -> None:
    model = network()
    method = ReDo(model, every=1, threshold=100.0)
    step(method, model)
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    rest = model[2].weight.clone()
    step(method, model)
    assert torch.equal(model[0].weight, before)
    assert not torch.equal(model[2].weight, rest)


def test_replaced_modules_are_watched() -> None:
    model = network()
    method = ReDo(model, every=1, threshold=-0.0)
    step(method, model)
    model[3] = nn.Tanh()
    model.zero_grad()
    model(torch.randn(3, 4)).sum().backward()
    assert method.observation("2") is not None
    assert all(site.module is not None for site in method._taps.sites)  # type: ignore[union-attr]
    assert {site.name: site.module for site in method._taps.sites}["3"] is model[3]  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["redo", "continual"])
def test_grown_layers_are_found_anew(kind: str) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    method: UnitMethod = (
        ReDo(model, optimizer, every=1, threshold=100.0)
        if kind == "redo"
        else ContinualBackprop(model, optimizer, replacement_rate=0.5, maturity=0)
    )
    for _ in range(3):
        model(torch.randn(6, 4)).square().mean().backward()
        optimizer.step()
    method.detach()
    model[2], model[4] = nn.Linear(8, 12), nn.Linear(12, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    method.attach(optimizer)
    for _ in range(3):
        model(torch.randn(6, 4)).square().mean().backward()
        optimizer.step()
    assert (method.groups["2"].size, method.groups["0"].size) == (12, 8)
    assert all(len(kept) == 12 for kept in method.memory["2"].values())
    assert bool((model[4].weight == 0).all(0).any())


def test_a_changed_shape_without_a_word_is_an_error() -> None:
    model = network()
    method = ReDo(model, every=1, threshold=100.0)
    step(method, model)
    model[2].weight = nn.Parameter(torch.randn(12, 8))
    with pytest.raises(RuntimeError, match=r"2\.weight has changed since the units were found"):
        method.reset_units({"2": torch.ones(8, dtype=torch.bool)})


def test_a_state_from_before_the_first_forward_goes_on() -> None:
    settings = {"replacement_rate": 0.5, "maturity": 0}
    early = ContinualBackprop(network(), **settings).state_dict()  # type: ignore[arg-type]
    model = network()
    method = ContinualBackprop(model, **settings)  # type: ignore[arg-type]
    step(method, model)
    method.load_state_dict(early)
    for _ in range(3):
        step(method, model)
    assert bool((model[4].weight == 0).all(0).any())
    assert method.steps == 3


def test_a_unit_without_incoming_weights_is_of_no_use() -> None:
    model = network()
    with torch.no_grad():
        model[2].weight[3], model[2].bias[3] = 0.0, 0.5
    method = ContinualBackprop(model, utility="adaptable-contribution", replacement_rate=0.0)
    for _ in range(3):
        step(method, model)
    utility = method.memory["2"]["utility"]
    assert bool(utility.isfinite().all())
    assert utility[3] == 0


def test_a_saved_state_does_not_change() -> None:
    model = network()
    method = ContinualBackprop(model, replacement_rate=0.5, maturity=0)
    step(method, model)
    saved = method.state_dict()
    ages, used = saved["memory"]["0"]["age"].clone(), saved["draws"]["used"]["0"].clone()
    for _ in range(3):
        step(method, model)
    assert torch.equal(saved["memory"]["0"]["age"], ages)
    assert torch.equal(saved["draws"]["used"]["0"], used)


class Towers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.towers = nn.ModuleList(network() for _ in range(2))
        self.both = True

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = sum(tower(inputs) for tower in self.towers[: 1 + self.both])
        return result


def test_layers_that_a_step_does_not_use_are_left_alone() -> None:
    model: Any = Towers()
    method = ReGraMa(model, every=1, threshold=0.0)
    step(method, model)
    model.both, method.threshold = False, 100.0
    before = model.towers[1][2].weight.clone()
    step(method, model)
    assert torch.equal(model.towers[1][2].weight, before)
    assert bool((model.towers[0][4].weight == 0).all())


def test_an_argument_may_be_named() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.named = nn.Linear(4, 8), nn.Linear(8, 2), False

        def forward(self, inputs: Tensor) -> Tensor:
            hidden = torch.sin(self.a(inputs)).relu()
            result: Tensor = self.b(input=hidden) if self.named else self.b(hidden)
            return result

    model = Named()
    method = ReDo(model, every=1, threshold=0.0)
    step(method, model)
    model.named = True
    step(method, model)
    assert method.steps == 2


def test_forwards_without_the_watched_layers_are_told_of() -> None:
    model: Any = Towers()
    method = ReDo(model, every=1)
    step(method, model)
    model.forward = lambda inputs: inputs.sum() * model.towers[0][0].weight.sum()
    for _ in range(9):
        step(method, model)
    with pytest.raises(RuntimeError, match="saw 10 forwards in 10 steps, but in none of them the layers"):
        step(method, model)


def test_steps_that_are_not_seen_must_come_in_a_row() -> None:
    model = network()
    method = ReDo(model, every=1)
    for _ in range(3):
        for _ in range(6):
            method.after_step()
        step(method, model)


def test_a_forward_that_fails_does_not_leave_the_watch_on() -> None:
    model = network()
    method = ReDo(model, every=1)
    step(method, model)
    with pytest.raises(RuntimeError):
        model(torch.randn(3, 5))
    taps = method._taps
    assert taps is not None
    assert not taps.on
    model[1](torch.randn(3, 8))
    assert not taps.sums


def test_gradients_of_all_incoming_weights_count() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c, self.act = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(8, 2), nn.ReLU()

        def forward(self, inputs: Tensor) -> Tensor:
            result: Tensor = self.c(self.act(self.a(inputs) + self.b(inputs)))
            return result

    model: Any = Sum()
    method = ReGraMa(model, every=100)
    step(method, model)
    (name,) = method.groups
    expected = sum(layer.weight.grad.abs().sum(1) for layer in (model.a, model.b))
    torch.testing.assert_close(method.activity(name), expected)
