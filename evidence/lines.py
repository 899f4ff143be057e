"""What is run: each line of the evidence with its recipes and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evidence import cost, drift, images, pace, sequences, shares, small, sweep, tasks
from evidence.forest import forest
from hare_tortoise.lab.comparison import Comparison
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.trial import Result


@dataclass(frozen=True)
class Line:
    """A part of the evidence that is run and shown together.

    Args:
        name: of its folder under docs/results/data, and of its page.
        hours: core-hours that all of its trials took here, one thread a worker, start-up and evaluation included;
            trials that it shares with another line are counted in both.
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
        Line("digits", 1.5, small.digits),
        Line("sweep-digits", 0.6, sweep.digits, summary=sweep.digits_summary),
        Line("pace-digits", 0.6, pace.digits, summary=shares.summaries(100)),
        Line("pace-mnist", 3.0, pace.mnist, summary=shares.summaries(160)),
        Line("cost-digits", 0.2, cost.digits, cost.picture, cost.summary),
        Line("cost-mnist", 0.4, cost.mnist, cost.picture, cost.summary),
        Line("sweep-mnist", 1.1, sweep.mnist, summary=sweep.mnist_summary),
        Line("mnist", 1.0, small.mnist),
        Line("fashion-mnist", 0.8, small.fashion_mnist),
        Line("elec2", 0.3, drift.elec2),
        Line("insects", 0.2, drift.insects),
        Line("pace-elec2", 0.4, pace.elec2, summary=shares.summaries()),
        Line("pace-cifar10", 4.1, pace.cifar10, summary=shares.summaries()),
        Line("pace-cifar10-short", 2.7, pace.cifar10_short),
        Line("shares", 0.6, shares.sets_kept_apart, summary=shares.summaries()),
        Line("online", 0.3, tasks.online, summary=sequences.online_summary),
        Line("forgetting", 0.4, tasks.forgetting, summary=sequences.forgetting_summary),
        Line("mnist-whole", 3.8, small.mnist_whole),
        Line("cifar10", 3.9, images.cifar10),
        Line("cifar10-augmented", 2.6, images.cifar10_augmented),
    )
}
