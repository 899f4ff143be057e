"""The heat map: what is filled, hatched, blank, outlined and dotted, by an oracle of its own."""

from __future__ import annotations

import dataclasses
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from hare_tortoise.lab.heat_map import CELL_HEIGHT, CELL_WIDTH, heat_map, ordered
from hare_tortoise.lab.sweep_cells import Cell, cells_from
from hare_tortoise.lab.sweep_unit import Unit
from hare_tortoise.lab.trial import Result
from tests.lab.sweep_results import BESIDE, curves, grid_recipe, grid_units, pair

SVG = "{http://www.w3.org/2000/svg}"
DECAYS, INTERVALS = (0.9, 0.97, 0.99), (10, 30, 100, None)
PRUNED, MISSING = (0.99, 30), (0.9, 100)


def accuracies(seed: int) -> dict[str, list[float]]:
    rng = np.random.default_rng(seed)
    found = {pair(d, e): list(rng.normal(0.52 if e else 0.5, 0.004, 3)) for d in DECAYS for e in INTERVALS}
    return found | {method: list(rng.normal(0.505, 0.004, 3)) for method in BESIDE}


@pytest.fixture(scope="module")
def cells() -> tuple[Cell, ...]:
    recipes = [grid_recipe(DECAYS, INTERVALS, lr=lr) for lr in (1e-3, 3e-3)]
    results: list[Result] = []
    pruned: dict[Unit, int] = {}
    for number, recipe in enumerate(recipes):
        values = {method: [[value] for value in of] for method, of in accuracies(number).items()}
        results += [r for r in curves(recipe, values) if r.method != pair(*MISSING)]
        pruned |= {unit: 1 for unit in grid_units(recipe) if unit.method == pair(*PRUNED)}
    return cells_from(results, grid_units(*recipes), pruned)


def verdicts(seed: int) -> dict[tuple[float, int | None], str]:
    """Who beats warm start, the average of its decay and both controls, by Student's interval of three seeds."""
    values, found = accuracies(seed), {}
    for decay in DECAYS:
        for every in INTERVALS:
            ours = values[pair(decay, every)]
            against = [values[m] for m in (pair(decay, None), "warm-start", *BESIDE[2:])]
            means = [float(np.subtract(ours, theirs).mean()) for theirs in against]
            halves = [4.302653 * np.subtract(ours, t).std(ddof=1) / math.sqrt(3) for t in against]
            clearly = all(mean > half for mean, half in zip(means, halves, strict=True))
            found[decay, every] = "clearly" if clearly else "on average" if min(means) > 0 else "no"
            if every is None or (decay, every) in (PRUNED, MISSING):
                found[decay, every] = "unknown"
    return found


def drawn(cells: tuple[Cell, ...]) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(heat_map(cells))
    return [group for group in root.iter(f"{SVG}g") if group.get("class") == "cell"]


def test_every_cell_is_judged_as_by_hand(cells: tuple[Cell, ...]) -> None:
    wanted = [verdict for seed in (0, 1) for verdict in verdicts(seed).values()]
    assert [group.get("data-beats") for group in drawn(cells)] == wanted
    assert {"clearly", "on average"} <= set(wanted)


def test_filled_hatched_and_blank(cells: tuple[Cell, ...]) -> None:
    groups = dict(zip([(d, e) for d in DECAYS for e in INTERVALS], drawn(cells), strict=False))
    for place, group in groups.items():
        fills = [rect.get("fill") for rect in group.iter(f"{SVG}rect")]
        numbers = [text.text for text in group.iter(f"{SVG}text")]
        if place == PRUNED:
            assert (fills, numbers, group.get("data-state")) == (["none", "url(#pruned)"], [], "pruned")
        elif place == MISSING:
            assert (fills, numbers, group.get("data-state")) == (["none"], [], "missing")
        else:
            assert len(fills) == 1
            assert re.fullmatch("#[0-9a-f]{6}", str(fills[0]))
            assert numbers == [f"{100 * np.mean(accuracies(0)[pair(*place)]):.1f}"]


def test_a_dot_stands_where_it_is_better_on_average_only(cells: tuple[Cell, ...]) -> None:
    for group in drawn(cells):
        dots = [circle for circle in group.iter(f"{SVG}circle") if circle.get("class") == "dot"]
        assert len(dots) == (group.get("data-beats") == "on average")


