"""Our methods around the optimizers of other libraries, and around our own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import pytorch_optimizer
import schedulefree
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hare_tortoise import Chain, HareTortoise, L2Init, Method, ShrinkPerturb
from hare_tortoise.lab.state import join, split
from hare_tortoise.optimizers import OPTIMIZERS

X = torch.randn(16, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = X.sin().sum(1, keepdim=True)
Build = Callable[[nn.Module], Optimizer]

BUILDS: dict[str, Build] = {
    "AdamWScheduleFree": lambda m: schedulefree.AdamWScheduleFree(m.parameters(), lr=0.05, warmup_steps=2),
    "SGDScheduleFree": lambda m: schedulefree.SGDScheduleFree(m.parameters(), lr=0.05),
    "Lion": lambda m: pytorch_optimizer.Lion(m.parameters(), lr=0.01),
    "AdaBelief": lambda m: pytorch_optimizer.AdaBelief(m.parameters(), lr=0.01),
    "Prodigy": lambda m: pytorch_optimizer.Prodigy(m.parameters()),
    "Muon": lambda m: pytorch_optimizer.Muon([{"params": list(m.parameters()), "use_muon": False}], lr=0.01),
    "Lookahead": lambda m: pytorch_optimizer.Lookahead(torch.optim.AdamW(m.parameters(), lr=0.01), k=2),
}
for key, entry in OPTIMIZERS.items():
    BUILDS[key] = partial(lambda made, m: made.build(m.parameters(), lr=0.01, weight_decay=0.01), entry)

every = pytest.mark.parametrize("name", BUILDS)
plain = pytest.mark.parametrize("name", [name for name in BUILDS if name != "Lookahead"])


class Clipping(Method):
    """Weights between −bound and bound after every step, as a projection does."""

    bound = 0.4
    calls = 0

    @torch.no_grad()
    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        self.calls += 1
        for parameter in self.model.parameters():
            parameter.clamp_(-self.bound, self.bound)


def build(name: str) -> tuple[nn.Module, Optimizer]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    return model, make(name, model)


def make(name: str, model: nn.Module) -> Optimizer:
    optimizer = BUILDS[name](model)
    if "ScheduleFree" in name:
        optimizer.train()  # type: ignore[attr-defined]
    return optimizer


def step(model: nn.Module, optimizer: Any, penalty: Callable[..., Tensor] | None = None) -> None:
    def closure() -> Tensor:
        optimizer.zero_grad()
        outputs = model(X)
        loss: Tensor = (outputs - Y).square().mean()
        loss = loss if penalty is None else loss + penalty(X, outputs)
        torch.autograd.backward(loss)
        return loss

    if type(optimizer).__name__ == "SAM":
        optimizer.step(closure)
    else:
        closure()
        optimizer.step()


def values(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@every
def test_hare_and_tortoise_are_those_of_a_loop_by_hand(name: str) -> None:
    model, optimizer = build(name)
    pair = HareTortoise(model, optimizer, decay=0.8, reset_every=3)
    twin, other = build(name)
    average = values(twin)
    for count in range(1, 8):
        step(model, optimizer)
        step(twin, other)
        average = [0.8 * a + 0.2 * p for a, p in zip(average, values(twin), strict=True)]
        if count % 3 == 0:
            with torch.no_grad():
                for parameter, a in zip(twin.parameters(), average, strict=True):
                    parameter.copy_(a)
        for a, b, c, d in zip(values(pair.tortoise), average, values(model), values(twin), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(c, d, rtol=1e-10, atol=1e-12)
    assert not same(values(model), values(build(name)[0]))


@every
def test_a_projection_acts_once_after_every_step(name: str) -> None:
    model, optimizer = build(name)
    clipping = Clipping(model, optimizer)
    for count in range(1, 4):
        step(model, optimizer)
        assert clipping.calls == count
        assert max(float(p.abs().max()) for p in values(model)) <= clipping.bound
    clipping.detach()
    step(model, optimizer)
    assert clipping.calls == 3


@every
def test_a_chain_with_a_penalty_and_new_data(name: str) -> None:
    model, optimizer = build(name)
    chain = Chain(
        HareTortoise(model, decay=0.9, reset_every=4),
        L2Init(model, strength=0.1),
        ShrinkPerturb(model),
        Clipping(model),
    ).attach(optimizer)
    alone, other = build(name)
    for count in range(6):
        step(model, optimizer, chain.penalty)
        step(alone, other)
        if count == 2:
            chain.new_data()
            optimizer = make(name, model)
            chain.attach(optimizer)
    assert all(bool(torch.isfinite(p).all()) for p in values(model) + values(chain.deployed))
    assert not same(values(model), values(alone))


@plain
def test_saved_as_tensors_and_json_it_goes_on_bit_for_bit(name: str) -> None:
    model, optimizer = build(name)
    pair = HareTortoise(model, optimizer, decay=0.8, reset_every=3)
    for _ in range(4):
        step(model, optimizer)
    weights, state = copy.deepcopy(model.state_dict()), copy.deepcopy(pair.state_dict())
    saved = join(*split(optimizer.state_dict()))
    again, other = build(name)
    again.load_state_dict(weights)
    other.load_state_dict(saved)
    follower = HareTortoise(again, other, decay=0.8, reset_every=3)
    follower.load_state_dict(state)
    for _ in range(5):
        step(model, optimizer)
        step(again, other)
    assert same(values(model), values(again))
    assert same(values(pair.tortoise), values(follower.tortoise))


@plain
def test_a_reset_that_forgets_the_optimizer_state(name: str) -> None:
    model, optimizer = build(name)
    pair = HareTortoise(model, optimizer, decay=0.8, reset_every=3, optimizer_state="reset")
    for count in range(1, 6):
        step(model, optimizer)
        assert same(values(model), values(pair.tortoise)) is (count == 3)
        assert bool(optimizer.state) is (count != 3)
    assert all(bool(torch.isfinite(p).all()) for p in values(model) + values(pair.tortoise))


def test_what_lookahead_does_not_do() -> None:
    """Its slow weights are made when it is built and lie under keys that are pairs; it is a wrapper, as TRAC is."""
    model, optimizer = build("Lookahead")
    HareTortoise(model, optimizer, decay=0.8, reset_every=1, optimizer_state="reset")
    step(model, optimizer)
    with pytest.raises(RuntimeError):
        step(model, optimizer)
    with pytest.raises(TypeError, match=r"key \(0, 0\) of a state"):
        split(build("Lookahead")[1].state_dict())


@pytest.mark.parametrize("name", ["AdamWScheduleFree", "SGDScheduleFree"])
def test_the_tortoise_of_schedule_free_averages_the_weights_of_training(name: str) -> None:
    model, optimizer = build(name)
    schedule_free: Any = optimizer
    pair = HareTortoise(model, optimizer, decay=0.8, reset_every=None)
    average = values(model)
    for _ in range(4):
        step(model, optimizer)
        average = [0.8 * a + 0.2 * p for a, p in zip(average, values(model), strict=True)]
    of_training, tortoise = values(model), values(pair.tortoise)
    schedule_free.eval()
    assert not same(values(model), of_training)  # its own average now stands in the model
    assert same(values(pair.tortoise), tortoise)
    schedule_free.train()
    for a, b, c, d in zip(values(model), of_training, tortoise, average, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(c, d, rtol=1e-10, atol=1e-12)
