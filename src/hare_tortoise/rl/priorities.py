"""Prioritised replay: steps are drawn in proportion to what was wrong about them, by sums over blocks of slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hare_tortoise.rl.checks import check_whole
from hare_tortoise.rl.replay import uniform_numbers
from hare_tortoise.rl.ring import LAST, Ring


def priority_bytes(agents: int, capacity: int, *, block: int = 128) -> int:
    """Memory of the priorities of a replay in bytes, before anything is allocated.

    Example:
        >>> priority_bytes(1, 100_000)
        807032
    """
    blocks = -(-capacity // block)
    return agents * 8 * (blocks * (block + 1) + 1)


class Priorities:
    """Priorities of the steps of a replay: `P(i) = p_i / Σ_j p_j` with `p = (error + epsilon)^alpha`.

    The sum is over the steps that can be sampled; all other slots count as zero. New steps get the highest priority
    that their agent has had, at first 1. The weights that correct for it are `(N · P(i))^−beta`, divided by the highest
    of the batch and agent.

    Stratified, row b of B draws from the b-th of B equal shares of the sum. That is what all published agents with
    prioritised replay do: Schaul et al., DER, SPR, SR-SPR and BBF (the trees of Dopamine), PLASTIC. They share
    `alpha = 0.5` of the loss; `beta` is 0.5 in Dopamine's and BBF's, 0.4 rising to 1 in PLASTIC and in Schaul et al.

    Slots are summed in blocks, so that a draw searches the blocks and then one of them. The sums are in float64 and
    are made anew from their block at each change: nothing drifts.

    Args:
        replay: whose steps these are. What is appended to it is noticed at the next call.
        alpha: exponent, at least 0; 0 draws uniformly.
        epsilon: added to the errors, above 0, so that every step can be drawn.
        stratified: as above; False: rows are independent.
        block: slots in a block; about the root of the capacity is quick.

    Raises:
        ValueError: one of these is out of its range.

    References:
        Schaul, Quan, Antonoglou and Silver, "Prioritized Experience Replay", ICLR 2016, arXiv 1511.05952.

    Example:
        >>> from hare_tortoise.rl.replay import Replay
        >>> replay = Replay(1, 100, (1,), torch.float32)
        >>> for t in range(3):
        ...     replay.append(0, torch.ones(1), 0, 1.0, first=t == 0, terminal=t == 2)
        >>> priorities = Priorities(replay, alpha=1.0)
        >>> priorities.update(torch.tensor([[0, 1, 2]]), torch.tensor([[1.0, 0.0, 3.0]]))
        >>> indices, weights = priorities.sample(4, [torch.Generator().manual_seed(0)], n_step=1, beta=1.0)
        >>> indices, weights
        (tensor([[0, 2, 2, 2]]), tensor([[1.0000, 0.3333, 0.3333, 0.3333]]))
    """

    def __init__(
        self,
        replay: Ring,
        *,
        alpha: float = 0.5,
        epsilon: float = 1e-10,
        stratified: bool = True,
        block: int = 128,
    ) -> None:
        check_whole("block", block, 1)
        if not alpha >= 0:
            raise ValueError(f"alpha is {alpha!r}, expected a number of at least 0; 0.5 is usual")
        if not epsilon > 0:
            raise ValueError(
                f"epsilon is {epsilon!r}, expected a number above 0: what has no priority is never drawn"
            )
        self.replay, self.alpha, self.epsilon, self.stratified, self.block = (
            replay,
            alpha,
            epsilon,
            stratified,
            block,
        )
        agents, blocks = replay.agents, -(-replay.capacity // block)
        self._values = torch.zeros(agents, blocks * block, dtype=torch.float64, device=replay.device)
        self._sums = torch.zeros(agents, blocks, dtype=torch.float64, device=replay.device)
        self._highest = torch.ones(agents, dtype=torch.float64, device=replay.device)
        self._seen = np.zeros(agents, dtype=np.int64)
        self._agents = torch.arange(agents, device=replay.device)[:, None]

    @property
    def values(self) -> Tensor:
        """(G, T) float64, `(error + epsilon)^alpha` of each slot; 0 for one without a step."""
        self._follow()
        return self._values[:, : self.replay.capacity]

    def sample(
        self,
        batch: int,
        generators: Sequence[torch.Generator],
        *,
        n_step: int | Sequence[int],
        beta: float,
    ) -> tuple[Tensor, Tensor]:
        """Draw steps; those of agent g by generator g alone.

        Args:
            batch: B, at least 1.
            generators: one for each agent.
            n_step: as in `Replay.sample`.
            beta: exponent of the weights, in [0, 1]; 1 corrects in full, 0 not at all.

        Returns:
            indices (G, B) int64, for `Replay.gather`, and weights (G, B) float32 in (0, 1].

        Raises:
            ValueError: an agent has no step that can be sampled, or an argument is out of its range.
        """
        if not 0 <= beta <= 1:
            raise ValueError(f"beta is {beta!r}, expected a number in [0, 1]")
        self._follow()
        interval = torch.from_numpy(self.replay.interval(n_step)).to(self.replay.device)
        uniform = uniform_numbers(batch, generators, self.replay.agents).to(self.replay.device)
        if self.stratified:
            uniform = (torch.arange(batch, device=uniform.device) + uniform) / batch
        indices, drawn = self._search(uniform, interval)
        weights = (drawn.amin(1, keepdim=True) / drawn) ** beta
        return indices, weights.float()

    def update(self, indices: Tensor, errors: Tensor) -> None:
        """Set the priorities of steps by their errors: `(error + epsilon)^alpha`.

        To be called before anything more is appended: a slot could have got another step. Where a step stands in
        several rows, the last one counts.

        Args:
            indices: (G, B) int64, as `sample` gave them.
            errors: (G, B), at least 0: the loss of each row, or the size of its temporal difference.

        Raises:
            ValueError: the shapes differ; on the CPU also where an error is below 0 or not finite.
        """
        if errors.shape != indices.shape:
            raise ValueError(
                f"errors have the shape {tuple(errors.shape)}, expected {tuple(indices.shape)}, as the indices"
            )
        if errors.device.type == "cpu" and not bool(((errors >= 0) & errors.isfinite()).all()):
            raise ValueError(
                "errors are not all finite and at least 0: give the loss of each row, or the size of its error"
            )
        self._follow()
        values = (errors.detach().double() + self.epsilon) ** self.alpha
        self._highest = torch.maximum(self._highest, values.amax(1))
        # All rows of a step write the value of the last one, so that it does not matter which is written last.
        rows = torch.arange(indices.shape[1], device=indices.device)
        last = torch.where(indices[:, :, None] == indices[:, None, :], rows, -1).amax(2)
        flat = indices + self._agents * self._values.shape[1]
        self._put(flat.flatten(), values.gather(1, last).flatten())

    def state_dict(self) -> dict[str, Any]:
        """The priorities and the settings that they were made with."""
        filled = min(max(self._seen.tolist()), self.replay.capacity)
        numbers = {"values": self._values[:, :filled].cpu().clone(), "highest": self._highest.cpu().clone()}
        return {"alpha": self.alpha, "epsilon": self.epsilon, "seen": self._seen.tolist(), **numbers}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave; the state of the replay is loaded by itself.

        Raises:
            ValueError: it was made with another alpha or epsilon.
        """
        for name in ("alpha", "epsilon"):
            if state[name] != getattr(self, name):
                raise ValueError(
                    f"{name} is {getattr(self, name)}, but the state was saved with {state[name]}"
                )
        self._seen[:] = state["seen"]
        self._highest.copy_(state["highest"])
        self._values.zero_()
        self._values[:, : state["values"].shape[1]] = state["values"].to(self._values.device)
        self._sums = self._totals(self._values.view(*self._sums.shape, self.block))

    def _follow(self) -> None:
        """Give the highest priority to the steps that were appended since the last call, and none to cuts."""
        written, size = np.array(self.replay.written), self.replay.capacity
        if (written == self._seen).all():
            return
        new = [np.arange(max(a, b - size), b) % size for a, b in zip(self._seen, written, strict=True)]
        agents = np.repeat(np.arange(len(new)), [len(slots) for slots in new])
        slots = np.concatenate(new)
        steps = torch.from_numpy(self.replay.kinds(agents * size + slots) != LAST).to(self._values.device)
        flat = torch.from_numpy(agents * self._values.shape[1] + slots).to(self._values.device)
        owners = torch.from_numpy(agents).to(self._values.device)
        self._put(flat, self._highest.take(owners) * steps)
        self._seen = written

    def _put(self, flat: Tensor, values: Tensor) -> None:
        self._values.view(-1).index_copy_(0, flat, values)
        blocks = flat // self.block
        self._sums.view(-1).index_copy_(
            0, blocks, self._totals(self._values.view(-1, self.block).index_select(0, blocks))
        )

    def _totals(self, content: Tensor) -> Tensor:
        # As the last of the running sums that a search compares with, so that the two agree to the last bit.
        return content.cumsum(-1)[..., -1]

    def _search(self, uniform: Tensor, interval: Tensor) -> tuple[Tensor, Tensor]:
        """The slots at shares `uniform` (G, B) of the sum over an interval (2, G) of the ring, and their priorities."""
        begin, length = interval[0, :, None], interval[1, :, None]
        sums = self._sums_within(begin, length)
        running = sums.cumsum(1)
        total = running[:, -1:].contiguous()
        sought = uniform * total
        # Rounding may put the last share at the whole sum: then it is the last block that has anything.
        last = torch.searchsorted(running, total)
        block = torch.minimum(torch.searchsorted(running, sought, right=True), last)
        rest = sought - torch.nn.functional.pad(running, (1, 0)).gather(1, block)
        content = self._content(block, begin, length)
        inside = content.cumsum(-1)
        end = (inside < inside[..., -1:]).sum(-1)
        place = torch.minimum((inside <= rest[..., None]).sum(-1), end)
        return block * self.block + place, content.gather(-1, place[..., None]).squeeze(-1)

    def _content(self, block: Tensor, begin: Tensor, length: Tensor) -> Tensor:
        """(G, B, block), the priorities in blocks (G, B), zero outside of the interval."""
        slots = block[..., None] * self.block + torch.arange(self.block, device=block.device)
        rows = (block + self._agents * self._sums.shape[1]).flatten()
        content = self._values.view(-1, self.block).index_select(0, rows).view(slots.shape)
        return content * ((slots - begin[..., None]) % self.replay.capacity < length[..., None])

    def _sums_within(self, begin: Tensor, length: Tensor) -> Tensor:
        """(G, blocks), the sums of the blocks over the slots in the interval."""
        size = self.replay.capacity
        starts = torch.arange(self._sums.shape[1], device=begin.device) * self.block
        sums = self._sums * ((starts - begin) % size < length)
        # A block that the interval begins or ends in is only partly inside; every other one is as its first slot is.
        edges = torch.cat([begin, (begin + length - 1) % size], 1) // self.block
        return sums.scatter(1, edges, self._totals(self._content(edges, begin, length)))
