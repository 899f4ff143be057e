"""The base class of every method: the moments at which it can act, and the hook that calls it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Batches = Iterable[tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Change:
    """What a method did to the weights of the model, so that the averages of a chain can follow it.

    Args:
        apply: does the same, with the same draw, to other tensors in place. Its argument maps canonical
            names to tensors, as `named_weights` gives them.
        whole: the network is a new one; averages start again as copies of it and counts start at zero.
    """

    apply: Callable[[Mapping[str, Tensor]], None]
    whole: bool = False


class Method:
    """A way to keep a network plastic: overrides the moments at which it acts."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self, model: nn.Module, optimizer: Optimizer | Sequence[Optimizer] | None = None, *, seed: int = 0
    ) -> None:
        self.model = model
        self.generator = torch.Generator().manual_seed(seed)
        self.listeners: tuple[Method, ...] = ()
        self._handle: Any = None
        if optimizer is not None:
            self.attach(optimizer)

    def attach(self, optimizer: Optimizer | Sequence[Optimizer]) -> Self:
        """Hook a rebuilt or reloaded optimizer; counts and averages go on."""
        self.detach()
        last = optimizer if isinstance(optimizer, Optimizer) else optimizer[-1]

        def hook(stepped: Optimizer, _args: Any, _kwargs: Any) -> None:
            self.after_step(getattr(stepped, "found_inf", None))

        self._handle = last.register_step_post_hook(hook)
        return self

    def detach(self) -> None:
        """Unhook from the optimizer."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    @property
    def adds_penalty(self) -> bool:
        """Whether `penalty` has anything to add to the loss."""
        return type(self).penalty is not Method.penalty

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        """A term for the loss."""
        return outputs.new_zeros(())

    def after_step(self, skipped: Tensor | None = None) -> None:
        """Act after an optimizer step."""

    def new_data(
        self, batches: Batches | None = None, *, loss: Loss | None = None, steps: int | None = None
    ) -> None:
        """Act because the data has changed."""

    def changed(self, change: Change) -> None:
        """Tell the other members of the chain what was done to the weights."""
        for listener in self.listeners:
            listener.weights_changed(change)

    def weights_changed(self, change: Change) -> None:
        """Follow what another member of the chain did to the weights."""

    @property
    def deployed(self) -> nn.Module:
        """The network to evaluate and to ship."""
        return self.model

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers, strings and containers: loads with `weights_only=True`."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state."""
        self.generator.set_state(state["generator"])
