"""A chain among the members of another: taken apart, with what it was told kept or refused."""

from __future__ import annotations

import pytest

from hare_tortoise.methods import EMA, Chain, HareTortoise, ShrinkPerturb, WarmStart
from tests.methods.pair_checks import network, same


def test_it_is_deployed_as_it_said() -> None:
    model = network()
    slow, quick = HareTortoise(model, decay=0.99), EMA(model, decay=0.5)
    inner = Chain(slow, quick, deployed=quick)
    assert Chain(inner, WarmStart(model)).deployed is quick.tortoise


def test_averages_that_are_kept_may_be_kept_by_both() -> None:
    model = network()
    pair = HareTortoise(model, reset_every=100)
    reset = ShrinkPerturb(model)
    Chain(Chain(pair, reset, averages="keep"), WarmStart(model), averages="keep").new_data()
    assert not same(model, pair.tortoise)


def test_averages_that_only_the_inner_one_keeps_are_refused() -> None:
    model = network()
    with pytest.raises(ValueError, match='averages is "follow", but a chain among the methods has "keep"'):
        Chain(Chain(EMA(model), averages="keep"), WarmStart(model))
