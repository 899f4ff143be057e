"""The order of the calls, and the checks of what is sent, that every kind of environments has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from hare_tortoise.rl.interface import Answer, Arrival, Space

# The seeds that ale-py, NumPy and gymnasium all take: the emulators' are 32-bit integers, and −1 means none.
SEEDS = 2**31


class Lockstep(ABC):
    """The order of the calls, and the checks of what is sent, that every kind of `Environments` has.

    Args:
        names: what each environment is called in an error.
        spaces: what each shows and takes.
    """

    def __init__(self, names: Sequence[str], spaces: Sequence[Space]) -> None:
        self.names = tuple(names)
        self.spaces = tuple(spaces)
        self._legal = [frozenset(space.numbers) for space in self.spaces]
        self._waiting = set(range(len(self.names)))
        self._sent = False
        self._closed = False
        self._failure: str | None = None

    def start(self, which: Sequence[int], seeds: Sequence[int]) -> Arrival:
        """Begin an episode in the environments `which`; the others go on undisturbed.

        Raises:
            ValueError: no environment, one that there is not, one twice, or a seed that is none.
            RuntimeError: actions were sent and not received, or an environment failed (now or before) or is closed.
        """
        self._check_usable(sent=False)
        rows, numbers = self._checked_rows(which), _checked_seeds(which, seeds)
        with self._noting_failure():
            arrival = self._start(rows, numbers)
        self._waiting.difference_update(rows)
        return arrival

    def send(self, actions: Tensor) -> None:
        """Let every environment act: (N,) int64, each one of `spaces[n].numbers`.

        Raises:
            ValueError: `actions` is something else.
            RuntimeError: an episode is over or was never started, actions were sent and not received, or an environment
                failed (now or before) or is closed.
        """
        self._check_usable(sent=False)
        if self._waiting:
            waiting = ", ".join(f"{number} ({self.names[number]})" for number in sorted(self._waiting))
            raise RuntimeError(
                f"the episodes of the environments {waiting} are over or were never started: call start(which, seeds) "
                "for these before the next send"
            )
        values = self._checked_actions(actions)
        with self._noting_failure():
            self._send(values)
        self._sent = True

    def receive(self) -> Arrival:
        """Wait for the answer of all N to the actions sent.

        Raises:
            RuntimeError: no actions were sent, or an environment failed (now or before) or is closed.
        """
        self._check_usable(sent=True)
        with self._noting_failure():
            arrival = self._receive()
        self._sent = False
        for ends in (arrival.ended, arrival.truncated):
            self._waiting.update(number for number, over in enumerate(ends.tolist()) if over)
        return arrival

    def close(self) -> None:
        """Give back what they hold. A second time does nothing."""
        if not self._closed:
            self._closed = True
            self._close()

    @abstractmethod
    def _start(self, which: list[int], seeds: list[int]) -> Arrival: ...

    @abstractmethod
    def _send(self, actions: list[int]) -> None: ...

    @abstractmethod
    def _receive(self) -> Arrival: ...

    @abstractmethod
    def _close(self) -> None: ...

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            # Some have acted and some have not: there is no way on but a new beginning.
            self._failure = f"{type(error).__name__}: {error}"
            raise

    def _check_usable(self, *, sent: bool) -> None:
        if self._closed:
            raise RuntimeError("the environments are closed: make new ones with make_environments")
        if self._failure is not None:
            raise RuntimeError(
                f"the environments failed before ({self._failure}): close them, and make new ones with "
                "make_environments"
            )
        if self._sent and not sent:
            raise RuntimeError("the answer to the last actions is still to come: call receive() first")
        if sent and not self._sent:
            raise RuntimeError("no actions were sent that could be answered: call send(actions) first")

    def _checked_rows(self, which: Sequence[int]) -> list[int]:
        rows = [int(number) for number in which]
        if not rows or len({*rows}) != len(rows) or not all(0 <= row < len(self.names) for row in rows):
            raise ValueError(
                f"which is {rows}, expected one or more different environments from 0 to {len(self.names) - 1}"
            )
        return rows

    def _checked_actions(self, actions: Tensor) -> list[int]:
        if actions.dtype != torch.int64 or actions.shape != (len(self.names),):
            raise ValueError(
                f"actions are {actions.dtype} of shape {tuple(actions.shape)}, expected torch.int64 of shape "
                f"({len(self.names)},): one for each environment"
            )
        values: list[int] = actions.tolist()
        for number, (value, legal) in enumerate(zip(values, self._legal, strict=True)):
            if value not in legal:
                raise ValueError(
                    f"actions[{number}] is {value}, expected one of {sorted(legal)}: the legal actions of "
                    f"{self.names[number]}; see legal_actions(spaces)"
                )
        return values


def _checked_seeds(which: Sequence[int], seeds: Sequence[int]) -> list[int]:
    numbers = [int(seed) for seed in seeds]
    if len(numbers) != len(which) or not all(0 <= seed < SEEDS for seed in numbers):
        raise ValueError(
            f"seeds are {numbers} for {len(which)} environments, expected one for each, from 0 to {SEEDS - 1}"
        )
    return numbers


@contextmanager
def naming(name: str, doing: str) -> Iterator[None]:
    """Say which environment it was that raised.

    Raises:
        RuntimeError: in the place of whatever it raised, which is its cause.
    """
    try:
        yield
    except Exception as error:
        raise RuntimeError(
            f"the environment {name} failed when it {doing}: {type(error).__name__}: {error}"
        ) from error


class Game(Protocol):
    """One game in Python."""

    def start(self, seed: int) -> Tensor:
        """Begin an episode; the first observation."""

    def act(self, action: int) -> Answer:
        """The observation, the reward, whether the game is over, and whether it was cut instead."""

    def close(self) -> None:
        """Give back what it holds."""


class Looped(Lockstep):
    """Games in Python, stepped one after another when they are received: emulators beside them work meanwhile.

    Args:
        names: what each game is called in an error.
        spaces: what each shows and takes.
        games: the games.
    """

    def __init__(self, names: Sequence[str], spaces: Sequence[Space], games: Sequence[Game]) -> None:
        super().__init__(names, spaces)
        self._games = list(games)
        self._actions: list[int] = []

    def _start(self, which: list[int], seeds: list[int]) -> Arrival:
        answers = []
        for number, seed in zip(which, seeds, strict=True):
            with naming(self.names[number], f"was started with the seed {seed}"):
                answers.append((self._games[number].start(seed), 0.0, False, False))
        return Arrival.stacked(answers)

    def _send(self, actions: list[int]) -> None:
        self._actions = actions

    def _receive(self) -> Arrival:
        answers = []
        for name, game, action in zip(self.names, self._games, self._actions, strict=True):
            with naming(name, f"was sent the action {action}"):
                answers.append(game.act(action))
        return Arrival.stacked(answers)

    def _close(self) -> None:
        for game in self._games:
            game.close()
