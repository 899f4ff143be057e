"""Saved and loaded in the middle of anything, training goes on bit for bit."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from hare_tortoise.methods import (
    EMA,
    HareTortoise,
    Schedule,
    geometric,
    horizon,
    karras,
    portion,
    power_law,
    switch,
    warmup,
)
from tests.methods.pair_checks import network, same, values


class Loop:
    """Training that can be saved to bytes and taken up by a newly built one."""

    def __init__(self, *, fused: bool = False, **settings: Any) -> None:
        self.model = network()
        self.optimizer: Optimizer = Adam(self.model.parameters(), lr=1e-2, fused=fused)
        self.pair = HareTortoise(self.model, self.optimizer, **settings)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, enabled=fused)

    def run(self, first: int, last: int) -> Loop:
        for number in range(first, last):
            generator = torch.Generator().manual_seed(number)
            self.optimizer.zero_grad()
            loss = self.model(torch.randn(8, 3, generator=generator)).square().mean()
            if number % 4 == 2 and self.scaler.is_enabled():
                loss = loss * float("inf")
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return self

    def save(self) -> bytes:
        buffer = io.BytesIO()
        parts = {"model": self.model, "optimizer": self.optimizer, "pair": self.pair, "scaler": self.scaler}
        torch.save({name: part.state_dict() for name, part in parts.items()}, buffer)
        return buffer.getvalue()

    def load(self, saved: bytes) -> Loop:
        state = torch.load(io.BytesIO(saved), weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.pair.load_state_dict(state["pair"])
        self.scaler.load_state_dict(state["scaler"])
        return self


SETTINGS: list[dict[str, Any]] = [
    {"decay": 0.9, "reset_every": 5},
    {"decay": 0.9, "reset_every": 5, "optimizer_state": "reset"},
    {"decay": 0.9, "reset_every": 5, "buffers": "copy"},
    {"decay": 0.9, "reset_every": 5, "buffers": "none"},
    {"decay": warmup(0.95), "reset_every": geometric(first=2, factor=2.0, period=3)},
    {"decay": karras(0.1), "reset_every": switch(2, 5, at=6)},
    {"decay": power_law(), "reset_every": 4, "fused": True},
    {"decay": 0.9, "reset_every": 4, "fused": True, "check_every": 3},
]


@pytest.mark.parametrize(
    "settings", SETTINGS, ids=lambda settings: ", ".join(f"{k}={v}" for k, v in settings.items())
)
def test_resumed_at_any_point_is_never_interrupted(settings: dict[str, Any]) -> None:
    whole = Loop(**settings).run(0, 14)
    for point in range(14):
        saved = Loop(**settings).run(0, point).save()
        resumed = Loop(**settings).load(saved).run(point, 14)
        assert same(resumed.model, whole.model)
        assert same(resumed.pair.tortoise, whole.pair.tortoise)
        assert resumed.pair.steps == whole.pair.steps


def test_saving_changes_nothing() -> None:
    loop, plain = Loop(decay=0.9, reset_every=3, fused=True), Loop(decay=0.9, reset_every=3, fused=True)
    for number in range(12):
        loop.run(number, number + 1).save()
    assert same(loop.model, plain.run(0, 12).model)


def test_a_reset_that_waits_is_resumed() -> None:
    # Call 4 of these is skipped, so that the reset due at step 4 waits for a fifth call.
    loop = Loop(decay=0.9, reset_every=3, fused=True).run(0, 3)
    assert loop.pair.steps == 2
    resumed = Loop(decay=0.9, reset_every=3, fused=True).load(loop.save())
    assert not same(resumed.model, resumed.pair.tortoise)
    resumed.run(3, 4)
    loop.run(3, 4)
    for one in (loop, resumed):
        assert all(
            torch.equal(tensor, one.pair.tortoise.get_parameter(name))
            for name, tensor in one.model.named_parameters()
        )


def test_a_horizon_goes_on_with_the_steps_of_its_chunk() -> None:
    pair = HareTortoise(network(), decay=horizon(0.1))
    pair.new_data(steps=200)
    pair.after_step()
    other = HareTortoise(network(), decay=horizon(0.1))
    other.load_state_dict(pair.state_dict())
    assert other.decay == horizon(0.1, steps=200)


def test_an_interval_that_is_a_portion_of_the_chunk_goes_on() -> None:
    pair = HareTortoise(network(), decay=0.9, reset_every=portion(0.1, steps=100))
    for _ in range(12):
        pair.after_step()
    pair.new_data(steps=50)
    other = HareTortoise(network(), decay=0.9, reset_every=portion(0.1, steps=100))
    other.load_state_dict(pair.state_dict())
    assert other.reset_every == portion(0.1, steps=50)


def test_a_buffer_that_was_infinite_at_the_start_stays_copied() -> None:
    class Observer(nn.Linear):
        def __init__(self, low: float) -> None:
            super().__init__(2, 2)
            self.low: Tensor
            self.register_buffer("low", torch.tensor(low))

    model = Observer(float("inf"))
    pair = HareTortoise(model, decay=0.9)
    model.low.fill_(1.0)
    pair.after_step()
    # The model that resumes was loaded before the pair was built: its buffer is finite by now.
    other_model = Observer(1.0)
    other = HareTortoise(other_model, decay=0.9)
    other.load_state_dict(pair.state_dict())
    other_model.low.fill_(0.5)
    other.after_step()
    assert float(values(other.tortoise)["low"]) == 0.5


def containers(value: Any) -> None:
    """Fail for what is neither a tensor, a number, a string, None nor a container of these."""
    if isinstance(value, dict):
        for key, item in value.items():
            assert isinstance(key, str)
            containers(item)
    elif isinstance(value, list | tuple):
        for item in value:
            containers(item)
    else:
        assert value is None or type(value) in (bool, int, float, str) or isinstance(value, Tensor)


@pytest.mark.parametrize("settings", SETTINGS[:6])
def test_a_state_is_tensors_numbers_strings_and_containers(settings: dict[str, Any]) -> None:
    containers(HareTortoise(network(), **settings).state_dict())


def test_names_are_those_of_the_model() -> None:
    assert list(HareTortoise(network()).state_dict()["tortoise"]) == list(network().state_dict())


def test_a_state_of_another_model_is_refused_with_its_keys() -> None:
    state = HareTortoise(network()).state_dict()
    model = nn.Sequential(nn.Linear(3, 9), nn.ReLU(), nn.Linear(9, 2))
    pair = HareTortoise(model)
    before = values(pair.tortoise)
    with pytest.raises(
        ValueError, match=r"missing: 2\.bias, 2\.weight.*unexpected: .*3\.weight.*shape: 0\.weight"
    ):
        pair.load_state_dict(state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in values(pair.tortoise).items())


def test_a_state_of_another_method_is_refused_with_its_keys() -> None:
    with pytest.raises(ValueError, match="state lacks copied, next_reset, settings, steps, tortoise"):
        HareTortoise(network()).load_state_dict({"generator": torch.Generator().get_state()})


@pytest.mark.parametrize(
    ("saved", "built", "message"),
    [
        ({"decay": 0.9}, {"decay": 0.99}, "decay is 0.99, but the state was saved with 0.9"),
        ({"decay": warmup(0.9)}, {"decay": 0.9}, "decay is 0.9, but .*warmup"),
        ({"reset_every": 5}, {"reset_every": None}, "reset_every is None, but .*5"),
        ({"buffers": "copy"}, {}, "buffers is average, but .*copy"),
        ({"optimizer_state": "reset"}, {}, "optimizer_state is keep, but .*reset"),
    ],
)
def test_other_settings_are_refused(saved: dict[str, Any], built: dict[str, Any], message: str) -> None:
    state = HareTortoise(network(), **saved).state_dict()
    pair = HareTortoise(network(), **built)
    with pytest.raises(ValueError, match=message):
        pair.load_state_dict(state)


def test_going_on_with_another_decay() -> None:
    state = HareTortoise(network(), decay=0.9).state_dict()
    pair = HareTortoise(network(), decay=0.9)
    pair.load_state_dict(state)
    pair.decay = 0.5
    pair.reset_every = 7
    assert (pair.decay, pair.reset_every) == (0.5, 7)


def test_a_rebuilt_optimizer_is_attached_and_counts_go_on() -> None:
    model = network()
    first = SGD(model.parameters(), lr=0.1)
    pair = HareTortoise(model, first, decay=0.9, reset_every=4)
    first.step()
    first.step()
    second = SGD(model.parameters(), lr=0.1)
    assert pair.attach(second) is pair
    first.step()
    assert pair.steps == 2, "the first optimizer is let go"
    second.step()
    second.step()
    assert pair.steps == 4
    assert same(model, pair.tortoise)
    pair.detach()
    second.step()
    assert pair.steps == 4


def test_ema_states() -> None:
    average = EMA(network(), decay=0.9)
    average.after_step()
    other = EMA(network(1), decay=0.9)
    other.load_state_dict(average.state_dict())
    assert same(other.tortoise, average.tortoise)
    assert isinstance(warmup(0.9), Schedule)
