"""What one network must fit: the games of a trial, as it sees them and acts in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hare_tortoise.rl.environments import (
    Environments,
    Space,
    actions_of,
    has_full_set,
    legal_actions,
    make_environments,
)


@dataclass(frozen=True)
class Stage:
    """The games that one network plays.

    Args:
        spaces: of each game, by its name.
        actions: outputs of the network.
        padded: whether the games are shown and numbered alike, as several of one platform are.
    """

    spaces: Mapping[str, Space]
    actions: int
    padded: bool

    def make(self, names: Sequence[str]) -> Environments:
        """Make environments as the network knows them."""
        return make_environments(names, padded=self.padded)


def padded(games: Sequence[str]) -> bool:
    """Whether a network that plays these games sees them padded to the full set of their platform.

    Example:
        >>> padded(["minatar:breakout"]), padded(["minatar:breakout", "minatar:asterix"])
        (False, True)
    """
    return len({*games}) > 1 and all(map(has_full_set, games))


def stage_of(games: Sequence[str], *, alike: bool | None = None) -> Stage:
    """Make each game once, to see what a network must fit.

    Args:
        games: names of environments, one or more; a name may stand several times.
        alike: whether they are padded; None: as `padded` has it.

    Raises:
        ValueError: There is no such game (with the nearest names), it cannot be made, its actions are not numbered, or
            the games do not look alike.
        ImportError: The library of a game is not installed.

    Example:
        >>> stage_of(["CartPole-v1"]).actions, stage_of(["minatar:breakout", "minatar:asterix"]).actions
        (2, 6)
    """
    alike = padded(games) if alike is None else alike
    try:
        environments = make_environments(tuple(dict.fromkeys(games)), padded=alike)
    except RuntimeError as error:  # what the user named raised
        raise ValueError(str(error)) from error
    spaces = dict(zip(environments.names, environments.spaces, strict=True))
    environments.close()
    actions = actions_of(games[0]) if alike else legal_actions(environments.spaces).shape[1]
    return Stage(spaces, actions, alike)
