"""A trial that is paused after some chunks: what it gives, and that it ends as if it had never been paused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from hare_tortoise.lab.trial import Trial
from hare_tortoise.lab.worker import run_task
from tests.lab.small import METHODS, run_of, small, task_of, timeless

DRAWS = "tests.lab.small:with_dropout"


@pytest.mark.parametrize("method", [*METHODS, "upgd", "redo+hare-tortoise(decay=warmup(0.9), reset_every=7)"])
def test_paused_after_each_chunk_it_ends_bit_for_bit_as_if_it_had_not_been(
    method: str, tmp_path: Path
) -> None:
    recipe = small(scenario="growing(chunks=3)", network=DRAWS, methods=(method,), source="digits(rows=120)")
    whole = task_of(Trial(recipe, method, 1.0, 0), tmp_path / "whole")
    expected = run_task(whole)
    paused = task_of(Trial(recipe, method, 1.0, 0), tmp_path / "paused")
    for chunks in (1, 2):
        rung = run_task(dataclasses.replace(paused, chunks=chunks))
        assert timeless(rung.rows) == [row for row in timeless(expected.rows) if row["chunk"] < chunks]
        assert not (run_of(paused).folder / "metrics.json").exists()
    assert timeless(run_task(paused).rows) == timeless(expected.rows)
    for name, tensor in run_of(whole).weights().items():
        assert torch.equal(tensor, run_of(paused).weights()[name]), name


def test_what_is_reached_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small(scenario="growing(chunks=3)", source="digits(rows=120)")
    task = dataclasses.replace(task_of(Trial(recipe, "warm-start", 1.0, 0), tmp_path), chunks=2)
    second = run_task(task)
    monkeypatch.setattr("hare_tortoise.lab.worker.build", lambda *_, **__: pytest.fail("it is built again"))
    assert run_task(task) == second
    first = run_task(dataclasses.replace(task, chunks=1))
    assert [row["chunk"] for row in first.rows] == [0]


def test_as_many_chunks_as_there_are_end_the_trial(tmp_path: Path) -> None:
    recipe = small(source="digits(rows=120)")
    task = dataclasses.replace(task_of(Trial(recipe, "warm-start", 1.0, 0), tmp_path), chunks=2)
    assert [row["chunk"] for row in run_task(task).rows] == [0, 1]
    assert (run_of(task).folder / "metrics.json").exists()
