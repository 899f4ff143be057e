"""A trial of an agent: one recipe on one game, or on several in sequence, with one method and one seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import torch

from hare_tortoise._version import __version__
from hare_tortoise.lab.code import code_digest
from hare_tortoise.lab.spec import parse, parse_sum
from hare_tortoise.lab.trial import Engine, Result
from hare_tortoise.rl.environments import library_of
from hare_tortoise.rl.precision import precision_of
from hare_tortoise.rl.recipe import AgentRecipe

THEN = " > "
"""Stands between the games of a sequence."""


@dataclass(frozen=True)
class Judging:
    """How an agent is judged, beside the returns of its training.

    Args:
        episodes: whole games at the end of each phase, on every game of the sequence.
        curve_every: steps between games on the way; None: none.
        curve_episodes: of these.
        measure_every: steps between measures of plasticity, a multiple of 1,000; None: none.
    """

    episodes: int = 100
    curve_every: int | None = None
    curve_episodes: int = 10
    measure_every: int | None = 5_000

    def __post_init__(self) -> None:
        for name in ("episodes", "curve_episodes", "curve_every", "measure_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: got {value}, expected a whole number of 1 or more")
        for name in ("curve_every", "measure_every"):
            value = getattr(self, name)
            if value is not None and value % ROWS_EVERY:
                raise ValueError(f"{name}: got {value} steps, expected a multiple of {ROWS_EVERY:,}")


ROWS_EVERY = 1_000
"""Steps between rows of the metrics."""


@dataclass(frozen=True)
class AgentTrial:
    """One agent in training: a pure function of these.

    Args:
        recipe: what it is made of.
        games: names of environments, in their one spelling; several are played one after the other.
        method: as written.
        seed: decides initial weights, games, exploration, sampling and the method's draws.
        judging: what is measured.
    """

    recipe: AgentRecipe
    games: tuple[str, ...]
    method: str
    seed: int
    judging: Judging = field(default_factory=Judging)

    @property
    def game(self) -> str:
        """The game, or the sequence, in one word of a table."""
        return THEN.join(self.games)

    @property
    def steps(self) -> int:
        """Of the agent, over all phases."""
        return self.recipe.steps * len(self.games)

    @property
    def label(self) -> str:
        """What a person calls it."""
        return f"{self.recipe.name} · {self.game} · {self.method} · seed {self.seed}"

    def told(self, result: Result) -> str:
        """What it came to, in a few words."""
        if result.failure is not None:
            return f"failed: {result.failure}"
        row = result.rows[-1]
        returns = row["evaluations"][self.games[-1]]
        return f"return {sum(returns) / len(returns):.2f} in {len(returns)} games, {row['seconds']:.0f} s"

    def result(self, rows: tuple[dict[str, Any], ...], failure: str | None, run: str) -> Result:
        """Its result, as the laboratory knows results."""
        return Result(f"{self.recipe.name} on {self.game}", self.method, 1.0, self.seed, rows, failure, run)


def identity(trial: AgentTrial, engine: Engine, *, population: bool = False) -> dict[str, Any]:
    """Say everything that the result of a trial depends on, as a JSON value.

    Args:
        trial: what is run.
        engine: device and threads.
        population: the agent is trained with others over stacked weights. What it depends on is the same, but for how
            sums are rounded, which is not the same for any number of agents; on a GPU its draws are those of all.
    """
    libraries = {library_of(game) for game in trial.games}
    return {
        "recipe": trial.recipe.to_json(),
        "games": list(trial.games),
        "method": trial.method,
        "seed": trial.seed,
        "judging": dataclasses.asdict(trial.judging),
        "data": "",  # games come with their libraries
        "code": code_of(trial),
        "versions": {
            "hare_tortoise": __version__,
            "torch": torch.__version__,
            **{name: version(name) for name in sorted(libraries)},
        },
        "engine": {
            **dataclasses.asdict(engine),
            "name": "population" if population else "agent",
            "dtype": precision_of(trial.recipe.precision, engine.device),
        },
    }


def code_of(trial: AgentTrial) -> dict[str, str]:
    """Digest the user's own code that a trial runs, by module."""
    return code_digest(_externals(trial))


def to_json(trial: AgentTrial) -> dict[str, Any]:
    """Give a trial as a JSON value."""
    return {
        "recipe": {"name": trial.recipe.name, **trial.recipe.to_json()},
        "games": list(trial.games),
        "method": trial.method,
        "seed": trial.seed,
        "judging": dataclasses.asdict(trial.judging),
    }


def from_json(content: Mapping[str, Any]) -> AgentTrial:
    """Read what `to_json` gave."""
    return AgentTrial(
        AgentRecipe(**content["recipe"]),
        tuple(content["games"]),
        content["method"],
        content["seed"],
        Judging(**content["judging"]),
    )


def _externals(trial: AgentTrial) -> Iterator[str]:
    calls = [parse(trial.recipe.encoder), *parse_sum(trial.method)]
    yield from (call.name for call in calls if call.external)
    yield from (game for game in trial.games if library_of(game) == "gymnasium" and is_own(game))


def is_own(game: str) -> bool:
    """Whether a game is the user's own, `package.module:function`, and no id of gymnasium."""
    module, colon, function = game.partition(":")
    return bool(colon) and function.isidentifier() and all(part.isidentifier() for part in module.split("."))
