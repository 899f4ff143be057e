"""C-CHAIN against a plain loop that keeps whole earlier networks, as the authors do."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from hare_tortoise.methods import CChain, Chain, Change, HareTortoise, L2Init
from hare_tortoise.testing import Network, Run, batch

STEPS = 12


def kl(now: Tensor, before: Tensor) -> Tensor:
    p, q = before.softmax(1), now.softmax(1)
    return (p * (p.log() - q.log())).sum(1).mean()


def entropy(now: Tensor, before: Tensor) -> Tensor:
    return -(before.softmax(1) * now.softmax(1).log()).sum(1).mean()


ORACLES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "kl": kl,
    "cross_entropy": entropy,
    "mse": mse_loss,
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return Network().double()


def answers(model: nn.Module, inputs: Tensor) -> Tensor:
    """In eval mode, on a copy whose buffers nobody misses."""
    model.eval()
    outputs: Tensor = model(inputs)
    model.train()
    return outputs


def by_copies(
    distance: str, history: int, ratio: float | None, strength: float, warmup: int, window: int
) -> tuple[list[float], dict[str, Tensor]]:
    """The penalties of each step, and the weights in the end."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    networks = [copy.deepcopy(model)]
    seen: list[Tensor] = []
    losses: list[float] = []
    churns: list[float] = []
    penalties = []
    for number in range(STEPS):
        inputs, targets = batch(number, torch.float64)
        loss = cross_entropy(model(inputs), targets)
        penalty = torch.zeros((), dtype=torch.float64)
        if number > history:
            reference = seen[number - history - 1]
            with torch.no_grad():
                before = answers(networks[-1 - history], reference)
            churn = ORACLES[distance](answers(model, reference), before)
            coefficient = strength
            if ratio is not None and len(losses) >= warmup:
                coefficient = float(
                    ratio * np.mean(np.abs(losses[-window:])) / (np.mean(churns[-window:]) + 1e-8)
                )
            penalty = coefficient * churn
            losses.append(loss.item())
            churns.append(churn.item())
        optimizer.zero_grad()
        (loss + penalty).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        penalties.append(penalty.item())
        networks.append(copy.deepcopy(model))
        seen.append(inputs)
    return penalties, dict(model.state_dict())


def check_loop(kind: type[CChain] = CChain, **settings: Any) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    defaults: dict[str, Any] = {
        "distance": "kl",
        "history": 1,
        "ratio": 0.5,
        "strength": 2.0,
        "warmup": 3,
        "window": 4,
    }
    settings = defaults | settings
    method = kind(model, optimizer, **settings)
    penalties = []
    for number in range(STEPS):
        inputs, targets = batch(number, torch.float64)
        outputs = model(inputs)
        penalty = method.penalty(inputs, outputs, targets)
        optimizer.zero_grad()
        (cross_entropy(outputs, targets) + penalty).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        penalties.append(penalty.item())
    expected, weights = by_copies(**settings)
    assert penalties == pytest.approx(expected, rel=1e-8, abs=1e-13)
    assert sum(value > 0 for value in penalties) == STEPS - settings["history"] - 1
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=1e-8, atol=1e-10, msg=name)


@pytest.mark.parametrize("distance", ORACLES)
@pytest.mark.parametrize("history", [1, 3])
@pytest.mark.parametrize("ratio", [None, 0.5])
def test_it_is_what_a_loop_over_copies_gives(distance: str, history: int, ratio: float | None) -> None:
    check_loop(distance=distance, history=history, ratio=ratio)


class OnTheTrainingBatch(CChain):
    """Looks at what a step changes on the very batch that it was made on."""

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        self.before = [(inputs, self._answers(inputs).detach())]
        return super().penalty(inputs, outputs, targets)

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        super().after_step(skipped)
        self._references = [self.before] * len(self._references)


class OneStepLate(CChain):
    """Compares the network with itself: the authors' index 1."""

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        super().after_step(skipped)
        with torch.no_grad():
            self._references = [[(x, self._answers(x)) for x, _ in parts] for parts in self._references]


