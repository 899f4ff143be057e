"""The training of agents in lockstep: all act, all learn, all hear what their games answered.

The order of a step is fixed: act with the weights after the last update, send the actions, take the gradient steps
that are due from transitions before this one, receive. So the games run while the networks learn, and it makes no
difference whether they do.

A run has one phase, or several, each on another game: then the network, its averages and its optimizer go on, a method
that acts at new data acts, and replay, warm-up, epsilon and the schedules begin anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from hare_tortoise.lab.trial import Row, derive_seed
from hare_tortoise.rl import stacks
from hare_tortoise.rl.agent import Agent
from hare_tortoise.rl.environments import Arrival, Environments
from hare_tortoise.rl.episodes import Episodes
from hare_tortoise.rl.losses import Loss
from hare_tortoise.rl.measuring import Measured
from hare_tortoise.rl.population import Graphed
from hare_tortoise.rl.priorities import Priorities
from hare_tortoise.rl.replay import Batch, Following, Replay
from hare_tortoise.rl.rows import Tally
from hare_tortoise.rl.schedules import read_schedule, whole
from hare_tortoise.rl.seeds import training_seed
from hare_tortoise.rl.update import Draws, Generators, Loop

DRAWS = ("play", "sample", "augment", "noise")
"""What each agent has a generator of its own for."""


@dataclass
class Life:
    """Where the open episode of an agent is.

    Args:
        episode: how many were begun.
        lives: that are left, as the game told last.
        first: whether the next step begins a life or an episode.
    """

    episode: int = 0
    lives: int = 0
    first: bool = True


class Engine(Protocol):
    """Acts and learns for G agents, over their storage; see `Loop`, which is one."""

    def act(self, stacks: Tensor, epsilon: float, play: Generators, noise: Generators) -> Tensor:
        """Choose an action for the stack of each agent."""

    def update(
        self, batch: Batch, draws: Draws, *, weights: Tensor | None = None, following: Following | None = None
    ) -> Loss:
        """Take one gradient step with each agent."""

    def state_dict(self) -> dict[str, Any]:
        """Give what is not in the states of the agents."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""


