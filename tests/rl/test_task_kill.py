"""Killed at any moment, a trial of an agent ends as if it never had been."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from hare_tortoise.lab.store import Store
from hare_tortoise.lab.trial import Engine
from hare_tortoise.rl.recipes import find_agent
from hare_tortoise.rl.task import AgentTask, PopulationTask
from hare_tortoise.rl.trial import AgentTrial, Judging, identity
from tests.lab.test_kill import _newest, _points
from tests.rl.tasks import PAIR, TRIALS, often, outcome, run_of, task_of, timeless, trial_of


@pytest.fixture(autouse=True)
def rows_often(monkeypatch: pytest.MonkeyPatch) -> None:
    often(monkeypatch)
    torch.set_num_threads(1)  # a process that is forked has no other threads


def forked(body: Callable[[], None]) -> int:
    """Do something in a process of its own; gives its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        body()
        code = 0
    finally:
        os._exit(code)


def _run(task: AgentTask) -> None:
    task.run()


def survive(task: AgentTask, kills: int, draw: random.Random) -> int:
    """Kill a task so many times soon after a checkpoint was written; says how often one was."""
    made = 0
    for _ in range(kills):
        before = _newest(task.out)
        child = forked(lambda: _run(task))
        ended, give_up = 0, time.monotonic() + 60
        while not ended and _newest(task.out) == before and time.monotonic() < give_up:
            time.sleep(0.001)
            ended = os.waitpid(child, os.WNOHANG)[0]
        made += _newest(task.out) != before
        if not ended:
            time.sleep(draw.uniform(0.0, 0.1))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return made


def check(names: Sequence[str], tmp_path: Path, kills: int) -> None:
    for seed, name in enumerate(names):
        whole = task_of(trial_of(name), tmp_path / f"{name}-whole")
        expected = outcome(
            whole.run(), whole
        )  # first of all: what it imports is there when a process is forked
        task = task_of(trial_of(name), tmp_path / name, checkpoint_every=0.02)
        assert survive(task, kills, random.Random(seed)) > 0
        assert outcome(task.run(), task) == expected, name


def test_four_kills(tmp_path: Path) -> None:
    check(["everything"], tmp_path, 4)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_kills_of_each(tmp_path: Path) -> None:
    check(list(TRIALS), tmp_path, 20)


# --- a kill at every fifth write, fsync or rename ---------------------------------------------------------------


def counted(task: AgentTask | PopulationTask, die_at: int | None) -> int:
    """Run a task in a process that dies at its n-th point; gives the number of points, or -1 if it died."""
    read, write = os.pipe()
    seen = 0

    def count() -> None:
        nonlocal seen
        seen += 1
        if seen == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def body() -> None:
        for owner, name, replacement in _points(count):
            setattr(owner, name, replacement)
        task.run()
        os.write(write, str(seen).encode())

    child = forked(body)
    os.close(write)
    _, status = os.waitpid(child, 0)
    text = os.read(read, 100).decode()
    os.close(read)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return int(text) if text else -1


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_kill_at_every_fifth_write_fsync_or_rename(tmp_path: Path) -> None:
    """Two phases of a few steps each, with a checkpoint after every step."""
    small: dict[str, Any] = {"warm_up": 4, "steps": 6, "n_step": 1, "capacity": 5}
    planned = trial_of("phases", **small)
    whole = task_of(planned, tmp_path / "whole")
    expected = outcome(whole.run(), whole)
    points = counted(task_of(planned, tmp_path / "count", checkpoint_every=0.0), None)
    assert points > 100
    for point in range(1, points + 1, 5):
        task = task_of(planned, tmp_path / str(point), checkpoint_every=0.0)
        assert counted(task, point) == -1
        assert outcome(task.run(), task) == expected, point
        assert not list(run_of(task).folder.glob(".*.part")), point


# --- the same of a population -----------------------------------------------------------------------------------


def population(out: Path, *, checkpoint_every: float = 1_000.0) -> PopulationTask:
    """Three agents for a few steps."""
    small: dict[str, Any] = {"warm_up": 4, "steps": 12, "capacity": 9, "hidden": 8, "batch": 4, "n_step": 1}
    judging = Judging(episodes=1, measure_every=None)
    recipe = find_agent("minatar").replace(**small)
    trials = tuple(AgentTrial(recipe, ("minatar:breakout",), PAIR, seed, judging) for seed in range(3))
    known = tuple(identity(trial, Engine(), population=True) for trial in trials)
    return PopulationTask(trials, known, out, Engine(), checkpoint_every)


def came_of(task: PopulationTask) -> list[Any]:
    """Rows without the wall clock, and weights, of each agent."""
    weights = [Store(task.out).run(known).weights() for known in task.identities]
    rows = [timeless(result.rows) for result in task.results() if result is not None]
    return [rows, [{name: w.numpy().tobytes() for name, w in each.items()} for each in weights]]


def check_population(tmp_path: Path, which: Callable[[int], Sequence[int]]) -> None:
    whole = population(tmp_path / "whole")
    whole.run()
    points = counted(population(tmp_path / "count", checkpoint_every=0.0), None)
    assert points > 100
    for point in which(points):
        task = population(tmp_path / str(point), checkpoint_every=0.0)
        assert counted(task, point) == -1
        assert counted(population(task.out, checkpoint_every=1_000.0), None) > 0
        assert came_of(task) == came_of(whole), point
        assert not list(task.out.rglob(".*.part")), point
        assert not list((task.out / "populations").rglob("*.frames")), point


def test_a_population_that_is_killed_while_it_writes_its_results(tmp_path: Path) -> None:
    check_population(tmp_path, lambda points: range(points - 24, points, 6))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_population_that_is_killed_at_every_seventh_point(tmp_path: Path) -> None:
    check_population(tmp_path, lambda points: range(1, points + 1, 7))
