"""Metrics of finished trials as small JSON files, found again by what was run alone."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hare_tortoise.lab import files
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.trial import NOT_OF_A_TRIAL, Result, Row, Trial

DATA = Path(__file__).parent.parent / "docs" / "results" / "data"
LARGEST = 64 * 1024
_DIGITS = 6
_BY_TEST = ("tests", "hare_tests")


@dataclass(frozen=True)
class Record:
    """What is kept of a finished trial.

    Args:
        trial: what was run.
        rows: at the ends of the chunks, numbers to 6 digits.
        failure: why it stopped before its end; None if it did not.
        made_with: versions and machine; recorded, not compared.
    """

    trial: Trial
    rows: tuple[Row, ...]
    failure: str | None
    made_with: Mapping[str, str]

    @property
    def seconds(self) -> float:
        """Of training; 0 where a trial failed before its first row."""
        return float(self.rows[-1]["seconds"]) if self.rows else 0.0

    def result(self, trial: Trial) -> Result:
        """Give it as the result of a trial that is the same but for names."""
        return Result(
            trial.recipe.name, trial.method, trial.budget, trial.seed, self.rows, self.failure, key(trial)
        )


def key(trial: Trial) -> str:
    """Name a trial by what it runs: all values of its recipe that are not the defaults, method, budget, seed."""
    recipe = {
        field.name: value
        for field in dataclasses.fields(Recipe)
        if field.name not in NOT_OF_A_TRIAL and (value := getattr(trial.recipe, field.name)) != field.default
    }
    content = [recipe, trial.method, trial.budget, trial.seed]
    return hashlib.sha256(files.canonical(content).encode()).hexdigest()[:16]


def write(folder: Path, trial: Trial, result: Result, made_with: Mapping[str, str]) -> Path:
    """Keep a finished trial.

    Args:
        folder: of its line.
        trial: what was run.
        result: what came out.
        made_with: versions and machine.

    Raises:
        ValueError: It would take more than 64 kB.
    """
    recipe = trial.recipe.to_json() | {"methods": [trial.method], "budgets": [trial.budget]}
    head: dict[str, Any] = {
        "recipe": {
            name: value for name, value in recipe.items() if name not in ("differences", "description")
        },
        "budget": trial.budget,
        "seed": trial.seed,
        "failure": result.failure,
        "made_with": dict(made_with),
    }
    rows = [short(row) for row in result.rows if row["last"]]
    head["tests"] = tests = _several(rows)
    rows = [_packed(row, tests) for row in rows]
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    text = f'{{"trial":{json.dumps(head)},\n"rows":[\n{lines}\n]}}\n'
    if len(text.encode()) > LARGEST:
        raise ValueError(
            f"{trial.label}: its metrics take {len(text.encode()):,} bytes, at most {LARGEST:,} are kept"
        )
    path = folder / f"{key(trial)}.json"
    folder.mkdir(parents=True, exist_ok=True)
    files.write_atomic(path, text.encode())
    return path


def read(folder: Path) -> dict[str, Record]:
    """Read what is kept of a line, by key."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        head = content["trial"]
        recipe = Recipe.from_json(head["recipe"])
        trial = Trial(recipe, recipe.methods[0], head["budget"], head["seed"])
        rows = tuple(_unpacked(row, head.get("tests", [])) for row in content["rows"])
        found[key(trial)] = Record(trial, rows, head["failure"], head["made_with"])
    return found


def read_all() -> dict[str, Record]:
    """Read what is kept of all lines; some share trials."""
    return {name: record for folder in sorted(DATA.iterdir()) for name, record in read(folder).items()}


def _several(rows: Sequence[Row]) -> list[str]:
    """Name the test sets of a trial that has several; a matrix of 50 by 50 would be mostly names otherwise."""
    names = list(dict.fromkeys(name for row in rows for name in row.get("tests", {})))
    return names if len(names) > 1 else []


def _packed(row: Row, tests: Sequence[str]) -> Row:
    """Write accuracies by test set as lists in the order of their names, without the names."""
    if not tests:
        return row
    return row | {name: [row[name].get(test) for test in tests] for name in _BY_TEST if name in row}


def _unpacked(row: Row, tests: Sequence[str]) -> Row:
    if not tests:
        return row
    named = {name: zip(tests, row[name], strict=True) for name in _BY_TEST if name in row}
    return row | {name: {test: v for test, v in pairs if v is not None} for name, pairs in named.items()}


def short(value: Any) -> Any:
    """Give a value with its numbers to 6 digits."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, Mapping):
        return {name: short(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [short(each) for each in value]
    return value
