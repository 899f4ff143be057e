"""What executors run: a job, which is a trial of any kind, and what it tells on its way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hare_tortoise.lab.trial import Engine, Result


class StoppedError(RuntimeError):
    """The trial was asked to stop; its checkpoint is written."""


@dataclass(frozen=True)
class Moment:
    """Where a trial is.

    Args:
        done: how much of it, in what its kind counts: samples, or steps.
        place: the same in words.
        figure: how well it does, in words; empty where nothing is known yet.
    """

    done: int
    place: str
    figure: str = ""


Report = Callable[[Moment], bool]
"""Is told where a trial is; returns True to stop it."""


def go_on(_: Moment) -> bool:
    """Be told, and let it go on."""
    return False


def say_nothing(_: str) -> None:
    """Be told, and do nothing."""


class Named(Protocol):
    """What a person calls a trial, and how they are told of its result."""

    @property
    def label(self) -> str:
        """What a person calls it."""

    def told(self, result: Result) -> str:
        """What it came to, in a few words."""


class Job(Protocol):
    """A trial to run, and how; it is sent to another process."""

    @property
    def engine(self) -> Engine:
        """Device and threads."""

    def run(self, *, report: Report = go_on, note: Callable[[str], None] = say_nothing) -> Result:
        """Run the trial, or what is left of it, or only read its result.

        Args:
            report: is told twice a second where it is; returns True to stop it.
            note: is told of what a person should know, such as a damaged file that was removed.

        Raises:
            StoppedError: `report` asked for it.
            OSError: A file could not be written. What was written before is whole.
        """
