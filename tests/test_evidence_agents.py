"""The evidence of agents: kept small, found again by what was run alone, each trial of a known line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from evidence import agent_pages, agents, run_agents
from evidence.agents import AGENT_LINES, AgentLine
from hare_tortoise.rl.experiment import AgentExperiment
from hare_tortoise.rl.recipes import find_agent
from hare_tortoise.rl.trial import Judging, from_json, to_json
from tests.rl.agent_results import rows_of

LARGEST = 64 * 1024


def small(seeds: int = 3) -> AgentExperiment:
    values = {"steps": 1_000, "warm_up": 300, "replay_ratio": 0.02, "hidden": 8, "batch": 4}
    recipe = find_agent("minatar").replace(**values)
    methods = ("nothing", agents.SLOW, agents.PAIR)
    return AgentExperiment(recipe, (("minatar:breakout",),), methods, seeds, Judging(episodes=2))


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AgentLine:
    """A line of nine trials, whose data and runs lie in a folder of the test."""
    made = AgentLine("small", 0.1, lambda: [small()])
    monkeypatch.setattr(agents, "DATA", tmp_path / "data")
    monkeypatch.setattr(run_agents, "STORE", tmp_path / "runs")
    for module in (agents, agent_pages, run_agents):
        monkeypatch.setattr(module, "AGENT_LINES", {"small": made})
    return made


def test_lines_have_the_trials_that_the_issue_asks_for_each_once() -> None:
    counts = {name: len(line.trials()) for name, line in AGENT_LINES.items()}
    assert counts == {"minatar-sequence": 15, "minatar": 50, "minatar-sweep": 24, "assault": 6}
    shared = {agents.key(t) for t in AGENT_LINES["minatar"].trials()} & {
        agents.key(t) for t in AGENT_LINES["minatar-sweep"].trials()
    }
    assert len(shared) == 9  # three cells of the sweep, with three seeds


@pytest.mark.parametrize("name", sorted(AGENT_LINES))
def test_what_is_committed_belongs_to_its_line(name: str) -> None:
    wanted = {agents.key(trial) for trial in AGENT_LINES[name].trials()}
    for path in (agents.DATA / name).glob("*.json"):
        assert path.stem in wanted
        assert path.stat().st_size <= LARGEST


def test_what_is_kept_is_read_again(line: AgentLine) -> None:
    trial = line.trials()[0]
    result = trial.result(rows_of(trial), None, "run")
    agents.write(
        agents.DATA / "small", trial, result, {"torch": "2.13", "python": "3.11", "processor": "an abacus"}
    )
    (record,) = agents.read_all().values()
    assert record.trial == from_json(json.loads(json.dumps(to_json(trial))))
    for name, returns in result.rows[-1]["evaluations"].items():
        assert record.result.rows[-1]["evaluations"][name] == pytest.approx(returns, rel=1e-5)
    assert record.made_with["processor"] == "an abacus"


def test_the_pages_say_what_is_missing_and_show_what_is_there(line: AgentLine) -> None:
    assert agent_pages.contents() == {
        "agents-small.md": "No trial of this line is finished yet.\n",
        "agents-progress.md": "| line | trials | core-hours of the whole |\n| --- | ---: | ---: |\n"
        "| `small` | 0 of 9 | 0.1 |\n",
    }
    made_with = {"torch": "2.13", "python": "3.11", "processor": "an abacus"}
    for trial in line.trials()[:8]:
        agents.write(agents.DATA / "small", trial, trial.result(rows_of(trial), None, "run"), made_with)
    found = agent_pages.contents()
    assert "**1 of 9 trials are not finished yet.**" in found["agents-small.md"]
    assert "an abacus" in found["agents-small.md"]
    assert "| Hare & Tortoise |" in found["agents-small.md"]
    assert found["agents-small.svg"].startswith("<svg")
    assert "| `small` | 8 of 9 | 0.1 |" in found["agents-progress.md"]


def test_a_population_is_run_and_kept_and_not_run_again(
    line: AgentLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hare_tortoise.lab.executor import Inline

    console = Console(file=io.StringIO(), width=200)
    monkeypatch.setattr(run_agents, "Processes", lambda workers: Inline())
    monkeypatch.setattr(run_agents, "Console", lambda: console)
    assert run_agents.main(["small"], workers=2, limit=1) == 0
    assert len(list(agents.DATA.rglob("*.json"))) == 3  # the three seeds of the first method
    assert run_agents.main(["small"], workers=2) == 0
    assert len(agents.read_all()) == 9
    assert run_agents.main(["small"], workers=2) == 0
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert [line for line in told.splitlines() if "missing" in line] == [
        f"small: {count} of 9 trials are missing, on 2 workers" for count in (9, 6, 0)
    ]
