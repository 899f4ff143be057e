"""Methods on the same seeds, paired: each difference with its interval, each accuracy with its cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hare_tortoise.lab.recipe import FROM_SCRATCH, WARM_START, Recipe
from hare_tortoise.lab.statistics import (
    Estimate,
    mean_interval,
    paired_difference,
    probability_of_improvement,
)
from hare_tortoise.lab.trial import Result, Row
from hare_tortoise.lab.wording import is_control

MARGIN = 0.01
FULL = 1.0


@dataclass(frozen=True)
class Difference:
    """A method minus a reference on the seeds that both finished.

    Args:
        reference: the method that is subtracted.
        budget: of the reference.
        final: difference in the accuracy after the last chunk.
        average: difference in the mean accuracy over the chunks.
        improvement: share of the seeds on which the final accuracy is above the reference's, ties half.
        average_improvement: the same of the mean accuracy over the chunks.
    """

    reference: str
    budget: float
    final: Estimate
    average: Estimate
    improvement: float
    average_improvement: float


@dataclass(frozen=True)
class Failure:
    """A trial that stopped before its end.

    Args:
        seed: of the trial.
        reason: why it stopped.
        run: name of its folder in the store.
    """

    seed: int
    reason: str
    run: str


@dataclass(frozen=True)
class Entry:
    """What a method reached at a budget.

    Args:
        method: as written in the recipe.
        budget: share of the epochs.
        seeds: those that finished; every figure is over these.
        missing: seeds that were not run (yet).
        failures: seeds that stopped before their end. They are in no figure, and the entry reaches nothing.
        final: test accuracy of the deployed network after the last chunk; None where no seed finished.
        average: mean over the chunks of the test accuracy at the end of each.
        train: training accuracy of the deployed network after the last chunk.
        hare: test accuracy of the trained network after the last chunk; differs from `final` under averaging.
        samples: processed over all chunks.
        cost: `samples` as a share of those of from scratch at budget 1; None where that was not run.
        seconds: of training, mean over the seeds.
        differences: to the references, see `compare`.
        reaches: whether the final accuracy reaches from scratch at budget 1; None where nothing can be said.
    """

    method: str
    budget: float
    seeds: tuple[int, ...]
    missing: tuple[int, ...]
    failures: tuple[Failure, ...]
    final: Estimate | None
    average: Estimate | None
    train: Estimate | None
    hare: Estimate | None
    samples: float | None
    cost: float | None
    seconds: float | None
    differences: tuple[Difference, ...]
    reaches: bool | None

    def to(self, reference: str, budget: float | None = None) -> Difference | None:
        """Give the difference to a reference, by default at the same budget; None where there is none."""
        budget = self.budget if budget is None else budget
        found = [d for d in self.differences if d.reference == reference and d.budget == budget]
        return found[0] if found else None


@dataclass(frozen=True)
class Headline:
    """The smallest budget at which a method reaches from scratch at budget 1.

    Args:
        method: as written in the recipe.
        budget: the smallest that reaches it; None: not reached, or unknown.
        cost: of the method at that budget, as a share of from scratch at budget 1.
        known: whether anything can be said; False below 3 seeds.
    """

    method: str
    budget: float | None
    cost: float | None
    known: bool


@dataclass(frozen=True)
class Comparison:
    """Methods of a recipe compared with each other.

    Args:
        recipe: its name.
        description: its description.
        scale: ``paper``, ``own``, or what it was scaled down to.
        margin: how far below from scratch still reaches it; a share, 0.01 is one point.
        seeds: how many the recipe asks for.
        chunks: names of the chunks of the stream, in order.
        methods: in the recipe's order.
        budgets: in rising order.
        entries: one for each method and budget, methods outermost.
    """

    recipe: str
    description: str
    scale: str
    margin: float
    seeds: int
    chunks: tuple[str, ...]
    methods: tuple[str, ...]
    budgets: tuple[float, ...]
    entries: tuple[Entry, ...]

    def entry(self, method: str, budget: float) -> Entry | None:
        """Give the entry of a method at a budget; None where there is none."""
        found = [e for e in self.entries if e.method == method and e.budget == budget]
        return found[0] if found else None

    @property
    def scaled_down(self) -> bool:
        """Whether the figures are those of an experiment smaller than the published one."""
        return self.scale not in ("paper", "own")

    @property
    def reference(self) -> Entry | None:
        """From scratch at budget 1, where at least one seed finished."""
        entry = self.entry(FROM_SCRATCH, FULL)
        return entry if entry is not None and entry.seeds else None

    @property
    def headlines(self) -> tuple[Headline, ...] | None:
        """The headline of each method; None with a single budget, or without from scratch at budget 1."""
        if len(self.budgets) < 2 or self.reference is None:
            return None
        return tuple(self._headline(method) for method in self.methods)

    def _headline(self, method: str) -> Headline:
        entries = sorted((e for e in self.entries if e.method == method), key=lambda e: e.budget)
        for entry in entries:
            if entry.reaches:
                return Headline(method, entry.budget, entry.cost, True)
        return Headline(method, None, None, any(entry.reaches is not None for entry in entries))

    def to_json(self) -> dict[str, Any]:
        """Give the comparison as a JSON value; what follows from the rest (`headlines`) stands in it too."""
        content: dict[str, Any] = _plain(dataclasses.asdict(self))
        lines = self.headlines
        content["headlines"] = None if lines is None else [dataclasses.asdict(line) for line in lines]
        return content

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Comparison:
        """Read what `to_json` gave."""
        names = {field.name for field in dataclasses.fields(Comparison)}
        values = {name: _frozen(value) for name, value in content.items() if name in names}
        return Comparison(**{**values, "entries": tuple(_entry(entry) for entry in content["entries"])})


def compare(recipe: Recipe, results: Sequence[Result], *, margin: float = MARGIN) -> Comparison:
    """Compare the methods of a recipe.

    Differences are paired on the seeds that both finished: to ``from-scratch`` at budget 1 and at the same
    budget, to ``warm-start`` at the same budget, and to each control (``from-scratch+…``) at the same budget.
    A method *reaches* from scratch where the lower 95 % bound of the difference in final accuracy to
    ``from-scratch`` at budget 1 lies above ``−margin``. With a failed seed it does not: a method that
    diverges on some seeds does not do as well as one that never does. Below 3 seeds nothing is said.

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
    finished = {key: by_seed for key, trials in table.items() if (by_seed := _finished(trials))}
    full = finished.get((FROM_SCRATCH, FULL))
    whole = _mean(_cost, full) if full else None
    keys = [(method, budget) for method in recipe.methods for budget in recipe.budgets]
    entries = tuple(_make_entry(recipe, key, table, finished, whole, margin) for key in keys)
    return Comparison(
        recipe=recipe.name,
        description=recipe.description,
        scale=recipe.scale,
        margin=margin,
        seeds=recipe.seeds,
        chunks=_chunks(finished),
        methods=recipe.methods,
        budgets=recipe.budgets,
        entries=entries,
    )


