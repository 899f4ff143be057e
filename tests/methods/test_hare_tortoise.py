"""Hare & Tortoise: what is averaged, when the hare is put back, what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from hare_tortoise.methods import EMA, Chain, HareTortoise, switch
from hare_tortoise.methods.support.names import named_weights
from tests.methods import pair_checks
from tests.methods.pair_checks import HareSeen, closed_form, network, same, steps, values


@pytest.mark.parametrize(
    "check",
    [
        pair_checks.is_average_from_the_first_step,
        pair_checks.resets_at,
        pair_checks.averages_before_it_resets,
        pair_checks.shares_no_storage,
        pair_checks.counters_are_counts,
        pair_checks.tortoise_evaluates,
        pair_checks.hooks_stay_with_the_hare,
        pair_checks.half_precision_does_not_stall,
    ],
    ids=lambda check: check.__name__,
)
def test_pair(check: Callable[[Any], None]) -> None:
    check(HareTortoise)


@pytest.mark.parametrize("fused", [False, True])
def test_skipped_steps_do_not_count(fused: bool) -> None:
    pair_checks.skipped_steps_do_not_count(HareTortoise, fused)


def test_one_line_is_enough() -> None:
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    HareTortoise(model, optimizer, decay=0.9, reset_every=2)
    hare = values(model)
    list(steps(model, optimizer, 4))
    plain = network()
    list(steps(plain, SGD(plain.parameters(), lr=0.1), 4))
    assert not same(model, plain), "nobody holds the pair but the optimizer's hook, and it resets"
    assert any(not torch.equal(hare[name], tensor) for name, tensor in values(model).items())


def test_gradient_accumulation_counts_optimizer_steps() -> None:
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    pair = HareTortoise(model, optimizer, decay=0.9)
    for _ in range(3):
        for _ in range(4):
            model(torch.randn(8, 3)).sum().backward()
        optimizer.step()
    assert pair.steps == 3


def test_reset_now() -> None:
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    pair = HareTortoise(model, optimizer, decay=0.9, reset_every=4)
    equal = []
    for number in steps(model, optimizer, 9):
        if number == 3:
            pair.reset()
        if same(model, pair.tortoise):
            equal.append(number)
    assert equal == [3, 4, 8], "a reset by hand does not move the others"


def test_the_paper_in_epochs_is_resets_by_hand() -> None:
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    pair = HareTortoise(model, optimizer, decay=0.9, reset_every=None)
    equal = []
    for number in steps(model, optimizer, 70):
        epoch, last_of_epoch = (number - 1) // 3, number % 3 == 0
        if last_of_epoch and epoch % 10 == 0:
            pair.reset()
        if same(model, pair.tortoise):
            equal.append(number)
    assert equal == [3, 33, 63]


def test_interval_from_a_schedule() -> None:
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    pair = HareTortoise(model, optimizer, decay=0.9, reset_every=switch(2, 5, at=4))
    equal = [number for number in steps(model, optimizer, 15) if same(model, pair.tortoise)]
    assert equal == [2, 4, 6, 11]


@pytest.mark.parametrize("buffers", ["average", "copy", "none"])
def test_floating_buffers(buffers: Any) -> None:
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    seen = HareSeen(model, optimizer)
    pair = HareTortoise(model, optimizer, decay=0.5, buffers=buffers)
    list(steps(model, optimizer, 3))
    name = "1.running_mean"
    expected = {
        "average": closed_form(seen.seen, name, 0.5),
        "copy": seen.seen[-1][name].double(),
        "none": seen.seen[0][name].double(),
    }[buffers]
    torch.testing.assert_close(values(pair.tortoise)[name].double(), expected, rtol=1e-5, atol=1e-7)
    hare = values(model)[name]
    pair.reset()
    kept = hare if buffers == "none" else values(pair.tortoise)[name]
    assert torch.equal(values(model)[name], kept)
    assert int(named_weights(pair.tortoise)["1.num_batches_tracked"]) == 3


class Masked(nn.Linear):
    def __init__(self) -> None:
        super().__init__(3, 3)
        self.register_buffer("mask", torch.full((3, 3), float("-inf")).triu(1), persistent=False)
        self.register_buffer("bits", torch.tensor([True, False]))


def test_infinite_and_boolean_buffers_are_copied() -> None:
    model = Masked()
    pair = HareTortoise(model, decay=0.9)
    pair.after_step()
    pair.reset()
    assert torch.equal(values(pair.tortoise)["mask"], values(model)["mask"])
    assert values(pair.tortoise)["bits"].dtype == torch.bool


def test_complex_parameters_are_averaged() -> None:
    model = nn.Linear(2, 2, dtype=torch.complex64)
    start = values(model)
    pair = HareTortoise(model, decay=0.75)
    with torch.no_grad():
        model.weight.mul_(1j)
    pair.after_step()
    expected = 0.75 * start["weight"] + 0.25 * model.weight.detach()
    torch.testing.assert_close(values(pair.tortoise)["weight"], expected)


def test_a_tortoise_that_is_given_keeps_values_and_dtype() -> None:
    model, target = network(0), network(1).double()
    start, hare = values(target), values(model)
    pair = HareTortoise(model, decay=0.75, tortoise=target)
    assert pair.tortoise is target
    assert not target.training
    assert all(torch.equal(tensor, start[name]) for name, tensor in values(target).items())
    pair.after_step()
    for name, tensor in values(target).items():
        assert tensor.dtype == start[name].dtype
        if tensor.is_floating_point():
            torch.testing.assert_close(
                tensor, 0.75 * start[name] + 0.25 * hare[name].double(), rtol=1e-7, atol=1e-9
            )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_has_a_float32_tortoise(dtype: torch.dtype) -> None:
    model = network().to(dtype)
    pair = HareTortoise(model, decay=0.9, reset_every=1)
    floating = [tensor for tensor in values(pair.tortoise).values() if tensor.is_floating_point()]
    assert {tensor.dtype for tensor in floating} == {torch.float32}
    assert pair.tortoise(torch.randn(2, 3)).dtype == torch.float32
    pair.after_step()
    assert {tensor.dtype for tensor in model.parameters()} == {dtype}
    with pair.deployed_weights():
        assert {tensor.dtype for tensor in model.parameters()} == {dtype}


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.head(self.embedding(inputs))
        return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tied_parameters_stay_tied_and_are_stored_once(dtype: torch.dtype) -> None:
    model = Tied().to(dtype)
    pair = HareTortoise(model, decay=0.9)
    slow = pair.tortoise
    assert isinstance(slow, Tied)
    assert slow.head.weight is slow.embedding.weight
    start = values(slow)["embedding.weight"]
    with torch.no_grad():
        model.head.weight.add_(1.0)
    hare = values(model)["embedding.weight"].double()
    pair.after_step()
    assert list(pair.state_dict()["tortoise"]) == ["embedding.weight"]
    # Averaged once, not once for each name.
    torch.testing.assert_close(
        slow.head.weight.double(), 0.9 * start.double() + 0.1 * hare, rtol=1e-5, atol=1e-6
    )


def test_distance() -> None:
    model = network()
    pair = HareTortoise(model, decay=0.9)
    assert pair.distance() == 0.0
    with torch.no_grad():
        model[0].weight.add_(2.0)
        model[1].running_mean.add_(100.0)
    assert pair.distance() == pytest.approx(2.0 * 24**0.5, rel=1e-6)


def test_share_frozen() -> None:
    model = network()
    model[0].requires_grad_(False)
    pair = HareTortoise(model, decay=0.9, share_frozen=True)
    slow = named_weights(pair.tortoise)
    shared = {name for name, tensor in slow.items() if tensor is named_weights(model)[name]}
    assert shared == {"0.weight", "0.bias"}
    assert not shared & set(pair.state_dict()["tortoise"])
    with torch.no_grad():
        model[3].weight.add_(1.0)
    pair.after_step()
    pair.reset()
    assert same(model, pair.tortoise)


def test_non_finite_values_stop_a_reset_before_it_writes() -> None:
    model = network()
    pair = HareTortoise(model, decay=0.9, reset_every=3)
    pair.after_step()
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    pair.after_step()
    hare = values(model)
    with pytest.raises(RuntimeError, match=r"step 3 .*0\.weight") as error:
        pair.after_step()
    assert "3.weight" not in str(error.value)
    assert all(torch.equal(hare[n].nan_to_num(7), t.nan_to_num(7)) for n, t in values(model).items())


def test_large_values_are_finite() -> None:
    model = nn.Linear(2, 2)
    nn.init.constant_(model.weight, 3e38)
    pair = HareTortoise(model, decay=0.5)
    pair.after_step()
    pair.reset()


def test_check_every_finds_out_earlier() -> None:
    model = network()
    pair = HareTortoise(model, decay=0.9, reset_every=1000, check_every=4)
    with torch.no_grad():
        model[3].bias[0] = float("inf")
    for _ in range(3):
        pair.after_step()
    with pytest.raises(RuntimeError, match=r"step 4 .*check_every.*3\.bias"):
        pair.after_step()


@pytest.mark.parametrize("decay", [1.0, -0.1, 1.5, float("nan"), "0.9", None, True])
def test_bad_decay(decay: Any) -> None:
    with pytest.raises(ValueError, match=r"decay is .*expected a number in \[0, 1\)"):
        HareTortoise(network(), decay=decay)


@pytest.mark.parametrize("interval", [0, -1, 2.5, "10", True])
@pytest.mark.parametrize("name", ["reset_every", "check_every"])
def test_bad_interval(name: str, interval: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} is .*expected a whole number"):
        HareTortoise(network(), **{name: interval})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"buffers": "mean"}, "buffers is 'mean', expected one of 'average', 'copy', 'none'"),
        ({"optimizer_state": "zero"}, "optimizer_state is 'zero', expected one of 'keep', 'reset'"),
        ({"share_frozen": True}, "share_frozen is True but no parameter"),
        ({"tortoise": nn.Linear(3, 8)}, "tortoise has other weights than the model .*0.bias"),
        (
            {"tortoise": nn.Sequential(nn.Linear(3, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 2))},
            r"0\.weight",
        ),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HareTortoise(network(), **settings)


def test_a_tortoise_that_is_the_hare_is_refused() -> None:
    model = network()
    with pytest.raises(ValueError, match="shares storage"):
        HareTortoise(model, tortoise=model)
    alias = copy.copy(model)
    with pytest.raises(ValueError, match="shares storage"):
        HareTortoise(model, tortoise=alias)


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match="no parameters"):
        HareTortoise(nn.ReLU())


def test_reset_of_an_optimizer_that_is_not_there_is_refused() -> None:
    pair = HareTortoise(network(), optimizer_state="reset")
    with pytest.raises(ValueError, match="no optimizer is attached"):
        pair.after_step()


def test_two_averages_of_one_model_are_refused_at_the_first_step() -> None:
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    first = HareTortoise(model, optimizer)
    second = EMA(model)
    first.after_step()
    for act in (second.after_step, second.new_data):
        with pytest.raises(ValueError, match="EMA averages a model that HareTortoise averages already"):
            act()
    first.detach()
    second.after_step()
    with pytest.raises(ValueError, match="HareTortoise averages a model that EMA averages already"):
        first.after_step()


def test_a_pair_built_twice_says_how_to_get_out() -> None:
    # As when the cell of a notebook is run again: the optimizer's hook holds the first.
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    HareTortoise(model, optimizer)
    HareTortoise(model, optimizer)
    with pytest.raises(ValueError, match=r"detach\(\).*build a new optimizer"):
        optimizer.step()


def test_an_average_of_a_part_is_refused_at_the_first_step() -> None:
    for whole_first in (True, False):
        model = network()
        nets = (model, model[0]) if whole_first else (model[0], model)
        pair, other = HareTortoise(nets[0]), EMA(nets[1])
        pair.after_step()
        with pytest.raises(ValueError, match=r"EMA averages a .*, and HareTortoise a .*part of the other"):
            other.after_step()
        pair.detach()
        other.after_step()


def test_an_average_nobody_holds_any_more_is_no_second_one() -> None:
    model = network()
    pair = HareTortoise(model, SGD(model.parameters(), lr=0.1))
    pair.after_step()
    pair = HareTortoise(model, SGD(model.parameters(), lr=0.1))
    pair.after_step()


def test_two_averages_in_a_chain() -> None:
    model = network()
    slow, quick = HareTortoise(model, decay=0.99, reset_every=2), EMA(model, decay=0.5)
    chain = Chain(slow, quick, deployed=quick)
    chain.after_step()
    with pytest.raises(ValueError, match="EMA averages a model that Chain averages already"):
        EMA(model).after_step()


def test_a_schedule_out_of_range_is_refused() -> None:
    pair = HareTortoise(network(), decay=switch(0.5, 7.0, at=1))
    pair.after_step()
    with pytest.raises(ValueError, match=r"decay is 7.0, expected a number in \[0, 1\)"):
        pair.after_step()
