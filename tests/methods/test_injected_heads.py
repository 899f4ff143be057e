"""A network with an injected head under the other methods: in a chain, in the laboratory, with fresh networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from hare_tortoise.lab.building import build
from hare_tortoise.lab.trial import Trial
from hare_tortoise.methods import (
    DASH,
    FIRE,
    Chain,
    FromScratch,
    FullReset,
    HareTortoise,
    HeadReset,
    LastLayersReset,
    Method,
    PlasticityInjection,
    ReDo,
    ReGraMa,
    ShrinkPerturb,
    SoftShrinkPerturb,
)
from hare_tortoise.methods.support.dense import dense_layers
from hare_tortoise.methods.support.fresh import draw_fresh
from hare_tortoise.methods.support.units import trace_units
from tests.lab.small import small

NAMES = ["trained", "old", "start"]


def network() -> nn.Sequential:
    head = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), head)


def pair(number: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(number)
    return torch.randn(8, 6, generator=generator), torch.randint(3, (8,), generator=generator)


def copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


BESIDE: dict[str, Callable[[nn.Module], Method]] = {
    "dash": DASH,
    "fire": FIRE,
    "regrama": lambda model: ReGraMa(model, every=1),
    "redo": lambda model: ReDo(model, every=1, threshold=0.5, fresh=network),
    "shrink-perturb": lambda model: ShrinkPerturb(model, fresh=network),
    "shrink-perturb(initial)": lambda model: ShrinkPerturb(model, noise="initial"),
    "head-reset": lambda model: HeadReset(model, head="2", fresh=network),
    "head-reset(initial)": lambda model: HeadReset(model, head="2", to="initial"),
    "last-layers-reset": lambda model: LastLayersReset(model, layers=1, fresh=network),
    "from-scratch": lambda model: FromScratch(model, fresh=network),
    "soft-shrink-perturb": lambda model: SoftShrinkPerturb(model, shrink=0.9, fresh=network),
    "full-reset": lambda model: FullReset(model, every=2, fresh=network),
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_stands_behind_the_injection_acts_and_the_average_follows(name: str) -> None:
    torch.manual_seed(0)
    model = network()
    inject = PlasticityInjection(model, head="2", fresh=network)
    other, average = BESIDE[name](model), HareTortoise(model, decay=0.5, reset_every=None)
    optimizer = SGD(model.parameters(), lr=0.1)
    chain = Chain(inject, other, average, optimizer=optimizer)
    for _ in range(2):
        for number in range(2):
            inputs, targets = pair(number)
            optimizer.zero_grad()
            cross_entropy(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        chain.new_data([pair(5)], loss=cross_entropy)
    assert model.state_dict().keys() == average.tortoise.state_dict().keys()
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_frozen_heads_are_no_layers_to_change() -> None:
    model = network()
    PlasticityInjection(model, head="2").new_data()
    assert [layer.name for layer in dense_layers(model)] == ["0", "2.trained.0", "2.trained.2"]
    with pytest.raises(ValueError, match="no linear or convolutional layer whose weight is a parameter"):
        dense_layers(model[2].old)  # type: ignore[arg-type]


def test_units_of_frozen_heads_are_left_alone_and_what_they_read_is_known() -> None:
    model = network()
    PlasticityInjection(model, head="2").new_data()
    graph = trace_units(model, pair()[0])
    assert [units.name for units in graph.groups] == ["0", "2.trained.0"]
    assert not graph.left_out
    assert {read.weight for read in graph.groups[0].outgoing} == {f"2.{part}.0.weight" for part in NAMES}


def test_units_that_are_one_with_those_of_buffers_are_left_out() -> None:
    """The injected part in the middle of a network: its answers are the sum of all three."""
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    PlasticityInjection(model, head="2")
    graph = trace_units(model, pair()[0])
    assert [units.name for units in graph.groups] == ["0"]
    assert set(graph.left_out.values()) == {"2.old.weight is a buffer"}


def test_a_fresh_network_gets_a_head_without_injection() -> None:
    model = network()
    PlasticityInjection(model, head="2").new_data()
    built: list[nn.Sequential] = []

    def fresh() -> nn.Module:
        built.append(network())
        return built[-1]

    drawn = draw_fresh(model, fresh, torch.Generator())
    assert drawn.keys() == model.state_dict().keys()
    head: Any = built[0][2]
    assert torch.equal(drawn["2.trained.0.weight"], head.trained[0].weight)
    assert not drawn["2.injected"]
    assert not any(drawn[name].any() for name in drawn if ".old." in name or ".start." in name)
    assert list(dict(head.named_parameters())) == [
        f"trained.{i}.{part}" for i in (0, 2) for part in ("weight", "bias")
    ]


def test_another_fresh_network_is_still_refused() -> None:
    model = network()
    PlasticityInjection(model, head="2")
    with pytest.raises(ValueError, match=r"the new network has no 2\.injected, 2\.trained\.0\.weight"):
        draw_fresh(model, lambda: nn.Sequential(nn.Linear(6, 5)), torch.Generator())


@pytest.mark.parametrize(
    "text", ["plasticity-injection+shrink-perturb", "shrink-perturb+plasticity-injection+hare-tortoise"]
)
def test_in_the_laboratory(text: str) -> None:
    setup = build(Trial(small(), text, 1.0, 0))
    before = copies(setup.model)
    setup.method.new_data([pair()], loss=cross_entropy, steps=3)
    now = copies(setup.model)
    assert any(name.endswith("injected") and value for name, value in now.items())
    assert not torch.equal(next(iter(now.values())), next(iter(before.values())))
