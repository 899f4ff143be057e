"""The averaging step of Hare & Tortoise and of its peers, each ready to be called once per step."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from ema_pytorch import EMA
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn

from hare_tortoise import HareTortoise

DECAY = 0.999
Step = Callable[[], object]


class Listening(Optimizer):
    """An optimizer that keeps the hook of its step, so that the hook can be timed alone."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__(parameters, {})
        self.hook: Any = None

    def register_step_post_hook(self, hook: Any) -> Any:
        """Keep the hook, and register it as ever."""
        self.hook = hook
        return super().register_step_post_hook(hook)


def hare_tortoise(model: nn.Module) -> Step:
    """Ours as it is used: the hook that it registers with the optimizer, called as the optimizer calls it."""
    optimizer = Listening(list(model.parameters()))
    HareTortoise(model, optimizer, decay=DECAY, reset_every=1_000_000)
    hook = optimizer.hook
    return lambda: hook(optimizer, (), {})


def reset(model: nn.Module) -> Step:
    """Ours: a reset, the check for values that are not finite included."""
    return HareTortoise(model, decay=DECAY).reset


def averaged_model(model: nn.Module, *, foreach: bool = True) -> Step:
    """Torch's own, with its EMA function over lists or over single tensors."""
    average_lists: Any = get_ema_multi_avg_fn(DECAY)  # type: ignore[no-untyped-call]
    average_tensors: Any = get_ema_avg_fn(DECAY)  # type: ignore[no-untyped-call]
    if foreach:
        average = AveragedModel(model, multi_avg_fn=average_lists)
    else:
        average = AveragedModel(model, avg_fn=average_tensors)
    return lambda: average.update_parameters(model)


def ema_pytorch(model: nn.Module, *, foreach: bool) -> Step:
    """The package ema-pytorch, set to average at every step with the same constant decay."""
    average = EMA(
        model,
        beta=DECAY,
        min_value=DECAY,
        update_after_step=0,
        update_every=1,
        include_online_model=False,
        use_foreach=foreach,
    )
    step: Step = average.update
    return step


def lerp_loop(model: nn.Module) -> Step:
    """The loop that one writes by hand, over the parameters of the two modules."""
    average = copy.deepcopy(model)

    @torch.no_grad()
    def step() -> None:
        for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
            slow.lerp_(fast.to(slow.dtype), 1 - DECAY)

    return step


def float32_lerp_loop(model: nn.Module) -> Step:
    """The same loop for a float32 average of a narrower model."""
    average = copy.deepcopy(model).float()

    @torch.no_grad()
    def step() -> None:
        for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
            slow.lerp_(fast.float(), 1 - DECAY)

    return step


def ready_lists(model: nn.Module) -> Step:
    """One foreach call on the parameters, in lists that are built beforehand."""
    fast = [parameter.detach() for parameter in model.parameters()]
    slow = [tensor.clone() for tensor in fast]
    return lambda: torch._foreach_lerp_(slow, fast, 1 - DECAY)


def ready_mixed_lists(model: nn.Module) -> Step:
    """Two foreach calls on ready lists, for a float32 average of a narrower model."""
    fast = [parameter.detach() for parameter in model.parameters()]
    slow = [tensor.float() for tensor in fast]

    def step() -> None:
        torch._foreach_mul_(slow, DECAY)
        torch._foreach_add_(slow, fast, alpha=1 - DECAY)

    return step


def flat(model: nn.Module) -> Step:
    """The bound: a single `lerp_` over one flat tensor with as many elements."""
    fast = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    slow: Tensor = fast.clone()
    return lambda: slow.lerp_(fast, 1 - DECAY)
