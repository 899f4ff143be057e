"""One trial of an agent from its identity to its result: checkpointed, and bit for bit the same if it is killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hare_tortoise.lab import files
from hare_tortoise.lab.files import DamagedFileError
from hare_tortoise.lab.job import Moment, Report, StoppedError, go_on, say_nothing
from hare_tortoise.lab.store import Run, Store
from hare_tortoise.lab.training import DivergedError
from hare_tortoise.lab.trial import Engine, Result, Row
from hare_tortoise.rl.agent import Agent, build_agent
from hare_tortoise.rl.checkpoint import state_of, take_up
from hare_tortoise.rl.environments import (
    Environments,
    actions_of,
    has_full_set,
    legal_actions,
    make_environments,
)
from hare_tortoise.rl.evaluation import evaluate
from hare_tortoise.rl.measuring import Measured
from hare_tortoise.rl.replay_file import ReplayFile
from hare_tortoise.rl.training import Training
from hare_tortoise.rl.trial import ROWS_EVERY, AgentTrial, identity


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
            if (done := run.finished()) is None:
                if identity(self.trial, self.engine) != self.identity:
                    raise RuntimeError("code or versions changed while the command ran; run it again")
                done = self._finish(run, report, note)
        return self.trial.result(*done, run.folder.name)

    def _finish(
        self, run: Run, report: Report, note: Callable[[str], None]
    ) -> tuple[tuple[Row, ...], str | None]:
        content = run.load()
        if content is not None and "deployed" in content:
            return _done(run, content["rows"], None)  # its process was killed before it wrote its result
        training = build_training(self.trial, self.engine.device)
        try:
            try:
                session = _Session(run, training, self.checkpoint_every, report)
            except (DamagedFileError, FileNotFoundError) as error:
                note(f"{error}; removed with its checkpoint, the run is done again from its beginning")
                run.forget()
                remove_frames(run.folder)
                training.close()
                training = build_training(self.trial, self.engine.device)
                session = _Session(run, training, self.checkpoint_every, report)
            return session.finish()
        finally:
            training.close()


def build_training(trial: AgentTrial, device: str = "cpu") -> Training:
    """Build a trial's agent and all that it is trained with.

    Raises:
        ValueError: Something that the trial names is not there, or does not fit the rest.
    """
    padded = len(trial.games) > 1 and has_full_set(trial.games[0])

    def make(names: Sequence[str]) -> Environments:
        return make_environments(names, padded=padded)

    def games(phase: int) -> Environments:
        return make([trial.games[phase]])

    def play(agent: Agent, _: int, step: int, last: bool) -> dict[str, list[float]]:
        judging, now = trial.judging, trial.games[(step - 1) // trial.recipe.steps]
        asked = dict.fromkeys(trial.games) if last else (now,)
        count = judging.episodes if last else judging.curve_episodes
        return {game: evaluate(agent, game, episodes=count, seed=trial.seed, make=make) for game in asked}

    environments = make(tuple(dict.fromkeys(trial.games)))
    spaces = dict(zip(environments.names, environments.spaces, strict=True))
    environments.close()
    outputs = actions_of(trial.games[0]) if padded else legal_actions(environments.spaces).shape[1]
    agent = build_agent(
        trial.recipe, spaces[trial.games[0]], trial.method, trial.seed, actions=outputs, device=device
    )
    judging = trial.judging
    return Training(
        [agent],
        games,
        [trial.seed],
        phases=len(trial.games),
        rows_every=ROWS_EVERY,
        measured=Measured(evaluate=play, evaluate_every=judging.curve_every, every=judging.measure_every),
    )


class _Session:
    """A training with its run: taken up, told of, and checkpointed."""

    def __init__(self, run: Run, training: Training, checkpoint_every: float, report: Report) -> None:
        self.run, self.training, self.report = run, training, report
        self.checkpoint_every = checkpoint_every
        content = run.load()
        if content is not None:
            take_up(training, content["training"])
        self.frames = self._frames()
        if content is not None:
            self.frames.restore(training.replay, content["frames"])
        self.report_due = time.perf_counter()
        self.checkpoint_due = self.report_due + checkpoint_every

    def finish(self) -> tuple[tuple[Row, ...], str | None]:
        """Train to the end, and give rows and failure."""
        training, failure = self.training, None
        try:
            while not training.done:
                training.advance()
                self._look_up()
            agent, rows = training.agents[0], training.rows[0]
            networks = {"deployed": agent.deployed.state_dict(), "online": agent.online.state_dict()}
            self.run.save({**networks, "rows": rows})
        except DivergedError as error:
            failure = str(error)
        return _done(self.run, training.rows[0], failure)

    def _look_up(self) -> None:
        """Tell where the training is, and save it, where it is time."""
        now = time.perf_counter()
        stop = now >= self.report_due and self._tell(now)
        if self.training.done:
            return
        if stop or now >= self.checkpoint_due:
            self._save()
        if stop:
            raise StoppedError("stopped on request; the checkpoint is written")

    def _tell(self, now: float) -> bool:
        self.report_due = now + 0.5
        training = self.training
        rate = training.steps / training.seconds if training.seconds else 0.0
        returns = [row["return"] for row in training.rows[0] if row["return"] is not None]
        place = f"step {training.steps:,}, {rate:.0f}/s"
        return self.report(Moment(training.steps, place, f"{returns[-1]:.2f}" if returns else ""))

    def _save(self) -> None:
        state = state_of(self.training)
        if self.frames.path != self._frames().path:
            self.frames = self._frames()  # another phase has begun
        frames = self.frames.append(self.training.replay)
        self.run.save({"training": state, "frames": frames})
        remove_frames(self.run.folder, but=self.frames)
        self.checkpoint_due = time.perf_counter() + self.checkpoint_every

    def _frames(self) -> ReplayFile:
        return ReplayFile(self.run.folder / f"replay-{self.training.phase}.frames")


def _done(run: Run, rows: list[Row], failure: str | None) -> tuple[tuple[Row, ...], str | None]:
    """Write the result; where it failed, its last checkpoint is kept."""
    run.finish(rows, failure)
    if failure is None:
        remove_frames(run.folder)
    done = run.finished()
    assert done is not None
    return done


def remove_frames(folder: Path, *, but: ReplayFile | None = None) -> None:
    """Remove the frames of a run that no checkpoint needs any more; all of them once it has ended."""
    kept = set() if but is None else {but.current}
    for path in folder.glob("replay-*.frames"):
        if path not in kept:
            path.unlink()
