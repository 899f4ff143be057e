"""What environments are to the rest: what they show and take, what they answer, and the calls that they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor

Answer = tuple[Tensor, float, bool, bool]


@dataclass(frozen=True)
class Space:
    """What one environment shows, and what it takes.

    Args:
        shape: of one observation, without a stack: (84, 84), (channels, 10, 10), (4,).
        dtype: of it: torch.uint8 for images, torch.bool for planes, torch.float32 for vectors.
        actions: how many actions are legal, at least 1.
        lives: whether the game tells how many lives are left.
        legal: the numbers of the legal actions, rising; None: 0 to `actions − 1`.

    Raises:
        ValueError: `legal` does not have `actions` rising numbers from 0.

    Example:
        >>> Space((4,), torch.float32, actions=2, lives=False).numbers
        (0, 1)
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    actions: int
    lives: bool
    legal: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        numbers = self.numbers
        if not numbers or len(numbers) != self.actions or sorted({*numbers}) != [*numbers] or numbers[0] < 0:
            raise ValueError(
                f"actions is {self.actions} and legal {self.legal}, expected at least one action and as many rising "
                "numbers from 0; leave legal out where all are legal"
            )

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of the legal actions."""
        return tuple(range(self.actions)) if self.legal is None else self.legal


@dataclass(frozen=True)
class Arrival:
    """What N environments answered: tensors on the CPU with a leading axis N, the receiver's own.

    Args:
        observation: (N, *shape), in the dtype of the space.
        reward: (N,) float32, as the game gives it.
        ended: (N,) bool: the game is over.
        truncated: (N,) bool: the game was cut by the limit of its steps, and is not over.
        lives: (N,) int64: how many are left; 0 where none are told, and in some games where one still plays.
    """

    observation: Tensor
    reward: Tensor
    ended: Tensor
    truncated: Tensor
    lives: Tensor

    def rows(self, which: Sequence[int]) -> Arrival:
        """Those of some environments, in the order of `which`."""
        places = torch.tensor(which, dtype=torch.int64)
        return Arrival(*(getattr(self, field.name).index_select(0, places) for field in fields(self)))

    def replaced(self, which: Sequence[int], rows: Arrival) -> Arrival:
        """A copy with the rows of the environments `which` from another arrival, in the order of `which`."""
        places = torch.tensor(which, dtype=torch.int64)
        pairs = ((getattr(self, field.name), getattr(rows, field.name)) for field in fields(self))
        return Arrival(*(own.index_copy(0, places, new) for own, new in pairs))

    @staticmethod
    def stacked(answers: Sequence[Answer]) -> Arrival:
        """Of an observation, a reward and whether it ended or was cut, for each; no lives are told.

        Example:
            >>> Arrival.stacked([(torch.zeros(3), 1.0, False, True)]).truncated
            tensor([True])
        """
        observations, rewards, ended, truncated = zip(*answers, strict=True)
        return Arrival(
            torch.stack(observations),
            torch.tensor(rewards, dtype=torch.float32),
            torch.tensor(ended),
            torch.tensor(truncated),
            torch.zeros(len(answers), dtype=torch.int64),
        )

    @staticmethod
    def joined(pieces: Sequence[Arrival], which: Sequence[Sequence[int]]) -> Arrival:
        """One arrival of several: row i of piece p becomes row `which[p][i]`; together they are 0 to N − 1."""
        order = [place for places in which for place in places]
        whole = Arrival(*(torch.cat([getattr(p, f.name) for p in pieces]) for f in fields(Arrival)))
        if order == sorted(order):
            return whole
        return whole.rows(sorted(range(len(order)), key=order.__getitem__))


class Environments(Protocol):
    """N environments in lockstep, perhaps of different games.

    An episode is a function of its seed and of its actions, whatever came before. Nothing is stacked or clipped, and
    a lost life is no end: environments tell, the training decides.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """What each is called."""

    @property
    def spaces(self) -> tuple[Space, ...]:
        """What each shows and takes."""

    def start(self, which: Sequence[int], seeds: Sequence[int]) -> Arrival:
        """Begin an episode in the environments `which`; the others go on undisturbed.

        Args:
            which: one or more different environments, from 0 to N − 1.
            seeds: one for each, from 0 to 2³¹ − 1.

        Returns:
            Their first observations, rows in the order of `which`; rewards are 0 and nothing is over.
        """

    def send(self, actions: Tensor) -> None:
        """Let every environment act: (N,) int64, each one of `spaces[n].numbers`.

        An environment whose episode is over, or that was never started, must be started before.
        """

    def receive(self) -> Arrival:
        """Wait for the answer of all N to the actions sent."""

    def close(self) -> None:
        """Give back what they hold. A second time does nothing."""
