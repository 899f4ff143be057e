"""A replay of one agent as lists, asked one step at a time: what the ring is held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hare_tortoise.rl.ring import Ring


@dataclass
class Entry:
    observation: Tensor
    action: int = 0
    reward: float = 0.0
    first: bool = False
    terminal: bool = False
    cut: bool = False  # the observation after a cut, no step


@dataclass
class Naive:
    capacity: int
    stack: int
    entries: list[Entry] = field(default_factory=list)

    @property
    def oldest(self) -> int:
        return max(0, len(self.entries) - self.capacity)

    def stack_at(self, place: int) -> Tensor | None:
        """The frames that end there; None if one of them has been overwritten."""
        frames: list[Tensor] = []
        begun = False
        for back in range(self.stack):
            if begun:
                frames.insert(0, torch.zeros_like(self.entries[0].observation))
            elif place - back < self.oldest:
                return None
            else:
                frames.insert(0, self.entries[place - back].observation)
                begun = self.entries[place - back].first
        return torch.stack(frames)

    def transition(self, place: int, n_step: int, discount: float) -> tuple[float, float, Tensor] | None:
        """Return, discount and next observation of the step there; None if it cannot be sampled."""
        if self.entries[place].cut or self.stack_at(place) is None:
            return None
        total, power, now = 0.0, 1.0, place
        for _ in range(n_step):
            entry = self.entries[now]
            total, power, now = total + power * entry.reward, power * discount, now + 1
            if entry.terminal:
                return total, 0.0, torch.zeros_like(torch.stack([entry.observation] * self.stack))
            if now == len(self.entries):
                return None
            if self.entries[now].cut:
                break
        after = self.stack_at(now)
        assert after is not None
        return total, power, after

    def following(self, place: int, length: int) -> list[tuple[Tensor, int] | None]:
        """Observation and action of each of the next steps, None outside of the chain."""
        found: list[tuple[Tensor, int] | None] = []
        while len(found) < length:
            entry, place = self.entries[place], place + 1
            if entry.terminal or entry.cut or place == len(self.entries):
                break
            after = self.stack_at(place)
            assert after is not None
            found.append((after, entry.action))
        return found + [None] * (length - len(found))

    def sampled(self, n_step: int) -> list[int]:
        places = range(self.oldest, len(self.entries))
        return [place for place in places if self.transition(place, n_step, 1.0) is not None]


class Feeder:
    """Gives the same steps to a replay and to lists; each observation is a different one."""

    def __init__(self, replay: Ring) -> None:
        self.replay = replay
        self.lists = [Naive(replay.capacity, replay.stack) for _ in range(replay.agents)]
        self.open = [False] * replay.agents
        self.count = 0

    def observation(self) -> Tensor:
        self.count += 1
        if self.replay.dtype == torch.bool:
            bits = [bool(self.count >> place & 1) for place in range(10)]
            return torch.tensor(bits).view(self.replay.shape)
        values = torch.tensor([self.count % 251, self.count // 251])
        return values.to(self.replay.dtype).view(self.replay.shape)

    def feed(self, events: Mapping[int, str]) -> None:
        """One step for each agent named: it goes on ("on"), ends ("end") or is cut ("cut")."""
        steps, lasts = {}, {}
        for agent, event in events.items():
            entry = Entry(
                self.observation(), self.count % 7, self.count % 5 - 1.5, not self.open[agent], event == "end"
            )
            self.lists[agent].entries.append(entry)
            self.open[agent] = event == "on"
            steps[agent] = entry
            if event == "cut":
                lasts[agent] = self.observation()
                self.lists[agent].entries.append(Entry(lasts[agent], cut=True))
        if len(steps) == 1:
            ((agent, entry),) = steps.items()
            self.replay.append(
                agent,
                entry.observation,
                entry.action,
                entry.reward,
                first=entry.first,
                terminal=entry.terminal,
                last=lasts.get(agent),
            )
            return
        entries = list(steps.values())
        self.replay.append(
            list(steps),
            torch.stack([entry.observation for entry in entries]),
            torch.tensor([entry.action for entry in entries]),
            torch.tensor([entry.reward for entry in entries]),
            first=torch.tensor([entry.first for entry in entries]),
            terminal=torch.tensor([entry.terminal for entry in entries]),
            last=lasts or None,
        )
