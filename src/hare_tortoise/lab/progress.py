"""What a person sees while trials run: a live display in a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hare_tortoise.lab.job import Moment, Named
from hare_tortoise.lab.trial import Result


@dataclass
class Tally:
    """How far a list of trials is, in samples, and how long the rest will take.

    Args:
        samples: that each trial will process.
        began: when the first one started, in seconds.
    """

    samples: Sequence[int]
    began: float = field(default_factory=time.monotonic)
    processed: dict[int, int] = field(default_factory=dict)
    skipped: dict[int, int] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)

    def moment(self, index: int, samples: int) -> None:
        """Note how far a trial is. What it did before this command, it does not do again."""
        self.skipped.setdefault(index, samples)
        self.processed[index] = samples

    def end(self, index: int) -> None:
        """Note that a trial is over."""
        self.ended.add(index)
        self.processed[index] = self.samples[index]

    @property
    def share(self) -> float:
        """Share of all samples that are processed, 0 … 1."""
        return sum(self.processed.values()) / max(1, sum(self.samples))

    def seconds_left(self, now: float) -> float | None:
        """Estimate the time left from the rate so far; None before there is one."""
        done = sum(count - self.skipped.get(index, 0) for index, count in self.processed.items())
        if done <= 0 or now <= self.began:
            return None
        return (sum(self.samples) - sum(self.processed.values())) * (now - self.began) / done


def clock(seconds: float | None) -> str:
    """Write a duration.

    Example:
        >>> clock(75), clock(3700), clock(None)
        ('1:15', '1:01:40', '-:--')
    """
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Silent:
    """Shows nothing; also the base of those that show something.

    Args:
        trials: what will run.
        samples: that each of them will process.
        done: how many trials of the command were finished before.
    """

    def __init__(self, trials: Sequence[Named], samples: Sequence[int], done: int = 0) -> None:
        self.trials, self.done = trials, done
        self.tally = Tally(samples)
        self.crashes: dict[int, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def started(self, index: int, worker: int) -> None:
        """A worker has begun a trial."""

    def moment(self, index: int, moment: Moment) -> None:
        """A trial is under way."""
        self.tally.moment(index, moment.done)

    def note(self, index: int, text: str) -> None:
        """Something that a person should know."""

    def finished(self, index: int, result: Result) -> None:
        """A trial has its result."""
        self.tally.end(index)

    def crashed(self, index: int, text: str) -> None:
        """A trial has no result."""
        self.tally.end(index)
        self.crashes[index] = text

    @property
    def _counted(self) -> str:
        ended, known = len(self.tally.ended) + self.done, len(self.trials) + self.done
        return f"{ended}/{known} trials"


class Lines(Silent):
    """Prints a line for each trial that ends: for logs."""

    def __init__(self, trials: Sequence[Named], samples: Sequence[int], done: int, console: Console) -> None:
        super().__init__(trials, samples, done)
        self.console = console

    def note(self, index: int, text: str) -> None:
        """Print it."""
        self._print(text)

    def finished(self, index: int, result: Result) -> None:
        """Print the result."""
        super().finished(index, result)
        self._end(index, self.trials[index].told(result))

    def crashed(self, index: int, text: str) -> None:
        """Print what happened."""
        super().crashed(index, text)
        self._end(index, f"failed: {text}")

    def _end(self, index: int, text: str) -> None:
        left = clock(self.tally.seconds_left(time.monotonic()))
        self._print(f"{self._counted}, {left} left · {self.trials[index].label} · {text}")

    def _print(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class Terminal(Lines):
    """A live display: all trials, and a line for each that is under way."""

    def __init__(self, trials: Sequence[Named], samples: Sequence[int], done: int, console: Console) -> None:
        super().__init__(trials, samples, done, console)
        self.running: dict[int, tuple[int, Moment | None]] = {}
        self.live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def started(self, index: int, worker: int) -> None:
        """Give the trial its line."""
        self.running = {i: (w, m) for i, (w, m) in self.running.items() if w != worker}
        self.running[index] = (worker, None)

    def moment(self, index: int, moment: Moment) -> None:
        """Renew the line of the trial."""
        super().moment(index, moment)
        self.running[index] = (self.running[index][0], moment)

    def _end(self, index: int, text: str) -> None:
        self.running.pop(index, None)
        if text.startswith("failed"):
            super()._end(index, text)

    def _render(self) -> RenderableType:
        left = clock(self.tally.seconds_left(time.monotonic()))
        whole = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=1.0, completed=self.tally.share, width=30)
        whole.add_row(Text(self._counted, style="bold"), bar, f"{self.tally.share:4.0%}", f"{left} left")
        lines = Table.grid(padding=(0, 2))
        for index, (_, moment) in sorted(self.running.items(), key=lambda item: item[1][0]):
            place, figure = (moment.place, moment.figure) if moment else ("starting", "")
            lines.add_row(Text(self.trials[index].label, overflow="ellipsis", no_wrap=True), place, figure)
        return Group(whole, lines)


def display(
    trials: Sequence[Named], samples: Sequence[int], done: int, *, quiet: bool, console: Console | None = None
) -> Silent:
    """Choose how to show the trials: nothing if `quiet`, live in a terminal, else plain lines."""
    console = console or Console(stderr=True)
    if quiet:
        return Silent(trials, samples, done)
    return (Terminal if console.is_terminal else Lines)(trials, samples, done, console)
