"""Forgetting what an optimizer has gathered: all of it, some parameters, or some entries of one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import LBFGS, Adagrad, Optimizer

from .names import local


def clear_state(optimizer: Optimizer) -> None:
    """Forget moments, step counts and histories; groups, hooks and learning rates stay.

    The next steps are bit for bit those of an optimizer newly built from the same class and groups, for every
    class in `torch.optim`. (Zeroed moments are not that: an Adam with zeroed moments and its old step count
    does not correct their bias.) An optimizer from elsewhere that keeps counts in its groups keeps these.

    Args:
        optimizer: one that has made any number of steps.

    >>> import torch
    >>> weight = torch.ones(1, requires_grad=True)
    >>> optimizer = torch.optim.Adam([weight])
    >>> weight.sum().backward()
    >>> optimizer.step()
    >>> clear_state(optimizer)
    >>> len(optimizer.state)
    0
    """
    optimizer.state.clear()
    if isinstance(optimizer, Adagrad):
        # It makes its state when it is built, and in older releases of torch only then; a twin makes it again.
        twin = Adagrad([dict(group) for group in optimizer.param_groups], **optimizer.defaults)
        optimizer.state.update(twin.state)


def forget(optimizer: Optimizer, parameters: Iterable[Tensor]) -> None:
    """Forget what an optimizer has gathered about some parameters, as if they had been added just now.

    L-BFGS has one history for all its parameters, which is forgotten as a whole.

    >>> weights = [torch.ones(1, requires_grad=True) for _ in range(2)]
    >>> optimizer = torch.optim.Adam(weights)
    >>> sum(weights).backward()
    >>> optimizer.step()
    >>> forget(optimizer, weights[:1])
    >>> weights[0] in optimizer.state, weights[1] in optimizer.state
    (False, True)
    """
    if isinstance(optimizer, LBFGS):
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        # Its history stands under its first parameter.
        if any(id(parameter) in held for parameter in parameters):
            clear_state(optimizer)
        return
    gone = [parameter for parameter in parameters if parameter in optimizer.state]
    for parameter in gone:
        del optimizer.state[parameter]
    if gone and isinstance(optimizer, Adagrad):
        # It makes its state when it is built; a twin makes it again.
        twin = Adagrad([dict(group) for group in optimizer.param_groups], **optimizer.defaults)
        optimizer.state.update({parameter: twin.state[parameter] for parameter in gone})


@torch.no_grad()
def clear_entries(optimizer: Optimizer, parameter: Tensor, where: Tensor) -> None:
    """Forget what an optimizer has gathered about some entries of a parameter, as if these had just been made.

    Tensors of the parameter's shape are set to what a new optimizer starts with: zero for momentum and moments;
    for Adagrad `initial_accumulator_value`; for Rprop's `step_size` the learning rate; for ASGD's average and the
    sequence `z` of schedule-free optimizers the weight as it is now. Of factored moments (Adafactor), rows and
    columns that are cleared entirely become zero. L-BFGS, whose history is that of all parameters together,
    forgets everything.

    The step count stays, as it is one number for a whole tensor: set to zero it would spoil the bias correction
    of all entries that are kept. Without it, Adam's first steps in the cleared entries are up to
    `(1 - beta1) / sqrt(1 - beta2)` times the learning rate, 3.2 at the defaults.

    Args:
        optimizer: one that holds the parameter; if it has no state for it yet, nothing is done.
        parameter: already with its new values; a sharded one with this process's part.
        where: boolean, of the shape of the parameter (of this process's part of it).

    >>> weight = torch.ones(2, requires_grad=True)
    >>> optimizer = torch.optim.SGD([weight], lr=1.0, momentum=0.9)
    >>> weight.sum().backward()
    >>> optimizer.step()
    >>> clear_entries(optimizer, weight, torch.tensor([True, False]))
    >>> optimizer.state[weight]["momentum_buffer"]
    tensor([0., 1.])
    """
    if isinstance(optimizer, LBFGS):
        clear_state(optimizer)
        return
    state = optimizer.state.get(parameter, {})
    group = next(group for group in optimizer.param_groups if any(p is parameter for p in group["params"]))
    for name, value in state.items():
        if not isinstance(value, Tensor) or value.ndim != parameter.ndim or value.ndim == 0:
            continue
        part = local(value)
        reduced = [dim for dim in range(part.ndim) if part.shape[dim] != where.shape[dim]]
        if any(part.shape[dim] != 1 for dim in reduced):
            continue
        mask = where.to(part.device)
        for dim in reduced:
            mask = mask.all(dim, keepdim=True)
        start = _start(optimizer, group, name, parameter)
        part.copy_(torch.where(mask, torch.as_tensor(start, dtype=part.dtype, device=part.device), part))


def _start(optimizer: Optimizer, group: dict[str, Any], name: str, parameter: Tensor) -> Any:
    """What an entry of an optimizer's state is at the start."""
    kind = type(optimizer).__name__
    if name == "ax" or (name == "z" and "ScheduleFree" in kind):
        return local(parameter).detach()
    if name == "sum" and isinstance(optimizer, Adagrad):
        return group.get("initial_accumulator_value", 0.0)
    if name == "step_size" and kind == "Rprop":
        return group["lr"]
    return 0.0
