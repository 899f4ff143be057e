"""A sweep: which settings of a method are best on a recipe, chosen on validation data, beside parents and controls."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import torch

from hare_tortoise.lab import files
from hare_tortoise.lab.building import build_stream, cached_source
from hare_tortoise.lab.heat_map import heat_map
from hare_tortoise.lab.obtain import Bench, samples_of
from hare_tortoise.lab.outcome import versions
from hare_tortoise.lab.plan import ChunkPlan
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.run import check, mark_rows
from hare_tortoise.lab.search import Search, Study, rungs_of
from hare_tortoise.lab.spec import parse, parse_sum
from hare_tortoise.lab.sweep_cells import Cell, Figure, cells_from, ranking
from hare_tortoise.lab.sweep_page import Sweep, page
from hare_tortoise.lab.sweep_rule import rule_of_thumb
from hare_tortoise.lab.sweep_space import Range, Space, read_space
from hare_tortoise.lab.sweep_unit import Unit, beside, controls, parent_of
from hare_tortoise.lab.trial import Engine, Result

VALIDATION = 0.1


def run_sweep(
    recipe: Recipe,
    over: Sequence[str],
    *,
    out: Path,
    method: str | None = None,
    search: Search = "grid",
    trials: int | None = None,
    choose: Figure = "average",
    data_root: Path | None = None,
    workers: int | None = None,
    threads: int = 1,
    device: str | None = None,
    quiet: bool = False,
    command: str = "",
    checkpoint_every: float = 20.0,
) -> Sweep:
    """Run what is missing of a sweep, choose on validation data, and write tables, figures and heat maps.

    A setting runs with all seeds of the recipe. Beside the settings run warm start, the same averages without resets
    and from scratch, and then the controls of the best setting: in a grid for each combination of recipe values, in
    a search for those of the chosen setting.

    Args:
        recipe: the experiment; its methods are not run. Without validation data a tenth is held out.
        over: what is swept, an axis each; see `read_space`.
        out: folder of the store and of what is written.
        method: the composition whose settings are swept; None: Hare & Tortoise as the recipe has it.
        search: ``grid``: all settings; ``random``: some; ``halving``: the worse half is given up after a quarter
            and after a half of the stream.
        trials: how many settings a search draws; None: all of a grid, 16 where there are ranges.
        choose: on which validation accuracy: the ``average`` over the stream, or the ``final`` one.
        data_root: folder of known data sets; also the environment variable HARE_TORTOISE_DATA.
        workers: trials at the same time; None: one for each core, on a GPU one; 0: in this process.
        threads: of torch in each trial.
        device: ``cpu``, ``cuda`` or ``mps``; None: CUDA where there is such a device, else the CPU.
        quiet: show no progress.
        command: what the user wrote, for the page.
        checkpoint_every: seconds between checkpoints.

    Raises:
        ValueError: Something that is named is not there or does not fit the rest; nothing has run then.
        ImportError: A search is asked for and optuna is not installed.
    """
    recipe, notes = with_validation(mark_rows(recipe, data_root))
    notes = (*notes, *_noise_notes(recipe))
    _check_request(recipe, search, trials, data_root)
    space = read_space(recipe, _method(recipe) if method is None else method, over)
    engine = Engine(device or ("cuda" if torch.cuda.is_available() else "cpu"), threads)
    work = _Work(Bench(out, data_root, engine, workers, quiet, checkpoint_every), choose)
    for budget in recipe.budgets:
        if search == "grid":
            work.grid(space, budget)
        else:
            work.search(space, budget, search, trials)
    sweep = work.sweep(recipe, space, search, notes, command)
    write_sweep(sweep, out, _sides(space))
    return sweep


def _check_request(recipe: Recipe, search: Search, trials: int | None, root: Path | None) -> None:
    if search == "grid" and trials is not None:
        raise ValueError(
            f"--trials {trials}: a grid runs all of its settings; take --search random or halving"
        )
    if build_stream(recipe, cached_source(recipe.source, root), 0)[0].validation is None:
        raise ValueError(
            f"scenario {recipe.scenario}: it holds out no validation data, and a sweep chooses on these"
        )


def with_validation(recipe: Recipe) -> tuple[Recipe, tuple[str, ...]]:
    """See to it that there are validation data to choose on; say so where they are taken from the training data."""
    if recipe.validation > 0:
        return recipe, ()
    note = (
        f"{VALIDATION:.0%} of the training rows are held out to choose on (validation={VALIDATION:g}); the recipe "
        "holds out none, so its figures are of a little more data"
    )
    scale = recipe.scale if recipe.scale == "own" else f"{recipe.scale}; validation={VALIDATION:g}"
    if recipe.scale == "paper":
        scale = f"validation={VALIDATION:g}"
    return recipe.replace(validation=VALIDATION, scale=scale), (note,)


def _noise_notes(recipe: Recipe) -> tuple[str, ...]:
    """Say that what is chosen on carries label noise, where the scenario has it."""
    noise = dict(parse(recipe.scenario).settings).get("label_noise")
    if not noise or (isinstance(noise, tuple) and not any(noise)):
        return ()
    return (
        "validation rows are labelled as noisily as the chunk that they are held out of (label_noise), as that is all "
        "one would have then: validation accuracies of a noisy chunk are against labels that are partly wrong, and the "
        "choice is made on them; test data are clean",
    )


def write_sweep(sweep: Sweep, out: Path, sides: tuple[str, str] | None) -> None:
    """Write a sweep: figures as JSON, its page, and the heat maps where there are two sides to draw."""
    out.mkdir(parents=True, exist_ok=True)
    drawings: dict[Figure, Path] = {figure: out / f"sweep-{figure}.svg" for figure in ("average", "final")}
    for figure, path in drawings.items():
        if sides is None:
            path.unlink(missing_ok=True)  # an older one would pass for this sweep's
        else:
            drawn = heat_map(sweep.cells, rows=sides[0], columns=sides[1], figure=figure)
            files.write_atomic(path, drawn.encode())
    files.write_atomic(out / "sweep.json", (json.dumps(sweep.to_json(), indent=1) + "\n").encode())
    names = [path.name for path in drawings.values()] if sides is not None else []
    files.write_atomic(out / "sweep.md", page(sweep, names).encode())


class _Work:
    """Runs settings, and keeps what they came to."""

    def __init__(self, bench: Bench, figure: Figure) -> None:
        self.bench, self.figure = bench, figure
        self.units: list[Unit] = []
        self.plans: dict[tuple[str, float], tuple[ChunkPlan, ...]] = {}
        self.results: dict[tuple[tuple[str, str, float], int], Result] = {}
        self.failures: dict[tuple[tuple[str, str, float], int], str] = {}
        self.pruned: dict[Unit, int] = {}

    @property
    def steps(self) -> dict[tuple[str, float], int]:
        """Give the optimizer steps of the last chunk, by name of the recipe and budget."""
        return {panel: plan[-1].steps for panel, plan in self.plans.items()}

    def cells(self, units: Iterable[Unit] | None = None) -> tuple[Cell, ...]:
        """Give what settings came to, by default all of them."""
        chosen = self.units if units is None else list(units)
        return cells_from(self.results.values(), chosen, self.pruned)

    def sweep(
        self, recipe: Recipe, space: Space, search: Search, notes: tuple[str, ...], command: str
    ) -> Sweep:
        """Say what everything came to."""
        cells = self.cells()
        return Sweep(
            recipe=recipe,
            method=space.method,
            axes=tuple(axis.name for axis in space.axes),
            search=search,
            figure=self.figure,
            cells=cells,
            rule=rule_of_thumb(cells, self.steps, figure=self.figure),
            notes=notes,
            failures=tuple(self.failures.values()),
            command=command,
            made_with=versions(),
        )

    def grid(self, space: Space, budget: float) -> None:
        """Run all settings and what stands beside them, then the controls of the best of each panel."""
        settings = [space.unit(values, budget) for values in space.grid()]
        self._run([*settings, *self._new([other for unit in settings for other in beside(unit)], settings)])
        panels = dict.fromkeys(unit.panel for unit in settings)
        best = [self._best([unit for unit in settings if unit.panel == panel]) for panel in panels]
        self._run(self._new(other for unit in best if unit is not None for other in controls(unit)))

    def search(
        self, space: Space, budget: float, search: Literal["random", "halving"], trials: int | None
    ) -> None:
        """Run settings that are drawn, then what stands beside the best of them."""
        study = Study(space, trials)
        settings = [space.unit(values, budget) for values in study.settings]
        self._check(settings)
        if search == "halving":
            rungs = rungs_of(len(self.plans[settings[0].panel]))
            pruned = study.halve(
                rungs, lambda places, rung: self._scores(settings, places, rung, rung == rungs[-1])
            )
            self.pruned |= {settings[place]: rung for place, rung in pruned.items()}
        else:
            for place, score in self._scores(settings, range(len(settings)), None, True).items():
                study.tell(place, score)
        self.units += settings
        best = self._best(settings)
        if best is not None:
            self._run(self._new([*beside(best), *controls(best)], settings))

    def _scores(
        self, settings: Sequence[Unit], places: Iterable[int], chunks: int | None, last: bool
    ) -> dict[int, float]:
        """Run settings for so many chunks and score them on validation data; those that failed are left out."""
        units = {place: settings[place] for place in places}
        self._obtain(list(units.values()), None if last else chunks)
        cells = zip(units, self.cells(units.values()), strict=True)
        estimates = {
            place: cell.estimate("validation", self.figure)
            for place, cell in cells
            if cell.state == "complete"
        }
        return {place: found.mean for place, found in estimates.items() if found is not None}

    def _best(self, settings: Sequence[Unit]) -> Unit | None:
        """Choose a setting; one with resets where there is one, as the controls are of these."""
        ranked = [r.cell.unit for r in ranking(self.cells(settings), self.figure) if r.place is not None]
        return next(
            (unit for unit in ranked if parent_of(unit.method) is not None), ranked[0] if ranked else None
        )

    def _new(self, units: Iterable[Unit], known: Sequence[Unit] = ()) -> list[Unit]:
        """Leave out what is run already, or stands twice."""
        keys = {unit.key for unit in (*self.units, *known)}
        return list({unit.key: unit for unit in units if unit.key not in keys}.values())

    def _run(self, units: Sequence[Unit]) -> None:
        self._check(units)
        self.units += units
        self._obtain(units, None)

    def _check(self, units: Sequence[Unit]) -> None:
        """Build everything once, so that nothing runs where something does not fit."""
        grouped: dict[tuple[str, float], list[Unit]] = {}
        for unit in units:
            grouped.setdefault(unit.panel, []).append(unit)
        for panel, theirs in grouped.items():
            methods = tuple(dict.fromkeys(unit.method for unit in theirs))
            recipe = theirs[0].recipe.replace(methods=methods, budgets=(panel[1],))
            self.plans[panel] = check(recipe, self.bench.root)[panel[1]]

    def _obtain(self, units: Sequence[Unit], chunks: int | None) -> None:
        distinct = {unit.key: unit for unit in units}.values()
        by_seed = zip(*(unit.trials() for unit in distinct), strict=True)
        wanted = [trial for seed in by_seed for trial in seed]
        samples = [samples_of(t, self.plans[t.recipe.name, t.budget], chunks) for t in wanted]
        found = self.bench.obtain(wanted, samples, chunks=chunks)
        for trial, result in zip(wanted, found, strict=True):
            key = (trial.recipe.name, trial.method, trial.budget), trial.seed
            if isinstance(result, Result):
                self.results[key] = result
            reason = result if isinstance(result, str) else result.failure
            if reason is not None:
                self.failures[key] = f"{trial.label}: {reason}"


def _method(recipe: Recipe) -> str:
    """Take Hare & Tortoise as the recipe has it, with its other settings; else as it is by itself."""
    alone = [text for text in recipe.methods if [call.name for call in parse_sum(text)] == ["hare-tortoise"]]
    return alone[0] if alone else "hare-tortoise"


def _sides(space: Space) -> tuple[str, str] | None:
    """Choose what is drawn down the side and along the foot of a heat map; None where there are no two lists."""
    lists = [axis.name for axis in space.axes if not isinstance(axis.values, Range)]
    if {"decay", "reset_every"} <= set(lists):
        return "decay", "reset_every"
    return (lists[0], lists[1]) if len(lists) == len(space.axes) and len(lists) > 1 else None
