"""The contract of a method, to be checked from any test suite.

A method from your own package keeps the contract if this passes:

    from hare_tortoise.testing import check_method

    def test_contract():
        check_method(lambda model, optimizer: MyMethod(model, optimizer, strength=0.1))
"""

from __future__ import annotations

import copy
import io
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adagrad, AdamW, Optimizer

from .methods import Chain, Change, Method
from .methods.support.names import named_weights
from .methods.support.randomness import seeded

Build = Callable[[nn.Module, Optimizer], Method]
_STEPS = 9
_NEW_DATA = (3, 6)


class Network(nn.Module):
    """The network that methods are checked on: 6 inputs, 3 outputs, with BatchNorm, LayerNorm and a `head`."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.LayerNorm(8))
        self.head = nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        """Answer a batch."""
        outputs: Tensor = self.head(self.body(inputs))
        return outputs


class TiedNetwork(nn.Module):
    """A network without buffers, two layers of which share their weight, with activations that are functions."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 6)
        self.middle = nn.Linear(6, 6)
        self.middle.weight = self.body.weight
        self.last = nn.Linear(6, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        """Answer a batch."""
        features = torch.tanh(self.middle(torch.tanh(self.body(inputs))))
        outputs: Tensor = self.head(torch.tanh(self.last(features)))
        return outputs


@dataclass
class Run:
    """A model in training with its optimizer and method."""

    model: nn.Module
    optimizer: Optimizer
    method: Method

    @classmethod
    def start(cls, build: Build, network: Callable[[], nn.Module] = Network, *, seed: int = 0) -> Run:
        """Build a network from a seed, an AdamW and the method."""
        with seeded(seed):
            model = network()
        optimizer = _optimizer(model)
        return cls(model, optimizer, build(model, optimizer))

    def train(self, first: int = 0, last: int = _STEPS, *, parts: int = 1) -> Run:
        """Train from step `first` to before `last`; each batch in `parts`, whose gradients are accumulated."""
        reference = next(self.model.parameters())
        for number in range(first, last):
            inputs, targets = batch(number, reference.dtype)
            if number in _NEW_DATA:
                self.new_data()
            self.optimizer.zero_grad()
            for x, y in zip(inputs.chunk(parts), targets.chunk(parts), strict=True):
                outputs = self.model(x)
                loss = cross_entropy(outputs, y)
                if self.method.adds_penalty:
                    loss = loss + self.method.penalty(x, outputs, y)
                (loss / parts).backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return self

    def new_data(self) -> None:
        """Tell the method that the data has changed, build a new optimizer and attach it."""
        batches = [batch(number, next(self.model.parameters()).dtype) for number in range(2)]
        self.method.new_data(batches, loss=cross_entropy, steps=_STEPS)
        self.optimizer = _optimizer(self.model)
        self.method.attach(self.optimizer)

    def state(self) -> dict[str, Any]:
        """Everything that a checkpoint holds."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "method": self.method.state_dict(),
        }

    def load(self, state: Mapping[str, Any]) -> Run:
        """Take up what `state` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.method.load_state_dict(state["method"])
        return self

    def weights(self) -> dict[str, Tensor]:
        """Return the model's weights, and those of the deployed network where it is another."""
        found = dict(self.model.state_dict())
        if self.method.deployed is not self.model:
            found |= {f"deployed {name}": value for name, value in self.method.deployed.state_dict().items()}
        return found


def batch(number: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return the batch of a step: inputs of shape (8, 6), targets of shape (8,)."""
    generator = torch.Generator().manual_seed(number)
    inputs = torch.randn(8, 6, generator=generator).to(dtype)
    return inputs, torch.randint(3, (8,), generator=generator)


def check_method(build: Build) -> None:
    """Check that a method keeps the contract that all methods of this package keep.

    The checks are the functions of `CHECKS`; they train a small network on the CPU for a few steps.

    Args:
        build: gets a model and an optimizer and returns the method. The model is a `Network`, a `TiedNetwork`,
            or one of them compiled or in another precision; its last layer is called `head`.

    Raises:
        AssertionError: the method breaks the contract; the message says where.

    Example:
        >>> from hare_tortoise.methods import L2Init
        >>> check_method(lambda model, optimizer: L2Init(model, optimizer, strength=0.1))
    """
    for check in CHECKS.values():
        check(build)


def check_dtypes_and_shapes(build: Build) -> None:
    """The model keeps its parameters, with their names, shapes and dtypes, in every precision."""
    for dtype in (torch.float32, torch.float64, torch.bfloat16):

        def network(dtype: torch.dtype = dtype) -> nn.Module:
            return Network().to(dtype)

        run = Run.start(build, network)
        before = {name: (tensor.shape, tensor.dtype) for name, tensor in run.model.state_dict().items()}
        parameters = {name: id(tensor) for name, tensor in run.model.named_parameters()}
        run.train()
        after = {name: (tensor.shape, tensor.dtype) for name, tensor in run.model.state_dict().items()}
        _require(after == before, f"a {dtype} model had {before}, and has after training {after}")
        now = {name: id(tensor) for name, tensor in run.model.named_parameters()}
        kept = now == parameters
        _require(kept, "parameters were replaced; write into them in place, as optimizers hold them")


def check_tied_weights(build: Build) -> None:
    """Weights that layers share stay shared."""
    model = Run.start(build, TiedNetwork).train().model
    _require(
        isinstance(model, TiedNetwork) and model.middle.weight is model.body.weight, "tied weights came apart"
    )


def check_state_round_trip(build: Build) -> None:
    """The state loads with `weights_only=True` and is the same after a round trip through a file."""
    saved = _through_file(Run.start(build).train().method.state_dict())
    method = Run.start(build, seed=1).method
    method.load_state_dict(saved)
    _require_equal(saved, method.state_dict(), "the state after load_state_dict")


def check_resume(build: Build) -> None:
    """Training that is interrupted after any step ends bit for bit as if it had not been."""
    whole = Run.start(build).train()
    run = Run.start(build)
    for stop in range(1, _STEPS):
        state = _through_file(run.train(first=stop - 1, last=stop).state())
        resumed = Run.start(build, seed=1).load(state).train(first=stop)
        _require_equal(whole.weights(), resumed.weights(), f"resumed after step {stop}")
        _require_equal(whole.state(), resumed.state(), f"resumed after step {stop}, the state")


def check_global_random_states(build: Build) -> None:
    """The method draws from its own generator: the global ones are left alone, and do not matter."""
    weights = []
    for seed in (1, 2):
        with seeded(seed):
            states = _random_states()
            weights.append(Run.start(build).train().weights())
            _require_equal(states, _random_states(), "the global random states")
    _require_equal(weights[0], weights[1], "trained under another global seed")


def check_accumulation(build: Build) -> None:
    """Only optimizer steps count: a batch in two parts gives what the whole batch gives."""

    def network() -> nn.Module:
        return TiedNetwork().double()

    whole = Run.start(build, network).train().weights()
    parts = Run.start(build, network).train(parts=2).weights()
    for name, value in whole.items():
        same = torch.allclose(value, parts[name], rtol=1e-7, atol=1e-9)
        _require(same, f"{name} differs under accumulation")


def check_penalty(build: Build) -> None:
    """The penalty is a finite scalar whose gradient is that of finite differences."""

    def network() -> nn.Module:
        return TiedNetwork().double()

    run = Run.start(build, network).train(last=2)
    if not run.method.adds_penalty:
        return
    inputs, targets = batch(0, torch.float64)

    def penalty() -> Tensor:
        return run.method.penalty(inputs, run.model(inputs), targets)

    value = penalty()
    _require(value.shape == () and bool(value.isfinite()), f"penalty is {value}, expected a finite scalar")
    parameters = list(run.model.parameters())
    if not value.requires_grad:
        _require(bool(value == 0), "the penalty is not zero and has no gradient")
        return
    gradients = torch.autograd.grad(value, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        expected = _slope(penalty, parameter)
        actual = 0.0 if gradient is None else float(gradient.reshape(-1)[0])
        _require(
            abs(actual - expected) < 1e-6 * max(1.0, abs(expected)), f"gradient {actual}, slope {expected}"
        )


def check_detach(build: Build) -> None:
    """After `detach` the optimizer's steps are no longer the method's."""
    run = Run.start(build).train(last=2)
    run.method.detach()
    state = _through_file(run.method.state_dict())
    run.train(first=2, last=3)
    _require_equal(state, run.method.state_dict(), "the state of a detached method after a step")


def check_skipped_step(build: Build) -> None:
    """A step that the gradient scaler skipped moves nothing; where the host knows of it, it is no step at all."""
    for skipped in (True, torch.tensor(1.0)):
        run = Run.start(build).train(last=4)
        before = run.weights()
        run.method.after_step(skipped)
        _require_equal(before, run.weights(), "weights after a step that was skipped")
        if skipped is True:  # what only the device knows may have cost a draw
            whole = Run.start(build).train()
            _require_equal(whole.weights(), run.train(first=4).weights(), "trained on after a skipped step")


def check_changes_are_told(build: Build) -> None:
    """An average that follows what the method says of its changes in `new_data` ends at the weights they made."""
    run = Run.start(build).train(last=2)
    follower = _Follower(run.model)
    for member in run.method.members if isinstance(run.method, Chain) else (run.method,):
        member.listeners = (*member.listeners, follower)
    run.new_data()
    now, followed = (dict(network.named_parameters()) for network in (run.model, follower.network))
    _require_equal(now, followed, "what follows self.changed(...) after new_data")


def check_other_optimizers(build: Build) -> None:
    """It trains with an optimizer that keeps no state, and with one whose state is not that of Adam."""
    for kind in (SGD, Adagrad):
        run = Run.start(build)
        run.optimizer = kind(run.model.parameters(), lr=0.01)
        run.method.attach(run.optimizer)
        run.train(last=_NEW_DATA[0])
        finite = all(bool(value.isfinite().all()) for value in run.weights().values())
        _require(finite, f"weights are not finite after steps of {kind.__name__}")


def check_compile(build: Build) -> None:
    """Built on a compiled model, the method does what it does on the model itself."""

    def network() -> nn.Module:
        return cast(nn.Module, torch.compile(Network(), backend="aot_eager"))

    plain = Run.start(build).train()
    compiled = Run.start(build, network).train()
    for name, value in plain.model.state_dict().items():
        other = compiled.model.state_dict()[f"_orig_mod.{name}"]
        _require(torch.allclose(value, other, rtol=1e-4, atol=1e-6), f"{name} differs when compiled")


CHECKS: dict[str, Callable[[Build], None]] = {
    "dtypes and shapes": check_dtypes_and_shapes,
    "tied weights": check_tied_weights,
    "state round trip": check_state_round_trip,
    "resume": check_resume,
    "global random states": check_global_random_states,
    "accumulation": check_accumulation,
    "penalty": check_penalty,
    "detach": check_detach,
    "skipped step": check_skipped_step,
    "changes are told": check_changes_are_told,
    "other optimizers": check_other_optimizers,
    "compile": check_compile,
}


class _Follower(Method):
    """Does to a copy of the network what it is told that was done to the network."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.network = copy.deepcopy(model)

    def weights_changed(self, change: Change) -> None:
        if change.whole:
            self.network.load_state_dict(self.model.state_dict())
        else:
            change.apply(named_weights(self.network))


def _optimizer(model: nn.Module) -> Optimizer:
    return AdamW(model.parameters(), lr=0.01, weight_decay=0.01)


def _through_file(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def _random_states() -> dict[str, Any]:
    states = {"torch": torch.get_rng_state(), "python": random.getstate()}
    if numpy := sys.modules.get("numpy"):
        states["numpy"] = copy.deepcopy(numpy.random.get_state()[1].tolist())
    return states


def _slope(function: Callable[[], Tensor], parameter: Tensor, step: float = 1e-5) -> float:
    """Central difference in the first element of a parameter."""
    values = []
    with torch.no_grad():
        element = parameter.view(-1)[:1]
        start = element.clone()
        for shift in (step, -step):
            element.copy_(start + shift)
            values.append(float(function()))
        element.copy_(start)
    return (values[0] - values[1]) / (2 * step)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _require_equal(expected: Any, actual: Any, what: str) -> None:
    """Raise an AssertionError at the first leaf of two nested states that differs in a bit."""
    first, second = dict(_leaves(expected)), dict(_leaves(actual))
    alone = sorted(first.keys() ^ second.keys())
    _require(not alone, f"{what}: {alone} on one side only")
    for path, value in first.items():
        other = second[path]
        if isinstance(value, Tensor):
            same = isinstance(other, Tensor) and value.dtype == other.dtype and torch.equal(value, other)
        else:
            same = bool(value == other)
        if not same:  # tensors are written out only then: that takes longer than what is tested
            raise AssertionError(f"{what}: {path} is {other}, expected {value}")


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{path}[{number}]")
    else:
        yield path, value
