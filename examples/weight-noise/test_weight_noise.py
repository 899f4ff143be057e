"""What a package with a method of its own tests."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from weight_noise import WeightNoise

from hare_tortoise import Chain, HareTortoise
from hare_tortoise.testing import check_method


def test_contract() -> None:
    check_method(lambda model, optimizer: WeightNoise(model, optimizer, std=0.01))


def test_contract_beside_hare_and_tortoise() -> None:
    check_method(
        lambda model, optimizer: Chain(
            WeightNoise(model, std=0.01), HareTortoise(model, decay=0.9, reset_every=2), optimizer=optimizer
        )
    )


def test_the_noise_is_as_large_as_was_asked_for() -> None:
    model = nn.Linear(300, 300)
    before = model.weight.detach().clone()
    WeightNoise(model, std=0.1).after_step()
    assert (model.weight - before).std().item() == pytest.approx(0.1, rel=0.02)


def test_a_skipped_step_adds_none() -> None:
    model = nn.Linear(3, 3)
    before = model.weight.detach().clone()
    WeightNoise(model, std=0.1).after_step(torch.tensor(1.0))
    assert torch.equal(model.weight, before)


def test_a_bad_setting() -> None:
    with pytest.raises(ValueError, match="std is -1, expected at least 0"):
        WeightNoise(nn.Linear(1, 1), std=-1)
