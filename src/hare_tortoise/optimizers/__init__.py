"""Gradient steps that keep plasticity: optimizers for any training loop, and their names for the laboratory.

UPGD and AdaUPGD are ours; SAM and TRAC are those of pytorch-optimizer (the extra `optimizers`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch.optim import Optimizer

from hare_tortoise.optimizers.library import sam as sam
from hare_tortoise.optimizers.library import trac as trac
from hare_tortoise.optimizers.upgd import UPGD as UPGD
from hare_tortoise.optimizers.upgd import AdaUPGD as AdaUPGD


@dataclass(frozen=True)
class Entry:
    """An optimizer by name.

    Args:
        build: of the parameters, `lr`, `weight_decay` and settings of its own.
        closure: whether its step must be given a closure, which zeroes the gradients, computes them and returns the
            loss, and which it calls more than once.
    """

    build: Callable[..., Optimizer]
    closure: bool = False


OPTIMIZERS: dict[str, Entry] = {
    "ada-upgd": Entry(AdaUPGD),
    "sam": Entry(sam, closure=True),
    "trac": Entry(trac),
    "upgd": Entry(UPGD),
}

__all__ = ["OPTIMIZERS", "UPGD", "AdaUPGD", "Entry", "sam", "trac"]
