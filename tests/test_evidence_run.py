"""What runs the evidence: it says what is left, trains that alone, and keeps each trial when it ends."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from evidence import records, run
from evidence.lines import Line
from hare_tortoise.lab.executor import Inline, Listener
from hare_tortoise.lab.job import Job
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.trial import Result, trials
from hare_tortoise.lab.worker import Task

RECIPE = Recipe(
    name="small",
    source="digits(rows=60)",
    scenario="growing(chunks=2)",
    network="mlp(hidden=(4,))",
    methods=("from-scratch", "warm-start", "ema"),
    epochs=1,
    seeds=1,
)


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Methods in the order of their training; data and checkpoints lie in a folder of the test."""
    methods: list[str] = []

    class Noted(Inline):
        def run(self, tasks: Sequence[Job], listener: Listener) -> list[Result | None]:
            methods.extend(task.trial.method for task in tasks if isinstance(task, Task))
            return super().run(tasks, listener)

    (tmp_path / "data").mkdir()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(records, "DATA", tmp_path / "data")
    monkeypatch.setattr(run, "STORE", tmp_path / "store")
    monkeypatch.setattr(run, "Processes", lambda workers: Noted())
    return methods


def keep(folder: Path, recipe: Recipe, count: int) -> None:
    row = {"chunk": 0, "last": True, "samples": 1, "seconds": 1.0, "test_accuracy": 0.5}
    for trial in trials(recipe)[:count]:
        records.write(folder, trial, Result(recipe.name, trial.method, 1.0, trial.seed, (row,)), {})


def test_a_trial_is_kept_when_it_ends(tmp_path: Path) -> None:
    first, second, _ = trials(RECIPE)
    row = {"chunk": 0, "last": True, "samples": 9, "seconds": 1.5, "test_accuracy": 0.25}
    keeping = run.Keeping(tmp_path, [first, second], [9, 9], Console(quiet=True))
    keeping.finished(1, Result("small", second.method, 1.0, 0, (row,)))
    ((name, kept),) = records.read(tmp_path).items()
    assert (name, kept.trial.method, kept.rows) == (records.key(second), second.method, (row,))
    assert {"torch", "python", "processor"} <= kept.made_with.keys()


def test_what_is_left_is_said_trained_and_kept(trained: list[str]) -> None:
    keep(records.DATA / "small", RECIPE, 1)
    said = io.StringIO()
    line = Line("small", 1.5, lambda: [RECIPE])
    run.run(line, records.read_all(), workers=2, console=Console(file=said, width=200))
    assert said.getvalue().startswith("small: 2 trials are missing, about 1.0 core-hours on 2 workers\n")
    assert trained == ["warm-start", "ema"]
    assert set(records.read(records.DATA / "small")) == {records.key(trial) for trial in trials(RECIPE)}


def test_no_more_are_trained_than_asked_for(trained: list[str]) -> None:
    line = Line("small", 0.1, lambda: [RECIPE])
    run.run(line, {}, workers=1, console=Console(quiet=True), limit=2)
    assert trained == ["from-scratch", "warm-start"]
    assert len(records.read_all()) == 2


def test_a_line_that_takes_too_long_is_refused_however_little_is_left(trained: list[str]) -> None:
    keep(records.DATA / "small", RECIPE, 2)
    line = Line("small", 9.0, lambda: [RECIPE])
    with pytest.raises(ValueError, match=r"small takes 9.0 core-hours, at most 8 a line"):
        run.run(line, records.read_all(), workers=1, console=Console(quiet=True))
    assert trained == []


def test_what_two_lines_share_is_trained_once_and_read_once(
    trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_all, times = records.read_all, []

    def counted() -> dict[str, records.Record]:
        times.append(1)
        return read_all()

    second = RECIPE.replace(name="other", methods=("warm-start", "l2-init", "from-scratch"))
    lines = (Line("one", 0.1, lambda: [RECIPE]), Line("two", 0.1, lambda: [second]))
    monkeypatch.setattr(records, "read_all", counted)
    monkeypatch.setattr(run, "LINES", {line.name: line for line in lines})
    assert run.main(["one", "two"], workers=1) == 0
    assert trained == ["from-scratch", "warm-start", "ema", "l2-init"]
    assert len(times) == 1
    assert len(read_all()) == 4
