"""Named recipes: one file for each paper, the demo, and what no paper has."""

from collections.abc import Callable, Mapping

from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.recipes import ash2020, dohare2024, drifting, kumar2024, lee2024, lyle2023
from hare_tortoise.lab.recipes.demo import demo_growing, demo_warm_start
from hare_tortoise.lab.recipes.every_method import every_method_growing, every_method_warm_start
from hare_tortoise.lab.scale import Narrow, at_scale, check_scale
from hare_tortoise.lab.spec import kebab
from hare_tortoise.streams.names import unknown

_FAMILIES = (lee2024, ash2020, dohare2024, kumar2024, lyle2023, drifting)
RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "demo-growing": demo_growing,
    "demo-warm-start": demo_warm_start,
    "every-method-growing": every_method_growing,
    "every-method-warm-start": every_method_warm_start,
    **{name: make for family in _FAMILIES for name, make in family.RECIPES.items()},
}
# What is not here ends in seconds as it is: its scales are one.
NARROW: Mapping[str, Mapping[str, Narrow]] = {
    name: scales for family in _FAMILIES for name, scales in family.NARROW.items()
}


def find_recipe(name: str, scale: str = "paper") -> Recipe:
    """Give the recipe of a name, at a scale; underscores are accepted.

    Args:
        name: of the recipe.
        scale: ``paper``: as it is; ``desk``: at most ten minutes a trial on one core; ``smoke``: ten seconds.

    Raises:
        ValueError: There is no such recipe, the message has the nearest names; or no such scale.

    Example:
        >>> find_recipe("lee2024-continual-cifar10", "desk").scale
        'desk: 5,000 of 50,000 training rows, narrow-resnet, batch 64, epochs 20 of 100'
    """
    check_scale(scale)
    make = RECIPES.get(kebab(name))
    if make is None:
        raise unknown("recipe", name, RECIPES)
    recipe = make()
    narrow = NARROW.get(recipe.name, {}).get(scale)
    return recipe if narrow is None else at_scale(recipe, scale, narrow)
