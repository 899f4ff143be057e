"""UPGD: gradient steps and noise that spare the weights that are of use."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor

from hare_tortoise.optimizers.perturbed import Group, Perturbed, check_number


class UPGD(Perturbed):
    """Utility-based perturbed gradient descent, first order, with the global maximum.

        U ← beta_utility · U − (1 − beta_utility) · g · θ         Û = U / (1 − beta_utility^t)
        s = sigmoid(Û / max Û)                                    the maximum over all parameters
        θ ← (1 − lr · weight_decay) · θ − lr · (g + ξ) · (1 − s),    ξ ~ N(0, sigma²)

    Both step and noise are small where a weight is of use (to first order the loss would rise without it) and
    large elsewhere. The paper's repository divides the corrected `Û` by the maximum of traces that are *not* corrected,
    which drives `s` to 1 or 0 in the first steps; here both are corrected, so that the correction matters only where
    parameters differ in their number of steps. Where no utility is above zero the formula would turn the order round:
    the size of the maximum is taken, so that it stays. (The formulas are those of the repository and of notes on the
    paper; the paper's text was not read.)

    Args:
        params: parameters in float32 or float64, or groups of them. Those without a gradient at a step are left out.
        lr: step size, at least 0; a number, or a tensor of one.
        weight_decay: decoupled, at least 0.
        beta_utility: decay of the trace of utility, in [0, 1); the paper searches 0.99 and 0.999.
        sigma: standard deviation of the noise, at least 0; the paper searches 0.01 to 1.
        seed: of the noise, which comes from a generator of its own (one for each device), saved in the state.

    Raises:
        ValueError: a setting out of its range; a parameter that is complex, of half precision (keep the weights in
            float32 and use autocast) or sharded; at a step, a sparse gradient.

    References:
        Elsayed and Mahmood, "Addressing Loss of Plasticity and Catastrophic Forgetting in Continual Learning",
        ICLR 2024, arXiv 2404.00781.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0, -1.0]))
        >>> optimizer = UPGD([weight], lr=0.1, sigma=0.0)
        >>> weight.sum().backward()
        >>> optimizer.step()
        >>> [round(value, 4) for value in weight.tolist()]  # the utilities are −1 and 1, and s sigmoid of them
        [0.9269, -1.0269]
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        *,
        weight_decay: float = 0.0,
        beta_utility: float = 0.999,
        sigma: float = 1e-2,
        seed: int = 0,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "beta_utility": beta_utility, "sigma": sigma}
        super().__init__(params, defaults, seed)

    def directions(self, group: Group, active: list[Tensor]) -> list[Tensor]:
        """Down the gradient."""
        return [cast(Tensor, parameter.grad).clone() for parameter in active]


class AdaUPGD(Perturbed):
    """UPGD along Adam's direction, with twice the step size.

        m ← beta1 · m + (1 − beta1) · g        v ← beta2 · v + (1 − beta2) · g²
        θ ← (1 − lr · weight_decay) · θ − 2 · lr · (m̂ / (√v̂ + eps) + ξ) · (1 − s),    ξ ~ N(0, sigma²)

    with the bias-corrected `m̂` and `v̂`, and with `s` as in `UPGD`. The factor 2 makes up for `1 − s` being ½ at
    utility zero; the weight decay is not doubled. The defaults are those of the paper's repository for PPO.

    Args:
        params: parameters in float32 or float64, or groups of them.
        lr: step size, at least 0; a number, or a tensor of one.
        weight_decay: decoupled, at least 0.
        beta_utility: decay of the trace of utility, in [0, 1).
        sigma: standard deviation of the noise, at least 0.
        betas: decays of the two moments, each in [0, 1).
        eps: added to the root of the second moment, at least 0.
        seed: of the noise.

    Raises:
        ValueError: as in `UPGD`.

    References:
        Elsayed and Mahmood, ICLR 2024, arXiv 2404.00781.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = AdaUPGD([weight], lr=0.1, sigma=0.0, eps=0.0)
        >>> weight.sum().backward()
        >>> optimizer.step()
        >>> weight.item()  # the utility is zero: half of 2 · lr
        -0.10000000149011612
    """

    traces = ("utility", "first_moment", "second_moment")
    factor = 2.0

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-5,
        *,
        weight_decay: float = 1e-3,
        beta_utility: float = 0.999,
        sigma: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-5,
        seed: int = 0,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "beta_utility": beta_utility,
            "sigma": sigma,
            "betas": betas,
            "eps": eps,
        }
        super().__init__(params, defaults, seed)

    def check(self, group: Group) -> None:
        """Raise a ValueError if a setting or a parameter of a group is not one that the step can take."""
        super().check(group)
        check_number("eps", group["eps"], math.inf)
        if not isinstance(group["betas"], list | tuple) or len(group["betas"]) != 2:
            raise ValueError(
                f"betas is {group['betas']!r}, expected two numbers from 0 to 1, such as (0.9, 0.999)"
            )
        for beta in group["betas"]:
            check_number("betas", beta, 1.0)

    def directions(self, group: Group, active: list[Tensor]) -> list[Tensor]:
        """Adam's direction."""
        beta1, beta2 = group["betas"]
        gradients = [cast(Tensor, parameter.grad) for parameter in active]
        states = [self.state[parameter] for parameter in active]
        first = [state["first_moment"] for state in states]
        second = [state["second_moment"] for state in states]
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, value=1 - beta2)
        roots = torch._foreach_div(second, [1 - beta2 ** state["step"] for state in states])
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, group["eps"])
        directions = torch._foreach_div(first, [1 - beta1 ** state["step"] for state in states])
        torch._foreach_div_(directions, roots)
        return list(directions)
