"""Methods that reset units: what they see and when; copies, other modes and compiled networks are told apart."""

from __future__ import annotations

import copy
import gc
import io
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from hare_tortoise.methods import Chain, HareTortoise
from hare_tortoise.methods.support.taps import Observation, Taps
from hare_tortoise.methods.support.unit_method import UnitMethod
from hare_tortoise.methods.support.units import Units
from hare_tortoise.testing import Network, TiedNetwork
from tests.methods.support.unit_networks import Concatenated, Functional, Gated, Linear, Recurrent, Residual


class Recorder(UnitMethod):
    """Keeps what it saw at each step, and counts the steps for each unit."""

    statistics = ("magnitude", "mean", "fired")

    def __init__(self, model: nn.Module, optimizer: Any = None, **settings: Any) -> None:
        super().__init__(model, optimizer, **settings)
        self.seen: list[dict[str, Observation | None]] = []

    def start(self, units: Units, device: torch.device) -> dict[str, Tensor]:
        return {"age": torch.zeros(units.size, device=device)}

    def act(self, skipped: Tensor | bool | None) -> None:
        self.seen.append({name: self.observation(name) for name in self.groups})
        for kept in self.memory.values():
            kept["age"] += 1


class Gradients(Recorder):
    observes = "gradients"
    statistics = ("magnitude",)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def step(model: nn.Module, method: UnitMethod, *batches: Tensor) -> None:
    for inputs in batches:
        model(inputs).square().sum().backward()
    method.after_step()


def seen(method: Recorder, name: str, at: int = -1) -> Observation:
    found = method.seen[at][name]
    assert found is not None
    return found


