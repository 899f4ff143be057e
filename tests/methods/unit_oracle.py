"""What methods that reset units are held to: a second network, to which plain Python does what the method should.

Both are trained on the same batches in float64. After each step the rule of the method, written anew in Python and
NumPy, says which units are reset; the second network gets that by hand, layer by layer, from the network that the
method drew. Weights, buffers and moments of the two must then be the same.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW, Optimizer

from hare_tortoise.methods import Method

Array = NDArray[np.float64]
Chosen = Mapping[str, list[int]]


@dataclass(frozen=True)
class Layer:
    """Units of a network as one reads them off its code."""

    weight: str
    bias: str
    activation: str
    outgoing: str
    repeat: int = 1
    norm: str | None = None


class Dense(nn.Module):
    """Two hidden layers, declared in another order than they are run in."""

    layers = (
        Layer("first.weight", "first.bias", "early", "second.weight"),
        Layer("second.weight", "second.bias", "late", "head.weight"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 3)
        self.second = nn.Linear(16, 16)
        self.first = nn.Linear(6, 16)
        self.late, self.early = nn.ReLU(), nn.ReLU()
        self.double()

    @torch.no_grad()
    def damage(self) -> None:
        """Make some units dead, and others nearly so."""
        self.first.bias[:2] -= 50.0
        self.first.bias[2:6] -= 1.2
        self.second.bias[3] -= 50.0
        self.second.bias[5:10] -= 0.6

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.late(self.second(self.early(self.first(inputs)))))
        return outputs


class Convolutional(nn.Module):
    """Two convolutions, one with BatchNorm, then a flattening: four columns of the head read one channel."""

    layers = (
        Layer("first.weight", "first.bias", "early", "second.weight", norm="norm"),
        Layer("second.weight", "second.bias", "late", "head.weight", repeat=4),
    )

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.early = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()
        self.second, self.late, self.pool = nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        self.head = nn.Linear(32, 3)
        self.double()

    @torch.no_grad()
    def damage(self) -> None:
        """Make some units dead, and others nearly so."""
        bias = self.get_parameter("norm.bias")
        bias[1] -= 50.0
        bias[2] -= 1.5
        bias = self.get_parameter("second.bias")
        bias[4] -= 50.0
        bias[5:7] -= 1.0

    def forward(self, inputs: Tensor) -> Tensor:
        images = nn.functional.pad(inputs, (0, 10)).reshape(-1, 1, 4, 4) + inputs.mean(1)[:, None, None, None]
        features = self.pool(self.late(self.second(self.early(self.norm(self.first(images))))))
        outputs: Tensor = self.head(features.flatten(1))
        return outputs


Network = type[Dense] | type[Convolutional]
NETWORKS: tuple[Network, ...] = (Dense, Convolutional)


def batch(number: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 + number)
    inputs = torch.randn(8, 6, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(3, (8,), generator=generator)


def damaged(network: Network, seed: int = 0) -> nn.Module:
    """A network some of whose units are dead, and some nearly so."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = network()
    model.damage()
    return model


def adamw(model: nn.Module) -> Optimizer:
    return AdamW(model.parameters(), lr=0.02, weight_decay=0.01)


