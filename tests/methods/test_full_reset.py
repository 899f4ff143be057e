"""Full reset: after every k-th step that counts all weights are those of a fresh network, and the optimizer is new."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adagrad, AdamW, NAdam, Optimizer, RMSprop

from hare_tortoise.methods import Chain, FullReset, HareTortoise, Method
from hare_tortoise.methods.support.every import Every
from hare_tortoise.methods.support.names import named_weights
from hare_tortoise.testing import Network, Run, batch

OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "SGD": lambda parameters: SGD(parameters, lr=0.1, momentum=0.9),
    "AdamW": lambda parameters: AdamW(parameters, lr=0.01),
    "NAdam": lambda parameters: NAdam(parameters, lr=0.01),
    "RMSprop": lambda parameters: RMSprop(parameters, lr=0.01, centered=True),
    "Adagrad": lambda parameters: Adagrad(parameters, lr=0.01, initial_accumulator_value=0.1),
}


def copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(model: nn.Module, weights: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def check_resets(kind: type[FullReset] = FullReset) -> None:
    """Nothing but the training until step 3; then, and at step 6, each tensor is that of another new network."""
    built: list[nn.Module] = []

    def fresh() -> nn.Module:
        built.append(Network().double())
        return built[-1]

    run = Run.start(lambda model, optimizer: kind(model, optimizer, every=3, fresh=fresh))
    plain = Run.start(Method)
    pointers = [tensor.data_ptr() for tensor in named_weights(run.model).values()]
    for step in range(2):
        run.train(step, step + 1)
        plain.train(step, step + 1)
        assert same(run.model, copies(plain.model)), step
    for time in (1, 2):
        run.train(3 * time - 1, 3 * time)
        assert len(built) == time
        for name, theta in run.model.state_dict().items():
            assert torch.equal(theta, built[-1].state_dict()[name].to(theta.dtype)), name
        phi = copies(built[-1])
        run.train(3 * time, 3 * time + 2)
        assert same(built[-1], phi)
    assert pointers == [tensor.data_ptr() for tensor in named_weights(run.model).values()]
    assert not torch.equal(built[0].state_dict()["head.weight"], built[1].state_dict()["head.weight"])


class IntoACopy(FullReset):
    """Writes to an indexed copy."""

    def _renew(self) -> None:
        phi = self.fresh() if self.fresh else Network()
        for name, theta in self.model.state_dict().items():
            if theta.ndim:
                theta.data[torch.arange(len(theta))].copy_(phi.state_dict()[name])


class BuffersStay(FullReset):
    """Leaves the statistics of the old network, as the official code does."""

    def _renew(self) -> None:
        kept = {name: tensor.clone() for name, tensor in self.model.named_buffers()}
        super()._renew()
        for name, tensor in self.model.named_buffers():
            tensor.copy_(kept[name])


class AfterTheFirst(FullReset):
    """Counts from zero, so that the first reset comes after the first step."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._every.restart(2)


class SharesStorage(FullReset):
    """Puts the tensors of the new network into the model."""

    def _renew(self) -> None:
        phi = self.fresh() if self.fresh else Network()
        for name, theta in named_weights(self.model).items():
            theta.data = named_weights(phi)[name].data.to(theta.dtype)


def test_resets() -> None:
    check_resets()


@pytest.mark.parametrize("kind", [IntoACopy, BuffersStay, AfterTheFirst, SharesStorage])
def test_faults_are_seen(kind: type[FullReset]) -> None:
    with pytest.raises(AssertionError):
        check_resets(kind)


def steps(model: nn.Module, optimizer: Optimizer, first: int, last: int) -> None:
    for number in range(first, last):
        inputs, targets = batch(number)
        optimizer.zero_grad()
        cross_entropy(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def check_new_optimizer(name: str, state: Literal["keep", "reset"] = "reset") -> None:
    """The steps after the reset are bit for bit those of a new optimizer on the new network."""
    model = Network()
    optimizer = OPTIMIZERS[name](model.parameters())
    FullReset(model, optimizer, every=4, optimizer_state=state)
    steps(model, optimizer, 0, 4)
    twin = copy.deepcopy(model)
    steps(model, optimizer, 4, 7)
    steps(twin, OPTIMIZERS[name](twin.parameters()), 4, 7)
    assert same(model, copies(twin))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizer_is_as_new(name: str) -> None:
    check_new_optimizer(name)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fault_surviving_moments_are_seen(name: str) -> None:
    with pytest.raises(AssertionError):
        check_new_optimizer(name, "keep")


def test_skipped_steps_do_not_count() -> None:
    every = Every(2)
    skips: list[Any] = [None, True, torch.tensor(1.0), torch.tensor(True), torch.tensor(0.0), False, None]
    assert [every.due(skip) for skip in skips] == [False, False, False, False, True, False, True]
    assert every.steps == 4
    every.restart(5)
    assert [every.due(), every.due(), every.due()] == [True, False, True]


def test_skipped_steps_of_the_method_do_not_count() -> None:
    method = FullReset(Network(), every=2, optimizer_state="keep")
    before = copies(method.model)
    for skipped in (True, None, torch.tensor(1.0), torch.tensor(True)):
        method.after_step(skipped)
    assert method.steps == 1
    assert same(method.model, before)
    method.after_step(torch.tensor(0.0))
    assert not same(method.model, before)


def test_new_data_does_nothing() -> None:
    run = Run.start(lambda model, optimizer: FullReset(model, optimizer, every=100))
    before = copies(run.model)
    run.method.new_data()
    assert same(run.model, before)


def check_tortoise_begins_anew(averages: Literal["follow", "keep"] = "follow") -> None:
    """The tortoise is the new network, its counts start at zero, and no reset of the hare brings the old one back."""
    model = Network()
    optimizer = SGD(model.parameters(), lr=0.0)
    pair, full = HareTortoise(model, decay=0.9, reset_every=3), FullReset(model, every=4)
    Chain(pair, full, optimizer=optimizer, averages=averages)
    steps(model, optimizer, 0, 4)
    new = {
        name: value for name, value in copies(model).items() if "running" not in name and "num" not in name
    }
    assert pair.steps == (0 if averages == "follow" else 4)
    steps(model, optimizer, 4, 7)
    for name, value in new.items():
        torch.testing.assert_close(model.state_dict()[name], value)
        torch.testing.assert_close(pair.tortoise.state_dict()[name], value)


def test_tortoise_begins_anew() -> None:
    check_tortoise_begins_anew()


def test_fault_tortoise_of_the_old_network_is_seen() -> None:
    with pytest.raises(AssertionError):
        check_tortoise_begins_anew("keep")


def test_the_count_is_a_part_of_the_state() -> None:
    method, other = (FullReset(Network(), every=3, optimizer_state="keep") for _ in range(2))
    method.after_step()
    method.after_step()
    other.load_state_dict(method.state_dict())
    before = copies(other.model)
    other.after_step()
    assert not same(other.model, before)
    with pytest.raises(ValueError, match="state lacks 'steps'"):
        other.load_state_dict({"generator": method.generator.get_state()})
