"""Forgetting what an optimizer has gathered: its next steps are those of a newly built one."""

from __future__ import annotations

from torch.optim import Adagrad, Optimizer


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
