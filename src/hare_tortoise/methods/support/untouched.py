"""Running a network for a method's own purposes, without leaving a trace in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from .names import local, named_modules, named_weights
from .randomness import seeded
from .sharding import reshard


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put a network in eval mode for a `with` block, with gradients set aside.

    Afterwards modes, buffers, gradients and the global random states are as they were. Inside, gradients are None
    at first, and the random states are always the same.

    >>> model = nn.BatchNorm1d(1)
    >>> with untouched(model):
    ...     model.training, model.weight.grad
    (False, None)
    >>> model.training
    True
    """
    reshard(model)
    weights = named_weights(model)
    parameters = [tensor for tensor in weights.values() if isinstance(tensor, nn.Parameter)]
    gradients = [parameter.grad for parameter in parameters]
    buffers = [
        (module._buffers, name, buffer, buffer.clone())
        for _, module in named_modules(model)
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    modes = [(module, module.training) for _, module in named_modules(model)]
    with seeded(0, {tensor.device for tensor in weights.values()}):
        try:
            for module, _ in modes:
                module.training = False
            for parameter in parameters:
                parameter.grad = None
            yield
        finally:
            reshard(model)
            for module, training in modes:
                module.training = training
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            with torch.no_grad():
                for place, name, buffer, value in buffers:
                    # Some forwards assign them anew.
                    place[name] = buffer
                    local(buffer).copy_(local(value))