class Training:
    """Agents of one recipe and method in training, each in an environment of its own.

    Args:
        agents: G of them.
        games: gives the environments of a phase, G of them.
        seeds: of the agents; episodes, play, sampling and augmentation are drawn from them.
        phases: how many games are played one after the other, `recipe.steps` steps each.
        rows_every: steps between rows of the metrics.
        measured: what is taken for a row beside the returns: evaluations, measures of plasticity.
        engine: acts and learns for the agents; None: `Loop`.
    """

    def __init__(
        self,
        agents: Sequence[Agent],
        games: Callable[[int], Environments],
        seeds: Sequence[int],
        *,
        phases: int = 1,
        rows_every: int = 1_000,
        measured: Measured | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.agents, self.games, self.seeds = tuple(agents), games, tuple(seeds)
        self.recipe, self.phases, self.rows_every = agents[0].recipe, phases, rows_every
        self.measured, self.engine = measured or Measured(), engine or Loop(agents)
        self.draws = {
            purpose: [torch.Generator().manual_seed(derive_seed(seed, purpose)) for seed in self.seeds]
            for purpose in DRAWS
        }
        self.epsilon, self.importance = (
            read_schedule(self.recipe.epsilon),
            read_schedule(self.recipe.importance),
        )
        self.n_step, self.discount = read_schedule(self.recipe.n_step), read_schedule(self.recipe.discount)
        self.tally = Tally(len(self.agents), agents[0].device)
        self.phase = self.step = 0  # the step is counted within its phase
        self.seconds = 0.0
        self.renewed = [0] * len(self.agents)  # updates of each agent when its schedules began anew
        self.rows: list[list[Row]] = [[] for _ in self.agents]
        self.environments: Episodes | None = None
        self.make_replay(games(0))

    @property
    def done(self) -> bool:
        """Whether the last step of the last phase is made."""
        return self.phase == self.phases

    @property
    def steps(self) -> int:
        """Steps of each agent so far, over all phases."""
        return self.phase * self.recipe.steps + self.step

    def advance(self) -> None:
        """Take one step with every agent, and the gradient steps that it owes; write a row where one is due.

        Raises:
            DivergedError: A loss was not finite.
        """
        begun = time.perf_counter()
        environments = self._open()
        actions = self._act()
        environments.send(actions)
        due = self.recipe.updates(self.step + 1) - self.recipe.updates(self.step)
        watched = self.measured.due(self.step + 1)
        while due > watched:
            due -= self._update(due - watched)
        if due:
            self.measured.watch(self)
            self._update(1)
            self.measured.compare(self)
        self._hear(environments, actions, environments.receive())
        self.step += 1
        self.seconds += time.perf_counter() - begun
        last = self.step == self.recipe.steps
        if last or self.step % self.rows_every == 0:
            self._write_rows(last)
        if last:
            self._leave()

    def check(self) -> None:
        """Read the losses that were not read yet.

        Raises:
            DivergedError: One is not finite.
        """
        self.tally.read([agent.keeping.updates for agent in self.agents], self.seeds, self.steps)

    def close(self) -> None:
        """Give back what the environments hold."""
        self.waiting.close()

    def make_replay(self, environments: Environments) -> None:
        """Begin a phase: nothing is remembered, no episode is begun."""
        recipe, space = self.recipe, environments.spaces[0]
        count = len(self.agents)
        device = self.agents[0].device
        self.replay = Replay(
            count, recipe.capacity, space.shape, space.dtype, stack=recipe.stack, device=device
        )
        prioritised = recipe.replay == "prioritised"
        self.priorities = Priorities(self.replay, alpha=recipe.priority_exponent) if prioritised else None
        self.stacks = torch.zeros(count, recipe.stack, *space.shape, dtype=space.dtype)
        self.lives = [Life() for _ in self.agents]
        self.waiting = environments

    def _open(self) -> Episodes:
        """Give the environments of this phase; begin the first episodes where none was begun."""
        if self.environments is None:
            environments = Episodes(self.waiting)
            self.take_up(environments)
            self._start(environments, range(len(self.agents)))
            return environments
        return self.environments

    def take_up(self, environments: Episodes) -> None:
        """Go on in environments whose episodes were begun."""
        self.environments = environments
        for agent, space in zip(self.agents, environments.spaces, strict=True):
            agent.plays(space)

    def _leave(self) -> None:
        """End a phase, and go over to the next where there is one."""
        self.close()
        self.environments = None
        self.phase, self.step = self.phase + 1, 0
        if not self.done:
            for place, agent in enumerate(self.agents):
                agent.keeping.new_game()
                self.renewed[place] = agent.keeping.updates
            self.make_replay(self.games(self.phase))

    def _act(self) -> Tensor:
        return self.engine.act(self.stacks, self._epsilon(self.step), self.draws["play"], self.draws["noise"])

    def _epsilon(self, step: int) -> float:
        """Share of random actions at a step of this phase: all of them in the warm-up, then as the schedule has it."""
        return 1.0 if step < self.recipe.warm_up else self.epsilon(step - self.recipe.warm_up)

    def _update(self, due: int) -> int:
        """Take one of the gradient steps that are due, or several where the engine does so; says how many."""
        if isinstance(self.engine, Graphed):
            means = self.engine.several(self.replay, due)
            for mean in means:
                self._count(mean)
            return len(means)
        counts = [
            agent.keeping.updates - since for agent, since in zip(self.agents, self.renewed, strict=True)
        ]
        batch, weights = self._sample(counts)
        jumps = self.recipe.jumps
        following = self.replay.gather_sequence(batch.indices, jumps) if self.recipe.prediction else None
        draws = Draws(self.draws["augment"], self.draws["noise"])
        with self._naming_divergence():
            found = self.engine.update(batch, draws, weights=weights, following=following)
        if self.priorities is not None:
            try:
                self.priorities.update(batch.indices, found.priorities)
            except ValueError:
                self._count(found.mean)
                self.check()  # they are those of a loss that was not finite
                raise
        self._count(found.mean)
        return 1

    @contextmanager
    def _naming_divergence(self) -> Iterator[None]:
        """Name the update where a method finds weights that are not finite before the losses are read."""
        try:
            yield
        except RuntimeError as error:
            self.check()
            for place, agent in enumerate(self.agents):
                if not all(bool(weight.isfinite().all()) for weight in agent.online.parameters()):
                    text = f"the weights were not finite after update {agent.keeping.updates + 1}"
                    self.tally.fail(place, text, self.seeds[place], self.steps)
            self.tally.refuse_if_all_failed(error)
            raise

    def _count(self, losses: Tensor) -> None:
        for place, agent in enumerate(self.agents):
            if agent.keeping.after_update():
                self.renewed[place] = agent.keeping.updates
        if self.tally.add(losses):
            self.check()

    def _sample(self, counts: Sequence[int]) -> tuple[Batch, Tensor | None]:
        n_step = [whole(self.n_step(count)) for count in counts]
        discount = [self.discount(count) for count in counts]
        draws, rows = self.draws["sample"], self.recipe.batch
        if self.priorities is None:
            return self.replay.sample(rows, draws, n_step=n_step, discount=discount), None
        beta = self.importance(max(0, self.step - self.recipe.warm_up))
        indices, weights = self.priorities.sample(rows, draws, n_step=n_step, beta=beta)
        return self.replay.gather(indices, n_step=n_step, discount=discount), weights

    def _hear(self, environments: Episodes, actions: Tensor, arrival: Arrival) -> None:
        """Store what was done and what came of it; begin the next life or episode where one is over."""
        recipe = self.recipe
        # lists: of a few agents they are quicker than as many small tensors
        lives, ended, truncated = arrival.lives.tolist(), arrival.ended.tolist(), arrival.truncated.tolist()
        terminal = [
            over or (recipe.lives_end and left < life.lives)
            for over, left, life in zip(ended, lives, self.lives, strict=True)
        ]
        cut = [place for place, short in enumerate(truncated) if short and not terminal[place]]
        self.replay.append(
            range(len(self.agents)),
            self.stacks[:, -1],
            actions,
            arrival.reward.clamp(-1, 1) if recipe.clip_rewards else arrival.reward,
            first=[life.first for life in self.lives],
            terminal=terminal,
            last={place: arrival.observation[place] for place in cut},
        )
        stacks.follow(
            self.stacks, arrival.observation, [place for place, ends in enumerate(terminal) if ends]
        )
        for life, ends, left in zip(self.lives, terminal, lives, strict=True):
            life.first, life.lives = ends, left
        over = [place for place in range(len(self.agents)) if ended[place] or truncated[place]]
        for place in over:
            self.tally.end(place, environments.returns[place], environments.steps[place])
        self._start(environments, over)

    def _start(self, environments: Episodes, which: Sequence[int]) -> None:
        """Begin an episode for some agents."""
        if not len(which):
            return
        seeds = [
            training_seed(self.seeds[place], "phase", self.phase, "episode", self.lives[place].episode)
            for place in which
        ]
        arrival = environments.start(list(which), seeds)
        for row, place in enumerate(which):
            self.lives[place] = Life(self.lives[place].episode + 1, int(arrival.lives[row]))
        stacks.begin(self.stacks, which, arrival.observation)

    def _write_rows(self, last: bool) -> None:
        self.check()
        for place, agent in enumerate(self.agents):
            if place in self.tally.failures:
                continue
            row: Row = {
                "step": self.steps,
                "phase": self.phase,
                "last": last,
                "updates": agent.keeping.updates,
                **self.tally.row(place),
                "epsilon": self._epsilon(self.step - 1),
                "seconds": self.seconds / len(self.agents),
            }
            self.rows[place].append(row | self.measured.row(self, place, last))
        self.tally.clear()
