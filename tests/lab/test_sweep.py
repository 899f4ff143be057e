"""A sweep from its axes to its files: what runs, what is chosen, and that it goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hare_tortoise.lab import obtain
from hare_tortoise.lab.executor import Inline
from hare_tortoise.lab.store import Store
from hare_tortoise.lab.sweep import run_sweep, with_validation
from hare_tortoise.lab.sweep_page import Sweep, page, said
from hare_tortoise.lab.trial import Engine
from hare_tortoise.lab.worker import run_task
from tests.lab.small import small, task_of, timeless

RECIPE = small(source="digits(rows=120)", scenario="growing(chunks=2)", epochs=2, seeds=3, validation=0.2)
OVER = ["decay=0.5,0.9", "reset_every=3,none", "lr=1e-3,3e-3"]


def sweep(out: Path, over: list[str] = OVER, **settings: Any) -> Sweep:
    return run_sweep(RECIPE, over, out=out, workers=0, quiet=True, **settings)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sweep, Path]:
    out = tmp_path_factory.mktemp("grid")
    return sweep(out), out


def test_everything_runs_once_with_all_seeds(grid: tuple[Sweep, Path]) -> None:
    result, out = grid
    roles = [cell.unit.role for cell in result.cells]
    # two learning rates: four settings, warm start, from scratch and two controls each; the averages are settings
    assert {role: roles.count(role) for role in set(roles)} == {
        "setting": 8,
        "parent": 2,
        "reference": 2,
        "control": 4,
    }
    assert all(cell.state == "complete" and len(cell.tests) == 3 for cell in result.cells)
    assert len(list((out / "runs").glob("*/metrics.json"))) == 16 * 3


def test_what_is_chosen_is_best_on_validation_data(grid: tuple[Sweep, Path]) -> None:
    result, _ = grid
    settings = [cell for cell in result.cells if cell.unit.role == "setting"]
    means = {
        cell.unit.label: sum(sum(curve) / len(curve) for curve in cell.validations.values()) / 3
        for cell in settings
    }
    chosen = result.chosen(1.0)
    assert chosen is not None
    assert means[chosen.unit.label] == max(means.values())


def test_controls_have_the_decay_of_the_best_of_their_panel(grid: tuple[Sweep, Path]) -> None:
    result, _ = grid
    for lr in ("0.001", "0.003"):
        cells = [cell for cell in result.cells if cell.unit.recipe.name == f"small lr={lr}"]
        ranked = [r.cell for r in result.ranking(1.0) if r.cell in cells and "hare" in r.cell.unit.method]
        decay = dict(ranked[0].unit.values)["decay"]
        assert {cell.unit.method for cell in cells if cell.unit.role == "control"} == {
            f"from-scratch+ema(decay=warmup({decay}))",
            f"from-scratch+hare-tortoise(decay=warmup({decay}), reset_every=3)",
        }


def test_files_say_all_of_it(grid: tuple[Sweep, Path]) -> None:
    result, out = grid
    content = json.loads((out / "sweep.json").read_text())
    assert len(content["cells"]) == len(result.cells)
    assert content["cells"][0]["values"] == {"decay": "0.5", "reset_every": "3", "lr": "0.001"}
    assert content["cells"][0]["figures"]["validation_average"]["count"] == 3
    text = (out / "sweep.md").read_text()
    assert said(result, 1.0) in text
    assert "![sweep-average.svg](sweep-average.svg)" in text
    assert {path.name for path in out.glob("*.svg")} == {"sweep-average.svg", "sweep-final.svg"}
    assert "Rule of thumb" in text


def test_the_same_again_runs_nothing(grid: tuple[Sweep, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    result, out = grid
    monkeypatch.setattr(Inline, "run", lambda *_: pytest.fail("something runs again"))
    assert page(sweep(out)) == page(result)


def test_halving_gives_up_the_worse_half_and_goes_on_where_it_paused(tmp_path: Path) -> None:
    over = ["decay=0.5,0.9", "reset_every=3,5"]
    result = sweep(tmp_path / "halved", over, search="halving")
    settings = [cell for cell in result.cells if cell.unit.role == "setting"]
    assert (
        sorted((cell.state, cell.chunks) for cell in settings) == [("complete", 2)] * 2 + [("pruned", 1)] * 2
    )
    kept = [cell for cell in settings if cell.state == "complete"]
    first = {cell.unit.label: sum(curve[0] for curve in cell.validations.values()) for cell in settings}
    going = {cell.unit.label for cell in kept}
    assert max(value for label, value in first.items() if label not in going) <= min(first[k] for k in going)
    trial = kept[0].unit.trials()[1]
    whole = run_task(task_of(trial, tmp_path / "whole"))
    store = Store(tmp_path / "halved")
    known = obtain.Bench(tmp_path / "halved", None, Engine()).identities([trial])
    done = store.run(known[0]).finished()
    assert done is not None
    assert timeless(done[0]) == timeless(whole.rows)
    assert store.run(known[0]).folder.name == whole.run


def test_ranges_are_searched_without_heat_maps(tmp_path: Path) -> None:
    (tmp_path / "sweep-final.svg").write_text("of an older sweep")
    result = sweep(tmp_path, ["decay=0.5..0.9", "lr=1e-3..1e-2"], search="random", trials=2)
    assert [cell.unit.role for cell in result.cells].count("setting") == 2
    assert {cell.unit.recipe.name for cell in result.cells if cell.unit.role == "control"} == {
        result.ranking(1.0)[0].cell.unit.recipe.name
    }
    assert not list(tmp_path.glob("*.svg"))


def test_validation_data_are_held_out_where_the_recipe_has_none() -> None:
    recipe, notes = with_validation(RECIPE.replace(validation=0.0, scale="paper"))
    assert (recipe.validation, recipe.scale) == (0.1, "validation=0.1")
    assert "10% of the training rows" in notes[0]
    assert with_validation(RECIPE) == (RECIPE, ())


def test_noisy_validation_labels_are_told(tmp_path: Path) -> None:
    for noise, told in (("0.2", True), ("(0.5, 0.0)", True), ("0.0", False), ("(0.0, 0.0)", False)):
        recipe = RECIPE.replace(scenario=f"growing(chunks=2, label_noise={noise})", seeds=1)
        out = tmp_path / noise
        run_sweep(recipe, ["lr=1e-3"], out=out, method="warm-start", workers=0, quiet=True)
        assert ("against labels that are partly wrong" in (out / "sweep.md").read_text()) is told


def test_a_published_setting_on_fewer_rows_does_not_pass_for_it(tmp_path: Path) -> None:
    published = RECIPE.replace(scale="paper", rows=50_000, validation=0.0, seeds=1)
    result = run_sweep(published, ["lr=1e-3"], out=tmp_path, method="warm-start", workers=0, quiet=True)
    assert result.recipe.scale == "120 of 50,000 training rows; validation=0.1"
    assert {cell.unit.recipe.scale for cell in result.cells} == {result.recipe.scale}
    assert result.recipe.scale in page(result)


def test_a_bad_value_is_told_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="decay"):
        sweep(tmp_path / "out", ["decay=0.9,1.5"])
    with pytest.raises(ValueError, match="a grid runs all of its settings"):
        sweep(tmp_path / "out", trials=3)
    assert not (tmp_path / "out").exists()
