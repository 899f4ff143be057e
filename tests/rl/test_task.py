"""A trial of an agent that is stopped anywhere ends as one that is not; what is damaged is found; failures are told."""

from __future__ import annotations

import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hare_tortoise.lab.files import DamagedFileError
from hare_tortoise.lab.job import Moment, StoppedError
from hare_tortoise.lab.store import Run
from hare_tortoise.lab.trial import Engine
from hare_tortoise.methods import HareTortoise
from hare_tortoise.rl.agent import Agent
from hare_tortoise.rl.task import AgentTask
from hare_tortoise.rl.trial import from_json, identity, to_json
from tests.rl.tasks import (
    HERE,
    TRIALS,
    Falls,
    Spoilt,
    often,
    outcome,
    run_of,
    task_of,
    trial_of,
)

OWN = "tests.rl.own_games"


@pytest.fixture(autouse=True)
def rows_and_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    often(monkeypatch)


KNOWN: dict[str, Any] = {}


@pytest.fixture
def expected(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Give what a trial comes to that nothing disturbs."""

    def find(name: str) -> Any:
        if name not in KNOWN:
            task = task_of(trial_of(name), tmp_path_factory.mktemp("whole"))
            KNOWN[name] = outcome(task.run(), task)
        return KNOWN[name]

    return find


Expected = Callable[[str], Any]


def stopped_at(task: AgentTask, step: int) -> None:
    """Run a task until so many steps, and stop it there."""
    seen: list[int] = []

    def report(moment: Moment) -> bool:
        seen.append(moment.done)
        return moment.done >= step

    with pytest.raises(StoppedError):
        task.run(report=report)
    assert seen[-1] == step


# Within the warm-up, at its end, within episodes, at a row, one after the other, and at the last but one.
STOPS = {
    "pair": (5, 12, 13, 40, 49),
    "everything": (13, 27, 28, 44),
    "phases": (29, 30, 31, 45),
    "images": (9, 17, 30),
}


@pytest.mark.parametrize("name", TRIALS)
def test_stopped_and_taken_up_again_it_ends_the_same_to_the_bit(
    name: str, tmp_path: Path, expected: Expected
) -> None:
    rows, failure, weights = expected(name)
    assert failure is None
    assert any(row["loss"] for row in rows)
    assert any("measures" in row for row in rows)
    task = task_of(trial_of(name), tmp_path)
    for step in STOPS[name]:
        stopped_at(task, step)
        assert list(run_of(task).folder.glob("replay-*.frames"))
    assert outcome(task.run(), task) == (rows, failure, weights)
    left = sorted(path.name for path in run_of(task).folder.iterdir())
    assert left == ["checkpoint.safetensors", "lock", "metrics.json", "trial.json"]


def test_another_seed_is_another_agent(tmp_path: Path, expected: Expected) -> None:
    task = task_of(trial_of("pair", seed=1), tmp_path)
    assert outcome(task.run(), task)[2] != expected("pair")[2]


def test_a_finished_trial_is_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(trial_of("pair"), tmp_path)
    first = task.run()
    monkeypatch.setattr(Agent, "choose", None)
    assert task.run() == first
    assert task.trial.told(first).startswith("return ")


def test_asked_to_stop_at_the_last_step_it_gives_its_result(tmp_path: Path) -> None:
    task = task_of(trial_of("pair"), tmp_path)
    assert task.run(report=lambda moment: moment.done == 50).rows[-1]["step"] == 50


def test_ended_between_the_weights_and_the_result_it_only_writes_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: Expected
) -> None:
    whole, task = expected("pair"), task_of(trial_of("pair"), tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            task.run()
    monkeypatch.setattr(Agent, "choose", None)  # nothing is played any more
    assert outcome(task.run(), task) == whole


# --- damage ------------------------------------------------------------------------------------------------------


def damaged(path: Path, how: str) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[:middle])
    else:
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 0x10]) + content[middle + 1 :])


@pytest.mark.parametrize(
    ("name", "how"),
    [
        (name, how)
        for name in ("replay-0.0.frames", "checkpoint.safetensors")
        for how in ("cut", "flip", "gone")
    ],
)
def test_what_is_damaged_is_noted_and_the_run_done_again(
    tmp_path: Path, name: str, how: str, expected: Expected
) -> None:
    task = task_of(trial_of("pair"), tmp_path)
    stopped_at(task, 40)
    damaged(run_of(task).folder / name, how)
    notes: list[str] = []
    assert outcome(task.run(note=notes.append), task) == expected("pair")
    if (name, how) == ("checkpoint.safetensors", "gone"):
        assert notes == []  # as if there never had been one
    else:
        (note,) = notes
        assert name in note
        assert "removed" in note


def test_the_checkpoint_of_another_trial_is_never_taken(tmp_path: Path, expected: Expected) -> None:
    """Each has a folder of its own; a file that came into the wrong one is noticed."""
    planned = trial_of("pair")
    others = [
        replace(planned, seed=1),
        replace(planned, games=(f"{OWN}:walk",)),
        replace(planned, method="nothing"),
        replace(planned, recipe=planned.recipe.replace(lr=0.1)),
        replace(planned, recipe=planned.recipe.replace(steps=51)),
        replace(planned, judging=replace(planned.judging, episodes=3)),
    ]
    tasks = [task_of(each, tmp_path) for each in (planned, *others)]
    assert len({run_of(task).folder for task in tasks}) == len(tasks)
    second, first = tasks[:2]
    stopped_at(first, 40)
    stopped_at(second, 20)
    kept = run_of(first).folder
    for path in kept.glob("replay-*"):
        (run_of(second).folder / path.name).write_bytes(path.read_bytes())
    (run_of(second).folder / "checkpoint.safetensors").write_bytes(
        (kept / "checkpoint.safetensors").read_bytes()
    )
    notes: list[str] = []
    result = second.run(note=notes.append)
    assert [f"is that of run {kept.name}" in note for note in notes] == [True]
    assert outcome(result, second) == expected("pair")


def test_the_frames_of_a_phase_that_is_over_are_removed(tmp_path: Path) -> None:
    task = task_of(trial_of("phases"), tmp_path, checkpoint_every=0.0)
    stopped_at(task, 40)
    (kept,) = run_of(task).folder.glob("replay-*.frames")
    assert kept.name.startswith("replay-1.")


def test_the_final_weights_of_another_trial_are_never_taken(tmp_path: Path, expected: Expected) -> None:
    planned = trial_of("pair")
    task, other = task_of(planned, tmp_path), task_of(replace(planned, seed=1), tmp_path)
    task.run()
    other.run()
    folder, kept = run_of(task).folder, run_of(other).folder
    shutil.copy(kept / "checkpoint.safetensors", folder)
    with pytest.raises(DamagedFileError, match=f"is that of run {kept.name}"):
        Agent.load(folder)
    (folder / "metrics.json").unlink()  # as where the process was killed before it wrote the result
    notes: list[str] = []
    result = task.run(note=notes.append)
    assert [f"is that of run {kept.name}" in note for note in notes] == [True]
    assert outcome(result, task) == expected("pair")


# --- what goes wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replay", ["uniform", "prioritised"])
def test_a_loss_that_is_not_finite_is_a_failure_and_the_last_good_checkpoint_is_kept(
    tmp_path: Path, replay: str
) -> None:
    planned = trial_of("pair", encoder=f"{HERE}:spoilt", replay=replay)
    task = task_of(planned, tmp_path, checkpoint_every=0.0)
    result = task.run()
    told = rf"the loss was nan at update {Spoilt.good + 1}, about step (\d+), of seed 0; try a lower lr"
    found = re.match(told, result.failure or "")
    assert found is not None
    assert int(found[1]) in (12 + Spoilt.good, 13 + Spoilt.good)
    content = run_of(task).load()
    assert content is not None
    assert content["training"]["step"] == 12 + Spoilt.good
    assert content["training"]["agents"][0]["keeping"]["updates"] == Spoilt.good
    assert list(run_of(task).folder.glob("replay-*.frames"))
    assert task.run() == result
    assert task.trial.told(result) == f"failed: {result.failure}"


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_reset_of_the_hare_that_is_due_before_the_loss_is_read_is_a_failure_too(
    tmp_path: Path, every: int
) -> None:
    """The tortoise is not finite then, and the method refuses it: at update 11, where the loss was, or soon after."""
    planned = trial_of("pair", encoder=f"{HERE}:spoilt")
    planned = replace(planned, method=f"hare-tortoise(decay=0.9, reset_every={every})")
    result = task_of(planned, tmp_path).run()
    reset_at = -(-(Spoilt.good + 1) // every) * every
    what = "weights were not finite after" if reset_at == Spoilt.good + 1 else "loss was nan at"
    assert result.failure is not None
    assert result.failure.startswith(f"the {what} update {Spoilt.good + 1}, about step ")


def test_other_errors_of_a_method_are_no_divergence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(HareTortoise, "reset", broken)
    with pytest.raises(RuntimeError, match="out of memory") as error:
        task_of(trial_of("pair"), tmp_path).run()
    assert type(error.value) is RuntimeError


def test_a_game_that_fails_is_named_and_the_checkpoint_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = replace(trial_of("pair"), games=(f"{HERE}:falls",))
    whole, task = (
        task_of(planned, tmp_path / "whole"),
        task_of(planned, tmp_path / "task", checkpoint_every=0.0),
    )
    expected = outcome(whole.run(), whole)
    monkeypatch.setattr(Falls, "made", 0)
    monkeypatch.setattr(Falls, "at", 33)
    told = (
        f"environment {HERE}:falls failed when it was sent the action .: ZeroDivisionError: the walker fell"
    )
    with pytest.raises(RuntimeError, match=told):
        task.run()
    content = run_of(task).load()
    assert content is not None
    assert content["training"]["step"] > 20
    monkeypatch.setattr(Falls, "at", None)
    assert outcome(task.run(), task) == expected


def test_a_game_that_does_not_repeat_is_named_when_the_run_is_taken_up(tmp_path: Path) -> None:
    planned = trial_of("pair")
    judging = replace(planned.judging, curve_every=None)  # a game of it may never end
    task = task_of(replace(planned, games=(f"{OWN}:forgetful",), judging=judging), tmp_path)
    stopped_at(task, 40)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=f"do not repeat an episode.*{OWN}:forgetful"):
            task.run()
        assert (run_of(task).folder / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"games": ("CartPole-v2-not",)}, ValueError, "CartPole-v2-not"),
        ({"method": "hare-tortois"}, ValueError, "did you mean 'hare-tortoise'"),
        ({"games": (f"{OWN}:continuous",)}, ValueError, "expected Discrete"),
    ],
)
def test_what_cannot_be_built_is_told_before_anything_is_trained(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], told: str
) -> None:
    task = task_of(replace(trial_of("pair"), **changes), tmp_path)
    with pytest.raises(error, match=told):
        task.run()
    assert not list(tmp_path.rglob("metrics.json"))


def test_code_that_has_changed_meanwhile_is_noticed(tmp_path: Path) -> None:
    task = task_of(trial_of("pair"), tmp_path)
    old = replace(task, identity={**task.identity, "code": "what it was"})
    with pytest.raises(RuntimeError, match="code or versions changed while the command ran"):
        old.run()


# --- trials ------------------------------------------------------------------------------------------------------


def test_a_trial_goes_to_another_process_and_comes_back_from_json(tmp_path: Path) -> None:
    task = task_of(trial_of("phases"), tmp_path)
    assert pickle.loads(pickle.dumps(task)) == task
    again = from_json(to_json(task.trial))
    assert identity(again, Engine()) == task.identity
    assert again.game == "minatar:breakout > minatar:asterix"
    assert again.steps == 60
    assert again.label == f"minatar · {again.game} · {again.method} · seed 0"


def test_the_last_row_of_each_phase_has_the_games_of_all(tmp_path: Path) -> None:
    planned = trial_of("phases")
    result = task_of(planned, tmp_path).run()
    last = [row for row in result.rows if row["last"]]
    assert [row["step"] for row in last] == [30, 60]
    assert [{game: len(each) for game, each in row["evaluations"].items()} for row in last] == [
        dict.fromkeys(planned.games, 2)
    ] * 2
    between = [row["evaluations"] for row in result.rows if not row["last"]]
    assert [{game: len(each) for game, each in found.items()} for found in between] == [
        {planned.games[0]: 1},
        {planned.games[1]: 1},
    ]
