"""ReDo against its rule in plain Python: `E|h_i| ≤ threshold · mean_k E|h_k|`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods import ReDo
from tests.methods.unit_oracle import NETWORKS, Convolutional, Dense, Network, check_against_rule, damaged
from tests.methods.unit_rules import redo

STEPS = 30


def check_rule(kind: type[ReDo] = ReDo, network: Network = Dense) -> list[tuple[int, str, int]]:
    return check_against_rule(
        lambda model, optimizer, fresh: kind(model, optimizer, threshold=0.3, every=4, fresh=fresh),
        redo(0.3, 4),
        network,
        STEPS,
    )


class NotShared(ReDo):
    """Compares activity with the threshold itself, not with that share of the layer's mean."""

    def dormant(self, activity: Tensor) -> Tensor:
        return activity <= self.threshold


class OneStepLate(ReDo):
    """Watches the step after the one in which units are looked for."""

    def observing(self) -> bool:
        return not super().observing()


@pytest.mark.parametrize("network", NETWORKS)
def test_rule(network: Network) -> None:
    resets = check_rule(network=network)
    assert {step for step, _, _ in resets} > {4, 8}
    assert {name for _, name, _ in resets} == {"first.weight", "second.weight"}


@pytest.mark.parametrize("kind", [NotShared, OneStepLate])
def test_faults_are_seen(kind: type[ReDo]) -> None:
    with pytest.raises(AssertionError):
        check_rule(kind)


def test_a_layer_that_says_nothing_is_recycled_whole() -> None:
    first, last = nn.Linear(2, 4), nn.Linear(4, 1)
    model = nn.Sequential(first, nn.ReLU(), last)
    nn.init.constant_(first.bias, -100.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method = ReDo(model, optimizer, threshold=0.0, every=1)
    model(torch.randn(8, 2)).sum().backward()
    optimizer.step()
    assert bool((first.bias > -1).all())
    assert not bool(last.weight.any())
    assert method.steps == 1


def test_nothing_is_watched_between_looks() -> None:
    model = Convolutional()
    method = ReDo(model, every=3)
    watched = []
    for _ in range(7):
        watched.append(method.observing())
        model(torch.ones(2, 6, dtype=torch.float64)).sum().backward()
        method.after_step()
    assert watched == [False, False, True, False, False, True, False]


def test_a_skipped_look_is_made_up_for() -> None:
    """Whether the step was skipped is known on the device; the look is then the next step's, and watched."""
    model = damaged(Dense)
    method = ReDo(model, every=2)
    looks = []
    for skipped in (0.0, 1.0, 1.0, 0.0, 0.0):
        model(torch.ones(2, 6, dtype=torch.float64)).sum().backward()
        before = model.get_parameter("first.bias")[0].item()
        method.after_step(torch.tensor(skipped))
        looks.append(model.get_parameter("first.bias")[0].item() != before)
    assert looks == [False, False, False, True, False]
    assert method.steps == 3
