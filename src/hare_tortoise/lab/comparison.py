"""Methods on the same seeds, paired: each difference with its interval, each accuracy with its cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hare_tortoise.lab.entries import FULL as FULL
from hare_tortoise.lab.entries import Baseline as Baseline
from hare_tortoise.lab.entries import Comparison as Comparison
from hare_tortoise.lab.entries import Difference as Difference
from hare_tortoise.lab.entries import Entry as Entry
from hare_tortoise.lab.entries import Failure as Failure
from hare_tortoise.lab.entries import Headline as Headline
from hare_tortoise.lab.entries import SequenceFigure as SequenceFigure
from hare_tortoise.lab.recipe import FROM_SCRATCH, WARM_START, Recipe
from hare_tortoise.lab.sequence import FIGURES, Tasks, figures, find_tasks
from hare_tortoise.lab.statistics import (
    Estimate,
    mean_interval,
    paired_difference,
    probability_of_improvement,
)
from hare_tortoise.lab.trial import Result, Row
from hare_tortoise.lab.wording import is_control

MARGIN = 0.01


def compare(recipe: Recipe, results: Sequence[Result], *, margin: float = MARGIN) -> Comparison:
    """Compare the methods of a recipe.

    Differences are paired on the seeds that both finished: to ``from-scratch`` at budget 1 and at the same
    budget, to ``warm-start`` at the same budget, and to each control (``from-scratch+…``) at the same budget.
    A method *reaches* from scratch where the lower 95 % bound of the difference in final accuracy to
    ``from-scratch`` at budget 1 lies above ``−margin``. With a failed seed it does not: a method that
    diverges on some seeds does not do as well as one that never does. Below 3 seeds nothing is said.

    The accuracy of a chunk is that on its first test set at its end; of a recipe that is judged online it is the online
    accuracy over the chunk. Where the chunks have baselines each method has a difference to each of them.

    Args:
        recipe: what was run.
        results: finished trials of it, in any order; some may be missing.
        margin: a share in [0, 1); 0.01 is one point of accuracy.

    Raises:
        ValueError: No results, results of another recipe, a trial twice, results without rows or over
            different streams, or a margin outside [0, 1).

    Example:
        >>> recipe = Recipe(name="mine", methods=("from-scratch", "warm-start"), epochs=1, seeds=3)
        >>> end = {"chunk_name": "all", "last": True, "samples": 9, "seconds": 1.0}
        >>> def trial(method, seed, accuracy):
        ...     return Result("mine", method, 1.0, seed, ({**end, "test_accuracy": accuracy},))
        >>> results = [trial("from-scratch", seed, 0.9) for seed in range(3)]
        >>> results += [trial("warm-start", seed, 0.8) for seed in range(3)]
        >>> warm = compare(recipe, results).entry("warm-start", 1.0)
        >>> warm.to("from-scratch").final.mean, warm.reaches
        (-0.1, False)
    """
    if not 0 <= margin < 1:
        raise ValueError(f"margin: got {margin!r}, expected a share in [0, 1); one point of accuracy is 0.01")
    table = _by_trial(recipe, results)
    finished = {key: done for key, trials in table.items() if (done := _finished(recipe, trials))}
    common = _common(recipe, margin, finished)
    keys = [(method, budget) for method in recipe.methods for budget in recipe.budgets]
    return Comparison(
        recipe=recipe.name,
        description=recipe.description,
        scale=recipe.scale,
        margin=margin,
        seeds=recipe.seeds,
        chunks=_chunks(finished),
        methods=recipe.methods,
        budgets=recipe.budgets,
        entries=tuple(_make_entry(common, key, table.get(key, {})) for key in keys),
        score=common.score,
        baselines=tuple(
            Baseline(name, _mean_of(_final, done), _mean_of(_average, done))
            for name, done in common.baselines.items()
        ),
        tasks=common.tasks.names if common.tasks is not None else (),
    )


def ends(result: Result) -> list[Row]:
    """Give the rows at the ends of the chunks, in order."""
    return [row for row in result.rows if row["last"]]


def judged(row: Row, *, online: bool) -> float | None:
    """Give the accuracy that counts, of the deployed network; None where the row has none."""
    value: float | None = row.get("online_accuracy" if online else "test_accuracy")
    return value


Key = tuple[str, float]


@dataclass(frozen=True)
class _Done:
    """A finished trial, or a baseline on the same data: its accuracies at the ends of the chunks."""

    accuracies: Sequence[float]
    ends: Sequence[Row] = ()

    @property
    def samples(self) -> float:
        return float(self.ends[-1]["samples"])


BySeed = dict[int, _Done]


@dataclass(frozen=True)
class _Common:
    """What every entry of a comparison is made with; `whole` is the cost of from scratch at budget 1."""

    recipe: Recipe
    margin: float
    finished: Mapping[Key, BySeed]
    whole: float | None
    score: str
    baselines: Mapping[str, BySeed]
    tasks: Tasks | None


def _common(recipe: Recipe, margin: float, finished: Mapping[Key, BySeed]) -> _Common:
    full = finished.get((FROM_SCRATCH, FULL))
    anyone = next((trial for done in finished.values() for trial in done.values()), None)
    return _Common(
        recipe=recipe,
        margin=margin,
        finished=finished,
        whole=_mean(lambda trial: trial.samples, full) if full else None,
        score=_score(recipe, anyone),
        baselines=_baselines(recipe, finished),
        tasks=find_tasks(anyone.ends) if anyone is not None else None,
    )


def _by_trial(recipe: Recipe, results: Sequence[Result]) -> dict[Key, dict[int, Result]]:
    table: dict[Key, dict[int, Result]] = {}
    if not results:
        raise ValueError(f"results: got none, expected finished trials of {recipe.name}; run it first")
    for result in results:
        if result.recipe != recipe.name:
            raise ValueError(f"results: got one of recipe {result.recipe!r}, expected only {recipe.name!r}")
        trials = table.setdefault((result.method, result.budget), {})
        what = f"{result.method} at budget {result.budget:g}, seed {result.seed}"
        known = result.method in recipe.methods and result.budget in recipe.budgets
        if not known or not 0 <= result.seed < recipe.seeds:
            raise ValueError(f"results: got {what}, which is not a trial of {recipe.name}")
        if result.seed in trials:
            raise ValueError(f"results: got {what} twice, expected each trial once")
        if result.failure is None and not ends(result):
            raise ValueError(f"results: {what} has no row at the end of a chunk; run it again")
        trials[result.seed] = result
    return table


def _finished(recipe: Recipe, trials: Mapping[int, Result]) -> BySeed:
    done = {}
    for seed in sorted(trials):
        if trials[seed].failure is None:
            rows = ends(trials[seed])
            accuracies = [judged(row, online=recipe.judge == "online") for row in rows]
            known = [float(value) for value in accuracies if value is not None]
            if len(known) < len(rows):
                what = f"{trials[seed].method} at budget {trials[seed].budget:g}, seed {seed}"
                raise ValueError(
                    f"results: {what} lacks the accuracy that {recipe.name} is judged by; run it again"
                )
            done[seed] = _Done(known, rows)
    return done


def _score(recipe: Recipe, trial: _Done | None) -> str:
    numbers = trial is not None and trial.ends[-1].get("test_error") is not None
    return ("online " if recipe.judge == "online" else "") + ("R²" if numbers else "accuracy")


def _baselines(recipe: Recipe, finished: Mapping[Key, BySeed]) -> dict[str, BySeed]:
    """Read what predictors that learn nothing reach on each seed; none where methods are judged on other data."""
    if recipe.judge == "online":
        return {}
    trials = {seed: trial for done in finished.values() for seed, trial in done.items()}
    given = {seed: [row.get("baselines") or {} for row in trials[seed].ends] for seed in sorted(trials)}
    names = dict.fromkeys(name for rows in given.values() for row in rows for name in row)
    found = {}
    for name in names:
        whole = {seed: rows for seed, rows in given.items() if all(name in row for row in rows)}
        if len(whole) == len(given):
            found[name] = {seed: _Done([float(row[name]) for row in rows]) for seed, rows in whole.items()}
    return found


def _chunks(finished: Mapping[Key, BySeed]) -> tuple[str, ...]:
    streams = {
        tuple(str(row["chunk_name"]) for row in trial.ends)
        for done in finished.values()
        for trial in done.values()
    }
    lengths = sorted({len(stream) for stream in streams})
    if len(lengths) > 1:
        raise ValueError(f"results: got streams of {lengths} chunks, expected the same of all trials")
    return min(streams, default=())


def _make_entry(common: _Common, key: Key, trials: Mapping[int, Result]) -> Entry:
    recipe, (method, budget), done = common.recipe, key, common.finished.get(key, {})
    failed = [(seed, result) for seed, result in sorted(trials.items()) if result.failure is not None]
    failures = tuple(Failure(seed, str(result.failure), result.run) for seed, result in failed)
    samples = _mean(lambda trial: trial.samples, done)
    hare = "hare_online_accuracy" if recipe.judge == "online" else "hare_test_accuracy"
    return Entry(
        method=method,
        budget=budget,
        seeds=tuple(done),
        missing=tuple(seed for seed in range(recipe.seeds) if seed not in trials),
        failures=failures,
        final=_estimate(_final, done),
        average=_estimate(_average, done),
        train=_estimate(lambda trial: trial.ends[-1].get("train_accuracy"), done),
        hare=_estimate(lambda trial: trial.ends[-1].get(hare), done),
        samples=samples,
        cost=samples / common.whole if samples is not None and common.whole else None,
        seconds=_mean(lambda trial: float(trial.ends[-1]["seconds"]), done),
        differences=_differences(common, key),
        reaches=_reaches(done, common.finished.get((FROM_SCRATCH, FULL)), bool(failures), common.margin),
        sequence=_sequence(common, key),
    )


def _differences(common: _Common, key: Key) -> tuple[Difference, ...]:
    ours = common.finished.get(key, {})
    controls = [method for method in common.recipe.methods if is_control(method)]
    same = [(method, key[1]) for method in (FROM_SCRATCH, WARM_START, *controls)]
    references = [r for r in dict.fromkeys([(FROM_SCRATCH, FULL), *same]) if r != key]
    found = [_difference(ours, common.finished.get(r, {}), r) for r in references]
    found += [_difference(ours, done, (name, key[1])) for name, done in common.baselines.items()]
    return tuple(difference for difference in found if difference is not None)


def _difference(ours: BySeed, theirs: BySeed, reference: Key) -> Difference | None:
    shared = [seed for seed in ours if seed in theirs]
    if not shared:
        return None
    final = [_final(ours[seed]) for seed in shared], [_final(theirs[seed]) for seed in shared]
    average = [_average(ours[seed]) for seed in shared], [_average(theirs[seed]) for seed in shared]
    return Difference(
        *reference,
        final=paired_difference(*final),
        average=paired_difference(*average),
        improvement=probability_of_improvement(*final),
        average_improvement=probability_of_improvement(*average),
    )


def _sequence(common: _Common, key: Key) -> tuple[SequenceFigure, ...]:
    if common.tasks is None:
        return ()
    ours, warm = _task_figures(common, key), _task_figures(common, (WARM_START, key[1]))
    found = []
    for name in FIGURES:
        values = [known[name] for known in ours.values() if name in known]
        pairs = [
            (k[name], warm[seed][name])
            for seed, k in ours.items()
            if name in k and name in warm.get(seed, {})
        ]
        if values:
            paired = key[0] != WARM_START and pairs
            difference = paired_difference([a for a, _ in pairs], [b for _, b in pairs]) if paired else None
            found.append(SequenceFigure(name, mean_interval(values), difference))
    return tuple(found)


def _task_figures(common: _Common, key: Key) -> dict[int, Mapping[str, float]]:
    assert common.tasks is not None
    scratch = common.finished.get((FROM_SCRATCH, key[1]), {}) if key[0] != FROM_SCRATCH else {}
    return {
        seed: figures(trial.ends, common.tasks, scratch[seed].ends if seed in scratch else None)
        for seed, trial in common.finished.get(key, {}).items()
    }


def _reaches(ours: BySeed, full: BySeed | None, failed: bool, margin: float) -> bool | None:
    difference = _difference(ours, full or {}, (FROM_SCRATCH, FULL))
    if difference is None or difference.final.low is None:
        return False if failed and full else None
    return not failed and difference.final.low > -margin


def _final(trial: _Done) -> float:
    return trial.accuracies[-1]


def _average(trial: _Done) -> float:
    return sum(trial.accuracies) / len(trial.accuracies)


def _estimate(measure: Callable[[_Done], float | None], done: BySeed) -> Estimate | None:
    values = [value for trial in done.values() if (value := measure(trial)) is not None]
    return mean_interval(values) if values else None


def _mean_of(measure: Callable[[_Done], float], done: BySeed) -> Estimate:
    return mean_interval([measure(trial) for trial in done.values()])


def _mean(measure: Callable[[_Done], float], done: BySeed) -> float | None:
    return sum(measure(trial) for trial in done.values()) / len(done) if done else None
