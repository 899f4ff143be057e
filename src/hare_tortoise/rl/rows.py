"""What is noted between two rows of the metrics: losses, kept on the device, and episodes that ended.

Each row is of one agent:

| key | what |
|---|---|
| ``step``, ``phase`` | of the agent, over all phases; which game of a sequence it is on, from 0 |
| ``last`` | whether it is the last row of its phase |
| ``updates`` | gradient steps so far |
| ``episodes`` | that ended since the row before |
| ``return``, ``length`` | mean of these, rewards as the game gives them; None where none ended |
| ``loss`` | mean over the gradient steps since the row before; None where there was none |
| ``epsilon`` | share of random actions at this step |
| ``seconds`` | of training so far, evaluation and measures apart |
| ``evaluations`` | returns of whole games of the network that plays, by game, in rows where they were played |
| ``measures`` | of plasticity of the online network, in rows where they were taken |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hare_tortoise.lab.training import READ_EVERY, DivergedError
from hare_tortoise.lab.trial import Row


class Tally:
    """Losses and episodes of G agents since the last row.

    Args:
        agents: G.
        device: of the losses.
    """

    def __init__(self, agents: int, device: torch.device) -> None:
        self._losses = torch.zeros(agents, READ_EVERY, device=device)
        self._unread = 0
        self._sums = [0.0] * agents
        self._count = 0
        self._returns: list[list[float]] = [[] for _ in range(agents)]
        self._lengths: list[list[int]] = [[] for _ in range(agents)]
        self.failures: dict[int, str] = {}

    def add(self, losses: Tensor) -> bool:
        """Note the losses of a gradient step, (agents,) on the device; says whether it is time to `read` them."""
        self._losses[:, self._unread] = losses
        self._unread += 1
        return self._unread == READ_EVERY

    def read(self, updates: Sequence[int], seeds: Sequence[int], step: int) -> None:
        """Read the losses from the device.

        Args:
            updates: of each agent so far.
            seeds: of the agents, for the message.
            step: of the agents, for the message.

        An agent whose loss was not finite has failed; the others go on.

        Raises:
            DivergedError: All have failed.
        """
        if not self._unread:
            return
        for place, row in enumerate(self._losses[:, : self._unread].double().cpu()):
            bad = (~row.isfinite()).nonzero()
            if len(bad) and place not in self.failures:
                number = updates[place] - self._unread + int(bad[0]) + 1
                self.fail(place, f"the loss was {float(row[bad[0]])} at update {number}", seeds[place], step)
            for loss in row.tolist():  # one by one, so that it makes no difference when they are read
                self._sums[place] += loss
        self._count += self._unread
        self._unread = 0
        self.refuse_if_all_failed()

    def fail(self, place: int, what: str, seed: int, step: int) -> None:
        """Note what an agent has failed by; the first counts."""
        told = f"{what}, about step {step}, of seed {seed}; try a lower lr, or clip the gradient"
        self.failures.setdefault(place, told)

    def refuse_if_all_failed(self, cause: Exception | None = None) -> None:
        """Raise a DivergedError if no agent is left."""
        if len(self.failures) == len(self._sums):
            raise DivergedError("; ".join(self.failures.values())) from cause

    def end(self, place: int, reward: float, length: int) -> None:
        """Note an episode that ended."""
        self._returns[place].append(reward)
        self._lengths[place].append(length)

    def row(self, place: int) -> Row:
        """Give what was noted of an agent, once the losses are read."""
        returns, lengths = self._returns[place], self._lengths[place]
        return {
            "episodes": len(returns),
            "return": sum(returns) / len(returns) if returns else None,
            "length": sum(lengths) / len(lengths) if lengths else None,
            "loss": self._sums[place] / self._count if self._count else None,
        }

    def clear(self) -> None:
        """Begin anew, after a row."""
        self._sums, self._count = [0.0] * len(self._sums), 0
        self._returns, self._lengths = [[] for _ in self._returns], [[] for _ in self._lengths]

    def state_dict(self) -> dict[str, Any]:
        """What was noted, once the losses are read."""
        return {
            "sums": self._sums,
            "count": self._count,
            "returns": self._returns,
            "lengths": self._lengths,
            "failures": self.failures,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self._sums, self._count = list(state["sums"]), state["count"]
        self._returns = [list(each) for each in state["returns"]]
        self._lengths = [list(each) for each in state["lengths"]]
        self.failures = dict(state["failures"])
