"""What waits for the first forward of a model goes with the method, with detach(), and in no copy of the model."""

from __future__ import annotations

import copy
import io
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD

from hare_tortoise.methods import Chain, LastLayersReset, Method, ReDo, SoftWeightRescaling, WarmStart
from hare_tortoise.testing import Network, batch

WAITING: dict[str, Callable[..., Method]] = {
    "last-layers-reset": lambda *given: LastLayersReset(*given, layers=1),
    "soft-weight-rescaling": SoftWeightRescaling,
}
BOTH = pytest.mark.parametrize("name", WAITING)


def found(method: Any) -> bool:
    """Whether it has seen a forward."""
    return bool(method.layers) if isinstance(method, LastLayersReset) else bool(method._followed)


@BOTH
def test_the_hook_goes_with_the_method(name: str) -> None:
    model = Network()
    method = WAITING[name](model)
    assert len(model._forward_pre_hooks) == 1
    gone = weakref.ref(method)
    del method
    assert gone() is None
    assert not model._forward_pre_hooks


@BOTH
def test_it_goes_with_detach_and_comes_back_with_attach(name: str) -> None:
    model = Network()
    optimizer = SGD(model.parameters(), lr=0.1)
    method = WAITING[name](model, optimizer)
    method.detach()
    assert not model._forward_pre_hooks
    method.attach(optimizer)
    assert len(model._forward_pre_hooks) == 1
    model(batch(0)[0])
    assert found(method)
    assert not model._forward_pre_hooks
    method.attach(optimizer)
    assert not model._forward_pre_hooks


@BOTH
@pytest.mark.parametrize("attached", [False, True])
def test_a_chain_takes_over_and_lets_go(name: str, attached: bool) -> None:
    model = Network()
    optimizer = SGD(model.parameters(), lr=0.1)
    methods = [WAITING[name](model), WarmStart(model)]
    chain = Chain(*methods, optimizer=optimizer if attached else None)
    assert len(model._forward_pre_hooks) == 1
    chain.detach()
    assert not model._forward_pre_hooks
    chain.attach(optimizer)
    model(batch(0)[0])
    assert found(methods[0])


@BOTH
def test_a_model_may_be_saved_and_copied_before_its_first_forward(name: str) -> None:
    model = Network()
    method = WAITING[name](model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        other(batch(0)[0])
        assert not found(method)
    model(batch(0)[0])
    assert found(method)


@BOTH
@pytest.mark.parametrize("first", [True, False])
def test_looking_is_not_seen_by_what_watches_units(name: str, first: bool) -> None:
    """Nor does it see the run by which these are found."""
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    methods = [WAITING[name](model)] if first else []
    units: Any = ReDo(model, every=1, threshold=0.5)
    methods = methods or [WAITING[name](model)]
    model(batch(0)[0]).sum().backward()
    assert found(methods[0])
    assert units._taps.sums


def test_rescaling_waits_for_a_forward_in_training() -> None:
    model = Network()
    method = SoftWeightRescaling(model)
    model.eval()(batch(0)[0])
    assert not found(method)
    model.train()(batch(0)[0])
    assert found(method)
