"""What a row of the contract table is, and what many rows share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from hare_tortoise.methods import Chain, Method

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
        draws: whether `new_data()` takes numbers from the method's generator.
    """

    name: str
    build: Build
    kind: type[Method]
    neutral: Mapping[str, Any] | None = None
    bad: tuple[Bad, ...] = field(default=())
    draws: bool = False


def row(
    name: str,
    kind: type[Method],
    *bad: Bad,
    neutral: Mapping[str, Any] | None = None,
    draws: bool = False,
    **settings: Any,
) -> Row:
    """Return the row of a single method with its settings."""

    def build(model: nn.Module, optimizer: Any = None, **other: Any) -> Method:
        return kind(model, optimizer, **(settings | other))

    return Row(name, build, kind, neutral, bad, draws)


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


def optimizers(model: nn.Module) -> list[Optimizer]:
    """Return two optimizers that share the parameters of a model between them."""
    parameters = list(model.parameters())
    return [torch.optim.AdamW(part, lr=0.01, weight_decay=0.01) for part in (parameters[:2], parameters[2:])]
