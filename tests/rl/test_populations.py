"""Populations as tasks and in experiments: each agent has its own result, whatever happens to the others."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hare_tortoise.lab.job import Moment, StoppedError
from hare_tortoise.lab.store import Run, Store
from hare_tortoise.lab.trial import Engine, Result, Row, run_name
from hare_tortoise.rl import building, obtain
from hare_tortoise.rl.experiment import AgentExperiment
from hare_tortoise.rl.recipes import find_agent
from hare_tortoise.rl.replay import Batch
from hare_tortoise.rl.run import check_together, run_agents
from hare_tortoise.rl.stacked import Stacked
from hare_tortoise.rl.task import AgentTask, PopulationTask
from hare_tortoise.rl.trial import AgentTrial, Judging, identity

GAME = ("minatar:breakout",)
PAIR = "hare-tortoise(decay=0.9, reset_every=20)"
VALUES: dict[str, Any] = {"steps": 1_000, "warm_up": 100, "replay_ratio": 0.1, "hidden": 16, "batch": 8}


def population(
    out: Path, method: str = PAIR, agents: int = 3, every: float | None = 1_000.0
) -> PopulationTask:
    recipe = find_agent("minatar").replace(**VALUES)
    judging = Judging(episodes=2, measure_every=1_000)
    trials = tuple(AgentTrial(recipe, GAME, method, seed, judging) for seed in range(agents))
    known = tuple(identity(trial, Engine(), population=True) for trial in trials)
    return PopulationTask(trials, known, out, Engine(), every)


def timeless(results: list[Result | None]) -> list[list[Row]]:
    return [
        [{name: value for name, value in row.items() if name != "seconds"} for row in result.rows]
        for result in results
        if result is not None
    ]


def weights(task: PopulationTask) -> list[dict[str, Tensor]]:
    return [Store(task.out).run(known).weights() for known in task.identities]


def stopped(task: PopulationTask, at: int) -> None:
    def report(moment: Moment) -> bool:
        return moment.done >= at

    with pytest.raises(StoppedError):
        task.run(report=report)


def test_an_interrupted_population_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole, parts = population(tmp_path / "whole"), population(tmp_path / "parts")
    first = whole.run()
    for at in (1, 60, 500):
        stopped(parts, at)
    assert parts.run().rows[-1]["step"] == 1_000
    assert timeless(parts.results()) == timeless(whole.results())
    assert first == whole.results()[0]
    for ours, theirs in zip(weights(parts), weights(whole), strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    folder = next((tmp_path / "parts" / "populations").iterdir())
    assert {path.name for path in folder.iterdir()} <= {"lock", "trial.json"}


def test_an_agent_of_a_population_is_the_agent_alone_but_for_rounding(tmp_path: Path) -> None:
    together = population(tmp_path)
    together.run()
    trial = together.trials[1]
    alone = AgentTask(trial, identity(trial, Engine()), tmp_path, Engine()).run()
    other = together.results()[1]
    assert other is not None
    assert other.run != alone.run
    assert other.rows[0]["return"] == alone.rows[0]["return"]
    assert other.rows[0]["loss"] == pytest.approx(alone.rows[0]["loss"], rel=1e-4)
    assert other.rows[0]["loss"] != other.rows[0]["length"]
    losses = {result.rows[0]["loss"] for result in together.results() if result is not None}
    assert len(losses) == 3


def test_agents_of_a_population_are_judged_on_games_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    task, seeds = population(Path()), []

    def noted(agent: Any, game: str, *, seed: int, **more: Any) -> list[float]:
        seeds.append(seed)
        return [1.0]

    monkeypatch.setattr(building, "evaluate", noted)
    training = building.build_population(task.trials)
    for place in range(3):
        assert training.measured.evaluate is not None
        training.measured.evaluate(training.agents[place], place, 1_000, True)
    assert seeds == [0, 1, 2]


def test_what_a_graph_cannot_follow_is_told_before_a_gpu_is_asked() -> None:
    planned = experiment(2, "nothing")
    assert check_together(planned, "cuda") == check_together(planned, "cpu") == ""
    other = replace(planned, recipe=planned.recipe.replace(replay="prioritised"))
    assert "expected uniform" in check_together(other, "cuda")
    assert check_together(other, "cpu") == ""


def test_without_checkpoints_nothing_is_saved_and_all_is_done_again(tmp_path: Path) -> None:
    task = population(tmp_path, every=None)
    stopped(task, 400)
    assert not list(tmp_path.rglob("checkpoint.safetensors"))
    assert not list(tmp_path.rglob("*.frames"))
    assert task.run().rows[-1]["step"] == 1_000


@pytest.mark.parametrize("method", ["nothing", PAIR])
def test_one_that_diverges_fails_and_the_others_go_on(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Stacked.update

    def poisoned(self: Stacked, batch: Batch, draws: Any, **more: Any) -> Any:
        if self.updates == 40:
            batch.returns[1] = math.nan
        return plain(self, batch, draws, **more)

    monkeypatch.setattr(Stacked, "update", poisoned)
    task = population(tmp_path, method=method)
    task.run()
    results = task.results()
    assert [result is not None and result.failure is None for result in results] == [True, False, True]
    assert results[1] is not None
    assert "the loss was nan at update 41" in str(results[1].failure)
    assert "seed 1" in str(results[1].failure)
    monkeypatch.setattr(Stacked, "update", plain)
    untouched = population(tmp_path / "untouched", method=method)
    untouched.run()
    assert timeless(results)[0] == timeless(untouched.results())[0]


def test_where_all_diverge_the_last_checkpoint_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Stacked.update

    def poisoned(self: Stacked, batch: Batch, draws: Any, **more: Any) -> Any:
        if self.updates == 40:
            batch.returns.fill_(math.nan)
        return plain(self, batch, draws, **more)

    monkeypatch.setattr(Stacked, "update", poisoned)
    task = population(tmp_path, every=0.05)
    task.run()
    assert all("nan at update 41" in str(each.failure) for each in task.results() if each is not None)
    (checkpoint,) = tmp_path.rglob("checkpoint.safetensors")
    assert checkpoint.parent.parent.name == "populations"
    kept = Run(checkpoint.parent, {}).load()
    assert kept is not None
    assert kept["training"]["agents"][0]["keeping"]["updates"] <= 40
    assert list(checkpoint.parent.glob("*.frames"))


def experiment(seeds: int, *methods: str) -> AgentExperiment:
    recipe = find_agent("minatar").replace(**VALUES)
    return AgentExperiment(recipe, (GAME,), methods, seeds, Judging(episodes=2, measure_every=None))


def run(planned: AgentExperiment, out: Path) -> dict[Path, int]:
    """Run an experiment in populations; when each of its results was written."""
    outcome = run_agents(planned, out=out, workers=0, device="cpu", quiet=True, together=True)
    assert outcome.failures == ()
    assert outcome.comparison is not None
    return {path: path.stat().st_mtime_ns for path in out.rglob("metrics.json")}


def test_more_seeds_run_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def counted(trials: tuple[AgentTrial, ...], *more: Any) -> PopulationTask:
        sizes.append((trials[0].method, [trial.seed for trial in trials]))
        return PopulationTask(trials, *more)

    monkeypatch.setattr(obtain, "PopulationTask", counted)
    before = run(experiment(2, "nothing"), tmp_path)
    after = run(experiment(3, "nothing", PAIR), tmp_path)
    assert sizes == [("nothing", [0, 1]), (PAIR, [0, 1, 2]), ("nothing", [2])]
    assert len(before) == 2
    assert len(after) == 6
    assert before.items() <= after.items()
    assert run(experiment(3, "nothing", PAIR), tmp_path) == after
    assert len(sizes) == 3


def test_a_population_that_was_interrupted_is_taken_up_by_a_command_for_more_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = population(tmp_path / "whole")
    whole.run()
    judging = whole.trials[0].judging
    task = population(tmp_path / "out")
    stopped(task, 600)
    first = Run(tmp_path / "out" / "runs" / run_name(task.identities[0]), task.identities[0])
    done = whole.results()[0]
    assert done is not None
    first.finish(list(done.rows), None)  # killed after the first of the results was written
    trained = []

    def counted(trials: tuple[AgentTrial, ...], *more: Any) -> PopulationTask:
        trained.append([trial.seed for trial in trials])
        return PopulationTask(trials, *more)

    monkeypatch.setattr(obtain, "PopulationTask", counted)
    planned = AgentExperiment(whole.trials[0].recipe, (GAME,), (PAIR,), 4, judging)
    run_agents(planned, out=tmp_path / "out", workers=0, device="cpu", quiet=True, together=True)
    assert trained == [[0, 1, 2], [3]]
    assert timeless(task.results()) == timeless(whole.results())
    assert not list(tmp_path.rglob("*.frames"))
    assert not list((tmp_path / "out" / "populations").rglob("checkpoint.safetensors"))


def test_what_has_no_stacked_form_is_refused_before_anything_runs(tmp_path: Path) -> None:
    planned = experiment(2, "nothing", "l2-init(strength=0.001)")
    with pytest.raises(ValueError, match="L2Init adds a term to the loss and has no stacked form"):
        run_agents(planned, out=tmp_path / "out", workers=0, device="cpu", quiet=True, together=True)
    assert not (tmp_path / "out").exists()


def test_where_the_disk_is_too_small_it_is_said_and_nothing_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(obtain, "free_disk", lambda _: 1_000)
    planned = experiment(2, "nothing")
    outcome = run_agents(planned, out=tmp_path, workers=0, device="cpu", checkpoint_every=0.0, together=True)
    assert outcome.failures == ()
    assert "more than are free: they are not saved" in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.rglob("*.frames"))
