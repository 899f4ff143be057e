"""Run what is missing of the evidence that is about agents: the seeds of a method on a game are one population."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from rich.console import Console

from evidence import agents
from evidence.agents import AGENT_LINES
from evidence.run import STORE, processor
from hare_tortoise.lab.executor import Processes
from hare_tortoise.lab.outcome import versions
from hare_tortoise.lab.progress import Lines
from hare_tortoise.lab.trial import Engine, Result
from hare_tortoise.rl.task import PopulationTask
from hare_tortoise.rl.trial import AgentTrial, identity

MOST_TOGETHER = 5
ENGINE = Engine("cpu", 1)


class Keeping(Lines):
    """Prints a line for each population that ends, and keeps the metrics of its trials at once."""

    def __init__(self, line: str, tasks: Sequence[PopulationTask], console: Console) -> None:
        super().__init__(tasks, [task.trials[0].steps for task in tasks], 0, console)
        self.folder, self.tasks = agents.DATA / line, tasks
        self.made_with = versions() | {"processor": processor()}

    def finished(self, index: int, result: Result) -> None:
        """Keep the metrics, then print."""
        task = self.tasks[index]
        for trial, each in zip(task.trials, task.results(), strict=True):
            if each is not None:
                agents.write(self.folder, trial, each, self.made_with)
        super().finished(index, result)


def populations(trials: Sequence[AgentTrial]) -> list[PopulationTask]:
    """Put together what is trained in one process: the seeds of a method on a game."""
    groups: dict[tuple[str, ...], list[AgentTrial]] = {}
    for trial in trials:
        groups.setdefault((trial.method, *trial.games), []).append(trial)
    found = []
    for group in groups.values():
        for begin in range(0, len(group), MOST_TOGETHER):
            part = tuple(group[begin : begin + MOST_TOGETHER])
            known = tuple(identity(trial, ENGINE, population=True) for trial in part)
            found.append(PopulationTask(part, known, STORE, ENGINE, 60.0))
    return found


def main(names: Sequence[str], *, workers: int, limit: int | None = None) -> int:
    """Run what is missing of lines, one after the other."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    console = Console()
    for name in names:
        line = AGENT_LINES[name]
        kept = agents.read_all()
        left = [trial for trial in line.trials() if agents.key(trial) not in kept]
        console.print(f"{name}: {len(left)} of {len(line.trials())} trials are missing, on {workers} workers")
        tasks = populations(left)[:limit]
        if tasks:
            started = time.perf_counter()
            Processes(min(workers, len(tasks))).run(tasks, Keeping(name, tasks, console))
            console.print(f"{name}: {(time.perf_counter() - started) / 3600:.2f} hours")
    return 0
