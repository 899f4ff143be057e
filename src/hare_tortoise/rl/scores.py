"""Scores of Atari-100k that others published: random play, human play, agents; each with its source and its runs.

They are data beside this file (`atari_scores.json`). None of them was made by this project; `Published.label` says so
wherever one is shown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from hare_tortoise.streams.names import unknown

_DATA: dict[str, Any] = json.loads(
    (files("hare_tortoise.rl") / "atari_scores.json").read_text(encoding="utf-8")
)

GAMES: tuple[str, ...] = tuple(_DATA["games"]["random"])  # the 26, as ALE calls them
AGENTS: tuple[str, ...] = tuple(_DATA["agents"])


@dataclass(frozen=True)
class Published:
    """What somebody else published of an agent on Atari-100k.

    Args:
        name: of the agent.
        source: where the figures were read.
        note: what else must be known of them, such as who computed the aggregates and from what.
        runs: the fewest and the most runs that a game has; None: not stated.
        scores: raw score of each game, the mean over runs; empty where only aggregates are known.
        deviations: standard deviation of each game's runs; empty where it is not known.
        aggregates: over the 26 games, human-normalised: "iqm", "median", "mean", "optimality_gap", those known.
            IQM and optimality gap are of single runs, which are not kept here: they do not follow from `scores`.
        intervals: 95 % intervals of aggregates, those stated.

    Example:
        >>> agent = published("SPR")
        >>> agent.label, agent.aggregates["iqm"], agent.scores["Pong"]
        ('SPR (published, 100 runs)', 0.337, -5.412)
    """

    name: str
    source: str
    note: str
    runs: tuple[int, int] | None
    scores: Mapping[str, float]
    deviations: Mapping[str, float]
    aggregates: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]

    @property
    def label(self) -> str:
        """The name as a table shows it beside ours: published, of how many runs a game."""
        if self.runs is None:
            return f"{self.name} (published, runs not stated)"
        fewest, most = self.runs
        return f"{self.name} (published, {fewest if fewest == most else f'{fewest} to {most}'} runs)"

    def normalised(self) -> dict[str, float]:
        """Human-normalised `scores`; empty where there are none."""
        return {game: human_normalised(game, score) for game, score in self.scores.items()}


def published(agent: str) -> Published:
    """Give what others published of an agent.

    Args:
        agent: one of `AGENTS`.

    Raises:
        ValueError: There is none of this name; the nearest ones are in the message.

    Example:
        >>> published("DrQ(eps)").source
        "rliable's scores of 100 runs, as in rl_with_resets other_scores"
    """
    if agent not in AGENTS:
        raise unknown("published agent", agent, AGENTS)
    entry = _DATA["agents"][agent]
    return Published(
        name=agent,
        source=entry["source"],
        note=entry["note"],
        runs=None if entry["runs"] is None else (entry["runs"][0], entry["runs"][1]),
        scores=MappingProxyType(entry.get("scores", {})),
        deviations=MappingProxyType(entry.get("deviations", {})),
        aggregates=MappingProxyType(entry["aggregates"]),
        intervals=MappingProxyType(
            {key: (low, high) for key, (low, high) in entry.get("intervals", {}).items()}
        ),
    )


def random_score(game: str) -> float:
    """Give the raw score of random play, which is 0 after normalisation.

    Args:
        game: one of `GAMES`.

    Raises:
        ValueError: There is none of this name; the nearest ones are in the message.

    Example:
        >>> random_score("Assault")
        222.4
    """
    return float(_DATA["games"]["random"][_known(game)])


def human_score(game: str) -> float:
    """Give the raw score of human play, which is 1 after normalisation.

    Args:
        game: one of `GAMES`.

    Raises:
        ValueError: There is none of this name; the nearest ones are in the message.

    Example:
        >>> human_score("Assault")
        742.0
    """
    return float(_DATA["games"]["human"][_known(game)])


def human_normalised(game: str, score: float) -> float:
    """Put a raw score between random play, 0, and human play, 1: ``(score − random) / (human − random)``.

    Args:
        game: one of `GAMES`.
        score: of full games, rewards not clipped; finite.

    Returns:
        Below 0 where it is worse than random play, above 1 where it is better than human.

    Raises:
        ValueError: There is no such game, with the nearest names; or the score is not finite.

    References:
        Mnih et al., "Human-level control through deep reinforcement learning", Nature 518, 2015. The constants are
        those that the Atari-100k papers use (source in the data).

    Example:
        >>> human_normalised("Breakout", 30.5), round(human_normalised("Assault", 400.0), 3)
        (1.0, 0.342)
    """
    if not math.isfinite(score):
        raise ValueError(f"score: got {score!r} for {game}, expected a finite one; leave failed runs out")
    random, human = random_score(game), human_score(game)
    return (score - random) / (human - random)


def _known(game: str) -> str:
    if game not in GAMES:
        raise unknown("game of Atari-100k", game, GAMES)
    return game
