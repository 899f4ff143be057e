"""Independent sums over the rows of agents' results: what the figures of a comparison are held against."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from hare_tortoise.lab.statistics import Estimate
from hare_tortoise.lab.trial import Result
from hare_tortoise.rl.experiment import AgentExperiment
from hare_tortoise.rl.recipes import find_agent
from hare_tortoise.rl.report.comparison import RETURN, AgentComparison
from hare_tortoise.rl.report.entries import Figure
from tests.rl.agent_results import PAIR

ATARI = (("atari:Assault",), ("atari:Pong",), ("atari:Breakout",))


def atari(
    games: Sequence[tuple[str, ...]] = ATARI, methods: Sequence[str] = ("nothing", PAIR), seeds: int = 4
) -> AgentExperiment:
    return AgentExperiment(find_agent("drq").replace(steps=10_000), tuple(games), tuple(methods), seeds)


def of(results: Sequence[Result], method: str, game: str) -> list[Result]:
    found = [r for r in results if r.method == method and r.recipe.endswith(f" on {game}")]
    return sorted(found, key=lambda result: result.seed)


def final(result: Result, game: str) -> float:
    values = result.rows[-1]["evaluations"][game]
    return math.fsum(values) / len(values)


def trained(result: Result, phase: int, steps: int) -> float:
    """The mean over the episodes that ended in the second half of a phase, one by one."""
    returns = []
    for row in result.rows:
        if phase * steps + steps / 2 < row["step"] <= (phase + 1) * steps:
            returns += [row["return"]] * row["episodes"]
    return math.fsum(returns) / len(returns)


def student(values: Sequence[float]) -> tuple[float, float, float]:
    mean, error = float(np.mean(values)), float(stats.sem(values))
    low, high = stats.t.interval(0.95, len(values) - 1, mean, error)
    return mean, float(low), float(high)


def same(estimate: Estimate, expected: tuple[float, float, float]) -> None:
    assert (estimate.mean, estimate.low, estimate.high) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def figure(compared: AgentComparison, games: tuple[str, ...], method: str, name: str = RETURN) -> Figure:
    found = compared.entry(games, method).figure(name)
    assert found is not None
    return found
