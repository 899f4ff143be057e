"""Recipes: every wrong value is refused by name, and overriding reads what the command line writes."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from hare_tortoise.lab.recipe import Recipe, canonical_method
from hare_tortoise.lab.recipes import RECIPES, find_recipe
from hare_tortoise.lab.trial import Engine, Trial, identity, run_name, trials

BASE: dict[str, Any] = {"name": "mine", "methods": ("from-scratch", "warm-start"), "epochs": 2}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"methods": ()}, "methods"),
        ({"methods": ("ema", "ema()")}, "each once"),
        ({"methods": ("ema(",)}, "cannot read"),
        ({"budgets": (0.0, 1.0)}, "budgets"),
        ({"budgets": (1.0, 1.0)}, "each once"),
        ({"seeds": 0}, "seeds"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": (1, 0)}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"lr": 0.0}, "lr"),
        ({"lr": math.inf}, "lr"),
        ({"budgets": (math.inf,)}, "budgets"),
        ({"clip_norm": math.nan}, "clip_norm"),
        ({"weight_decay": math.inf}, "weight_decay"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"warmup": 1.5}, "warmup"),
        ({"validation": 1.0}, "validation"),
        ({"reset_epochs": 0}, "reset_epochs"),
        ({"evaluate_every": 0}, "evaluate_every"),
        ({"precision": "float16"}, "precision"),
        ({"scenario": "growing("}, "cannot read"),
    ],
)
def test_wrong_values_are_refused_by_name(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Recipe(**{**BASE, **change})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("lr", "3e-4", 3e-4),
        ("epochs", "20", 20),
        ("epochs", "(10, 20)", (10, 20)),
        ("batch-size", "32", 32),
        ("clip_norm", "None", None),
        ("augment", "None", None),
        ("augment", "crop_flip(padding=2)", "crop-flip(padding=2)"),
        ("compile", "True", True),
        ("precision", "bfloat16", "bfloat16"),
        ("budgets", "(0.5, 0.1)", (0.1, 0.5)),
        ("budgets", "0.5", (0.5,)),
        ("network", "my_module:build(width=3)", "my_module:build(width=3)"),
    ],
)
def test_values_of_the_command_line(name: str, text: str, value: object) -> None:
    assert getattr(Recipe(**BASE).override({name: text}), name.replace("-", "_")) == value


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("epoch", "3", "did you mean 'epochs'"),
        ("lr", "fast", "recipe value lr: got 'fast', expected a number"),
        ("epochs", "2.5", r"expected a whole number, or one for each chunk, as in \(200, 50\)"),
        ("seeds", "True", "expected a whole number"),
        ("clip_norm", "a", "expected a number, or None"),
        ("judge", "3", "expected test or online"),
        ("compile", "1", "expected True or False"),
        ("name", "x", "unknown recipe value"),
        ("scale", "paper", "unknown recipe value"),
        ("methods", "ema", "--methods"),
    ],
)
def test_wrong_overrides(name: str, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Recipe(**BASE).override({name: text})


def test_sources_may_be_paths() -> None:
    assert Recipe(**BASE, source="data/mine.npz").source == "npz(path='data/mine.npz')"
    assert Recipe(**BASE, source="./photos").source == "image-folder(path='./photos')"
    assert Recipe(**BASE, source="npz(path='a.npz')").source == "npz(path='a.npz')"


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_come_back_from_json(name: str) -> None:
    recipe = find_recipe(name)
    assert recipe.name == name
    assert recipe.description
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_unknown_recipes_are_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'demo-growing'"):
        find_recipe("demo-growin")
    assert find_recipe("demo_growing") == find_recipe("demo-growing")


def test_trials_are_every_method_at_every_budget_with_every_seed() -> None:
    recipe = Recipe(**BASE, budgets=(0.5, 1.0), seeds=3)
    expanded = trials(recipe)
    assert len(expanded) == 2 * 2 * 3
    assert len({(t.method, t.budget, t.seed) for t in expanded}) == len(expanded)


def test_identity_holds_what_a_result_depends_on_and_nothing_else() -> None:
    trial = Trial(Recipe(**BASE), "warm-start", 1.0, 0)
    name = run_name(identity(trial, "digest", Engine()))

    def other(trial: Trial, digest: str = "digest", engine: Engine | None = None) -> str:
        return run_name(identity(trial, digest, engine or Engine()))

    same = Recipe(**{**BASE, "name": "x", "methods": ("warm-start",), "seeds": 9, "budgets": (0.5, 1.0)})
    assert other(Trial(same, "warm-start", 1.0, 0)) == name
    for recipe in (
        Recipe(**BASE, lr=2e-3),
        Recipe(**BASE, network="mlp"),
        Recipe(**BASE, precision="bfloat16"),
    ):
        assert other(Trial(recipe, "warm-start", 1.0, 0)) != name
    assert other(Trial(Recipe(**BASE), "warm-start", 1.0, 1)) != name
    assert other(Trial(Recipe(**BASE), "warm-start", 0.5, 0)) != name
    assert other(trial, "changed data") != name
    assert other(trial, engine=Engine(threads=2)) != name
    assert other(trial, engine=Engine(device="cuda")) != name


def test_a_method_has_one_canonical_form() -> None:
    assert canonical_method("ema( decay = 9.9e-1 )+ l2_init") == "ema(decay=0.99)+l2-init"
