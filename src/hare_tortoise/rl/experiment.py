"""An experiment with agents: methods on games with seeds; it expands to trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hare_tortoise.rl.environments import full_name
from hare_tortoise.rl.recipe import AgentRecipe
from hare_tortoise.rl.trial import AgentTrial, Judging


@dataclass(frozen=True)
class AgentExperiment:
    """Methods on the same games with the same seeds.

    Args:
        recipe: of the agents.
        games: each one a game, or several that are played in sequence by one network.
        methods: as written; ``nothing`` is the plain agent.
        seeds: how many, from 0.
        judging: what is measured.

    Raises:
        ValueError: Nothing to run, or something twice; there is no such game.

    Example:
        >>> from hare_tortoise.rl.recipes import find_agent
        >>> games = (("minatar:breakout",), ("minatar:asterix", "minatar:seaquest"))
        >>> experiment = AgentExperiment(find_agent("minatar"), games, ("nothing", "head-reset"), seeds=3)
        >>> len(experiment.trials())
        12
    """

    recipe: AgentRecipe
    games: tuple[tuple[str, ...], ...]
    methods: tuple[str, ...]
    seeds: int
    judging: Judging = field(default_factory=Judging)

    def __post_init__(self) -> None:
        games = tuple(tuple(full_name(name) for name in sequence) for sequence in self.games)
        object.__setattr__(self, "games", games)
        for name, values in (("games", games), ("methods", self.methods)):
            if not values or len({*values}) < len(values) or not all(values):
                raise ValueError(f"{name}: got {list(values)}, expected one or more, each once")
        if isinstance(self.seeds, bool) or self.seeds < 1:
            raise ValueError(f"seeds: got {self.seeds!r}, expected a whole number of 1 or more")

    def trials(self) -> list[AgentTrial]:
        """Every method on every game with every seed, seeds outermost so that pairs finish together."""
        return [
            AgentTrial(self.recipe, games, method, seed, self.judging)
            for seed in range(self.seeds)
            for games in self.games
            for method in self.methods
        ]

    def of(self, games: Sequence[str]) -> AgentExperiment:
        """The part of it that is on one game, or one sequence."""
        return replace(self, games=(tuple(games),))
