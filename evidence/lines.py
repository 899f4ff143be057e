"""What is run: each line of the evidence with its recipes and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evidence import cost, drift, images, pace, shares, small, sweep, tasks
from evidence.forest import forest
from hare_tortoise.lab.comparison import Comparison
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.trial import Result


@dataclass(frozen=True)
class Line:
    """A part of the evidence that is run and shown together.

    Args:
        name: of its folder under docs/results/data, and of its page.
        hours: core-hours that it took here, one thread a worker.
        recipes: gives its recipes.
        picture: draws the comparison of one of them; None where there is nothing to draw.
        summary: what is made of all of its recipes together: contents by name of the file.
    """

    name: str
    hours: float
    recipes: Callable[[], Sequence[Recipe]]
    picture: Callable[[Comparison, Sequence[Result]], str | None] = lambda comparison, _: forest(comparison)
    summary: Callable[[Sequence[Result]], Mapping[str, str]] = lambda _: {}


LINES = {
    line.name: line
    for line in (
        Line("digits", 2.6, small.digits),
        Line("sweep-digits", 0.7, sweep.digits, summary=sweep.digits_summary),
        Line("pace-digits", 0.4, pace.digits, summary=shares.summaries(100)),
        Line("pace-mnist", 1.6, pace.mnist, summary=shares.summaries(160)),
        Line("cost-digits", 0.1, cost.digits, cost.picture),
        Line("cost-mnist", 0.9, cost.mnist, cost.picture),
        Line("sweep-mnist", 2.2, sweep.mnist, summary=sweep.mnist_summary),
        Line("mnist", 1.6, small.mnist),
        Line("fashion-mnist", 1.6, small.fashion_mnist),
        Line("elec2", 0.6, drift.elec2),
        Line("insects", 0.4, drift.insects),
        Line("pace-elec2", 0.4, pace.elec2, summary=shares.summaries()),
        Line("pace-cifar10", 2.8, pace.cifar10, summary=shares.summaries()),
        Line("shares", 0.6, shares.sets_kept_apart, summary=shares.summaries()),
        Line("online", 0.6, tasks.online),
        Line("forgetting", 1.3, tasks.forgetting),
        Line("mnist-whole", 5.4, small.mnist_whole),
        Line("cifar10", 5.0, images.cifar10),
        Line("cifar10-augmented", 3.0, images.cifar10_augmented),
    )
}
