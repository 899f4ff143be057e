"""Augmentation of stacks of frames: a random shift, and noise on the intensity, drawn for each row of each agent."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hare_tortoise.rl.checks import check_whole


def random_shift(observations: Tensor, padding: int, generators: Sequence[torch.Generator]) -> Tensor:
    """Move each row by up to `padding` pixels both ways, its edges repeated; all frames of a stack by the same.

    `out[…, i, j] = observations[…, clip(i + down − padding, 0, H − 1), clip(j + across − padding, 0, W − 1)]`
    with `down` and `across` uniform from 0 to `2 · padding`, drawn for each row. Observations and next observations are
    two calls, so that their draws are independent.

    Args:
        observations: (G, B, …, H, W), any dtype; cheapest as uint8.
        padding: pixels, at least 0 (4 is usual); with 0 the observations come back as they are, and nothing is drawn.
        generators: one for each agent.

    Raises:
        ValueError: there are too few axes, not one generator for each agent, or a padding below 0.

    References:
        Kostrikov, Yarats and Fergus, "Image Augmentation Is All You Need: Regularizing Deep Reinforcement Learning from
        Pixels", ICLR 2021.

    Example:
        >>> image = torch.arange(9, dtype=torch.uint8).view(1, 1, 1, 3, 3)
        >>> random_shift(image, 1, [torch.Generator().manual_seed(3)])[0, 0, 0]
        tensor([[1, 2, 2],
                [4, 5, 5],
                [7, 8, 8]], dtype=torch.uint8)
    """
    check_whole("padding", padding, 0)
    if not padding:
        return observations
    _check(observations, generators, 4)
    return shifted(observations, draw_shifts(generators, observations.shape[1], padding), padding)


def draw_shifts(generators: Sequence[torch.Generator], batch: int, padding: int) -> Tensor:
    """(G, B, 2) int64 from 0 to `2 · padding`: how far down and to the right each row's window starts."""
    high = 2 * padding + 1
    return torch.stack(
        [torch.randint(high, (batch, 2), generator=each, device=each.device) for each in generators]
    )


def shifted(observations: Tensor, shifts: Tensor, padding: int) -> Tensor:
    """Each row moved by its shift, as `random_shift` says: by slices on the CPU, elsewhere without asking the device.

    Args:
        observations: (G, B, …, H, W).
        shifts: (G, B, 2) int64 from 0 to `2 · padding`.
        padding: pixels.
    """
    shape = observations.shape
    rows = observations.reshape(-1, *shape[2:]).flatten(1, -3)
    if observations.device.type == "cpu":
        moved = _by_slices(rows, shifts.flatten(0, 1).tolist(), padding)
    else:
        moved = _by_gather(rows, shifts.flatten(0, 1).to(observations.device), padding)
    return moved.view(shape)


def intensity(observations: Tensor, scale: float, generators: Sequence[torch.Generator]) -> Tensor:
    """Multiply each row by `1 + scale · clip(noise, −2, 2)`, with `noise` standard normal, drawn for each row.

    Args:
        observations: (G, B, …), of a floating dtype.
        scale: at least 0 (0.05 is usual); with 0 the observations come back as they are, and nothing is drawn.
        generators: one for each agent.

    Raises:
        ValueError: the observations are no floats, there is not one generator for each agent, or a scale below 0.

    References:
        Schwarzer et al., "Data-Efficient Reinforcement Learning with Self-Predictive Representations", ICLR 2021.

    Example:
        >>> intensity(torch.ones(1, 2, 3), 0.05, [torch.Generator().manual_seed(0)])[0, :, 0]
        tensor([1.0770, 0.9853])
    """
    if not scale >= 0:
        raise ValueError(f"scale is {scale!r}, expected a number of at least 0")
    if not observations.is_floating_point():
        raise ValueError(
            f"the observations are {observations.dtype}: make them floats before their intensity is changed"
        )
    if not scale:
        return observations
    _check(observations, generators, 2)
    noise = torch.stack(
        [torch.randn(observations.shape[1], generator=each, device=each.device) for each in generators]
    )
    factors = 1 + scale * noise.clamp(-2, 2)
    kept = factors.to(observations.device, observations.dtype)
    return observations * kept.view(*kept.shape, *[1] * (observations.ndim - 2))


def _by_slices(rows: Tensor, shifts: list[list[int]], padding: int) -> Tensor:
    count, frames, height, width = rows.shape
    padded = rows.new_empty(count, frames, height + 2 * padding, width + 2 * padding)
    bottom, right = padding + height, padding + width
    padded[:, :, padding:bottom, padding:right] = rows
    padded[:, :, :padding, padding:right] = rows[:, :, :1]
    padded[:, :, bottom:, padding:right] = rows[:, :, -1:]
    padded[..., :padding] = padded[..., padding : padding + 1]
    padded[..., right:] = padded[..., right - 1 : right]
    windows = [
        image[:, down : down + height, across : across + width]
        for image, (down, across) in zip(padded.unbind(0), shifts, strict=True)
    ]
    return torch.stack(windows)


def _by_gather(rows: Tensor, shifts: Tensor, padding: int) -> Tensor:
    count, frames, height, width = rows.shape
    down = torch.arange(height, device=rows.device) + shifts[:, :1] - padding
    across = torch.arange(width, device=rows.device) + shifts[:, 1:] - padding
    places = down.clamp(0, height - 1)[:, :, None] * width + across.clamp(0, width - 1)[:, None, :]
    index = places.view(count, 1, -1).expand(count, frames, -1)
    return rows.flatten(2).gather(2, index).view(rows.shape)


def _check(observations: Tensor, generators: Sequence[torch.Generator], axes: int) -> None:
    if observations.ndim < axes:
        raise ValueError(
            f"the observations have the shape {tuple(observations.shape)}, expected at least {axes} axes"
        )
    if len(generators) != len(observations):
        raise ValueError(
            f"there are {len(generators)} generators, expected one for each of {len(observations)} agents"
        )
