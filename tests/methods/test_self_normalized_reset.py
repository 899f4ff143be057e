"""Self-Normalized Resets against their rule in plain Python, with lists of silences in place of histograms."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods import Chain, FromScratch, SelfNormalizedReset, ShrinkPerturb
from hare_tortoise.methods import self_normalized_reset as rule_functions
from tests.methods.unit_oracle import NETWORKS, Dense, Network, check_against_rule, damaged
from tests.methods.unit_rules import self_normalized_reset

STEPS = 60


def check_rule(
    kind: type[SelfNormalizedReset] = SelfNormalizedReset, network: Network = Dense, **other: Any
) -> list[tuple[int, str, int]]:
    settings = {"percentile": 0.8, "tau_max": 6, "every": 2, "renew_every": 14, "fires_above": 0.0} | other
    return check_against_rule(
        lambda model, optimizer, fresh: kind(model, optimizer, fresh=fresh, **settings),
        self_normalized_reset(**(settings | {"percentile": str(settings["percentile"])})),
        network,
        STEPS,
    )


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("every", [1, 3])
def test_rule(network: Network, every: int) -> None:
    resets = check_rule(network=network, every=every)
    assert {name for _, name, _ in resets} == {"first.weight", "second.weight"}
    # Some before the limits are first renewed, and some after.
    assert min(step for step, _, _ in resets) < 14 < 28 < max(step for step, _, _ in resets)


@pytest.mark.parametrize("fires_above", [0.3, -0.1])
def test_rule_with_another_bound(fires_above: float) -> None:
    resets = check_rule(fires_above=fires_above, every=1)
    assert bool(resets) == (fires_above > 0)
    assert resets != check_rule(every=1)


def without_doubling(kept: Mapping[str, Tensor], percentile: float) -> None:
    limit = kept["limit"].clone()
    renew(kept, percentile)
    torch.minimum(kept["limit"], limit, out=kept["limit"])


def with_all_gaps(kept: Mapping[str, Tensor], percentile: float) -> None:
    """Counts firings right after another as silences of length zero."""
    kept["silences"][:, 1] += kept["silences"][:, 0]
    renew(kept, percentile)


def without_forgetting(kept: Mapping[str, Tensor], percentile: float) -> None:
    silences = kept["silences"].clone()
    renew(kept, percentile)
    kept["silences"].copy_(silences)


def one_limit(kept: Mapping[str, Tensor], percentile: float) -> None:
    """One limit for all, from the silences of all."""
    kept["silences"][:] = kept["silences"].sum(0)
    renew(kept, percentile)


def without_a_trace(kept: Mapping[str, Tensor]) -> Tensor:
    """A reset ends no silence."""
    silences = kept["silences"].clone()
    due = end_silences(kept)
    kept["silences"].copy_(silences)
    return due


def goes_on_aging(kept: Mapping[str, Tensor]) -> Tensor:
    age = kept["age"].clone()
    due = end_silences(kept)
    kept["age"].copy_(age)
    return due


renew, end_silences = rule_functions.renew, rule_functions.end_silences


@pytest.mark.parametrize("fault", [without_doubling, with_all_gaps, without_forgetting, one_limit])
def test_faults_of_the_renewal_are_seen(monkeypatch: pytest.MonkeyPatch, fault: Any) -> None:
    monkeypatch.setattr(rule_functions, "renew", fault)
    with pytest.raises(AssertionError):
        check_rule(every=1)


@pytest.mark.parametrize("fault", [without_a_trace, goes_on_aging])
def test_faults_of_the_look_are_seen(monkeypatch: pytest.MonkeyPatch, fault: Any) -> None:
    monkeypatch.setattr(rule_functions, "end_silences", fault)
    with pytest.raises(AssertionError):
        check_rule(every=1)


def test_limits() -> None:
    """Ten silences of lengths 1 to 10, one of length 3 only, none, and all at the limit."""
    silences = torch.zeros(4, 21, dtype=torch.int32)
    silences[0, 1:11] = 1
    silences[1, 3] = 7
    silences[3, 8] = 2
    kept = {"limit": torch.tensor([12, 12, 12, 8]), "silences": silences}
    renew(kept, 0.7)
    assert kept["limit"].tolist() == [7, 3, 1, 16]
    assert not bool(kept["silences"].any())
    kept["silences"][3, 16] = 1
    renew(kept, 0.7)
    assert kept["limit"].tolist() == [1, 1, 1, 20]


def test_skipped_steps_do_not_count() -> None:
    runs = []
    for skips in (set[int](), {0, 4, 5, 11, 16}):
        model = damaged(Dense)
        method = SelfNormalizedReset(model, tau_max=5, every=4, renew_every=7, seed=3)
        for number in range(21) if skips else range(16):
            model(torch.randn(4, 6, dtype=torch.float64).fill_(number in skips)).sum().backward()
            method.after_step(torch.tensor(float(number in skips)))
        runs.append((method.state_dict(), model.state_dict()))
    (first, weights), (second, others) = runs
    assert first["steps"] == second["steps"] == 16
    assert all(torch.equal(value, others[name]) for name, value in weights.items())
    for name, kept in first["memory"].items():
        assert all(torch.equal(value, second["memory"][name][key]) for key, value in kept.items())


def test_a_new_network_starts_anew() -> None:
    model = damaged(Dense)
    method = SelfNormalizedReset(model, tau_max=50)
    chain = Chain(FromScratch(model), method)
    for _ in range(3):
        model(torch.ones(4, 6, dtype=torch.float64)).sum().backward()
        chain.after_step()
    assert any(bool(kept["age"].any()) for kept in method.memory.values())
    chain.new_data()
    for kept in method.memory.values():
        assert not bool(kept["age"].any())
        assert not bool(kept["silences"].any())
        assert bool((kept["limit"] == 50).all())


def test_a_state_of_another_length_is_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    method = SelfNormalizedReset(model, tau_max=50)
    model(torch.ones(1, 2)).sum().backward()
    method.after_step()
    with pytest.raises(ValueError, match="tau_max is 20, but the state was saved with 50"):
        SelfNormalizedReset(model, tau_max=20).load_state_dict(method.state_dict())


@pytest.mark.parametrize(("percentile", "limit"), [(0.07, 7), (0.29, 29), (0.57, 57)])
def test_a_share_that_rounding_puts_above_a_whole_number_of_silences(percentile: float, limit: int) -> None:
    """Of 100 silences, lengths 1 to 100: 0.07 times 100 is 7.000000000000001 in floating point."""
    silences = torch.ones(1, 121, dtype=torch.int32)
    silences[:, 101:] = 0
    kept = {"limit": torch.tensor([120]), "silences": silences}
    renew(kept, percentile)
    assert kept["limit"].tolist() == [limit]


def test_renewals_go_on_from_a_saved_state() -> None:
    """Renewals stay at steps 7, 14, 21 although the state was saved at step 10."""

    def go_on(method: SelfNormalizedReset, model: nn.Module, steps: range) -> None:
        for number in steps:
            generator = torch.Generator().manual_seed(number)
            model(torch.randn(4, 6, dtype=torch.float64, generator=generator)).sum().backward()
            method.after_step()

    settings = {"percentile": 0.5, "tau_max": 9, "every": 100, "renew_every": 7}
    model = damaged(Dense)
    whole = SelfNormalizedReset(model, **settings)  # type: ignore[arg-type]
    go_on(whole, model, range(10))
    saved = copy.deepcopy(whole.state_dict())
    limits = {name: kept["limit"].clone() for name, kept in whole.memory.items()}
    go_on(whole, model, range(10, 15))
    assert any(not torch.equal(kept["limit"], limits[name]) for name, kept in whole.memory.items())
    resumed = SelfNormalizedReset(model, **settings)  # type: ignore[arg-type]
    resumed.load_state_dict(saved)
    go_on(resumed, model, range(10, 15))
    for name, kept in whole.memory.items():
        assert all(torch.equal(value, resumed.memory[name][key]) for key, value in kept.items())


def test_a_partial_change_is_no_new_network() -> None:
    model = damaged(Dense)
    method = SelfNormalizedReset(model, tau_max=50)
    chain = Chain(ShrinkPerturb(model, fresh=Dense), method)
    for _ in range(3):
        model(torch.ones(4, 6, dtype=torch.float64)).sum().backward()
        chain.after_step()
    ages = {name: kept["age"].clone() for name, kept in method.memory.items()}
    chain.new_data()
    assert any(bool(age.any()) for age in ages.values())
    assert all(torch.equal(kept["age"], ages[name]) for name, kept in method.memory.items())
