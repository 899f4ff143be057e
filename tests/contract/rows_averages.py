"""Rows of the averages, of what they are compared with, and of their chains."""

from __future__ import annotations

from torch import nn

from hare_tortoise.methods import (
    EMA,
    FromScratch,
    HareTortoise,
    HeadReset,
    L2Init,
    OptimizerReset,
    ShrinkPerturb,
    SwitchEMA,
    WarmStart,
    warmup,
)
from tests.contract.row import DECAY, FRESH, INTERVAL, Bad, chain, row

ROWS = [
    row("from-scratch", FromScratch, *FRESH, draws=True),
    row("warm-start", WarmStart, neutral={}),
    row("ema", EMA, *DECAY, neutral={}, decay=0.9),
    row("ema(decay=warmup)", EMA, neutral={}, decay=warmup(0.9)),
    row(
        "hare-tortoise",
        HareTortoise,
        *DECAY,
        *INTERVAL,
        Bad({"buffers": "mean"}, "buffers .*average"),
        Bad({"optimizer_state": "drop"}, "optimizer_state .*keep"),
        Bad({"tortoise": nn.Linear(2, 2)}, "tortoise"),
        neutral={"reset_every": None},
        decay=0.9,
        reset_every=2,
    ),
    row(
        "hare-tortoise(optimizer_state=reset)",
        HareTortoise,
        neutral={"decay": 0.0, "reset_every": 1, "optimizer_state": "keep"},
        decay=0.9,
        reset_every=2,
        optimizer_state="reset",
    ),
    row("switch-ema", SwitchEMA, *DECAY, *INTERVAL, neutral={"reset_every": None}, decay=0.9, reset_every=2),
    row(
        "l2-init",
        L2Init,
        *(
            Bad({"strength": value}, "strength is .*at least 0")
            for value in (-1.0, float("nan"), float("inf"))
        ),
        neutral={"strength": 0.0},
        strength=0.1,
    ),
    row(
        "shrink-perturb",
        ShrinkPerturb,
        *FRESH,
        *(Bad({"shrink": value}, "shrink is .*from 0 to 1") for value in (-0.1, 1.1, float("nan"))),
        *(Bad({"perturb": value}, "perturb is .*at least 0") for value in (-0.1, float("nan"), float("inf"))),
        Bad({"noise": "gaussian"}, 'noise is \'gaussian\', expected "fresh" or "initial"'),
        neutral={"shrink": 1.0, "perturb": 0.0},
        draws=True,
    ),
    row(
        "shrink-perturb(noise=initial)",
        ShrinkPerturb,
        Bad({"fresh": 3}, "fresh is a int, expected a function", TypeError),
        neutral={"shrink": 1.0, "perturb": 0.0},
        noise="initial",
    ),
    row(
        "head-reset",
        HeadReset,
        *FRESH,
        Bad({"head": "tail"}, "head is 'tail', but the model has no such module; .*body, head"),
        Bad({"head": "body.tail"}, "'tail' was looked for there are: 0, 1, 2, 3"),
        Bad({"head": "body.2"}, "head is 'body.2', a module without parameters"),
        Bad({"to": "zero"}, 'to is \'zero\', expected "fresh" or "initial"'),
        head="head",
        draws=True,
    ),
    row("head-reset(to=initial)", HeadReset, head="head", to="initial"),
    row("optimizer-reset", OptimizerReset),
    chain(
        "hare-tortoise+l2-init",
        lambda model: (HareTortoise(model, decay=0.9, reset_every=2), L2Init(model, strength=0.1)),
    ),
    chain(
        "from-scratch+optimizer-reset+ema",
        lambda model: (FromScratch(model), OptimizerReset(model), EMA(model, decay=0.9)),
    ),
    chain(
        "shrink-perturb+head-reset+hare-tortoise",
        lambda model: (
            ShrinkPerturb(model),
            HeadReset(model, head="head", seed=1),
            HareTortoise(model, decay=0.9, reset_every=4),
        ),
    ),
    chain(
        "hare-tortoise+ema",
        lambda model: (HareTortoise(model, decay=0.95, reset_every=2), EMA(model, decay=0.5)),
        deployed=1,
    ),
]
