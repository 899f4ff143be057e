"""SAM and TRAC of the library pytorch-optimizer, around an optimizer of torch by name."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.optim import Optimizer

BASES: dict[str, type[Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


def sam(
    params: Iterable[Any],
    *,
    lr: float,
    weight_decay: float = 0.0,
    rho: float = 0.05,
    adaptive: bool = False,
    base: str = "adamw",
    **settings: Any,
) -> Optimizer:
    """Sharpness-aware minimisation: the base optimizer's step with the gradient at `θ + ε`.

        ε = rho · g / ‖g‖             adaptive: ε = rho · θ² · g / ‖ |θ| · g ‖, entry by entry

    with the norm over all parameters. The optimizer is the SAM of pytorch-optimizer, but for its `step(closure)`:
    the closure, which zeroes the gradients, computes them and returns the loss, is called twice, at `θ` and at
    `θ + ε`, as torch's closures are; what it returned at `θ` is returned. (The library's own `step` expects the
    gradients at `θ` to be there, and without them perturbs nothing, in silence.) Clip gradients inside the closure.
    Everything else that a forward changes, such as the statistics of a BatchNorm, is changed twice.

    Args:
        params: parameters, or groups of them.
        lr: step size of the base.
        weight_decay: of the base.
        rho: radius, at least 0; 0.05 is Foret et al.'s, 0.1 that of PLASTIC.
        adaptive: whether the radius follows the size of each weight (Kwon et al., 2021).
        base: "adam", "adamw" or "sgd" of torch.optim.
        **settings: of the base.

    Raises:
        ImportError: pytorch-optimizer is not installed.
        ValueError: there is no such base, a setting out of its range; at a step, no closure.
        TypeError: the base has no such setting.

    References:
        Foret et al., "Sharpness-Aware Minimization for Efficiently Improving Generalization", ICLR 2021,
        arXiv 2010.01412.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([3.0]))
        >>> optimizer = sam([weight], lr=0.1, rho=1.0, base="sgd")
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = weight.square().sum()
        ...     loss.backward()
        ...     return loss
        >>> optimizer.step(closure).item()
        9.0
        >>> round(weight.item(), 4)  # 3 − 0.1 · 2 · (3 + 1)
        2.2
    """
    kind = _base(base)
    if not 0 <= rho < math.inf:
        raise ValueError(f"rho is {rho!r}, expected a finite number of at least 0")
    optimizer: Optimizer = _sam()(
        params, kind, rho=rho, adaptive=adaptive, lr=lr, weight_decay=weight_decay, **settings
    )
    return optimizer


def trac(
    params: Iterable[Any],
    *,
    lr: float,
    weight_decay: float = 0.0,
    trac_betas: Sequence[float] = (0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999),
    s_prev: float = 1e-8,
    trac_eps: float = 1e-8,
    base: str = "adamw",
    **settings: Any,
) -> Optimizer:
    """TRAC: scale how far the base optimizer has come from where it started, without a setting to tune.

        h = ⟨Δ, g⟩     v_j ← β_j² · v_j + h²     σ_j ← β_j · σ_j − h
        S ← Σ_j s_prev / erfi(1/√2) · erfi(σ_j / (√(2 · v_j) + eps))
        θ ← θ_ref + max(S, 0) · (Δ + u)

    `Δ = (θ − θ_ref) / (S + eps)` is the way that the base alone has come, `u` its step now, `θ_ref` the weights at the
    first step. In the first steps `S` is about `s_prev`: the weights start from rest. In float32 steps so small are
    lost in rounding but for tiny weights: a small network may never start with the default, which is the paper's.
    The optimizer is the TRAC of pytorch-optimizer. It keeps its sums in float32, and reads a number from the device
    at each step.

    Args:
        params: parameters in float32 or float64, or groups of them.
        lr: step size of the base.
        weight_decay: of the base.
        trac_betas: the decays `β_j`, each from 0 to 1.
        s_prev: the scale at the start, above 0.
        trac_eps: above 0.
        base: "adam", "adamw" or "sgd" of torch.optim.
        **settings: of the base.

    Raises:
        ImportError: pytorch-optimizer is not installed.
        ValueError: there is no such base, or a setting out of its range.
        TypeError: the base has no such setting.

    References:
        Muppidi, Zhang and Yang, "Fast TRAC: A Parameter-Free Optimizer for Lifelong Reinforcement Learning",
        NeurIPS 2024, arXiv 2405.16642.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([3.0]))
        >>> optimizer = trac([weight], lr=0.1)
        >>> weight.square().sum().backward()
        >>> optimizer.step()
        >>> round(weight.item(), 5)  # from rest
        3.0
    """
    kind = _base(base)
    betas = tuple(trac_betas)
    if not betas or not all(0 <= beta <= 1 for beta in betas):
        raise ValueError(f"trac_betas is {trac_betas!r}, expected one or more numbers from 0 to 1")
    for name, value in (("s_prev", s_prev), ("trac_eps", trac_eps)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value!r}, expected a finite number above 0")
    inner = kind(params, lr=lr, weight_decay=weight_decay, **settings)  # type: ignore[call-arg]
    optimizer: Optimizer = _library().TRAC(inner, betas=betas, s_prev=s_prev, eps=trac_eps)
    return optimizer


def _base(name: str) -> type[Optimizer]:
    if name not in BASES:
        raise ValueError(f"base is {name!r}, expected one of {', '.join(map(repr, BASES))}")
    return BASES[name]


def _library() -> Any:
    try:
        import pytorch_optimizer
    except ImportError as error:
        raise ImportError(
            "SAM and TRAC are those of pytorch-optimizer, which is not installed: pip install "
            '"hare-tortoise[optimizers]"'
        ) from error
    return pytorch_optimizer


@functools.cache
def _sam() -> Any:
    plain: Any = _library().SAM

    class SAM(plain):  # type: ignore[misc]
        """The library's SAM with a closure as torch's optimizers have it."""

        @torch.no_grad()
        def step(self, closure: Callable[[], Any] | None = None) -> Any:
            if closure is None:
                raise ValueError(
                    "closure is None, expected a function that zeroes the gradients, computes them and returns the "
                    "loss: SAM needs them twice. Write optimizer.step(closure)"
                )
            with torch.enable_grad():
                loss = closure()
            self.first_step(zero_grad=True)
            with torch.enable_grad():
                closure()
            self.second_step()
            return loss

    return SAM
