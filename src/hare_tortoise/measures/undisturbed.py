"""Running a network to measure it without leaving a trace in its training, and refusing what has no one answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.grad_mode import _unsafe_preserve_version_counter
from torch.nn.parameter import is_lazy

from hare_tortoise.methods.support.names import local, named_modules, unwrap, write
from hare_tortoise.methods.support.randomness import seeded
from hare_tortoise.methods.support.sharding import reshard

_RANDOM = (nn.modules.dropout._DropoutNd, nn.RReLU)


@contextmanager
def undisturbed(model: nn.Module, *, seed: int = 0) -> Iterator[nn.Module]:
    """Give the network inside its wrappers, in eval mode; afterwards nothing of the training has changed.

    Bit for bit as before are then: the mode of each module, buffers and other attributes of modules (counters,
    tensors, generators), `.grad` and `requires_grad` of each parameter, and the global random states (torch's,
    Python's, NumPy's). Inside, `.grad` is None, gradients are on, autocast is off (a measure is computed in the dtype
    of the weights), what was compiled runs eagerly, and the global generators start from `seed`.

    The values of parameters are not guarded: a measure that trains does so on a copy. Take gradients by
    `torch.autograd.grad`, because `backward()` would call an optimizer that is hooked to it.

    Args:
        model: any module, wrapped (DDP, `torch.compile`) or not; under FSDP2 every process must enter.
        seed: of what is drawn inside.

    Raises:
        ValueError: a parameter is lazy or on the meta device, so that there is nothing to measure yet.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout())
        >>> state = torch.get_rng_state()
        >>> with undisturbed(model) as network:
        ...     network.training, torch.rand(()).item() >= 0
        (False, True)
        >>> model.training, torch.equal(state, torch.get_rng_state())
        (True, True)
    """
    network = unwrap(model)
    reshard(network)
    modules = [module for _, module in named_modules(network)]
    parameters = _parameters(network)
    devices = {local(tensor).device for tensor in (*parameters, *network.buffers())}
    with ExitStack() as undo:
        undo.enter_context(seeded(seed, devices))
        for restore in [_kept(module) for module in modules]:
            undo.callback(restore)
        undo.callback(_restore_gradients, [(p, p.grad, p.requires_grad) for p in parameters])
        undo.callback(reshard, network)
        # This turns gradients on as well.
        undo.enter_context(torch.inference_mode(False))
        for kind in {device.type for device in devices}:
            undo.enter_context(torch.autocast(kind, enabled=False))
        # Where nothing has loaded the compiler, nothing is compiled, and loading it takes seconds.
        if "torch._dynamo" in sys.modules:
            undo.enter_context(torch.compiler.set_stance("force_eager"))
        for parameter in parameters:
            parameter.grad = None
        # Not `eval()`: a module may override it to rewrite its weights, which is not undone bit for bit.
        for module in modules:
            module.training = False
        yield network


def refuse_train_mode(model: nn.Module) -> None:
    """Raise a ValueError that names the layers if one would draw, or fill its statistics, in a forward.

    Args:
        model: any module. Dropout and RReLU, BatchNorm and InstanceNorm with statistics, and attention and
            recurrent layers with dropout are known; others are found by `check_deterministic`.

    Raises:
        ValueError: one of them is in train mode.

    Example:
        >>> refuse_train_mode(nn.Sequential(nn.Linear(2, 2), nn.Dropout()))
        Traceback (most recent call last):
        ValueError: 1 (Dropout) is in train mode, ...
        >>> refuse_train_mode(nn.Sequential(nn.Linear(2, 2), nn.Dropout()).eval())
    """
    found = [
        f"{name or 'model'} ({type(module).__name__})"
        for name, module in named_modules(model)
        if module.training and _acts_in_training(module)
    ]
    if found:
        raise ValueError(
            f"{', '.join(found[:8])}{' …' if len(found) > 8 else ''} is in train mode, so that a forward would draw, "
            "or fill statistics: call model.eval() first, or let a Probe take the measure"
        )


def check_deterministic(model: nn.Module, inputs: Tensor) -> None:
    """Raise a ValueError unless the network answers the same inputs twice the same, as it is.

    Two forwards are compared bit for bit (NaN equals NaN), with different random numbers at hand.

    Args:
        model: any module, in the mode in which it will be measured.
        inputs: of any size; a small batch is enough.

    Raises:
        ValueError: a layer in train mode would draw or fill statistics; the answers differ; or the inputs are of
            another dtype than the weights, and the forward fails.

    Example:
        >>> check_deterministic(nn.Linear(2, 2), torch.ones(3, 2))
    """
    refuse_train_mode(model)
    with undisturbed(model) as network, torch.no_grad(), dtypes_told(network, inputs):
        first, second = network(inputs), network(inputs)
    if not same_answers(first, second):
        raise ValueError(
            f"two forwards of the same inputs through the model ({type(unwrap(model)).__name__}) differ in eval mode, "
            "expected one answer: turn off what draws at random in its forward"
        )


@contextmanager
def dtypes_told(network: nn.Module, inputs: Tensor) -> Iterator[None]:
    """Name the dtypes of inputs and weights if they differ and the forward in the block fails.

    A network that casts its inputs takes any.

    Raises:
        ValueError: the forward fails, and the inputs are floating and in none of the dtypes of the weights.

    >>> model, inputs = nn.Linear(2, 2), torch.ones(1, 2).double()
    >>> with dtypes_told(model, inputs):
    ...     model(inputs)
    Traceback (most recent call last):
    ValueError: a forward failed, ...
    """
    try:
        yield
    except RuntimeError as error:
        dtypes = {parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()}
        if not inputs.is_floating_point() or not dtypes or inputs.dtype in dtypes:
            raise
        raise ValueError(
            f"a forward failed, and the inputs are of {inputs.dtype}, the weights of the model of "
            f"{', '.join(sorted(map(str, dtypes)))}: give data in the dtype of the model, such as "
            f"inputs.to({min(map(str, dtypes))}) ({error})"
        ) from error


def _acts_in_training(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return isinstance(module, nn.modules.batchnorm._BatchNorm) or module.track_running_stats
    if isinstance(module, _RANDOM):
        return getattr(module, "p", 1.0) > 0
    return isinstance(module, nn.MultiheadAttention | nn.RNNBase) and module.dropout > 0


def same_answers(first: Any, second: Any) -> bool:
    """Whether two answers of a network are the same bit for bit; a NaN equals another.

    >>> nan = torch.tensor(torch.nan)
    >>> same_answers(nan, nan.clone()), same_answers(nan, torch.ones(()))
    (True, False)
    """
    if isinstance(first, Tensor):
        return first.shape == second.shape and bool(
            ((first == second) | (first.isnan() & second.isnan())).all()
        )
    if isinstance(first, dict):
        return all(same_answers(value, second[key]) for key, value in first.items())
    if isinstance(first, list | tuple):
        return all(map(same_answers, first, second))
    return True


def _parameters(network: nn.Module) -> list[nn.Parameter]:
    parameters = list(network.parameters())
    for name, parameter in network.named_parameters():
        if is_lazy(parameter) or parameter.is_meta:
            raise ValueError(
                f"{name} has no values yet (it is lazy, or on the meta device): run one batch through the model, or "
                "load its weights, before it is measured"
            )
    return parameters


def _kept(module: nn.Module) -> Callable[[], None]:
    """Remember everything of a module but the values of its parameters; what is returned puts it back."""
    attributes = dict(vars(module))
    training = module.training
    places: list[dict[str, Any]] = [module._parameters, module._buffers]
    slots = [(place, dict(place)) for place in places]
    tensors = [
        (tensor, tensor.detach().clone(), _versions(tensor))
        for tensor in (*module._buffers.values(), *attributes.values())
        if isinstance(tensor, Tensor) and not isinstance(tensor, nn.Parameter)
    ]
    generators = [
        (value, value.get_state()) for value in attributes.values() if isinstance(value, torch.Generator)
    ]

    def restore() -> None:
        for name in vars(module).keys() - attributes.keys():
            del vars(module)[name]
        vars(module).update(attributes)
        module.training = training
        for place, content in slots:
            if list(map(id, place.values())) != list(map(id, content.values())):
                place.clear()
                place.update(content)
        for tensor, value, versions in tensors:
            # Writing counts as a change, which a backward that waits for this tensor would refuse.
            with versions:
                write(tensor, value)
        for generator, state in generators:
            generator.set_state(state)

    return restore


def _versions(tensor: Tensor) -> _unsafe_preserve_version_counter:
    return _unsafe_preserve_version_counter(() if tensor.is_inference() else tensor)


def _restore_gradients(kept: list[tuple[nn.Parameter, Tensor | None, bool]]) -> None:
    for parameter, gradient, requires_grad in kept:
        parameter.grad = gradient
        if parameter.requires_grad != requires_grad:
            parameter.requires_grad_(requires_grad)