class FillsStatistics(CChain):
    """Answers in train mode, by the statistics of the batch, which it adds to the running ones."""

    def _answers(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.model(inputs)
        return outputs


class Forgetful(CChain):
    """Knows the last values only."""

    def _strength(self) -> float | Tensor:
        self._means.window = 1
        return super()._strength()


@pytest.mark.parametrize("kind", [OnTheTrainingBatch, OneStepLate, FillsStatistics, Forgetful])
def test_faults_are_seen(kind: type[CChain]) -> None:
    with pytest.raises(AssertionError):
        check_loop(kind)


def test_the_mean_over_classes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hare_tortoise.methods.c_chain.mean_of_class_sums", lambda values: values.mean())
    with pytest.raises(AssertionError):
        check_loop(ratio=None)


def started(**settings: Any) -> tuple[CChain, nn.Module]:
    """A method with references, on a network that has moved since."""
    model = network()
    method = CChain(model, **({"ratio": None} | settings))
    for number in range(2):
        inputs, targets = batch(number, torch.float64)
        method.penalty(inputs, model(inputs), targets)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1)
        method.after_step()
    return method, model.eval()


def value(method: CChain, model: nn.Module) -> float:
    inputs, targets = batch(9, torch.float64)
    return method.penalty(inputs, model(inputs), targets).item()


def test_new_data_and_a_new_network_begin_anew_and_a_partial_change_does_not() -> None:
    method, model = started()
    before = value(method, model)
    assert before > 0
    method.weights_changed(Change(lambda weights: None))
    assert value(method, model) == before
    method.weights_changed(Change(lambda weights: None, whole=True))
    assert value(method, model) == 0.0
    method, model = started(ratio=1.0, warmup=1)
    value(method, model)
    method.after_step()
    assert method._means.count.item() == 1
    method.new_data()
    assert value(method, model) == 0.0
    assert method._means.count.item() == 0


def test_what_is_asked_under_no_grad_is_not_kept() -> None:
    method, model = started()
    with torch.no_grad():
        for _ in range(3):
            value(method, model)
    assert method._inputs == []


def test_inputs_may_be_overwritten_in_place() -> None:
    model = network()
    method = CChain(model, ratio=None)
    inputs, targets = batch(0, torch.float64)
    first = inputs.clone()
    method.penalty(inputs, model(inputs), targets)
    inputs.zero_()
    method.after_step()
    assert torch.equal(method._references[0][0][0], first)


def test_a_step_that_was_skipped_does_not_count() -> None:
    method, model = started(ratio=1.0, warmup=1)
    value(method, model)
    kept = [parts[0][0] for parts in method._references]
    method.after_step(True)
    assert all(a is b for a, b in zip(kept, (p[0][0] for p in method._references), strict=True))
    value(method, model)
    method.after_step(torch.tensor(1.0))
    assert method._means.count.item() == 0
    value(method, model)
    method.after_step(torch.tensor(0.0))
    assert method._means.count.item() == 1


def test_dropout_is_off_and_draws_nothing() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5), nn.Linear(4, 3))
    method = CChain(model, ratio=None)
    for number in range(2):
        inputs, targets = batch(number)
        outputs = model(inputs)
        state = torch.get_rng_state()
        method.penalty(inputs, outputs, targets)
        method.after_step()
        assert torch.equal(torch.get_rng_state(), state)
    assert method.penalty(inputs, outputs, targets).item() == 0.0
    assert model[1].training


def test_under_autocast_like_is_compared_with_like() -> None:
    model = nn.Sequential(nn.Linear(6, 16), nn.Linear(16, 3))
    method = CChain(model, ratio=None, strength=1e6)
    for number in range(3):
        inputs, targets = batch(number)
        with torch.autocast("cpu", torch.bfloat16):
            penalty = method.penalty(inputs, model(inputs), targets)
        method.after_step()
    # Nothing was trained: answers rounded otherwise would differ.
    assert penalty.item() == 0.0


def test_regression_has_its_own_loss_and_distance() -> None:
    model = nn.Linear(6, 1)
    method = CChain(model, ratio=0.5, warmup=1, distance="mse")
    for number in range(4):
        inputs, _ = batch(number)
        targets = torch.full((8, 1), 3.0)
        outputs = model(inputs)
        penalty = method.penalty(inputs, outputs, targets)
        with torch.no_grad():
            model.weight.add_(0.1)
        method.after_step()
    assert penalty.item() > 0
    given = CChain(nn.Linear(6, 1), distance="mse", loss=lambda outputs, targets: -outputs.mean())
    assert given._loss(torch.full((2, 1), 5.0), torch.zeros(2, 1)).item() == 5.0


