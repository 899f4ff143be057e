"""From what a person asks for to experiments: environments, the recipes that fit them, methods beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hare_tortoise.lab.recipe import canonical_method
from hare_tortoise.lab.spec import parse, split_list
from hare_tortoise.rl.atari import ATARI_100K
from hare_tortoise.rl.environments import full_name, library_of
from hare_tortoise.rl.experiment import AgentExperiment
from hare_tortoise.rl.keeping import NOTHING
from hare_tortoise.rl.recipe import AgentRecipe
from hare_tortoise.rl.recipes import find_agent
from hare_tortoise.rl.stage import stage_of
from hare_tortoise.rl.trial import Judging

ALL_26 = "atari-100k"
"""Stands for the games of Atari-100k."""

METHODS = (NOTHING, "ema(decay=0.999)", "hare-tortoise(decay=0.999, reset_every=1000)")
"""What is run where nothing else is asked for: the plain agent, the average alone, and with resets."""

_SMALLEST_FOR_NATURE = 36
_OF_IMAGES = ("nature", "impala", "minatar")


def recipe_for(env: str) -> AgentRecipe:
    """Give the recipe that fits an environment: `drq` for Atari and images, `minatar` for grids, `vector` for vectors.

    Raises:
        ValueError: There is no such environment; the nearest names are in the message.

    Example:
        >>> [recipe_for(name).name for name in ("minatar:breakout", "CartPole-v1")]
        ['minatar', 'vector']
    """
    library = library_of(env)
    if library == "gymnasium":
        (space,) = stage_of([env]).spaces.values()
        if len(space.shape) == 1:
            return find_agent("vector")
        return find_agent("minatar" if min(space.shape[-2:]) < _SMALLEST_FOR_NATURE else "drq")
    return find_agent("drq" if library == "ale-py" else "minatar")


def check_fit(recipe: AgentRecipe, env: str) -> None:
    """Refuse a recipe that sees images where an environment shows vectors.

    Raises:
        ValueError: It does; or there is no such environment, or it cannot be made.
    """
    if library_of(env) != "gymnasium":
        return  # all others show images
    (space,) = stage_of([env]).spaces.values()
    if len(space.shape) == 1 and parse(recipe.encoder).name in _OF_IMAGES:
        also = ", and its self-prediction what such an encoder gives" if recipe.prediction else ""
        raise ValueError(
            f"recipe {recipe.name} takes images (encoder {recipe.encoder}{also}), but {env} shows vectors of "
            f"{space.shape[0]} numbers: take the recipe vector, or one with encoder=mlp, shift=0 and prediction=0"
        )


def games_of(env: str | None, sequence: str | None = None) -> tuple[tuple[str, ...], ...]:
    """Read what is to be played, each game by itself and others in sequence by one network.

    Args:
        env: names between commas, ``atari-100k`` among them perhaps; None: none.
        sequence: names between commas, in their order; None: none.

    Raises:
        ValueError: There is nothing to play, or no such game; the nearest names are in the message.

    Example:
        >>> games_of("minatar:breakout, CartPole-v1", "minatar:asterix,minatar:freeway")
        (('minatar:breakout',), ('CartPole-v1',), ('minatar:asterix', 'minatar:freeway'))
    """
    alone = [name for written in split_list(env or "") for name in _named(written)]
    together = tuple(full_name(name) for name in split_list(sequence or ""))
    if sequence is not None and len(together) < 2:
        raise ValueError(
            f"sequence: got {sequence!r}, expected two games or more, such as minatar:asterix,minatar:freeway"
        )
    games = (*((full_name(name),) for name in alone), *((together,) if together else ()))
    if not games:
        raise ValueError(
            f"env: got {'nothing' if env is None else repr(env)}, expected what is to be played: atari:Assault, "
            "minatar:breakout, CartPole-v1, package.module:function, or atari-100k for its 26 games"
        )
    return tuple(dict.fromkeys(games))


def experiments(
    games: Sequence[tuple[str, ...]],
    *,
    recipe: str | None = None,
    settings: Mapping[str, str] | None = None,
    methods: Sequence[str] | None = None,
    seeds: int = 5,
    judging: Judging | None = None,
) -> list[AgentExperiment]:
    """Put together what is asked for: one experiment for each recipe that the games need.

    Args:
        games: as `games_of` gives them.
        recipe: name of the one for all; None: the one that fits each game.
        settings: values of the recipe to be changed, as text.
        methods: as written; None: `METHODS`, or the plain agent alone where the target network is a copy.
        seeds: how many.
        judging: what is measured; None: as `Judging` has it.

    Raises:
        ValueError: There is no such recipe, value or game, a value is out of its range, or recipe and game do not fit.

    Example:
        >>> found = experiments(games_of("minatar:breakout,CartPole-v1"), settings={"steps": "3000"}, seeds=3)
        >>> [(each.recipe.name, each.recipe.steps, len(each.trials())) for each in found]
        [('minatar', 3000, 9), ('vector', 3000, 9)]
    """
    grouped: dict[str, list[tuple[str, ...]]] = {}
    for sequence in games:
        name = recipe_for(sequence[0]).name if recipe is None else find_agent(recipe).name
        grouped.setdefault(name, []).append(sequence)
    found = []
    for name, theirs in grouped.items():
        chosen = find_agent(name).override(settings or {})
        for game in dict.fromkeys(game for sequence in theirs for game in sequence):
            check_fit(chosen, game)
        default = METHODS if chosen.target == "average" else (NOTHING,)
        written = tuple(map(canonical_method, default if methods is None else methods))
        found.append(AgentExperiment(chosen, tuple(theirs), written, seeds, judging or Judging()))
    return found


def _named(written: str) -> list[str]:
    return [f"atari:{game}" for game in ATARI_100K] if written.lower() == ALL_26 else [written]
