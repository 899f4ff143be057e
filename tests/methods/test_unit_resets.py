"""What the methods that reset units have in common: what is done to a unit, in the model and in the tortoise."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods import (
    Chain,
    ContinualBackprop,
    HareTortoise,
    Method,
    ReDo,
    ReGraMa,
    SelfNormalizedReset,
)
from hare_tortoise.methods.support.names import named_weights
from hare_tortoise.methods.support.unit_method import UnitMethod
from tests.methods import unit_rules
from tests.methods.unit_oracle import (
    NETWORKS,
    Convolutional,
    Dense,
    Layer,
    Mirror,
    Network,
    Rule,
    adamw,
    batch,
    check_against_rule,
    compare,
    damaged,
    train_step,
)

KINDS: dict[type[UnitMethod], tuple[dict[str, Any], Callable[[], Rule]]] = {
    ReDo: ({"threshold": 0.3, "every": 4}, lambda: unit_rules.redo(0.3, 4)),
    ReGraMa: ({"threshold": 0.3, "every": 4}, lambda: unit_rules.regrama(0.3, 4)),
    ContinualBackprop: (
        {"replacement_rate": 0.05, "maturity": 3, "decay": 0.9},
        lambda: unit_rules.continual_backprop("0.05", 3, 0.9, adaptable=False),
    ),
    SelfNormalizedReset: (
        {"percentile": 0.8, "tau_max": 4, "every": 2, "renew_every": 9},
        lambda: unit_rules.self_normalized_reset("0.8", 4, 2, 9),
    ),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def check(kind: type[UnitMethod], fault: type[UnitMethod] | None = None, network: Network = Dense) -> None:
    settings, rule = KINDS[kind]
    faulty = kind if fault is None else type(f"{fault.__name__}{kind.__name__}", (fault, kind), {})
    resets = check_against_rule(
        lambda model, optimizer, fresh: faulty(model, optimizer, fresh=fresh, **settings), rule(), network, 16
    )
    assert resets


class IntoACopy(UnitMethod):
    """The fault of the official ReDo: what is chosen by a mask, and then written to, is a copy."""

    def reset_units(self, chosen: Mapping[str, Tensor]) -> None:
        weights = named_weights(self.model)
        for name, mask in chosen.items():
            for weight in self.groups[name].incoming:
                weights[weight].data[mask, ...].uniform_(-1, 1)
            for read in self.groups[name].outgoing:
                weights[read.weight].data[:, mask.repeat_interleave(read.repeat)].fill_(0)


class OutgoingKept(UnitMethod):
    """New incoming weights, and the old outgoing ones."""

    def reset_units(self, chosen: Mapping[str, Tensor]) -> None:
        weights = named_weights(self.model)
        names = {read.weight for name in chosen for read in self.groups[name].outgoing}
        before = {name: weights[name].detach().clone() for name in names}
        super().reset_units(chosen)
        incoming = {weight for name in chosen for weight in self.groups[name].incoming}
        with torch.no_grad():
            for name in names - incoming:
                weights[name].copy_(before[name])


class MomentsKept(UnitMethod):
    """The fault of a public implementation: moments are cleared in a copy."""

    def reset_units(self, chosen: Mapping[str, Tensor]) -> None:
        (optimizer,) = self.optimizers
        state = copy.deepcopy(optimizer.state_dict())
        super().reset_units(chosen)
        optimizer.load_state_dict(state)


class ByOrderOfModules(UnitMethod):
    """Takes what the first activation module sees for the first layer's, and so on."""

    def observation(self, name: str) -> Any:
        declared = [name for name, _ in self.model.named_modules() if name in self.groups]
        run = list(self.groups)
        return super().observation(declared[run.index(name)])


class NormsKept(UnitMethod):
    """New weights, and the scale, offset and statistics that the norm had for the old ones."""

    def reset_units(self, chosen: Mapping[str, Tensor]) -> None:
        whole = dict(self.groups)
        self.groups = {name: replace(units, per_unit=()) for name, units in whole.items()}
        super().reset_units(chosen)
        self.groups = whole


@each_kind
@pytest.mark.parametrize("fault", [None, IntoACopy, OutgoingKept, MomentsKept])
def test_faults_are_seen(kind: type[UnitMethod], fault: type[UnitMethod] | None) -> None:
    if fault is None:
        check(kind)
        return
    with pytest.raises(AssertionError):
        check(kind, fault)


@pytest.mark.parametrize("kind", [ReDo, ContinualBackprop, SelfNormalizedReset])
def test_counting_by_the_order_of_modules_is_seen(kind: type[UnitMethod]) -> None:
    with pytest.raises(AssertionError):
        check(kind, ByOrderOfModules)


@each_kind
def test_kept_norms_are_seen(kind: type[UnitMethod]) -> None:
    check(kind, network=Convolutional)
    with pytest.raises(AssertionError):
        check(kind, NormsKept, Convolutional)


