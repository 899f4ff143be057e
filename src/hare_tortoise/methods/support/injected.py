"""A head with two frozen ones beside it, which plasticity injection puts in the place of the head of a network."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from .blank import blank_copy
from .names import named_modules, named_weights, unwrap
from .parts import find_part


class Injected(nn.Module):
    """A head with the two frozen ones of plasticity injection: `f(x) = old(x) + (trained(x) − start(x))`."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.trained = head
        self.old, self.start = _frozen(head), _frozen(head)
        device = next(iter(named_weights(head).values())).device
        self.register_buffer("injected", torch.zeros((), dtype=torch.bool, device=device))
        self.training = head.training

    injected: Tensor

    def forward(self, *inputs: object, **named: object) -> Tensor:
        """Answer as before at the injection, bit for bit: then `trained` and `start` are equal."""
        outputs: Tensor = self.old(*inputs, **named) + (
            self.trained(*inputs, **named) - self.start(*inputs, **named)
        )
        return outputs

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Be a new head without any injection."""
        frozen = (named_weights(self.old), named_weights(self.start))
        for name, tensor in named_weights(self.trained).items():
            for weights in frozen:
                if isinstance(tensor, nn.Parameter):
                    weights[name].zero_()
        self.injected.fill_(False)


def wrap_head(model: nn.Module, path: str) -> Injected:
    """Put an injected head in the place of a module that is named by its path."""
    parent, _, name = path.rpartition(".")
    owner = find_part(model, parent) if parent else unwrap(model)
    head = Injected(cast(nn.Module, owner._modules[name]))
    setattr(owner, name, head)
    return head


def wrap_alike(network: nn.Module, model: nn.Module) -> None:
    """Wrap in a new network the heads that are wrapped in a model; what it has not is left to the comparison of names.

    >>> model, network = (nn.Sequential(nn.Linear(1, 1)) for _ in range(2))
    >>> _ = wrap_head(model, "0")
    >>> wrap_alike(network, model)
    >>> network.state_dict().keys() == model.state_dict().keys()
    True
    """
    wrapped = [name for name, module in named_modules(model) if name and isinstance(module, Injected)]
    for name in wrapped:
        found = dict(named_modules(network)).get(name)
        if found is not None and not isinstance(found, Injected):
            wrap_head(network, name)


def _frozen(head: nn.Module) -> nn.Module:
    """A copy of a head whose parameters are buffers, zero for now."""
    weights = named_weights(head)
    copy = blank_copy(head)
    buffers: dict[int, Tensor] = {}
    for name, tensor in named_weights(copy).items():
        like = weights[name]
        value = tensor.detach().to(like.device, like.dtype)
        buffers[id(tensor)] = torch.zeros_like(value) if isinstance(tensor, nn.Parameter) else value
    for module in copy.modules():
        for place in (module._buffers, module._parameters):
            for key, own in list(place.items()):
                if own is not None:
                    del place[key]
                    module._buffers[key] = buffers[id(own)]
    return copy
