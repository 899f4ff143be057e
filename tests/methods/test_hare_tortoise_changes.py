"""A model that was moved, cast, refilled, replaced, grown or unfrozen is followed, or it is an error in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from hare_tortoise.methods import HareTortoise
from tests.methods.pair_checks import network, same, steps, values

MOMENTS: dict[str, Callable[[HareTortoise], Any]] = {
    "reset": lambda pair: pair.reset(),
    "save": lambda pair: pair.state_dict(),
    "evaluation": lambda pair: pair.tortoise,
    "deployed": lambda pair: pair.deployed,
    "deployed weights": lambda pair: pair.deployed_weights().__enter__(),
    "distance": lambda pair: pair.distance(),
}


def replace(model: Any) -> None:
    model[3] = nn.Linear(8, 2)


def replace_parameter(model: Any) -> None:
    model[3].weight = nn.Parameter(torch.zeros(2, 8))


def grow(model: Any) -> None:
    model[3] = nn.Linear(8, 5)


def grow_in_place(model: Any) -> None:
    model[3].weight.data = torch.zeros(5, 8)
    model[3].bias.data = torch.zeros(5)


def add(model: Any) -> None:
    model.append(nn.Linear(2, 2))


def remove(model: Any) -> None:
    del model[1]


CHANGES: dict[Callable[[Any], None], str] = {
    replace: "replaced: 3.weight, 3.bias",
    replace_parameter: "replaced: 3.weight",
    grow: "resized: 3.weight, 3.bias",
    grow_in_place: "resized: 3.weight, 3.bias",
    add: "added: 4.bias, 4.weight",
    remove: "removed: .*1.weight",
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_network_is_an_error_in_time(change: Callable[[Any], None], moment: str) -> None:
    model = network()
    pair = HareTortoise(model, decay=0.9)
    pair.after_step()
    change(model)
    before = values(model)
    with pytest.raises(RuntimeError, match=CHANGES[change] + r".*rebind\(\)"):
        MOMENTS[moment](pair)
    assert all(torch.equal(tensor, before[name]) for name, tensor in values(model).items())


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_rebind_goes_on_with_what_was_kept(change: Callable[[Any], None]) -> None:
    model = network()
    pair = HareTortoise(model, decay=0.9, reset_every=100)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(1.0)
    pair.after_step()
    slow = values(pair.tortoise)
    change(model)
    pair.rebind()
    assert pair.steps == 1
    now, hare = values(pair.tortoise), values(model)
    assert now.keys() == hare.keys()
    assert torch.equal(now["0.weight"], slow["0.weight"]), "what was kept goes on"
    assert not torch.equal(now["0.weight"], hare["0.weight"])
    last = "4.weight" if change is add else "3.weight" if change is not remove else "2.weight"
    if change is not remove:
        assert torch.equal(now[last], hare[last]), "what is new starts as a copy"
    pair.tortoise(torch.randn(4, 3))
    optimizer = SGD(model.parameters(), lr=0.1)
    pair.attach(optimizer)
    model(torch.randn(4, 3)).square().mean().backward()
    optimizer.step()
    pair.reset()
    assert same(model, pair.tortoise)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_cast_is_followed_at_the_next_step(dtype: torch.dtype) -> None:
    model = network()
    pair = HareTortoise(model, decay=0.9)
    slow = pair.tortoise
    start = values(slow)
    model.to(dtype)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(1.0)
    hare = values(model)
    pair.after_step()
    assert pair.tortoise is slow
    for name, tensor in values(slow).items():
        if tensor.is_floating_point():
            assert tensor.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
            expected = 0.9 * start[name].double() + 0.1 * hare[name].double()
            torch.testing.assert_close(tensor.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a move needs a second device")
def test_a_move_is_followed() -> None:
    model = network()
    pair = HareTortoise(model, decay=0.9, reset_every=3)
    slow = pair.tortoise
    start = values(slow)
    model.to("cuda")
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(1.0)
    pair.after_step()
    assert pair.tortoise is slow
    assert {tensor.device.type for tensor in slow.state_dict().values()} == {"cuda"}
    torch.testing.assert_close(values(slow)["0.weight"].cpu(), start["0.weight"] + 0.1)
    pair.reset()
    assert same(model, slow)


class Counting(nn.Module):
    """Assigns its buffer anew in each forward, as some statistics do."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        self.mean = self.mean + inputs.mean().detach()
        out: Tensor = self.linear(inputs)
        return out


def test_a_buffer_assigned_anew_is_followed_at_each_step() -> None:
    model = Counting()
    optimizer = SGD(model.parameters(), lr=0.1)
    pair = HareTortoise(model, optimizer, decay=0.5)
    expected = torch.zeros((), dtype=torch.float64)
    for _ in steps(model, optimizer, 5):
        expected = 0.5 * expected + 0.5 * model.mean.double()
        torch.testing.assert_close(values(pair.tortoise)["mean"].double(), expected, rtol=1e-5, atol=1e-7)


def test_unfreezing_is_followed_where_nothing_is_shared() -> None:
    model = network()
    model[0].requires_grad_(False)
    pair = HareTortoise(model, decay=0.9)
    start = values(model)["0.weight"]
    model[0].requires_grad_(True)
    with torch.no_grad():
        model[0].weight.add_(1.0)
    pair.after_step()
    torch.testing.assert_close(values(pair.tortoise)["0.weight"], start + 0.1)


@pytest.mark.parametrize("moment", MOMENTS)
def test_unfreezing_what_is_shared_is_an_error(moment: str) -> None:
    model = network()
    model[0].requires_grad_(False)
    pair = HareTortoise(model, decay=0.9, share_frozen=True)
    model[0].requires_grad_(True)
    with pytest.raises(RuntimeError, match=r"unfrozen .*0\.weight"):
        MOMENTS[moment](pair)
    pair.rebind()
    hare, slow = values(model)["0.weight"], pair.tortoise.get_parameter("0.weight")
    assert torch.equal(hare, slow)
    assert slow is not model.get_parameter("0.weight")
    with torch.no_grad():
        model.get_parameter("0.weight").add_(1.0)
    pair.after_step()
    torch.testing.assert_close(slow.detach(), hare + 0.1)


def test_rebind_refuses_a_given_tortoise_that_does_not_match() -> None:
    model = network()
    pair = HareTortoise(model, tortoise=network(1))
    grow(model)
    with pytest.raises(ValueError, match=r"tortoise has other weights than the model .*3\.weight"):
        pair.rebind()


def test_loading_in_place_is_followed() -> None:
    model, other = network(), network(1)
    pair = HareTortoise(model, decay=0.0)
    model.load_state_dict(other.state_dict())
    pair.after_step()
    assert same(pair.tortoise, other)


def test_loading_by_assignment_is_an_error_in_time() -> None:
    model = network()
    pair = HareTortoise(model)
    model.load_state_dict(network(1).state_dict(), assign=True)
    with pytest.raises(RuntimeError, match="replaced"):
        pair.reset()
