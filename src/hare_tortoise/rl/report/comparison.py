"""Agents on the same games and seeds, paired: each return with its interval, each difference with its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hare_tortoise.lab.entries import Failure
from hare_tortoise.lab.statistics import mean_interval, paired_difference, probability_of_improvement
from hare_tortoise.lab.trial import Result
from hare_tortoise.measures.sequences import average_accuracy, backward_transfer, forgetting
from hare_tortoise.rl.experiment import AgentExperiment
from hare_tortoise.rl.report.across import put_together
from hare_tortoise.rl.report.averaging import averagings, references
from hare_tortoise.rl.report.entries import NORMALISED as NORMALISED
from hare_tortoise.rl.report.entries import RETURN as RETURN
from hare_tortoise.rl.report.entries import TRAINING as TRAINING
from hare_tortoise.rl.report.entries import Against, AgentEntry, Figure, Revisit
from hare_tortoise.rl.report.entries import AgentComparison as AgentComparison
from hare_tortoise.rl.report.figures import (
    BySeed,
    Finished,
    Key,
    finished_of,
    normalised,
    result_name,
    score_name,
)
from hare_tortoise.rl.report.published import published_on

AVERAGE, BACKWARD, FORGOTTEN = "average return", "backward transfer", "forgetting"
"""Figures of a sequence, from the returns on the game of each phase after each phase."""

_OF_MATRIX = {AVERAGE: average_accuracy, BACKWARD: backward_transfer, FORGOTTEN: forgetting}
_Measure = Callable[[Finished], float | None]


def compare_agents(experiment: AgentExperiment, results: Sequence[Result]) -> AgentComparison:
    """Compare the methods of an experiment, game by game, and over several games.

    The return of a seed is the mean of the whole games that were played at the end of the last phase. Differences are
    paired on the seeds that both finished: to the plain agent (``nothing``), and of a method that puts its average
    back to the arm that differs in that alone (`references`). Intervals are Student's t over the seeds, and those over
    several games the stratified bootstrap; below 3 seeds there are none.

    Args:
        experiment: what was run.
        results: finished trials of it, in any order; some may be missing.

    Raises:
        ValueError: No results, results of another experiment, a trial twice, or one without its last row.

    Example:
        >>> from hare_tortoise.rl.recipes import find_agent
        >>> games, recipe = ("minatar:breakout",), find_agent("minatar").replace(steps=1_000, warm_up=100)
        >>> experiment = AgentExperiment(recipe, (games,), ("nothing", "head-reset"), seeds=3)
        >>> end = {"step": 1_000, "phase": 0, "last": True, "episodes": 1, "return": 1.0, "seconds": 5.0}
        >>> def result(trial):
        ...     score = trial.seed + 2.0 * (trial.method == "head-reset")
        ...     return trial.result(({**end, "evaluations": {"minatar:breakout": [score, score]}},), None, "")
        >>> compared = compare_agents(experiment, [result(trial) for trial in experiment.trials()])
        >>> compared.entry(games, "head-reset").figure(RETURN).to("nothing").difference
        Estimate(mean=2.0, low=2.0, high=2.0, count=3)
    """
    table = _by_trial(experiment, results)
    recipe = experiment.recipe
    finished = finished_of(recipe.name, recipe.steps, experiment.games, experiment.methods, results)
    compared = references(experiment.methods, recipe)
    entries = [
        _entry(experiment, key, table.get(key, {}), finished, compared[key[1]])
        for key in finished  # games outermost
    ]
    across = put_together(experiment, finished, compared)
    single = [games[0] for games in experiment.games if len(games) == 1]
    return AgentComparison(
        recipe=recipe.name,
        description=recipe.description,
        games=experiment.games,
        methods=experiment.methods,
        seeds=experiment.seeds,
        steps=recipe.steps,
        episodes=experiment.judging.episodes,
        entries=tuple(entries),
        averaging=averagings(experiment.methods, recipe),
        across=across,
        published=published_on(single, together=across is not None and across.normalised),
    )


def _by_trial(experiment: AgentExperiment, results: Sequence[Result]) -> dict[Key, dict[int, Result]]:
    if not results:
        raise ValueError("results: got none, expected finished trials of the experiment; run it first")
    names = {result_name(experiment.recipe.name, games): games for games in experiment.games}
    table: dict[Key, dict[int, Result]] = {}
    for result in results:
        games = names.get(result.recipe)
        what = f"{result.recipe}, {result.method}, seed {result.seed}"
        if (
            games is None
            or result.method not in experiment.methods
            or not 0 <= result.seed < experiment.seeds
        ):
            raise ValueError(f"results: got {what}, which is no trial of the experiment")
        trials = table.setdefault((games, result.method), {})
        if result.seed in trials:
            raise ValueError(f"results: got {what} twice, expected each trial once")
        trials[result.seed] = result
    return table


def _entry(
    experiment: AgentExperiment,
    key: Key,
    trials: Mapping[int, Result],
    finished: Mapping[Key, BySeed],
    compared: Sequence[str],
) -> AgentEntry:
    (games, method), done = key, finished[key]
    theirs = {reference: finished[games, reference] for reference in compared}

    def figures(measures: Mapping[str, _Measure]) -> tuple[Figure, ...]:
        found = (_figure(name, measure, done, theirs) for name, measure in measures.items())
        return tuple(figure for figure in found if figure is not None)

    measures: dict[str, _Measure] = {RETURN: lambda trial: trial.final}
    if score_name(games[-1]) is not None:
        measures[NORMALISED] = lambda trial: normalised(games[-1], trial.final)
    measures[TRAINING] = lambda trial: trial.training()
    several = len(games) > 1 and done
    failed = [(seed, result) for seed, result in sorted(trials.items()) if result.failure is not None]
    return AgentEntry(
        games=games,
        method=method,
        seeds=tuple(done),
        missing=tuple(seed for seed in range(experiment.seeds) if seed not in trials),
        failures=tuple(Failure(seed, str(result.failure), result.run) for seed, result in failed),
        figures=figures(measures),
        seconds=_mean([float(trial.rows[-1]["seconds"]) for trial in done.values()]),
        matrix=tuple(
            tuple(mean_interval([trial.matrix[i][j] for trial in done.values()]) for j in range(len(games)))
            for i in range(len(games) if several else 0)
        ),
        sequence=figures({name: _of_matrix(name) for name in _OF_MATRIX}) if several else (),
        revisits=tuple(
            Revisit(games[last], first, last, figures(_changes(games[last], first, last)))
            for first, last in _visits(games)
            if done
        ),
    )


def _of_matrix(name: str) -> _Measure:
    return lambda trial: _OF_MATRIX[name](trial.matrix)


def _visits(games: Sequence[str]) -> list[tuple[int, int]]:
    """First and last phase of each game that is played more than once."""
    first = {game: phase for phase, game in reversed(list(enumerate(games)))}
    last = {game: phase for phase, game in enumerate(games)}
    return [(first[game], last[game]) for game in dict.fromkeys(games) if first[game] < last[game]]


def _changes(game: str, first: int, last: int) -> dict[str, _Measure]:
    def training(trial: Finished) -> float | None:
        before, now = trial.training(first), trial.training(last)
        return None if before is None or now is None else now - before

    return {RETURN: lambda trial: trial.after(last, game) - trial.after(first, game), TRAINING: training}


def _figure(name: str, measure: _Measure, ours: BySeed, theirs: Mapping[str, BySeed]) -> Figure | None:
    values = _known(measure, ours)
    if not values:
        return None
    found = (_against(reference, values, _known(measure, done)) for reference, done in theirs.items())
    return Figure(
        name, mean_interval(list(values.values())), tuple(each for each in found if each is not None)
    )


def _known(measure: _Measure, done: BySeed) -> dict[int, float]:
    return {seed: value for seed, trial in done.items() if (value := measure(trial)) is not None}


def _against(reference: str, ours: Mapping[int, float], theirs: Mapping[int, float]) -> Against | None:
    shared = [seed for seed in ours if seed in theirs]
    if not shared:
        return None
    pair = [ours[seed] for seed in shared], [theirs[seed] for seed in shared]
    return Against(reference, paired_difference(*pair), probability_of_improvement(*pair))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
