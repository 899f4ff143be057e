"""From trials to a training: agents, their games, and what is measured of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch

from hare_tortoise.lab.trial import derive_seed
from hare_tortoise.rl.agent import Agent, build_agent
from hare_tortoise.rl.evaluation import evaluate
from hare_tortoise.rl.measuring import Measured
from hare_tortoise.rl.network import prepare
from hare_tortoise.rl.population import Graphed
from hare_tortoise.rl.stacked import Stacked
from hare_tortoise.rl.stage import stage_of
from hare_tortoise.rl.training import Engine, Training
from hare_tortoise.rl.trial import ROWS_EVERY, AgentTrial

_SMALL = 10_000  # steps that a replay remembers which is built only to see that everything fits


def build_training(trial: AgentTrial, device: str = "cpu") -> Training:
    """Build a trial's agent and all that it is trained with.

    Raises:
        ValueError: Something that the trial names is not there, or does not fit the rest.
    """
    return _build([trial], device, None)


def build_population(trials: Sequence[AgentTrial], device: str = "cpu") -> Training:
    """Build the agents of several trials, to be trained in lockstep by one engine over stacked weights.

    Args:
        trials: of one recipe and method, with as many games each, which look alike.
        device: where they live.

    Raises:
        ValueError: They differ in more than game and seed; or something has no stacked form, which the message names.
    """
    first = trials[0]
    for trial in trials:
        alike = (trial.recipe, trial.method, trial.judging, len(trial.games))
        if alike != (first.recipe, first.method, first.judging, len(first.games)):
            raise ValueError(
                f"trials: {trial.label} differs from {first.label} in more than game and seed; a population is of one "
                "recipe and method"
            )
    seed = derive_seed(first.seed, "population", len(trials))
    if torch.device(device).type == "cpu":
        return _build(trials, device, Stacked)
    return _build(trials, device, partial(Graphed, seed=seed))


def small(trial: AgentTrial) -> AgentTrial:
    """The same with a replay that is quickly built: to be built, not trained."""
    return replace(trial, recipe=trial.recipe.replace(capacity=min(trial.recipe.capacity, _SMALL)))


def try_out(trial: AgentTrial) -> None:
    """Build a trial once, on the CPU and with a small replay, and let its method act once, to see that all fits.

    Raises:
        ValueError: Something is not there, or does not fit the rest; or no step comes after the warm-up.
        ImportError: The library of a game is not installed.
    """
    recipe = trial.recipe
    if recipe.replay_ratio and not recipe.updates(recipe.steps):
        raise ValueError(
            f"steps of recipe {recipe.name}: got {recipe.steps:,}, of which {recipe.warm_up:,} are the warm-up, so "
            "that no gradient step is made; give more steps, or a shorter warm_up"
        )
    training = build_training(small(trial))
    (agent,) = training.agents
    if agent.keeping.acting:
        with torch.no_grad():  # some methods look at what is called in a forward
            agent.online(prepare(training.stacks.to(agent.device), agent.shape), agent.mask)
        try:
            agent.keeping.act()
            agent.optimizer.step()  # no gradients: only the method is heard
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"method {trial.method!r} does not fit recipe {recipe.name}: {error}") from error
    training.close()


def _build(
    trials: Sequence[AgentTrial], device: str, engine: Callable[[Sequence[Agent]], Engine] | None
) -> Training:
    first = trials[0]
    judging, recipe = first.judging, first.recipe
    stage = stage_of([game for trial in trials for game in trial.games])

    def play(agent: Agent, place: int, step: int, last: bool) -> dict[str, list[float]]:
        trial = trials[place]
        asked = dict.fromkeys(trial.games) if last else (trial.games[(step - 1) // recipe.steps],)
        count = judging.episodes if last else judging.curve_episodes
        return {
            game: evaluate(agent, game, episodes=count, seed=trial.seed, make=stage.make) for game in asked
        }

    agents = [
        build_agent(
            recipe,
            stage.spaces[trial.games[0]],
            trial.method,
            trial.seed,
            actions=stage.actions,
            device=device,
        )
        for trial in trials
    ]
    return Training(
        agents,
        lambda phase: stage.make([trial.games[phase] for trial in trials]),
        [trial.seed for trial in trials],
        phases=len(first.games),
        rows_every=ROWS_EVERY,
        measured=Measured(evaluate=play, evaluate_every=judging.curve_every, every=judging.measure_every),
        engine=None if engine is None else engine(agents),
    )
