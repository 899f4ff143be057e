"""What a measure is given: the network at one moment, the data it is measured on, and what both have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hare_tortoise.methods import Loss

from .features import forward, one_tensor
from .rank import singular_values
from .units import Activity, over_batches


@dataclass(frozen=True, kw_only=True)
class Context:
    """A network in eval mode and the data it is measured on; forwards are run once and shared by the measures.

    It is used inside `undisturbed(model)`.

    Args:
        model: the network that is measured, without wrappers; what is trained of it requires a gradient.
        batches: pairs of inputs and targets on its device, at least one.
        loss: of outputs and targets, a scalar.
        trained: the network that is trained; None: it is `model`.
        deployed: the network that a method deploys (the tortoise); None: there is none.
        initial: the weights at the start by canonical name; empty if no measure asked for them.
        head: name of the output layer, whose input are the features; None: the last Linear that is called.
        fresh: builds a new network of the same form; None: `reset_parameters` of each module.
        memory: tensors that a measure leaves there for the next time, by a key that starts with its name.
    """

    model: nn.Module
    batches: Sequence[tuple[Tensor, Tensor]]
    loss: Loss = cross_entropy
    trained: nn.Module | None = None
    deployed: nn.Module | None = None
    initial: Mapping[str, Tensor] = field(default_factory=dict)
    head: str | None = None
    fresh: Callable[[], nn.Module] | None = None
    memory: MutableMapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def inputs(self) -> Tensor:
        """All inputs, shape (samples, ...)."""
        return torch.cat([inputs for inputs, _ in self.batches])

    @cached_property
    def targets(self) -> Tensor:
        """All targets, shape (samples, ...)."""
        return torch.cat([targets for _, targets in self.batches])

    @cached_property
    def outputs(self) -> Tensor:
        """What the network answers to all inputs, shape (samples, ...), without gradient.

        Raises:
            ValueError: it answers with a dict, a tuple or something else that is no tensor.
        """
        return torch.cat([one_tensor(answer) for answer in self._forward[0]])

    @property
    def features(self) -> Tensor:
        """What its output layer is given, shape (samples, features)."""
        return self._forward[1]

    @cached_property
    def singular_values(self) -> Tensor:
        """Those of the features, in descending order."""
        return singular_values(self.features)

    @cached_property
    def activity(self) -> dict[str, Activity]:
        """What each hidden layer did, by name."""
        return over_batches(self.model, [inputs for inputs, _ in self.batches])

    @cached_property
    def _forward(self) -> tuple[list[Any], Tensor]:
        return forward(self.model, [inputs for inputs, _ in self.batches], self.head)


Take = Callable[[Context], "float | dict[str, float]"]
