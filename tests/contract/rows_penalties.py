"""Rows of the penalties."""

from __future__ import annotations

from torch import nn

from hare_tortoise.methods import (
    L2,
    HareTortoise,
    L2Init,
    Method,
    Parseval,
    SelfDistillation,
    SpectralDecoupling,
    SpectralRegularization,
    WassersteinInit,
)
from tests.contract.row import DECAY, Bad, chain, row

STRENGTH = tuple(
    Bad({"strength": value}, "strength is .*at least 0") for value in (-1.0, float("nan"), float("inf"))
)
NEUTRAL = {"strength": 0.0}


def taught_by_the_tortoise(model: nn.Module) -> tuple[Method, ...]:
    pair = HareTortoise(model, decay=0.9, reset_every=4)
    return pair, SelfDistillation(model, teacher=pair, strength=2.0)


ROWS = [
    row("l2", L2, *STRENGTH, neutral=NEUTRAL, strength=0.1),
    row(
        "l2-init(distance=huber)",
        L2Init,
        Bad({"distance": "l3"}, "distance is 'l3', expected"),
        neutral=NEUTRAL,
        strength=0.1,
        distance="huber",
    ),
    row("wasserstein-init", WassersteinInit, *STRENGTH, neutral=NEUTRAL, strength=0.1),
    row(
        "spectral-regularization",
        SpectralRegularization,
        *STRENGTH,
        *(Bad({"k": value}, "k is .*positive finite") for value in (0, -1, float("nan"))),
        neutral=NEUTRAL,
        strength=0.1,
    ),
    row(
        "parseval",
        Parseval,
        *STRENGTH,
        *(Bad({"scale": value}, "scale is .*positive finite") for value in (0, -1, float("inf"))),
        neutral=NEUTRAL,
        strength=0.1,
    ),
    row("spectral-decoupling", SpectralDecoupling, *STRENGTH, neutral=NEUTRAL, strength=0.1),
    row(
        "self-distillation",
        SelfDistillation,
        *STRENGTH,
        *DECAY,
        *(Bad({"temperature": value}, "temperature is .*positive finite") for value in (0, -1, float("nan"))),
        Bad({"teacher": 3}, "teacher is a int, expected a method", TypeError),
        Bad({"teacher": nn.Linear(2, 2), "decay": 0.5}, "decay is 0.5 beside a teacher"),
        neutral=NEUTRAL,
        strength=2.0,
        temperature=2.0,
    ),
    chain("hare-tortoise+self-distillation", taught_by_the_tortoise),
]
