"""Every method keeps the contract: the checks that are public, and those that need more than one method."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import hare_tortoise
from hare_tortoise import methods
from hare_tortoise.methods import Change, HareTortoise, L2Init, Method
from hare_tortoise.testing import CHECKS, Network, Run, batch, check_method
from tests.contract.row import Bad, Row, optimizers
from tests.contract.rows import ROWS

pytestmark = [
    # In the network with a tied weight the two layers that share it have no units that could be reset alone.
    pytest.mark.filterwarnings(r"ignore:\w+ leaves alone the units of body:UserWarning"),
    # A watched network is compiled in parts, and torch looks for the gradient of what goes from one to the next. It
    # keeps the warning from being shown, but not from being an error.
    pytest.mark.filterwarnings(r"ignore:The \.grad attribute of a Tensor that is not a leaf:UserWarning"),
]

SINGLE = [row for row in ROWS if row.kind is not methods.Chain]


def named(rows: list[Row]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.name)


# Compiling takes longer than all other checks together; `make test-slow` does it.
TIMED = [
    pytest.param(check, id=name, marks=pytest.mark.slow if name == "compile" else ())
    for name, check in CHECKS.items()
]


@named(ROWS)
@pytest.mark.parametrize("check", TIMED)
def test_contract(check: Callable[[Any], None], row: Row) -> None:
    check(row.build)


def test_no_method_is_left_out() -> None:
    public = [getattr(methods, name) for name in methods.__all__]
    kinds = {kind for kind in public if isinstance(kind, type) and issubclass(kind, Method)} - {Method}
    assert kinds == {row.kind for row in ROWS}
    assert {kind.__name__ for kind in kinds} <= set(hare_tortoise.__all__)


@named([row for row in SINGLE if row.neutral is not None])
def test_neutral_settings_change_nothing(row: Row) -> None:
    run = Run.start(lambda model, optimizer: row.build(model, optimizer, **(row.neutral or {}))).train()
    plain = Run.start(Method).train()
    for name, value in plain.model.state_dict().items():
        assert torch.equal(run.model.state_dict()[name], value), name


@named([row for row in SINGLE if row.neutral or row.kind in (methods.FromScratch, methods.HeadReset)])
def test_other_settings_change_something(row: Row) -> None:
    """Or else the test above could not fail."""
    run, plain = Run.start(row.build).train(), Run.start(Method).train()
    assert any(
        not torch.equal(run.model.state_dict()[name], value)
        for name, value in plain.model.state_dict().items()
    )


BAD = [
    # Without the addresses of functions: all processes that share the tests must know them by the same names.
    pytest.param(row, bad, id=re.sub(" at 0x[0-9a-f]+", "", f"{row.name}-{bad.settings}"))
    for row in SINGLE
    for bad in row.bad
]


@pytest.mark.parametrize(("row", "bad"), BAD)
def test_bad_input_is_refused(row: Row, bad: Bad) -> None:
    model = Network()
    if bad.when == "build":
        with pytest.raises(bad.kind, match=bad.message):
            row.build(model, None, **bad.settings)
        return
    method = row.build(model, None, **bad.settings)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(bad.kind, match=bad.message):
        method.new_data() if bad.when == "new_data" else method.after_step()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


@named(SINGLE)
def test_a_refused_method_leaves_no_hook(row: Row) -> None:
    for bad in row.bad:
        if bad.when == "build":
            model = Network()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            with pytest.raises(bad.kind, match=bad.message):
                row.build(model, optimizer, **bad.settings)
            assert len(optimizer._optimizer_step_post_hooks) == 0


@named(SINGLE)
def test_what_no_method_takes(row: Row) -> None:
    model = Network()
    stranger = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    half = torch.optim.SGD(model.head.parameters(), lr=0.1)
    with pytest.raises(TypeError, match=r"model is a int, expected a torch\.nn\.Module"):
        row.build(3)
    with pytest.raises(ValueError, match=r"model \(ReLU\) has no parameters"):
        row.build(nn.ReLU())
    with pytest.raises(ValueError, match=r"optimizer \(SGD\) holds no parameter of the model"):
        row.build(model, stranger)
    with pytest.raises(ValueError, match=r"optimizer misses body\.0\.weight"):
        row.build(model, half)
    with pytest.raises(TypeError, match=r"optimizer is .*expected a torch\.optim\.Optimizer"):
        row.build(model, [3])
    with pytest.raises(TypeError, match="unheard_of"):
        row.build(model, None, unheard_of=1)


def drawn(row: Row, seed: int) -> tuple[bool, dict[str, Tensor]]:
    """Whether a method draws at new data, and the weights then."""
    run = Run.start(lambda model, optimizer: row.build(model, optimizer, seed=seed))
    before = run.method.generator.get_state()
    run.method.new_data([batch(0)], loss=cross_entropy)
    return not torch.equal(run.method.generator.get_state(), before), run.weights()


@named(SINGLE)
def test_another_seed_draws_otherwise(row: Row) -> None:
    (draws, weights), (_, again), (_, others) = (drawn(row, seed) for seed in (1, 1, 2))
    assert draws == row.draws
    assert all(torch.equal(again[name], value) for name, value in weights.items())
    assert any(not torch.equal(others[name], value) for name, value in weights.items()) is draws


@named(ROWS)
def test_states_of_others_are_refused(row: Row) -> None:
    method = row.build(Network())
    with pytest.raises(ValueError, match="state"):
        method.load_state_dict({"weights": 1})
    state = method.state_dict()
    if holds_weights(state):
        with pytest.raises(ValueError, match=r"head\.weight"):
            row.build(OtherHead()).load_state_dict(state)


class OtherHead(Network):
    """As `Network`, with another number of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 5)


