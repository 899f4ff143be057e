"""What the networks share: the checks of their arguments and the dense head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def check_count(name: str, value: int) -> int:
    """Return `value` if it is an integer of at least 1.

    Raises:
        ValueError: if it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value!r}; it must be an integer of at least 1")
    return value


def check_counts(name: str, values: object) -> tuple[int, ...]:
    """Return `values` as a tuple if each is an integer of at least 1; it may be empty.

    Raises:
        ValueError: if it is no sequence of such integers.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ValueError(f"{name} is {values!r}; it must be a sequence of integers, such as (256, 256)")
    return tuple(check_count(f"{name}[{i}]", value) for i, value in enumerate(values))


def check_image(network: str, input_shape: Sequence[int]) -> tuple[int, int, int]:
    """Return `input_shape` as (channels, height, width).

    Raises:
        ValueError: if it has another form.
    """
    shape = check_counts("input_shape", input_shape)
    if len(shape) != 3:
        raise ValueError(
            f"input_shape is {shape}; {network} takes images, (channels, height, width), "
            "such as (3, 32, 32). Use mlp for inputs of another form"
        )
    channels, height, width = shape
    return channels, height, width


def dense_head(features: int, hidden: Sequence[int], outputs: int) -> nn.Module:
    """Build Linear, ReLU, …, Linear from `features` over the widths `hidden` to `outputs`.

    Without hidden layers it is a single `nn.Linear`.
    """
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(features, width), nn.ReLU()]
        features = width
    last = nn.Linear(features, outputs)
    return nn.Sequential(*layers, last) if layers else last
