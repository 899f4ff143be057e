"""Plasticity injection against three heads that are trained by hand, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW

from hare_tortoise.methods import Chain, FromScratch, HareTortoise, Method, PlasticityInjection
from hare_tortoise.methods.support import injected as module
from hare_tortoise.methods.support.injected import Injected
from hare_tortoise.testing import Network, Run, batch


def deep() -> nn.Sequential:
    """A network whose head has two layers, a norm and statistics."""
    torch.manual_seed(0)
    head = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3))
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), head).double()


def copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def step(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    inputs, targets = batch(number, next(model.parameters()).dtype)
    optimizer.zero_grad()
    cross_entropy(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def check_against_three_heads(kind: type[PlasticityInjection] = PlasticityInjection) -> None:
    """Before, the plain network bit for bit; then `f = h + h1 − h2` with only h1 and the encoder learning."""
    torch.manual_seed(0)
    encoder, head, phi = nn.Linear(6, 5).double(), nn.Linear(5, 3).double(), nn.Linear(5, 3).double()
    model = nn.Sequential(copy.deepcopy(encoder), nn.Tanh(), copy.deepcopy(head))
    fresh = nn.Sequential(copy.deepcopy(encoder), nn.Tanh(), copy.deepcopy(phi))
    optimizer = AdamW(model.parameters(), lr=0.1)
    method = kind(model, optimizer, head="2", fresh=lambda: copy.deepcopy(fresh))
    plain = nn.Sequential(encoder, nn.Tanh(), head)
    optimizer_by_hand = AdamW(plain.parameters(), lr=0.1)
    for number in range(3):
        step(model, optimizer, number)
        step(plain, optimizer_by_hand, number)
    inputs = batch(9, torch.float64)[0]
    before = plain(inputs).detach()
    assert torch.equal(model(inputs), before)
    wrapped: Any = model[2]
    layer: Any = model[0]
    assert torch.equal(layer.weight, encoder.weight)

    method.new_data()
    assert torch.equal(model(inputs), before)
    old, new, start = head.requires_grad_(False), phi, copy.deepcopy(phi).requires_grad_(False)
    del optimizer_by_hand.param_groups[0]["params"][2:]
    optimizer_by_hand.add_param_group({"params": list(new.parameters())})
    for number in range(3, 6):
        step(model, optimizer, number)
        x, y = batch(number, torch.float64)
        optimizer_by_hand.zero_grad()
        features = torch.tanh(encoder(x))
        cross_entropy(old(features) + new(features) - start(features), y).backward()  # type: ignore[no-untyped-call]
        optimizer_by_hand.step()
    torch.testing.assert_close(layer.weight, encoder.weight, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(wrapped.trained.weight, new.weight, rtol=1e-10, atol=1e-12)
    assert torch.equal(wrapped.old.weight, old.weight)
    assert torch.equal(wrapped.start.weight, start.weight)
    assert not torch.equal(new.weight, start.weight)
    now = copies(model)
    method.new_data()
    assert all(torch.equal(value, now[name]) for name, value in copies(model).items())


def after_injecting(change: Callable[[Any], None]) -> type[PlasticityInjection]:
    """Return a method that goes on to do something wrong after the injection."""

    class Faulty(PlasticityInjection):
        def new_data(self, *arguments: Any, **settings: Any) -> None:
            done = bool(self.injected.injected)
            super().new_data(*arguments, **settings)
            if not done:
                change(self.injected)

    return Faulty


def alias_start(head: Any) -> None:
    """The frozen copy of the new head is the new head itself."""
    head.start = head.trained


def alias_old(head: Any) -> None:
    """The frozen head shares its storage with the one that learns."""
    head.start.weight.data = head.trained.weight.data


def draw_again(head: Any) -> None:
    """The frozen copy has a draw of its own."""
    nn.init.normal_(head.start.weight)


def forget_old(head: Any) -> None:
    """A head reset: what was learnt is gone."""
    head.old.weight.zero_()


def inject_again(head: Any) -> None:
    """At every arrival of data."""
    head.injected.fill_(False)


class MomentsSurvive(PlasticityInjection):
    """Leaves the moments of the old head to the new one."""

    def new_data(self, *arguments: Any, **settings: Any) -> None:
        states = [copy.copy(optimizer.state) for optimizer in self.optimizers]
        super().new_data(*arguments, **settings)
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.state.update(state)


def test_against_three_heads() -> None:
    check_against_three_heads()


@pytest.mark.parametrize(
    "kind",
    [MomentsSurvive, *map(after_injecting, (alias_start, alias_old, draw_again, forget_old, inject_again))],
)
def test_faults_are_seen(kind: type[PlasticityInjection]) -> None:
    with pytest.raises(AssertionError):
        check_against_three_heads(kind)


@pytest.mark.parametrize("training", [True, False])
def test_outputs_of_a_deep_head_do_not_change(training: bool) -> None:
    model, inputs = deep(), batch(0, torch.float64)[0]
    method = PlasticityInjection(model, head="2")
    model(inputs)
    model.train(training)
    before = model(inputs)
    method.new_data()
    assert torch.equal(model(inputs), before)
    head: Any = model[2]
    assert not (head.trained[0].weight == head.old[0].weight).any()


def test_as_many_parameters_learn_as_before() -> None:
    model = Network()
    held = list(model.parameters())
    method = PlasticityInjection(model, SGD(held, lr=0.1), head="head")
    method.new_data()
    assert [id(parameter) for parameter in model.parameters()] == list(map(id, held))
    assert sorted(model.state_dict().keys() - Network().state_dict().keys()) == [
        "head.injected",
        *(f"head.{part}.{name}" for part in ("old", "start", "trained") for name in ("bias", "weight")),
    ]


def test_before_the_injection_training_is_what_it_was() -> None:
    run = Run.start(lambda m, o: PlasticityInjection(m, o, head="head")).train(last=3)
    plain = Run.start(Method).train(last=3)
    trained = {name.replace(".trained", ""): value for name, value in copies(run.model).items()}
    assert all(torch.equal(trained[name], value) for name, value in copies(plain.model).items())


@pytest.mark.parametrize("bends", [False, True])
def test_a_linear_head_gains_nothing(bends: bool) -> None:
    """Which the page says: the sum of linear layers is one, with the same gradients."""
    models = []
    for injects in (True, False):
        model = deep()
        model[2] = model[2] if bends else nn.Linear(5, 3, dtype=torch.float64)
        optimizer = SGD(model.parameters(), lr=0.1, momentum=0.0)
        method = PlasticityInjection(model, optimizer, head="2")
        if injects:
            method.new_data()
        for number in range(4):
            step(model, optimizer, number)
        models.append(model.eval())
    inputs = batch(9, torch.float64)[0]
    assert torch.allclose(models[0](inputs), models[1](inputs), rtol=1e-10) is not bends


def tortoise_after_injection(
    kind: Any = PlasticityInjection,
) -> tuple[HareTortoise, Network, Any, Tensor, Tensor]:
    model = Network()
    inject = kind(model, head="head")
    pair = HareTortoise(model, decay=0.9, reset_every=None)
    optimizer = SGD(model.parameters(), lr=0.5)
    chain = Chain(inject, pair, optimizer=optimizer)
    for number in range(4):
        step(model, optimizer, number)
    inputs = batch(9)[0]
    before = pair.tortoise(inputs)
    chain.new_data()
    return pair, model, optimizer, inputs, before


def check_tortoise(kind: Any = PlasticityInjection) -> None:
    """Its outputs do not change either, and the reset puts the hare onto it, frozen heads included."""
    pair, model, optimizer, inputs, before = tortoise_after_injection(kind)
    assert torch.equal(pair.tortoise(inputs), before)
    hare: Any = model.head
    tortoise: Any = pair.tortoise
    assert torch.equal(tortoise.head.trained.weight, hare.trained.weight)
    assert not torch.equal(tortoise.head.old.weight, hare.old.weight)
    step(model, optimizer, 5)
    pair.reset()
    assert torch.equal(model.eval()(inputs), pair.tortoise(inputs))
    assert bool(hare.injected)
    assert bool(tortoise.head.injected)


class TellsNobody(PlasticityInjection):
    """Leaves the average alone."""

    def changed(self, change: Any) -> None:
        """Do nothing."""


def test_tortoise() -> None:
    check_tortoise()


def test_fault_an_average_without_the_new_head_is_seen() -> None:
    with pytest.raises(AssertionError):
        check_tortoise(TellsNobody)


def test_what_is_shipped_answers_as_it_did() -> None:
    pair, model, optimizer, inputs, _ = tortoise_after_injection()
    step(model, optimizer, 5)
    other = Network()
    method = PlasticityInjection(other, head="head")
    other.load_state_dict(pair.tortoise.state_dict())
    assert torch.equal(other.eval()(inputs), pair.tortoise(inputs))
    # The checkpoint says that it was injected.
    method.new_data()
    assert torch.equal(other(inputs), pair.tortoise(inputs))


def test_a_new_network_has_no_injection() -> None:
    model: Any = Network()
    method = PlasticityInjection(model, head="head")
    inputs = batch(0)[0]
    method.new_data()
    FromScratch(model).new_data()
    assert not bool(model.head.injected)
    assert torch.equal(model(inputs), model.head.trained(model.body(inputs)))
    method.new_data()
    assert bool(model.head.injected)


def test_the_method_may_be_built_again() -> None:
    model = Network()
    method = PlasticityInjection(model, head="head")
    method.new_data()
    wrapped, before = model.head, copies(model)
    PlasticityInjection(model, head="head", seed=3).new_data()
    assert model.head is wrapped
    assert all(torch.equal(value, before[name]) for name, value in copies(model).items())


def test_wrapped_networks_and_heads() -> None:
    model = Network()
    model.head = torch.compile(model.head, backend="eager")  # type: ignore[assignment]
    method = PlasticityInjection(torch.nn.DataParallel(model), head="head")
    inputs = batch(0)[0]
    with torch.no_grad():
        before = model(inputs)
        method.new_data()
        assert torch.equal(model(inputs), before)
    assert isinstance(model.head, Injected)
    head: Any = model.head
    assert not (head.old.weight == 0).any()


class Tied(nn.Module):
    """A head that shares its weight with the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)
        self.head.weight = self.embedding.weight


class Twice(nn.Module):
    """A head in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)
        self.body = nn.Sequential(self.head)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Tied(), "shares a weight with embedding"),
        (Twice(), "a module in 2 places"),
        (nn.ModuleDict({"head": nn.Sequential(nn.Dropout(), nn.Linear(1, 1))}), r"drops out \(0\)"),
    ],
)
def test_heads_that_cannot_be_wrapped(model: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PlasticityInjection(model, head="head")
    assert not any(isinstance(inner, Injected) for inner in model.modules())


def test_frozen_copies_keep_precision_and_ties() -> None:
    head = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).bfloat16()
    head[1].weight = head[0].weight
    frozen: Any = module._frozen(head)
    assert frozen[0].weight is frozen[1].weight
    assert frozen[0].weight.dtype is torch.bfloat16
    assert not list(frozen.parameters())
