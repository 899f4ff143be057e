"""What is shown of long sequences, on rows whose figures are worked out by hand."""

from __future__ import annotations

import re

import pytest

from evidence import sequences
from evidence.curves import curves
from evidence.tasks import forgetting, online
from hare_tortoise.lab.matrix import colour
from hare_tortoise.lab.trial import Result, Row

NAMES = ("task 1", "task 2", "task 3")
WARM = ((0.9, 0.1, 0.1), (0.5, 0.8, 0.1), (0.3, 0.6, 0.7))  # [time][task]
HARE = ((0.7, 0.1, 0.1), (0.4, 0.7, 0.1), (0.2, 0.5, 0.7))


def rows(
    deployed: tuple[tuple[float, ...], ...], hare: tuple[tuple[float, ...], ...] | None = None
) -> list[Row]:
    made: list[Row] = []
    for time, line in enumerate(deployed):
        row: Row = {
            "chunk": time,
            "chunk_name": NAMES[time],
            "last": True,
            "samples": time + 1,
            "seconds": 0.0,
        }
        row |= {"test_accuracy": line[time], "train_accuracy": 1.0, "hare_test_accuracy": line[time]}
        row["tests"] = dict(zip(NAMES, line, strict=True))
        if hare is not None:
            row["hare_tests"] = dict(zip(NAMES, hare[time], strict=True))
        made.append(row)
    return made


def result(recipe: str, method: str, seed: int, made: list[Row]) -> Result:
    return Result(recipe, method, 1.0, seed, tuple(made), None, f"{method}-{seed}")


def test_age_counts_the_tasks_trained_since() -> None:
    assert sequences.by_age(rows(WARM)) == pytest.approx(
        {0: (0.9 + 0.8 + 0.7) / 3, 1: (0.5 + 0.6) / 2, 2: 0.3}
    )
    assert sequences.by_age(rows(WARM, HARE), "hare_tests") == pytest.approx({0: 0.7, 1: 0.45, 2: 0.2})


def test_tasks_that_have_not_come_do_not_count() -> None:
    assert sequences.on_all_seen(rows(WARM)) == pytest.approx({1: 0.9, 2: 0.65, 3: 1.6 / 3})


def test_online_accuracy_is_averaged_over_whole_blocks() -> None:
    made: list[Row] = [{"chunk": n, "online_accuracy": n / 100} for n in range(25)]
    assert sequences.in_blocks(made) == pytest.approx({10: 0.045, 20: 0.145})


def test_a_measure_stands_where_it_was_taken() -> None:
    made: list[Row] = [
        {"chunk": 0, "measures": {"rank": 3.0}},
        {"chunk": 1, "measures": {}},
        {"chunk": 2, "measures": {"rank": 5}},
    ]
    assert sequences.measured(made, "rank") == {1: 3.0, 3: 5.0}


def test_the_table_has_the_hare_where_another_network_is_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequences, "NEWEST", 2)
    (recipe,) = forgetting()
    results = []
    for seed, less in enumerate((0.0, 0.1, 0.2)):
        worse = tuple(tuple(value - less for value in line) for line in WARM)
        results.append(result(recipe.name, "warm-start", seed, rows(worse)))
    results += [result(recipe.name, "ema(decay=0.999)", seed, rows(WARM, HARE)) for seed in (0, 1, 2)]
    table = sequences.kept_table(recipe, results).splitlines()[2:]
    # newest: 0.8, 0.7, 0.6; of the last two: 0.75 and less; all: 1.6/3 and a tenth and two tenths less;
    # half-widths 4.303 · 0.1 / √3; backward: of 0.9 and 0.8 are kept 0.3 and 0.6, of the hare's 0.7 and 0.7 0.2 and 0.5
    assert table == [
        "| warm start | 70.0 ± 24.8 | 65.0 ± 24.8 | 43.3 ± 24.8 | −40.0 ± 0.0 |",
        "| EMA | 80.0 ± 0.0 | 75.0 ± 0.0 | 53.3 ± 0.0 | −40.0 ± 0.0 |",
        "| EMA: hare | 70.0 ± 0.0 | 70.0 ± 0.0 | 46.7 ± 0.0 | −35.0 ± 0.0 |",
    ]
    made = sequences.forgetting_summary(results)
    assert set(made) == {
        "forgetting-tasks.svg",
        "forgetting-curves.svg",
        "forgetting-age.svg",
        "forgetting-warm-start.svg",
        "forgetting.md",
    }
    assert made["forgetting-tasks.svg"].count('class="cell"') == 27
    (warm, ema) = sequences.over_seeds(recipe, results, sequences.by_age)
    assert (warm.name, ema.name) == ("warm start", "EMA")
    assert [(place, round(estimate.mean, 4)) for place, estimate in warm.points] == [
        (0, 0.7),
        (1, 0.45),
        (2, 0.2),
    ]


def test_the_tortoise_and_its_hare_stand_alone() -> None:
    (recipe,) = forgetting()
    slow = "hare-tortoise(decay=0.999, reset_every=100)"
    made = sequences.maps(recipe, [result(recipe.name, slow, seed, rows(WARM, HARE)) for seed in (0, 1)])
    assert list(made) == ["forgetting-tortoise.svg", "forgetting-hare.svg"]
    # task 2 after chunk 3: 0.6 of 0.1 … 0.9, and of the hare 0.5 of 0.1 … 0.7
    for drawn, share in zip(made.values(), (5 / 8, 4 / 6), strict=True):
        cells = re.findall(r'class="cell" x="([\d.]+)" y="([\d.]+)".*? fill="(#\w+)"', drawn)
        columns, lines = (sorted({float(cell[axis]) for cell in cells}) for axis in (0, 1))
        at = {(lines.index(float(y)), columns.index(float(x))): fill for x, y, fill in cells}
        assert len(at) == 9
        assert at[1, 2] == colour(share)
        assert at[2, 1] == colour(0.0)


def test_references_are_dashed_and_no_two_curves_look_alike() -> None:
    for recipe in online():
        results = []
        for method in recipe.methods:
            made: list[Row] = [
                {"chunk": n, "last": True, "online_accuracy": 0.5, "measures": {}} for n in range(20)
            ]
            results.append(result(recipe.name, method, 0, made))
        shown = sequences.over_seeds(recipe, results, sequences.in_blocks)
        assert [curve.dashed for curve in shown] == [
            method.startswith("from-scratch") for method in recipe.methods
        ]
        drawn = curves(sequences.MEASURES["dormant-ratio"], shown)
        looks = re.findall(
            r'<path d="M[^"]*" fill="none" stroke="(#\w+)" stroke-width="1.8"( stroke-dasharray)?', drawn
        )
        assert len(set(looks)) == len(looks) == len(recipe.methods)
