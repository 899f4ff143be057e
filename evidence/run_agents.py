"""Run what is missing of the evidence that is about agents."""

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
from hare_tortoise.rl.task import AgentTask
from hare_tortoise.rl.trial import AgentTrial, identity


class Keeping(Lines):
    """Prints a line for each trial that ends, and keeps its metrics at once."""

    def __init__(self, line: str, wanted: Sequence[AgentTrial], console: Console) -> None:
        super().__init__(wanted, [trial.steps for trial in wanted], 0, console)
        self.folder, self.wanted = agents.DATA / line, wanted
        self.made_with = versions() | {"processor": processor()}

    def finished(self, index: int, result: Result) -> None:
        """Keep the metrics, then print."""
        agents.write(self.folder, self.wanted[index], result, self.made_with)
        super().finished(index, result)


def main(names: Sequence[str], *, workers: int, limit: int | None = None) -> int:
    """Run what is missing of lines, one after the other."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    engine, console = Engine("cpu", 1), Console()
    for name in names:
        line = AGENT_LINES[name]
        kept = agents.read_all()
        left = [trial for trial in line.trials() if agents.key(trial) not in kept]
        console.print(f"{name}: {len(left)} of {len(line.trials())} trials are missing, on {workers} workers")
        left = left[:limit]
        if left:
            tasks = [AgentTask(trial, identity(trial, engine), STORE, engine, 60.0) for trial in left]
            started = time.perf_counter()
            Processes(min(workers, len(tasks))).run(tasks, Keeping(name, left, console))
            console.print(f"{name}: {(time.perf_counter() - started) / 3600:.2f} hours")
    return 0


if __name__ == "__main__":
    import sys

    main(sys.argv[2:], workers=int(sys.argv[1]))
