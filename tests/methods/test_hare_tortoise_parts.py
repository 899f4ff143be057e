"""Parts of a network that need care: spectral norm, layers cast alone, steps that a scaler skipped."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from hare_tortoise.methods import Chain, FromScratch, HareTortoise, Schedule, switch
from tests.methods.pair_checks import network, same, values


@pytest.mark.parametrize("buffers", ["average", "none"])
def test_the_spectral_norm_of_the_tortoise_is_one(buffers: Any) -> None:
    model: Any = parametrizations.spectral_norm(nn.Linear(2, 2), n_power_iterations=20)
    pair = HareTortoise(model, decay=0.9, buffers=buffers)
    # The direction of the largest singular value turns; after seven more steps the average is half way.
    for diagonal, count in (([1.0, 0.1], 30), ([0.1, 2.0], 7)):
        for _ in range(count):
            with torch.no_grad():
                model.parametrizations.weight.original.copy_(torch.tensor(diagonal).diag() + 0.05)
            model(torch.ones(1, 2))
            pair.after_step()
    slow: Any = pair.tortoise
    assert float(torch.linalg.matrix_norm(slow.weight.detach(), 2)) == pytest.approx(1, abs=0.1)
    pair.reset()
    assert float(torch.linalg.matrix_norm(model.weight.detach(), 2)) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_layer_cast_alone_is_followed_at_the_next_step(dtype: torch.dtype) -> None:
    model = network()
    pair = HareTortoise(model, decay=0.75)
    start = values(pair.tortoise)
    model[3].to(dtype)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(0.5)
    pair.after_step()
    assert pair.steps == 1
    for name, tensor in values(pair.tortoise).items():
        expected = torch.float64 if name.startswith("3.") and dtype == torch.float64 else start[name].dtype
        assert tensor.dtype == expected
        if tensor.is_floating_point() and "running" not in name:
            torch.testing.assert_close(tensor.double(), start[name].double() + 0.125, rtol=0, atol=2e-3)
    pair.reset()


def test_data_resized_in_place_is_an_error_at_the_next_step() -> None:
    model = network()
    pair = HareTortoise(model, decay=0.9)
    model[3].weight.data = torch.zeros(5, 8)
    with pytest.raises(RuntimeError, match=r"resized: 3\.weight.*rebind\(\)"):
        pair.after_step()
    assert pair.steps == 0


class Percent(Schedule):
    """A decay that leaves the range, and is a number wherever the step is."""

    def __call__(self, step: Any) -> float:
        return 90.0

    def scaled(self, budget: float) -> Percent:
        return self


@pytest.mark.parametrize("skipped", [None, torch.zeros(())])
def test_a_refused_decay_leaves_the_tortoise_and_the_count(skipped: Tensor | None) -> None:
    model = network()
    pair = HareTortoise(model, decay=Percent())
    start = values(pair.tortoise)
    with torch.no_grad():
        model[0].weight.add_(1.0)
    with pytest.raises(ValueError, match=r"decay is 90.0, expected a number in \[0, 1\)"):
        pair.after_step(skipped)
    assert pair.steps == 0
    assert all(torch.equal(tensor, start[name]) for name, tensor in values(pair.tortoise).items())


@pytest.mark.parametrize("buffers", ["average", "copy"])
def test_buffers_are_copied_where_a_step_counts_and_not_where_it_was_skipped(buffers: Any) -> None:
    model = network()
    pair = HareTortoise(model, decay=0.9, buffers=buffers)
    model(torch.randn(8, 3))
    before = values(pair.tortoise)
    pair.after_step(torch.ones(1))
    assert all(torch.equal(tensor, before[name]) for name, tensor in values(pair.tortoise).items())
    pair.after_step(torch.zeros(1))
    after = values(pair.tortoise)
    assert int(after["1.num_batches_tracked"]) == 1
    assert torch.equal(after["1.running_mean"], values(model)["1.running_mean"]) is (buffers == "copy")


def test_half_precision_where_steps_may_be_skipped() -> None:
    model = nn.Linear(8, 8).bfloat16()
    pair = HareTortoise(model, decay=switch(0.5, 0.75, at=2))
    start = values(model)["weight"].double()
    with torch.no_grad():
        model.weight.copy_((start + 1).bfloat16())
    hare = values(model)["weight"].double()
    for flag in (0.0, 1.0, 0.0, 0.0):
        pair.after_step(torch.tensor(flag))
    decays = [float(switch(0.5, 0.75, at=2)(number)) for number in (1, 2, 3)]
    share = decays[0] * decays[1] * decays[2]
    expected = share * start + (1 - share) * hare
    torch.testing.assert_close(values(pair.tortoise)["weight"].double(), expected, rtol=1e-5, atol=1e-6)
    assert pair.steps == 3


def test_a_whole_pair_is_equal_after_a_cast_and_a_reset() -> None:
    model = network()
    pair = HareTortoise(model, decay=0.5)
    model[0].double()
    pair.after_step()
    model[0].float()
    pair.after_step()
    pair.reset()
    assert same(model, pair.tortoise)


def poison(model: Any, value: float) -> None:
    with torch.no_grad():
        model[3].bias[0] = value


def test_check_every_looks_again() -> None:
    model = network()
    pair = HareTortoise(model, decay=0.0, reset_every=None, check_every=2)
    for number in range(1, 4):
        poison(model, float("nan") if number == 3 else 0.0)
        pair.after_step()
    with pytest.raises(RuntimeError, match=r"step 4 .*3\.bias"):
        pair.after_step()


def test_check_every_counts_from_where_it_was_loaded() -> None:
    pair = HareTortoise(network(), decay=0.0, reset_every=None, check_every=4)
    for _ in range(3):
        pair.after_step()
    model = network()
    other = HareTortoise(model, decay=0.0, reset_every=None, check_every=4)
    other.load_state_dict(pair.state_dict())
    poison(model, float("nan"))
    for _ in range(3):
        other.after_step()
    with pytest.raises(RuntimeError, match=r"step 7 "):
        other.after_step()


def test_check_every_counts_anew_for_a_new_network() -> None:
    model = network()
    pair = HareTortoise(model, decay=0.0, reset_every=None, check_every=4)
    chain = Chain(FromScratch(model, fresh=network), pair)
    for _ in range(3):
        chain.after_step()
    chain.new_data()
    poison(model, float("nan"))
    for _ in range(3):
        chain.after_step()
    with pytest.raises(RuntimeError, match=r"step 4 "):
        chain.after_step()


def test_a_given_tortoise_is_in_eval_mode_from_the_start() -> None:
    target = network(1).train()
    pair = HareTortoise(network(), tortoise=target)
    assert not any(module.training for module in target.modules())
    target.train()
    assert not any(module.training for module in pair.tortoise.modules())


def test_a_skip_that_the_host_knows() -> None:
    model = network()
    pair = HareTortoise(model, decay=0.5, reset_every=2)
    start = values(pair.tortoise)
    with torch.no_grad():
        model[0].weight.add_(1.0)
    pair.after_step(True)
    assert pair.steps == 0
    assert torch.equal(values(pair.tortoise)["0.weight"], start["0.weight"])
    pair.after_step(False)
    assert pair.steps == 1
    torch.testing.assert_close(values(pair.tortoise)["0.weight"], start["0.weight"] + 0.5)


def test_intervals_of_numpy_are_whole_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    pair = HareTortoise(network(), reset_every=numpy.int64(5), check_every=numpy.int64(3))
    assert type(pair.reset_every) is int
    assert type(pair.check_every) is int
    with pytest.raises(ValueError, match=r"reset_every is .*whole number"):
        pair.reset_every = numpy.float64(5)
