"""The last observations of each game, which an agent sees at once: in training, in evaluation and at play."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def begin(stacks: Tensor, which: Sequence[int], observations: Tensor) -> None:
    """Begin an episode in some games, in place: nothing was seen before it.

    Args:
        stacks: (G, S, …), the newest observation last.
        which: places of the games.
        observations: (len(which), …), their first.

    Example:
        >>> import torch
        >>> stacks = torch.tensor([[1, 2, 3], [4, 5, 6]])
        >>> begin(stacks, [1], torch.tensor([7]))
        >>> stacks
        tensor([[1, 2, 3],
                [0, 0, 7]])
    """
    stacks[list(which)] = 0
    stacks[list(which), -1] = observations


def follow(stacks: Tensor, observations: Tensor, lost: Sequence[int]) -> None:
    """Take up what each game shows now, in place; where a life was lost, as at the beginning of an episode.

    Args:
        stacks: (G, S, …), the newest observation last.
        observations: (G, …).
        lost: places of the games in which a life that counts as an end was lost.

    Example:
        >>> import torch
        >>> stacks = torch.tensor([[1, 2, 3], [4, 5, 6]])
        >>> follow(stacks, torch.tensor([7, 8]), [1])
        >>> stacks
        tensor([[2, 3, 7],
                [0, 0, 8]])
    """
    if stacks.shape[1] > 1:
        stacks[:, :-1] = stacks[:, 1:].clone()
        for place in lost:
            stacks[place] = 0
    stacks.select(1, -1).copy_(observations)
