"""Lending the weights of the tortoise to the user's own module, and giving the module its own back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .names import local, named_modules, named_weights, unwrap
from .sharding import process_groups, reshard, take_from_first_rank

_LENT: set[int] = set()


def refuse_while_lent(model: nn.Module, what: str) -> None:
    """Raise a RuntimeError if a module has the weights of an average at the moment, of whichever."""
    if _LENT and id(unwrap(model)) in _LENT:
        raise RuntimeError(
            f"{what} inside deployed_weights(), where the model has the weights of the tortoise: do it outside"
        )


@contextmanager
def lent(
    model: nn.Module, average: Mapping[str, Tensor], buffers: Sequence[str], optimizers: Sequence[Optimizer]
) -> Iterator[None]:
    """Give a module the weights of an average for the time of a `with` block.

    Args:
        model: its values, modes and `requires_grad` are restored at the end, whatever happens inside.
        average: the values to lend by canonical name.
        buffers: the names of buffers that are the first process's everywhere.
        optimizers: a step of theirs inside is a RuntimeError, before it changes anything.
    """
    refuse_while_lent(model, "a second deployed_weights()")
    reshard(model)
    hare = named_weights(model)
    kept = {name: tensor.detach().clone() for name, tensor in hare.items()}
    modes = {module: module.training for _, module in named_modules(model)}
    with ExitStack() as undo:
        undo.callback(_LENT.discard, id(unwrap(model)))
        undo.callback(_restore, model, hare, kept, modes, _owners(model))
        for optimizer in optimizers:
            undo.callback(optimizer.register_step_pre_hook(_refuse_step).remove)
        names = {id(tensor): name for name, tensor in hare.items()}
        module: Any
        for _, module in named_modules(model):
            own = {
                name: kept[names[id(tensor)]]
                for place in (module._parameters, module._buffers)
                for name, tensor in place.items()
                if tensor is not None
            }
            undo.callback(module.register_state_dict_post_hook(_saving(own)).remove)
            undo.callback(module.register_load_state_dict_pre_hook(_refuse_loading).remove)
        with torch.no_grad():
            for name, value in average.items():
                local(hare[name]).copy_(local(value))
            take_from_first_rank([hare[name] for name in buffers], process_groups(model))
        model.eval()
        _LENT.add(id(unwrap(model)))
        yield


def _refuse_step(_optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
    raise RuntimeError(
        "an optimizer step inside deployed_weights() would train the tortoise, and be undone at the end: step outside"
    )


def _refuse_loading(*_: Any) -> None:
    raise RuntimeError(
        "loading a state into the model inside deployed_weights() would be undone at the end: load outside"
    )


Owners = list[tuple[dict[str, Any], str, Tensor, bool]]


def _owners(model: nn.Module) -> Owners:
    """Where each tensor of the model is kept, and whether it requires a gradient."""
    return [
        (place, name, tensor, tensor.requires_grad)
        for _, module in named_modules(model)
        for place in (module._parameters, module._buffers)
        for name, tensor in place.items()
        if tensor is not None
    ]


@torch.no_grad()
def _restore(
    model: nn.Module,
    hare: Mapping[str, Tensor],
    kept: Mapping[str, Tensor],
    modes: Mapping[nn.Module, bool],
    owners: Owners,
) -> None:
    reshard(model)
    for place, name, tensor, requires_grad in owners:
        place[name] = tensor
        if tensor.requires_grad != requires_grad:
            tensor.requires_grad_(requires_grad)
    for name, value in kept.items():
        local(hare[name]).copy_(local(value))
    model.train(modes[unwrap(model)])
    for module, training in modes.items():
        module.training = training


def _saving(own: Mapping[str, Tensor]) -> Any:
    """A hook that puts a module's own weights into its `state_dict()`, in place of the lent ones."""

    def hook(_module: nn.Module, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
        for name, value in own.items():
            if prefix + name in state:
                state[prefix + name] = value

    return hook
