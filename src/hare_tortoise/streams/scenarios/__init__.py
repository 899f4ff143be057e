"""Scenarios: functions from a source to a stream; one file for each kind."""

from __future__ import annotations

from collections.abc import Callable

from hare_tortoise.streams.stream import Stream

from .growing import PAPER_NOISE as PAPER_NOISE
from .growing import growing as growing
from .growing import warm_start as warm_start
from .limited import limited as limited

SCENARIOS: dict[str, Callable[..., Stream]] = {
    "growing": growing,
    "limited": limited,
    "warm-start": warm_start,
}
