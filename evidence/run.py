"""Run what is missing of the evidence."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from evidence import records
from evidence.lines import LINES, Line
from hare_tortoise.lab.building import cached_source
from hare_tortoise.lab.executor import Processes
from hare_tortoise.lab.obtain import samples_of
from hare_tortoise.lab.outcome import versions
from hare_tortoise.lab.progress import Lines
from hare_tortoise.lab.run import check
from hare_tortoise.lab.trial import Engine, Result, Trial, identity, trials
from hare_tortoise.lab.worker import Task

MOST_HOURS = 8.0
STORE = Path("evidence-runs")


class Keeping(Lines):
    """Prints a line for each trial that ends, and keeps its metrics at once."""

    def __init__(
        self, folder: Path, wanted: Sequence[Trial], samples: Sequence[int], console: Console
    ) -> None:
        super().__init__(wanted, samples, 0, console)
        self.folder, self.wanted = folder, wanted
        self.made_with = versions() | {"processor": processor()}

    def finished(self, index: int, result: Result) -> None:
        """Keep the metrics, then print."""
        records.write(self.folder, self.wanted[index], result, self.made_with)
        super().finished(index, result)


def missing(line: Line, kept: Mapping[str, records.Record]) -> list[Trial]:
    """Find the trials of a line that nothing is kept of."""
    wanted = {records.key(trial): trial for recipe in line.recipes() for trial in trials(recipe)}
    return [trial for name, trial in wanted.items() if name not in kept]


def hours_left(line: Line, left: Sequence[Trial]) -> float:
    """Estimate the core-hours of what is missing, as its share of the line's."""
    whole = sum(len(trials(recipe)) for recipe in line.recipes())
    return line.hours * len(left) / whole if whole else 0.0


def run(
    line: Line,
    kept: Mapping[str, records.Record],
    *,
    workers: int,
    console: Console,
    limit: int | None = None,
) -> None:
    """Run what is missing of a line; what finishes is kept at once.

    Args:
        line: the line.
        kept: of all lines, as some share trials.
        workers: trials at the same time.
        console: where to print.
        limit: how many trials, at most.

    Raises:
        ValueError: The line as a whole would take more than 8 core-hours.
    """
    folder = records.DATA / line.name
    left = missing(line, kept)
    hours = hours_left(line, left)
    console.print(
        f"{line.name}: {len(left)} trials are missing, about {hours:.1f} core-hours on {workers} workers"
    )
    if line.hours > MOST_HOURS:
        raise ValueError(
            f"{line.name} takes {line.hours:.1f} core-hours, at most {MOST_HOURS:g} a line: split it, or scale it down"
        )
    left = left[:limit]
    if not left:
        return
    plans = {
        recipe.name: check(recipe) for recipe in {trial.recipe.name: trial.recipe for trial in left}.values()
    }
    engine = Engine("cpu", 1)
    tasks = [
        Task(t, identity(t, cached_source(t.recipe.source, None).digest, engine), STORE, None, engine)
        for t in left
    ]
    started = time.perf_counter()
    sizes = [samples_of(trial, plans[trial.recipe.name][trial.budget]) for trial in left]
    Processes(min(workers, len(tasks))).run(tasks, Keeping(folder, left, sizes, console))
    console.print(f"{line.name}: {(time.perf_counter() - started) / 3600:.2f} hours")


def main(names: Sequence[str], *, workers: int, limit: int | None = None) -> int:
    """Run what is missing of lines, one after the other."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    kept: Mapping[str, records.Record] = records.read_all()
    for name in names:
        line = LINES[name]
        run(line, kept, workers=workers, console=Console(), limit=limit)
        kept = {**kept, **records.read(records.DATA / name)}
    return 0


def processor() -> str:
    """Name the processor, as results are told with the machine that they were made on."""
    info = Path("/proc/cpuinfo")
    names = (
        [line for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return names[0].partition(":")[2].strip() if names else platform.processor()
