"""Where tasks run: in this process, or in worker processes beside each other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

import torch

from hare_tortoise.lab.job import Job, Moment
from hare_tortoise.lab.trial import Result
from hare_tortoise.lab.worker import work

# after Ctrl-C a worker may still write its checkpoint
GRACE_SECONDS = 10.0


class Listener(Protocol):
    """What is told how the tasks go; each call names the task by its place in the list."""

    def started(self, index: int, worker: int) -> None:
        """A worker has begun a task."""

    def moment(self, index: int, moment: Moment) -> None:
        """A task is under way."""

    def note(self, index: int, text: str) -> None:
        """Something that a person should know."""

    def finished(self, index: int, result: Result) -> None:
        """A task has its result, be it a failure that was measured."""

    def crashed(self, index: int, text: str) -> None:
        """A task has no result."""


class Executor(Protocol):
    """Runs tasks and gives their results in the same order, None where a task crashed."""

    def run(self, tasks: Sequence[Job], listener: Listener) -> list[Result | None]:
        """Run all tasks."""


class Inline:
    """Runs one task after the other in this process."""

    def run(self, tasks: Sequence[Job], listener: Listener) -> list[Result | None]:
        """Run all tasks; an exception of a task is told, and the others go on."""
        return [self._run(index, task, listener) for index, task in enumerate(tasks)]

    def _run(self, index: int, task: Job, listener: Listener) -> Result | None:
        def report(moment: Moment) -> bool:
            listener.moment(index, moment)
            return False

        listener.started(index, 0)
        threads = torch.get_num_threads()
        torch.set_num_threads(task.engine.threads)
        try:
            result = task.run(report=report, note=lambda text: listener.note(index, text))
        except Exception as error:
            listener.crashed(index, f"{type(error).__name__}: {error}")
            return None
        finally:
            torch.set_num_threads(threads)
        listener.finished(index, result)
        return result


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    task: int | None = None


class Processes:
    """Runs tasks in worker processes, each with its own threads of torch.

    Args:
        workers: how many.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers: got {workers}, expected 1 or more")
        self.workers = workers
        self._context = multiprocessing.get_context("spawn")

    def run(self, tasks: Sequence[Job], listener: Listener) -> list[Result | None]:
        """Run all tasks; one that crashes or loses its process is told, and the others go on."""
        results: list[Result | None] = [None] * len(tasks)
        waiting = deque(range(len(tasks)))
        pool: dict[int, _Worker] = {}
        try:
            while waiting or any(worker.task is not None for worker in pool.values()):
                for place in range(min(self.workers, len(tasks))):
                    if waiting and (place not in pool or pool[place].task is None):
                        index = waiting.popleft()
                        pool[place] = self._give(pool.get(place), index, tasks)
                        listener.started(index, place)
                self._hear(pool, results, listener)
        finally:
            self._end(list(pool.values()))
        return results

    def _give(self, worker: _Worker | None, index: int, tasks: Sequence[Job]) -> _Worker:
        """Give a task to a worker, or to a new one if there is none or it died while it was idle."""
        if worker is None or not worker.process.is_alive():
            worker = self._start(tasks[index].engine.threads)
        worker.task = index
        worker.connection.send(tasks[index])
        return worker

    def _start(self, threads: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        # no daemon: those may not have the processes that read images; it leaves with its parent by itself
        process = self._context.Process(target=work, args=(theirs, threads), daemon=False)
        with _interrupts_waiting():
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def _hear(self, pool: dict[int, _Worker], results: list[Result | None], listener: Listener) -> None:
        busy = {worker.connection: place for place, worker in pool.items() if worker.task is not None}
        for connection in wait(list(busy)):
            place = busy[connection]  # type: ignore[index]
            worker = pool[place]
            index = worker.task
            assert index is not None
            try:
                kind, content = worker.connection.recv()
            except (EOFError, ConnectionError):
                worker.process.join()
                listener.crashed(index, f"its process ended with exit code {worker.process.exitcode}")
                del pool[place]
                continue
            _TOLD[kind](listener, index, content)
            if kind in ("result", "crash"):
                worker.task = None
                results[index] = content if kind == "result" else None

    def _end(self, pool: list[_Worker]) -> None:
        """Let idle workers go; ask busy ones to write a checkpoint, and end those that do not."""
        deadline = time.monotonic() + GRACE_SECONDS
        for worker in pool:
            try:
                worker.connection.send(None)
            except (OSError, ValueError):
                continue  # it is gone already
        for worker in pool:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.connection.close()


@contextmanager
def _interrupts_waiting() -> Iterator[None]:
    """Let Ctrl-C wait, lest a process that is started meanwhile hear of it before it ignores it."""
    if sys.platform == "win32":
        yield
        return
    # started by the first process of all; while it starts it lets Ctrl-C through again
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_TOLD: dict[str, Callable[..., None]] = {
    "moment": lambda listener, index, content: listener.moment(index, content),
    "note": lambda listener, index, content: listener.note(index, content),
    "result": lambda listener, index, content: listener.finished(index, content),
    "crash": lambda listener, index, content: listener.crashed(index, content),
}


def cores() -> int:
    """Count the cores that this process may use, as the scheduler and a container's quota have it."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.exists():
        share, _, period = quota.read_text().partition(" ")
        if share != "max":
            count = min(count, max(1, int(share) // int(period)))
    return count
