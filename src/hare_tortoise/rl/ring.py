"""The ring that a replay is sampled from: what each agent has lived through, every observation stored once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hare_tortoise.rl.checks import check_agents, check_flow, check_frames, check_whole, for_each

GOES_ON, ENDS, CUT, LAST = 0, 1, 2, 3
"""What a slot is: a step that goes on, that ends its value, or that is cut after; or what was seen after the cut."""

_FIELDS: dict[str, type[np.generic]] = {
    "actions": np.int32,
    "rewards": np.float32,
    "ages": np.int8,  # how many slots its stack reaches back, at most stack − 1
    "kinds": np.uint8,
}
MOST_STACKED = 127
"""Frames of a stack at most: a slot keeps its age in a byte."""
_COUNTS = ("written", "steps", "chain", "age", "open")
_DTYPES = (torch.uint8, torch.bool, torch.float32)

Ints = npt.NDArray[np.int64]


def replay_bytes(agents: int, capacity: int, shape: Sequence[int], dtype: torch.dtype) -> int:
    """Memory of a replay in bytes, before anything is allocated.

    Example:
        >>> round(replay_bytes(1, 100_000, (84, 84), torch.uint8) / 1e9, 3)
        0.707
    """
    two_numbers = 2 * np.dtype(np.int32).itemsize  # slot_of_step and step_of_slot
    numbers = sum(np.dtype(kind).itemsize for kind in _FIELDS.values()) + two_numbers
    return (agents * capacity + 1) * prod(shape) * dtype.itemsize + agents * capacity * numbers


class Ring:
    """A ring of `capacity` slots for each agent, filled step by step.

    A slot holds a step or, after a cut, the observation that values are bootstrapped from. The steps from a `first`
    one to the next end or cut are a chain. A step can be sampled if its whole stack is in the ring, and so are the
    `n_step` steps after it or the end of its chain. As steps are numbered, these are the numbers between two bounds.

    Args:
        agents: G, at least 1.
        capacity: slots of each ring, at least `stack + 1`; a cut takes one more than its steps.
        shape: of one observation, without a stack.
        dtype: of the observations: uint8, bool or float32.
        stack: S, frames of a stack, 1 to 127.
        device: where the ring is. The few numbers of each slot are kept on the CPU as well.

    Raises:
        ValueError: one of these is out of its range.
    """

    def __init__(
        self,
        agents: int,
        capacity: int,
        shape: Sequence[int],
        dtype: torch.dtype,
        *,
        stack: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        check_whole("agents", agents, 1)
        check_whole("stack", stack, 1, MOST_STACKED)
        check_whole("capacity", capacity, stack + 1)
        if dtype not in _DTYPES:
            names = ", ".join(map(str, _DTYPES))
            raise ValueError(f"dtype is {dtype}, expected one of {names}: convert the observations")
        self.agents, self.capacity, self.stack = agents, capacity, stack
        self.shape, self.dtype, self.device = tuple(shape), dtype, torch.device(device)
        slots = agents * capacity
        # One row more than there are slots, of zeros: every frame from before a chain is that row.
        self._rows = torch.empty(slots + 1, prod(self.shape), dtype=dtype, device=self.device)
        self._rows[slots] = 0
        self._elsewhere = self.device.type != "cpu"
        self._host_rows = None if self._elsewhere else self._rows.numpy()
        self._host = {name: np.zeros(slots, dtype=kind) for name, kind in _FIELDS.items()}
        self._host["slot_of_step"] = np.zeros(slots, dtype=np.int32)
        self._step_of_slot = np.zeros(slots, dtype=np.int32)
        # On the CPU these share the arrays' memory; elsewhere they are copies, kept alike by `_write`.
        self._fields = {name: torch.from_numpy(array).to(self.device) for name, array in self._host.items()}
        self._written = np.zeros(agents, dtype=np.int64)
        self._steps = np.zeros(agents, dtype=np.int64)
        self._chain = np.zeros(agents, dtype=np.int64)  # number of the step that the last chain began with
        self._open = np.zeros(agents, dtype=np.bool_)  # whether that chain goes on
        self._age = np.zeros(agents, dtype=np.int64)  # of the newest slot
        self._starts = np.arange(agents) * capacity
        self._base = torch.arange(agents, device=self.device)[:, None] * capacity

    @property
    def frames(self) -> Tensor:
        """The observations, (G, T, *shape)."""
        return self._rows[:-1].view(self.agents, self.capacity, *self.shape)

    @property
    def written(self) -> list[int]:
        """How many slots each agent has ever written; its next one is `written % capacity`."""
        return self._written.tolist()

    def append(
        self,
        agent: int | Sequence[int],
        observation: Tensor,
        action: int | Tensor,
        reward: float | Tensor,
        *,
        first: bool | Sequence[bool] | Tensor,
        terminal: bool | Sequence[bool] | Tensor,
        last: Tensor | Mapping[int, Tensor] | None = None,
    ) -> None:
        """Store a step of one agent, or one step of each of several.

        Args:
            agent: which, or a list of N different ones; then all that follows has a leading axis N.
            observation: (*shape), the one that the action was chosen on.
            action: number of the action.
            reward: as it is trained on.
            first: whether the step begins a life or an episode, so that older frames of its stack are zeros.
            terminal: whether the value ends with this step (game over, or a lost life).
            last: (*shape), the observation after the step, where the episode was cut without an end. For several
                agents a dictionary: the agents whose episode was cut, and their observations.

        Raises:
            ValueError: shapes or dtypes do not fit; a step goes on with a chain that has ended, or begins one while
                another goes on; `last` stands with `terminal`. Nothing is stored then.
        """
        if isinstance(agent, int):
            which, frames = np.array([agent]), observation[None]
            lasts = {} if last is None else {agent: cast(Tensor, last)}
        else:
            which, frames = np.asarray(agent, dtype=np.int64), observation
            lasts = dict(cast(Mapping[int, Tensor], last or {}))
        actions, rewards = _numbers(action), _numbers(reward, np.float32)
        begins, ends = _numbers(first, np.bool_), _numbers(terminal, np.bool_)
        check_agents(which, self.agents)
        check_frames({"observation": frames}, (len(which), *self.shape), self.dtype)
        if lasts:
            check_frames({f"last of agent {name}": lasts[name] for name in lasts}, self.shape, self.dtype)
        check_flow(which, (actions, rewards, begins, ends), lasts, self._open)
        kinds = ends.astype(np.uint8)  # GOES_ON or ENDS
        if lasts:
            kinds[np.isin(which, list(lasts))] = CUT
        if begins.any():
            self._chain[which[begins]] = self._steps[which[begins]]
            self._age[which[begins]] = -1
        self._open[which] = kinds == GOES_ON
        self._write(which, frames, {"actions": actions, "rewards": rewards, "kinds": kinds}, step=1)
        if lasts:
            cut = np.array(list(lasts))
            none = np.zeros(len(cut), dtype=np.uint8)
            values = {"actions": none, "rewards": none, "kinds": none + LAST}
            self._write(cut, torch.stack(list(lasts.values())), values, step=0)

    def available(self, n_step: int | Sequence[int]) -> list[int]:
        """How many steps of each agent can be sampled."""
        return cast(list[int], self.bounds(n_step)[1].tolist())

    def bounds(self, n_step: int | Sequence[int]) -> Ints:
        """(2, G): the number of the first step of each agent that can be sampled, and how many can.

        The oldest steps are missing while part of their stack is overwritten, the newest while their chain goes on
        and ends within less than `n_step` steps.
        """
        steps = np.array(for_each("n_step", n_step, self.agents, 1))
        low = np.zeros(self.agents, dtype=np.int64)
        if (self._written > self.capacity).any():
            back = np.arange(self.stack)
            oldest = np.maximum(self._written - self.capacity, 0)
            slots = self._starts[:, None] + (oldest[:, None] + back) % self.capacity
            # A stack reaches back at most one slot more than the one before it: after a whole one all are whole.
            whole = (self._host["ages"][slots] <= back).argmax(1)
            low[:] = self._step_of_slot[np.take_along_axis(slots, whole[:, None], 1)[:, 0]]
        high = np.where(self._open, np.maximum(self._chain, self._steps - steps), self._steps)
        return np.stack([low, np.maximum(high - low, 0)])

    def filled_bounds(self, n_step: int | Sequence[int]) -> Ints:
        """What `bounds` gives, where each agent has a step that can be sampled.

        Raises:
            ValueError: an agent has none.
        """
        bounds = self.bounds(n_step)
        if not bounds[1].all():
            agent = int(bounds[1].argmin())
            raise ValueError(
                f"agent {agent} has no step to sample: it has made {self._steps[agent]} in a ring of {self.capacity} "
                f"slots, expected a chain that ended or more than n_step = {n_step} steps: append more before sampling"
            )
        return bounds

    def interval(self, n_step: int | Sequence[int]) -> Ints:
        """(2, G): the slot of the first step that can be sampled, and how many slots reach to the last one.

        Raises:
            ValueError: as `filled_bounds`.
        """
        low, count = self.filled_bounds(n_step)
        slots = self._host["slot_of_step"]
        begin = slots[self._starts + low % self.capacity].astype(np.int64)
        end = slots[self._starts + (low + count - 1) % self.capacity]
        return np.stack([begin, (end - begin) % self.capacity + 1])

    def slots(self, uniform: Tensor, bounds: Tensor) -> Tensor:
        """The slots that uniform numbers fall on, without asking the device for anything.

        Args:
            uniform: (G, B) float64 in [0, 1).
            bounds: (2, G) int64, what `filled_bounds` gave, on the device.

        Returns:
            (G, B) int64.
        """
        numbers = bounds[0, :, None] + (uniform * bounds[1, :, None]).long()
        return self._fields["slot_of_step"].take(numbers % self.capacity + self._base).long()

    def kinds(self, slots: Ints) -> npt.NDArray[np.uint8]:
        """What some slots are (`GOES_ON` to `LAST`), counted over all rings: `agent · capacity + slot`."""
        return cast(npt.NDArray[np.uint8], self._host["kinds"][slots])

    def state_dict(self) -> dict[str, Any]:
        """Everything but the frames, which `ReplayFile` keeps."""
        filled = min(int(self._written.max()), self.capacity)
        fields = {
            name: torch.from_numpy(self._host[name].reshape(self.agents, -1)[:, :filled].copy())
            for name in _FIELDS
        }
        counts = {name: getattr(self, f"_{name}").tolist() for name in _COUNTS}
        return {"of": self.settings(), **counts, **fields}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave; `ReplayFile` puts the frames back.

        Raises:
            ValueError: it is of a replay of another size or kind.
        """
        if state["of"] != self.settings():
            raise ValueError(
                f"the replay is {self.settings()}, but the state was saved with {state['of']}: build it alike"
            )
        for name in _COUNTS:
            getattr(self, f"_{name}")[:] = state[name]
        for name in _FIELDS:
            saved = state[name].numpy()
            self._host[name].reshape(self.agents, -1)[:, : saved.shape[1]] = saved
        for agent in range(self.agents):
            self._number(agent)
        if self._elsewhere:
            for name, array in self._host.items():
                self._fields[name].copy_(torch.from_numpy(array))

    def settings(self) -> dict[str, Any]:
        """What two replays must have alike for one to take up the other's state."""
        kind = str(self.dtype).removeprefix("torch.")
        sizes = {"agents": self.agents, "capacity": self.capacity, "stack": self.stack}
        return {**sizes, "shape": list(self.shape), "dtype": kind}

    def read_frames(self, agent: int, start: int, stop: int) -> Tensor:
        """(stop − start, values) on the CPU, what an agent wrote as its slots number `start` to `stop − 1`."""
        return torch.cat([self._rows[piece].cpu() for piece in self._pieces(agent, start, stop)])

    def write_frames(self, agent: int, start: int, frames: Tensor) -> None:
        """Put back what `read_frames` gave."""
        pieces = self._pieces(agent, start, start + len(frames))
        done = 0
        for piece in pieces:
            content = frames[done : done + piece.stop - piece.start]
            self._rows[piece] = content.to(self.device)
            done += len(content)

    def _pieces(self, agent: int, start: int, stop: int) -> list[slice]:
        """The rows of numbered slots, in the order that they were written, in one piece but for the seam."""
        pieces, base = [], agent * self.capacity
        while start < stop:
            slot = start % self.capacity
            count = min(stop - start, self.capacity - slot)
            pieces.append(slice(base + slot, base + slot + count))
            start += count
        return pieces

    def _write(self, which: Ints, frames: Tensor, values: dict[str, npt.NDArray[Any]], *, step: int) -> None:
        slots = self._written[which] % self.capacity
        starts, made = self._starts[which], self._steps[which]
        flat = starts + slots
        rows = frames.reshape(len(which), -1)
        if self._host_rows is not None:
            self._host_rows[flat] = rows.numpy()
        else:
            self._rows.index_copy_(0, self._sent(flat), self._sent(rows))
        self._age[which] = values["ages"] = np.minimum(self._age[which] + 1, self.stack - 1)
        places = dict.fromkeys(values, flat)
        self._step_of_slot[flat] = made
        if step:
            values["slot_of_step"] = slots
            places["slot_of_step"] = starts + made % self.capacity
        for name, place in places.items():
            self._host[name][place] = values[name]
            if self._elsewhere:
                self._fields[name].index_copy_(0, self._sent(place), self._sent(self._host[name][place]))
        self._written[which] += 1
        self._steps[which] += step

    def _sent(self, values: npt.NDArray[Any] | Tensor) -> Tensor:
        """Values on the device, without waiting for what it has to do before."""
        tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
        pinned = tensor.pin_memory() if self.device.type == "cuda" and not tensor.is_cuda else tensor
        return pinned.to(self.device, non_blocking=True)

    def _number(self, agent: int) -> None:
        """Number the steps of a ring by its kinds."""
        ring = slice(agent * self.capacity, (agent + 1) * self.capacity)
        written = int(self._written[agent])
        slots = np.arange(max(written - self.capacity, 0), written) % self.capacity
        is_step = self._host["kinds"][ring][slots] != LAST
        after = is_step[::-1].cumsum()[::-1]
        numbers = self._steps[agent] - after
        self._step_of_slot[ring] = 0
        self._step_of_slot[ring][slots] = numbers
        self._host["slot_of_step"][ring][numbers[is_step] % self.capacity] = slots[is_step]


def _numbers(given: Any, dtype: type[np.generic] | None = None) -> npt.NDArray[Any]:
    array = (
        given.numpy() if isinstance(given, Tensor) else given
    )  # asarray takes several times as long for a tensor
    return np.asarray(array, dtype=dtype).reshape(-1)
