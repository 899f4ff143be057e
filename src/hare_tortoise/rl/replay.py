"""Replay: a ring for each agent, sampled in stacks of frames and n-step returns, many rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hare_tortoise.rl.checks import check_whole, for_each
from hare_tortoise.rl.ring import ENDS, GOES_ON, LAST, Ring, replay_bytes

__all__ = ["Batch", "Following", "Replay", "replay_bytes", "uniform_numbers"]


@dataclass(frozen=True)
class Batch:
    """Transitions over up to n steps, B rows for each of G agents.

    Args:
        observations: (G, B, S, *shape), what the action was chosen on, the newest frame last.
        actions: (G, B) int64.
        returns: (G, B) float32, `Σ_k discount^k · reward_{t+k}` over the `m` steps that were made.
        discounts: (G, B) float32, `discount^m`; 0 where the value ended with the last of them.
        next_observations: (G, B, S, *shape), what was seen after `m` steps; zeros where the value ended.
        indices: (G, B) int64, the slots of the rows.
    """

    observations: Tensor
    actions: Tensor
    returns: Tensor
    discounts: Tensor
    next_observations: Tensor
    indices: Tensor


@dataclass(frozen=True)
class Following:
    """What came after some steps, for a model that predicts it.

    Args:
        observations: (G, B, K, S, *shape), the stacks after 1 … K steps; zeros where not `inside`.
        actions: (G, B, K) int64, the action that led to each; 0 where not `inside`.
        inside: (G, B, K) bool, whether the observation is in the ring and of the same chain.
    """

    observations: Tensor
    actions: Tensor
    inside: Tensor


@dataclass(frozen=True)
class _Table:
    ahead: Tensor  # 0 … n
    weights: Tensor  # (G, 1, n), discount^k of a step
    powers: Tensor  # (G, n + 1), discount^m of a length
    within: Tensor | None  # (G, 1, n), whether a step is within the n-step of its agent; None: all are


class Replay(Ring):
    """Transitions of G agents, drawn uniformly or taken by index; `Ring` says what is stored and how.

    With `m = min(n_step, steps to the end of the chain)` a row has `returns = Σ_{k<m} discount^k · reward_{t+k}`,
    `discounts = discount^m` or 0 where the chain ended with `terminal`, and the observation after `m` steps, which is
    `last` where the chain was cut. A draw is one uniform number, as the steps that can be sampled are numbered: nothing
    is searched, nothing drawn again.

    Args:
        agents: G, at least 1.
        capacity: slots of each ring, at least `stack + 1`; a cut takes one more than its steps.
        shape: of one observation, without a stack.
        dtype: of the observations: uint8, bool or float32.
        stack: S, frames of a stack, 1 to 127.
        device: where the rings are.

    Raises:
        ValueError: one of these is out of its range.

    Example:
        >>> replay = Replay(1, 100, (2,), torch.float32)
        >>> for t in range(4):
        ...     replay.append(0, torch.full((2,), float(t)), t, 1.0, first=t == 0, terminal=t == 3)
        >>> batch = replay.gather(torch.tensor([[0, 3]]), n_step=2, discount=0.5)
        >>> batch.returns, batch.discounts
        (tensor([[1.5000, 1.0000]]), tensor([[0.2500, 0.0000]]))
        >>> batch = replay.sample(8, [torch.Generator().manual_seed(0)], n_step=2, discount=0.5)
        >>> batch.observations.shape
        torch.Size([1, 8, 1, 2])
    """

    _table: tuple[Any, _Table] | None = None

    def sample(
        self,
        batch: int,
        generators: Sequence[torch.Generator],
        *,
        n_step: int | Sequence[int],
        discount: float | Sequence[float],
    ) -> Batch:
        """Transitions that are drawn uniformly, with replacement; those of agent g by generator g alone.

        Args:
            batch: B, at least 1.
            generators: one for each agent.
            n_step: steps of a return, at least 1; one number, or one for each agent.
            discount: of one step, in [0, 1]; one number, or one for each agent.

        Raises:
            ValueError: an agent has no step that can be sampled, or an argument is out of its range.
        """
        return self._gather(self.draw(batch, generators, n_step=n_step), n_step=n_step, discount=discount)

    def draw(
        self, batch: int, generators: Sequence[torch.Generator], *, n_step: int | Sequence[int]
    ) -> Tensor:
        """(G, B) int64, the slots that `sample` takes.

        Raises:
            ValueError: as `sample`.
        """
        bounds = self._sent(self.filled_bounds(n_step))
        return self.slots(uniform_numbers(batch, generators, self.agents).to(self.device), bounds)

    def gather(
        self, indices: Tensor, *, n_step: int | Sequence[int], discount: float | Sequence[float]
    ) -> Batch:
        """The transitions that begin in given slots, which must be of steps that can be sampled.

        Args:
            indices: (G, B) int64, on the device.
            n_step: as in `sample`.
            discount: as in `sample`.

        Raises:
            ValueError: an argument is out of its range; on the CPU also where a slot holds no step.
        """
        self._check_indices(indices)
        return self._gather(indices, n_step=n_step, discount=discount)

    def _gather(
        self, indices: Tensor, *, n_step: int | Sequence[int], discount: float | Sequence[float]
    ) -> Batch:
        table = self._table_of(n_step, discount)
        places, slots, kinds = self._ahead(indices, table.ahead)
        over = kinds[..., :-1] != GOES_ON
        made = over.cumsum(-1) == over  # nothing is over before this step
        if table.within is not None:
            made &= table.within
        lengths = made.sum(-1)
        rewards = self._fields["rewards"].take(places[..., :-1])
        # Running sums add in one order, so that the sums of an agent do not depend on who is sampled with it.
        returns = torch.where(made, rewards * table.weights, 0.0).cumsum(-1)[..., -1]
        ended = ((kinds[..., :-1] == ENDS) & made).any(-1)
        discounts = table.powers.gather(1, lengths).masked_fill_(ended, 0.0)
        after = slots.gather(-1, lengths[..., None]).squeeze(-1)
        both = torch.stack([indices, after])
        ages = self._fields["ages"].take(both + self._base)
        ages[1].masked_fill_(ended, -1)
        before, following = self._stacks(both, self._base, ages).unbind(0)
        actions = self._fields["actions"].take(places[..., 0]).long()
        return Batch(before, actions, returns, discounts, following, indices)

    def gather_sequence(self, indices: Tensor, length: int) -> Following:
        """The `length` observations after given steps, the actions between, and which belong to the same chain.

        Args:
            indices: (G, B) int64, slots of steps, on the device.
            length: K, from 1 to `capacity − 1`.

        Raises:
            ValueError: as `gather`.

        Example:
            >>> replay = Replay(1, 9, (1,), torch.float32)
            >>> for t in range(3):
            ...     replay.append(0, torch.tensor([float(t)]), t + 5, 0.0, first=t == 0, terminal=False)
            >>> following = replay.gather_sequence(torch.tensor([[0]]), length=3)
            >>> following.observations.flatten(), following.actions
            (tensor([1., 2., 0.]), tensor([[[5, 6, 0]]]))
            >>> following.inside
            tensor([[[ True,  True, False]]])
        """
        check_whole("length", length, 1, self.capacity - 1)
        self._check_indices(indices)
        places, slots, kinds = self._ahead(indices, torch.arange(length + 1, device=self.device))
        newest = torch.from_numpy(self._written - 1).to(self.device)[:, None]
        left = (newest - indices) % self.capacity
        # What was seen after a cut is still of the chain; what follows on it is not.
        over = (kinds[..., :-1] == ENDS) | (kinds[..., :-1] == LAST)
        inside = over.cumsum(-1) == 0
        inside &= torch.arange(1, length + 1, device=self.device) <= left[..., None]
        ages = self._fields["ages"].take(places[..., 1:]).masked_fill(~inside, -1)
        actions = self._fields["actions"].take(places[..., :-1]).long() * inside
        return Following(self._stacks(slots[..., 1:], self._base[..., None], ages), actions, inside)

    def _ahead(self, indices: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The places over all rings, the slots, and their kinds, some steps ahead: (G, B, n + 1) each."""
        slots = (indices[..., None] + ahead) % self.capacity
        places = slots + self._base[..., None]
        kinds = self._fields["kinds"].take(places)
        return places, slots, kinds

    def _check_indices(self, indices: Tensor) -> None:
        if indices.dtype != torch.int64 or indices.ndim != 2 or len(indices) != self.agents:
            raise ValueError(
                f"indices are {indices.dtype} of shape {tuple(indices.shape)}, expected int64 of shape "
                f"({self.agents}, rows)"
            )
        if self._elsewhere or not indices.numel():
            return  # asking a GPU would make the caller wait for it
        low, high = int(indices.min()), int(indices.max())
        outside = low < 0 or high >= self.capacity
        if outside or bool((self._fields["kinds"].take(indices + self._base) == LAST).any()):
            raise ValueError(
                f"indices run from {low} to {high}, expected slots from 0 to {self.capacity - 1} which hold steps: "
                "take those that `draw` gives"
            )

    def _stacks(self, slots: Tensor, base: Tensor, ages: Tensor) -> Tensor:
        """The stacks that end in slots, (*slots, S, *shape): frames from further back than their ages are zeros."""
        back = torch.arange(self.stack - 1, -1, -1, device=self.device)
        rows = (slots[..., None] - back) % self.capacity + base[..., None]
        rows = torch.where(ages[..., None] >= back, rows, len(self._rows) - 1)
        return self._rows.index_select(0, rows.flatten()).view(*rows.shape, *self.shape)

    def _table_of(self, n_step: int | Sequence[int], discount: float | Sequence[float]) -> _Table:
        """The numbers that depend on these two alone, made once while they stay."""
        steps, discounts = (
            for_each("n_step", n_step, self.agents, 1),
            for_each("discount", discount, self.agents, 0, 1),
        )
        if self._table is None or self._table[0] != (steps, discounts):
            longest = max(steps)
            ahead = torch.arange(longest + 1)
            powers = torch.tensor(
                [[each**k for k in range(longest + 1)] for each in discounts], dtype=torch.float32
            ).to(self.device)
            within = ahead[:-1] < torch.tensor(steps)[:, None, None]
            self._table = (
                (steps, discounts),
                _Table(
                    ahead=ahead.to(self.device),
                    weights=powers[:, None, :-1],
                    powers=powers,
                    within=None if bool(within.all()) else within.to(self.device),
                ),
            )
        return self._table[1]


def uniform_numbers(batch: int, generators: Sequence[torch.Generator], agents: int) -> Tensor:
    """(G, B) float64 in [0, 1), row g by generator g alone, on the device of the generators.

    Raises:
        ValueError: `batch` is below 1, or there is not one generator for each agent.

    Example:
        >>> pair = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
        >>> alone = uniform_numbers(3, [torch.Generator().manual_seed(2)], 1)
        >>> torch.equal(uniform_numbers(3, pair, 2)[1], alone[0])
        True
    """
    check_whole("batch", batch, 1)
    if len(generators) != agents:
        raise ValueError(f"there are {len(generators)} generators, expected one for each of {agents} agents")
    drawn = [
        torch.rand(batch, dtype=torch.float64, generator=each, device=each.device) for each in generators
    ]
    return torch.stack(drawn)
