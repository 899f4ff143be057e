"""What methods share that change the weights after optimizer steps, and the layers that they change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hare_tortoise.methods.method import Change, Method

from .deployed import refuse_while_lent
from .every import Every
from .names import known_weight, named_modules, named_weights
from .norm_layers import is_norm
from .sharding import reshard
from .spectral import own_matrices


@dataclass(frozen=True)
class Layer:
    """Canonical names of the weight of a layer and of the bias that belongs to it.

    `fan_in` is the number of inputs of an output, as torch's initialisers count it; `is_norm` says that the weight
    and the bias are the scale and the offset of a normalisation.
    """

    weight: str
    bias: str | None
    fan_in: int
    is_norm: bool = False


def matrix_layers(model: nn.Module) -> list[Layer]:
    """Return the layers whose weights act as matrices: linear, convolutional, recurrent, attention.

    Layers that share a weight are listed each with its own bias, all with the first name of the weight.

    >>> matrix_layers(nn.Conv2d(3, 4, 2))
    [Layer(weight='weight', bias='bias', fan_in=12, is_norm=False)]
    """
    names = {id(tensor): name for name, tensor in named_weights(model).items()}
    layers = []
    for module, own, weight in own_matrices(model):
        # bias beside weight, bias_hh_l0 beside weight_hh_l0, in_proj_bias beside in_proj_weight
        bias = module._parameters.get(own.replace("weight", "bias"))
        layers.append(Layer(names[id(weight)], names.get(id(bias)), weight.shape[1:].numel()))
    return list(dict.fromkeys(layers))


def norm_layers(model: nn.Module) -> list[Layer]:
    """Return the normalisations of torch that have a learned scale.

    >>> norm_layers(nn.Sequential(nn.LayerNorm(3), nn.BatchNorm1d(3, affine=False)))
    [Layer(weight='0.weight', bias='0.bias', fan_in=1, is_norm=True)]
    """
    names = {id(tensor): name for name, tensor in named_weights(model).items()}
    layers = []
    for _, module in named_modules(model):
        if is_norm(module) and module._parameters.get("weight") is not None:
            weight, bias = module._parameters["weight"], module._parameters.get("bias")
            layers.append(Layer(names[id(weight)], names.get(id(bias)), fan_in=1, is_norm=True))
    return list(dict.fromkeys(layers))


class Projection(Method):
    """A method that changes weights in place after each `every`-th optimizer step that counts.

    A subclass overrides `project`. Nothing is told to the averages of a chain: they average what they find.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        every: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(model, seed=seed)
        self._every = Every(every)
        reshard(model)
        self._shapes = {name: tensor.shape for name, tensor in named_weights(model).items()}
        if optimizer is not None:
            self.attach(optimizer)

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        """Change the weights, given by canonical name; not where the scalar `skipped` is true on the device."""
        raise NotImplementedError

    @torch.no_grad()
    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        """Change the weights, if it is time.

        Args:
            skipped: a scalar on the device, not zero where the gradient scaler skipped the step, or a bool; such a
                step changes nothing and does not count. None: it was taken.
        """
        refuse_while_lent(self.model, "a step")
        if skipped is True:
            return
        flag = skipped.reshape(()) != 0 if isinstance(skipped, Tensor) else None
        if self._every.every > 1:
            if not self._every.due(flag):
                return
            # It is never time at a step that was skipped.
            flag = None
        reshard(self.model)
        self.project(named_weights(self.model), flag)

    def trained(self, weights: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
        """Return those of the weights named that require a gradient, by name.

        Raises:
            RuntimeError: one is not in the model any more, or has another shape than when the method was built.
        """
        found = {}
        for name in names:
            tensor = known_weight(weights, name, self._shapes[name])
            if tensor.requires_grad:
                found[name] = tensor
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return the state; where not every step acts, the count of steps is a part of it."""
        return super().state_dict() | {"steps": self._every.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state."""
        super().load_state_dict(state)
        self._every.restart(state["steps"])

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise a ValueError unless a saved state is of this method and model."""
        super().check_state(state)
        if "steps" not in state:
            raise ValueError(
                f"state has the keys {sorted(map(str, state))}, expected 'steps' among them: load what the "
                f"state_dict() of a {type(self).__name__} gave"
            )


class HoldsNorms(Projection):
    """A projection that refers to norms `rho`, by name, which the weights had at the start; they are saved."""

    rho: dict[str, Tensor]

    def norms(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the norms of the weights as they are, by name."""
        raise NotImplementedError

    @torch.no_grad()
    def take_norms(self) -> None:
        """Take the norms of the weights as they are for those of the start."""
        reshard(self.model)
        self.rho = self.norms(named_weights(self.model))

    def weights_changed(self, change: Change) -> None:
        """Take the norms of a new network."""
        if change.whole:
            self.take_norms()

    def state_dict(self) -> dict[str, Any]:
        """Return the state; the norms are a part of it."""
        return super().state_dict() | {"rho": dict(self.rho), "shapes": self._shapes_of_norms()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state."""
        super().load_state_dict(state)
        self.rho = {name: state["rho"][name].to(rho, copy=True) for name, rho in self.rho.items()}

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise a ValueError unless a saved state is of this method and model."""
        super().check_state(state)
        own, saved = self._shapes_of_norms(), state.get("shapes", {})
        other = [name for name in sorted(own.keys() | saved.keys()) if own.get(name) != saved.get(name)]
        if other:
            raise ValueError(
                f"the saved state is of another model or setting: {', '.join(other[:8])} differ in name or shape; "
                "load it into a method that was built alike on the same model"
            )

    def _shapes_of_norms(self) -> dict[str, list[int]]:
        return {name: list(self._shapes[name]) for name in self.rho}
