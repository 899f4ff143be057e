"""Scenarios: functions from a source to a stream; one file for each kind."""

from __future__ import annotations

from collections.abc import Callable

from hare_tortoise.streams.stream import Stream

from .class_incremental import class_incremental as class_incremental
from .drift import gradual as gradual
from .drift import rotated as rotated
from .easy_hard import easy_hard as easy_hard
from .growing import PAPER_NOISE as PAPER_NOISE
from .growing import growing as growing
from .growing import warm_start as warm_start
from .in_time_order import in_time_order as in_time_order
from .labels import random_labels as random_labels
from .labels import shuffled_labels as shuffled_labels
from .limited import limited as limited
from .pairs import pairs as pairs
from .permuted import permuted as permuted
from .slowly_changing import slowly_changing as slowly_changing

SCENARIOS: dict[str, Callable[..., Stream]] = {
    "class-incremental": class_incremental,
    "easy-hard": easy_hard,
    "gradual": gradual,
    "growing": growing,
    "in-time-order": in_time_order,
    "limited": limited,
    "pairs": pairs,
    "permuted": permuted,
    "random-labels": random_labels,
    "rotated": rotated,
    "shuffled-labels": shuffled_labels,
    "slowly-changing": slowly_changing,
    "warm-start": warm_start,
}
