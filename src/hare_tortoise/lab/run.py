"""From recipes to a report: run what is missing, compare, write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from hare_tortoise.lab import archive, files
from hare_tortoise.lab.building import build, build_stream, cached_source, try_out
from hare_tortoise.lab.obtain import Bench, samples_of
from hare_tortoise.lab.outcome import UNFINISHED, Outcome, Plans, conclude, versions
from hare_tortoise.lab.plan import ChunkPlan, plan
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.trial import Engine, Trial, run_name, trials

MARGIN = 0.01


def run_recipes(
    recipes: Sequence[Recipe],
    *,
    out: Path,
    data_root: Path | None = None,
    workers: int | None = None,
    threads: int = 1,
    device: str | None = None,
    margin: float = MARGIN,
    quiet: bool = False,
    command: str = "",
    checkpoint_every: float = 20.0,
) -> Outcome:
    """Run what is missing of some recipes, compare and write the report.

    Args:
        recipes: the experiments; each name once.
        out: where runs and the report are kept.
        data_root: folder of known data sets; also the environment variable HARE_TORTOISE_DATA.
        workers: trials at the same time; None: one for each core, on a GPU one; 0: in this process.
        threads: of torch in each trial. A result depends on it in its last bits.
        device: ``cpu``, ``cuda`` or ``mps``; None: CUDA where there is such a device, else the CPU.
        margin: what may be lost where a method reaches from scratch, as a share.
        quiet: show no progress.
        command: what the user wrote, for the report.
        checkpoint_every: seconds between checkpoints.

    Raises:
        ValueError: Something that a recipe names is not there or does not fit the rest; nothing has run then.
    """
    _check_names(recipes)
    recipes = [mark_rows(recipe, data_root) for recipe in recipes]
    engine = Engine(device or ("cuda" if torch.cuda.is_available() else "cpu"), threads)
    bench = Bench(out, data_root, engine, workers, quiet, checkpoint_every)
    plans = {recipe.name: check(recipe, data_root) for recipe in recipes}
    wanted = [trial for recipe in recipes for trial in trials(recipe)]
    identities = bench.identities(wanted)
    out.mkdir(parents=True, exist_ok=True)
    _write_index(out, recipes, plans, wanted, identities, margin=margin, command=command)
    samples = [samples_of(trial, plans[trial.recipe.name][trial.budget]) for trial in wanted]
    results = bench.obtain(wanted, samples, identities)
    return conclude(
        recipes,
        plans,
        list(zip(wanted, results, strict=True)),
        out=out,
        margin=margin,
        command=command,
        made_with=versions(),
    )


def report_runs(path: Path, *, margin: float | None = None) -> Outcome:
    """Compare again and write the report of a finished command; nothing is trained.

    Args:
        path: the output folder of a comparison, or its archive: the report is then written beside it.
        margin: as in `run_recipes`; None: as the command had it.

    Raises:
        ValueError: There is no comparison, or none of its trials is finished.
    """
    if (path / "sweep.json").exists() and not (path / "command.json").exists():
        raise ValueError(
            f"{path} holds a sweep, not a comparison: its page is {path / 'sweep.md'}; the command of the sweep writes "
            "it again"
        )
    index, store = archive.read(path)
    if "recipes" not in index:
        raise ValueError(
            f"{path} holds a comparison of {index.get('kind', 'another kind')}, which is reported apart"
        )
    recipes = [Recipe.from_json(content) for content in index["recipes"]]
    by_name = {recipe.name: recipe for recipe in recipes}
    wanted = [Trial(by_name[t["recipe"]], t["method"], t["budget"], t["seed"]) for t in index["trials"]]
    results = [
        store.result(trial, entry["run"]) or UNFINISHED
        for trial, entry in zip(wanted, index["trials"], strict=True)
    ]
    if all(isinstance(result, str) for result in results):
        raise ValueError(f"{path} holds no finished run; run the comparison first: {index['command']}")
    return conclude(
        recipes,
        {name: _read_plans(content) for name, content in index["plans"].items()},
        list(zip(wanted, results, strict=True)),
        out=path.parent if path.is_file() else path,
        margin=index["margin"] if margin is None else margin,
        command=index["command"],
        made_with=index["versions"],
    )


def _check_names(recipes: Sequence[Recipe]) -> None:
    names = [recipe.name for recipe in recipes]
    if len(set(names)) != len(names) or not names:
        raise ValueError(f"recipes: got {names}, expected one or more, each once")


def check(recipe: Recipe, root: Path | None = None) -> Plans:
    """Build everything that a recipe names, once, and lay out its steps at each budget, by the data of seed 0.

    Raises:
        ValueError: Something is not there, or does not fit the rest.
    """
    stream = build_stream(recipe, cached_source(recipe.source, root), 0)
    for method in recipe.methods:
        setup = build(Trial(recipe, method, recipe.budgets[0], 0), stream=stream)
        if setup.resettable and recipe.reset_epochs is None:
            raise ValueError(
                f"method {method} is never reset: give reset_every=…, or the recipe reset_epochs=…; without resets "
                "it is ema(decay=…)"
            )
        try_out(setup)
    # each chunk is made once, and let go
    sizes = [(len(c.train), None if c.everything is None else len(c.everything)) for c in stream]
    kept, came = zip(*sizes, strict=True)
    return {budget: plan(recipe, budget, kept, came) for budget in recipe.budgets}


def mark_rows(recipe: Recipe, root: Path | None = None) -> Recipe:
    """Mark a published setting that runs on another number of training rows than was published.

    Args:
        recipe: what is run; one that does not pass for published is given as it is.
        root: folder of known data sets.
    """
    rows = len(cached_source(recipe.source, root).train_targets)
    if recipe.scale != "paper" or recipe.rows in (None, rows):
        return recipe
    return recipe.replace(scale=f"{rows:,} of {recipe.rows:,} training rows")


def _write_index(
    out: Path,
    recipes: Sequence[Recipe],
    plans: Mapping[str, Plans],
    wanted: Sequence[Trial],
    identities: Sequence[Mapping[str, Any]],
    *,
    margin: float,
    command: str,
) -> None:
    """Write what `report_runs` needs to find the trials of this command again."""
    entries = [
        {
            "recipe": t.recipe.name,
            "method": t.method,
            "budget": t.budget,
            "seed": t.seed,
            "run": run_name(known),
        }
        for t, known in zip(wanted, identities, strict=True)
    ]
    content = {
        "recipes": [recipe.to_json() for recipe in recipes],
        "plans": {name: [[b, [asdict(p) for p in ps]] for b, ps in of.items()] for name, of in plans.items()},
        "trials": entries,
        "margin": margin,
        "command": command,
        "versions": versions(),
    }
    files.write_json(out / "command.json", content)


def _read_plans(content: Sequence[tuple[float, Sequence[Mapping[str, Any]]]]) -> Plans:
    return {budget: tuple(ChunkPlan(**chunk) for chunk in chunks) for budget, chunks in content}
