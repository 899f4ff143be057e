"""Small recipes and helpers for the tests of the laboratory."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hare_tortoise.lab.building import cached_source
from hare_tortoise.lab.job import Moment
from hare_tortoise.lab.progress import Silent
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.store import Run, Store
from hare_tortoise.lab.trial import Engine, Result, Row, Trial, identity
from hare_tortoise.lab.worker import Task
from hare_tortoise.streams import Augment

METHODS = (
    "from-scratch",
    "warm-start",
    "from-scratch+ema(decay=warmup(0.9))",
    "shrink-perturb(shrink=0.2, perturb=0.8)",
    "shrink-perturb(noise=initial)+hare-tortoise(decay=0.9, reset_every=7)",
    "head-reset+optimizer-reset",
    "l2-init(strength=0.01)",
    "hare-tortoise(decay=0.9, reset_every=7, optimizer_state=reset)",
)


def small(**changes: Any) -> Recipe:
    """A recipe whose trials take a fraction of a second."""
    values: dict[str, Any] = {
        "name": "small",
        "description": "a test",
        "scenario": "growing(chunks=2, label_noise=0.2)",
        "network": "mlp(hidden=(16,), batch_norm=True)",
        "methods": ("from-scratch", "warm-start"),
        "epochs": 2,
        "seeds": 1,
    }
    return Recipe(**{**values, **changes})


def convolutional(method: str) -> Recipe:
    """A recipe of a small residual network, whose kernels lie with the channels last."""
    return small(
        methods=(method,),
        network="narrow-resnet",
        source="generated(shape=(3, 16, 16), classes=3, rows=160, test_rows=32)",
        measures=("dormant-ratio", "hare-tortoise-distance"),
    )


def to_kill() -> Recipe:
    """Four trials of about a second each, for commands that are killed."""
    return small(name="killed", methods=(METHODS[4], METHODS[7]), seeds=2, epochs=20, evaluate_every=5)


def task_of(trial: Trial, out: Path, *, checkpoint_every: float = 20.0) -> Task:
    """A task of a trial on this CPU with one thread."""
    engine = Engine()
    known = identity(trial, cached_source(trial.recipe.source, None).digest, engine)
    return Task(trial, known, out, None, engine, checkpoint_every)


def run_of(task: Task) -> Run:
    """The folder of a task."""
    return Store(task.out).run(task.identity)


def timeless(rows: tuple[Row, ...] | list[Row]) -> list[Row]:
    """Rows without the wall clock."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


BAD_AFTER = 0


def bad(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """A network whose outputs are NaN after so many training steps."""
    return Bad(input_shape[0], outputs, BAD_AFTER)


def with_dropout(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """A network that draws from torch's global generator in every step."""
    return nn.Sequential(nn.Linear(input_shape[0], 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, outputs))


def jitter() -> Augment:
    """An augmentation that draws noise."""

    def augment(inputs: Tensor, generator: torch.Generator) -> Tensor:
        return inputs + 0.1 * torch.randn(inputs.shape, generator=generator)

    return augment


class Bad(nn.Module):
    """A network whose outputs are NaN from its n-th forward pass in training on."""

    def __init__(self, inputs: int, outputs: int, steps: int) -> None:
        super().__init__()
        self.head = nn.Linear(inputs, outputs)
        self.left = steps

    def forward(self, inputs: Tensor) -> Tensor:
        self.left -= self.training
        outputs: Tensor = self.head(inputs)
        return outputs * math.nan if self.left < 0 else outputs


class Heard(Silent):
    """Remembers what it is told."""

    def __init__(self, tasks: list[Task]) -> None:
        super().__init__([task.trial for task in tasks], [1000] * len(tasks))
        self.notes: list[str] = []
        self.crashes: dict[int, str] = {}
        self.results: dict[int, Result] = {}
        self.moments: list[tuple[int, Moment]] = []

    def note(self, index: int, text: str) -> None:
        self.notes.append(text)

    def moment(self, index: int, moment: Moment) -> None:
        super().moment(index, moment)
        self.moments.append((index, moment))

    def crashed(self, index: int, text: str) -> None:
        super().crashed(index, text)
        self.crashes[index] = text

    def finished(self, index: int, result: Result) -> None:
        super().finished(index, result)
        self.results[index] = result
