"""Rows of the penalties."""

from __future__ import annotations

from typing import Any

from torch import nn

from hare_tortoise.methods import (
    L2,
    CChain,
    HareTortoise,
    L2Init,
    Method,
    Parseval,
    SelfDistillation,
    SpectralDecoupling,
    SpectralRegularization,
    WassersteinInit,
)
from tests.contract.row import DECAY, Bad, Row, chain, row

STRENGTH = tuple(
    Bad({"strength": value}, "strength is .*at least 0") for value in (-1.0, float("nan"), float("inf"))
)
NEUTRAL = {"strength": 0.0}


def taught_by_the_tortoise(model: nn.Module) -> tuple[Method, ...]:
    pair = HareTortoise(model, decay=0.9, reset_every=4)
    return pair, SelfDistillation(model, teacher=pair, strength=2.0)


class NotTold(CChain):
    """Is not told of new data, so that it has references throughout the few steps of a check."""

    def new_data(self, *_: object, **__: object) -> None:
        pass

    @classmethod
    def build(cls, model: nn.Module, optimizer: Any = None, **other: Any) -> Method:
        settings = {"ratio": None, "strength": 5.0, "distance": "mse", "history": 2} | other
        return cls(model, optimizer, **settings)


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
        *(Bad({"k": value}, "k is .*at least 1") for value in (0, -1, 0.5, float("nan"))),
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
    row(
        "c-chain",
        CChain,
        *STRENGTH,
        *(Bad({"ratio": value}, "ratio is .*at least 0, or None") for value in (-1.0, float("nan"))),
        *(
            Bad({name: 0}, f"{name} is 0, expected a whole number")
            for name in ("history", "warmup", "window")
        ),
        Bad({"distance": "l2"}, "distance is 'l2', expected"),
        neutral={"strength": 0.0, "ratio": None},
        ratio=10.0,
        strength=5.0,
        warmup=2,
        window=3,
    ),
    Row("c-chain(history=2)", NotTold.build, CChain, neutral={"strength": 0.0}),
    chain("hare-tortoise+self-distillation", taught_by_the_tortoise),
]
