"""The base class: hooks, the optimizers it accepts, what it refuses."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import StepLR

from hare_tortoise.methods import HareTortoise, Method
from hare_tortoise.methods.support.names import named_weights, unwrap, write
from tests.methods.pair_checks import network


class Steps(Method):
    """Notes the argument of each call."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.calls: list[Tensor | bool | None] = []
        super().__init__(*arguments, **settings)

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        self.calls.append(skipped)


def test_a_step_is_the_last_optimizers() -> None:
    model = network()
    first = SGD(model[0].parameters(), lr=0.1)
    last = SGD([*model[1].parameters(), *model[3].parameters()], lr=0.1)
    method = Steps(model, [first, last])
    first.step()
    assert not method.calls
    last.step()
    assert method.calls == [None]
    assert method.optimizers == (first, last)


def test_a_fused_optimizer_tells_what_was_skipped() -> None:
    model = nn.Linear(2, 2)
    optimizer = Adam(model.parameters(), fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    method = Steps(model, optimizer)
    for factor in (1.0, float("inf")):
        optimizer.zero_grad()
        scaler.scale(model(torch.ones(1, 2)).sum() * factor).backward()
        scaler.step(optimizer)
        scaler.update()
    assert [float(call) for call in method.calls if call is not None] == [0.0, 1.0]


def test_attach_lets_go_of_the_optimizer_before() -> None:
    model = network()
    first, second = SGD(model.parameters(), lr=0.1), SGD(model.parameters(), lr=0.1)
    method = Steps(model, first)
    method.attach(second)
    method.attach(second)
    first.step()
    second.step()
    assert len(method.calls) == 1
    method.detach()
    method.detach()
    second.step()
    assert len(method.calls) == 1
    assert not method.optimizers


def test_nothing_is_kept_alive_in_a_circle() -> None:
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    method = weakref.ref(HareTortoise(model, optimizer))
    gone = weakref.ref(optimizer)
    assert method() is not None, "the hook holds it"
    gc.disable()
    try:
        del optimizer
        assert gone() is None
        assert method() is None
    finally:
        gc.enable()


class Wrapper:
    """As some frameworks wrap an optimizer."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer


class Unfinished(Optimizer):
    """An optimizer that does not call `super().__init__`."""

    def __init__(self, model: nn.Module) -> None:
        self.param_groups = [{"params": list(model.parameters())}]


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda m: SGD(nn.Linear(1, 1).parameters()), ValueError, "holds no parameter of the model"),
        (lambda m: SGD(m[0].parameters()), ValueError, r"misses 1\.weight, 1\.bias, 3\.weight, 3\.bias"),
        (
            lambda m: [SGD(m[0].parameters()), SGD(m[1].parameters())],
            ValueError,
            r"misses 3\.weight, 3\.bias, expected",
        ),
        (lambda m: [], TypeError, "optimizer is empty"),
        (lambda m: [m], TypeError, "Sequential"),
        (lambda m: "adam", TypeError, "optimizer is a str, expected"),
        (lambda m: Wrapper(SGD(m.parameters())), TypeError, r"a Wrapper, expected .*`\.optimizer`"),
        (lambda m: StepLR(SGD(m.parameters()), 1), TypeError, r"a StepLR, expected .*`\.optimizer`"),
        (Unfinished, TypeError, r"Unfinished without the hooks .*super\(\)\.__init__"),
    ],
)
def test_bad_optimizers(make: Any, kind: type[Exception], message: str) -> None:
    model = network()
    with pytest.raises(kind, match=message):
        Method(model, make(model))


def test_frozen_parameters_may_be_missing() -> None:
    model = network()
    model[0].requires_grad_(False)
    model[1].requires_grad_(False)
    Method(model, SGD(model[3].parameters(), lr=0.1))


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [(nn.ReLU(), ValueError, "ReLU.*has no parameters"), (3, TypeError, "model is a int")],
)
def test_bad_models(model: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        Method(model)


def test_a_refused_pair_leaves_no_hook() -> None:
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="decay"):
        HareTortoise(model, optimizer, decay=2.0)
    assert not optimizer._optimizer_step_post_hooks


def test_the_default_method_does_nothing() -> None:
    model = network()
    method = Method(model, seed=3)
    outputs = torch.ones(2, 2)
    assert method.deployed is model
    assert not method.adds_penalty
    assert float(method.penalty(torch.ones(2, 3), outputs)) == 0.0
    method.new_data()
    other = Method(model, seed=4)
    other.load_state_dict(method.state_dict())
    draws = [torch.rand(3, generator=one.generator) for one in (method, other)]
    assert torch.equal(*draws)
    with pytest.raises(ValueError, match=r"state has the keys \['other'\]"):
        method.load_state_dict({"other": 1})


def test_weights_are_written_whole_or_not_at_all() -> None:
    layer = nn.Linear(3, 2).half()
    write(layer.weight, torch.full((2, 3), 0.5, dtype=torch.float64))
    assert layer.weight.dtype == torch.float16
    assert torch.equal(layer.weight, torch.full((2, 3), 0.5).half())
    with pytest.raises(ValueError, match=r"value has shape \(3,\), expected .* \(2, 3\)"):
        write(layer.weight, torch.ones(3))


def test_names() -> None:
    model = nn.Sequential(nn.DataParallel(nn.BatchNorm1d(2)), nn.Linear(2, 2))
    model.append(model[1])
    assert list(named_weights(model)) == [
        "0.weight",
        "0.bias",
        "0.running_mean",
        "0.running_var",
        "0.num_batches_tracked",
        "1.weight",
        "1.bias",
    ]
    assert unwrap(nn.DataParallel(nn.DataParallel(model))) is model
