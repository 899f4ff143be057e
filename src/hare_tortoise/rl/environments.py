"""Environments by name: Atari, MinAtar, gymnasium and the user's own, one or many in lockstep."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from hare_tortoise.rl.gymnasium_games import Gymnasium
from hare_tortoise.rl.interface import Arrival, Environments, Space
from hare_tortoise.rl.lockstep import SEEDS, Lockstep

__all__ = [
    "SEEDS",
    "Arrival",
    "Environments",
    "Mixed",
    "Space",
    "actions_of",
    "full_name",
    "has_full_set",
    "legal_actions",
    "library_of",
    "make_environments",
]

_FULL_SETS = {"minatar": 6, "atari": 18}
_LIBRARIES = {"atari": "ale-py", "minatar": "MinAtar", "gymnasium": "gymnasium"}


def make_environments(
    names: Sequence[str], *, padded: bool = False, num_threads: int | None = None
) -> Environments:
    """Make one environment for each name, all of them in lockstep.

    Args:
        names: `atari:Assault` (any game of ale-py, in any spelling), `minatar:breakout`, an id of gymnasium such as
            `CartPole-v1`, or `package.module:function`, a function that returns a `gymnasium.Env`. A name may stand
            several times; kinds may be mixed where observations have one shape and dtype.
        padded: for one network on several games: MinAtar shows 10 channels, the missing ones empty, and actions are
            numbered as in the full set of their platform (MinAtar 6, Atari 18), in which `legal_actions` tells the
            minimal ones of each game. Else every game shows its own channels and numbers its minimal actions from 0.
        num_threads: of all emulators of Atari together; None: one for each core. At most one for each environment and
            at least one for each game are used. What the games do does not depend on it.

    Raises:
        ValueError: no names, a name that is not known (with the nearest ones), observations that differ, actions that
            are not numbered, or padding for an environment that has none.
        ImportError: the library of an environment is not installed; the message says how to install it.
        RuntimeError: an environment could not be made; the message names it.

    Example:
        >>> environments = make_environments(["CartPole-v1", "CartPole-v1"])
        >>> environments.spaces[0]
        Space(shape=(4,), dtype=torch.float32, actions=2, lives=False, legal=None)
        >>> environments.start([0, 1], seeds=[7, 8]).observation.shape
        torch.Size([2, 4])
        >>> environments.send(torch.tensor([0, 1]))
        >>> environments.receive().reward
        tensor([1., 1.])
        >>> environments.close()
    """
    if isinstance(names, str) or not names:
        raise ValueError(
            f"names is {names!r}, expected a list of one or more names, such as ['atari:Assault']"
        )
    groups: dict[tuple[str, str], list[int]] = {}
    for place, name in enumerate(names):
        groups.setdefault(_kind(name), []).append(place)
    counts = {name: len(places) for (kind, name), places in groups.items() if kind == "atari"}
    threads = _shares(counts, _cores() if num_threads is None else num_threads)
    parts: list[Environments] = []
    try:
        for (kind, name), places in groups.items():
            parts.append(_made(kind, name, len(places), padded, threads.get(name, 1)))
        return parts[0] if len(parts) == 1 else Mixed(parts, list(groups.values()))
    except BaseException:
        for part in parts:
            part.close()
        raise


def full_name(name: str) -> str:
    """The one spelling of an environment's name.

    Raises:
        ValueError: there is no such game; the nearest names are in the message.
        ImportError: the library of its games is not installed.

    Example:
        >>> full_name("MinAtar:Space-Invaders"), full_name("CartPole-v1")
        ('minatar:space_invaders', 'CartPole-v1')
    """
    kind, known = _kind(name)
    return known if kind == "gymnasium" else f"{kind}:{known}"


def library_of(name: str) -> str:
    """The library that an environment's games come from.

    Example:
        >>> library_of("minatar:breakout"), library_of("CartPole-v1")
        ('MinAtar', 'gymnasium')
    """
    return _LIBRARIES[_kind(name)[0]]


def has_full_set(name: str) -> bool:
    """Whether the games of an environment's platform number their actions alike, so that one network plays them all.

    Example:
        >>> has_full_set("minatar:breakout"), has_full_set("CartPole-v1")
        (True, False)
    """
    return _kind(name)[0] in _FULL_SETS


def actions_of(name: str) -> int:
    """How many actions the full set of a platform has, of which a game's minimal ones are some.

    Example:
        >>> actions_of("minatar:breakout"), actions_of("atari:Pong")
        (6, 18)
    """
    return _FULL_SETS[_kind(name)[0]]


def legal_actions(spaces: Sequence[Space], outputs: int | None = None) -> Tensor:
    """Which outputs of a network are legal actions of each environment.

    Args:
        spaces: of N environments.
        outputs: how many the network has; None: as few as hold every legal action.

    Returns:
        (N, outputs) bool.

    Raises:
        ValueError: `outputs` has no room for a legal action.

    Example:
        >>> pong, breakout = (Space((84, 84), torch.uint8, actions, lives=True) for actions in (6, 4))
        >>> legal_actions([pong, breakout]).int()
        tensor([[1, 1, 1, 1, 1, 1],
                [1, 1, 1, 1, 0, 0]], dtype=torch.int32)
    """
    needed = 1 + max(space.numbers[-1] for space in spaces)
    if outputs is not None and outputs < needed:
        raise ValueError(
            f"outputs is {outputs}, expected at least {needed}: one for each action of every game"
        )
    legal = torch.zeros(len(spaces), outputs or needed, dtype=torch.bool)
    for row, space in zip(legal, spaces, strict=True):
        row[list(space.numbers)] = True
    return legal


class Mixed(Lockstep):
    """Environments of several kinds or games as one: actions go to all before any answer is waited for.

    Args:
        parts: one or more, whose observations have one shape and dtype.
        which: for each part, where its environments stand among all: each place from 0 to N − 1 once.

    Raises:
        ValueError: observations of different shapes or dtypes, or places that are not 0 to N − 1.
    """

    def __init__(self, parts: Sequence[Environments], which: Sequence[Sequence[int]]) -> None:
        order = [place for places in which for place in places]
        sizes = [len(part.names) for part in parts]
        if sorted(order) != list(range(len(order))) or sizes != [len(places) for places in which]:
            raise ValueError(
                f"which is {[list(places) for places in which]}, expected the places 0 to N − 1 once each, as many "
                f"for a part as it has environments: {sizes}"
            )
        looks = {part.names[0]: (part.spaces[0].shape, part.spaces[0].dtype) for part in parts}
        if len({*looks.values()}) > 1:
            shown = ", ".join(f"{name} {shape} of {dtype}" for name, (shape, dtype) in looks.items())
            raise ValueError(
                f"the observations differ: {shown}. Environments in lockstep, and the games of a sequence, show one "
                "shape and dtype: take games of one platform (those of MinAtar with padded=True, as a sequence of "
                "them has it), or run these apart"
            )
        self._parts = list(parts)
        self._which = [list(places) for places in which]
        self._home = {
            place: (number, inner)
            for number, places in enumerate(self._which)
            for inner, place in enumerate(places)
        }
        homes = [self._home[place] for place in range(len(order))]
        super().__init__(
            [parts[number].names[inner] for number, inner in homes],
            [parts[number].spaces[inner] for number, inner in homes],
        )

    def _start(self, which: list[int], seeds: list[int]) -> Arrival:
        asked: dict[int, list[tuple[int, int, int]]] = {}
        for position, (place, seed) in enumerate(zip(which, seeds, strict=True)):
            number, inner = self._home[place]
            asked.setdefault(number, []).append((position, inner, seed))
        pieces = [
            self._parts[number].start([inner for _, inner, _ in rows], [seed for _, _, seed in rows])
            for number, rows in asked.items()
        ]
        return Arrival.joined(pieces, [[position for position, _, _ in rows] for rows in asked.values()])

    def _send(self, actions: list[int]) -> None:
        for part, places in zip(self._parts, self._which, strict=True):
            part.send(torch.tensor([actions[place] for place in places], dtype=torch.int64))

    def _receive(self) -> Arrival:
        return Arrival.joined([part.receive() for part in self._parts], self._which)

    def _close(self) -> None:
        for part in self._parts:
            part.close()


def _kind(name: str) -> tuple[str, str]:
    """The kind of an environment, and its name in one spelling."""
    prefix, colon, game = name.partition(":")
    if colon and prefix.lower() == "atari":
        from hare_tortoise.rl.atari import find_game

        return "atari", find_game(game)
    if colon and prefix.lower() == "minatar":
        from hare_tortoise.rl.minatar import find_minatar_game

        return "minatar", find_minatar_game(game)
    return "gymnasium", name


def _made(kind: str, name: str, count: int, padded: bool, threads: int) -> Environments:
    """`count` environments of one kind and name."""
    if kind == "atari":
        from hare_tortoise.rl.atari import Atari

        return Atari(name, count, padded=padded, num_threads=threads)
    if kind == "minatar":
        from hare_tortoise.rl.minatar import MinAtar

        return MinAtar(name, count, padded=padded)
    if padded:
        raise ValueError(
            f"padded is True for {name}, expected games of MinAtar or Atari, which have a full set of actions: leave "
            "padded out"
        )
    return Gymnasium(name, count)


def _shares(counts: dict[str, int], threads: int) -> dict[str, int]:
    """How many of the threads the emulators of each game get: by their number, one at least."""
    if isinstance(threads, bool) or threads < 1:
        raise ValueError(f"num_threads is {threads!r}, expected a whole number of at least 1")
    total = sum(counts.values())
    return {name: min(count, max(1, threads * count // total)) for name, count in counts.items()}


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
