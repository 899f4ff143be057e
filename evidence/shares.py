"""Whether horizon and reset interval as shares of the chunk's steps do as well as the best fixed values."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

from evidence import drift, small
from evidence.common import references
from evidence.pace import share, slow
from hare_tortoise.lab.comparison import ends, judged
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.spec import parse
from hare_tortoise.lab.statistics import Estimate, paired_difference
from hare_tortoise.lab.trial import Result
from hare_tortoise.lab.wording import points

# Horizon and reset interval as shares of the chunk's steps: the settings that ran on all four sets they are chosen on.
SHARES = ((0.2, 0.02), (0.2, 0.05), (0.4, 0.05))
# Of these the one whose largest loss on digits, MNIST, CIFAR-10 and Electricity is the smallest.
AUTO = (0.2, 0.02)
LOSS = -0.01
_DECAYS = (0.97, 0.99, 0.997, 0.999)
_INTERVALS = (30, 100, 300)


def method_of(horizon: float, portion: float, first: int | None = None) -> str:
    """Hare & Tortoise at shares of the chunk's steps; `first` are the steps of the first chunk, where they count."""
    if first is None:
        return slow(f"horizon(share={horizon}, warm=True)", f"portion(share={portion})")
    return slow(share(horizon, first), f"portion(share={portion}, steps={first})")


def sets_kept_apart() -> list[Recipe]:
    """Fashion-MNIST with a small memory and INSECTS, which no setting was chosen on: shares against a grid."""
    grid = tuple(slow(decay, every) for decay, every in itertools.product(_DECAYS, _INTERVALS))
    methods = (*references(0.99, 100), "warm-start", *grid, *(method_of(*shares) for shares in SHARES))
    fashion = small.fashion_mnist()[1].replace(measures=())
    return [
        recipe.replace(name=f"shares-{name}", methods=methods)
        for name, recipe in (("fashion-mnist", fashion), ("insects", drift.insects()[0]))
    ]


def summary(results: Sequence[Result], shares: Mapping[tuple[float, float], str]) -> str:
    """A table of what each setting in shares loses to the best fixed one, paired over seeds.

    The best is looked for in final and in average accuracy apart, on the test set: harder for the shares.
    It is written decay/interval.

    Args:
        results: of one recipe, with fixed and with shared settings.
        shares: horizon and reset interval in shares of the chunk's steps, with their method.
    """
    lines = [
        "| horizon, reset interval | final − best fixed | average − best fixed | both lower bounds above −1 |",
        "| --- | ---: | ---: | :---: |",
    ]
    for (horizon, portion), method in shares.items():
        losses = [against_best(results, method, figure) for figure in (final, average)]
        held = all(loss.low is not None and loss.low > LOSS for loss, _ in losses)
        cells = (f"{points(loss)} (to {fixed_of(best)})" for loss, best in losses)
        named = f"{100 * horizon:g} %, {100 * portion:g} %" + (
            " (chosen)" if (horizon, portion) == AUTO else ""
        )
        lines.append(f"| {named} | {' | '.join(cells)} | {'yes' if held else 'no'} |")
    return "\n".join(lines) + "\n"


def final(result: Result) -> float:
    """Accuracy at the end."""
    return _accuracies(result)[-1]


def average(result: Result) -> float:
    """Mean accuracy over the stream."""
    accuracies = _accuracies(result)
    return sum(accuracies) / len(accuracies)


def against_best(
    results: Sequence[Result], method: str, figure: Callable[[Result], float]
) -> tuple[Estimate, str]:
    """What a method has over the fixed setting that is best in a figure, and which that is."""
    by_method: dict[str, dict[int, float]] = {}
    for result in results:
        if result.failure is None:
            by_method.setdefault(result.method, {})[result.seed] = figure(result)
    fixed = {name: seeds for name, seeds in by_method.items() if _is_fixed(name)}
    best = max(fixed, key=lambda name: sum(fixed[name].values()) / len(fixed[name]))
    seeds = sorted(by_method[method].keys() & fixed[best].keys())
    ours, theirs = ([by_method[name][seed] for seed in seeds] for name in (method, best))
    return paired_difference(ours, theirs), best


def _accuracies(result: Result) -> list[float]:
    found = [judged(row, online=False) for row in ends(result)]
    return [accuracy for accuracy in found if accuracy is not None]


def fixed_of(method: str) -> str:
    """Decay and interval of a fixed setting, as in ``0.99/100``."""
    settings = dict(parse(method).settings)
    return f"{settings['decay']}/{settings['reset_every']}"


def _is_fixed(method: str) -> bool:
    """Hare & Tortoise alone at two numbers."""
    if not method.startswith("hare-tortoise(") or "+" in method:
        return False
    settings = dict(parse(method).settings)
    return all(isinstance(settings.get(name), int | float) for name in ("decay", "reset_every"))


def summaries(first: int | None = None) -> Callable[[Sequence[Result]], Mapping[str, str]]:
    """What a line of the pace makes of its results: a table for each of its recipes.

    Args:
        first: steps of the first chunk, where the line's settings name them.
    """
    named = {shares: method_of(*shares, first) for shares in SHARES}

    def made(results: Sequence[Result]) -> Mapping[str, str]:
        tables = {}
        for recipe in sorted({result.recipe for result in results}):
            of = [result for result in results if result.recipe == recipe]
            ran = {result.method for result in of}
            methods = {shares: method for shares, method in named.items() if method in ran}
            if methods and any(map(_is_fixed, ran)):
                tables[f"{recipe}-losses.md"] = summary(of, methods)
        return tables

    return made