def test_the_outline_has_each_edge_between_the_region_and_the_rest_once(cells: tuple[Cell, ...]) -> None:
    root = ElementTree.fromstring(heat_map(cells))
    outlines = [path.get("d") or "" for path in root.iter(f"{SVG}path") if path.get("class") == "region"]
    rows = [
        [verdicts(seed)[decay, every] == "clearly" for every in INTERVALS]
        for seed in (0,)
        for decay in DECAYS
    ]
    padded = np.pad(np.array(rows, dtype=int), 1)
    horizontal, vertical = int(abs(np.diff(padded, axis=0)).sum()), int(abs(np.diff(padded, axis=1)).sum())
    assert horizontal + vertical > 0
    assert outlines[0].count(f"h{CELL_WIDTH}") == horizontal
    assert outlines[0].count(f"v{CELL_HEIGHT}") == vertical


def test_panels_axes_and_what_stands_beside_are_named(cells: tuple[Cell, ...]) -> None:
    root = ElementTree.fromstring(heat_map(cells, title="Digits & more"))
    texts = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert "Digits & more" in texts
    assert [text for text in texts if text.startswith("lr=")] == ["lr=0.001", "lr=0.003"]
    assert {"decay", "reset_every (optimizer steps)", "0.97", "100", "none"} <= set(texts)
    for name in (
        "warm start: ",
        "from scratch: ",
        "from scratch + EMA: ",
        "from scratch + Hare & Tortoise: ",
    ):
        assert sum(text.startswith(name) for text in texts) == 2
    assert "prefers-color-scheme:dark" in heat_map(cells)


def test_what_was_scaled_down_says_so(cells: tuple[Cell, ...]) -> None:
    assert "scaled down" not in heat_map(cells)
    recipe = grid_recipe(DECAYS, INTERVALS).replace(scale="100 of 60,000 images")
    results = curves(recipe, {method: [[value] for value in of] for method, of in accuracies(0).items()})
    root = ElementTree.fromstring(heat_map(cells_from(results, grid_units(recipe))))
    (note,) = [e for e in root.iter(f"{SVG}text") if e.text == "scaled down (100 of 60,000 images)"]
    first = min(float(rect.get("y", "nan")) for g in root.iter(f"{SVG}g") for rect in g.iter(f"{SVG}rect"))
    assert float(note.get("y", "nan")) < first - 20


def test_the_scale_of_colours_spans_what_ended_and_nothing_else(cells: tuple[Cell, ...]) -> None:
    recipe = grid_recipe(DECAYS, INTERVALS)
    values = {method: [[value] for value in of] for method, of in accuracies(0).items()}
    values[pair(0.9, 10)], values[pair(0.97, 10)] = [[0.01]] * 3, [[0.99]] * 3
    results = [
        dataclasses.replace(r, failure="diverged") if (r.method, r.seed) == (pair(0.97, 10), 0) else r
        for r in curves(recipe, values)
    ]
    units = grid_units(recipe)
    pruned = {unit: 1 for unit in units if unit.method == pair(0.9, 10)}
    found = cells_from(results, units, pruned)
    assert {cell.state for cell in found} == {"complete", "pruned", "failed"}
    ended = [
        100 * float(np.mean(of))
        for method, of in accuracies(0).items()
        if method not in (*BESIDE, pair(0.9, 10), pair(0.97, 10))
    ]
    assert f"{min(ended):.1f} to {max(ended):.1f} %" in heat_map(found)


def test_no_text_leaves_the_picture(cells: tuple[Cell, ...]) -> None:
    root = ElementTree.fromstring(heat_map(cells[:1], title="t"))
    width = float(root.get("width", "nan"))
    starting = [e for e in root.iter(f"{SVG}text") if e.get("text-anchor") == "start" and e.text]
    # letters of a wide font are about 0.6 of their size
    ends = [
        float(e.get("x", "nan")) + 0.6 * float(e.get("font-size", "nan")) * len(str(e.text)) for e in starting
    ]
    assert max(ends) < width


def test_the_order_of_results_changes_nothing(cells: tuple[Cell, ...]) -> None:
    assert heat_map(tuple(reversed(cells))).count("data-beats") == heat_map(cells).count("data-beats")
    assert ordered([None, 1000, "word", 10, 1000]) == (10, 1000, "word", None)


def test_two_sides_are_needed(cells: tuple[Cell, ...]) -> None:
    with pytest.raises(ValueError, match="values of decay and shrink"):
        heat_map(cells, columns="shrink")


def test_the_darkest_is_the_highest(cells: tuple[Cell, ...]) -> None:
    pairs = []
    for group in drawn(cells):
        texts = [text.text for text in group.iter(f"{SVG}text")]
        if texts:
            fill = str(next(group.iter(f"{SVG}rect")).get("fill"))
            pairs.append((float(str(texts[0])), sum(int(fill[i : i + 2], 16) for i in (1, 3, 5))))
    by_number = sorted(pairs, key=lambda pair: (pair[0], -pair[1]))
    assert by_number[0][1] == max(light for _, light in pairs)
    assert by_number[-1][1] == min(light for _, light in pairs)
