"""What accuracy over the stream costs: continuing at several budgets, and from scratch every k-th chunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evidence.common import DIGITS, MNIST, SHRINK_PERTURB, references, two_speeds
from evidence.curves import Axes, Curve, curves
from evidence.names import short_labels
from hare_tortoise.lab.comparison import Comparison
from hare_tortoise.lab.recipe import FROM_SCRATCH, Recipe
from hare_tortoise.lab.statistics import Estimate, mean_interval
from hare_tortoise.lab.trial import Result, Row
from hare_tortoise.lab.wording import percent, scale_note, starts_anew

BUDGETS = (0.1, 0.3, 1.0)
EVERY = (1, 2, 3, 5)
_METHODS = (
    *references(0.99, 100),
    two_speeds(0.997, anew=True),
    "warm-start",
    "ema(decay=0.99)",
    SHRINK_PERTURB,
    "hare-tortoise(decay=0.99, reset_every=100)",
    two_speeds(0.997),
)


def digits() -> list[Recipe]:
    """Digits at three budgets."""
    return [
        DIGITS.replace(
            name="cost-digits",
            description="1,400 digits, growing, at three budgets; label noise falls from 0.5 to 0",
            methods=_METHODS,
            budgets=BUDGETS,
        )
    ]


def mnist() -> list[Recipe]:
    """MNIST at three budgets."""
    return [
        MNIST.replace(
            name="cost-mnist",
            description="10,000 images of MNIST, growing, at three budgets; label noise falls from 0.5 to 0",
            methods=_METHODS,
            budgets=BUDGETS,
            seeds=3,
        )
    ]


def retrained_every(rows: Sequence[Row], chunks: int) -> tuple[float, int]:
    """What retraining from scratch at every k-th chunk gives and takes, from the rows of doing so at each.

    The network stays as it is in between. That asks for a test set that stays the same, and for trainings that do
    not depend on the one before: both are so where data grow and all start anew.

    Args:
        rows: of a trial from scratch, one for each chunk.
        chunks: k; the first chunk is trained on, then every k-th after it.

    Returns:
        The mean over all chunks of the accuracy of what is deployed, and the samples processed.
    """
    processed = [int(row["samples"]) for row in rows]
    each = [after - before for before, after in zip([0, *processed[:-1]], processed, strict=True)]
    trained = range(0, len(rows), chunks)
    deployed = [float(rows[index - index % chunks]["test_accuracy"]) for index in range(len(rows))]
    return sum(deployed) / len(rows), sum(each[index] for index in trained)


def every_chunk(results: Sequence[Result]) -> list[tuple[int, float, Estimate]]:
    """For each k: its cost as a share of retraining at every chunk, and the average accuracy over the stream."""
    scratch = [r for r in results if r.method == FROM_SCRATCH and r.budget == 1.0 and r.failure is None]
    found = []
    for chunks in EVERY:
        pairs = [retrained_every(result.rows, chunks) for result in scratch]
        whole = [retrained_every(result.rows, 1)[1] for result in scratch]
        cost = sum(samples for _, samples in pairs) / sum(whole)
        found.append((chunks, cost, mean_interval([average for average, _ in pairs])))
    return found


def summary(results: Sequence[Result]) -> dict[str, str]:
    """A table of retraining from scratch every so many chunks, for the recipe of a line."""
    lines = ["| from scratch every | cost | average over the stream |", "| --- | ---: | ---: |"]
    for chunks, cost, average in every_chunk(results):
        name = "chunk" if chunks == 1 else f"{chunks} chunks"
        lines.append(f"| {name} | {100 * cost:.0f} % | {percent(average)} |")
    return {f"{results[0].recipe}-every.md": "\n".join(lines) + "\n"}


def picture(comparison: Comparison, results: Sequence[Result]) -> str:
    """Draw the average accuracy over the stream against the cost, one curve for each method."""
    names = short_labels(comparison.methods)
    by_method: Mapping[str, list[tuple[float, Estimate]]] = {
        method: sorted(
            (
                (entry.cost, entry.average)
                for entry in comparison.entries
                if entry.method == method and entry.cost is not None and entry.average is not None
            ),
            key=lambda point: point[0],
        )
        for method in comparison.methods
    }
    shown = [
        Curve(names[method], points, dashed=starts_anew(method))
        for method, points in by_method.items()
        if points
    ]
    rarer = [(cost, average) for _, cost, average in reversed(every_chunk(results))]
    axes = Axes(
        f"{comparison.recipe}: accuracy over the stream against cost",
        "samples processed, as a share of from scratch at every chunk",
        "test accuracy, mean over the stream",
        logarithmic=True,
        note=scale_note(comparison.scale),
    )
    name = f"from scratch every {', '.join(map(str, EVERY[::-1]))} chunks"
    return curves(axes, [*shown, Curve(name, rarer, dashed=True)])
