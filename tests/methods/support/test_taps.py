"""What is seen of units: activations and the gradients by them, wherever and however a network computes them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from hare_tortoise.methods.support.taps import Observation, Taps
from tests.methods.support.recorder import Gradients, Recorder, seen, step
from tests.methods.support.unit_networks import Functional, Gated, Recurrent, Residual


def statistics(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of activations, shape (entries, units)."""
    return values.abs().mean(0), values.mean(0), (values > 0).any(0)


def check_functional(kind: type[Recorder] = Recorder) -> None:
    """A network of functions: its activations are computed from the results of a norm and of a convolution."""
    torch.manual_seed(0)
    network = Functional().double()
    with torch.no_grad():
        network.second.get_parameter("bias")[1] = -100.0
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
        assert (seen(method, name).fired == fired).all()  # type: ignore[union-attr]
        assert not fired.all() or name == "first"


def test_what_is_seen_of_functions() -> None:
    check_functional()


def test_fault_dividing_by_the_batch_alone_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    class PerSample(Taps):
        def read(self) -> dict[str, Observation]:
            self.sums = {key: (totals, 6) for key, (totals, _) in self.sums.items()}
            return super().read()

    monkeypatch.setattr("hare_tortoise.methods.support.unit_method.Taps", PerSample)
    with pytest.raises(AssertionError):
        check_functional()


def test_fault_seeing_pre_activations_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The official code's hooks see what comes before functional activations."""

    class Before(Taps):
        def see(self, key: int, value: Tensor) -> None:
            name, tap = self._seen[key]
            self._seen[key] = (name, replace(tap, function=None))
            super().see(key, value)

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


class Asked(TorchDispatchMode):  # type: ignore[no-untyped-call]
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
    with Asked() as asked:  # type: ignore[no-untyped-call]
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
    assert (seen(method, "a").fired == (gated > shift).any(0)).all()


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


COMPILED: dict[str, Callable[[nn.Module], tuple[nn.Module, Any]]] = {
    "the wrapper is given": lambda network: (wrapper := compiled(network), wrapper),
    "the network is given": lambda network: (network, compiled(network)),
}


def compiled(network: nn.Module) -> Any:
    return torch.compile(network, backend="aot_eager")


# The compiler asks for `.grad` where its graph is broken; what it does to hide the warning does not keep it from
# being an error.
@pytest.mark.filterwarnings(r"ignore:The \.grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("how", [*COMPILED, "in place", "a part", "before", "gradients"])
def test_compiled_networks(how: str) -> None:
    kind = Gradients if how == "gradients" else Recorder
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
