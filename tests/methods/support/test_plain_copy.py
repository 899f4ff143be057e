"""The tortoise is the plain module: no wrappers, no hooks; what cannot be copied is named."""

from __future__ import annotations

import functools
import threading
import types
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.utils import parametrizations, prune

from hare_tortoise.methods import HareTortoise
from hare_tortoise.methods.support.names import named_weights, unwrap
from hare_tortoise.methods.support.plain_copy import plain_copy
from tests.methods.pair_checks import network, values


def wrapped(seed: int = 0) -> nn.Module:
    """The network with a compiled layer and a checkpointed one, compiled and in DataParallel as a whole."""
    model: Any = network(seed)
    model[0] = torch.compile(model[0], backend="eager")
    model[3] = checkpoint_wrapper(model[3])
    compiled: Any = torch.compile(model, backend="eager")
    return nn.DataParallel(compiled)


def test_wrappers_are_left_behind_at_every_depth() -> None:
    model = wrapped()
    slow = HareTortoise(model).tortoise
    assert [type(module) for module in slow.modules()] == [type(module) for module in network().modules()]
    assert list(slow.state_dict()) == list(network().state_dict())
    inputs = torch.randn(4, 3)
    torch.testing.assert_close(slow(inputs), network().eval()(inputs))


def test_names_are_canonical() -> None:
    assert list(named_weights(wrapped())) == list(named_weights(network()))
    assert list(HareTortoise(wrapped()).state_dict()["tortoise"]) == list(network().state_dict())


def test_a_layer_called_module_is_no_wrapper() -> None:
    model = nn.ModuleDict({"module": nn.ModuleDict({"_orig_mod": nn.Linear(2, 2)})})
    assert list(named_weights(model)) == ["module._orig_mod.weight", "module._orig_mod.bias"]
    assert unwrap(model) is model


def test_a_state_goes_from_a_wrapped_model_to_a_plain_one() -> None:
    pair = HareTortoise(wrapped(), decay=0.5)
    with torch.no_grad():
        for tensor in pair.model.parameters():
            tensor.add_(1.0)
    pair.after_step()
    other = HareTortoise(network(), decay=0.5)
    other.load_state_dict(pair.state_dict())
    assert all(torch.equal(t, values(pair.tortoise)[n]) for n, t in values(other.tortoise).items())


def test_a_module_that_is_compiled_in_place_is_copied_plain() -> None:
    model = network()
    calls = []

    def backend(graph: Any, _inputs: Any) -> Any:
        calls.append(graph)
        return graph.forward

    model.compile(backend=backend)
    slow = HareTortoise(model).tortoise
    slow(torch.randn(2, 3))
    assert not calls
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.zero_()
    assert slow(torch.randn(2, 3)).abs().sum() > 0, "it runs its own weights, not the hare's"


class Owner:
    """Something that holds a lock, as trainers and loggers do, and hooks into the model."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def hook(self, *_: Any) -> None:
        return None


def test_what_hooks_are_bound_to_is_not_copied() -> None:
    model = network()
    owner = Owner()
    model.register_forward_hook(owner.hook)
    model.register_forward_pre_hook(owner.hook)
    model.register_full_backward_hook(owner.hook)
    model._register_state_dict_hook(owner.hook)
    slow = HareTortoise(model).tortoise
    assert not slow._forward_hooks
    assert not slow._forward_pre_hooks
    assert not slow._backward_hooks


def test_a_recurrent_network_runs() -> None:
    model = nn.LSTM(3, 4, num_layers=2)
    slow = HareTortoise(model).tortoise
    inputs = torch.randn(5, 2, 3)
    torch.testing.assert_close(slow(inputs)[0], model(inputs)[0])


def test_parametrized_weights_are_copied() -> None:
    model: Any = parametrizations.weight_norm(nn.Linear(3, 2))
    pair = HareTortoise(model, decay=0.5)
    slow: Any = pair.tortoise
    before = slow.weight.detach().clone()
    with torch.no_grad():
        model.parametrizations.weight.original0.mul_(3.0)
    pair.after_step()
    torch.testing.assert_close(slow.weight.detach(), before * 2.0)


class Computed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.scale = self.linear.weight.norm()


class Holds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.lock = threading.Lock()


def pruned() -> nn.Module:
    layer: nn.Module = prune.l1_unstructured(nn.Linear(2, 2), "weight", 0.5)  # type: ignore[no-untyped-call]
    return layer


def old_weight_norm() -> nn.Module:
    with pytest.warns(FutureWarning, match="weight_norm"):
        return nn.utils.weight_norm(nn.Linear(2, 2))


class Buffered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.register_buffer("mean", self.linear.weight.mean())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LazyLinear(3), r"1 \(LazyLinear\) is lazy.*run one batch"),
        (Computed, r"1 \(Computed\) has a tensor 'scale' that was computed"),
        (Buffered, r"1 \(Buffered\) has a tensor 'mean' that was computed"),
        (old_weight_norm, r"1 \(Linear\) has its weight computed by a WeightNorm hook.*parametrizations"),
        (lambda: nn.utils.spectral_norm(nn.Linear(2, 2)), r"1 \(Linear\) .*SpectralNorm hook"),
        (pruned, r"1 \(Linear\) .*prune.remove"),
        (Holds, r"1 \(Holds\) cannot be copied .*tortoise="),
    ],
)
def test_what_cannot_be_copied_is_named(make: Any, message: str) -> None:
    model = nn.Sequential(nn.Linear(2, 2), make())
    with pytest.raises(ValueError, match=message):
        HareTortoise(model)


def test_the_copy_has_no_gradients() -> None:
    model = network()
    model(torch.randn(4, 3)).sum().backward()
    slow = plain_copy(model)
    assert all(tensor.grad is None and not tensor.requires_grad for tensor in slow.parameters())
    out: Tensor = slow(torch.randn(4, 3))
    assert not out.requires_grad


def test_the_memory_format_is_kept() -> None:
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    weight = HareTortoise(model).tortoise.weight
    assert isinstance(weight, Tensor)
    assert weight.is_contiguous(memory_format=torch.channels_last)


class WithLambda(nn.Module):
    """Keeps a function that has hold of the module itself, or of a layer."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.run = make(self)

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.run(inputs)
        return out


