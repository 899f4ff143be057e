"""Games that follow a script, and an engine that only notes what it is asked: every number of a training is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hare_tortoise.rl.interface import Arrival, Space
from hare_tortoise.rl.lockstep import Lockstep
from hare_tortoise.rl.losses import Loss
from hare_tortoise.rl.replay import Batch

SPACE = Space((1,), torch.float32, actions=2, lives=True)


@dataclass(frozen=True)
class Step:
    """What a game answers to an action."""

    reward: float = 0.0
    lives: int = 0
    ended: bool = False
    truncated: bool = False


@dataclass(frozen=True)
class Episode:
    """The lives that a game begins with, and its steps; the last one goes on for ever where it does not end."""

    lives: int
    steps: tuple[Step, ...]


class Scripted(Lockstep):
    """One game for each script; episode e of it is the e-th of the script, the last one again and again.

    The observation after t steps of episode e is `100 · e + t + 1`: never 0, and never twice.

    Args:
        scripts: of each game.
        log: is told of all calls.
    """

    def __init__(
        self, scripts: Sequence[Sequence[Episode]], log: list[Any] | None = None, space: Space = SPACE
    ) -> None:
        super().__init__([f"script {number}" for number in range(len(scripts))], [space] * len(scripts))
        self.scripts, self.log = scripts, [] if log is None else log
        self.begun = [0] * len(scripts)
        self.at = [0] * len(scripts)
        self.seeds: list[list[int]] = [[] for _ in scripts]
        self.closed = False

    def episode(self, number: int) -> Episode:
        return self.scripts[number][min(self.begun[number], len(self.scripts[number])) - 1]

    def _start(self, which: list[int], seeds: list[int]) -> Arrival:
        self.log.append(("start", tuple(which)))
        for number, seed in zip(which, seeds, strict=True):
            self.begun[number] += 1
            self.at[number] = 0
            self.seeds[number].append(seed)
        return self.told([(number, Step(lives=self.episode(number).lives)) for number in which])

    def _send(self, actions: list[int]) -> None:
        self.log.append(("send", tuple(actions)))

    def _receive(self) -> Arrival:
        self.log.append(("receive",))
        steps = []
        for number in range(len(self.scripts)):
            script = self.episode(number).steps
            steps.append((number, script[min(self.at[number], len(script) - 1)]))
            self.at[number] += 1
        return self.told(steps)

    def _close(self) -> None:
        self.closed = True

    def told(self, steps: Sequence[tuple[int, Step]]) -> Arrival:
        seen = [float(100 * (self.begun[number] - 1) + self.at[number] + 1) for number, _ in steps]
        return Arrival(
            torch.tensor(seen)[:, None],
            torch.tensor([step.reward for _, step in steps]),
            torch.tensor([step.ended for _, step in steps]),
            torch.tensor([step.truncated for _, step in steps]),
            torch.tensor([step.lives for _, step in steps]),
        )


class Noting:
    """An engine that learns nothing, and notes what it is given.

    Args:
        log: is told of all calls.
        losses: of its updates, one after the other, of all agents alike.
    """

    def __init__(self, log: list[Any], losses: Sequence[float] = ()) -> None:
        self.log, self.losses = log, list(losses)
        self.stacks: list[list[list[float]]] = []
        self.epsilons: list[float] = []
        self.batches: list[Batch] = []
        self.weights: list[Tensor | None] = []

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        assert not state

    def act(self, stacks: Tensor, epsilon: float, play: Any, noise: Any) -> Tensor:
        self.log.append(("act",))
        self.stacks.append(stacks.squeeze(-1).tolist())
        self.epsilons.append(epsilon)
        return torch.ones(len(stacks), dtype=torch.int64)

    def update(self, batch: Batch, draws: Any, *, weights: Any = None, following: Any = None) -> Loss:
        self.log.append(("update",))
        self.batches.append(batch)
        loss = self.losses.pop(0) if self.losses else 1.0
        rows = torch.full(batch.returns.shape, loss)
        self.weights.append(weights)
        return Loss(rows, rows.mean(1), batch.indices.float() + 1)
