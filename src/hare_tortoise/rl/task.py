"""Trials of agents from their identities to their results: checkpointed, and the same if they are killed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hare_tortoise.lab import files
from hare_tortoise.lab.job import Report, go_on, say_nothing
from hare_tortoise.lab.store import Run, Store
from hare_tortoise.lab.training import DivergedError
from hare_tortoise.lab.trial import Engine, Result, Row, run_name
from hare_tortoise.rl.agent import Agent
from hare_tortoise.rl.building import build_population, build_training
from hare_tortoise.rl.session import Session, remove_frames
from hare_tortoise.rl.trial import AgentTrial, identity

Done = tuple[tuple[Row, ...], str | None]


@dataclass(frozen=True)
class AgentTask:
    """A trial of an agent to run, and how.

    Args:
        trial: what to run.
        identity: what its result depends on; names its folder.
        out: folder of the store.
        engine: device and threads.
        checkpoint_every: seconds between checkpoints.
    """

    trial: AgentTrial
    identity: dict[str, Any]
    out: Path
    engine: Engine
    checkpoint_every: float = 20.0

    @property
    def label(self) -> str:
        """What a person calls it."""
        return self.trial.label

    def told(self, result: Result) -> str:
        """What it came to, in a few words."""
        return self.trial.told(result)

    def run(self, *, report: Report = go_on, note: Callable[[str], None] = say_nothing) -> Result:
        """Run the trial, or what is left of it, or only read its result.

        Args:
            report: is told twice a second where it is; returns True to stop it.
            note: is told of each damaged file that was found and removed.

        Raises:
            StoppedError: `report` asked for it.
            RuntimeError: A game failed, or does not repeat the episode that was open; the last checkpoint is kept.
            OSError: A file could not be written. What was written before is whole.
        """
        run = Store(self.out).run(self.identity)
        run.folder.mkdir(parents=True, exist_ok=True)
        with files.locked(run.folder / "lock"):
            for line in run.open():
                note(line)
            if (done := ended(run)) is None:
                if identity(self.trial, self.engine) != self.identity:
                    raise RuntimeError("code or versions changed while the command ran; run it again")
                done = self._train(run, report, note)
        return self.trial.result(*done, run.folder.name)

    def _train(self, run: Run, report: Report, note: Callable[[str], None]) -> Done:
        build = partial(build_training, self.trial, self.engine.device)
        session = Session(run, build, checkpoint_every=self.checkpoint_every, report=report, note=note)
        training, failure = session.training, None
        try:
            session.train()
        except DivergedError as error:
            failure = str(error)
        return end(run, training.agents[0], training.rows[0], failure)


@dataclass(frozen=True)
class PopulationTask:
    """Trials of one recipe and method that are trained in lockstep in one process, over stacked weights.

    Each has a folder of its own once it has ended; until then there is one checkpoint for all. Where one diverges the
    others go on, and what is kept of it is its failure; where all do, the last checkpoint is kept.

    Args:
        trials: what to run; some may have ended, where a process was killed before it had written the results of all.
        identities: what the result of each depends on.
        out: folder of the store.
        engine: device and threads.
        checkpoint_every: seconds between checkpoints; None: there are none, as where the replays of all are larger than
            the disk, and a run that is interrupted is done again.
    """

    trials: tuple[AgentTrial, ...]
    identities: tuple[dict[str, Any], ...]
    out: Path
    engine: Engine
    checkpoint_every: float | None = 20.0

    @property
    def label(self) -> str:
        """What a person calls them."""
        first, seeds = self.trials[0], sorted({trial.seed for trial in self.trials})
        games = ", ".join(dict.fromkeys(trial.game for trial in self.trials))
        return f"{first.recipe.name} · {games} · {first.method} · seeds {', '.join(map(str, seeds))}"

    def told(self, result: Result) -> str:
        """What they came to, in a few words."""
        return f"{len(self.trials)} agents, the first: {self.trials[0].told(result)}"

    def results(self) -> list[Result | None]:
        """Read the result of each trial from the store; None where it has not ended."""
        pairs = zip(self.trials, self._runs(), strict=True)
        return [
            None if (done := run.finished()) is None else trial.result(*done, run.folder.name)
            for trial, run in pairs
        ]

    def run(self, *, report: Report = go_on, note: Callable[[str], None] = say_nothing) -> Result:
        """Run the trials, or what is left of them, and give the result of the first; `results` gives those of all.

        Args:
            report: is told twice a second where they are; returns True to stop them.
            note: is told of each damaged file that was found and removed.

        Raises:
            ValueError: They are no population.
            StoppedError: `report` asked for it.
            RuntimeError: A game failed, or does not repeat the episode that was open; the last checkpoint is kept.
            OSError: A file could not be written. What was written before is whole.
        """
        runs = self._runs()
        content = {"runs": [run.folder.name for run in runs]}
        group = Run(_populations(self.out) / run_name(content), content)
        with ExitStack() as locks:
            for each in (group, *runs):
                each.folder.mkdir(parents=True, exist_ok=True)
                locks.enter_context(files.locked(each.folder / "lock"))
                for line in each.open():
                    note(line)
            if any(ended(run) is None for run in runs):
                self._train(group, runs, report, note)
            if any(done is not None and done[1] is None for done in map(ended, runs)):
                group.forget()
                remove_frames(group.folder)
        first = self.results()[0]
        assert first is not None
        return first

    def _runs(self) -> list[Run]:
        return [Store(self.out).run(known) for known in self.identities]

    def _train(self, group: Run, runs: Sequence[Run], report: Report, note: Callable[[str], None]) -> None:
        now = tuple(identity(trial, self.engine, population=True) for trial in self.trials)
        if now != self.identities:
            raise RuntimeError("code or versions changed while the command ran; run it again")
        build = partial(build_population, self.trials, self.engine.device)
        every = math.inf if self.checkpoint_every is None else self.checkpoint_every
        session = Session(group, build, checkpoint_every=every, report=report, note=note)
        training = session.training
        with suppress(DivergedError):  # each agent's failure tells of it
            session.train()
        failures: Mapping[int, str] = training.tally.failures
        for place, run in enumerate(runs):
            if ended(run) is None:
                end(run, training.agents[place], training.rows[place], failures.get(place))


def interrupted(out: Path) -> list[list[str]]:
    """Find the populations of a store that wait to be taken up: the names of the runs of each, in its order."""
    checkpoints = sorted(_populations(out).glob("*/checkpoint.safetensors"))
    described = [path.with_name("trial.json") for path in checkpoints]
    return [list(files.read_json(path)["runs"]) for path in described if path.exists()]


def _populations(out: Path) -> Path:
    return out / "populations"


def ended(run: Run) -> Done | None:
    """Give rows and failure of a run that has ended, also if its process was killed before it wrote its result."""
    if (done := run.finished()) is not None:
        return done
    content = run.load()
    if content is None or "deployed" not in content:
        return None
    run.finish(content["rows"], None)
    remove_frames(run.folder)
    return run.finished()


def end(run: Run, agent: Agent, rows: list[Row], failure: str | None) -> Done:
    """Write final weights and result of an agent; where it failed, its last checkpoint is kept."""
    if failure is None:
        networks = {"deployed": agent.deployed.state_dict(), "online": agent.online.state_dict()}
        run.save({**networks, "rows": rows})
    run.finish(rows, failure)
    if failure is None:
        remove_frames(run.folder)
    done = run.finished()
    assert done is not None
    return done