class Deaf(HareTortoise):
    """An average that does not follow what other members do."""

    def weights_changed(self, change: Any) -> None:
        pass


def check_tortoise(kind: type[UnitMethod], network: Network, pair: type[HareTortoise]) -> None:
    """A tortoise averaged by hand, whose units are reset by hand too, is the tortoise of the chain."""
    settings, rule = KINDS[kind]
    model = damaged(network)
    drawn: list[nn.Module] = []

    def fresh() -> nn.Module:
        drawn.append(network())
        return drawn[-1]

    optimizer = adamw(model)
    slow = pair(model, decay=0.7, reset_every=7)
    chain = Chain(kind(model, fresh=fresh, **settings), slow, optimizer=optimizer)
    mirror, ruled = Mirror(copy.deepcopy(model)), rule()
    tortoise = copy.deepcopy(mirror.model.state_dict())
    events = 0
    for number in range(16):
        train_step(model, optimizer, number)
        chosen = ruled(mirror.train_step(number))
        mirror.reset(chosen, drawn, model)
        events += sum(map(len, chosen.values()))
        hare = mirror.model.state_dict()
        for layer in mirror.layers:
            follow(tortoise, hare, layer, chosen.get(layer.weight, []))
        for layer in mirror.layers:
            for unit in chosen.get(layer.weight, []):
                tortoise[layer.outgoing][:, unit * layer.repeat : (unit + 1) * layer.repeat] = 0.0
        for name, value in hare.items():
            if value.is_floating_point():
                tortoise[name] = 0.7 * tortoise[name] + 0.3 * value
                if (number + 1) % 7 == 0:
                    value.copy_(tortoise[name])
        compare(model, optimizer, mirror, f"step {number + 1}")
        for name, value in slow.tortoise.state_dict().items():
            if value.is_floating_point():
                torch.testing.assert_close(value, tortoise[name], rtol=1e-9, atol=1e-11, msg=name)
    assert events > 2
    assert chain.deployed is slow.tortoise


def follow(tortoise: dict[str, Tensor], hare: Mapping[str, Tensor], layer: Layer, chosen: list[int]) -> None:
    """Give units of the tortoise the values that those of the hare have just been given."""
    own = [layer.weight, layer.bias]
    if layer.norm is not None:
        own += [f"{layer.norm}.{what}" for what in ("weight", "bias", "running_mean", "running_var")]
    for unit in chosen:
        for name in own:
            tortoise[name][unit] = hare[name][unit]


@each_kind
@pytest.mark.parametrize("network", NETWORKS)
def test_the_tortoise_of_a_chain_follows(kind: type[UnitMethod], network: Network) -> None:
    check_tortoise(kind, network, HareTortoise)


@each_kind
def test_a_tortoise_that_does_not_follow_is_seen(kind: type[UnitMethod]) -> None:
    with pytest.raises(AssertionError):
        check_tortoise(kind, Dense, Deaf)


SELDOM: tuple[tuple[type[UnitMethod], dict[str, Any]], ...] = (
    (ReDo, {"every": 1000}),
    (ReGraMa, {"every": 1000}),
    (ReGraMa, {"every": 1000, "gradient": "activations"}),
    (ContinualBackprop, {"replacement_rate": 1e-3, "maturity": 3}),
    (ContinualBackprop, {"replacement_rate": 1e-3, "utility": "adaptable-contribution"}),
    (SelfNormalizedReset, {"every": 1000, "fires_above": 0.1}),
)


@pytest.mark.parametrize(("kind", "settings"), SELDOM)
def test_nothing_is_asked_of_the_device_between_looks(
    kind: type[UnitMethod], settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor where whether a step was skipped is known there only."""
    model = damaged(Dense)
    method = kind(model, **settings)
    inputs, taken = batch(0)[0], torch.tensor(0.0)
    model(inputs).sum().backward()
    method.after_step(taken)
    for name in ("__bool__", "__int__", "__float__", "item", "tolist", "cpu", "nonzero"):
        monkeypatch.setattr(Tensor, name, lambda *_, name=name: pytest.fail(f"Tensor.{name} was called"))
    for _ in range(10):
        model(inputs).sum().backward()
        method.after_step(taken)
    monkeypatch.undo()
    assert method.groups.keys() == {"first", "second"}
    monkeypatch.setattr(Tensor, "cpu", lambda _: pytest.fail("Tensor.cpu was called"))
    with pytest.raises(pytest.fail.Exception, match="was called"):
        method.reset_units({"first": torch.ones(16, dtype=torch.bool)})


@each_kind
def test_evaluation_is_not_watched(kind: type[UnitMethod]) -> None:
    """Forwards in eval mode are no steps of the units."""
    model = damaged(Dense)
    before = copy.deepcopy(model.state_dict())
    method: Method = kind(model, **KINDS[kind][0])
    model.eval()
    for _ in range(8):
        model(torch.ones(2, 6, dtype=torch.float64)).sum().backward()
        method.after_step()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
