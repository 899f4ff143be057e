"""The training of agents in lockstep: all act, all learn, all hear what their games answered; checkpointed.

The order of a step is fixed: act with the weights after the last update, send the actions, take the gradient steps
that are due from transitions before this one, receive. So the games run while the networks learn, and it makes no
difference whether they do.

Each row of the metrics is of one agent:

| key | what |
|---|---|
| ``step``, ``updates`` | of the agent, and gradient steps so far |
| ``episodes`` | that ended since the row before |
| ``return``, ``length`` | mean of these, rewards as the game gives them; None where none ended |
| ``loss`` | mean over the gradient steps since the row before; None where there was none |
| ``epsilon`` | share of random actions at this step |
| ``seconds`` | of training so far |
| ``evaluation`` | returns of whole games of the network that plays, in rows where they were played |
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from hare_tortoise.lab.training import READ_EVERY, DivergedError, StoppedError
from hare_tortoise.lab.trial import Row, derive_seed
from hare_tortoise.rl.agent import Agent
from hare_tortoise.rl.environments import SEEDS, Arrival, Environments
from hare_tortoise.rl.replay import Replay
from hare_tortoise.rl.schedules import read_schedule, whole
from hare_tortoise.rl.update import update

DRAWS = ("play", "sample", "augment")
"""What each agent has a generator of its own for."""


@dataclass
class Game:
    """Where the open episode of an agent is, and what ended since the last row."""

    episode: int = 0
    lives: int = 0
    first: bool = True
    reward: float = 0.0
    length: int = 0
    returns: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)


class Training:
    """Agents of one recipe and method in training, each in an environment of its own.

    Args:
        agents: G of them.
        environments: G of them.
        seeds: of the agents; episodes, play, sampling and augmentation are drawn from them.
        rows_every: steps between rows of the metrics.
        evaluate: plays whole games with an agent and gives their returns; called every `evaluate_every` steps.
        evaluate_every: steps; None: never.
        report: is told the step twice a second; returns True to stop.
    """

    def __init__(
        self,
        agents: Sequence[Agent],
        environments: Environments,
        seeds: Sequence[int],
        *,
        rows_every: int = 1_000,
        evaluate: Callable[[Agent, int], list[float]] | None = None,
        evaluate_every: int | None = None,
        report: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self.agents, self.environments, self.seeds = tuple(agents), environments, tuple(seeds)
        self.recipe = agents[0].recipe
        self.rows_every, self.evaluate, self.evaluate_every = rows_every, evaluate, evaluate_every
        self.report = report
        recipe, space = self.recipe, environments.spaces[0]
        self.device = agents[0].legal.device
        count = len(self.agents)
        self.replay = Replay(count, recipe.capacity, space.shape, space.dtype, stack=recipe.stack, device=self.device)
        self.draws = {
            purpose: [torch.Generator().manual_seed(derive_seed(seed, purpose)) for seed in self.seeds]
            for purpose in DRAWS
        }
        self.epsilon = read_schedule(recipe.epsilon)
        self.n_step, self.discount = read_schedule(recipe.n_step), read_schedule(recipe.discount)
        self.step, self.owed, self.seconds = 0, 0.0, 0.0
        self.renewed = [0] * count  # updates of each agent when its schedules began anew
        self.games = [Game() for _ in self.agents]
        self.stacks = torch.zeros(count, recipe.stack, *space.shape, dtype=space.dtype)
        self.losses = torch.zeros(count, READ_EVERY, device=self.device)
        self.unread = 0
        self.summed, self.counted = [0.0] * count, 0
        self.rows: list[list[Row]] = [[] for _ in self.agents]
        self.playing = False

    def finish(self) -> list[list[Row]]:
        """Train to the last step and give the rows of each agent.

        Raises:
            DivergedError: A loss was not finite.
            StoppedError: `report` asked for it.
        """
        due = time.perf_counter() + 0.5
        while self.step < self.recipe.steps:
            begun = time.perf_counter()
            self.advance()
            self.seconds += time.perf_counter() - begun
            if self.step % self.rows_every == 0 or self.step == self.recipe.steps:
                self._write_rows()
            if time.perf_counter() >= due:
                due = time.perf_counter() + 0.5
                if self.report(self.step):
                    raise StoppedError
        return self.rows

    def advance(self) -> None:
        """Take one step with every agent, and the gradient steps that it owes."""
        if not self.playing:
            self._start(range(len(self.agents)))
            self.playing = True
        actions = self._act()
        self.environments.send(actions)
        if self.step >= self.recipe.warm_up:
            self.owed += self.recipe.replay_ratio
            while self.owed >= 1:
                self.owed -= 1
                self._update()
        self._hear(actions, self.environments.receive())
        self.step += 1

    def _act(self) -> Tensor:
        warm = self.step < self.recipe.warm_up
        epsilon = 1.0 if warm else self.epsilon(self.step - self.recipe.warm_up)
        chosen = [
            agent.act(self.stacks[place : place + 1], epsilon, self.draws["play"][place])
            for place, agent in enumerate(self.agents)
        ]
        return torch.cat(chosen)

    def _update(self) -> None:
        counts = [agent.keeping.updates - since for agent, since in zip(self.agents, self.renewed, strict=True)]
        batch = self.replay.sample(
            self.recipe.batch,
            self.draws["sample"],
            n_step=[whole(self.n_step(count)) for count in counts],
            discount=[self.discount(count) for count in counts],
        )
        for place, agent in enumerate(self.agents):
            mine = type(batch)(*(getattr(batch, name)[place : place + 1] for name in batch.__dataclass_fields__))
            found = update(agent, mine, self.draws["augment"][place])
            self.losses[place, self.unread] = found.mean.detach()
            if agent.keeping.after_update():
                self.renewed[place] = agent.keeping.updates
        self.unread += 1
        if self.unread == READ_EVERY:
            self._read_losses()

    def _read_losses(self) -> None:
        """Read the losses from the device, once in a while; the first that is not finite ends the training."""
        if not self.unread:
            return
        losses = self.losses[:, : self.unread].double()
        self.counted += self.unread
        for place, row in enumerate(losses.cpu()):
            bad = (~row.isfinite()).nonzero()
            if len(bad):
                number = self.agents[place].keeping.updates - self.unread + int(bad[0]) + 1
                raise DivergedError(
                    f"the loss was {row[bad[0]].item()} at update {number} of seed {self.seeds[place]}, about step "
                    f"{self.step}"
                )
            self.summed[place] += float(row.sum())
        self.unread = 0

    def _hear(self, actions: Tensor, arrival: Arrival) -> None:
        """Store what was done and what came of it; begin the next life or episode where one is over."""
        recipe = self.recipe
        lives = torch.tensor([game.lives for game in self.games])
        lost = (arrival.lives < lives) & torch.tensor([recipe.lives_end])
        over = arrival.ended | arrival.truncated
        terminal = arrival.ended | lost
        cut = arrival.truncated & ~terminal
        rewards = arrival.reward.clamp(-1, 1) if recipe.clip_rewards else arrival.reward
        self.replay.append(
            range(len(self.agents)),
            self.stacks[:, -1],
            actions,
            rewards,
            first=torch.tensor([game.first for game in self.games]),
            terminal=terminal,
            last={place: arrival.observation[place] for place in cut.nonzero().squeeze(1).tolist()},
        )
        self.stacks = self.stacks.roll(-1, 1)
        self.stacks[terminal] = 0
        self.stacks[:, -1] = arrival.observation
        for place, game in enumerate(self.games):
            game.first, game.lives = bool(terminal[place]), int(arrival.lives[place])
            game.reward += float(arrival.reward[place])
            game.length += 1
        self._start(over.nonzero().squeeze(1).tolist())

    def _start(self, which: Sequence[int]) -> None:
        """Begin an episode for some agents; what the last one came to is kept for the next row."""
        if not len(which):
            return
        for place in which:
            game = self.games[place]
            if game.length:
                game.returns.append(game.reward)
                game.lengths.append(game.length)
        seeds = [derive_seed(self.seeds[place], "episode", self.games[place].episode) % SEEDS for place in which]
        arrival = self.environments.start(list(which), seeds)
        for row, place in enumerate(which):
            game = self.games[place]
            self.games[place] = Game(
                game.episode + 1, int(arrival.lives[row]), returns=game.returns, lengths=game.lengths
            )
            self.stacks[place] = 0
            self.stacks[place, -1] = arrival.observation[row]

    def _write_rows(self) -> None:
        self._read_losses()
        played = self.evaluate_every is not None and self.step % self.evaluate_every == 0
        for place, (agent, game) in enumerate(zip(self.agents, self.games, strict=True)):
            row: Row = {
                "step": self.step,
                "updates": agent.keeping.updates,
                "episodes": len(game.returns),
                "return": sum(game.returns) / len(game.returns) if game.returns else None,
                "length": sum(game.lengths) / len(game.lengths) if game.lengths else None,
                "loss": self.summed[place] / self.counted if self.counted else None,
                "epsilon": self.epsilon(max(0, self.step - self.recipe.warm_up)),
                "seconds": self.seconds,
            }
            if played and self.evaluate is not None:
                row["evaluation"] = self.evaluate(agent, place)
            self.rows[place].append(row)
            game.returns, game.lengths = [], []
            self.summed[place] = 0.0
        self.counted = 0

    def state_dict(self) -> dict[str, Any]:
        """Everything but the frames of the replay and the environments."""
        self._read_losses()
        return {
            "step": self.step,
            "owed": self.owed,
            "seconds": self.seconds,
            "renewed": self.renewed,
            "games": [asdict(game) for game in self.games],
            "stacks": self.stacks,
            "summed": self.summed,
            "counted": self.counted,
            "rows": self.rows,
            "draws": {purpose: [each.get_state() for each in draws] for purpose, draws in self.draws.items()},
            "replay": self.replay.state_dict(),
            "agents": [agent.state_dict() for agent in self.agents],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave; frames and environments are put back by those who keep them."""
        self.playing = True
        for name in ("step", "owed", "seconds", "renewed", "summed", "counted", "rows"):
            setattr(self, name, state[name])
        self.games = [Game(**game) for game in state["games"]]
        self.stacks.copy_(state["stacks"])
        for purpose, states in state["draws"].items():
            for generator, saved in zip(self.draws[purpose], states, strict=True):
                generator.set_state(saved)
        self.replay.load_state_dict(state["replay"])
        for agent, saved in zip(self.agents, state["agents"], strict=True):
            agent.load_state_dict(saved)
