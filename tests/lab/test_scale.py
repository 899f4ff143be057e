"""Scales: the ratios of a published experiment hold where it is narrowed, and what is narrowed is said."""

from __future__ import annotations

import inspect
import os
import time
from pathlib import Path

import pytest

from hare_tortoise.lab.building import build_stream, cached_source
from hare_tortoise.lab.composition import part_of, take_apart
from hare_tortoise.lab.costs import cost, operations, seconds
from hare_tortoise.lab.plan import scaled_settings
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.recipes import NARROW, RECIPES, find_recipe
from hare_tortoise.lab.run import run_recipes
from hare_tortoise.lab.scale import laid_out, mean_steps
from hare_tortoise.lab.spec import parse
from hare_tortoise.lab.stand_in import layout, on_generated, published
from hare_tortoise.methods.schedules import warmup

SMALL = [(name, scale) for name in NARROW for scale in NARROW[name]]
BY_SCENARIO = {parse(find_recipe(name).scenario).name: name for name in reversed(list(RECIPES))}
NO_TABLES = ("elec2", "insects")


def horizons_and_intervals(recipe: Recipe) -> list[tuple[str, float]]:
    """Everything that the methods of a recipe count in steps: horizons, intervals and steps for one of a rate."""
    found = []
    for method in recipe.methods:
        for call in take_apart(method).methods:
            settings, units = scaled_settings(call, 1.0), part_of(call)[1].in_steps
            for name, unit in units.items():
                default = inspect.signature(part_of(call)[1]).parameters[name].default
                value = settings.get(name, default)
                value = value.decay if isinstance(value, warmup) else value
                if isinstance(value, int | float):
                    steps = {"decay": lambda v: 1 / (1 - v), "rate": lambda v: 1 / v}.get(unit, float)(value)
                    found.append((f"{call.name} {name} {unit}", steps))
    return found


@pytest.mark.parametrize(("name", "scale"), SMALL)
def test_what_is_counted_in_steps_keeps_its_share_of_a_chunk(name: str, scale: str) -> None:
    paper, small = find_recipe(name), find_recipe(name, scale)
    ratio = mean_steps(small) / mean_steps(paper)
    explicit = dict(horizons_and_intervals(paper))
    assert explicit or paper.reset_epochs
    for what, steps in horizons_and_intervals(small):
        expected = max(1.0, explicit[what] * ratio)
        slack = 0.5 + 1e-6 if what.endswith("interval") else 1e-3 * expected
        assert abs(steps - expected) <= slack, (what, steps, expected)


@pytest.mark.parametrize(("name", "scale"), SMALL)
def test_resets_warm_up_and_memory_keep_their_share(name: str, scale: str) -> None:
    paper, small = find_recipe(name), find_recipe(name, scale)
    assert small.warmup == paper.warmup
    chunks, published_chunks = laid_out(small), laid_out(paper)
    if paper.reset_epochs is not None and small.reset_epochs is not None:
        share = small.reset_epochs / chunks[0].epochs
        assert share == pytest.approx(paper.reset_epochs / published_chunks[0].epochs, rel=0.02)
    before, after = (dict(parse(recipe.scenario).settings).get("memory") for recipe in (paper, small))
    if isinstance(before, int) and isinstance(after, int) and parse(paper.scenario).name == "limited":
        all_rows, rows = published(paper.source), published(small.source)
        assert all_rows is not None
        assert rows is not None
        assert after / rows.rows == pytest.approx(before / all_rows.rows)
    for chunk in chunks:
        assert abs(chunk.warmup_steps - small.warmup * chunk.steps) < 1


@pytest.mark.parametrize(("name", "scale"), SMALL)
def test_what_is_below_the_paper_is_marked(name: str, scale: str) -> None:
    assert find_recipe(name, scale).scale.startswith(f"{scale}: ")
    assert find_recipe(name, "paper") == RECIPES[name]()


