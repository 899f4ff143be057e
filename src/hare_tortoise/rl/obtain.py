"""Results of trials of agents: what the store holds is read, what is missing is run, alone or as populations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hare_tortoise.lab.archive import Results
from hare_tortoise.lab.obtain import at_once, run_jobs
from hare_tortoise.lab.outcome import UNFINISHED
from hare_tortoise.lab.progress import display
from hare_tortoise.lab.store import Store
from hare_tortoise.lab.trial import Engine, Result, run_name
from hare_tortoise.rl.environments import has_full_set
from hare_tortoise.rl.room import check_room, free_disk
from hare_tortoise.rl.task import AgentTask, PopulationTask, interrupted
from hare_tortoise.rl.trial import AgentTrial, identity


@dataclass(frozen=True)
class AgentBench:
    """Where and how agents are trained.

    Args:
        out: folder of the store.
        engine: device and threads.
        workers: trials, or populations, at the same time; None: one for each core, on a GPU one; 0: in this process.
        quiet: show no progress.
        checkpoint_every: seconds between checkpoints.
        together: train the seeds of a method in one process, over stacked weights; on a GPU those of all games.
    """

    out: Path
    engine: Engine
    workers: int | None = None
    quiet: bool = False
    checkpoint_every: float = 20.0
    together: bool = False

    def identities(self, wanted: Sequence[AgentTrial]) -> list[dict[str, Any]]:
        """Say what the result of each trial depends on."""
        return [identity(trial, self.engine, population=self.together) for trial in wanted]

    def missing(self, wanted: Sequence[AgentTrial], known: Sequence[dict[str, Any]]) -> list[list[int]]:
        """Find what has to be run: the places of trials, those of one process together.

        Args:
            wanted: the trials.
            known: their identities.

        Raises:
            ValueError: Their replays are larger than memory or disk.
        """
        store, names = Store(self.out), list(map(run_name, known))
        groups = self._groups(
            wanted, names, [n for n, name in enumerate(names) if store.finished(name) is None]
        )
        if groups:
            self._check_room(wanted, groups)
        return groups

    def obtain(
        self,
        wanted: Sequence[AgentTrial],
        known: Sequence[dict[str, Any]],
        groups: Sequence[Sequence[int]],
    ) -> list[Result | str]:
        """Give the result of each trial, or why there is none.

        Args:
            wanted: the trials.
            known: their identities.
            groups: what is run of them, as `missing` found it.
        """
        store = Store(self.out)
        results = [read(store, trial, run_name(each)) for trial, each in zip(wanted, known, strict=True)]
        missing = [place for group in groups for place in group]
        if not missing:
            return results
        notes, jobs = [], []
        for group in groups:
            job, note = self._job([wanted[place] for place in group], [known[place] for place in group])
            jobs.append(job)
            notes += [note] * bool(note)
        steps = [wanted[group[0]].steps for group in groups]
        with display(
            jobs, steps, 0 if self.together else len(wanted) - len(missing), quiet=self.quiet
        ) as shown:
            for note in dict.fromkeys(notes):
                shown.note(0, note)
            done = run_jobs(jobs, [known[place] for place in missing], store, shown, self.workers)
        for group, came in zip(groups, done, strict=True):
            for place in group:
                # of a population what came is the result of the first alone
                found = read(store, wanted[place], run_name(known[place])) if self.together else came
                results[place] = came if isinstance(found, str) and isinstance(came, str) else found
        return results

    def _groups(
        self, wanted: Sequence[AgentTrial], names: Sequence[str], missing: Sequence[int]
    ) -> list[list[int]]:
        """Places of what is trained in one process; populations that were interrupted are taken up as they were."""
        if not self.together:
            return [[place] for place in missing]
        left, old = list(missing), []
        for runs in interrupted(self.out):
            places = [names.index(run) for run in runs if run in names]
            if len(places) == len(runs) and set(places) & set(left):
                old.append(places)
                left = [place for place in left if place not in places]
        groups: dict[Any, list[int]] = {}
        for place in left:
            trial = wanted[place]
            alike = self.engine.device != "cpu" and all(map(has_full_set, trial.games))
            games = [game.partition(":")[0] for game in trial.games] if alike else trial.games
            groups.setdefault((trial.method, *games), []).append(place)
        return [*old, *groups.values()]

    def _job(
        self, trials: Sequence[AgentTrial], known: Sequence[Mapping[str, Any]]
    ) -> tuple[AgentTask | PopulationTask, str]:
        """What is run, and what is to be said of it before."""
        if not self.together:
            return AgentTask(trials[0], dict(known[0]), self.out, self.engine, self.checkpoint_every), ""
        room = check_room(trials, out=self.out, at_once=len(trials), device=self.engine.device, saved=False)
        kept = room.disk <= free_disk(self.out)
        note = (
            f"the replays of {len(trials)} agents take up to {room.disk:,} bytes on disk, more than are free: they are "
            "not saved, and what is interrupted is done again"
        )
        every = self.checkpoint_every if kept else None
        identities = tuple(dict(each) for each in known)
        return PopulationTask(tuple(trials), identities, self.out, self.engine, every), "" if kept else note

    def _check_room(self, wanted: Sequence[AgentTrial], groups: Sequence[Sequence[int]]) -> None:
        """Refuse what is trained at the same time, if it does not fit."""
        beside = at_once(self.engine, len(groups), self.workers)
        largest = sorted(groups, key=len, reverse=True)[:beside]
        trials = [wanted[place] for group in (largest if self.together else groups) for place in group]
        agents = sum(len(group) for group in largest)
        check_room(trials, out=self.out, at_once=agents, device=self.engine.device, saved=not self.together)


def read(store: Results, trial: AgentTrial, run: str) -> Result | str:
    """Read the result of a trial from a store, or say that there is none."""
    done = store.finished(run)
    return UNFINISHED if done is None else trial.result(*done, run)
