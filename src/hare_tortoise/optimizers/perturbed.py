"""What UPGD and AdaUPGD share: the trace of utility, the noise, the settings and the state."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from hare_tortoise.methods.support.names import is_sharded

Group = dict[str, Any]


class Perturbed(Optimizer):
    """Base of the two: a subclass says where to go, and the utility how far.

    `traces` names the tensors that are kept for each parameter, "utility" among them; `factor` multiplies the
    step size.
    """

    traces: ClassVar[tuple[str, ...]] = ("utility",)
    factor: ClassVar[float] = 1.0

    def __init__(self, params: Iterable[Any], defaults: Group, seed: int) -> None:
        self._start(seed)
        super().__init__(params, defaults)

    def _start(self, seed: int) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise ValueError(f"seed is {seed!r}, expected an integer of at least 0")
        self._seed = seed
        self._generators: dict[str, torch.Generator] = {}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with settings of their own.

        Raises:
            ValueError: as the class says; nothing is added then.
        """
        before = len(self.param_groups)
        super().add_param_group(param_group)
        try:
            for group in self.param_groups[before:]:
                self.check(group)
        except ValueError:
            del self.param_groups[before:]
            raise

    def check(self, group: Group) -> None:
        """Raise a ValueError if a setting or a parameter of a group is not one that the step can take."""
        for name in ("lr", "weight_decay", "sigma"):
            value = group[name]
            one = name == "lr" and isinstance(value, Tensor) and value.numel() == 1
            check_number(name, value.item() if one else value, math.inf)
        check_number("beta_utility", group["beta_utility"], 1.0)
        for parameter in group["params"]:
            if parameter.dtype not in (torch.float32, torch.float64):
                raise ValueError(
                    f"params: got a parameter in {parameter.dtype}, expected float32 or float64: keep the weights in "
                    "float32 and compute in half precision by torch.autocast"
                )
            if is_sharded(parameter):
                raise ValueError(
                    "params: got a sharded parameter (DTensor), of which each process has a part only"
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make a step.

        Args:
            closure: computes the loss and the gradients anew, and returns the loss; None: they are there.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        work = [(group, active) for group in self.param_groups if (active := _with_gradient(group))]
        if not work:
            return loss
        utilities = [self._utilities(group, active) for group, active in work]
        scale = _largest(utilities)
        for (group, active), utility in zip(work, utilities, strict=True):
            self._move(group, active, utility, scale)
        return loss

    def _utilities(self, group: Group, active: list[Tensor]) -> list[Tensor]:
        """Renew the traces, and give them corrected for their start at zero."""
        beta = group["beta_utility"]
        states = [self._state(parameter) for parameter in active]
        gradients = [cast(Tensor, parameter.grad) for parameter in active]
        traces = [state["utility"] for state in states]
        torch._foreach_mul_(traces, beta)
        torch._foreach_addcmul_(traces, gradients, active, value=beta - 1)
        return list(torch._foreach_div(traces, [1 - beta ** state["step"] for state in states]))

    def _state(self, parameter: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = 0
            for name in self.traces:
                state[name] = torch.zeros_like(parameter)
        state["step"] += 1
        return state

    def directions(self, group: Group, active: list[Tensor]) -> list[Tensor]:
        """Where to go without noise, in new tensors; the states of `active` are there."""
        raise NotImplementedError

    def _move(self, group: Group, active: list[Tensor], utility: list[Tensor], scale: Tensor) -> None:
        directions = self.directions(group, active)
        if group["sigma"]:
            torch._foreach_add_(directions, self._noise(active), alpha=group["sigma"])
        # 1 − sigmoid(x) = sigmoid(−x); what is left of `utility` is the share that may change.
        for index in _by_device(utility).values():
            some = [utility[i] for i in index]
            torch._foreach_div_(some, -scale.to(some[0].device))
            torch._foreach_sigmoid_(some)
        torch._foreach_mul_(directions, utility)
        lr = group["lr"]
        if isinstance(lr, Tensor) and lr.device.type == "cpu":
            lr = lr.item()
        if group["weight_decay"]:
            _multiply(active, 1 - lr * group["weight_decay"])
        if isinstance(lr, Tensor):
            # As a number it would be waited for.
            _multiply(directions, lr)
            lr = 1.0
        torch._foreach_add_(active, directions, alpha=-self.factor * lr)

    def _noise(self, like: list[Tensor]) -> list[Tensor]:
        """Standard normal noise: one draw for all tensors of a device and dtype."""
        noise: list[Tensor] = [torch.empty(0)] * len(like)
        for (device, dtype), index in _by_device(like).items():
            sizes = [like[i].numel() for i in index]
            flat = torch.randn(sum(sizes), generator=self._generator(device), device=device, dtype=dtype)
            for i, part in zip(index, torch.split(flat, sizes), strict=True):
                noise[i] = part.view(like[i].shape)
        return noise

    def _generator(self, device: torch.device) -> torch.Generator:
        if str(device) not in self._generators:
            self._generators[str(device)] = torch.Generator(device).manual_seed(self._seed)
        return self._generators[str(device)]

    def state_dict(self) -> dict[str, Any]:
        """Traces, counts and settings, and the seed and states of the generators under "noise"."""
        states = {name: generator.get_state() for name, generator in self._generators.items()}
        return {**super().state_dict(), "noise": {"seed": self._seed, "generators": states}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a saved state.

        Raises:
            ValueError: it is that of another optimizer, or of other groups.
        """
        if "noise" not in state_dict:
            raise ValueError(
                f'state_dict has the keys {sorted(state_dict)}, expected "noise" among them: load what the '
                f"state_dict() of a {type(self).__name__} gave"
            )
        super().load_state_dict({name: state_dict[name] for name in ("state", "param_groups")})
        self._start(state_dict["noise"]["seed"])
        for name, state in state_dict["noise"]["generators"].items():
            self._generator(torch.device(name)).set_state(state.cpu())

    def __getstate__(self) -> dict[str, Any]:
        states = {name: generator.get_state() for name, generator in self._generators.items()}
        inherited: dict[str, Any] = super().__getstate__()
        return {**inherited, "_seed": self._seed, "_generators": states}

    def __setstate__(self, state: dict[str, Any]) -> None:
        states = state.pop("_generators", None)
        super().__setstate__(state)
        if states is not None:
            self._generators = {}
            for name, value in states.items():
                self._generator(torch.device(name)).set_state(value)


def check_number(name: str, value: Any, below: float) -> None:
    """Raise a ValueError unless a value is a number of at least 0 and less than `below`."""
    number = isinstance(value, float | int) and not isinstance(value, bool)
    if not number or not 0 <= value < below:
        kind = "a finite number of at least 0" if below == math.inf else f"a number in [0, {below:g})"
        raise ValueError(f"{name} is {value!r}, expected {kind}")


def _with_gradient(group: Group) -> list[Tensor]:
    active = [parameter for parameter in group["params"] if parameter.grad is not None and parameter.numel()]
    for parameter in active:
        if parameter.grad.is_sparse:
            raise ValueError(
                "got a sparse gradient, expected a dense one: build the embedding with sparse=False"
            )
    return active


def _by_device(tensors: list[Tensor]) -> dict[tuple[torch.device, torch.dtype], list[int]]:
    """Indices of the tensors of each device and dtype."""
    found: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, tensor in enumerate(tensors):
        found.setdefault((tensor.device, tensor.dtype), []).append(i)
    return found


def _multiply(tensors: list[Tensor], factor: float | Tensor) -> None:
    """Multiply in place by a number that may be on a device."""
    if not isinstance(factor, Tensor):
        torch._foreach_mul_(tensors, factor)
        return
    for (device, dtype), index in _by_device(tensors).items():
        torch._foreach_mul_([tensors[i] for i in index], factor.reshape(()).to(device, dtype))


def _largest(utilities: list[list[Tensor]]) -> Tensor:
    """The size of the greatest utility of all, on the device of the first; above zero, so that it divides."""
    maxima = [maximum for group in utilities for maximum in torch._foreach_max(group)]
    together = torch.stack([maximum.to(maxima[0]) for maximum in maxima])
    return together.max().abs().clamp_min(torch.finfo(together.dtype).tiny)
