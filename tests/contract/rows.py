"""The table of the contract: a row for each method. A new method adds its row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from hare_tortoise.methods import (
    EMA,
    Chain,
    FromScratch,
    HareTortoise,
    HeadReset,
    L2Init,
    Method,
    OptimizerReset,
    ShrinkPerturb,
    SwitchEMA,
    WarmStart,
    warmup,
)

Build = Callable[..., Method]


@dataclass(frozen=True)
class Bad:
    """An input that must be refused: what is given, when that is noticed, and what is said."""

    settings: Mapping[str, Any]
    message: str
    kind: type[Exception] = ValueError
    when: Literal["build", "new_data", "step"] = "build"


@dataclass(frozen=True)
class Row:
    """A method of the contract table.

    Args:
        build: gets a model, an optimizer or several or None, and settings in place of those of the row.
        kind: the class; it is looked for by the test that no method is left out.
        neutral: settings with which training is what it is without the method; None where there are none.
        bad: inputs that must be refused, beside those that every method must refuse.
    """

    name: str
    build: Build
    kind: type[Method]
    neutral: Mapping[str, Any] | None = None
    bad: tuple[Bad, ...] = field(default=())


def row(
    name: str, kind: type[Method], *bad: Bad, neutral: Mapping[str, Any] | None = None, **settings: Any
) -> Row:
    """Return the row of a single method with its settings."""

    def build(model: nn.Module, optimizer: Any = None, **other: Any) -> Method:
        return kind(model, optimizer, **(settings | other))

    return Row(name, build, kind, neutral, bad)


def chain(
    name: str, members: Callable[[nn.Module], tuple[Method, ...]], *, deployed: int | None = None
) -> Row:
    """Return the row of a chain; `deployed` is the position of the member that is deployed."""

    def build(model: nn.Module, optimizer: Any = None) -> Method:
        parts = members(model)
        return Chain(*parts, optimizer=optimizer, deployed=None if deployed is None else parts[deployed])

    return Row(name, build, Chain)


def other_network() -> nn.Module:
    return nn.Linear(2, 2)


def broken_initialiser() -> nn.Module:
    raise OSError("no weights on the disk")


FRESH = (
    Bad({"fresh": nn.Linear(1, 1)}, "fresh is a Linear, expected a function", TypeError),
    Bad({"fresh": other_network}, "fresh= must build a network with the model's names", when="new_data"),
    Bad({"fresh": lambda: 3}, r"fresh\(\) gave a int, expected a torch.nn.Module", when="new_data"),
    Bad({"fresh": broken_initialiser}, "no weights on the disk", OSError, when="new_data"),
)
DECAY = tuple(Bad({"decay": decay}, r"decay .*expected") for decay in (1.0, -0.1, float("nan"), float("inf")))
INTERVAL = tuple(Bad({"reset_every": interval}, r"reset_every .*expected") for interval in (0, -3))

ROWS = [
    row("from-scratch", FromScratch, *FRESH),
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


def optimizers(model: nn.Module) -> list[Optimizer]:
    """Return two optimizers that share the parameters of a model between them."""
    parameters = list(model.parameters())
    return [torch.optim.AdamW(part, lr=0.01, weight_decay=0.01) for part in (parameters[:2], parameters[2:])]
