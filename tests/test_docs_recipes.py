"""The page of each published recipe has its settings, and its sizes at each scale, as the code has them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.recipes import NARROW, RECIPES, find_recipe
from hare_tortoise.lab.spec import parse

PAGES = Path(__file__).parent.parent / "docs" / "experiments"
# of each page, how the names of its recipes begin
BEGINNINGS = {
    "paper-warm-start.md": ("lee2024-warm-start",),
    "paper-continual.md": ("lee2024-continual", "lee2024-limited"),
    "ash2020.md": ("ash2020",),
    "dohare2024.md": ("dohare2024",),
    "kumar2024.md": ("kumar2024",),
    "lyle2023.md": ("lyle2023",),
    "drifting.md": ("drifting",),
}
NAMED = [(page, name) for page, begin in BEGINNINGS.items() for name in RECIPES if name.startswith(begin)]
SCALED = [(page, name, scale) for page, name in NAMED for scale in NARROW.get(name, {})]


def read(page: str) -> str:
    return (PAGES / page).read_text(encoding="utf-8")


def part_of(text: str, name: str) -> str:
    """The part of a page that begins with a recipe's name, alone or among others, up to the next such part."""
    parts = re.split(r"\n(?=`[a-z]+20\d\d-|`drifting-|## )", text)
    found = [part for part in parts if re.match(rf"(`[a-z0-9-]+`, )*`{name}`[,:]", part)]
    assert len(found) == 1, (name, len(found))
    return found[0]


def line_of(recipe: Recipe) -> str:
    """What a scale has less of, as a line of a list; that there is no augmentation is no matter of the scale."""
    return "- " + recipe.scale.replace("without augmentation, ", "")


def judged_by(recipe: Recipe) -> str:
    """What the accuracy that counts is taken on."""
    if recipe.judge == "online":
        return "accuracy before the step on each batch"
    others = {"random-labels": "the training set of each chunk", "in-time-order": "the part that comes next"}
    return others.get(parse(recipe.scenario).name, "the test set of each chunk")


def rows_of(recipe: Recipe) -> list[str]:
    """The rows of a table of settings, without their sources."""
    rate = f"{recipe.lr:g}"
    return [
        f"| data | `{recipe.source}` |",
        f"| scenario | `{recipe.scenario}` |",
        f"| network | `{recipe.network}` |",
        f"| methods | {', '.join(f'`{method}`' for method in recipe.methods)} |",
        f"| epochs a chunk, batch, seeds | {recipe.epochs}, {recipe.batch_size}, {recipe.seeds} |",
        f"| optimizer, learning rate, weight decay | `{recipe.optimizer}`, {rate}, {recipe.weight_decay:g} |",
        f"| clipping, warm-up, augmentation | {recipe.clip_norm}, {recipe.warmup:g}, {recipe.augment} |",
        f"| judged by | {judged_by(recipe)} |",
    ]


def unsourced(part: str, recipe: Recipe) -> list[str]:
    """Rows that a part of a page does not have, or has without a source."""
    lines = part.splitlines()
    return [
        row
        for row in rows_of(recipe)
        if not any(re.fullmatch(re.escape(row) + r" [^|\s][^|]* \|", line) for line in lines)
    ]


def missing(text: str, recipe: Recipe) -> list[str]:
    """Settings of a recipe that a text does not have."""
    wanted = [f"`{each}`" for each in (recipe.source, recipe.scenario, recipe.network, *recipe.methods)]
    return [each for each in wanted if each not in text]


def test_every_recipe_with_scales_is_on_a_page() -> None:
    assert {name for _, name in NAMED} >= set(NARROW)


@pytest.mark.parametrize(("page", "name", "scale"), SCALED)
def test_pages_have_the_sizes_at_each_scale(page: str, name: str, scale: str) -> None:
    assert line_of(find_recipe(name, scale)) in part_of(read(page), name).splitlines()


@pytest.mark.parametrize(("page", "name"), NAMED)
def test_pages_have_the_settings(page: str, name: str) -> None:
    recipe, text = find_recipe(name), read(page)
    assert missing(text, recipe) == []
    if not name.startswith("lee2024"):  # whose settings share one table
        assert unsourced(part_of(text, name), recipe) == []


@pytest.mark.parametrize(("page", "name"), NAMED)
def test_pages_say_what_is_judged(page: str, name: str) -> None:
    text = read(page) if name.startswith("lee2024") else part_of(read(page), name)
    assert f"\n| judged by | {judged_by(find_recipe(name))}" in text


@pytest.mark.parametrize(("page", "name"), NAMED)
def test_pages_have_the_differences(page: str, name: str) -> None:
    text = read(page)
    assert [each for each in find_recipe(name).differences if f". {each}" not in text] == []


@pytest.mark.parametrize("page", BEGINNINGS)
def test_pages_say_how_to_run_a_scale(page: str) -> None:
    assert "--scale desk" in read(page)


def test_a_changed_setting_is_seen() -> None:
    recipe = find_recipe("kumar2024-permuted-mnist")
    part = part_of(read("kumar2024.md"), recipe.name)
    assert missing(part, recipe.replace(network="mlp(hidden=(101, 100))")) == ["`mlp(hidden=(101, 100))`"]
    assert len(unsourced(part, recipe.replace(lr=2e-3))) == 1
    assert unsourced(part, recipe.replace(judge="test")) == ["| judged by | the test set of each chunk |"]
    assert len(unsourced(re.sub(r"(?m)^(\| network .*\|) .* \|$", r"\1  |", part), recipe)) == 1
