"""How large features and weights are, and how far the weights have gone."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hare_tortoise.methods.support.names import named_weights
from hare_tortoise.methods.support.sharding import reshard
from hare_tortoise.methods.support.values import whole


@torch.no_grad()
def feature_norm(features: Tensor) -> Tensor:
    """The mean length of a sample's features: `mean_x ‖φ(x)‖₂`.

    Args:
        features: shape (samples, features), floating; half precision is computed in higher.

    Returns:
        A float64 scalar (float32 on MPS); NaN or infinite if a feature is.

    Raises:
        ValueError: the features are no matrix, or empty.

    References:
        Lyle et al., "Understanding and preventing capacity loss in reinforcement learning", ICLR 2022,
        arXiv 2204.09560, follow it (not verified against the paper's text).

    Example:
        >>> feature_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]])).item()
        3.0
    """
    if features.ndim != 2 or features.numel() == 0:
        raise ValueError(
            f"features has shape {tuple(features.shape)}, expected (samples, features), at least one of each"
        )
    return _exact(features).square().sum(1).sqrt().mean()


@torch.no_grad()
def weight_norms(model: nn.Module) -> dict[str, float]:
    """The Frobenius norm `‖W‖_F` of each parameter, by canonical name.

    These are true norms: the code of Hare & Tortoise divides each by its number of elements, so that small tensors
    (biases, norm layers) outweigh the matrices.

    Args:
        model: any module, wrapped or not; under FSDP2 every process must call it, and gets the norms of the whole.

    Returns:
        Norms of the floating parameters; tied ones once. The device is waited for once.

    Raises:
        ValueError: the model has no floating parameter.

    Example:
        >>> layer = nn.Linear(2, 2, bias=False)
        >>> _ = nn.init.ones_(layer.weight)
        >>> weight_norms(layer)
        {'weight': 2.0}
    """
    return _roots(_parameters(model))


def weight_norm(model: nn.Module) -> float:
    """The norm of all parameters as one vector: `sqrt(Σ_l ‖W_l‖_F²)`.

    Args:
        model: as for `weight_norms`.

    Raises:
        ValueError: the model has no floating parameter.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> _ = nn.init.ones_(layer.weight), nn.init.zeros_(layer.bias)
        >>> weight_norm(layer)
        2.0
    """
    return total(weight_norms(model))


@torch.no_grad()
def distances(model: nn.Module, initial: Mapping[str, Tensor]) -> dict[str, float]:
    """The distance `‖θ_l − θ0_l‖` of each parameter from another value of it, by canonical name.

    Args:
        model: any module, wrapped or not; under FSDP2 every process must call it.
        initial: the other values by canonical name, sharded as the model is, of any dtype and on any device; further
            names (of buffers) are left out.

    Returns:
        Distances of the floating parameters, true norms. The device is waited for once.

    Raises:
        ValueError: `initial` lacks a parameter of the model, or has it in another shape.

    Example:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> start = {"weight": layer.weight.detach().clone()}
        >>> _ = layer.weight.data.add_(torch.tensor([[3.0, 4.0]]))
        >>> round(distances(layer, start)["weight"], 5)
        5.0
    """
    parameters = _parameters(model)
    other = [n for n, p in parameters.items() if n not in initial or initial[n].shape != p.shape]
    if other:
        raise ValueError(
            f"initial lacks {', '.join(other[:8])}{' …' if len(other) > 8 else ''} of the model, or has another shape: "
            "give the weights of the same network, such as its state_dict() at the start, copied"
        )
    return _roots({n: _exact(p) - _exact(initial[n].to(p.device)) for n, p in parameters.items()})


def distance_from_initialization(model: nn.Module, initial: Mapping[str, Tensor]) -> float:
    """How far all parameters, as one vector, have gone from the start: `‖θ − θ0‖₂`.

    Not divided by the number of parameters, as some public code does. Buffers are left out.

    Args:
        model: any module, wrapped or not; under FSDP2 every process must call it.
        initial: as for `distances`.

    Raises:
        ValueError: as `distances`.

    References:
        Lee et al., "Slow and Steady Wins the Race", ICML 2024, arXiv 2406.02596, follow it, and many before.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> start = {name: value.detach().clone() for name, value in layer.named_parameters()}
        >>> _ = layer.weight.data.add_(3.0), layer.bias.data.add_(4.0)
        >>> round(distance_from_initialization(layer, start), 5)
        5.0
    """
    return total(distances(model, initial))


def hare_tortoise_distance(hare: nn.Module, tortoise: nn.Module) -> float:
    """How far the trained network is from the one that is deployed: `‖hare − tortoise‖₂` over all parameters.

    The same as `HareTortoise.distance()`, for any two networks of the same form.

    Args:
        hare: the trained network.
        tortoise: the deployed network, of any dtype.

    Raises:
        ValueError: the two differ in the names or shapes of their parameters.

    Example:
        >>> import copy
        >>> hare = nn.Linear(4, 1, bias=False)
        >>> tortoise = copy.deepcopy(hare)
        >>> _ = hare.weight.data.add_(1.0)
        >>> round(hare_tortoise_distance(hare, tortoise), 5)
        2.0
    """
    return total(distances(hare, _parameters(tortoise)))


def total(norms: Mapping[str, float]) -> float:
    """The norm of a whole from the norms of its parts: the root of the sum of their squares.

    >>> total({"weight": 3.0, "bias": 4.0})
    5.0
    """
    return math.hypot(*norms.values())


def _parameters(model: nn.Module) -> dict[str, Tensor]:
    reshard(model)
    found: dict[str, Tensor] = {
        name: tensor
        for name, tensor in named_weights(model).items()
        if isinstance(tensor, nn.Parameter) and tensor.is_floating_point()
    }
    if not found:
        raise ValueError(
            f"the model ({type(model).__name__}) has no floating parameters, so that it has no norm"
        )
    return found


def _exact(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float32 if tensor.device.type == "mps" else torch.float64)


def _roots(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    squares = [whole(_exact(tensor).square().sum()) for tensor in tensors.values()]
    device = squares[0].device
    roots = torch.stack([square.to(device) for square in squares]).sqrt().tolist()
    return dict(zip(tensors, roots, strict=True))
