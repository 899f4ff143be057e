"""Rows of the resets of weights, and of their chains."""

from __future__ import annotations

from hare_tortoise.methods import (
    DASH,
    FIRE,
    FullReset,
    HareTortoise,
    LastLayersReset,
    PlasticityInjection,
)
from tests.contract.row import FRESH, Bad, broken_initialiser, chain, other_network, row

NAMES = "fresh= must build a network with the model's names"
EVERY = tuple(Bad({"every": every}, "every is .*expected a whole number") for every in (0, -1, 1.5))
STATE = Bad({"optimizer_state": "drop"}, "optimizer_state is 'drop', expected")
AT_ONCE = {"every": 1, "optimizer_state": "keep"}

ROWS = [
    row(
        "full-reset",
        FullReset,
        FRESH[0],
        Bad(AT_ONCE | {"fresh": other_network}, NAMES, when="step"),
        Bad(AT_ONCE | {"fresh": lambda: 3}, r"fresh\(\) gave a int, expected a torch.nn.Module", when="step"),
        Bad(AT_ONCE | {"fresh": broken_initialiser}, "no weights on the disk", OSError, when="step"),
        Bad({"every": 1}, "no optimizer is attached", when="step"),
        *EVERY,
        STATE,
        neutral={"every": 1000},
        every=4,
    ),
    row("full-reset(optimizer_state=keep)", FullReset, every=4, optimizer_state="keep"),
    row(
        "last-layers-reset",
        LastLayersReset,
        *FRESH,
        *EVERY,
        STATE,
        Bad({"layers": 0}, "layers is 0, expected a number of at least 1, or names"),
        Bad({"layers": ()}, "layers is empty, expected names of modules"),
        Bad({"layers": "tail"}, "layers is 'tail', but the model has no such module; .*body, head"),
        Bad({"layers": ("head", "body.2")}, "layers is 'body.2', a module without parameters"),
        Bad({"layers": 2}, "order .* is not known before its first forward", RuntimeError, when="new_data"),
        Bad({"every": 1}, "no optimizer is attached", when="step"),
        layers="head",
        draws=True,
    ),
    row("last-layers-reset(every)", LastLayersReset, neutral={"every": 1000}, layers="head", every=2),
    row(
        "dash",
        DASH,
        *(Bad({"alpha": value}, "alpha is .*above 0 and at most 1") for value in (0.0, 1.1, float("nan"))),
        *(Bad({"lambda_": value}, "lambda_ is .*from 0 to 1") for value in (-0.1, 1.1, float("nan"))),
        Bad({}, "DASH takes gradients on the new data: give new_data", when="new_data"),
        neutral={"lambda_": 1.0},
    ),
    row(
        "fire",
        FIRE,
        *(Bad({"iterations": value}, "iterations is .*at least 1") for value in (0, -1, 1.5, True)),
        Bad({"layers": "tail*"}, r"layers has 'tail\*', which matches no .*body.0, head"),
        Bad({"layers": ()}, "layers is empty"),
        Bad({"parts": (False, False)}, "parts is .*True once at least"),
        Bad({"parts": (1, 0)}, "parts is .*True or False"),
        Bad({"parts": (True, True, True)}, "parts has 3 entries, but body.0 has 8 rows"),
    ),
    row("fire(layers)", FIRE, layers=("body*",), parts=(True, False), iterations=3),
    row(
        "plasticity-injection",
        PlasticityInjection,
        *FRESH,
        Bad({"head": "tail"}, "head is 'tail', but the model has no such module; .*body, head"),
        Bad({"head": "body.2"}, "head is 'body.2', a module without parameters"),
        head="head",
        draws=True,
    ),
    chain(
        "full-reset+hare-tortoise",
        lambda model: (FullReset(model, every=4), HareTortoise(model, decay=0.9, reset_every=3)),
    ),
    chain(
        "hare-tortoise+dash+fire",
        lambda model: (HareTortoise(model, decay=0.9, reset_every=4), DASH(model), FIRE(model)),
    ),
    chain(
        "plasticity-injection+hare-tortoise",
        lambda model: (
            PlasticityInjection(model, head="head"),
            HareTortoise(model, decay=0.9, reset_every=4),
        ),
    ),
]
