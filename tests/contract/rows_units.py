"""Rows of the methods that reset units, and of their chains."""

from __future__ import annotations

from torch import nn

from hare_tortoise.methods import (
    ContinualBackprop,
    FromScratch,
    HareTortoise,
    ReDo,
    ReGraMa,
    SelfNormalizedReset,
)
from tests.contract.row import Bad, chain, row

NAN, INFINITE = float("nan"), float("inf")
NO_FUNCTION = Bad({"fresh": nn.Linear(1, 1)}, "fresh is a Linear, expected a function", TypeError)
THRESHOLD = tuple(Bad({"threshold": value}, "threshold is .*at least 0") for value in (-0.1, NAN, INFINITE))


def intervals(*names: str) -> tuple[Bad, ...]:
    return tuple(
        Bad({name: value}, f"{name} is .*at least 1") for name in names for value in (0, -3, 1.5, True)
    )


ROWS = [
    row(
        "redo",
        ReDo,
        NO_FUNCTION,
        *THRESHOLD,
        *intervals("every"),
        neutral={"threshold": 0.0},
        threshold=0.9,
        every=2,
    ),
    row(
        "regrama",
        ReGraMa,
        NO_FUNCTION,
        *THRESHOLD,
        *intervals("every"),
        Bad({"gradient": "biases"}, 'gradient is \'biases\', expected "weights" or "activations"'),
        neutral={"threshold": 0.0},
        threshold=0.8,
        every=3,
    ),
    row(
        "regrama(gradient=activations)",
        ReGraMa,
        neutral={"threshold": 0.0},
        threshold=0.8,
        every=3,
        gradient="activations",
    ),
    row(
        "continual-backprop",
        ContinualBackprop,
        NO_FUNCTION,
        *(Bad({"replacement_rate": rate}, "replacement_rate is .*from 0 to 1") for rate in (-0.1, 1.1, NAN)),
        *(Bad({"maturity": value}, "maturity is .*at least 0") for value in (-1, 1.5, True)),
        *(Bad({"decay": decay}, r"decay .*expected") for decay in (1.0, -0.1, NAN)),
        Bad({"utility": "weight"}, "utility is 'weight', expected \"contribution\" or"),
        neutral={"replacement_rate": 0.0},
        replacement_rate=0.1,
        maturity=1,
        decay=0.9,
    ),
    row(
        "continual-backprop(utility=adaptable-contribution)",
        ContinualBackprop,
        neutral={"replacement_rate": 0.0},
        replacement_rate=0.1,
        maturity=1,
        decay=0.9,
        utility="adaptable-contribution",
    ),
    row(
        "self-normalized-reset",
        SelfNormalizedReset,
        NO_FUNCTION,
        *(Bad({"percentile": value}, "percentile is .*at most 1") for value in (0, -0.1, 1.1, NAN)),
        *(Bad({"fires_above": value}, "fires_above is .*finite") for value in (NAN, INFINITE)),
        *intervals("tau_max", "every", "renew_every"),
        neutral={"fires_above": 0.0},
        percentile=0.8,
        tau_max=2,
        every=2,
        renew_every=4,
        fires_above=1.5,
    ),
    chain(
        "redo+hare-tortoise",
        lambda model: (
            ReDo(model, threshold=0.9, every=2),
            HareTortoise(model, decay=0.9, reset_every=3),
        ),
    ),
    chain(
        "from-scratch+continual-backprop+self-normalized-reset",
        lambda model: (
            FromScratch(model),
            ContinualBackprop(model, replacement_rate=0.2, maturity=0),
            SelfNormalizedReset(model, tau_max=2, every=1, renew_every=2, fires_above=1.5, seed=1),
        ),
    ),
    chain(
        "hare-tortoise+continual-backprop+regrama",
        lambda model: (
            HareTortoise(model, decay=0.9, reset_every=4),
            ContinualBackprop(model, replacement_rate=0.1, maturity=1),
            ReGraMa(model, threshold=0.8, every=3, seed=1),
        ),
    ),
]
