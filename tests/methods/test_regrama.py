"""ReGraMa against its rule in plain Python: `mean|∂L/∂w_i| ≤ threshold · mean_k mean|∂L/∂w_k|`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods import ReGraMa
from tests.methods.unit_oracle import NETWORKS, Dense, Network, check_against_rule, damaged
from tests.methods.unit_rules import regrama

STEPS = 30


def check_rule(
    kind: type[ReGraMa] = ReGraMa, network: Network = Dense, gradient: Any = "weights"
) -> list[tuple[int, str, int]]:
    threshold = 0.3 if gradient == "weights" else 0.85
    return check_against_rule(
        lambda model, optimizer, fresh: kind(
            model, optimizer, threshold=threshold, every=4, gradient=gradient, fresh=fresh
        ),
        regrama(threshold, 4, gradient),
        network,
        STEPS,
    )


class NotShared(ReGraMa):
    """Compares gradients with the threshold itself, not with that share of the layer's mean."""

    def dormant(self, activity: Tensor) -> Tensor:
        return activity <= self.threshold


class OfOutgoing(ReGraMa):
    """Takes the gradients of the weights that read the units."""

    def activity(self, name: str) -> Tensor | None:
        (read,) = self.groups[name].outgoing
        gradient = self.model.get_parameter(read.weight).grad
        return None if gradient is None else gradient.abs().sum(0)


@pytest.mark.parametrize("gradient", ["weights", "activations"])
@pytest.mark.parametrize("network", NETWORKS)
def test_rule(network: Network, gradient: str) -> None:
    resets = check_rule(network=network, gradient=gradient)
    assert {name for _, name, _ in resets} == {"first.weight", "second.weight"}
    assert len({step for step, _, _ in resets}) > 3


@pytest.mark.parametrize("kind", [NotShared, OfOutgoing])
def test_faults_are_seen(kind: type[ReGraMa]) -> None:
    with pytest.raises(AssertionError):
        check_rule(kind)


@pytest.mark.parametrize("gradient", ["weights", "activations"])
def test_whether_a_dead_unit_is_found(gradient: Any) -> None:
    """By the output of its ReLU a dead unit has a gradient; by its weights it has none."""
    model = damaged(Dense)
    method = ReGraMa(model, threshold=0.01, every=1, gradient=gradient)
    model(torch.randn(8, 6, dtype=torch.float64)).sum().backward()
    method.after_step()
    assert bool(model.get_parameter("first.bias")[0] > -2) == (gradient == "weights")


def test_the_scale_of_the_loss_changes_nothing() -> None:
    found = []
    for scale in (1e-6, 1.0, 1e6):
        model = damaged(Dense)
        method = ReGraMa(model, threshold=0.3, every=1)
        (scale * model(torch.ones(8, 6, dtype=torch.float64)).sum()).backward()
        method.after_step()
        found.append({name: value.clone() for name, value in model.state_dict().items()})
    assert all(torch.equal(other[name], value) for other in found for name, value in found[0].items())


def test_where_there_is_no_gradient_nothing_is_reset() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    method = ReGraMa(model, every=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (0 * model(torch.ones(1, 2))).sum().backward()
    method.after_step()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.zero_grad()
    with pytest.raises(RuntimeError, match=r"none of 0 has a gradient, .* before zero_grad\(\)"):
        method.after_step()
