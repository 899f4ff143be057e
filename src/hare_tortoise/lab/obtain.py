"""Results of trials: what the store holds is read, what is missing is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hare_tortoise.lab.building import cached_source
from hare_tortoise.lab.executor import Executor, Inline, Processes, cores
from hare_tortoise.lab.job import Job
from hare_tortoise.lab.outcome import UNFINISHED
from hare_tortoise.lab.plan import ChunkPlan, plan_of
from hare_tortoise.lab.progress import Silent, display
from hare_tortoise.lab.store import Store
from hare_tortoise.lab.trial import Engine, Result, Trial, identity, run_name
from hare_tortoise.lab.worker import Task


@dataclass(frozen=True)
class Bench:
    """Where and how trials are run.

    Args:
        out: folder of the store.
        root: folder of known data sets.
        engine: device and threads.
        workers: trials at the same time; None: one for each core, on a GPU one; 0: in this process.
        quiet: show no progress.
        checkpoint_every: seconds between checkpoints.
    """

    out: Path
    root: Path | None
    engine: Engine
    workers: int | None = None
    quiet: bool = False
    checkpoint_every: float = 20.0

    def identities(self, wanted: Sequence[Trial]) -> list[dict[str, Any]]:
        """Say what the result of each trial depends on."""
        sources = {trial.recipe.source for trial in wanted}
        digests = {source: cached_source(source, self.root).digest for source in sources}
        return [identity(trial, digests[trial.recipe.source], self.engine) for trial in wanted]

    def obtain(
        self,
        wanted: Sequence[Trial],
        samples: Sequence[int],
        identities: Sequence[dict[str, Any]] | None = None,
        *,
        chunks: int | None = None,
    ) -> list[Result | str]:
        """Give the result of each trial, or why there is none; what is missing is run.

        Args:
            wanted: the trials.
            samples: that each processes, for the display.
            identities: of the trials, where they are known already.
            chunks: pause each after so many chunks; None: run them to the end.
        """
        known = self.identities(wanted) if identities is None else identities
        store = Store(self.out)
        pairs = zip(wanted, map(run_name, known), strict=True)
        results: list[Result | str] = [store.result(*pair) or UNFINISHED for pair in pairs]
        missing = [index for index, result in enumerate(results) if isinstance(result, str)]
        tasks = [
            Task(wanted[i], known[i], self.out, self.root, self.engine, self.checkpoint_every, chunks)
            for i in missing
        ]
        if tasks:
            trials, theirs = [task.trial for task in tasks], [samples[i] for i in missing]
            with display(trials, theirs, len(wanted) - len(missing), quiet=self.quiet) as shown:
                done = run_jobs(tasks, [known[i] for i in missing], store, shown, self.workers)
            for index, result in zip(missing, done, strict=True):
                results[index] = result
        return results


def run_jobs(
    jobs: Sequence[Job],
    identities: Sequence[Mapping[str, Any]],
    store: Store,
    shown: Silent,
    workers: int | None,
) -> list[Result | str]:
    """Run jobs; give their results, or why there is none.

    Args:
        jobs: one at least, all with the same engine.
        identities: of what they run.
        store: where other runs of the same trials may lie, which are told of.
        shown: is told how they go.
        workers: at the same time; None: one for each core, on a GPU one; 0: in this process.
    """
    for run, differs in store.changed(identities):
        shown.note(0, f"run {run} was done with other {differs}: not used, the trial is done again")
    done = _executor(jobs[0].engine, len(jobs), workers).run(jobs, shown)
    return [result or shown.crashes[place] for place, result in enumerate(done)]


def at_once(engine: Engine, jobs: int, workers: int | None) -> int:
    """Count the jobs that run at the same time.

    Args:
        engine: device and threads.
        jobs: all in all.
        workers: as `run_jobs` takes them.
    """
    if workers is None:
        workers = cores() // engine.threads if engine.device == "cpu" else 1
    return min(max(1, workers), jobs)


def _executor(engine: Engine, jobs: int, workers: int | None) -> Executor:
    return Inline() if workers == 0 else Processes(at_once(engine, jobs, workers))


def samples_of(trial: Trial, chunks: Sequence[ChunkPlan], first: int | None = None) -> int:
    """Count the samples that a trial processes: where it starts anew, those of all data that came.

    Args:
        trial: what is run.
        chunks: the plan of its recipe at its budget.
        first: of so many chunks; None: of all.
    """
    steps = plan_of(trial.recipe, trial.method, trial.budget, chunks)
    return sum(chunk.samples * chunk.epochs for chunk in steps[:first])
