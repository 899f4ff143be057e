"""The features of a network: what its output layer is given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from hare_tortoise.methods.support.names import named_modules

from .undisturbed import check_deterministic, undisturbed


def features(model: nn.Module, inputs: Tensor, head: str | None = None) -> Tensor:
    """The input of the output layer, one row per sample: `φ(x)`.

    Args:
        model: any module in eval mode, wrapped or not. It is left as it was, in every bit.
        inputs: shape (samples, ...).
        head: name of the output layer, any module; None: the `nn.Linear` that is called last.

    Returns:
        Shape (samples, features). What is put into a Linear keeps its last dimension and has a row for each position
        besides (a token, say); what is put into another module is flattened. What the model answers with does not
        matter: it may be a dict.

    Raises:
        ValueError: the model is in train mode with dropout or BatchNorm, or answers the same inputs differently;
            `head` names no module, or one that is not called; without `head` no Linear is called.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> features(model, torch.ones(5, 3)).shape
        torch.Size([5, 8])
    """
    check_deterministic(model, inputs[:8])
    with undisturbed(model) as network:
        return forward(network, [inputs], head)[1]


def one_tensor(outputs: Any) -> Tensor:
    """The outputs of a network, if they are a tensor.

    Raises:
        ValueError: they are a dict, a tuple or something else.

    >>> one_tensor(torch.ones(2)).shape
    torch.Size([2])
    """
    if isinstance(outputs, Tensor):
        return outputs
    raise ValueError(
        f"the model answers with a {type(outputs).__name__}, expected a tensor of outputs: wrap it in a module that "
        "gives the logits"
    )


@torch.no_grad()
def forward(
    network: nn.Module, batches: Iterable[Tensor], head: str | None = None
) -> tuple[list[Any], Tensor]:
    """Run a network, which is in eval mode, and give its answer to each batch and its features for all samples.

    Raises:
        ValueError: as `features`.
    """
    modules = dict(named_modules(network))
    if head is not None and head not in modules:
        raise ValueError(
            f"head is {head!r}, but the model has no such module; it has {', '.join(filter(None, modules))}"
        )
    watched = {head: modules[head]} if head is not None else _of_type(modules, nn.Linear)
    last: list[Tensor] = []

    def hook(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        given = (*arguments, *keywords.values())[0]
        wide = given.shape[-1] if isinstance(module, nn.Linear) else given[0].numel()
        # What the layer was given may be overwritten later.
        last[:] = [given.detach().reshape(-1, wide).clone()]

    handles = [
        module.register_forward_pre_hook(hook, prepend=False, with_kwargs=True) for module in watched.values()
    ]
    outputs, found = [], []
    try:
        for inputs in batches:
            last.clear()
            outputs.append(network(inputs))
            if not last:
                raise ValueError(_not_called(head, watched))
            found.append(last[0])
    finally:
        for handle in handles:
            handle.remove()
    return outputs, torch.cat(found)


def _of_type(modules: dict[str, nn.Module], kind: type[nn.Module]) -> dict[str, nn.Module]:
    return {name: module for name, module in modules.items() if isinstance(module, kind)}


def _not_called(head: str | None, watched: dict[str, nn.Module]) -> str:
    if head is not None:
        return (
            f"head is {head!r}, a module that a forward does not call: name the layer that gives the outputs"
        )
    why = f"none of {', '.join(watched)} is called" if watched else "there is none"
    return f"head is None, which is the last nn.Linear that a forward calls, but {why}: name the output layer by head="
