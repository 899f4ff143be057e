"""Warm start: nothing is done."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from hare_tortoise.methods import FromScratch, Method, WarmStart
from hare_tortoise.testing import Network, Run, batch


def check_nothing_is_done(kind: type[Method]) -> None:
    """Training with the method is training without it, bit for bit."""
    run = Run.start(kind).train()
    plain = Run.start(Method).train()
    for name, value in plain.model.state_dict().items():
        assert torch.equal(run.model.state_dict()[name], value), name


def test_nothing_is_done() -> None:
    check_nothing_is_done(WarmStart)


def test_fault_a_new_network_is_seen() -> None:
    with pytest.raises(AssertionError):
        check_nothing_is_done(FromScratch)


def test_no_term_and_no_network_of_its_own() -> None:
    model = Network()
    method = WarmStart(model)
    inputs, targets = batch(0)
    outputs = model(inputs)
    assert not method.adds_penalty
    assert method.penalty(inputs, outputs, targets).item() == 0
    assert method.deployed is model
    assert torch.equal(
        cross_entropy(outputs, targets) + method.penalty(inputs, outputs), cross_entropy(outputs, targets)
    )
