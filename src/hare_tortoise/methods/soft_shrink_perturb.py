"""Soft Shrink & Perturb: a tiny part of the way to a fresh network, after every step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .schedules import check_interval
from .support.fresh import Fresh, check_drawable, draw_fresh
from .support.names import local, named_weights
from .support.projection import Projection
from .support.values import share


class SoftShrinkPerturb(Projection):
    """Shrink the weights and add noise after each optimizer step: `θ ← shrink·θ + perturb·φ`.

    `φ` are the weights of a freshly initialised network, drawn anew for each step by the layers' own initialisers,
    so that each tensor has noise of its own scale, and a normalisation is drawn to ones and zeros. All parameters that
    require a gradient take part; buffers stay. Where `ShrinkPerturb` acts when data arrives, this needs no such moment.

    Drawing a network takes about as long as building one, next to nothing beside a step of a large network on the CPU
    and as long as the step of a small one. `redraw_every=k` keeps each `φ` for k steps, an approximation: the mean
    of what is added is the same, but k equal draws add up to `k·perturb·φ`, with a standard deviation √k times
    that of k independent ones. A network is drawn where `fresh` builds it: `torch.device("cuda")` around the network
    that it builds draws on the GPU. In half precision steps this small are rounded away, and a `shrink` that can
    move no weight is refused: keep weights in float32, and cast by autocast.

    Averages of a chain do not follow these nudges: put this method before them, so that they average weights that
    were nudged.

    Args:
        model: any network.
        optimizer: its optimizer(s); the state is not touched.
        shrink: factor of the old weights for each step, from 0 to 1.
        perturb: factor of the noise for each step, finite and at least 0; None: `1 − shrink`, as in the paper.
            `shrink=1, perturb=0` changes nothing, and draws nothing.
        redraw_every: steps for which a draw is used, at least 1.
        fresh: builds a new network with the same names and shapes; None: `reset_parameters` of each module.
        seed: of the draws.

    Raises:
        ValueError: for a factor or an interval out of its range; for a `shrink` so near 1 that the dtype of the weights
            rounds it away; without `fresh`, for parameters that no
            `reset_parameters` initialises, by name; after the first step, if `fresh` builds another network.
        TypeError: `fresh` is not a function.
        RuntimeError: after a step, if layers were removed or resized meanwhile.

    References:
        Juliani and Ash, "A Study of Plasticity Loss in On-Policy Deep Reinforcement Learning", NeurIPS 2024, arXiv
        2405.19153; 0.999999 and 1e-6 are the values of the authors' code.

    Example:
        >>> model = nn.LayerNorm(2)  # whose fresh scale is 1
        >>> _ = model.weight.data.fill_(3.0)
        >>> method = SoftShrinkPerturb(model, shrink=0.5)
        >>> method.after_step()
        >>> model.weight.tolist()
        [2.0, 2.0]
    """

    needs: ClassVar[frozenset[str]] = frozenset({"fresh"})
    in_steps: ClassVar[Mapping[str, Literal["decay", "interval"]]] = {"redraw_every": "interval"}

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        shrink: float = 0.999999,
        perturb: float | None = None,
        redraw_every: int = 1,
        fresh: Fresh | None = None,
        seed: int = 0,
    ) -> None:
        if not 0 <= shrink <= 1:
            raise ValueError(
                f"shrink is {shrink}, expected a number from 0 to 1: the share of θ that a step keeps"
            )
        if perturb is not None and not (math.isfinite(perturb) and perturb >= 0):
            raise ValueError(f"perturb is {perturb}, expected a finite number of at least 0")
        super().__init__(model, seed=seed)
        weights = named_weights(model)
        check_drawable(model, fresh, self._names(weights))
        _check_precision(shrink, {name: weights[name] for name in self._names(weights)})
        self.shrink = shrink
        self.perturb = 1 - shrink if perturb is None else perturb
        self.redraw_every = check_interval(redraw_every, "redraw_every")
        self.fresh = fresh
        # `φ`, for how many steps it was used, and the generator's state that it came from, to draw it again.
        self._phi: dict[str, Tensor] = {}
        self._uses = 0
        self._drawn_from = self.generator.get_state()
        if optimizer is not None:
            self.attach(optimizer)

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        """Shrink the weights and add the noise."""
        thetas = self.trained(weights, self._names(weights))
        if not thetas:
            return
        parts = [local(theta) for theta in thetas.values()]
        changes = [
            theta.to(torch.promote_types(theta.dtype, torch.float32)) * (self.shrink - 1) for theta in parts
        ]
        if self.perturb:
            phi = self._draw(thetas)
            torch._foreach_add_(changes, [phi[name] for name in thetas], alpha=self.perturb)
        if skipped is not None:
            for change in changes:
                change.masked_fill_(skipped.to(change.device, non_blocking=True), 0.0)
        # θ + (perturb·φ − (1 − shrink)·θ): rounded once, where a product with 0.999999 would be rounded before.
        torch._foreach_add_(parts, changes)

    def _draw(self, thetas: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return this process's shares of `φ`, a new one if it is time."""
        if self._uses == 0:
            self._drawn_from = self.generator.get_state()
            self._phi = self._shares(thetas, self.generator)
        elif self._phi.keys() != thetas.keys():
            self._phi = self._shares(thetas, torch.Generator().set_state(self._drawn_from))
        self._uses = (self._uses + 1) % self.redraw_every
        return self._phi

    def _shares(self, thetas: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        drawn = draw_fresh(self.model, self.fresh, generator, only=thetas.keys())
        return {name: share(theta, drawn[name]) for name, theta in thetas.items()}

    def _names(self, weights: Mapping[str, Tensor]) -> list[str]:
        """Names of the parameters that require a gradient."""
        return [name for name, tensor in weights.items() if tensor.requires_grad]

    def state_dict(self) -> dict[str, Any]:
        """Return the state; of a draw that is used again, what it is drawn from."""
        return super().state_dict() | {
            "uses": self._uses,
            "drawn_from": self._drawn_from if self._uses else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state."""
        super().load_state_dict(state)
        self._phi, self._uses = {}, state["uses"]
        if self._uses:
            self._drawn_from = state["drawn_from"].cpu()

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise a ValueError unless a saved state is of this method, with the same `redraw_every` at least."""
        super().check_state(state)
        if not 0 <= state.get("uses", -1) < self.redraw_every:
            raise ValueError(
                f"state has a draw that was used {state.get('uses')} times, expected fewer than redraw_every "
                f"({self.redraw_every}): load it into a method with the settings it was saved with"
            )


def _check_precision(shrink: float, thetas: Mapping[str, Tensor]) -> None:
    """Raise a ValueError where `(1 − shrink)·θ` is rounded away whatever θ is: it would be ignored."""
    for name, theta in thetas.items():
        # Half the distance to the next number is at least this share of a number.
        smallest = torch.finfo(theta.dtype).eps / 4
        if 0 < 1 - shrink < smallest:
            raise ValueError(
                f"shrink is {shrink}, which in {str(theta.dtype).removeprefix('torch.')} ({name}) changes no weight, "
                f"expected 1, or at most {1 - smallest:.4g}: keep the weights in float32, and cast by autocast"
            )
