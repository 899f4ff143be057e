"""Methods over several games: aggregates of scores that have a common scale, and probabilities that need none.

Scores of Atari-100k are put between random and human play, which is the field's common scale. Other games have none:
a return of 5 on one of them and of 50 on another say nothing about each other, and to divide by the plain agent's own
return would make every figure as uncertain as that. For them only the probability of improvement is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from hare_tortoise.lab import bootstrap
from hare_tortoise.lab.aggregates import (
    Scores,
    average_probability_of_improvement,
    iqm,
    mean,
    median,
    optimality_gap,
    performance_profile,
)
from hare_tortoise.lab.statistics import FEWEST, Estimate
from hare_tortoise.rl.report.entries import Across, AcrossDifference, AcrossEntry, Named, Point
from hare_tortoise.rl.report.figures import BySeed, Finished, Key, normalised, score_name

if TYPE_CHECKING:
    from hare_tortoise.rl.experiment import AgentExperiment

AGGREGATES: Mapping[str, bootstrap.Statistic] = {
    "iqm": iqm,
    "median": median,
    "mean": mean,
    "optimality_gap": optimality_gap,
}
_BINS = 20
_THRESHOLDS = 81
_TOPS = (1.0, 2.0, 4.0, 8.0)


def put_together(
    experiment: AgentExperiment, finished: Mapping[Key, BySeed], compared: Mapping[str, Sequence[str]]
) -> Across | None:
    """Put the single games of an experiment together.

    Args:
        experiment: what was run.
        finished: the trials of each game and method by seed.
        compared: references of each method.

    Returns:
        None where there are not several.
    """
    games = tuple(games[0] for games in experiment.games if len(games) == 1)
    if len(games) < 2:
        return None
    common = all(score_name(game) is not None for game in games)
    methods = {
        method: _Runs(games, common, [finished[(game,), method] for game in games])
        for method in experiment.methods
    }
    scores = [found.scores(found.seeds) for found in methods.values() if found.seeds]
    highest = max((float(each.max()) for each in scores), default=1.0)
    thresholds = np.linspace(0, next((top for top in _TOPS if top >= highest), _TOPS[-1]), _THRESHOLDS)
    judged = experiment.judging.curve_every is not None
    return Across(
        games=games,
        normalised=common,
        thresholds=tuple(thresholds.tolist()) if common else (),
        curve_of="evaluation" if judged else "training",
        entries=tuple(
            AcrossEntry(
                method=method,
                seeds=tuple(mine.seeds),
                aggregates=_aggregates(mine) if common else (),
                profile=_profile(mine, thresholds) if common else (),
                curve=_curve(mine, judged) if common else (),
                differences=tuple(
                    found
                    for reference in compared[method]
                    if (found := _difference(mine, methods[reference], reference)) is not None
                ),
            )
            for method, mine in methods.items()
        ),
    )


class _Runs:
    """The trials of a method on several games, of the seeds that finished on all of them."""

    def __init__(self, games: Sequence[str], common: bool, done: Sequence[BySeed]) -> None:
        self.games, self.common, self.done = games, common, done
        self.seeds = sorted(set.intersection(*(set(each) for each in done)))

    def scores(
        self, seeds: Sequence[int], of: Callable[[Finished], float] = lambda trial: trial.final
    ) -> Scores:
        """Give a number of each trial, (runs, games), on the common scale where there is one."""
        return np.array(
            [
                [self._score(game, of(done[seed])) for game, done in zip(self.games, self.done, strict=True)]
                for seed in seeds
            ]
        )

    def _score(self, game: str, value: float) -> float:
        return normalised(game, value) if self.common else value


def _aggregates(mine: _Runs) -> tuple[Named, ...]:
    if not mine.seeds:
        return ()
    scores = mine.scores(mine.seeds)
    return tuple(Named(name, _interval(scores, statistic)) for name, statistic in AGGREGATES.items())


def _interval(scores: Scores, statistic: bootstrap.Statistic) -> Estimate:
    if len(scores) < FEWEST:
        return Estimate(float(statistic(scores)), None, None, len(scores))
    return bootstrap.interval(scores, statistic)


def _profile(mine: _Runs, thresholds: Scores) -> tuple[Estimate, ...]:
    if not mine.seeds:
        return ()
    scores = mine.scores(mine.seeds)
    if len(scores) < FEWEST:
        shares = performance_profile(scores, thresholds).tolist()
        return tuple(Estimate(share, None, None, len(scores)) for share in shares)
    return tuple(bootstrap.intervals_of_profile(scores, thresholds))


def _curve(mine: _Runs, judged: bool) -> tuple[Point, ...]:
    """IQM at each place where every trial has a number."""

    def along(trial: Finished) -> dict[int, float]:
        return trial.evaluation_curve(trial.games[0]) if judged else trial.training_curve(_BINS)

    curves = {id(trial): along(trial) for done in mine.done for trial in done.values()}
    if not mine.seeds:
        return ()
    needed = [curves[id(done[seed])] for done in mine.done for seed in mine.seeds]
    steps = sorted(set.intersection(*(set(curve) for curve in needed)))
    if not steps:
        return ()
    scores = np.stack([mine.scores(mine.seeds, partial(_at, curves, step)) for step in steps])
    if len(mine.seeds) < FEWEST:
        values = [Estimate(float(iqm(each)), None, None, len(each)) for each in scores]
    else:
        values = bootstrap.intervals_of_curve(scores)
    return tuple(Point(step, value) for step, value in zip(steps, values, strict=True))


def _at(curves: Mapping[int, Mapping[int, float]], step: int, trial: Finished) -> float:
    return curves[id(trial)][step]


def _difference(mine: _Runs, theirs: _Runs, reference: str) -> AcrossDifference | None:
    shared = [seed for seed in mine.seeds if seed in theirs.seeds]
    if not shared:
        return None
    pair = mine.scores(shared), theirs.scores(shared)
    enough = len(shared) >= FEWEST

    def of(statistic: bootstrap.Statistic) -> Estimate:
        if enough:
            return bootstrap.widened(bootstrap.interval_of_difference(*pair, statistic), len(mine.games))
        return Estimate(float(statistic(pair[0]) - statistic(pair[1])), None, None, len(shared))

    if enough:
        wide = bootstrap.widened(bootstrap.interval_of_improvement(*pair), len(mine.games))
        improvement = replace(wide, low=max(0.0, wide.low or 0.0), high=min(1.0, wide.high or 0.0))
    else:
        improvement = Estimate(float(average_probability_of_improvement(*pair)), None, None, len(shared))
    return AcrossDifference(
        reference=reference,
        aggregates=tuple(Named(name, of(each)) for name, each in AGGREGATES.items()) if mine.common else (),
        improvement=improvement,
    )
