"""One trial from its identity to its result, and the process that does one after the other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from hare_tortoise.lab import files
from hare_tortoise.lab.building import build, cached_source
from hare_tortoise.lab.job import Job, Moment, Report, StoppedError, go_on, say_nothing
from hare_tortoise.lab.store import Run, Store
from hare_tortoise.lab.training import DivergedError, Training
from hare_tortoise.lab.trial import Engine, Result, Trial, identity


@dataclass(frozen=True)
class Task:
    """A trial to run, and how.

    Args:
        trial: what to run.
        identity: what its result depends on; names its folder.
        out: folder of the store.
        root: folder of known data sets.
        engine: device and threads.
        checkpoint_every: seconds between checkpoints.
        chunks: pause after so many chunks of the stream, and give what was measured; None: go to its end.
    """

    trial: Trial
    identity: dict[str, Any]
    out: Path
    root: Path | None
    engine: Engine
    checkpoint_every: float = 20.0
    chunks: int | None = None

    def run(self, *, report: Report = go_on, note: Callable[[str], None] = say_nothing) -> Result:
        """Run it: `run_task`."""
        return run_task(self, report=report, note=note)


def run_task(
    task: Task,
    *,
    report: Report = go_on,
    note: Callable[[str], None] = say_nothing,
) -> Result:
    """Run a trial, or what is left of it, or only read its result.

    Args:
        task: what to run.
        report: is told twice a second where it is; returns True to stop it.
        note: is told of each damaged file that was found and removed.

    Raises:
        StoppedError: `report` asked for it.
        OSError: A file could not be written. What was written before is whole.
    """
    store = Store(task.out)
    run = store.run(task.identity)
    run.folder.mkdir(parents=True, exist_ok=True)
    with files.locked(run.folder / "lock"):
        for line in run.open(task.trial.recipe.scale):
            note(line)
        done = store.result(task.trial, run.folder.name)
        if done is not None:
            return done
        if (paused := _paused(task, run, run.load())) is not None:
            return paused
        if (
            identity(task.trial, cached_source(task.trial.recipe.source, task.root).digest, task.engine)
            != task.identity
        ):
            raise RuntimeError("data or code changed while the command ran; run it again")
        setup = build(task.trial, root=task.root, device=task.engine.device)
        training = Training(setup, run, checkpoint_every=task.checkpoint_every, report=report)
        failure = None
        try:
            training.finish(task.chunks)
            if training.position.chunk < len(setup.stream) and (paused := _paused(task, run, run.load())):
                return paused
        except DivergedError as error:
            failure = str(error)
        run.finish(training.position.rows, failure)
    result = store.result(task.trial, run.folder.name)
    assert result is not None
    return result


def _paused(task: Task, run: Run, checkpoint: dict[str, Any] | None) -> Result | None:
    """Give what a trial measured in the chunks that it was asked for; None if it is not that far."""
    if task.chunks is None or checkpoint is None or checkpoint["position"]["chunk"] < task.chunks:
        return None
    trial, rows = task.trial, checkpoint["position"]["rows"]
    return Result(
        trial.recipe.name,
        trial.method,
        trial.budget,
        trial.seed,
        tuple(row for row in rows if row["chunk"] < task.chunks),
        run=run.folder.name,
    )


def work(connection: Connection, threads: int) -> None:
    """Run jobs as they come; the body of a worker process."""
    # Ctrl-C reaches the whole process group; the parent decides what it means
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    while (received := connection.recv()) is not None:
        task: Job = received

        def report(moment: Moment) -> bool:
            connection.send(("moment", moment))
            return connection.poll()

        try:
            result = task.run(report=report, note=lambda line: connection.send(("note", line)))
            connection.send(("result", result))
        except StoppedError:
            return
        except Exception as error:
            connection.send(("crash", f"{type(error).__name__}: {error}"))


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
