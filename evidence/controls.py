"""What continuing adds to the controls, over all lines: the question that each table answers for one recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from evidence.shares import average, final
from hare_tortoise.lab.recipe import WARM_START
from hare_tortoise.lab.statistics import Estimate, paired_difference
from hare_tortoise.lab.trial import Result
from hare_tortoise.lab.wording import is_control, points

# a recipe each, and what its row is called
ROWS = {
    "digits-warm-start": "digits, warm start",
    "digits-growing": "digits, growing",
    "digits-limited": "digits, limited memory",
    "mnist-warm-start": "MNIST, warm start",
    "mnist-whole-warm-start": "MNIST, all of it, warm start",
    "mnist-limited": "MNIST, limited memory",
    "fashion-mnist-warm-start": "Fashion-MNIST, warm start",
    "fashion-mnist-limited": "Fashion-MNIST, limited memory",
    "cifar10-growing": "CIFAR-10, growing",
    "cifar10-growing-augmented": "CIFAR-10, growing, augmented",
    "elec2": "Electricity",
    "insects": "INSECTS",
}
_FIGURES: tuple[Callable[[Result], float], ...] = (final, average)


def against_controls(results: Sequence[Result]) -> str:
    """A table: warm start, Hare & Tortoise and two speeds against the control that is best, by recipe, paired."""
    names = ("warm start", "Hare & Tortoise", "two speeds")
    heads = [f"{name}, {figure}" for name in names for figure in ("final", "average")]
    lines = [f"| | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
    for recipe, name in ROWS.items():
        found = by_method([result for result in results if result.recipe == recipe])
        controls = [runs for method, runs in found.items() if is_control(method)]
        if not controls:
            continue
        cells = []
        for method in (WARM_START, _only(found, speeds=1), _only(found, speeds=2)):
            cells += [points(_difference(found.get(method), controls, figure)) for figure in _FIGURES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def by_method(results: Sequence[Result]) -> dict[str, dict[int, Result]]:
    """Sort results by method and seed; what failed is left out."""
    found: dict[str, dict[int, Result]] = {}
    for result in results:
        if result.failure is None:
            found.setdefault(result.method, {})[result.seed] = result
    return found


def _only(methods: Mapping[str, object], *, speeds: int) -> str:
    """Name the Hare & Tortoise of a recipe, alone or with a quick average; an empty name where there is none."""
    ours = (name for name in methods if name.startswith("hare-tortoise(") and "+l2-init" not in name)
    return next((name for name in ours if ("+ema(" in name) == (speeds == 2)), "")


def _difference(
    ours: Mapping[int, Result] | None,
    controls: Sequence[Mapping[int, Result]],
    figure: Callable[[Result], float],
) -> Estimate | None:
    """Against the control that has the highest mean of this figure."""
    if ours is None:
        return None
    best = max(controls, key=lambda runs: sum(map(figure, runs.values())) / len(runs))
    seeds = sorted(ours.keys() & best.keys())
    return (
        paired_difference([figure(ours[s]) for s in seeds], [figure(best[s]) for s in seeds])
        if seeds
        else None
    )
