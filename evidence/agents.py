"""The lines of the evidence that are about agents, and the metrics that are kept of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evidence.records import short
from hare_tortoise.lab import files
from hare_tortoise.lab.trial import Result
from hare_tortoise.rl.experiment import AgentExperiment
from hare_tortoise.rl.recipes import find_agent
from hare_tortoise.rl.trial import AgentTrial, from_json, to_json

DATA = Path(__file__).parent.parent / "docs" / "results" / "agents"

NOTHING = "nothing"
SLOW = "ema(decay=0.999)"
HEAD = "head-reset"
SHRINK = "shrink-perturb(shrink=0.8, perturb=0.2, noise=fresh)+head-reset"


def hare_tortoise(decay: float, reset_every: int) -> str:
    """Write the method."""
    return f"hare-tortoise(decay={decay:g}, reset_every={reset_every})"


PAIR = hare_tortoise(0.999, 1_000)
ARMS = (NOTHING, SLOW, HEAD, SHRINK, PAIR)
SEQUENCE = tuple(f"minatar:{game}" for game in ("space_invaders", "asterix", "seaquest", "space_invaders"))


@dataclass(frozen=True)
class AgentLine:
    """A part of the evidence that is run and shown together.

    Args:
        name: of its folder.
        hours: core-hours of all of its trials here, one thread a worker.
        experiments: gives its experiments; a trial that two of them share is run once.
    """

    name: str
    hours: float
    experiments: Callable[[], Sequence[AgentExperiment]]

    def trials(self) -> list[AgentTrial]:
        """All of its trials, each once, seeds outermost."""
        found = {key(trial): trial for each in self.experiments() for trial in each.trials()}
        return sorted(found.values(), key=lambda trial: trial.seed)


def minatar() -> list[AgentExperiment]:
    """Two games at a high replay ratio."""
    recipe = find_agent("minatar").replace(steps=50_000, replay_ratio=4.0)
    games = (("minatar:breakout",), ("minatar:space_invaders",))
    return [AgentExperiment(recipe, games, ARMS, 5)]


def sweep() -> list[AgentExperiment]:
    """Decay and interval on Breakout."""
    recipe = find_agent("minatar").replace(steps=50_000, replay_ratio=4.0)
    pairs = tuple(hare_tortoise(decay, every) for decay in (0.99, 0.999) for every in (200, 1_000, 4_000))
    return [AgentExperiment(recipe, (("minatar:breakout",),), (NOTHING, SLOW, *pairs), 3)]


def sequence() -> list[AgentExperiment]:
    """Four games in sequence on one network."""
    recipe = find_agent("minatar").replace(steps=50_000, replay_ratio=1.0)
    return [AgentExperiment(recipe, (SEQUENCE,), ARMS, 3)]


def assault() -> list[AgentExperiment]:
    """One game of Atari on a CPU: a scalar value, one update a step."""
    recipe = find_agent("drq").replace(atoms=None, replay_ratio=1.0)
    return [AgentExperiment(recipe, (("atari:Assault",),), (SLOW, PAIR), 3)]


AGENT_LINES: Mapping[str, AgentLine] = {
    line.name: line
    for line in (
        AgentLine("minatar-sequence", 3.0, sequence),
        AgentLine("minatar", 8.0, minatar),
        AgentLine("minatar-sweep", 4.0, sweep),
        AgentLine("assault", 17.0, assault),
    )
}


@dataclass(frozen=True)
class AgentRecord:
    """What is kept of a finished trial."""

    trial: AgentTrial
    result: Result
    made_with: Mapping[str, str]


def key(trial: AgentTrial) -> str:
    """Name a trial by what it runs."""
    content = {name: value for name, value in to_json(trial).items() if name != "recipe"}
    content["recipe"] = trial.recipe.to_json()
    return hashlib.sha256(files.canonical(content).encode()).hexdigest()[:16]


def write(folder: Path, trial: AgentTrial, result: Result, made_with: Mapping[str, str]) -> None:
    """Keep a finished trial."""
    head = to_json(trial) | {"failure": result.failure, "made_with": dict(made_with)}
    lines = ",\n".join(json.dumps(short(row), separators=(",", ":")) for row in result.rows)
    folder.mkdir(parents=True, exist_ok=True)
    text = f'{{"trial":{json.dumps(head)},\n"rows":[\n{lines}\n]}}\n'
    files.write_atomic(folder / f"{key(trial)}.json", text.encode())


def read_all() -> dict[str, AgentRecord]:
    """Read what is kept of all lines, by key; some share trials."""
    found = {}
    for path in sorted(DATA.glob("*/*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        head = content["trial"]
        trial = from_json(head)
        result = trial.result(tuple(content["rows"]), head["failure"], path.stem)
        found[key(trial)] = AgentRecord(trial, result, head["made_with"])
    return found
