"""Scales: the ratios of a published experiment hold where it is narrowed, and what is narrowed is said."""

from __future__ import annotations

import inspect
import os
import time
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hare_tortoise.lab.building import build_stream, cached_source
from hare_tortoise.lab.composition import part_of, take_apart
from hare_tortoise.lab.costs import (
    RATES,
    SECONDS_PER_CHUNK,
    SECONDS_PER_PARAMETER,
    SECONDS_PER_TENSOR,
    cost,
    operations,
    seconds,
)
from hare_tortoise.lab.plan import scaled_settings
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.recipes import NARROW, RECIPES, find_recipe
from hare_tortoise.lab.registry import build_network
from hare_tortoise.lab.run import run_recipes
from hare_tortoise.lab.scale import SCALES, laid_out, mean_steps
from hare_tortoise.lab.spec import parse
from hare_tortoise.lab.stand_in import layout, on_generated, published
from hare_tortoise.methods.schedules import warmup
from hare_tortoise.networks import NETWORKS

SMALL = [(name, scale) for name in NARROW for scale in NARROW[name]]
BY_SCENARIO = {parse(find_recipe(name).scenario).name: name for name in reversed(list(RECIPES))}
NO_TABLES = ("elec2", "insects")
# a machine may be so much slower than the one whose rates are in lab/costs.py
SLOWER = 2
# measures, what methods do beside the gradient step, and start-up are in no estimate
OFF = 3
# what a scale leaves as it is; the reasons stand in the docstring of lab/scale.py
KEPT = {
    **{
        ("network", name): SCALES
        for name in ("kumar2024-random-label-cifar10", "kumar2024-easy-hard-cifar100")
    },
    **{("network", f"{paper}-continual-imagenet"): SCALES for paper in ("kumar2024", "dohare2024")},
    ("network", "dohare2024-slowly-changing"): SCALES,
    **{("batch", f"dohare2024-{name}"): SCALES for name in ("permuted-mnist", "slowly-changing")},
    **{("samples", f"drifting-{name}"): ("desk",) for name in NO_TABLES},
}
# counted in steps, but the same at each scale; the reason stands there too
AS_PUBLISHED = {"continual-backprop decay decay"}
# where the first or the last chunk cannot have its share of the steps; the page of each says so
OTHER_SHARES = {
    ("ash2020-rounds-cifar10", "smoke"): "5 rounds of 33",
    ("dohare2024-class-incremental-cifar100", "smoke"): "10 increments of 20",
    ("lee2024-limited-tiny-imagenet", "smoke"): "1 and 2 steps an epoch, of 40 and 59",
}
COUNTED = {
    "impala": ("impala(hidden=16)", (2, 12, 12)),
    "minatar": ("minatar(hidden=16)", (4, 10, 10)),
    "mlp": ("mlp(hidden=(7, 5), batch_norm=True)", (1, 6, 6)),
    "narrow-resnet": ("narrow-resnet", (3, 32, 32)),
    "nature": ("nature(hidden=16)", (4, 44, 36)),
    "resnet18": ("resnet18(head_hidden=(16,))", (3, 32, 32)),
    "vgg16": ("vgg16(head_hidden=(16,), width=4)", (3, 32, 32)),
    "vit-tiny": ("vit-tiny(width=24, depth=2)", (3, 32, 32)),
}


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
        expected = explicit[what] * (1.0 if what in AS_PUBLISHED else ratio)
        if what.endswith("interval"):
            expected = max(1.0, expected)
        else:
            assert steps > 1, "an average over one step is none"
        slack = 0.5 + 1e-6 if what.endswith("interval") else 1e-3 * expected
        assert abs(steps - expected) <= slack, (what, steps, expected)


@pytest.mark.parametrize(("name", "scale"), SMALL)
def test_first_and_last_chunk_keep_their_share_of_the_steps(name: str, scale: str) -> None:
    def shares(recipe: Recipe) -> list[float]:
        chunks = laid_out(recipe)
        return [chunk.steps / mean_steps(recipe) for chunk in (chunks[0], chunks[-1])]

    small = find_recipe(name, scale)
    kept = shares(small) == pytest.approx(shares(find_recipe(name)), rel=0.1)
    assert kept == ((name, scale) not in OTHER_SHARES)
    assert small.batch_size <= min(chunk.samples for chunk in laid_out(small))


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


