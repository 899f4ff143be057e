"""Where tasks run, and what a person sees of them."""

from __future__ import annotations

import io
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from hare_tortoise.lab.executor import Inline, Processes
from hare_tortoise.lab.job import Moment
from hare_tortoise.lab.progress import Lines, Tally, Terminal, clock
from hare_tortoise.lab.trial import Result, Trial, trials
from tests.lab.small import METHODS, Heard, small, task_of, timeless
from tests.streams.pictures import write_pictures


def test_processes_give_what_one_process_gives(tmp_path: Path) -> None:
    recipe = small(methods=METHODS[3:6], seeds=2)
    here = [task_of(trial, tmp_path / "here") for trial in trials(recipe)]
    there = [task_of(trial, tmp_path / "there") for trial in trials(recipe)]
    heard = Heard(there)
    one = Inline().run(here, Heard(here))
    two = Processes(2).run(there, heard)
    assert [timeless(r.rows) for r in one if r] == [timeless(r.rows) for r in two if r]
    assert len(heard.results) == len(there) == 6
    assert not heard.crashes


@pytest.mark.slow
def test_processes_read_images_by_processes_of_their_own(tmp_path: Path) -> None:
    top = write_pictures(tmp_path / "pictures")
    rows = []
    for kept, executor in (("False", Processes(1)), ("True", Inline())):
        source = f"image-folder(path='{top}', size=8, in_memory={kept})"
        tasks = [task_of(Trial(small(source=source, batch_size=8), "warm-start", 1.0, 0), tmp_path / kept)]
        [result] = executor.run(tasks, Heard(tasks))
        assert result is not None
        rows.append(timeless(result.rows))
    assert rows[0] == rows[1]


def killer(input_shape: tuple[int, ...], outputs: int) -> Any:
    """A network that ends its worker process."""
    os.kill(os.getpid(), signal.SIGKILL)


def broken(input_shape: tuple[int, ...], outputs: int) -> Any:
    """A network with a bug."""
    raise RuntimeError("a bug in the user's network")


def threads_told(input_shape: tuple[int, ...], outputs: int) -> Any:
    """A network that cannot be built, but tells how many threads its worker has."""
    raise RuntimeError(f"torch has {torch.get_num_threads()} threads")


def test_workers_do_not_fight_for_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # or torch would have one thread anyway
    trial = Trial(small(network="tests.lab.test_executor:threads_told"), "warm-start", 1.0, 0)
    tasks = [task_of(trial, tmp_path)]
    for executor in (Processes(1), Inline()):
        heard = Heard(tasks)
        executor.run(tasks, heard)
        assert heard.crashes == {0: "RuntimeError: torch has 1 threads"}


@pytest.mark.slow
def test_a_lost_worker_costs_its_trial_only(tmp_path: Path) -> None:
    good = [Trial(small(), "warm-start", 1.0, seed) for seed in range(3)]
    lost = Trial(small(network="tests.lab.test_executor:killer"), "warm-start", 1.0, 0)
    bug = Trial(small(network="tests.lab.test_executor:broken"), "warm-start", 1.0, 0)
    tasks = [task_of(trial, tmp_path) for trial in (lost, bug, *good)]
    heard = Heard(tasks)
    results = Processes(2).run(tasks, heard)
    assert heard.crashes == {
        0: "its process ended with exit code -9",
        1: "RuntimeError: a bug in the user's network",
    }
    assert results[:2] == [None, None]
    assert all(result is not None for result in results[2:])


def test_a_worker_that_starts_does_not_hear_of_an_interrupt(capfd: pytest.CaptureFixture[str]) -> None:
    worker = Processes(1)._start(1)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    # at once, and while it imports
    for _ in range(5):
        assert worker.process.pid is not None
        os.kill(worker.process.pid, signal.SIGINT)
        time.sleep(0.2)
    worker.connection.send(None)
    worker.process.join(60)
    assert worker.process.exitcode == 0
    assert capfd.readouterr().err == ""


def test_time_left_is_measured_on_what_was_done_here() -> None:
    tally = Tally([100, 100], began=0.0)
    assert tally.seconds_left(1.0) is None
    tally.moment(0, 50)  # resumed: half of it was done before
    tally.moment(0, 75)
    assert tally.share == pytest.approx(75 / 200)
    assert tally.seconds_left(10.0) == pytest.approx(125 * 10 / 25)
    tally.end(0)
    tally.end(1)
    assert tally.share == 1.0
    assert tally.seconds_left(20.0) == 0


def test_plain_lines_and_the_live_display() -> None:
    known = trials(small(seeds=2))
    result = Result("small", "warm-start", 1.0, 0, ({"test_accuracy": 0.5, "seconds": 1.25},))
    for kind, terminal in ((Lines, False), (Terminal, True)):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
        with kind(known, [100] * 4, 2, console) as shown:
            shown.started(0, 0)
            shown.moment(0, Moment(50, "chunk 1/2", "0.250"))
            shown.started(1, 1)
            if isinstance(shown, Terminal):
                shown.live.refresh()
            shown.finished(0, result)
            shown.crashed(1, "no luck")
            shown.note(0, "a [bold]note[/bold]")
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert "failed: no luck" in text
        assert "a [bold]note[/bold]" in text
        if kind is Lines:
            assert "3/6 trials" in text
            assert "accuracy 0.500, 1.2 s" in text
        else:
            assert "chunk 1/2" in text
            assert "0.250" in text


def test_durations() -> None:
    assert [clock(value) for value in (0, 59.6, 3600, None)] == ["0:00", "1:00", "1:00:00", "-:--"]