def train_step(model: nn.Module, optimizer: Optimizer, number: int) -> None:
    inputs, targets = batch(number)
    optimizer.zero_grad()
    cross_entropy(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


@dataclass
class Seen:
    """What a rule may look at after a step, layer by layer: arrays by the name of the incoming weight."""

    activations: dict[str, Array] = field(default_factory=dict)
    """Shape (units, samples and positions)."""
    activation_gradients: dict[str, Array] = field(default_factory=dict)
    weight_gradients: dict[str, Array] = field(default_factory=dict)
    incoming: dict[str, Array] = field(default_factory=dict)
    """Shape (units, weights), after the step."""
    outgoing: dict[str, Array] = field(default_factory=dict)


Rule = Callable[[Seen], Chosen]


class Mirror:
    """The network that is treated by hand."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.layers: tuple[Layer, ...] = model.layers  # type: ignore[assignment]
        self.optimizer = adamw(model)
        self.parameters = dict(model.named_parameters())
        self.used: set[tuple[str, int, int]] = set()
        self._outputs: dict[str, Tensor] = {}
        for layer in self.layers:
            model.get_submodule(layer.activation).register_forward_hook(self._keep(layer.weight))

    def _keep(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            output.retain_grad()
            self._outputs[name] = output

        return hook

    def train_step(self, number: int) -> Seen:
        train_step(self.model, self.optimizer, number)
        seen = Seen()
        for layer in self.layers:
            output, weight = self._outputs[layer.weight], self.parameters[layer.weight]
            assert output.grad is not None
            assert weight.grad is not None
            units = weight.shape[0]
            outgoing = self.parameters[layer.outgoing].detach().numpy()
            seen.activations[layer.weight] = by_unit(output, units)
            seen.activation_gradients[layer.weight] = by_unit(output.grad, units)
            seen.weight_gradients[layer.weight] = weight.grad.numpy().reshape(units, -1)
            seen.incoming[layer.weight] = weight.detach().numpy().reshape(units, -1).copy()
            columns = np.moveaxis(outgoing.reshape(outgoing.shape[0], units, -1), 1, 0)
            seen.outgoing[layer.weight] = columns.reshape(units, -1).copy()
        return seen

    @torch.no_grad()
    def reset(self, chosen: Chosen, drawn: list[nn.Module], model: nn.Module) -> None:
        """Reset units by hand, with the values of that network drawn of which the method took the bias."""
        weights, given = dict(self.model.state_dict()), dict(model.state_dict())
        for layer in self.layers:
            for unit in chosen.get(layer.weight, []):
                new = self._source(layer, unit, drawn, given[layer.bias][unit])
                own = [layer.weight, layer.bias]
                if layer.norm is not None:
                    own += [
                        f"{layer.norm}.{what}" for what in ("weight", "bias", "running_mean", "running_var")
                    ]
                for name in own:
                    weights[name][unit] = new[name][unit]
                    for moment in self._moments(name):
                        moment[unit] = 0.0
        for layer in self.layers:
            for unit in chosen.get(layer.weight, []):
                columns = slice(unit * layer.repeat, (unit + 1) * layer.repeat)
                weights[layer.outgoing][:, columns] = 0.0
                for moment in self._moments(layer.outgoing):
                    moment[:, columns] = 0.0

    def _source(self, layer: Layer, unit: int, drawn: list[nn.Module], bias: Tensor) -> dict[str, Tensor]:
        for number, network in enumerate(drawn):
            values = network.state_dict()
            if torch.equal(values[layer.bias][unit], bias):
                assert (layer.weight, unit, number) not in self.used, (
                    "the same draw was used twice for a unit"
                )
                self.used.add((layer.weight, unit, number))
                return values
        raise AssertionError(f"unit {unit} of {layer.weight} was not redrawn, its bias is {bias}")

    def _moments(self, name: str) -> list[Tensor]:
        state = self.optimizer.state[self.parameters[name]] if name in self.parameters else {}
        return [state[key] for key in ("exp_avg", "exp_avg_sq") if key in state]


def by_unit(values: Tensor, units: int) -> Array:
    array: Array = values.detach().numpy()
    return np.moveaxis(array, 1, 0).reshape(units, -1).copy()


def check_against_rule(
    build: Callable[..., Method], rule: Rule, network: Network, steps: int
) -> list[tuple[int, str, int]]:
    """Train both networks side by side; return what was reset as (step, incoming weight, unit), step 1 first.

    Raises:
        AssertionError: the method did not do what the rule says, at the first step at which it shows.
    """
    model = damaged(network)
    mirror = Mirror(copy.deepcopy(model))
    drawn: list[nn.Module] = []

    def fresh() -> nn.Module:
        drawn.append(network())
        return drawn[-1]

    optimizer = adamw(model)
    # Held, as the hook of the optimizer alone would hold it too.
    method = build(model, optimizer, fresh=fresh)
    resets = []
    for number in range(steps):
        train_step(model, optimizer, number)
        chosen = rule(mirror.train_step(number))
        mirror.reset(chosen, drawn, model)
        resets += [(number + 1, name, unit) for name, units in chosen.items() for unit in units]
        compare(model, optimizer, mirror, f"step {number + 1}, where {dict(chosen)} are due")
    del method
    return resets


def compare(model: nn.Module, optimizer: Optimizer, mirror: Mirror, where: str) -> None:
    for name, value in mirror.model.state_dict().items():
        torch.testing.assert_close(
            model.state_dict()[name], value, rtol=1e-9, atol=1e-11, msg=f"{name} at {where}"
        )
    for name, parameter in model.named_parameters():
        for key in ("exp_avg", "exp_avg_sq"):
            other = mirror.optimizer.state[mirror.parameters[name]][key]
            torch.testing.assert_close(
                optimizer.state[parameter][key],
                other,
                rtol=1e-9,
                atol=1e-11,
                msg=f"{key} of {name} at {where}",
            )
