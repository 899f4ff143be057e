"""What others published on the games of a comparison, beside which ours stands."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from hare_tortoise.lab.statistics import Estimate
from hare_tortoise.rl.report.entries import Named, Theirs
from hare_tortoise.rl.report.figures import score_name
from hare_tortoise.rl.scores import AGENTS, GAMES, Published, published


def published_on(games: Sequence[str], *, together: bool) -> tuple[Theirs, ...]:
    """Give what agents are published with on some games.

    Aggregates over the 26 games are those that were stated. Over other games they are the median and the mean of the
    published scores; interquartile mean and optimality gap are of single runs, which were not published with them.

    Args:
        games: of a comparison, each played by itself; those that are none of Atari-100k are passed over.
        together: whether aggregates are wanted; only where all games are of Atari-100k.

    Example:
        >>> found = published_on(["atari:Pong", "minatar:breakout"], together=False)
        >>> next((each.label, each.scores[0].value.mean) for each in found if each.label.startswith("SPR"))
        ('SPR (published, 100 runs)', -5.412)
    """
    wanted = [name for game in games if (name := score_name(game)) is not None]
    found = []
    for agent in map(published, AGENTS if wanted else ()):
        runs = 0 if agent.runs is None else agent.runs[0]
        scores = [
            Named(game, Estimate(agent.scores[game], None, None, runs))
            for game in wanted
            if game in agent.scores
        ]
        aggregates = _aggregates(agent, wanted, runs) if together else []
        if scores or aggregates:
            found.append(Theirs(agent.label, agent.source, tuple(scores), tuple(aggregates)))
    return tuple(found)


def _aggregates(agent: Published, wanted: Sequence[str], runs: int) -> list[Named]:
    if {*wanted} == {*GAMES} and agent.aggregates:
        ends = {name: agent.intervals.get(name, (None, None)) for name in agent.aggregates}
        return [
            Named(name, Estimate(value, low, high, runs))
            for (name, value), (low, high) in zip(agent.aggregates.items(), ends.values(), strict=True)
        ]
    known = agent.normalised()
    if not {*wanted} <= {*known}:
        return []
    values = [known[game] for game in wanted]
    return [
        Named(name, Estimate(value, None, None, runs))
        for name, value in (("median", statistics.median(values)), ("mean", statistics.fmean(values)))
    ]
