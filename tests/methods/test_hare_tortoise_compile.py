"""`torch.compile` of the model and of the optimizer's step."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

from hare_tortoise.methods import HareTortoise
from tests.methods.pair_checks import values

# torch's own: raised by an import that its compiler makes.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def train(
    backend: str | None,
    *,
    compile_model: bool = False,
    compile_step: bool = False,
    adam: bool = False,
    **settings: Any,
) -> tuple[nn.Module, HareTortoise]:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.BatchNorm1d(8), nn.Linear(8, 2, bias=False))
    model: Any = torch.compile(plain, backend=backend) if compile_model and backend else plain
    optimizer = Adam(model.parameters(), lr=1e-2) if adam else SGD(model.parameters(), lr=0.1, momentum=0.9)
    step: Any = torch.compile(optimizer.step, backend=backend) if compile_step and backend else optimizer.step
    pair = HareTortoise(model, optimizer, decay=0.9, reset_every=3, **settings)
    generator = torch.Generator().manual_seed(1)
    for _ in range(8):
        optimizer.zero_grad()
        model(torch.randn(8, 3, generator=generator)).square().mean().backward()
        step()
        with torch.no_grad():
            pair.tortoise(torch.randn(2, 3, generator=generator))
    return plain, pair


@pytest.mark.parametrize("optimizer_state", ["keep", "reset"])
@pytest.mark.parametrize("compiled", ["model", "step"])
def test_aot_eager(compiled: str, optimizer_state: str) -> None:
    choice: dict[str, Any] = {
        f"compile_{compiled}": True,
        "optimizer_state": optimizer_state,
        "adam": compiled == "step",
    }
    model, pair = train("aot_eager", **choice)
    expected_model, expected = train(None, **choice)
    assert pair.steps == expected.steps == 8
    for got, want in ((model, expected_model), (pair.tortoise, expected.tortoise)):
        wanted = values(want)
        for name, tensor in values(got).items():
            torch.testing.assert_close(tensor, wanted[name], rtol=1e-4, atol=1e-5)


def test_a_compiled_model_sees_the_weights_that_are_put_back() -> None:
    torch.manual_seed(0)
    plain = nn.Linear(3, 2)
    model: Any = torch.compile(plain, backend="aot_eager")
    pair = HareTortoise(model, decay=0.5)
    inputs = torch.randn(4, 3)
    before = model(inputs).detach().clone()
    with torch.no_grad():
        plain.weight.add_(1.0)
    moved = model(inputs).detach()
    assert not torch.equal(moved, before)
    with pair.deployed_weights():
        assert torch.equal(model(inputs).detach(), before)
    assert torch.equal(model(inputs).detach(), moved)
    pair.reset()
    assert torch.equal(model(inputs).detach(), before)


@pytest.mark.compiler
def test_inductor() -> None:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("no C++ compiler")
    model, pair = train("inductor", compile_model=True, compile_step=True)
    expected_model, expected = train(None)
    for got, want in ((model, expected_model), (pair.tortoise, expected.tortoise)):
        wanted = values(want)
        for name, tensor in values(got).items():
            torch.testing.assert_close(tensor, wanted[name], rtol=1e-3, atol=1e-4)