def test_inputs_that_do_not_fit_are_refused() -> None:
    method, model = started()
    inputs, _ = batch(0, torch.float64)
    with pytest.raises(ValueError, match=r"targets is None, but ratio= needs the loss"):
        CChain(model).penalty(inputs, model(inputs))
    with pytest.raises(ValueError, match=r"one class, expected two or more for distance 'kl'"):
        CChain(nn.Linear(6, 1), ratio=None).penalty(inputs, torch.zeros(8, 1))
    model.head = nn.Linear(8, 4).double()
    with pytest.raises(RuntimeError, match=r"have shape \(8, 4\), but had \(8, 3\): call new_data\(\)"):
        method.penalty(inputs, model(inputs))


def test_a_state_of_other_settings_is_refused() -> None:
    method, model = started(history=2, window=5)
    for history, window in ((1, 5), (2, 6)):
        with pytest.raises(ValueError, match=r"is \d, but the state was saved with"):
            CChain(model, history=history, window=window).load_state_dict(method.state_dict())


def test_beside_hare_and_tortoise() -> None:
    """The tortoise is what the resets make of it; a reset is churn like any other change."""

    def build(model: nn.Module, optimizer: torch.optim.Optimizer) -> Chain:
        pair = HareTortoise(model, decay=0.5, reset_every=3)
        churn = CChain(model, ratio=None, strength=5.0)
        return Chain(pair, churn, L2Init(model, strength=0.01), optimizer=optimizer)

    run = Run.start(build).train()
    assert isinstance(run.method, Chain)
    pair = run.method.members[0]
    assert isinstance(pair, HareTortoise)
    assert run.method.deployed is pair.tortoise
    for name, tensor in run.model.named_parameters():
        torch.testing.assert_close(tensor, pair.tortoise.get_parameter(name))


SKIPS = {
    "fused": lambda method: method.after_step(
        torch.tensor(1.0)
    ),  # the scaler steps, and says that it skipped
    "unfused": lambda method: None,  # the optimizer is not stepped at all
}


@pytest.mark.parametrize("skip", SKIPS.values(), ids=SKIPS)
@pytest.mark.parametrize("distance", ORACLES)
@pytest.mark.parametrize("broken", [math.inf, math.nan])
def test_a_batch_with_answers_that_are_not_finite_gives_no_penalty(
    skip: Callable[[CChain], None], distance: str, broken: float
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    method = CChain(model, strength=1.0, distance=distance, ratio=1.0, warmup=1)  # type: ignore[arg-type]
    values = []
    for number in range(8):
        inputs, targets = batch(number, torch.float64)
        if number == 2:
            inputs[0, 0] = broken
        model.zero_grad()
        penalty = method.penalty(inputs, model(inputs), targets)
        if penalty.requires_grad:
            penalty.backward()  # type: ignore[no-untyped-call]
        assert penalty.isfinite()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
        values.append(penalty.item())
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.01)
        if number == 2:
            skip(method)
        else:
            method.after_step()
    # The first two have no reference yet, and one has the broken batch.
    assert [value > 0 for value in values].count(False) == 3
    assert values[-1] > 0
    # Of a distance that was not known the means know nothing.
    count = int(method._means.count)
    assert method._means._values is not None
    assert (method._means._values[:, :count] > 0).all()
    assert 3 <= count <= 4


def test_soft_labels_are_measured_by_cross_entropy() -> None:
    outputs = torch.randn(4, 3)
    targets = torch.randn(4, 3).softmax(1)
    for distance, loss in (("kl", cross_entropy), ("cross_entropy", cross_entropy), ("mse", mse_loss)):
        method = CChain(nn.Linear(2, 3), distance=distance)  # type: ignore[arg-type]
        torch.testing.assert_close(method._loss(outputs, targets), loss(outputs, targets))


def test_without_a_step_what_is_kept_does_not_grow_on() -> None:
    method, model = started(ratio=1.0)
    for _ in range(100):
        value(method, model)
    assert len(method._inputs) == len(method._seen) == len(method._given) == 64


def test_a_closure_that_is_called_twice_gives_one_reference() -> None:
    model = network()
    method = CChain(model, ratio=None)
    parts = [batch(number, torch.float64) for number in range(2)]
    for inputs, targets in (*parts, *parts):
        method.penalty(inputs, model(inputs), targets)
    method.after_step()
    (kept,) = method._references
    assert [torch.equal(x, inputs) for (x, _), (inputs, _) in zip(kept, parts, strict=True)] == [True, True]
    # Other values in the same tensor are another batch.
    for _ in range(2):
        method.penalty(inputs.add_(1.0), model(inputs), targets)
    method.after_step()
    assert [len(kept) for kept in method._references] == [2, 2]
