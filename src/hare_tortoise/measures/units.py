"""What hidden units do over a set of inputs: how large they are, how often zero, how often saturated."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hare_tortoise.methods.support.unit_tracing import tensors_in
from hare_tortoise.methods.support.units import activations

from .undisturbed import check_deterministic, same_answers, undisturbed

Bounds = tuple[float, float]
# How near to a bound counts as saturated: |tanh| > 0.99, sigmoid < 0.01 or > 0.99.
_MARGIN = 0.01


@dataclass(frozen=True)
class Activity:
    """What the units of one layer did over a set of inputs, each of shape (units,), float64 (float32 on MPS).

    Args:
        magnitude: mean of `|h|` over inputs and positions.
        zeros: share of the activations that are exactly zero.
        saturated: share of the activations within 0.01 of a bound of the nonlinearity; None: it has no bounds.
    """

    magnitude: Tensor
    zeros: Tensor
    saturated: Tensor | None = None


Layers = Tensor | Activity | Mapping[str, Activity]


@torch.no_grad()
def activity(h: Tensor, *, channel: int = 1, bounds: Bounds | None = None) -> Activity:
    """Sum up the activations of a layer: mean of `|h|` and shares of zeros, over all dimensions but that of units.

    Args:
        h: activations behind the nonlinearity, of two dimensions or more, such as (samples, units) or (samples,
            channels, height, width); half precision is summed in higher.
        channel: the dimension of the units.
        bounds: of the nonlinearity, such as (-1, 1) for tanh; None: it has none.

    Returns:
        Its tensors are NaN for a unit with a NaN or an infinity among its activations.

    Raises:
        ValueError: `h` has a single dimension, is empty, or has no dimension `channel`.

    Example:
        >>> activity(torch.tensor([[0.0, 1.0], [0.0, -3.0]])).magnitude.tolist()
        [0.0, 2.0]
    """
    if h.ndim < 2 or h.numel() == 0 or not -h.ndim <= channel < h.ndim:
        raise ValueError(
            f"h has shape {tuple(h.shape)} and channel is {channel}, expected activations that are not empty, such as "
            "(samples, units), and the dimension of the units"
        )
    dtype = torch.float32 if h.device.type == "mps" else torch.float64
    rest = [dim for dim in range(h.ndim) if dim != channel % h.ndim]
    unknown = (~h.isfinite()).any(rest)

    def share(found: Tensor) -> Tensor:
        return (
            found.sum(rest, dtype=dtype).div(h.numel() / found.shape[channel]).masked_fill(unknown, math.nan)
        )

    saturated = None if bounds is None else share((h < bounds[0] + _MARGIN) | (h > bounds[1] - _MARGIN))
    return Activity(share(h.abs()), share(h == 0), saturated)


def unit_activity(model: nn.Module, inputs: Tensor) -> dict[str, Activity]:
    """Sum up what every hidden layer does with these inputs, behind its nonlinearity, by the name of the layer.

    Nonlinearities are followed wherever they stand, as modules or as functions in a forward: hooks on modules alone
    would see what stands before a functional one. The output layer is left out.

    Args:
        model: any module in eval mode, wrapped or not. It is left as it was, in every bit.
        inputs: shape (samples, ...); all activations of one forward are held in memory.

    Returns:
        Sums by the name of the layer, NaN for units that are not finite.

    Raises:
        ValueError: the model is in train mode with dropout or BatchNorm, or answers the same inputs differently; no
            layer has a nonlinearity behind it.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> _ = nn.init.ones_(model[0].weight), nn.init.zeros_(model[0].bias)
        >>> unit_activity(model, torch.tensor([[-1.0], [1.0]]))["0"].zeros.tolist()
        [0.5, 0.5, 0.5]
    """
    check_deterministic(model, inputs[:8])
    with undisturbed(model) as network:
        return over_batches(network, [inputs])


@torch.no_grad()
def over_batches(network: nn.Module, batches: Iterable[Tensor]) -> dict[str, Activity]:
    """Sum up what every hidden layer of a network in eval mode does with batches of inputs, one after the other.

    Raises:
        ValueError: no layer has a nonlinearity behind it.
    """
    found: dict[str, list[tuple[int, Activity]]] = {}
    for inputs in batches:
        for name, h, channel, bounds in _hidden(network, inputs):
            part = (h.numel(), activity(h, channel=channel, bounds=bounds))
            found.setdefault(name, []).append(part)
    if not found:
        raise ValueError(
            f"no layer of the model ({type(network).__name__}) has a nonlinearity behind it that could be followed: "
            "there are no hidden units to measure"
        )
    return {name: _mean(parts) for name, parts in found.items()}


def _hidden(network: nn.Module, inputs: Tensor) -> Iterator[tuple[str, Tensor, int, Bounds | None]]:
    """Name, activations, dimension of the units and bounds of each hidden layer, without the output."""
    answers: list[Any] = []
    handle = network.register_forward_hook(lambda _module, _given, answer: answers.append(answer))
    try:
        with _Bounded() as bounded:
            layers = activations(network, inputs)
    finally:
        handle.remove()
    for name, (h, channel) in layers.items():
        # An answer of NaN is equal to none: then the output is among the layers, which are NaN all the same.
        if not any(h.shape == answer.shape and torch.equal(h, answer) for answer in tensors_in(answers[-1])):
            yield name, h, channel, bounded.of(h)


def dormancy_scores(layer: Tensor | Activity) -> Tensor:
    """The mean size of each unit relative to the mean of its layer: `s_i = E|h_i| / mean_k E|h_k|`.

    E is over inputs and positions. 0 for all where all activations are zero; nothing is added to the denominator
    (public code adds 1e-9, so that a layer of small activations would be dormant as a whole).

    Args:
        layer: activations of shape (samples, units, ...), or what `activity` made of them.

    Returns:
        Shape (units,), at least 0, mean 1 unless all are 0; NaN for all if an activation of the layer is not finite.

    Example:
        >>> dormancy_scores(torch.tensor([[1.0, 0.0], [-2.0, 0.0]])).tolist()
        [2.0, 0.0]
    """
    magnitude = _activity(layer).magnitude
    return magnitude / magnitude.mean().where(magnitude.mean() != 0, 1.0)


def dormant_ratio(layers: Layers, threshold: float = 0.025) -> Tensor:
    """The share of dormant units, those with a score of at most `threshold`: `Σ_l #{s_i ≤ threshold} / Σ_l N_l`.

    For a mapping the sums run over all its layers, so that wide layers count for more (Plasticine takes the mean of
    the layers' ratios instead). For scores see `dormancy_scores`.

    Args:
        layers: activations of shape (samples, units, ...), what `activity` made of them, or what `unit_activity`
            gives for all hidden layers.
        threshold: at least 0. 0 counts units that are zero for all inputs; 0.025 and 0.1 are the paper's others.

    Returns:
        A scalar in [0, 1]; NaN if an activation is not finite.

    Raises:
        ValueError: `threshold` is negative or not finite, or there are no layers.

    References:
        Sokar et al., "The Dormant Neuron Phenomenon in Deep Reinforcement Learning", ICML 2023, arXiv 2302.12902.

    Example:
        >>> dormant_ratio(torch.tensor([[1.0, 0.0, 0.01, 2.0]])).item()
        0.5
    """
    if not (math.isfinite(threshold) and threshold >= 0):
        raise ValueError(f"threshold is {threshold}, expected a finite number of at least 0; 0.025 is usual")
    return _share(layers, lambda layer: _judged(dormancy_scores(layer), lambda s: s <= threshold))


def dead_units(layers: Layers) -> Tensor:
    """The share of units that are exactly zero for all inputs, at all positions.

    They get no gradient behind a ReLU. The same as `dormant_ratio` at threshold 0.

    Args:
        layers: as for `dormant_ratio`.

    Returns:
        A scalar in [0, 1]; NaN if an activation is not finite.

    Raises:
        ValueError: there are no layers.

    Example:
        >>> dead_units(torch.relu(torch.tensor([[-1.0, -1.0], [-2.0, 1.0]]))).item()
        0.5
    """
    return _share(layers, lambda layer: _judged(layer.zeros, lambda zeros: zeros == 1))


def zero_activation_ratio(layers: Layers) -> Tensor:
    """The share of activations that are exactly zero: the mean over units of `mean(h == 0)`.

    Over several layers each unit counts the same, however many positions it has. 1 minus this is the fraction of
    active units (FAU) of some codes.

    Args:
        layers: as for `dormant_ratio`.

    Returns:
        A scalar in [0, 1]; NaN if an activation is not finite.

    Raises:
        ValueError: there are no layers.

    Example:
        >>> zero_activation_ratio(torch.relu(torch.tensor([[-1.0, -1.0], [-2.0, 1.0]]))).item()
        0.75
    """
    return _share(layers, lambda layer: layer.zeros)


def saturated_units(layers: Activity | Mapping[str, Activity]) -> Tensor:
    """The share of units that lie within 0.01 of a bound of their nonlinearity for all inputs, at all positions.

    That is `|h| > 0.99` for tanh, `h < 0.01` or `h > 0.99` for sigmoid: next to no gradient for any input. (Some code
    gives the share of saturated activations instead: the mean of `Activity.saturated`.) Of ReLU6, and of a hardtanh
    from 0, the upper bound alone counts: at the lower one a unit is dead, not saturated.

    Args:
        layers: what `activity` gives with `bounds`, or `unit_activity`; layers without bounds are left out.

    Returns:
        A scalar in [0, 1]; NaN if an activation is not finite.

    Raises:
        ValueError: no layer has a nonlinearity with bounds (tanh, sigmoid, hardtanh, hardsigmoid, softsign, relu6).

    Example:
        >>> saturated_units(activity(torch.tanh(torch.tensor([[0.1, 5.0], [9.0, -5.0]])), bounds=(-1, 1))).item()
        0.5
    """
    given = layers if isinstance(layers, Mapping) else {"": layers}
    bounded = {name: layer for name, layer in given.items() if layer.saturated is not None}
    if not bounded:
        raise ValueError(
            "no layer has a nonlinearity with bounds (tanh, sigmoid, hardtanh, hardsigmoid, softsign, relu6), so that "
            "none can saturate: leave this measure out"
        )
    return _share(bounded, lambda layer: _judged(layer.saturated, lambda share: share == 1))


def _judged(values: Tensor | None, judge: Callable[[Tensor], Tensor]) -> Tensor:
    assert values is not None
    return judge(values).to(values.dtype).where(~values.isnan(), math.nan)


def _share(layers: Layers, of: Callable[[Activity], Tensor]) -> Tensor:
    """The mean over all units of all layers."""
    given = list(layers.values()) if isinstance(layers, Mapping) else [layers]
    if not given:
        raise ValueError("layers is empty, expected at least one")
    parts = [of(_activity(layer)) for layer in given]
    return torch.cat([part.to(parts[0].device) for part in parts]).mean()


def _activity(layer: Tensor | Activity) -> Activity:
    return activity(layer) if isinstance(layer, Tensor) else layer


def _mean(parts: Sequence[tuple[int, Activity]]) -> Activity:
    """One layer over several batches, each weighted by the number of its activations."""
    total = sum(count for count, _ in parts)

    def mean(values: Iterable[Tensor]) -> Tensor:
        return (
            torch.stack([value * count for value, (count, _) in zip(values, parts, strict=True)]).sum(0)
            / total
        )

    saturated = [item.saturated for _, item in parts if item.saturated is not None]
    return Activity(
        mean(item.magnitude for _, item in parts),
        mean(item.zeros for _, item in parts),
        mean(saturated) if saturated else None,
    )


class _Bounded(TorchFunctionMode):
    """Remembers what came out of nonlinearities with bounds, for as long as the block lasts."""

    _BOUNDS: ClassVar[Mapping[str, Bounds]] = {
        "tanh": (-1.0, 1.0),
        "softsign": (-1.0, 1.0),
        "sigmoid": (0.0, 1.0),
        "hardsigmoid": (0.0, 1.0),
        "relu6": (-math.inf, 6.0),
    }

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Bounds]] = []

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        name = getattr(function, "__name__", "").removesuffix("_")
        if name in self._BOUNDS:
            self.seen.append((result, self._BOUNDS[name]))
        elif name == "hardtanh":
            given = dict(zip(("input", "min_val", "max_val"), args, strict=False)) | (kwargs or {})
            low, high = given.get("min_val", -1.0), given.get("max_val", 1.0)
            # ReLU6 is a hardtanh from 0: what is zero there is dead, as behind a ReLU, and counted as that.
            self.seen.append((result, (low if low else -math.inf, high)))
        return result

    def of(self, h: Tensor) -> Bounds | None:
        """The bounds of the nonlinearity that a tensor came out of."""
        return next((bounds for seen, bounds in self.seen if same_answers(seen, h)), None)
