"""What is asked of the numbers, steps and settings that a replay is given."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def check_whole(name: str, value: object, low: int, high: int | None = None) -> None:
    """Raise a ValueError unless a value is a whole number in its range."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or cast(int, value) < low or (high is not None and cast(int, value) > high):
        expected = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} is {value!r}, expected a whole number {expected}")


def for_each(
    name: str, value: float | Sequence[float], agents: int, low: int, high: int | None = None
) -> list[Any]:
    """A setting of each agent, from one for all or one for each.

    Raises:
        ValueError: there are not as many as agents; one is below `low` or above `high`; or, without `high`, it is no
            whole number.

    Example:
        >>> for_each("n_step", 3, 2, 1), for_each("discount", [0.9, 0.99], 2, 0, 1)
        ([3, 3], [0.9, 0.99])
    """
    values = [value] * agents if isinstance(value, int | float) else list(value)
    if len(values) != agents:
        raise ValueError(f"{name} has {len(values)} values, expected one for each of {agents} agents")
    for number in values:
        if high is None:
            check_whole(name, number, low)
        elif not low <= number <= high:
            raise ValueError(f"{name} is {number!r}, expected a number in [{low}, {high}]")
    return values


def check_agents(which: npt.NDArray[np.int64], agents: int) -> None:
    """Raise a ValueError unless these are different agents, one at least."""
    different = set(which.tolist())
    if not different or len(different) < len(which) or min(different) < 0 or max(different) >= agents:
        raise ValueError(f"agent is {which.tolist()}, expected different ones from 0 to {agents - 1}")


def check_frames(frames: Mapping[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Raise a ValueError unless observations have their shape and dtype."""
    for name, tensor in frames.items():
        if tensor.shape != shape or tensor.dtype != dtype:
            raise ValueError(
                f"{name} is {tensor.dtype} of shape {tuple(tensor.shape)}, expected {dtype} of shape {shape}"
            )


def check_flow(
    which: npt.NDArray[np.int64],
    values: Sequence[npt.NDArray[Any]],
    cut: Collection[int],
    goes_on: npt.NDArray[np.bool_],
) -> None:
    """Raise a ValueError unless steps follow on what came before.

    Args:
        which: agents.
        values: action, reward, first and terminal of each.
        cut: agents whose episode is cut after the step.
        goes_on: whether the chain of each agent of all goes on.
    """
    for name, given in zip(("action", "reward", "first", "terminal"), values, strict=True):
        if len(given) != len(which):
            raise ValueError(f"{name} has {len(given)} values, expected one for each of {len(which)} agents")
    actions, _, begins, ends = values
    if actions.dtype.kind not in "iu":
        raise ValueError(f"action is of {actions.dtype}, expected whole numbers")
    wrong = which[begins == goes_on[which]]
    if len(wrong):
        on = bool(goes_on[wrong[0]])
        raise ValueError(
            f"first is {on}, but the chain of agent {wrong[0]} {'goes on' if on else 'has ended'}: give first=True for "
            "the first step of a life or an episode, terminal=True or last= with the last one"
        )
    if cut and (wrongly := set(cut) - set(which[~ends].tolist())):
        raise ValueError(
            f"last is given for the agents {sorted(cut)}, of which {sorted(wrongly)} are terminal or not of this call: "
            "give it for agents whose episode was cut without an end"
        )
