"""What a comparison holds: methods with their figures, differences and failures, and how it is written as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hare_tortoise.lab.recipe import FROM_SCRATCH
from hare_tortoise.lab.statistics import Estimate

FULL = 1.0
# written only where there is something to write: what was compared before they came reads and stays as it was
_OPTIONAL = ("score", "baselines", "tasks", "sequence")


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
class Baseline:
    """A predictor that learns nothing, on the same test data.

    Args:
        name: what it predicts by, such as "same as last time".
        final: its accuracy on the last chunk.
        average: mean of its accuracy over the chunks.
    """

    name: str
    final: Estimate
    average: Estimate

    @property
    def label(self) -> str:
        """Its name where methods stand beside it."""
        return f"{self.name} (no network)"


@dataclass(frozen=True)
class SequenceFigure:
    """What a method keeps or gains over a sequence of tasks.

    Args:
        name: see `hare_tortoise.lab.sequence`.
        value: over the seeds on which it is known.
        to_warm_start: paired difference to warm start at the same budget; None where there is none.
    """

    name: str
    value: Estimate
    to_warm_start: Estimate | None


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
        final: test accuracy of the deployed network after the last chunk; None where no seed finished. Where a recipe
            is judged online: its online accuracy on the last chunk; of numbers: R².
        average: mean over the chunks of the same accuracy of each.
        train: training accuracy of the deployed network after the last chunk.
        hare: test accuracy of the trained network after the last chunk; differs from `final` under averaging.
        samples: processed over all chunks.
        cost: `samples` as a share of those of from scratch at budget 1; None where that was not run.
        seconds: of training, mean over the seeds.
        differences: to the references, see `compare`.
        reaches: whether the final accuracy reaches from scratch at budget 1; None where nothing can be said.
        sequence: what is kept and gained over the tasks; empty where the stream has no sequence of them.
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
    sequence: tuple[SequenceFigure, ...] = ()

    def to(self, reference: str, budget: float | None = None) -> Difference | None:
        """Give the difference to a reference or baseline, by default at the same budget; None where there is none."""
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
        score: what the accuracies are called: "accuracy", "online accuracy", or of numbers "R²", "online R²".
        baselines: predictors that learn nothing, on the same test data; methods have a difference to each.
        tasks: names of the test sets that are judged again and again over the stream, where there are several.
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
    score: str = "accuracy"
    baselines: tuple[Baseline, ...] = ()
    tasks: tuple[str, ...] = ()

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

    def best_baseline(self, *, average: bool) -> Baseline | None:
        """Give the baseline of the highest accuracy, over the stream or at its end; None where there is none."""
        return max(self.baselines, key=lambda b: b.average.mean if average else b.final.mean, default=None)

    def to_json(self) -> dict[str, Any]:
        """Give the comparison as a JSON value; what follows from the rest (`headlines`) stands in it too."""
        content: dict[str, Any] = _spare(_plain(dataclasses.asdict(self)))
        content["entries"] = [_spare(entry) for entry in content["entries"]]
        lines = self.headlines
        content["headlines"] = None if lines is None else [dataclasses.asdict(line) for line in lines]
        return content

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Comparison:
        """Read what `to_json` gave."""
        names = {field.name for field in dataclasses.fields(Comparison)}
        values = {name: _frozen(value) for name, value in content.items() if name in names}
        values["baselines"] = tuple(
            Baseline(each["name"], Estimate.from_json(each["final"]), Estimate.from_json(each["average"]))
            for each in content.get("baselines", ())
        )
        return Comparison(**{**values, "entries": tuple(_entry(entry) for entry in content["entries"])})


def _entry(content: Mapping[str, Any]) -> Entry:
    def estimate(value: Mapping[str, Any] | None) -> Estimate | None:
        return None if value is None else Estimate.from_json(value)

    kept = {name: _frozen(value) for name, value in content.items()}
    kept |= {name: estimate(content[name]) for name in ("final", "average", "train", "hare")}
    kept["sequence"] = tuple(
        SequenceFigure(f["name"], Estimate.from_json(f["value"]), estimate(f["to_warm_start"]))
        for f in content.get("sequence", ())
    )
    kept["failures"] = tuple(Failure(**failure) for failure in content["failures"])
    kept["differences"] = tuple(
        Difference(
            **{**d, "final": Estimate.from_json(d["final"]), "average": Estimate.from_json(d["average"])}
        )
        for d in content["differences"]
    )
    return Entry(**kept)


def _spare(content: dict[str, Any]) -> dict[str, Any]:
    return {n: v for n, v in content.items() if n not in _OPTIONAL or v not in ([], "accuracy")}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
