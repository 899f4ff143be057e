"""What is shown of long sequences of tasks: online accuracy and measures over them, and what is forgotten."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from evidence.curves import Axes, Curve, curves
from evidence.names import short_labels
from evidence.tasks import forgetting, online
from hare_tortoise.lab import sequence
from hare_tortoise.lab.comparison import compare, ends
from hare_tortoise.lab.matrix import Panel, draw_matrices
from hare_tortoise.lab.recipe import FROM_SCRATCH, WARM_START, Recipe
from hare_tortoise.lab.report_tasks import task_picture
from hare_tortoise.lab.sequence import find_tasks, matrix, mean_matrix, seen_so_far
from hare_tortoise.lab.statistics import mean_interval
from hare_tortoise.lab.trial import Result, Row
from hare_tortoise.lab.wording import labels, percent, points, scale_note, starts_anew

BLOCK = 10
# the tasks at the end of the stream whose accuracy, each when it is the newest, is averaged
NEWEST = 10
_REMEMBERING = "hare-tortoise(decay=0.999, reset_every=100)"
# the matrices that stand alone: part of the file's name, what it shows, the method, the network
MAPS = (
    ("from-scratch", "from scratch", FROM_SCRATCH, "tests"),
    ("warm-start", "warm start", WARM_START, "tests"),
    ("tortoise", "tortoise (0.999, every 100)", _REMEMBERING, "tests"),
    ("hare", "its hare (0.999, every 100)", _REMEMBERING, "hare_tests"),
)
_ANEW = "dashed: each task anew"
MEASURES = {
    "dormant-ratio": Axes(
        f"Dormant units ({_ANEW})", "task at whose end it is measured, on its test rows", "share of units"
    ),
    "effective-rank": Axes(
        f"Effective rank of the last hidden layer ({_ANEW})",
        "task at whose end it is measured, on its test rows",
        "rank",
        percent=False,
    ),
    "trainability": Axes(
        f"Trainability: loss after fitting random labels, less a fresh network's ({_ANEW})",
        "task at whose end it is measured, on its test rows",
        "loss: 0 as a fresh network, higher is worse",
        percent=False,
    ),
}
# what a trial gives: a value for each of some places
Values = Callable[[Sequence[Row]], Mapping[int, float]]


def online_summary(results: Sequence[Result]) -> dict[str, str]:
    """Draw online accuracy and measures over the tasks, a picture each."""
    made = {}
    for recipe in online():
        mine = [result for result in results if result.recipe == recipe.name]
        if mine:
            axes = Axes(f"Online accuracy ({_ANEW})", f"task (means over {BLOCK} tasks)", "online accuracy")
            made[f"{recipe.name}-accuracy.svg"] = _drawn(recipe, axes, mine, in_blocks)
            for name, axes in MEASURES.items():
                made[f"{recipe.name}-{name}.svg"] = _drawn(recipe, axes, mine, partial(measured, name=name))
    return made


def forgetting_summary(results: Sequence[Result]) -> dict[str, str]:
    """Draw the matrices of accuracies and cuts through them, and put what is kept in a table."""
    (recipe,) = forgetting()
    picture = task_picture(compare(recipe, results), results)
    made = {} if picture is None else {"forgetting-tasks.svg": picture}
    seen = Axes(f"Accuracy on all tasks seen so far ({_ANEW})", "task", "mean accuracy")
    age = Axes(
        f"Accuracy by the age of a task ({_ANEW})", "tasks trained since (0: the newest)", "mean accuracy"
    )
    return {
        **made,
        **maps(recipe, results),
        "forgetting-curves.svg": _drawn(recipe, seen, results, on_all_seen),
        "forgetting-age.svg": _drawn(recipe, age, results, by_age),
        "forgetting.md": kept_table(recipe, results),
    }


def _drawn(recipe: Recipe, axes: Axes, results: Sequence[Result], values: Values) -> str:
    scaled = dataclasses.replace(axes, note=scale_note(recipe.scale))
    return curves(scaled, over_seeds(recipe, results, values))


def maps(recipe: Recipe, results: Sequence[Result]) -> dict[str, str]:
    """Draw the matrices that show most, each alone, smaller by far than all together; each on its own scale."""
    made = {}
    for part, name, method, key in MAPS:
        rows = [ends(each) for each in results if each.method == method and each.failure is None]
        tasks = find_tasks(rows[0]) if rows and all(each[-1].get(key) for each in rows) else None
        if tasks is not None:
            panel = Panel(name, mean_matrix([matrix(each, tasks, key) for each in rows]))
            made[f"forgetting-{part}.svg"] = draw_matrices(
                [panel],
                title="Accuracy on each task (colours of its own)",
                note=scale_note(recipe.scale),
            )
    return made


def over_seeds(recipe: Recipe, results: Sequence[Result], values: Values) -> list[Curve]:
    """Mean with interval over the seeds of a method, at each place; dashed where every task starts anew."""
    names, shown = short_labels(recipe.methods), []
    for method in recipe.methods:
        found = [values(ends(each)) for each in results if each.method == method and each.failure is None]
        places = sorted(set(found[0]).intersection(*found)) if found else []
        points = [(float(place), mean_interval([each[place] for each in found])) for place in places]
        if points:
            shown.append(Curve(names[method], points, dashed=starts_anew(method)))
    return shown


def in_blocks(rows: Sequence[Row]) -> dict[int, float]:
    """Mean online accuracy of each block of tasks, at its last task."""
    accuracies = [float(row["online_accuracy"]) for row in rows]
    blocks = range(BLOCK, len(accuracies) + 1, BLOCK)
    return {end: sum(accuracies[end - BLOCK : end]) / BLOCK for end in blocks}


def measured(rows: Sequence[Row], name: str) -> dict[int, float]:
    """A measure after each task at whose end it was taken."""
    return {
        int(row["chunk"]) + 1: float(row["measures"][name]) for row in rows if name in row.get("measures", {})
    }


def on_all_seen(rows: Sequence[Row]) -> dict[int, float]:
    """Mean accuracy over the tasks seen so far, after each task."""
    tasks = find_tasks(rows)
    means = seen_so_far(rows, tasks) if tasks is not None else []
    return {place: mean for place, mean in enumerate(means, 1) if mean is not None}


def by_age(rows: Sequence[Row], key: str = "tests") -> dict[int, float]:
    """Mean accuracy on the task that was trained so many tasks ago, over all times at which there is one."""
    tasks = find_tasks(rows)
    if tasks is None:
        return {}
    values = matrix(rows, tasks, key)
    found: dict[int, list[float]] = {}
    for task, line in enumerate(values):
        for time, value in enumerate(line[task:]):
            if value is not None:
                found.setdefault(time, []).append(value)
    return {age: sum(each) / len(each) for age, each in found.items()}


def kept_table(recipe: Recipe, results: Sequence[Result]) -> str:
    """What is learnt of the newest task and kept of all, of what is deployed and of the hare beside it."""
    names = labels(recipe.methods)
    lines = [
        f"| method | newest task | of the last {NEWEST} | all tasks at the end | backward transfer |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for method in recipe.methods:
        rows = [ends(each) for each in results if each.method == method and each.failure is None]
        for key, name in (("tests", names[method]), ("hare_tests", f"{names[method]}: hare")):
            if rows and all(each[-1].get(key) for each in rows):
                newest, last, kept, backward = (
                    mean_interval(values)
                    for values in zip(*(_figures(each, key) for each in rows), strict=True)
                )
                cells = (percent(newest), percent(last), percent(kept), points(backward))
                lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _figures(rows: Sequence[Row], key: str) -> tuple[float, float, float, float]:
    """Accuracy on the newest task, over all and over the last; on all tasks at the end; backward transfer."""
    judged = [{**row, "tests": row[key]} for row in rows]
    tasks = find_tasks(judged)
    assert tasks is not None
    newest = [row["tests"][name] for row, name in zip(judged, tasks.names, strict=True)]
    found = sequence.figures(judged, tasks)
    last = newest[-NEWEST:]
    return (
        sum(newest) / len(newest),
        sum(last) / len(last),
        found[sequence.AVERAGE],
        found[sequence.BACKWARD],
    )
