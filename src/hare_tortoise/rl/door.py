"""The door of the library: train an agent, load it, evaluate it."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hare_tortoise.lab.job import Report, go_on
from hare_tortoise.lab.recipe import canonical_method
from hare_tortoise.lab.training import DivergedError
from hare_tortoise.lab.trial import Engine
from hare_tortoise.rl import evaluation
from hare_tortoise.rl.agent import Agent
from hare_tortoise.rl.asked import check_fit, recipe_for
from hare_tortoise.rl.building import try_out
from hare_tortoise.rl.environments import full_name, make_environments
from hare_tortoise.rl.keeping import NOTHING
from hare_tortoise.rl.recipe import AgentRecipe
from hare_tortoise.rl.recipes import find_agent
from hare_tortoise.rl.room import check_device, check_room
from hare_tortoise.rl.task import AgentTask
from hare_tortoise.rl.trial import AgentTrial, Judging, identity

JUDGING = Judging(episodes=10, measure_every=None)
"""How an agent is judged that is trained through the door; `evaluate` plays more games."""


def train(
    recipe: AgentRecipe | str | None = None,
    *,
    env: str | Sequence[str],
    seed: int = 0,
    method: str = NOTHING,
    steps: int | None = None,
    out: str | Path | None = None,
    device: str | None = None,
    report: Report = go_on,
    **changes: Any,
) -> Agent:
    """Train one agent in this process and give it back.

    Args:
        recipe: what it is made of, or its name (`hare_tortoise.rl.AGENTS`); None: the one for the environment
            (`recipe_for`).
        env: `atari:Assault`, `minatar:breakout`, an id of gymnasium, or the user's own `package.module:function`, which
            returns a `gymnasium.Env`; several are played one after the other by one network.
        seed: of everything that is drawn.
        method: keeps the agent plastic: `hare-tortoise(decay=0.999, reset_every=1000)`; by default nothing does.
        steps: of the agent, in each environment; None: as many as the recipe says.
        out: folder in which the run is kept, `out/runs/<name>`, with its metrics; a run that was interrupted goes on
            from its last checkpoint, a finished one is only read. None: nothing is kept.
        device: `cpu`, `cuda`; None: a GPU where there is one.
        report: is told twice a second where the training is, such as `lambda moment: print(moment.place)`; it returns
            True to stop.
        changes: other values of the recipe: `lr=3e-4, n_step=3`.

    Returns:
        The agent with the weights that it ended with.

    Raises:
        ValueError: Something that is named is not there or does not fit the rest, or the replay is too large.
        DivergedError: The loss was not finite.
        StoppedError: `report` stopped it.

    Example:
        >>> agent = train(env="CartPole-v1", seed=0, steps=400, warm_up=200)
        >>> len(evaluate(agent, episodes=3))
        3
    """
    if steps is not None:
        changes["steps"] = steps
    trial = _trial(recipe, (env,) if isinstance(env, str) else env, method, seed, changes)
    engine = Engine(device or ("cuda" if torch.cuda.is_available() else "cpu"), torch.get_num_threads())
    check_device(engine.device)
    with _folder(out) as folder:
        try_out(trial)
        check_room([trial], out=folder, at_once=1, device=engine.device)
        task = AgentTask(trial, identity(trial, engine), folder, engine)
        result = task.run(report=report, note=warnings.warn)
        if result.failure is not None:
            raise DivergedError(result.failure)
        agent = Agent.load(folder / "runs" / result.run, device=engine.device)
    agent.recipe = trial.recipe  # the same values, with their name and their sources
    return agent


def load(run: str | Path, *, device: torch.device | str = "cpu") -> Agent:
    """Read a finished agent with the weights that it ended with, as `Agent.load` does.

    Args:
        run: folder of the run, such as `agents/runs/0123456789abcdef`, or an output folder with one run in it.
        device: where it is to live.

    Raises:
        FileNotFoundError: There is no run, or it is not finished.
        ValueError: The run is no agent's, it failed, or the folder holds several, which are named.
    """
    return Agent.load(run, device=device)


def evaluate(agent: Agent, episodes: int = 100, env: str | None = None, *, seed: int = 0) -> list[float]:
    """Play whole games with the network that an agent deploys, and give their returns.

    One game is played in each of `episodes` environments, with the recipe's `evaluation_epsilon`; none is dropped.

    Args:
        agent: it is left as it was.
        episodes: how many games, 1 or more.
        env: on which environment; None: on that which it was trained on.
        seed: of the games.

    Raises:
        ValueError: It is not known which environment is meant, there is none of this name, or it does not fit.
    """
    if env is None and len(set(agent.games)) != 1:
        known = f"was trained on {', '.join(agent.games)}" if agent.games else "does not come from a run"
        raise ValueError(f"env: the agent {known}; say which environment it is to play")
    game = agent.games[0] if env is None else full_name(env)
    make = partial(make_environments, padded=agent.padded)
    return evaluation.evaluate(agent, game, episodes=episodes, seed=seed, make=make)


def _trial(
    recipe: AgentRecipe | str | None, env: Sequence[str], method: str, seed: int, changes: Mapping[str, Any]
) -> AgentTrial:
    if not env or not all(isinstance(name, str) for name in env):
        raise ValueError(f"env: got {env!r}, expected the name of an environment, or several")
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed: got {seed!r}, expected a whole number of at least 0")
    if not isinstance(recipe, AgentRecipe | str | None):
        raise ValueError(f"recipe: got {recipe!r}, expected the name of one, or an AgentRecipe")
    games = tuple(full_name(name) for name in env)
    if recipe is None:
        recipe = recipe_for(games[0])
    elif isinstance(recipe, str):
        recipe = find_agent(recipe)
    chosen = recipe.replace(**changes)
    for name in games:
        check_fit(chosen, name)
    return AgentTrial(chosen, games, canonical_method(method), seed, JUDGING)


@contextmanager
def _folder(out: str | Path | None) -> Iterator[Path]:
    if out is not None:
        yield Path(out)
        return
    with tempfile.TemporaryDirectory(prefix="hare-tortoise-") as folder:
        yield Path(folder)
