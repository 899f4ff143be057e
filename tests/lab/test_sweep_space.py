"""What a sweep goes over: names, lists and ranges, and the settings that they make."""

from __future__ import annotations

import itertools
import re

import pytest

from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.sweep_space import Range, read_space
from hare_tortoise.lab.sweep_unit import beside, controls, parent_of, units_of

RECIPE = Recipe(name="mine", methods=("warm-start",), epochs=1, seeds=3)


def test_a_grid_is_the_plain_product() -> None:
    space = read_space(RECIPE, "hare-tortoise", ["decay=0.9,0.99", "reset_every=10,none", "lr=3e-4,1e-3"])
    wanted = itertools.product((0.9, 0.99), (10, None), (3e-4, 1e-3))
    assert [tuple(values.values()) for values in space.grid()] == list(wanted)
    assert space.size == 8


def test_a_setting_is_a_method_and_a_recipe() -> None:
    space = read_space(RECIPE, "hare-tortoise(optimizer_state=reset)", ["decay=warmup(0.9)", "lr=3e-4"])
    unit = space.unit(next(space.grid()), 0.5)
    assert unit.method == "hare-tortoise(optimizer_state='reset', decay=warmup(0.9))".replace("'", "")
    assert (unit.recipe.lr, unit.recipe.name, unit.budget) == (3e-4, "mine lr=0.0003", 0.5)
    assert [trial.seed for trial in unit.trials()] == [0, 1, 2]


def test_without_resets_it_is_the_average() -> None:
    space = read_space(
        RECIPE, "hare-tortoise(optimizer_state=reset)+l2-init", ["decay=0.9", "reset-every=None"]
    )
    unit = space.unit(next(space.grid()), 1.0)
    assert unit.method == "ema(decay=0.9)+l2-init"
    assert unit.label == "decay=0.9, reset_every=none"


@pytest.mark.parametrize(
    ("method", "over", "part", "values"),
    [
        ("sam", "lr=1e-3", 0, (1e-3,)),
        ("sam", "recipe.lr=1e-3,2e-3", None, (1e-3, 2e-3)),
        ("hare-tortoise", "lr=1e-3", None, (1e-3,)),
        ("l2-init+hare-tortoise", "decay=0.9", 1, (0.9,)),
        ("hare-tortoise+self-distillation", "self-distillation.decay=0.9", 1, (0.9,)),
        ("hare-tortoise", "clip_norm=none,1", None, (None, 1)),
        ("hare-tortoise", "decay=warmup(0.9),0.9", 0, None),
        ("hare-tortoise", "decay=0.9..0.999", 0, Range(0.9, 0.999, "decay")),
        ("hare-tortoise", "reset_every=10..1000", 0, Range(10, 1000, "integer")),
        ("hare-tortoise", "lr=3e-4..3e-3", None, Range(3e-4, 3e-3, "log")),
        ("hare-tortoise", "warmup=0..0.5", None, Range(0, 0.5, "linear")),
    ],
)
def test_names_and_values(method: str, over: str, part: int | None, values: object) -> None:
    (axis,) = read_space(RECIPE, method, [over]).axes
    assert axis.part == part
    if values is not None:
        assert axis.values == values


@pytest.mark.parametrize(
    ("method", "over", "said"),
    [
        ("hare-tortoise", ["decya=0.9"], "did you mean 'decay'"),
        ("hare-tortoise", ["recipe.decay=0.9"], "unknown recipe value to sweep 'decay'"),
        ("hare-tortoise", ["recipe.seeds=1,2"], "--over recipe.seeds: seeds cannot be swept"),
        ("hare-tortoise", ["ema.decay=0.9"], "unknown part of hare-tortoise 'ema'"),
        ("hare-tortoise", ["seeds=1,2"], "--over seeds: seeds cannot be swept"),
        ("hare-tortoise", ["validation=0.1"], "--over validation: validation cannot be swept"),
        ("hare-tortoise", ["decay=0.9,0.90"], "0.9 is given twice"),
        ("hare-tortoise", ["decay=0.9", "decay=0.99"], "decay is given twice"),
        ("hare-tortoise", ["decay="], "expected name=values"),
        ("hare-tortoise", ["lr=a"], "recipe value lr: got 'a'"),
        ("hare-tortoise", ["lr=3e-3..3e-4"], "the lower first"),
        ("hare-tortoise", ["lr=a..b"], "expected two numbers"),
        ("hare-tortoise", ["decay=0.9..1.0"], "expected decays from 0, below 1"),
        (
            "hare-tortoise+self-distillation",
            ["decay=0.9"],
            "write hare-tortoise.decay or self-distillation.decay",
        ),
        ("hare-tortoise", [], "expected what is swept"),
    ],
)
def test_what_cannot_be_read_is_told(method: str, over: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        read_space(RECIPE, method, over)


def test_a_grid_takes_no_ranges() -> None:
    with pytest.raises(ValueError, match="a grid takes lists"):
        list(read_space(RECIPE, "hare-tortoise", ["decay=0.9..0.99"]).grid())


def test_parents_and_controls_of_a_setting() -> None:
    space = read_space(RECIPE, "hare-tortoise", ["decay=0.9", "reset_every=10"])
    unit = space.unit(next(space.grid()), 1.0)
    assert [(other.method, other.role) for other in beside(unit)] == [
        ("warm-start", "parent"),
        ("ema(decay=0.9)", "parent"),
        ("from-scratch", "reference"),
    ]
    assert [other.method for other in controls(unit)] == [
        "from-scratch+ema(decay=warmup(0.9))",
        "from-scratch+hare-tortoise(decay=warmup(0.9), reset_every=10)",
    ]
    assert parent_of("shrink-perturb") is None


def test_a_method_without_an_average_has_no_controls() -> None:
    space = read_space(RECIPE, "shrink-perturb", ["shrink=0.2"])
    unit = space.unit(next(space.grid()), 1.0)
    assert controls(unit) == []
    assert [other.method for other in beside(unit)] == ["warm-start", "from-scratch"]


def test_settings_are_read_off_plain_recipes() -> None:
    methods = (
        *("hare-tortoise(decay=0.9, reset_every=10)", "ema(decay=0.9)", "ema(decay=0.5)", "warm-start"),
        *("from-scratch", "from-scratch+ema(decay=0.9)", "hare-tortoise+l2-init"),
    )
    recipes = [RECIPE.replace(name=f"lr {lr}", lr=lr, methods=methods) for lr in (0.1, 0.2)]
    units = units_of(recipes, ["decay", "reset_every", "lr"])
    assert [(unit.role, dict(unit.values)) for unit in units[:7]] == [
        ("setting", {"decay": 0.9, "reset_every": 10, "lr": 0.1}),
        ("setting", {"decay": 0.9, "reset_every": None, "lr": 0.1}),
        ("reference", {}),
        ("parent", {}),
        ("reference", {}),
        ("control", {}),
        ("reference", {}),
    ]
    assert dict(units[7].values)["lr"] == 0.2
