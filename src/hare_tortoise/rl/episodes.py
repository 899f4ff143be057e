"""Open episodes remembered by their seeds and actions, so that an interrupted run takes them up again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hare_tortoise.rl.interface import Arrival, Environments, Space


class Episodes:
    """Environments whose open episodes are recorded: an `Environments` itself, in the place of those that it wraps.

    Args:
        environments: what is recorded; give it no calls of your own from now on.

    Example:
        >>> from hare_tortoise.rl.environments import make_environments
        >>> episodes = Episodes(make_environments(["CartPole-v1"]))
        >>> _ = episodes.start([0], [3])
        >>> episodes.send(torch.tensor([1]))
        >>> _ = episodes.receive()
        >>> episodes.returns, episodes.steps
        ([1.0], [1])
        >>> again = resume(make_environments(["CartPole-v1"]), episodes.state_dict())
        >>> bool((again.arrival.observation == episodes.arrival.observation).all())
        True
    """

    def __init__(self, environments: Environments) -> None:
        self.environments = environments
        count = len(environments.names)
        self.returns = [0.0] * count
        self._seeds: list[int | None] = [None] * count
        self._actions: list[list[int]] = [[] for _ in range(count)]
        self._sent: list[int] | None = None
        self._arrival: Arrival | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What each environment is called."""
        return self.environments.names

    @property
    def spaces(self) -> tuple[Space, ...]:
        """What each shows and takes."""
        return self.environments.spaces

    @property
    def steps(self) -> list[int]:
        """How many steps the episode of each has had."""
        return [len(actions) for actions in self._actions]

    @property
    def arrival(self) -> Arrival:
        """What each environment told last, all N rows.

        Raises:
            RuntimeError: some were never started.
        """
        self._check_started()
        assert self._arrival is not None
        return self._arrival

    def start(self, which: Sequence[int], seeds: Sequence[int]) -> Arrival:
        """Begin an episode in the environments `which`, and forget their last one."""
        arrival = self.environments.start(which, seeds)
        for number, seed in zip(which, seeds, strict=True):
            self._seeds[number] = int(seed)
            self._actions[number] = []
            self.returns[number] = 0.0
        room = arrival.rows([0] * len(self.names)) if self._arrival is None else self._arrival
        self._arrival = room.replaced(which, arrival)
        return arrival

    def send(self, actions: Tensor) -> None:
        """Let every environment act."""
        self.environments.send(actions)
        self._sent = actions.tolist()

    def receive(self) -> Arrival:
        """Wait for the answer of all N to the actions sent."""
        arrival = self.environments.receive()
        assert self._sent is not None
        for number, (action, reward) in enumerate(zip(self._sent, arrival.reward.tolist(), strict=True)):
            self._actions[number].append(action)
            self.returns[number] += reward
        self._sent = None
        self._arrival = arrival
        return arrival

    def close(self) -> None:
        """Give back what the environments hold."""
        self.environments.close()

    def state_dict(self) -> dict[str, Any]:
        """The open episodes, and a digest of where they are: numbers, strings, tensors and lists of them.

        Raises:
            RuntimeError: actions were sent and not received, or some environments were never started.
        """
        if self._sent is not None:
            raise RuntimeError(
                "the answer to the last actions is still to come: call receive() before saving"
            )
        arrival = self.arrival
        largest = max(space.numbers[-1] for space in self.spaces)
        dtype = torch.uint8 if largest < 256 else torch.int64
        return {
            "names": list(self.names),
            "seeds": list(self._seeds),
            "actions": [torch.tensor(actions, dtype=dtype) for actions in self._actions],
            "returns": list(self.returns),
            "digests": [_digest(arrival.rows([number])) for number in range(len(self.names))],
        }

    def _check_started(self) -> None:
        missing = [number for number, seed in enumerate(self._seeds) if seed is None]
        if missing:
            raise RuntimeError(
                f"the environments {missing} were never started: call start(which, seeds) first"
            )


def resume(environments: Environments, state: Mapping[str, Any]) -> Episodes:
    """Take up the episodes of a state: their actions are played again from their seeds.

    All end at once: an environment whose episode is short begins it later, and plays something else before. Then
    `arrival` is what it was, and the next step what it would have been.

    Args:
        environments: of the same names, in the same order; whatever they played before.
        state: what `Episodes.state_dict()` gave.

    Returns:
        The environments, recorded from the beginning of their open episodes.

    Raises:
        ValueError: the state is of other environments.
        RuntimeError: an environment does not repeat: with the same seed and actions the last observation, reward, lives
            or end, the return or the length is another. All that do not are named.
    """
    names = list(environments.names)
    if state["names"] != names:
        raise ValueError(
            f"the environments are {names}, but the state was saved with {state['names']}: make the same ones in the "
            "same order"
        )
    seeds: list[int] = list(state["seeds"])
    actions: list[list[int]] = [played.tolist() for played in state["actions"]]
    last = max(map(len, actions))
    begins = [last - len(played) for played in actions]
    fillers = [space.numbers[0] for space in environments.spaces]
    episodes = Episodes(environments)
    over = set(range(len(names)))
    for step in range(last + 1):
        begun = [n for n, begin in enumerate(begins) if begin == step]
        fresh = begun + [n for n in sorted(over) if begins[n] > step]
        if fresh:
            episodes.start(fresh, [seeds[n] for n in fresh])
        if step == last:
            break
        if early := [n for n in sorted(over) if begins[n] < step]:
            raise _unlike(dict.fromkeys(early, f"its episode is over {last - step} steps earlier"), names)
        chosen = [
            played[step - begin] if step >= begin else filler
            for played, begin, filler in zip(actions, begins, fillers, strict=True)
        ]
        episodes.send(torch.tensor(chosen, dtype=torch.int64))
        arrival = episodes.receive()
        over = set((arrival.ended | arrival.truncated).nonzero().flatten().tolist())
    now = episodes.state_dict()
    different = {
        n: f"its return is {now['returns'][n]} where it was {state['returns'][n]}"
        if now["returns"][n] != state["returns"][n]
        else "what it told last is not what it told then"
        for n in range(len(names))
        if (now["returns"][n], now["digests"][n]) != (state["returns"][n], state["digests"][n])
    }
    if different:
        raise _unlike(different, names)
    return episodes


def _unlike(how: Mapping[int, str], names: Sequence[str]) -> RuntimeError:
    shown = ", ".join(f"{number} ({names[number]}: {text})" for number, text in how.items())
    return RuntimeError(
        f"environments do not repeat an episode from its seed and actions: {shown}. A run with them cannot be resumed "
        "in the middle of an episode: let reset(seed=...) set everything that they draw from, or start anew"
    )


def _digest(row: Arrival) -> str:
    """A digest of what one environment told last."""
    digest = hashlib.sha256()
    for part in (row.observation, row.reward, row.ended, row.truncated, row.lives):
        digest.update(part.contiguous().numpy().tobytes())
    return digest.hexdigest()
