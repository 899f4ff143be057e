"""Named recipes: one file for each paper, and the demo."""

from collections.abc import Callable, Mapping

from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.recipes.demo import demo_growing, demo_warm_start
from hare_tortoise.lab.recipes.every_method import every_method_growing, every_method_warm_start
from hare_tortoise.lab.recipes.lee2024 import CONTINUAL, WARM_START
from hare_tortoise.lab.spec import kebab
from hare_tortoise.streams.names import unknown

RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "demo-growing": demo_growing,
    "demo-warm-start": demo_warm_start,
    "every-method-growing": every_method_growing,
    "every-method-warm-start": every_method_warm_start,
    **CONTINUAL,
    **WARM_START,
}


def find_recipe(name: str) -> Recipe:
    """Give the recipe of a name; underscores are accepted.

    Raises:
        ValueError: There is none; the message has the nearest names.
    """
    make = RECIPES.get(kebab(name))
    if make is None:
        raise unknown("recipe", name, RECIPES)
    return make()
