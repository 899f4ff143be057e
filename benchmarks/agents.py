"""Agents on a CPU: steps per second against the bare gradient step, and against Stable-Baselines3's DQN.

Run it with `python -m benchmarks.agents`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete

from benchmarks.harness import Outcome, Row, alternate, median_row, ratio_row, script
from hare_tortoise.rl.agent import Agent, build_agent
from hare_tortoise.rl.building import build_population, build_training
from hare_tortoise.rl.environments import make_environments
from hare_tortoise.rl.recipe import AgentRecipe
from hare_tortoise.rl.recipes import find_agent
from hare_tortoise.rl.training import Training
from hare_tortoise.rl.trial import AgentTrial
from hare_tortoise.rl.update import part_of, update

ATARI, MINATAR = "atari:Pong", "minatar:breakout"
TOGETHER = 5


class Stacked(gymnasium.Env[Any, Any]):
    """The same emulator and protocol for another library: four frames at once, rewards clipped."""

    def __init__(self) -> None:
        self.games = make_environments([ATARI], num_threads=1)
        (space,) = self.games.spaces
        self.observation_space = Box(0, 255, (4, *space.shape), np.uint8)
        self.action_space = Discrete(space.actions)
        self.stack = torch.zeros(4, *space.shape, dtype=torch.uint8)
        self.episode = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self.episode += 1
        self.stack.zero_()
        self.stack[-1] = self.games.start([0], [self.episode]).observation[0]
        return self.stack.numpy().copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act."""
        self.games.send(torch.tensor([int(action)]))
        arrival = self.games.receive()
        self.stack = torch.cat([self.stack[1:], arrival.observation])
        reward = float(arrival.reward.clamp(-1, 1))
        return self.stack.numpy().copy(), reward, bool(arrival.ended), bool(arrival.truncated), {}


def in_training(recipe: AgentRecipe, game: str) -> Training:
    """An agent whose warm-up is over."""
    environments = make_environments([game], num_threads=1)
    agent = build_agent(recipe, environments.spaces[0], "nothing", 0)
    training = Training([agent], lambda _: environments, [0], rows_every=10**9)
    while training.step < recipe.warm_up:
        training.advance()
    return training


def bare(recipe: AgentRecipe, training: Training) -> Callable[[], object]:
    """The gradient step of another such agent, always on the same rows, which are not augmented."""
    agent = training.agents[0]
    plain = recipe.replace(shift=0, intensity=0.0)
    twin = build_agent(plain, agent.space, "nothing", 0)
    draws = [torch.Generator().manual_seed(0)]
    batch = part_of(training.replay.sample(recipe.batch, draws, n_step=3, discount=0.99), 0)
    return lambda: update(twin, batch, draws[0])


def acting(agent: Agent, training: Training) -> Callable[[], object]:
    """The choice of an action, always for the same observations."""
    draws = torch.Generator().manual_seed(0)
    return lambda: agent.choose(training.stacks, 0.01, draws)


