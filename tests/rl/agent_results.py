"""Results of agents drawn from known numbers instead of training, with the rows that training writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hare_tortoise.lab.trial import Result, Row
from hare_tortoise.rl.experiment import AgentExperiment
from hare_tortoise.rl.recipes import find_agent
from hare_tortoise.rl.trial import AgentTrial, Judging

SLOW, PAIR = "ema(decay=0.999)", "hare-tortoise(decay=0.999, reset_every=1000)"
ARMS = ("nothing", SLOW, "head-reset", PAIR)
BREAKOUT, ASTERIX = ("minatar:breakout",), ("minatar:asterix",)
SEQUENCE = tuple(f"minatar:{game}" for game in ("space_invaders", "asterix", "seaquest", "space_invaders"))
LEVEL: Mapping[str, float] = {"nothing": 5.0, SLOW: 5.5, "head-reset": 4.0, PAIR: 8.0}


def experiment(
    games: Sequence[tuple[str, ...]] = (BREAKOUT,),
    methods: Sequence[str] = ARMS,
    seeds: int = 5,
    steps: int = 10_000,
    **judging: Any,
) -> AgentExperiment:
    """An experiment of MinAtar's agent."""
    recipe = find_agent("minatar").replace(steps=steps)
    return AgentExperiment(recipe, tuple(games), tuple(methods), seeds, Judging(**judging))


def rows_of(trial: AgentTrial, *, scale: float = 1.0) -> tuple[Row, ...]:
    """Rows of a trial: each 1,000 steps some episodes, at the end of each phase ten whole games of every game."""
    draws = np.random.default_rng([trial.seed, len(trial.method), len(trial.game)])
    rows: list[Row] = []
    level = LEVEL.get(trial.method, 6.0) + draws.normal(0, 0.4)
    for step in range(1_000, trial.steps + 1, 1_000):
        phase = (step - 1) // trial.recipe.steps
        within = step - phase * trial.recipe.steps
        last = within == trial.recipe.steps
        episodes = int(draws.integers(0, 6))
        learned = level * within / trial.recipe.steps
        row: Row = {
            "step": step,
            "phase": phase,
            "last": last,
            "updates": step,
            "episodes": episodes,
            "return": scale * float(learned + draws.normal(0, 0.3)) if episodes else None,
            "length": 100.0 if episodes else None,
            "loss": 0.1,
            "epsilon": 0.01,
            "seconds": step / 100,
        }
        if within % 5_000 == 0:
            row["measures"] = {
                "dormant_ratio": 0.1 * within / trial.recipe.steps,
                "effective_rank": 40 - phase,
            }
        if last:
            row["evaluations"] = {
                game: [scale * float(level + place + draws.normal(0, 0.5)) for _ in range(10)]
                for place, game in enumerate(dict.fromkeys(trial.games))
            }
        rows.append(row)
    return tuple(rows)


def results_of(planned: AgentExperiment, *, scale: float = 1.0) -> list[Result]:
    """A finished result of each trial."""
    return [
        trial.result(rows_of(trial, scale=scale), None, f"run{n}") for n, trial in enumerate(planned.trials())
    ]
