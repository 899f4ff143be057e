"""The numbers of one finished trial of an agent: returns of whole games, returns of training, both along the steps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from hare_tortoise.lab.trial import Result, Row
from hare_tortoise.rl.scores import GAMES, human_normalised
from hare_tortoise.rl.trial import ROWS_EVERY, THEN


@dataclass(frozen=True)
class Finished:
    """A trial that came to its end.

    Args:
        games: that were played, one after the other.
        steps: on each.
        rows: of its metrics, in order.

    Raises:
        ValueError: A phase lacks its last row, or the games that it was to be judged by.
    """

    games: tuple[str, ...]
    steps: int
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        ends = [row["phase"] for row in self.rows if row["last"]]
        judged = all({*self.games} <= {*row.get("evaluations", {})} for row in self.rows if row["last"])
        if ends != list(range(len(self.games))) or not judged:
            raise ValueError(
                f"results: got rows that end phases {ends}, expected one with whole games for each of "
                f"{len(self.games)}; run it again"
            )

    def after(self, phase: int, game: str) -> float:
        """Mean return of whole games at the end of a phase."""
        (row,) = (row for row in self.rows if row["last"] and row["phase"] == phase)
        return fmean(row["evaluations"][game])

    @property
    def final(self) -> float:
        """Mean return of whole games of the last phase's game, at the end."""
        return self.after(len(self.games) - 1, self.games[-1])

    @property
    def matrix(self) -> tuple[tuple[float, ...], ...]:
        """``[i][j]``: mean return on the game of phase j after phase i."""
        return tuple(tuple(self.after(i, game) for game in self.games) for i in range(len(self.games)))

    def training(self, phase: int = -1) -> float | None:
        """Mean return of the episodes that ended in the second half of a phase's steps.

        Each counts once: that is the mean over the rows there, weighted by their episodes.

        Args:
            phase: from 0; -1: the last.

        Returns:
            None where no episode ended.
        """
        phase %= len(self.games)
        begun = phase * self.steps
        rows = [row for row in self.rows if row["phase"] == phase and 2 * (row["step"] - begun) > self.steps]
        return _mean_return(rows)

    def training_curve(self, bins: int) -> dict[int, float]:
        """Mean return of the episodes that ended between places along the steps.

        Args:
            bins: of each phase, at most; a bin is a whole number of rows.

        Returns:
            By the step at which the bin ends; a bin in which no episode ended is left out.

        Example:
            >>> row = {"phase": 0, "last": False, "episodes": 1}
            >>> rows = [{**row, "step": 1000 * n, "return": float(n)} for n in (1, 2, 3)]
            >>> rows.append({**row, "step": 4000, "return": 4.0, "last": True, "evaluations": {"pong": [1.0]}})
            >>> Finished(("pong",), 4_000, tuple(rows)).training_curve(2)
            {2000: 1.5, 4000: 3.5}
        """
        width = self._width(bins)
        found: dict[int, list[Row]] = {}
        for row in self.rows:
            begun = row["phase"] * self.steps
            place = math.ceil((row["step"] - begun) / width) * width
            found.setdefault(begun + min(place, self.steps), []).append(row)
        means = {place: _mean_return(rows) for place, rows in found.items()}
        return {place: mean for place, mean in means.items() if mean is not None}

    def has_gaps(self, bins: int) -> bool:
        """Whether `training_curve` has no value in a bin after its first one."""
        places = list(self.training_curve(bins))
        whole = [*places, len(self.games) * self.steps] if places else []
        return any(b - a > self._width(bins) for a, b in itertools.pairwise(whole))

    def _width(self, bins: int) -> int:
        return ROWS_EVERY * math.ceil(self.steps / bins / ROWS_EVERY)

    def evaluation_curve(self, game: str) -> dict[int, float]:
        """Mean return of whole games along the steps, wherever this game was judged."""
        rows = [row for row in self.rows if row.get("evaluations", {}).get(game)]
        return {row["step"]: fmean(row["evaluations"][game]) for row in rows}

    def measure_curve(self, name: str) -> dict[int, float]:
        """A measure of plasticity along the steps, wherever it was taken."""
        rows = [row for row in self.rows if name in row.get("measures", {})]
        return {row["step"]: float(row["measures"][name]) for row in rows}


BySeed = Mapping[int, Finished]
Key = tuple[tuple[str, ...], str]
"""Games and method."""


def result_name(recipe: str, games: Sequence[str]) -> str:
    """Name what the results of a recipe on a game, or on a sequence, go by.

    Example:
        >>> result_name("drq", ["atari:Pong"])
        'drq on atari:Pong'
    """
    return f"{recipe} on {THEN.join(games)}"


def finished_of(
    recipe: str,
    steps: int,
    played: Sequence[tuple[str, ...]],
    methods: Sequence[str],
    results: Sequence[Result],
) -> dict[Key, BySeed]:
    """Give the finished trials of each game and method by seed, games outermost; those of others are passed over.

    Args:
        recipe: its name.
        steps: on each game.
        played: each a game, or several in sequence.
        methods: in their order.
        results: of trials.

    Raises:
        ValueError: A finished trial lacks the last row of a phase.
    """
    found: dict[Key, dict[int, Finished]] = {(games, method): {} for games in played for method in methods}
    named = {result_name(recipe, games): games for games in played}
    for result in sorted(results, key=lambda result: result.seed):
        key = named.get(result.recipe, ()), result.method
        if key in found and result.failure is None:
            found[key][result.seed] = Finished(key[0], steps, result.rows)
    return dict(found)


def _mean_return(rows: Sequence[Row]) -> float | None:
    episodes: int = sum(row["episodes"] for row in rows)
    if not episodes:
        return None
    total: float = sum(row["episodes"] * row["return"] for row in rows if row["episodes"])
    return total / episodes


def score_name(game: str) -> str | None:
    """Name a game as the tables of Atari-100k do; None where it is none of the 26.

    Example:
        >>> score_name("atari:Assault"), score_name("minatar:breakout"), score_name("atari:Adventure")
        ('Assault', None, None)
    """
    kind, _, name = game.partition(":")
    return name if kind == "atari" and name in GAMES else None


def normalised(game: str, score: float) -> float:
    """Put a score of a game of Atari-100k between random and human play.

    Raises:
        ValueError: It is none of the 26.
    """
    return human_normalised(score_name(game) or game, score)