def against_bare_steps(quick: bool) -> list[Row]:
    """Steps of the whole agent against its own bare gradient steps."""
    rows = []
    rounds, calls = (2, 1) if quick else (45, 2)  # short turns: the machine's speed drifts
    for loss, atoms in (("scalar", None), ("C51", 51)):
        recipe = find_agent("drq").replace(atoms=atoms, replay_ratio=1.0, warm_up=100, capacity=4_000)
        training = in_training(recipe, ATARI)
        times = alternate(
            {"bare": bare(recipe, training), "whole": training.advance}, rounds=rounds, calls=calls
        )
        rows.append(median_row(f"drq, {loss}: a gradient step", [1e3 * t for t in times["bare"]], "ms"))
        what = f"drq, {loss}: rate of the whole agent / of its gradient steps alone"
        rows.append(ratio_row(what, times["bare"], times["whole"], at_least=0.88))
    rounds, calls = (2, 4) if quick else (45, 80)
    for loss, atoms in (("scalar", None), ("C51", 51)):
        recipe = find_agent("minatar").replace(atoms=atoms, replay_ratio=0.25, warm_up=100, capacity=20_000)
        training = in_training(recipe, MINATAR)
        agent, step = training.agents[0], bare(recipe, training)
        act = acting(agent, training)

        def parts(act: Callable[[], object] = act, step: Callable[[], object] = step) -> None:
            for _ in range(4):
                act()
            step()

        def whole(training: Training = training) -> None:
            for _ in range(4):
                training.advance()

        times = alternate({"bare": parts, "whole": whole}, rounds=rounds, calls=max(1, calls // 4))
        rows.append(median_row(f"MinAtar, {loss}: steps", [4 / t for t in times["whole"]], "per second"))
        what = f"MinAtar, {loss}, a gradient step each 4: rate / of acting and gradient steps alone"
        rows.append(ratio_row(what, times["bare"], times["whole"], at_least=0.7))
    return rows


def populations(quick: bool) -> list[Row]:
    """The step of one agent by itself against its share of the step of five over stacked weights."""
    recipe = find_agent("minatar").replace(replay_ratio=4.0, warm_up=100, capacity=20_000)
    trials = [AgentTrial(recipe, (MINATAR,), "nothing", seed) for seed in range(TOGETHER)]
    candidates: dict[str, Callable[[], object]] = {}
    for name, training in (("alone", build_training(trials[0])), ("together", build_population(trials))):
        while training.step < recipe.warm_up:
            training.advance()
        candidates[name] = training.advance
    times = alternate(candidates, rounds=2 if quick else 9, calls=1 if quick else 20)
    shares = [seconds / TOGETHER for seconds in times["together"]]
    what = f"MinAtar, scalar, 4 gradient steps each: time of an agent in a population of {TOGETHER} / alone"
    return [
        median_row(
            "MinAtar, scalar, 4 gradient steps: a step alone", [1e3 * t for t in times["alone"]], "ms"
        ),
        ratio_row(what, shares, times["alone"]),
    ]


def against_sb3(quick: bool) -> list[Row]:
    """Steps per second at one gradient step each against Stable-Baselines3's DQN, at 1 and at 2 threads."""
    from stable_baselines3 import DQN

    rows = []
    rounds, steps = (2, 2) if quick else (7, 40)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        peer = DQN("CnnPolicy", Stacked(), buffer_size=4_000, learning_starts=100, train_freq=1, seed=0)
        peer.learn(110)
        candidates: dict[str, Callable[[], object]] = {
            "peer": lambda peer=peer: peer.learn(steps, reset_num_timesteps=False)  # type: ignore[misc]
        }
        for loss, atoms in (("scalar", None), ("C51", 51)):
            recipe = find_agent("drq").replace(atoms=atoms, replay_ratio=1.0, warm_up=100, capacity=4_000)
            training = in_training(recipe, ATARI)

            def whole(training: Training = training) -> None:
                for _ in range(steps):
                    training.advance()

            candidates[loss] = whole
        times = alternate(candidates, rounds=rounds, calls=1, warm_up=1)
        words = f"{threads} thread{'s' * (threads > 1)}"
        for name, shown in (
            ("peer", "DQN of Stable-Baselines3"),
            ("scalar", "drq, scalar"),
            ("C51", "drq, C51"),
        ):
            rows.append(median_row(f"{shown}, {words}", [steps / t for t in times[name]], "steps per second"))
        what = f"steps per second, drq scalar / Stable-Baselines3, {words}"
        rows.append(ratio_row(what, times["peer"], times["scalar"], at_least=1.3))
        rows.append(ratio_row(what.replace("scalar", "C51"), times["peer"], times["C51"]))
    torch.set_num_threads(1)
    return rows


def measure(quick: bool) -> Outcome:
    """Time agents against their gradient steps, and against another library, in turns."""
    torch.set_num_threads(1)
    return Outcome(
        title="Agents",
        setting=(
            f"{ATARI} and {MINATAR}; one gradient step of 32 rows each step where nothing else is said. A gradient "
            "step alone is on rows that lie ready, not augmented, with the average of the weights. Stable-Baselines3's "
            "agent does less in a step: no augmentation, no double Q-learning, no dueling, a copied target network."
        ),
        rows=against_bare_steps(quick) + populations(quick) + against_sb3(quick),
    )


if __name__ == "__main__":
    script(measure, __doc__)
