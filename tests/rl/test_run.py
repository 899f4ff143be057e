"""Whole commands with agents: what is missing runs, what is finished stays, what goes wrong is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hare_tortoise.lab import files
from hare_tortoise.lab.archive import archive
from hare_tortoise.lab.run import report_runs
from hare_tortoise.lab.trial import Engine, Result
from hare_tortoise.rl import obtain, run
from hare_tortoise.rl.experiment import AgentExperiment
from hare_tortoise.rl.recipes import find_agent
from hare_tortoise.rl.report.comparison import RETURN, AgentComparison
from hare_tortoise.rl.run import is_of_agents, report_agents, run_agents
from hare_tortoise.rl.task import AgentTask
from hare_tortoise.rl.trial import Judging, identity
from tests.rl.agent_results import rows_of

GAME = ("minatar:breakout",)
PAIR = "hare-tortoise(decay=0.9, reset_every=20)"


def tiny(methods: Sequence[str] = ("nothing", PAIR), seeds: int = 2, **changes: Any) -> AgentExperiment:
    values = {"steps": 1_000, "warm_up": 300, "replay_ratio": 0.05, "hidden": 16, "batch": 8, **changes}
    recipe = find_agent("minatar").replace(**values)
    return AgentExperiment(recipe, (GAME,), tuple(methods), seeds, Judging(episodes=3, measure_every=1_000))


def here(planned: AgentExperiment, out: Path, **more: Any) -> run.AgentOutcome:
    return run_agents(planned, out=out, workers=0, device="cpu", quiet=True, **more)


def stamps(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.rglob("metrics.json")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, run.AgentOutcome]:
    out = tmp_path_factory.mktemp("agents") / "out"
    return out, here(tiny(), out, command="the command", protocol="the protocol")


@pytest.fixture
def out(trained: tuple[Path, run.AgentOutcome], tmp_path: Path) -> Path:
    """A copy of the finished runs, to do something to."""
    return Path(shutil.copytree(trained[0], tmp_path / "out"))


def test_a_command_trains_compares_and_writes(trained: tuple[Path, run.AgentOutcome]) -> None:
    out, first = trained
    assert first.failures == ()
    assert first.comparison is not None
    assert first.report == out / "report.html"
    text = first.report.read_text()
    for told in ("the command", "the protocol", "MinAtar"):
        assert told in text
    content = json.loads((out / "comparison.json").read_text())
    assert AgentComparison.from_json(content) == first.comparison
    assert (out / "comparison.md").read_text().startswith("## minatar\n")
    pictures = {path.name for path in out.glob("*.svg")}
    assert pictures == {"differences.svg", "learning-minatar-breakout.svg"}
    for method in ("nothing", PAIR):
        figure = first.comparison.entry(GAME, method).figure(RETURN)
        assert figure is not None
        assert figure.value.mean == pytest.approx(mean_return(out, method))


def mean_return(out: Path, method: str) -> float:
    returns = []
    for path in stamps(out):
        written = [
            json.loads(path.with_name(f"{name}.json").read_text())["content"] for name in ("trial", "metrics")
        ]
        if written[0]["method"] == method:
            games = written[1]["rows"][-1]["evaluations"][GAME[0]]
            assert len(games) == 3
            returns.append(sum(games) / 3)
    assert len(returns) == 2
    return float(sum(returns) / 2)


def test_a_run_is_found_by_what_its_result_depends_on(out: Path) -> None:
    index = json.loads((out / "command.json").read_text())["content"]
    assert index["kind"] == "agents"
    for trial, entry in zip(tiny().trials(), index["trials"], strict=True):
        known = json.loads((out / "runs" / entry["run"] / "trial.json").read_text())["content"]
        assert known == json.loads(json.dumps(identity(trial, Engine("cpu", 1))))


def test_the_same_command_trains_nothing_and_a_larger_one_what_is_missing(
    trained: tuple[Path, run.AgentOutcome], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stamps(out)
    assert len(before) == 4
    with monkeypatch.context() as patch:
        patch.delattr(obtain, "run_jobs")
        again = here(tiny(), out)
    assert again.comparison == trained[1].comparison
    assert stamps(out) == before
    more = here(tiny(("nothing", "head-reset"), seeds=1), out)
    assert more.comparison is not None
    assert more.comparison.methods == ("nothing", "head-reset")
    after = stamps(out)
    assert len(after) == 5
    assert {path: after[path] for path in before} == before


def test_a_report_is_written_again_without_training(
    trained: tuple[Path, run.AgentOutcome], out: Path, tmp_path: Path
) -> None:
    first = trained[1]
    (out / "report.html").unlink()
    again = report_agents(out)
    assert again.comparison == first.comparison
    assert again.report is not None
    text = again.report.read_text()
    assert "the command" in text
    assert "the protocol" in text
    assert is_of_agents(out)
    archive(out, tmp_path / "kept" / "agents.json")
    kept = report_agents(tmp_path / "kept" / "agents.json")
    assert kept.comparison == first.comparison
    assert kept.report == tmp_path / "kept" / "report.html"
    with pytest.raises(ValueError, match="holds a comparison of agents"):
        report_runs(out)
    for path in [*stamps(out)][:1]:
        path.unlink()
    (failure,) = report_agents(out).failures
    assert "not finished" in failure
    for path in stamps(out):
        path.unlink()
    with pytest.raises(ValueError, match="holds no finished run; run the comparison first: the command"):
        report_agents(out)


def test_a_comparison_of_recipes_is_not_one_of_agents(tmp_path: Path) -> None:
    files.write_json(tmp_path / "command.json", {"recipes": [], "trials": []})
    assert not is_of_agents(tmp_path)
    with pytest.raises(ValueError, match="no comparison of agents"):
        report_agents(tmp_path)
    with pytest.raises(ValueError, match=r"holds no command\.json"):
        report_agents(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("methods", "changes", "message"),
    [
        (("nothing", "hare-tortoys"), {}, "hare-tortoise"),
        (("nothing", "self-distillation"), {}, "which an agent has not"),
        (("nothing", PAIR), {"target": "copy"}, "no tortoise"),
        (("nothing",), {"encoder": "nature(padding=valid)"}, "input_shape"),
        (("nothing",), {"steps": 300}, "got 300, of which 300 are the warm-up"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_runs(
    methods: Sequence[str], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        here(tiny(methods, seeds=1, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_crash_and_a_failure_are_told_and_the_others_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_one(self: AgentTask, **_: Any) -> Result:
        if self.trial.method == PAIR and self.trial.seed == 0:
            raise RuntimeError("the emulator is gone")
        failure = "the loss was nan" if self.trial.method == PAIR else None
        return self.trial.result(rows_of(self.trial), failure, "run")

    monkeypatch.setattr(AgentTask, "run", run_one)
    (tmp_path / "differences.svg").write_text("of a command before")
    outcome = here(tiny(), tmp_path)
    assert outcome.failures == (
        f"minatar · minatar:breakout · {PAIR} · seed 0: RuntimeError: the emulator is gone",
        f"minatar · minatar:breakout · {PAIR} · seed 1: the loss was nan",
    )
    assert outcome.comparison is not None
    entry = outcome.comparison.entry(GAME, PAIR)
    assert (entry.seeds, entry.missing, [f.seed for f in entry.failures]) == ((), (0,), [1])
    assert outcome.comparison.entry(GAME, "nothing").seeds == (0, 1)
    assert not (tmp_path / "differences.svg").exists()
    nothing = here(tiny((PAIR,), seeds=1), tmp_path)
    assert (nothing.comparison, nothing.report, len(nothing.failures)) == (None, None, 1)
    assert not (tmp_path / "report.html").exists()