@pytest.mark.parametrize(("name", "scale"), SMALL)
def test_network_batch_and_samples_are_fewer_but_where_they_cannot_be(name: str, scale: str) -> None:
    def sizes(recipe: Recipe) -> dict[str, float]:
        known = layout(recipe.source, recipe.scenario, recipe.validation)
        assert known is not None
        return {
            "network": operations(recipe.network, known.input_shape, known.outputs).operations,
            "batch": recipe.batch_size,
            "samples": sum(known.kept),
        }

    before, after = sizes(find_recipe(name)), sizes(find_recipe(name, scale))
    same = {part for part in before if after[part] == before[part]}
    assert same == {part for part, of in KEPT if of == name and scale in KEPT[part, of]}
    assert all(after[part] < before[part] for part in before.keys() - same)


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


@pytest.mark.parametrize(("network", "input_shape"), COUNTED.values(), ids=COUNTED)
def test_operations_are_those_that_torch_counts(network: str, input_shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        built = build_network(parse(network), input_shape, 3)
        inputs = torch.empty(2, *input_shape)
    with FlopCounterMode(display=False) as counter:
        built(inputs).sum().backward()
    before = torch.get_rng_state()
    assert operations(network, input_shape, 3).operations == counter.get_total_flops() / 2
    assert torch.equal(torch.get_rng_state(), before)


def test_every_network_is_among_those_that_are_counted() -> None:
    assert set(COUNTED) == set(NETWORKS)


@pytest.mark.parametrize("judge", ["test", "online"])
def test_what_is_judged_is_part_of_the_estimate(judge: Literal["test", "online"]) -> None:
    recipe = Recipe(
        name="mine",
        methods=("warm-start",),
        epochs=2,
        batch_size=10,
        source="generated(shape=5, classes=2, rows=100, test_rows=50)",
        scenario="growing(chunks=1)",
        network="mlp(hidden=())",
        judge=judge,
    )
    known = layout(recipe.source, recipe.scenario, recipe.validation)
    assert known is not None
    work = operations(recipe.network, known.input_shape, known.outputs)
    # the test set and the training rows, a batch of each; online, the ten batches of the first epoch too
    rows, batches = (150, 2) if judge == "test" else (250, 12)
    forwards = (200 + 2 * rows / 3) * work.operations / RATES["mlp"]
    beside = SECONDS_PER_TENSOR * work.tensors * (20 + 2 * batches / 3)
    beside += SECONDS_PER_PARAMETER * work.parameters * 20 + SECONDS_PER_CHUNK
    assert seconds(recipe, "warm-start", 1.0, known) == pytest.approx(forwards + beside)


@pytest.mark.parametrize(
    ("name", "scale", "most"), [(n, s, (600 if s == "desk" else 10) / SLOWER) for n, s in SMALL]
)
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
def test_a_recipe_of_each_scenario_runs_at_a_part_of_smoke(name: str, tmp_path: Path) -> None:
    # the whole of smoke, of every recipe, is among the slow tests; one of digits has no smoke, and is longer
    budget = 0.2 if "smoke" in NARROW.get(name, {}) else 0.05
    recipe = generated_of(find_recipe(name, "smoke"), tmp_path)
    recipe = recipe.replace(methods=("warm-start", recipe.methods[-1]), seeds=1, budgets=(budget,))
    outcome = run_recipes([recipe], out=tmp_path / "runs", workers=0, quiet=True)
    assert not outcome.failures
    assert outcome.report is not None


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_runs_at_smoke_in_its_time(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HARE_TORTOISE_DATA", raising=False)
    recipe = generated_of(find_recipe(name, "smoke"), tmp_path)
    # one of digits that has no scales is run as it is, at one of the budgets of the demo
    budgets = recipe.budgets if "smoke" in NARROW.get(name, {}) else (0.3,)
    recipe = recipe.replace(methods=("from-scratch", recipe.methods[-1]), seeds=1, budgets=budgets)
    estimated = cost(recipe)
    begun = time.process_time()
    outcome = run_recipes([recipe], threads=1, out=tmp_path / "runs", workers=0, quiet=True)
    # processor time of one thread: what else the machine does counts little
    spent = (time.process_time() - begun) / len(recipe.methods)
    assert not outcome.failures
    # ten seconds where there is a smoke; one of digits takes what it takes; another's machine may be slower
    assert spent < (10 if "smoke" in NARROW.get(name, {}) else 30) * (SLOWER if os.environ.get("CI") else 1)
    # not in CI, whose machines are of any speed: what it would say there is said of the machine
    if estimated is not None and estimated.trial > 1 and not os.environ.get("CI"):
        assert estimated.trial / OFF < spent < OFF * estimated.trial
