"""Rows of the penalties."""

from __future__ import annotations

from hare_tortoise.methods import (
    L2,
    L2Init,
    Parseval,
    SpectralDecoupling,
    SpectralRegularization,
    WassersteinInit,
)
from tests.contract.row import Bad, row

STRENGTH = tuple(
    Bad({"strength": value}, "strength is .*at least 0") for value in (-1.0, float("nan"), float("inf"))
)
NEUTRAL = {"strength": 0.0}

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
]