Key = tuple[str, float]
BySeed = dict[int, Result]


def ends(result: Result) -> list[Row]:
    """Give the rows at the ends of the chunks, in order."""
    return [row for row in result.rows if row["last"]]


def _by_trial(recipe: Recipe, results: Sequence[Result]) -> dict[Key, BySeed]:
    table: dict[Key, BySeed] = {}
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


def _finished(trials: BySeed) -> BySeed:
    return {seed: trials[seed] for seed in sorted(trials) if trials[seed].failure is None}


def _chunks(finished: Mapping[Key, BySeed]) -> tuple[str, ...]:
    streams = {
        tuple(str(row["chunk_name"]) for row in ends(result))
        for trials in finished.values()
        for result in trials.values()
    }
    lengths = sorted({len(stream) for stream in streams})
    if len(lengths) > 1:
        raise ValueError(f"results: got streams of {lengths} chunks, expected the same of all trials")
    return min(streams, default=())


def _make_entry(
    recipe: Recipe,
    key: Key,
    table: Mapping[Key, BySeed],
    finished: Mapping[Key, BySeed],
    whole: float | None,
    margin: float,
) -> Entry:
    method, budget = key
    trials, done = table.get(key, {}), finished.get(key, {})
    failed = [(seed, result) for seed, result in sorted(trials.items()) if result.failure is not None]
    failures = tuple(Failure(seed, str(result.failure), result.run) for seed, result in failed)
    samples = _mean(_cost, done)
    return Entry(
        method=method,
        budget=budget,
        seeds=tuple(done),
        missing=tuple(seed for seed in range(recipe.seeds) if seed not in trials),
        failures=failures,
        final=_estimate(_final, done),
        average=_estimate(_average, done),
        train=_estimate(lambda result: ends(result)[-1].get("train_accuracy"), done),
        hare=_estimate(lambda result: ends(result)[-1].get("hare_test_accuracy"), done),
        samples=samples,
        cost=samples / whole if samples is not None and whole else None,
        seconds=_mean(lambda result: float(ends(result)[-1]["seconds"]), done),
        differences=_differences(recipe, key, finished),
        reaches=_reaches(done, finished.get((FROM_SCRATCH, FULL)), bool(failures), margin),
    )


def _differences(recipe: Recipe, key: Key, finished: Mapping[Key, BySeed]) -> tuple[Difference, ...]:
    controls = [method for method in recipe.methods if is_control(method)]
    same = [(method, key[1]) for method in (FROM_SCRATCH, WARM_START, *controls)]
    references = dict.fromkeys([(FROM_SCRATCH, FULL), *same])
    found = (_difference(finished.get(key, {}), finished.get(r, {}), r) for r in references if r != key)
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


def _reaches(ours: BySeed, full: BySeed | None, failed: bool, margin: float) -> bool | None:
    difference = _difference(ours, full or {}, (FROM_SCRATCH, FULL))
    if difference is None or difference.final.low is None:
        return False if failed and full else None
    return not failed and difference.final.low > -margin


def _final(result: Result) -> float:
    return float(ends(result)[-1]["test_accuracy"])


def _average(result: Result) -> float:
    rows = ends(result)
    return sum(float(row["test_accuracy"]) for row in rows) / len(rows)


def _cost(result: Result) -> float:
    return float(ends(result)[-1]["samples"])


def _estimate(measure: Callable[[Result], float | None], done: BySeed) -> Estimate | None:
    values = [value for result in done.values() if (value := measure(result)) is not None]
    return mean_interval(values) if values else None


def _mean(measure: Callable[[Result], float], done: BySeed) -> float | None:
    return sum(measure(result) for result in done.values()) / len(done) if done else None


def _entry(content: Mapping[str, Any]) -> Entry:
    def estimate(value: Mapping[str, Any] | None) -> Estimate | None:
        return None if value is None else Estimate.from_json(value)

    kept = {name: _frozen(value) for name, value in content.items()}
    kept |= {name: estimate(content[name]) for name in ("final", "average", "train", "hare")}
    kept["failures"] = tuple(Failure(**failure) for failure in content["failures"])
    kept["differences"] = tuple(
        Difference(
            **{**d, "final": Estimate.from_json(d["final"]), "average": Estimate.from_json(d["average"])}
        )
        for d in content["differences"]
    )
    return Entry(**kept)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
