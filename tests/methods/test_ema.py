"""EMA and Switch EMA: presets of Hare & Tortoise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch.optim import SGD

from hare_tortoise.methods import EMA, HareTortoise, SwitchEMA
from tests.methods import pair_checks
from tests.methods.pair_checks import network, same, steps, values


@pytest.mark.parametrize(
    "check",
    [
        pair_checks.is_average_from_the_first_step,
        pair_checks.counters_are_counts_without_resets,
        pair_checks.half_precision_does_not_stall,
    ],
    ids=lambda check: check.__name__,
)
def test_ema_averages(check: Callable[[Any], None]) -> None:
    check(EMA)


def test_ema_leaves_the_network_alone() -> None:
    model, plain = network(), network()
    optimizer = SGD(model.parameters(), lr=0.1)
    average = EMA(model, optimizer, decay=0.9)
    list(steps(model, optimizer, 1100))
    list(steps(plain, SGD(plain.parameters(), lr=0.1), 1100))
    assert average.reset_every is None
    assert same(model, plain)
    assert not same(model, average.deployed)
    assert average.deployed is average.tortoise


def test_switch_ema_is_hare_and_tortoise_with_its_settings() -> None:
    model, other = network(), network()
    optimizer, other_optimizer = SGD(model.parameters(), lr=0.1), SGD(other.parameters(), lr=0.1)
    switched = SwitchEMA(model, optimizer, reset_every=4)
    pair = HareTortoise(other, other_optimizer, decay=0.9999, reset_every=4)
    equal = [number for number in steps(model, optimizer, 9) if same(model, switched.tortoise)]
    list(steps(other, other_optimizer, 9))
    assert equal == [4, 8]
    assert same(model, other)
    assert same(switched.tortoise, pair.tortoise)
    assert switched.decay == 0.9999


def test_switch_ema_needs_the_steps_of_an_epoch() -> None:
    with pytest.raises(TypeError, match="reset_every"):
        SwitchEMA(network())  # type: ignore[call-arg]


def test_states_do_not_mix() -> None:
    model = network()
    state = SwitchEMA(model, reset_every=4).state_dict()
    with pytest.raises(ValueError, match="was saved with"):
        EMA(model, decay=0.9999).load_state_dict(state)
    assert values(model)
