"""Continual Backprop against its rule in plain Python, unit by unit, with what is owed in exact fractions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods import Chain, ContinualBackprop, FromScratch, ShrinkPerturb
from tests.methods.unit_oracle import NETWORKS, Dense, Network, check_against_rule, damaged
from tests.methods.unit_rules import continual_backprop

STEPS = 40


def check_rule(
    kind: type[ContinualBackprop] = ContinualBackprop,
    network: Network = Dense,
    utility: Any = "contribution",
    decay: float = 0.8,
) -> list[tuple[int, str, int]]:
    settings = {"replacement_rate": 0.03, "maturity": 5, "decay": decay, "utility": utility}
    return check_against_rule(
        lambda model, optimizer, fresh: kind(model, optimizer, fresh=fresh, **settings),
        continual_backprop("0.03", 5, decay, adaptable=utility == "adaptable-contribution"),
        network,
        STEPS,
    )


class NotCorrected(ContinualBackprop):
    """Ranks by `u` as it is, which is low for the young."""

    def chosen(self, name: str, count: int) -> Tensor:
        self.memory[name]["utility"] *= 1 - self.decay ** self.memory[name]["age"]
        return super().chosen(name, count)


class Immature(ContinualBackprop):
    """Takes young units, too."""

    def chosen(self, name: str, count: int) -> Tensor:
        age = self.memory[name]["age"].clone()
        self.memory[name]["age"] += self.maturity + 1
        chosen = super().chosen(name, count)
        self.memory[name]["age"] = torch.where(chosen, 0, age)
        return chosen


class KeepsItsUtility(ContinualBackprop):
    """A unit that was replaced goes on with the utility that it had."""

    def chosen(self, name: str, count: int) -> Tensor:
        utility = self.memory[name]["utility"].clone()
        chosen = super().chosen(name, count)
        self.memory[name]["utility"].copy_(utility)
        return chosen


class PresentMean(ContinualBackprop):
    """Expects what the running mean is without a correction of its bias."""

    def shifts(self) -> dict[str, Tensor | float]:
        return {name: kept["mean"] for name, kept in self.memory.items()}


@pytest.mark.parametrize("utility", ["contribution", "adaptable-contribution"])
@pytest.mark.parametrize("network", NETWORKS)
def test_rule(network: Network, utility: str) -> None:
    resets = check_rule(network=network, utility=utility)
    assert {name for _, name, _ in resets} == {"first.weight", "second.weight"}
    assert len({step for step, _, _ in resets}) > 5


def test_both_utilities_choose_otherwise() -> None:
    assert check_rule() != check_rule(utility="adaptable-contribution")


@pytest.mark.parametrize(
    ("utility", "decay"),
    [
        ("contribution", 0.0),
        ("adaptable-contribution", 0.0),
        ("adaptable-contribution", 0.99),
    ],
)
def test_rule_at_other_decays(utility: str, decay: float) -> None:
    assert check_rule(utility=utility, decay=decay)


@pytest.mark.parametrize("kind", [NotCorrected, Immature, KeepsItsUtility])
def test_faults_are_seen(kind: type[ContinualBackprop]) -> None:
    with pytest.raises(AssertionError):
        check_rule(kind, decay=0.99)


def test_a_mean_without_correction_is_seen() -> None:
    with pytest.raises(AssertionError):
        check_rule(PresentMean, utility="adaptable-contribution", decay=0.99)


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_utilities_are_those_of_the_formula(decay: float) -> None:
    """A unit that says 2 and then 3, with unchanged weights: `ĥ` is 0, then `0.5·2 / (1 − decay²)` with decay 0.5, …"""
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)).double()
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), (1.0, 0.0, -4.0, 0.0), strict=True):
            parameter.fill_(value)
    method = ContinualBackprop(
        model, replacement_rate=0.0, maturity=9, decay=decay, utility="adaptable-contribution"
    )
    utility = mean = 0.0
    for age, said in enumerate((2.0, 3.0, 2.5, 0.5)):
        model(torch.full((5, 1), said, dtype=torch.float64)).sum().backward()
        method.after_step()
        expected = mean / (1 - decay ** (age + 1))
        utility = decay * utility + (1 - decay) * abs(said - expected) * 4 / 1
        mean = decay * mean + (1 - decay) * said
        [kept] = method.memory.values()
        assert kept["utility"].item() == pytest.approx(utility, rel=1e-12)
        assert kept["mean"].item() == pytest.approx(mean, rel=1e-12)


def test_skipped_steps_do_not_count() -> None:
    """Skips that only the device knows: what is replaced, and when, is as if these steps had not been."""
    runs = []
    for skips in (set[int](), {0, 4, 5, 11, 16}):
        model = damaged(Dense)
        method = ContinualBackprop(model, replacement_rate=0.05, maturity=2, seed=3)
        for number in range(21) if skips else range(16):
            for parameter in model.parameters():
                parameter.grad = None
            model(torch.ones(4, 6, dtype=torch.float64)).sum().backward()
            method.after_step(torch.tensor(float(number in skips)))
        runs.append((method.state_dict(), model.state_dict()))
    (first, weights), (second, others) = runs
    assert first["steps"] == second["steps"] == 16
    assert first["turnovers"] == second["turnovers"]
    assert all(torch.equal(value, others[name]) for name, value in weights.items())
    for name, kept in first["memory"].items():
        torch.testing.assert_close(kept, second["memory"][name])


def test_a_new_network_starts_anew() -> None:
    model = damaged(Dense)
    method = ContinualBackprop(model, replacement_rate=0.05, maturity=4)
    chain = Chain(FromScratch(model), method)
    for _ in range(3):
        model(torch.ones(4, 6, dtype=torch.float64)).sum().backward()
        chain.after_step()
    chain.new_data()
    memory: Mapping[str, Mapping[str, Tensor]] = method.memory
    assert all(not bool(value.any()) for kept in memory.values() for value in kept.values())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for step in range(4, 10):
        model(torch.ones(4, 6, dtype=torch.float64)).sum().backward()
        chain.after_step()
        same = all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        # Three steps and the four of maturity, then 16 units at 0.05 make two owed in three steps.
        assert same == (step < 3 + 4 + 2), step


def test_residual_connections_add_up() -> None:
    """Two layers make the units and two read them: the sums go over all of them."""

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.branch = nn.Linear(3, 4), nn.Linear(4, 4)
            self.early, self.late, self.head = nn.ReLU(), nn.ReLU(), nn.Linear(4, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            stem = self.early(self.stem(inputs))
            outputs: Tensor = self.head(self.late(stem + self.branch(stem)))
            return outputs

    model = Residual()
    method = ContinualBackprop(model, decay=0.0, maturity=10**6)
    seen: list[Tensor] = []
    for module in (model.early, model.late):
        module.register_forward_hook(lambda _module, _inputs, output: seen.append(output.detach()))
    inputs = torch.randn(8, 3)
    model(inputs).sum().backward()
    method.after_step()
    (units,) = method.groups.values()
    assert set(units.incoming) == {"stem.weight", "branch.weight"}
    activity = torch.stack([output.abs().mean(0) for output in seen[-2:]]).mean(0)
    columns = model.branch.weight.abs().sum(0) + model.head.weight.abs().sum(0)
    torch.testing.assert_close(method.memory[units.name]["utility"], activity * columns.detach())


def test_a_partial_change_is_no_new_network() -> None:
    model = damaged(Dense)
    method = ContinualBackprop(model, replacement_rate=0.05, maturity=40)
    chain = Chain(ShrinkPerturb(model, fresh=Dense), method)
    for _ in range(3):
        model(torch.ones(4, 6, dtype=torch.float64)).sum().backward()
        chain.after_step()
    before = {
        name: {key: value.clone() for key, value in kept.items()} for name, kept in method.memory.items()
    }
    chain.new_data()
    for name, kept in method.memory.items():
        assert kept["age"].tolist() == [3] * 16
        assert all(torch.equal(value, before[name][key]) for key, value in kept.items())