def holds_weights(state: Any) -> bool:
    if isinstance(state, dict):
        return any("head.weight" in str(key) or holds_weights(value) for key, value in state.items())
    return isinstance(state, list | tuple) and any(map(holds_weights, state))


@named(ROWS)
def test_several_optimizers_are_as_one(row: Row) -> None:
    """AdamW treats each element alone, so that two which share the parameters do what one does."""
    one = Run.start(row.build)
    model = copy.deepcopy(one.model)
    method = row.build(model, optimizers(model))
    torch.manual_seed(0)
    one.train(last=3)
    several = optimizers(model)
    method.attach(several)
    for number in range(3):
        inputs, targets = batch(number)
        model.zero_grad()
        outputs = model(inputs)
        loss = cross_entropy(outputs, targets)
        if method.adds_penalty:
            loss = loss + method.penalty(inputs, outputs, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in several:
            optimizer.step()
    for name, value in one.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    for name, value in one.method.deployed.state_dict().items():
        assert torch.equal(method.deployed.state_dict()[name], value), name


class KeepsNothing(HareTortoise):
    """Forgets its count of steps when it is saved."""

    def state_dict(self) -> dict[str, Any]:
        return HareTortoise(self.model, decay=0.9, reset_every=2).state_dict()


class DrawsGlobally(Method):
    """Adds noise from the global generator."""

    @torch.no_grad()
    def new_data(self, *_: Any, **__: Any) -> None:
        for parameter in self.model.parameters():
            parameter.add_(torch.randn_like(parameter))


class Replaces(Method):
    """Puts new parameters into the model."""

    def new_data(self, *_: Any, **__: Any) -> None:
        assert isinstance(self.model, Network)
        self.model.head.weight = nn.Parameter(self.model.head.weight.detach().double())


class CountsBatches(L2Init):
    """Acts at each call of the penalty, which is once a batch and not once a step."""

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        self.strength *= 2
        return super().penalty(inputs, outputs, targets)


class WithoutGradient(L2Init):
    """Adds a number where it should add a function of the weights."""

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        return super().penalty(inputs, outputs, targets).detach()


class StaysHooked(HareTortoise):
    """Cannot be detached."""

    def detach(self) -> None:
        """Do nothing."""


class Unties(Method):
    """Gives each layer a weight of its own."""

    def new_data(self, *_: Any, **__: Any) -> None:
        for module in self.model.modules():
            if isinstance(module, nn.Linear):
                module.weight = nn.Parameter(module.weight.detach().clone())


class IgnoresSkips(Method):
    """Acts on steps that were not taken."""

    @torch.no_grad()
    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        for parameter in self.model.parameters():
            parameter.mul_(0.99)


class ShrinksInSilence(Method):
    """Does not say that it has changed the weights."""

    @torch.no_grad()
    def new_data(self, *_: Any, **__: Any) -> None:
        for parameter in self.model.parameters():
            parameter.mul_(0.5)


class TellsAnother(Method):
    """Says that it has done something else."""

    @torch.no_grad()
    def new_data(self, *_: Any, **__: Any) -> None:
        for parameter in self.model.parameters():
            parameter.mul_(0.5)
        self.changed(Change(lambda weights: torch._foreach_mul_(list(weights.values()), 0.6)))


class KnowsAdam(Method):
    """Reads what Adam keeps, whatever the optimizer."""

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        for optimizer in self.optimizers:
            for state in optimizer.state.values():
                assert state["exp_avg"].isfinite().all()


@pytest.mark.parametrize(
    ("check", "build"),
    [
        ("skipped step", IgnoresSkips),
        ("changes are told", ShrinksInSilence),
        ("changes are told", TellsAnother),
        ("other optimizers", KnowsAdam),
        ("resume", lambda m, o: KeepsNothing(m, o, decay=0.9, reset_every=2)),
        ("global random states", DrawsGlobally),
        ("dtypes and shapes", Replaces),
        ("accumulation", lambda m, o: CountsBatches(m, o, strength=0.01)),
        ("penalty", lambda m, o: WithoutGradient(m, o, strength=0.1)),
        ("detach", lambda m, o: StaysHooked(m, o, decay=0.9)),
        ("tied weights", Unties),
    ],
)
def test_a_method_that_breaks_the_contract_is_seen(check: str, build: Callable[..., Method]) -> None:
    with pytest.raises((AssertionError, RuntimeError, ValueError, KeyError)):
        CHECKS[check](build)
    with pytest.raises((AssertionError, RuntimeError, ValueError, KeyError)):
        check_method(build)
