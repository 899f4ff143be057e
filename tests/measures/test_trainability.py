"""The trainability probe against training written out, and what it leaves untouched."""

from __future__ import annotations

import copy
import importlib
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam

from hare_tortoise.measures.trainability import trainability
from hare_tortoise.methods import HareTortoise
from hare_tortoise.methods.support.randomness import seeded
from hare_tortoise.testing import Network
from tests.measures.untouched import in_training, untouched

# The package gives the function by the name of its file.
module = importlib.import_module("hare_tortoise.measures.trainability")
X = torch.randn(24, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
STEPS, LR = 30, 0.05


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3)).double()


def positions() -> nn.Module:
    """Classes at each of four positions."""
    return nn.Sequential(nn.Linear(6, 12), nn.Unflatten(1, (3, 4))).double()


def dead() -> nn.Module:
    """Its hidden units answer nothing to no input, so that only the last bias can learn."""
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3)).double()
    with torch.no_grad():
        model.get_parameter("0.bias").fill_(-100.0)
    return model


def sgd(parameters: list[nn.Parameter]) -> SGD:
    return SGD(parameters, lr=LR)


def written_out(network: nn.Module, labels: Tensor) -> float:
    """The oracle: gradient descent on all samples, without an optimizer."""
    network = copy.deepcopy(network)
    for _ in range(STEPS):
        loss = cross_entropy(network(X), labels)
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter.sub_(LR * gradient)
    return cross_entropy(network(X), labels).item()


def check_difference(probe: Callable[..., Tensor]) -> None:
    """Checkpoint minus fresh, from the fixed start of both."""
    torch.manual_seed(3)
    model, other = plain(), plain()
    labels = torch.randint(3, (24,), generator=torch.Generator().manual_seed(5))
    expected = written_out(model, labels) - written_out(other, labels)
    found = probe(model, lambda: copy.deepcopy(other), X, 3, steps=STEPS, seed=5, optimizer=sgd)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_difference() -> None:
    check_difference(trainability)


def other_sign(*args: Any, **settings: Any) -> Tensor:
    return -trainability(*args, **settings)


def one_step_less(*args: Any, **settings: Any) -> Tensor:
    return trainability(*args, **settings | {"steps": STEPS - 1})


@pytest.mark.parametrize("fault", [other_sign, one_step_less])
def test_faults_are_seen(fault: Callable[..., Tensor]) -> None:
    with pytest.raises(AssertionError):
        check_difference(fault)


def test_a_network_that_cannot_learn_is_told_from_one_that_can() -> None:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"steps": 200, "optimizer": lambda p: Adam(p, lr=0.01)}
    broken = trainability(dead(), None, X, 3, **settings).item()
    healthy = trainability(plain(), None, X, 3, **settings).item()
    assert broken > 0.5
    assert abs(healthy) < 0.2


def test_the_fresh_network_itself_differs_by_nothing() -> None:
    torch.manual_seed(0)
    model = Network().double()
    twin = copy.deepcopy(model)
    assert trainability(model, lambda: copy.deepcopy(twin), X, 3, steps=20, batch_size=7).item() == 0.0


def test_batches_are_shuffled_and_the_seed_alone_decides() -> None:
    model, fresh = plain(), plain()

    def probe(seed: int, batch_size: int | None = None) -> float:
        return trainability(
            model, lambda: copy.deepcopy(fresh), X, 3, steps=10, seed=seed, batch_size=batch_size
        ).item()

    first = probe(0, 8)
    torch.rand(3)
    assert probe(0, 8) == first
    assert len({first, probe(1, 8), probe(0), probe(0, 9)}) == 4


def test_each_pass_is_over_all_samples() -> None:
    batches = list(module._batches(10, 4, 6, torch.Generator().manual_seed(0)))
    assert [len(batch) for batch in batches] == [4] * 6
    for number in (0, 2, 4):
        assert len(set(batches[number].tolist() + batches[number + 1].tolist())) == 8
    assert batches[0].tolist() != batches[2].tolist()