def listed(module: WithLambda) -> Any:
    layers = [module.linear]
    return lambda inputs: 2 * layers[0](inputs)


def default(module: WithLambda) -> Any:
    def run(inputs: Tensor, *, layer: nn.Module = module.linear) -> Any:
        return layer(inputs)

    return run


def weight(module: WithLambda) -> Any:
    tensor = module.linear.weight
    return lambda inputs: inputs @ tensor.T


def nested(module: WithLambda) -> Any:
    inner = listed(module)
    return lambda inputs: 2 * inner(inputs)


@pytest.mark.parametrize(
    "make", [lambda module: lambda inputs: 2 * module.linear(inputs), listed, default, weight, nested]
)
def test_a_function_that_holds_the_model_is_refused(make: Any) -> None:
    model = nn.Sequential(nn.Linear(3, 3), WithLambda(make))
    with pytest.raises(ValueError, match=r"1 \(WithLambda\) has a function 'run' .*tortoise="):
        HareTortoise(model)
    HareTortoise(model, tortoise=nn.Sequential(nn.Linear(3, 3), WithLambda(make)))


def test_a_forward_that_was_patched_is_refused() -> None:
    model: Any = network()
    old = model.forward
    model.forward = lambda inputs: 2 * old(inputs)
    with pytest.raises(ValueError, match=r"model \(Sequential\) has a function 'forward'"):
        HareTortoise(model)


def test_a_forward_that_was_patched_by_a_global_is_refused() -> None:
    # As in a notebook, where everything is global.
    model: Any = network()
    names = {"old": model.forward}
    exec("def patched(inputs): return 2 * old(inputs)", names)
    model.forward = names["patched"]
    with pytest.raises(ValueError, match=r"model \(Sequential\) has a function 'forward'"):
        HareTortoise(model)


def twice(layer: nn.Module, inputs: Tensor) -> Any:
    return 2 * layer(inputs)


@pytest.mark.parametrize(
    "make",
    [
        lambda module: module.linear.forward,
        lambda module: functools.partial(twice, module.linear),
        lambda module: functools.partial(module.linear.forward),
        lambda module: types.MethodType(lambda self, inputs: self.linear(inputs), module),
    ],
    ids=["bound", "partial", "partial of bound", "method"],
)
def test_what_a_deep_copy_binds_anew_runs_the_copy(make: Any) -> None:
    model = WithLambda(make)
    slow = HareTortoise(model).tortoise
    inputs = torch.randn(4, 3)
    before = slow(inputs)
    with torch.no_grad():
        model.linear.weight.zero_()
    assert torch.equal(slow(inputs), before)


def test_a_function_that_holds_something_else_is_kept() -> None:
    teacher = nn.Linear(3, 2)
    model = WithLambda(lambda module: lambda inputs: torch.tanh(teacher(inputs)))
    assert HareTortoise(model).tortoise(torch.ones(1, 3)).shape == (1, 2)


def test_an_attribute_is_no_global() -> None:
    model: Any = network()
    names: dict[str, Any] = {"bias": model[0].bias}
    exec("def scaled(layer): return layer.bias", names)
    model.scaled = names["scaled"]
    HareTortoise(model)


def test_a_model_without_values_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0 \(Linear\) is on the meta device.*to_empty"):
        HareTortoise(network().to("meta"))
