"""A training in the middle of anything, as a state of tensors and numbers: taken up, it goes on bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hare_tortoise.rl.episodes import resume
from hare_tortoise.rl.training import Life, Training

_NUMBERS = ("phase", "step", "seconds", "renewed", "rows")


def state_of(training: Training) -> dict[str, Any]:
    """Give everything but the frames of the replay, which a `ReplayFile` keeps.

    Raises:
        DivergedError: A loss was not finite: such a state is not worth keeping.
    """
    training.check()
    environments, priorities = training.environments, training.priorities
    return {
        **{name: getattr(training, name) for name in _NUMBERS},
        "lives": [asdict(life) for life in training.lives],
        "stacks": training.stacks,
        "tally": training.tally.state_dict(),
        "draws": {
            purpose: [generator.get_state() for generator in generators]
            for purpose, generators in training.draws.items()
        },
        "replay": training.replay.state_dict(),
        "priorities": None if priorities is None else priorities.state_dict(),
        "environments": None if environments is None else environments.state_dict(),
        "agents": [agent.state_dict() for agent in training.agents],
        "engine": training.engine.state_dict(),
    }


def take_up(training: Training, state: Mapping[str, Any]) -> None:
    """Take up what `state_of` gave of a training built alike; the frames of its replay are put back apart.

    Raises:
        ValueError: It is of another training.
        RuntimeError: An environment does not repeat the episode that was open.
    """
    for name in _NUMBERS:
        setattr(training, name, state[name])
    if training.phase and not training.done:
        training.close()
        training.make_replay(training.games(training.phase))
    for purpose, states in state["draws"].items():
        for generator, saved in zip(training.draws[purpose], states, strict=True):
            generator.set_state(saved)
    for agent, saved in zip(training.agents, state["agents"], strict=True):
        agent.load_state_dict(saved)
    training.engine.load_state_dict(state["engine"])
    training.tally.load_state_dict(state["tally"])
    if training.done:
        return
    training.lives = [Life(**life) for life in state["lives"]]
    training.stacks.copy_(state["stacks"])
    training.replay.load_state_dict(state["replay"])
    if training.priorities is not None:
        training.priorities.load_state_dict(state["priorities"])
    if state["environments"] is not None:
        training.take_up(resume(training.waiting, state["environments"]))