def test_the_mark_says_what_there_is_less_of() -> None:
    said = find_recipe("lee2024-limited-cifar10", "desk").scale
    assert said == (
        "desk: 5,000 of 50,000 training rows, narrow-resnet, batch 64, epochs 20 of 100, memory 500 of 5,000"
    )
    assert "without augmentation" in find_recipe("lee2024-continual-cifar10-plain", "smoke").scale


def test_other_scales_are_refused() -> None:
    with pytest.raises(ValueError, match="scale 'tiny': expected paper, desk, smoke"):
        find_recipe("demo-growing", "tiny")


@pytest.mark.parametrize("name", sorted(set(BY_SCENARIO.values())))
def test_a_layout_without_data_is_that_of_the_stream(name: str) -> None:
    recipe = on_generated(find_recipe(name, "smoke"))
    if recipe.source.startswith(NO_TABLES):
        return
    stream = build_stream(recipe, cached_source(recipe.source, None), 0)
    known = layout(recipe.source, recipe.scenario, recipe.validation)
    assert known is not None
    # places between those that are laid out are interpolated, so that a row may be missing
    assert known.kept == pytest.approx([len(chunk.train) for chunk in stream], abs=1, rel=0.1)
    assert (known.input_shape, known.outputs) == (stream.input_shape, stream.outputs)


def test_operations_of_a_linear_layer_are_counted_by_hand() -> None:
    # forward 2·5·2; backward to the weights 2·5·2, none to the inputs
    work = operations("mlp(hidden=())", (5,), 2)
    assert (work.operations, work.tensors, work.parameters) == (40, 2, 12)


@pytest.mark.parametrize(("name", "scale", "most"), [(n, s, 600 if s == "desk" else 10) for n, s in SMALL])
def test_a_scale_keeps_its_time(name: str, scale: str, most: float) -> None:
    recipe = find_recipe(name, scale)
    known = layout(recipe.source, recipe.scenario, recipe.validation)
    assert known is not None
    assert max(seconds(recipe, method, 1.0, known) for method in recipe.methods) < most


def generated_of(recipe: Recipe, folder: Path) -> Recipe:
    """A recipe on generated data; a table is written where it is one."""
    if not recipe.source.startswith(NO_TABLES):
        return on_generated(recipe)
    size = published(recipe.source)
    assert size is not None
    columns, rows = size.shape[0], size.rows
    lines = [",".join([*(f"x{place}" for place in range(columns)), "target"])]
    lines += [
        ",".join([*(str((row * (place + 3)) % 17) for place in range(columns)), str(row // 3 % size.classes)])
        for row in range(rows)
    ]
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return recipe.replace(source=f"table(path={str(path)!r}, target=target)")


@pytest.mark.parametrize("name", sorted(set(BY_SCENARIO.values())))
def test_a_recipe_of_each_scenario_runs_at_smoke(name: str, tmp_path: Path) -> None:
    recipe = generated_of(find_recipe(name, "smoke"), tmp_path)
    recipe = recipe.replace(methods=("warm-start", recipe.methods[-1]), seeds=1, budgets=(0.2,))
    outcome = run_recipes([recipe], out=tmp_path / "runs", workers=0, quiet=True)
    assert not outcome.failures
    assert outcome.report is not None


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", list(NARROW))
def test_every_recipe_runs_at_smoke_in_its_time(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HARE_TORTOISE_DATA", raising=False)
    recipe = generated_of(find_recipe(name, "smoke"), tmp_path)
    recipe = recipe.replace(methods=("from-scratch", recipe.methods[-1]), seeds=1)
    estimated = cost(recipe)
    begun = time.process_time()
    outcome = run_recipes([recipe], out=tmp_path / "runs", workers=0, quiet=True)
    spent = (time.process_time() - begun) / 2
    assert not outcome.failures
    # processor time, and a machine that does other things beside
    assert spent < 2 * 10
    if estimated is not None and estimated.trial > 1 and not os.environ.get("CI"):
        assert estimated.trial / 3 < spent < 3 * estimated.trial
