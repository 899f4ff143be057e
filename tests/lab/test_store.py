"""The folder of a run: what it says of its trial, beside what names it."""

from __future__ import annotations

import pickle
from pathlib import Path

from hare_tortoise.lab import files
from hare_tortoise.lab.store import Store
from hare_tortoise.lab.trial import Engine, Trial, identity, run_name
from hare_tortoise.lab.worker import Task, run_task

from .small import run_of, small, task_of

MARK = "desk: 5,000 of 50,000 training rows"


def task_at(scale: str, out: Path) -> Task:
    return task_of(Trial(small(scale=scale), "warm-start", 1.0, 0), out)


def test_a_run_says_its_scale(tmp_path: Path) -> None:
    # as a worker process gets it
    task = pickle.loads(pickle.dumps(task_at(MARK, tmp_path)))
    run_task(task)
    written = files.read_json(run_of(task).folder / "trial.json")
    assert written == {**task.identity, "scale": MARK}
    assert run_of(task).folder.name == run_name(task.identity)


def test_the_scale_is_no_part_of_the_name_of_a_run(tmp_path: Path) -> None:
    scaled, plain = task_at(MARK, tmp_path), task_at("paper", tmp_path)
    assert scaled.identity == plain.identity
    run_task(scaled)
    notes: list[str] = []
    run_task(plain, note=notes.append)
    assert notes == []
    assert [path.name for path in Store(tmp_path).runs.iterdir()] == [run_name(plain.identity)]


def test_a_run_from_before_the_scale_was_written_is_used(tmp_path: Path) -> None:
    task = task_at(MARK, tmp_path)
    run_task(task)
    path = run_of(task).folder / "trial.json"
    files.write_json(path, dict(task.identity))
    notes: list[str] = []
    run_task(task, note=notes.append)
    assert notes == []
    assert files.read_json(path) == task.identity


def test_other_versions_are_found_whatever_the_scale(tmp_path: Path) -> None:
    task = task_at(MARK, tmp_path)
    run_task(task)
    other = identity(Trial(small(), "warm-start", 1.0, 0), "other digest", Engine())
    assert Store(tmp_path).changed([other]) == [(run_of(task).folder.name, "data")]
