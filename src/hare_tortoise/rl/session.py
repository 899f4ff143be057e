"""A training with a folder: taken up from its last checkpoint, told of, checkpointed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from hare_tortoise.lab.files import DamagedFileError
from hare_tortoise.lab.job import Moment, Report, StoppedError
from hare_tortoise.lab.store import Run
from hare_tortoise.rl.checkpoint import state_of, take_up
from hare_tortoise.rl.replay_file import ReplayFile
from hare_tortoise.rl.training import Training


class Session:
    """A training under way, whose checkpoints lie in the folder of a run.

    Args:
        run: whose folder it is.
        build: gives the training at its beginning.
        checkpoint_every: seconds between checkpoints; infinity: there are none.
        report: is told twice a second where it is; returns True to stop it.
        note: is told of a checkpoint that was damaged and removed.
    """

    def __init__(
        self,
        run: Run,
        build: Callable[[], Training],
        *,
        checkpoint_every: float,
        report: Report,
        note: Callable[[str], None],
    ) -> None:
        self.run, self.report, self.checkpoint_every = run, report, checkpoint_every
        self.training = build()
        try:
            try:
                self._take_up()
            except (DamagedFileError, FileNotFoundError) as error:
                note(f"{error}; removed with its checkpoint, the run is done again from its beginning")
                run.forget()
                remove_frames(run.folder)
                self.training.close()
                self.training = build()
                self._take_up()
        except BaseException:
            self.training.close()
            raise
        self.report_due = time.perf_counter()
        self.checkpoint_due = self.report_due + checkpoint_every

    def train(self) -> None:
        """Train to the end.

        Raises:
            DivergedError: The loss of every agent was not finite; the last checkpoint is kept.
            StoppedError: `report` asked for it; the checkpoint is written, where there are any.
        """
        try:
            while not self.training.done:
                self.training.advance()
                self._look_up()
        finally:
            self.training.close()

    def _take_up(self) -> None:
        content = self.run.load()
        if content is not None:
            take_up(self.training, content["training"])
        self.frames = self._frames()
        if content is not None:
            self.frames.restore(self.training.replay, content["frames"])

    def _look_up(self) -> None:
        """Tell where the training is, and save it, where it is time."""
        now = time.perf_counter()
        stop = now >= self.report_due and self._tell(now)
        if self.training.done:
            return
        if now >= self.checkpoint_due or (stop and self.checkpoint_every < math.inf):
            self._save()
        if stop:
            raise StoppedError("stopped on request")

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


def remove_frames(folder: Path, *, but: ReplayFile | None = None) -> None:
    """Remove the frames of a run that no checkpoint needs any more; all of them once it has ended."""
    kept = set() if but is None else {but.current}
    for path in folder.glob("replay-*.frames"):
        if path not in kept:
            path.unlink()