def check_untouched() -> None:
    """A method at work on the model in train mode, with a hook in each layer, gradients and an optimizer's state."""
    model = in_training().train()
    optimizer = Adam([p for p in model.parameters() if p.requires_grad], lr=0.1)
    pair = HareTortoise(model, optimizer, reset_every=2)
    optimizer.step()
    tortoise = copy.deepcopy(pair.state_dict())
    before = copy.deepcopy(optimizer.state_dict())
    with untouched(model), torch.no_grad():
        trainability(model, lambda: Network().double(), X, 3, steps=3)
    after = optimizer.state_dict()
    for name, state in before["state"].items():
        for key, value in state.items():
            assert torch.equal(value, after["state"][name][key])
    assert str(pair.state_dict()) == str(tortoise)


def test_the_model_is_untouched() -> None:
    check_untouched()


def with_its_hooks(model: nn.Module) -> nn.Module:
    """A fault of the official code: hooks of the copy act on the original."""
    return copy.deepcopy(model).requires_grad_()


def itself(model: nn.Module) -> nn.Module:
    return model


@pytest.mark.parametrize("fault", [with_its_hooks, itself])
def test_a_copy_that_acts_on_the_original_is_seen(
    fault: Callable[[nn.Module], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_copy", fault)
    with pytest.raises(AssertionError):
        check_untouched()


def test_drawing_from_the_global_state_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the official code: evaluation moves the random numbers of training."""
    original: Callable[..., Tensor] = module.trainability

    def drawing(*args: Any, **settings: Any) -> Tensor:
        torch.rand(1)
        return original(*args, **settings)

    monkeypatch.setitem(check_untouched.__globals__, "trainability", drawing)
    with pytest.raises(AssertionError, match="torch"):
        check_untouched()


def test_frozen_parameters_stay_frozen_in_both() -> None:
    model = plain()
    model.get_submodule("0").requires_grad_(False)
    asked: list[int] = []

    def counting(parameters: list[nn.Parameter]) -> SGD:
        asked.append(sum(parameter.numel() for parameter in parameters))
        return SGD(parameters, lr=0.1)

    trainability(model, None, X, 3, steps=1, optimizer=counting)
    assert asked == [39, 39]


def test_dropout_draws_the_same_in_both() -> None:
    with seeded(0):
        model = nn.Sequential(nn.Linear(6, 12), nn.Dropout(0.5), nn.Linear(12, 3)).double()
    twin = copy.deepcopy(model)
    assert trainability(model, lambda: copy.deepcopy(twin), X, 3, steps=5).item() == 0.0


def test_half_precision_is_fitted_in_float32() -> None:
    model = plain().to(torch.bfloat16)
    found = trainability(model, None, X.to(torch.bfloat16), 3, steps=3)
    assert found.dtype == torch.float32
    assert math.isfinite(found.item())


@pytest.mark.parametrize(
    ("settings", "error", "complaint"),
    [
        ({"outputs": 1}, ValueError, "outputs is 1, expected at least 2"),
        ({"outputs": 4}, ValueError, r"shape \(1, 3\), expected \(1, classes\) with at least 4"),
        (
            {"model": positions(), "fresh": positions},
            ValueError,
            r"shape \(1, 3, 4\), expected \(1, classes\): one label",
        ),
        ({"model": positions().float(), "fresh": positions}, ValueError, r"inputs are of torch\.float64"),
        ({"steps": 0}, ValueError, "steps is 0"),
        ({"batch_size": 25}, ValueError, "batch_size is 25, expected from 1 to the 24 samples"),
        ({"batch_size": 0}, ValueError, "batch_size is 0"),
        ({"inputs": X[:0]}, ValueError, "inputs holds no sample"),
        ({"fresh": Network}, ValueError, "the new network has no"),
        ({"fresh": plain()}, TypeError, "expected a function"),
        ({"model": plain().requires_grad_(False)}, ValueError, "nothing to train"),
    ],
)
def test_bad_input(settings: dict[str, Any], error: type[Exception], complaint: str) -> None:
    given: dict[str, Any] = {
        "model": plain(),
        "fresh": plain,
        "inputs": X,
        "outputs": 3,
        "steps": 1,
    } | settings
    with pytest.raises(error, match=complaint):
        trainability(**given)