def statistics(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of activations, shape (entries, units)."""
    return values.abs().mean(0), values.mean(0), (values > 0).any(0)


def check_functional(kind: type[Recorder] = Recorder) -> None:
    """A network of functions: its activations are computed from the results of a norm and of a convolution."""
    torch.manual_seed(0)
    network = Functional().double()
    network.second.bias.data[1] = -100.0
    inputs = [torch.randn(3, 1, 8, 8, dtype=torch.float64) for _ in range(2)]
    method = kind(network)
    twin = copy.deepcopy(network)
    expected: dict[str, list[Tensor]] = {"first": [], "second": [], "dense": []}
    for batch in inputs:
        first = functional.relu(twin.norm(twin.first(batch)))
        second = functional.relu(twin.second(functional.max_pool2d(first, 2)))
        expected["first"].append(first.transpose(0, 1).flatten(1).T)
        expected["second"].append(second.transpose(0, 1).flatten(1).T)
    step(network, method, *inputs)
    for name in ("first", "second"):
        magnitude, mean, fired = statistics(torch.cat(expected[name]))
        torch.testing.assert_close(seen(method, name).magnitude, magnitude.detach())
        torch.testing.assert_close(seen(method, name).mean, mean.detach())
        assert torch.equal(seen(method, name).fired, fired)  # type: ignore[arg-type]
    assert not seen(method, "second").fired[1]  # type: ignore[index]


def test_what_is_seen_of_functions() -> None:
    check_functional()


def test_fault_dividing_by_the_batch_alone_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    class PerSample(Taps):
        def read(self) -> dict[str, Observation]:
            self.sums = {key: (total, 6) for key, (total, _) in self.sums.items()}
            return super().read()

    monkeypatch.setattr("hare_tortoise.methods.support.unit_method.Taps", PerSample)
    with pytest.raises(AssertionError):
        check_functional()


def test_fault_seeing_pre_activations_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The official code's hooks see what comes before functional activations."""

    class Before(Taps):
        def add(self, name: str, tap: Any, value: Tensor) -> None:
            super().add(name, replace(tap, function=None), value)

    monkeypatch.setattr("hare_tortoise.methods.support.unit_method.Taps", Before)
    with pytest.raises(AssertionError):
        check_functional()


def test_the_calls_of_one_module_are_told_apart() -> None:
    network = Residual()
    method = Recorder(network)
    inputs = torch.randn(6, 5)
    step(network, method, inputs)
    embed = torch.relu(network.embed(inputs))
    inner = torch.relu(network.inner(embed))
    last = torch.relu(embed + network.back(inner))
    # The stream is seen where it is read: behind the first activation and behind the last.
    stream = (embed.mean(0) + last.mean(0)) / 2
    torch.testing.assert_close(seen(method, "embed").magnitude, stream.detach())
    torch.testing.assert_close(seen(method, "inner").magnitude, inner.mean(0).detach())


def test_negative_activations_count_by_their_size() -> None:
    network = Gated()
    method, inputs = Recorder(network), torch.randn(6, 5)
    step(network, method, inputs)
    gated = (functional.silu(network.a(inputs)) * network.b(inputs)).detach()
    torch.testing.assert_close(seen(method, "a").magnitude, gated.abs().mean(0))
    torch.testing.assert_close(seen(method, "a").mean, gated.mean(0))


class Asked(TorchDispatchMode):
    """Counts how often the device is asked for a value."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", [Recorder, Gradients])
def test_watching_does_not_wait_for_the_device(kind: type[Recorder]) -> None:
    network = Functional()
    method, inputs = kind(network), torch.randn(3, 1, 8, 8)
    step(network, method, inputs)
    with Asked() as asked:
        step(network, method, inputs)
    assert asked.count == 0
    with asked:
        method.reset_units({"first": torch.tensor([True, False, False, False])})
    assert asked.count > 0


def test_shifts_are_taken_from_magnitudes_and_firing() -> None:
    class Shifted(Recorder):
        def shifts(self) -> Mapping[str, Tensor | float]:
            return {"a": torch.linspace(-0.2, 0.2, 8)}

    network = Gated()
    method, inputs = Shifted(network), torch.randn(6, 5)
    step(network, method, inputs)
    gated = (functional.silu(network.a(inputs)) * network.b(inputs)).detach()
    shift = torch.linspace(-0.2, 0.2, 8)
    torch.testing.assert_close(seen(method, "a").magnitude, (gated - shift).abs().mean(0))
    torch.testing.assert_close(seen(method, "a").mean, gated.mean(0))
    assert torch.equal(seen(method, "a").fired, (gated > shift).any(0))  # type: ignore[arg-type]


@pytest.mark.parametrize("network", [Residual, Recurrent])
def test_gradients_by_activations(network: type[Residual] | type[Recurrent]) -> None:
    model = network()
    method, inputs = Gradients(model), torch.randn(6, 5)
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, result: Tensor) -> None:
        if result.requires_grad:
            result.retain_grad()
            kept.append(result)

    (model.relu if isinstance(model, Residual) else model.act).register_forward_hook(keep)
    step(model, method, inputs)
    gradients = [tensor.grad.abs().mean(0) for tensor in kept if tensor.grad is not None]
    if isinstance(model, Residual):
        torch.testing.assert_close(seen(method, "embed").magnitude, (gradients[0] + gradients[2]) / 2)
        torch.testing.assert_close(seen(method, "inner").magnitude, gradients[1])
    else:
        torch.testing.assert_close(seen(method, "start").magnitude, torch.stack(gradients).mean(0))


def test_only_training_forwards_of_this_very_model_count() -> None:
    network = Network()
    method, inputs = Recorder(network), torch.randn(6, 6)
    step(network, method, inputs)
    expected = seen(method, "body.0").magnitude
    twin = copy.deepcopy(network)
    loaded = through_pickle(network)
    network(inputs).sum().backward()
    network.eval()(torch.randn(6, 6))
    with torch.no_grad():
        network.train()(torch.randn(6, 6))
    network.body(torch.randn(6, 6))
    twin.train()(torch.randn(6, 6))
    loaded.train()(torch.randn(6, 6))
    method.after_step()
    torch.testing.assert_close(seen(method, "body.0").magnitude, expected)


def test_what_another_method_runs_the_network_for_does_not_count() -> None:
    """The method whose hook comes first watches already when the other one looks for the units."""
    network = Network()
    first, second = Recorder(network), Recorder(network)
    network(torch.randn(6, 6)).sum().backward()
    for method in (first, second):
        assert method._taps is not None
        assert [count for _, count in method._taps.sums.values()] == [6]


def through_pickle(network: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    loaded: nn.Module = torch.load(file, weights_only=False)
    return loaded


def test_a_forward_that_is_run_again_in_the_backward_pass_counts_once() -> None:
    class Checkpointed(Network):
        def forward(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = self.head(checkpoint(self.body, inputs, use_reentrant=False))
            return outputs

    network = Checkpointed()
    method = Recorder(network)
    step(network, method, torch.randn(6, 6))
    assert method._taps is not None
    network(torch.randn(6, 6)).sum().backward()
    assert [count for _, count in method._taps.sums.values()] == [6]


def test_steps_that_are_not_watched_see_nothing_and_still_act() -> None:
    class EverySecond(Recorder):
        def observing(self) -> bool:
            return len(self.seen) % 2 == 1

    network = Network()
    method = EverySecond(network)
    for _ in range(4):
        step(network, method, torch.randn(6, 6))
    assert [found["body.0"] is None for found in method.seen] == [True, False, True, False]


def test_a_model_that_is_never_called_is_an_error() -> None:
    network = Network()
    method = Recorder(network, optimizer := sgd(network))
    for _ in range(9):
        network.head(network.body(torch.randn(6, 6))).sum().backward()
        optimizer.step()
    with pytest.raises(RuntimeError, match="Recorder saw no forward of Network before 10 steps in a row"):
        optimizer.step()
    step(network, method, torch.randn(6, 6))
    assert len(method.seen) == 1


def test_detached_methods_leave_no_hooks_and_go_on_when_attached() -> None:
    network = Network()
    method = Recorder(network, optimizer := sgd(network))
    network(torch.randn(6, 6)).sum().backward()
    optimizer.step()
    method.detach()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    method.attach(optimizer)
    network(torch.randn(6, 6)).sum().backward()
    optimizer.step()
    assert len(method.seen) == 2
    assert method.memory["body.0"]["age"].tolist() == [2.0] * 8


def test_layers_that_were_replaced_are_found_again() -> None:
    network = Network()
    method = Recorder(network, optimizer := sgd(network))
    step(network, method, torch.randn(6, 6))
    network.body.add_module("4", nn.Linear(8, 5))
    network.body.add_module("5", nn.ReLU())
    network.head = nn.Linear(5, 3)
    method.attach(sgd(network))
    step(network, method, torch.randn(6, 6))
    assert {name: kept["age"].tolist() for name, kept in method.memory.items()} == {
        "body.0": [2.0] * 8,
        "body.4": [1.0] * 5,
    }
    assert optimizer is not None


def test_neither_model_nor_optimizer_keeps_a_method_alive() -> None:
    network = Network()
    method = Recorder(network)
    step(network, method, torch.randn(6, 6))
    reference = weakref.ref(method)
    del method
    gc.collect()
    assert reference() is None
    network(torch.randn(6, 6)).sum().backward()


def test_a_chain_without_optimizer_watches_too() -> None:
    network = Network()
    method = Recorder(network)
    chain = Chain(method, HareTortoise(network, decay=0.9, reset_every=5))
    for _ in range(3):
        network(torch.randn(6, 6)).sum().backward()
        chain.after_step()
    # The chain took the hooks away, which are back from its first step on.
    assert len(method.seen) == 2
    chain.detach()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_left_out_layers_are_named_in_one_warning() -> None:
    network = TiedNetwork()
    method = Recorder(network, optimizer := sgd(network))
    with pytest.warns(
        UserWarning, match=r"Recorder leaves alone the units of body \(.*shared.*\), middle \("
    ) as told:
        network(torch.randn(6, 6))
    assert len(told) == 1
    method.attach(optimizer)
    step(network, method, torch.randn(6, 6))


def test_a_network_without_units_is_an_error() -> None:
    network = Linear()
    method = Recorder(network)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"Recorder finds no units in Linear, .*first \(no nonlinearity"):
            network(torch.randn(6, 5))
    assert method.groups == {}


def test_what_cannot_be_drawn_is_an_error_at_the_first_forward() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 6))
            self.act, self.head = nn.ReLU(), nn.Linear(8, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = self.head(self.act(functional.linear(inputs, self.weight)))
            return outputs

    network = Own()
    method = Recorder(network)
    with pytest.raises(ValueError, match="does not initialise weight"):
        network(torch.randn(6, 6))
    assert method.groups == {}
    other = Own()
    method = Recorder(other, fresh=Own)
    step(other, method, torch.randn(6, 6))
    assert list(method.groups) == ["weight"]


@pytest.mark.parametrize("before", [True, False])
def test_states_load_before_and_after_the_first_forward(before: bool) -> None:
    network = Network()
    method = Recorder(network)
    for _ in range(3):
        step(network, method, torch.randn(6, 6))
    other = Recorder(copy.deepcopy(network))
    empty = Recorder(Network()).state_dict()
    if not before:
        step(other.model, other, torch.randn(6, 6))
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    assert other.state_dict()["memory"]["body.0"]["age"].tolist() == [3.0] * 8
    step(other.model, other, torch.randn(6, 6))
    assert other.memory["body.0"]["age"].tolist() == [4.0] * 8
    other.load_state_dict(empty)
    step(other.model, other, torch.randn(6, 6))
    assert other.memory["body.0"]["age"].tolist() == [1.0] * 8


def test_states_of_other_units_are_refused() -> None:
    network, other = Network(), Residual()
    method, stranger = Recorder(network), Recorder(other)
    step(network, method, torch.randn(6, 6))
    step(other, stranger, torch.randn(6, 5))
    state = method.state_dict()
    with pytest.raises(
        ValueError, match=r"the saved state is of another model: the units of body\.0, embed, inner"
    ):
        stranger.load_state_dict(state)
    late = Recorder(Residual())
    late.load_state_dict(state)
    with pytest.raises(ValueError, match="the saved state is of another model"):
        late.model(torch.randn(6, 5))
    with pytest.raises(ValueError, match="'memory' and 'draws'"):
        method.load_state_dict({"generator": state["generator"]})


COMPILED: dict[str, Callable[[nn.Module], tuple[nn.Module, Any]]] = {
    "the wrapper is given": lambda network: (wrapper := compiled(network), wrapper),
    "the network is given": lambda network: (network, compiled(network)),
}


def compiled(network: nn.Module) -> Any:
    return torch.compile(network, backend="aot_eager")


# The compiler asks for `.grad` where its graph is broken; what it does to hide the warning does not keep it from
# being an error.
@pytest.mark.filterwarnings(r"ignore:The \.grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("kind", [Recorder, Gradients])
@pytest.mark.parametrize("how", [*COMPILED, "in place", "a part", "before"])
def test_compiled_networks(how: str, kind: type[Recorder]) -> None:
    torch.manual_seed(0)
    network = Residual()
    plain = copy.deepcopy(network)
    called: Any = network
    given: nn.Module = network
    if how in COMPILED:
        given, called = COMPILED[how](network)
    elif how == "in place":
        network.compile(backend="aot_eager")
    elif how == "a part":
        network.inner = compiled(network.inner)
    else:
        given = called = compiled(network)
        called(torch.ones(6, 5)).sum().backward()
    method, expected = kind(given), kind(plain)
    for number in range(2):
        inputs = torch.randn(6, 5, generator=torch.Generator().manual_seed(number))
        step(called, method, inputs)
        step(plain, expected, inputs)
        for name in expected.groups:
            torch.testing.assert_close(seen(method, name).magnitude, seen(expected, name).magnitude)
    torch.compiler.reset()


def test_units_behind_what_is_left_out_are_watched() -> None:
    network = Concatenated()
    method = Recorder(network)
    with pytest.warns(UserWarning, match="left .*concatenated"):
        step(network, method, torch.randn(6, 5))
    assert list(method.groups) == ["joint"]
