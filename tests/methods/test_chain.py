"""Chains: one hook, left to right, penalties add, averages follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from hare_tortoise.methods import (
    EMA,
    Chain,
    Change,
    FromScratch,
    HareTortoise,
    HeadReset,
    L2Init,
    Method,
    Schedule,
    ShrinkPerturb,
    WarmStart,
)
from hare_tortoise.methods.support.names import named_weights
from tests.methods.pair_checks import network, same, steps, values


class Logs(Method):
    """Notes what it is called for."""

    log: list[str]

    def __init__(self, model: nn.Module, optimizer: Any = None, *, name: str = "", log: list[str]) -> None:
        super().__init__(model, optimizer)
        self.name, self.log = name, log

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        self.log.append(f"step {self.name}")

    def new_data(self, batches: Any = None, *, loss: Any = None, steps: int | None = None) -> None:
        self.log.append(f"data {self.name} {steps}")

    def weights_changed(self, change: Change) -> None:
        self.log.append(f"changed {self.name}")


class Scales(Method):
    """Doubles the weights at new data, or makes them new ones."""

    def __init__(self, model: nn.Module, optimizer: Any = None, *, whole: bool = False) -> None:
        super().__init__(model, optimizer)
        self.whole = whole

    def new_data(self, batches: Any = None, *, loss: Any = None, steps: int | None = None) -> None:
        def apply(weights: Mapping[str, Tensor]) -> None:
            for tensor in weights.values():
                if tensor.is_floating_point():
                    tensor.mul_(2.0)

        with torch.no_grad():
            apply(named_weights(self.model))
        self.changed(Change(apply, self.whole))


def test_only_the_chain_is_hooked_and_calls_left_to_right() -> None:
    model = network()
    log: list[str] = []
    optimizer = SGD(model.parameters(), lr=0.1)
    members = [Logs(model, optimizer, name=name, log=log) for name in "abc"]
    chain = Chain(*members)
    optimizer.step()
    chain.new_data(steps=7)
    assert log == ["step a", "step b", "step c", "data a 7", "data b 7", "data c 7"]
    assert all(member.optimizers == (optimizer,) for member in members)
    other = SGD(model.parameters(), lr=0.1)
    chain.attach(other)
    optimizer.step()
    other.step()
    assert log[6:] == ["step a", "step b", "step c"]
    assert all(member.optimizers == (other,) for member in members)
    chain.detach()
    other.step()
    assert len(log) == 9


def test_a_change_is_told_to_the_others_only() -> None:
    model = network()
    log: list[str] = []
    a, b = Logs(model, name="a", log=log), Logs(model, name="b", log=log)
    chain = Chain(a, Scales(model), b)
    chain.new_data()
    assert log == ["data a None", "changed a", "changed b", "data b None"]


def test_penalties_add() -> None:
    model = network()
    first, second = L2Init(model, strength=0.1), L2Init(model, strength=0.02)
    chain = Chain(first, WarmStart(model), second)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    inputs = torch.randn(4, 3)
    outputs = model(inputs)
    total = chain.penalty(inputs, outputs)
    squares = float(sum(parameter.numel() for parameter in model.parameters()))
    assert chain.adds_penalty
    assert float(total.detach()) == pytest.approx(0.06 * squares, rel=1e-5)
    assert not Chain(WarmStart(network())).adds_penalty


def test_averages_follow_a_partial_change() -> None:
    model = network()
    pair = HareTortoise(model, decay=0.9)
    chain = Chain(pair, Scales(model))
    with torch.no_grad():
        model[0].weight.add_(1.0)
    chain.after_step()
    before = values(pair.tortoise)
    chain.new_data()
    for name, tensor in values(pair.tortoise).items():
        assert torch.equal(tensor, before[name] * (2 if tensor.is_floating_point() else 1))
    assert pair.steps == 1


@pytest.mark.parametrize("order", [0, 1])
def test_averages_start_anew_after_a_whole_change(order: int) -> None:
    model = network()
    pair = HareTortoise(model, decay=0.9, reset_every=3)
    members: list[Method] = [pair, Scales(model, whole=True)]
    chain = Chain(*(members if order else members[::-1]))
    chain.after_step()
    chain.after_step()
    chain.new_data()
    assert same(model, pair.tortoise)
    assert pair.steps == 0
    for expected in (False, False, True):
        with torch.no_grad():
            model[0].weight.add_(1.0)
        chain.after_step()
        assert same(model, pair.tortoise) is expected, "the interval starts at zero too"


@pytest.mark.parametrize("whole", [False, True])
def test_averages_that_are_kept_undo_the_change_at_the_next_reset(whole: bool) -> None:
    # The official code: what is re-initialised is the hare only.
    model = network()
    pair = HareTortoise(model, decay=0.9)
    chain = Chain(pair, Scales(model, whole=whole), averages="keep")
    chain.after_step()
    before = values(pair.tortoise)
    chain.new_data()
    assert all(torch.equal(tensor, before[name]) for name, tensor in values(pair.tortoise).items())
    pair.reset()
    assert all(torch.equal(tensor, before[name]) for name, tensor in values(model).items())


def test_shrink_and_perturb_draws_once_for_hare_and_tortoise() -> None:
    model = network()
    pair = HareTortoise(model, decay=0.5)
    chain = Chain(pair, ShrinkPerturb(model, fresh=network))
    chain.new_data()
    assert same(model, pair.tortoise), "they were equal, and had the same done to them"


def test_a_frozen_base_that_is_shared_is_changed_once() -> None:
    model = network()
    model[0].requires_grad_(False)
    before = values(model)["0.weight"]
    pair = HareTortoise(model, share_frozen=True)
    Chain(pair, Scales(model)).new_data()
    assert torch.equal(values(pair.tortoise)["0.weight"], 2 * before)


def test_a_new_network_from_scratch() -> None:
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    pair = HareTortoise(model, decay=0.9, reset_every=4)
    chain = Chain(FromScratch(model, fresh=network), pair, optimizer=optimizer)
    list(steps(model, optimizer, 3))
    chain.new_data()
    assert same(model, pair.tortoise)
    assert pair.steps == 0
    assert chain.deployed is pair.tortoise


def test_deployed() -> None:
    model = network()
    slow, quick = HareTortoise(model, decay=0.99, reset_every=2), EMA(model, decay=0.5)
    with pytest.raises(
        ValueError, match="HareTortoise, EMA each deploy a network of their own, expected deployed="
    ):
        Chain(slow, quick)
    assert Chain(slow, quick, deployed=quick).deployed is quick.tortoise
    assert Chain(WarmStart(model)).deployed is model


def test_the_only_network_of_its_own_is_deployed() -> None:
    model = network()
    average = EMA(model)
    chain = Chain(WarmStart(model), average, L2Init(model))
    assert chain.deploys
    assert chain.deployed is average.tortoise


def test_slow_resets_and_quick_deployment() -> None:
    model, other = network(), network()
    optimizer = SGD(model.parameters(), lr=0.1)
    slow, quick = HareTortoise(model, decay=0.9, reset_every=3), EMA(model, decay=0.5)
    Chain(slow, quick, optimizer=optimizer, deployed=quick)
    list(steps(model, optimizer, 7))
    other_optimizer = SGD(other.parameters(), lr=0.1)
    alone = HareTortoise(other, other_optimizer, decay=0.9, reset_every=3)
    expected = {name: tensor.double() for name, tensor in values(other).items()}
    for _ in steps(other, other_optimizer, 7):
        # The quick one comes second, so that it sees what a reset has made of the hare.
        expected = {
            name: 0.5 * expected[name] + 0.5 * tensor.double() for name, tensor in values(other).items()
        }
    assert same(model, other)
    assert same(slow.tortoise, alone.tortoise)
    for name, tensor in values(quick.tortoise).items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6)


def test_needs_are_those_of_all() -> None:
    class Asks(WarmStart):
        needs = frozenset({"batches"})

    class AsksMore(WarmStart):
        needs = frozenset({"loss", "batches"})

    model = network()
    assert Chain(Asks(model), AsksMore(model)).needs == {"batches", "loss"}


def test_a_chain_in_a_chain_is_taken_apart() -> None:
    model = network()
    log: list[str] = []
    optimizer = SGD(model.parameters(), lr=0.1)
    inner = Chain(Logs(model, name="a", log=log), Logs(model, name="b", log=log), optimizer=optimizer)
    outer = Chain(inner, Logs(model, name="c", log=log), optimizer=optimizer)
    optimizer.step()
    assert log == ["step a", "step b", "step c"]
    assert [member.name for member in outer.members if isinstance(member, Logs)] == ["a", "b", "c"]


def test_state_is_keyed_by_position_and_class() -> None:
    model = network()
    optimizer = Adam(model.parameters())
    chain = Chain(HareTortoise(model, decay=0.9, reset_every=3), L2Init(model), optimizer=optimizer)
    list(steps(model, optimizer, 4))
    state = chain.state_dict()
    assert list(state) == ["0.HareTortoise", "1.L2Init"]
    other_model = network(1)
    other = Chain(HareTortoise(other_model, decay=0.9, reset_every=3), L2Init(other_model))
    other.load_state_dict(state)
    assert same(other.deployed, chain.deployed)
    swapped = Chain(L2Init(other_model), HareTortoise(other_model))
    with pytest.raises(
        ValueError, match=r"chain of 0\.HareTortoise, 1\.L2Init, expected 0\.L2Init, 1\.HareTortoise"
    ):
        swapped.load_state_dict(state)


def test_a_state_whose_keys_were_sorted_is_taken_up() -> None:
    model = network()
    state = Chain(*(L2Init(model) for _ in range(11))).state_dict()
    chain = Chain(*(L2Init(model) for _ in range(11)))
    assert sorted(state) != list(state)
    chain.load_state_dict({key: state[key] for key in sorted(state)})


@pytest.mark.parametrize(
    "last",
    [
        L2Init,
        lambda model: ShrinkPerturb(model, noise="initial"),
        lambda model: HeadReset(model, head="3", to="initial"),
        lambda model: EMA(model, decay=0.9),
        WarmStart,
    ],
)
def test_a_state_that_one_member_refuses_is_taken_up_by_none(last: Any) -> None:
    model, other = network(), nn.Sequential(*network()[:3], nn.Linear(8, 5))
    first = HareTortoise(model, decay=0.5)
    chain = Chain(first, last(model), deployed=first)
    average = HareTortoise(other)
    state = chain.state_dict()
    foreign = Chain(average, last(other), deployed=average).state_dict()
    saved = {key: dict(value) for key, value in state.items()}
    for key in state:
        if not key.startswith("0"):
            saved[key] = foreign[key] if len(foreign[key]) > 1 else {}
    with torch.no_grad():
        model[0].weight.add_(1.0)
    first.after_step()
    before = values(first.tortoise)
    with pytest.raises(ValueError, match="state"):
        chain.load_state_dict(saved)
    assert first.steps == 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in values(first.tortoise).items())


class Half(Schedule):
    """An interval of half the steps that follow."""

    def __init__(self, steps: int = 2) -> None:
        self.steps = steps

    def __call__(self, step: Any) -> float:
        return self.steps / 2

    def scaled(self, budget: float) -> Half:
        return self

    def for_steps(self, steps: int) -> Half:
        return Half(steps)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Half) and other.steps == self.steps

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("order", [1, -1])
def test_the_interval_after_a_new_network_is_that_of_the_steps_that_follow(order: int) -> None:
    model = network()
    pair = HareTortoise(model, decay=0.9, reset_every=Half(8))
    members: list[Method] = [FromScratch(model, fresh=network), pair]
    chain = Chain(*members[::order])
    resets = []
    for length in (8, 12):
        if length == 12:
            chain.new_data(steps=length)
        for number in range(1, length + 1):
            with torch.no_grad():
                model[0].weight.add_(1.0)
            chain.after_step()
            if same(model, pair.tortoise):
                resets.append((length, number))
    assert resets == [(8, 4), (8, 8), (12, 6), (12, 12)]


def test_skipped_steps_reach_the_members() -> None:
    model = network()
    slow, quick = HareTortoise(model, decay=0.99), EMA(model, decay=0.5)
    chain = Chain(slow, quick, deployed=quick)
    for flag in (0.0, 1.0, 0.0):
        chain.after_step(torch.tensor(flag))
    assert (slow.steps, quick.steps) == (2, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda model: Chain(), "methods is empty"),
        (lambda model: Chain(WarmStart(model), WarmStart(network())), "different models"),
        (lambda model: Chain(*[WarmStart(model)] * 2), "name a member twice"),
        (lambda model: Chain(WarmStart(model), deployed=EMA(model)), "deployed is a EMA that is no member"),
        (
            lambda model: Chain(WarmStart(model), averages=cast(Any, "drop")),
            "averages is 'drop', expected 'follow' or 'keep'",
        ),
    ],
)
def test_bad_chains(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(network())


def test_members_with_different_optimizers_are_refused() -> None:
    model = network()
    optimizers = [SGD(model.parameters(), lr=0.1) for _ in range(2)]
    members = [WarmStart(model, optimizer) for optimizer in optimizers]
    with pytest.raises(ValueError, match="different optimizers"):
        Chain(*members)


def test_what_is_no_method_is_refused() -> None:
    with pytest.raises(TypeError, match="methods hold Linear"):
        Chain(nn.Linear(1, 1))  # type: ignore[arg-type]


def test_a_member_is_not_attached_by_itself_nor_in_two_chains() -> None:
    model = network()
    member = WarmStart(model)
    chain = Chain(member)
    with pytest.raises(RuntimeError, match="attach the chain"):
        member.attach(SGD(model.parameters(), lr=0.1))
    with pytest.raises(ValueError, match="WarmStart belong to another chain already"):
        Chain(member)
    assert chain.members == (member,)
