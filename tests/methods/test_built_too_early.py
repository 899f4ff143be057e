"""Methods that are older than layers of the network say so, before anything is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hare_tortoise.lab.building import build
from hare_tortoise.lab.trial import Trial
from hare_tortoise.methods import (
    DASH,
    EMA,
    Chain,
    Change,
    HareTortoise,
    HeadReset,
    L2Init,
    LastLayersReset,
    Method,
    PlasticityInjection,
    ShrinkPerturb,
    SwitchEMA,
)
from hare_tortoise.methods.support.names import named_weights
from hare_tortoise.testing import Network, batch
from tests.lab.small import small

OLDER: dict[str, Callable[[nn.Module], Method]] = {
    "hare-tortoise": HareTortoise,
    "ema": EMA,
    "switch-ema": lambda model: SwitchEMA(model, reset_every=3),
    "shrink-perturb": lambda model: ShrinkPerturb(model, noise="initial"),
    "head-reset": lambda model: HeadReset(model, head="head", to="initial"),
    "l2-init": L2Init,
    "a chain": lambda model: Chain(HareTortoise(model)),
}


@pytest.mark.parametrize("name", OLDER)
def test_a_chain_refuses_what_is_older_than_the_injection(name: str) -> None:
    model = Network()
    older = OLDER[name](model)
    inject = PlasticityInjection(model, head="head")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"older than layers of the network: build, and write, .* before it"):
        Chain(older, inject)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    Chain(inject, OLDER[name](model))


def test_an_average_that_was_rebound_is_taken() -> None:
    model = Network()
    pair = HareTortoise(model, decay=0.9)
    inject = PlasticityInjection(model, head="head")
    pair.rebind()
    inputs = batch(0)[0]
    before = pair.tortoise(inputs)
    chain = Chain(pair, inject)
    chain.new_data()
    chain.after_step()
    assert torch.equal(pair.tortoise(inputs), before)


def test_the_laboratory_refuses_it_when_it_builds() -> None:
    with pytest.raises(ValueError, match="HareTortoise is older than layers of the network"):
        build(Trial(small(), "hare-tortoise+plasticity-injection", 1.0, 0))


@pytest.mark.parametrize("name", ["shrink-perturb", "head-reset"])
def test_initial_values_of_what_is_gone_are_not_skipped(name: str) -> None:
    model = Network()
    older = OLDER[name](model)
    PlasticityInjection(model, head="head")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(RuntimeError, match=r"the model has no head\.weight, head\.bias any more"):
        older.new_data()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["shrink-perturb", "head-reset"])
def test_an_average_may_lack_what_is_frozen(name: str) -> None:
    model = Network()
    other = OLDER[name](model)
    model.head.bias.requires_grad_(False)
    pair = HareTortoise(model, share_frozen=True)
    Chain(other, pair).new_data()
    assert torch.equal(pair.tortoise.get_parameter("head.bias"), model.head.bias)


class Notes(Mapping[str, Tensor]):
    """Weights that note in which order they are asked for."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights, self.order = weights, list[str]()

    def __getitem__(self, name: str) -> Tensor:
        self.order.append(name)
        return self.weights[name]

    def __contains__(self, name: object) -> bool:
        return name in self.weights

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)


def deep() -> nn.Module:
    return nn.Sequential(*(nn.Linear(4, 4) for _ in range(6)))


@pytest.mark.parametrize(
    "kind",
    [
        DASH,
        ShrinkPerturb,
        lambda model: HeadReset(nn.Sequential(model), head="0"),
        lambda model: LastLayersReset(model, layers=[str(i) for i in range(6)]),
    ],
)
def test_weights_are_written_in_order(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write to a sharded weight may be a collective call: every process must make them in the same order."""
    method = kind(deep())
    told: list[Change] = []
    monkeypatch.setattr(method, "changed", told.append)
    method.new_data([(torch.ones(1, 4), torch.zeros(1, dtype=torch.long))], loss=cross_entropy)
    weights = named_weights(method.model)
    notes = Notes(weights)
    told[0].apply(notes)
    expected = list(weights)
    if kind is DASH:
        expected.sort(key=lambda name: name.endswith("bias"))
    assert list(dict.fromkeys(notes.order)) == expected
