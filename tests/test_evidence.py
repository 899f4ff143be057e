"""The evidence under docs/results: found again by what was run alone, small, and all of it of a known line."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from rich.console import Console

from evidence import command, controls, cost, pages, records, run, run_agents, shares
from evidence.agents import AGENT_LINES
from evidence.curves import Axes, Curve, curves
from evidence.forest import forest
from evidence.lines import LINES, Line
from hare_tortoise.lab.comparison import compare
from hare_tortoise.lab.executor import Inline
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.statistics import Estimate
from hare_tortoise.lab.trial import Result, Trial, trials

MADE_WITH = {"torch": "2.13", "python": "3.11", "processor": "an abacus"}


def recipe(**changes: object) -> Recipe:
    plain = Recipe(
        name="small", methods=("from-scratch", "warm-start", "from-scratch+ema"), epochs=2, seeds=3
    )
    return plain.replace(**changes)


def result(trial: Trial, accuracy: float) -> Result:
    rows = tuple(
        {
            "chunk": chunk,
            "chunk_name": f"part {chunk}",
            "last": last,
            "samples": 10 * chunk,
            "seconds": 1.5 * chunk,
            "test_accuracy": accuracy + 0.01 * chunk,
            "measures": {"dormant-ratio": 0.123456789, "weight-norm": None},
        }
        for chunk in (1, 2)
        for last in (False, True)
    )
    return Result(trial.recipe.name, trial.method, trial.budget, trial.seed, rows)


def test_a_trial_is_named_by_what_it_runs_alone() -> None:
    trial = Trial(recipe(), "warm-start", 1.0, 0)
    same = Trial(
        recipe(name="other", scale="desk", seeds=9, methods=("warm-start",), differences=("one",)),
        "warm-start",
        1.0,
        0,
    )
    assert records.key(trial) == records.key(same)
    others = [
        Trial(recipe(lr=2e-3), "warm-start", 1.0, 0),
        Trial(recipe(scenario="growing(chunks=5)"), "warm-start", 1.0, 0),
        Trial(recipe(), "ema", 1.0, 0),
        Trial(recipe(), "warm-start", 0.5, 0),
        Trial(recipe(), "warm-start", 1.0, 1),
    ]
    assert len({records.key(trial), *map(records.key, others)}) == 6


def test_a_value_that_the_recipe_gets_later_leaves_the_names(tmp_path: Path) -> None:
    trial = Trial(recipe(), "warm-start", 1.0, 0)
    path = records.write(tmp_path, trial, result(trial, 0.5), MADE_WITH)
    content = json.loads(path.read_text())
    del content["trial"]["recipe"]["judge"], content["trial"]["recipe"]["measures"]
    path.write_text(json.dumps(content))
    assert list(records.read(tmp_path)) == [records.key(trial)]


def test_what_is_kept_is_what_was_measured(tmp_path: Path) -> None:
    trial = Trial(recipe(lr=3e-3), "warm-start", 1.0, 2)
    path = records.write(tmp_path, trial, result(trial, 0.5), MADE_WITH)
    assert path.stem == records.key(trial)
    kept = records.read(tmp_path)[path.stem]
    assert (kept.trial.method, kept.trial.seed, kept.trial.recipe.lr) == ("warm-start", 2, 3e-3)
    assert [row["test_accuracy"] for row in kept.rows] == [0.51, 0.52]
    assert kept.rows[0]["measures"] == {"dormant-ratio": 0.123457, "weight-norm": None}
    assert kept.seconds == 3.0
    assert kept.result(Trial(recipe(name="new", lr=3e-3), "warm-start", 1.0, 2)).recipe == "new"


def test_a_matrix_of_accuracies_is_kept_without_its_names(tmp_path: Path) -> None:
    names = [f"task {task}" for task in range(1, 51)]
    rows = tuple(
        {
            "last": True,
            "tests": {name: 0.001 * (place + task) for task, name in enumerate(names[: place + 1])},
        }
        | ({"hare_tests": {names[place]: 0.5}} if place else {})
        for place in range(50)
    )
    trial = Trial(recipe(), "warm-start", 1.0, 0)
    path = records.write(tmp_path, trial, Result("small", "warm-start", 1.0, 0, rows), MADE_WITH)
    kept = records.read(tmp_path)[path.stem].rows
    assert [row["tests"] for row in kept] == [pytest.approx(row["tests"]) for row in rows]
    assert [row.get("hare_tests") for row in kept] == [row.get("hare_tests") for row in rows]
    assert path.read_text().count("task 7") == 1


def test_what_is_too_large_is_refused(tmp_path: Path) -> None:
    trial = Trial(recipe(), "warm-start", 1.0, 0)
    large = Result(
        "small",
        "warm-start",
        1.0,
        0,
        ({"last": True, "measures": {f"measure {i}": 0.1 for i in range(6000)}},),
    )
    with pytest.raises(ValueError, match="at most 65,536 are kept"):
        records.write(tmp_path, trial, large, MADE_WITH)
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_found_by_recipe(tmp_path: Path) -> None:
    line = Line("small", 0.9, lambda: [recipe()])
    for trial in trials(recipe())[:4]:
        records.write(tmp_path, trial, result(trial, 0.5), MADE_WITH)
    kept = records.read(tmp_path)
    left = run.missing(line, kept)
    assert left == trials(recipe())[4:]
    assert run.hours_left(line, left) == pytest.approx(0.9 * 5 / 9)


def test_the_display_knows_what_each_trial_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limited = recipe(
        source="digits(rows=200)",
        scenario="limited(chunks=2, memory=20)",
        network="mlp(hidden=(4,))",
        seeds=1,
    )
    lengths: dict[str, tuple[int, int]] = {}

    def finished(self: run.Keeping, index: int, result: Result) -> None:
        lengths[result.method] = self.tally.samples[index], result.rows[-1]["samples"]

    monkeypatch.setattr(run.Keeping, "finished", finished)
    monkeypatch.setattr(run, "Processes", lambda workers: Inline())
    monkeypatch.setattr(run, "STORE", tmp_path)
    run.run(Line("small", 0.1, lambda: [limited]), {}, workers=1, console=Console(quiet=True))
    # two epochs on 100 rows, then on all 200 or on 120
    assert lengths == {
        "from-scratch": (600, 600),
        "warm-start": (440, 440),
        "from-scratch+ema": (600, 600),
    }


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"]], ids=["all", "run"])
def test_the_help_names_the_lines_with_their_core_hours(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as done:
        command.main(words)
    shown = capsys.readouterr().out
    assert done.value.code == 0
    assert shown.startswith(f"usage: python -m evidence {'' if len(words) == 1 else 'run '}[-h]")
    told = dict(line.split() for line in shown.partition("of each:\n")[2].splitlines())
    hours = {line.name: line.hours for line in LINES.values()} | {
        line.name: line.hours for line in AGENT_LINES.values()
    }
    assert told == {name: f"{figure:g}" for name, figure in hours.items()}


def test_lines_are_run_by_name_and_all_without_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, int, int | None]] = []
    monkeypatch.setattr(
        run, "run", lambda line, kept, *, workers, console, limit: asked.append((line.name, workers, limit))
    )

    def run_them(names: list[str], *, workers: int, limit: int | None) -> int:
        asked.extend((name, workers, limit) for name in names)
        return 0

    monkeypatch.setattr(run_agents, "main", run_them)
    assert command.main(["run", "digits", "minatar", "mnist", "--workers", "3", "--limit", "5"]) == 0
    assert asked == [("digits", 3, 5), ("mnist", 3, 5), ("minatar", 3, 5)]
    asked.clear()
    assert command.main(["run", "--workers", "1"]) == 0
    assert asked == [(name, 1, None) for name in (*LINES, *AGENT_LINES)]
    for words, says in (
        (["run", "digit"], "'digit' is no line; there are: digits, "),
        (["digits"], "choose from"),
    ):
        with pytest.raises(SystemExit):
            command.main(words)
        assert says in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(LINES))
def test_what_is_committed_belongs_to_its_line(name: str) -> None:
    line = LINES[name]
    assert line.hours <= run.MOST_HOURS
    wanted = {records.key(trial) for each in line.recipes() for trial in trials(each)}
    folder = records.DATA / name
    files = sorted(folder.glob("*.json"))
    assert {path.stem for path in files} <= wanted
    assert set(records.read(folder)) == {path.stem for path in files}
    assert max((path.stat().st_size for path in files), default=0) <= records.LARGEST


def test_no_data_without_a_line() -> None:
    assert {path.name for path in records.DATA.iterdir() if path.is_dir()} <= set(LINES)


def test_pages_are_made_of_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MADE", tmp_path / "made")
    monkeypatch.setattr(records, "DATA", tmp_path / "data")
    monkeypatch.setattr(pages, "LINES", {"small": Line("small", 0.1, lambda: [recipe()])})
    for trial in trials(recipe())[:-1]:
        records.write(tmp_path / "data" / "small", trial, result(trial, 0.5 + 0.1 * trial.seed), MADE_WITH)
    assert command.main([]) == 0
    text = (tmp_path / "made" / "small.md").read_text()
    assert "1 of 9 trials are not finished yet" in text
    assert "an abacus; other work ran on the machine" in text
    assert "| from scratch + EMA |" in text
    assert (tmp_path / "made" / "small.svg").exists()


def test_the_forest_stands_by_average_and_names_each_gain() -> None:
    gains = {"from-scratch": 0.0, "warm-start": 0.02, "from-scratch+ema": -0.6}
    results = [result(t, 0.7 + 0.01 * t.seed + gains[t.method]) for t in trials(recipe())]
    drawn = forest(compare(recipe(), results))
    assert drawn is not None
    root = ElementTree.fromstring(drawn)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    names = [text for text in texts if text in ("warm start", "from scratch + EMA")]
    assert names == ["warm start", "from scratch + EMA"]
    assert texts.count("+2.0 ± 0.0") == 2
    # one that fell too far to be drawn is an arrow at the edge, and its number stands beside it
    assert texts.count("−60.0 ± 0.0") == 2
    assert drawn.count("l8 -4v8z") == 2
    only = compare(recipe(methods=("warm-start",)), [r for r in results if r.method == "warm-start"])
    assert forest(only) is None


def test_what_continues_is_held_against_the_control_that_is_best_in_each_figure() -> None:
    ran = {
        "from-scratch": ((0.5, 0.9), (0.5, 0.9), (0.5, 0.9)),
        "from-scratch+ema": ((0.9, 0.1), (0.9, 0.1), (0.9, 0.1)),
        "from-scratch+hare-tortoise": ((0.1, 0.6), (0.1, 0.7), (0.1, 0.8)),
        "hare-tortoise(decay=0.99)+l2-init": ((1.0, 1.0), (1.0, 1.0), (1.0, 1.0)),
        "hare-tortoise(decay=0.99)": ((0.7, 0.7), (0.7, 0.7), (0.7, 0.7)),
    }
    results = [
        Result(
            "insects",
            method,
            1.0,
            seed,
            tuple(
                {"chunk": chunk, "last": True, "test_accuracy": accuracy}
                for chunk, accuracy in enumerate(each)
            ),
            None,
            f"{method}-{seed}",
        )
        for method, seeds in ran.items()
        for seed, each in enumerate(seeds)
    ]
    # final against 0.6, 0.7, 0.8: 0.1, 0.0, −0.1, half-width 4.303 · 0.1 / √3; average against 0.5 of the EMA
    assert controls.against_controls(results).splitlines()[2:] == [
        "| INSECTS | – | – | 0.0 ± 24.8 | +20.0 ± 0.0 | – | – |"
    ]
    assert controls.against_controls([r for r in results if "from-scratch+" not in r.method]).count("\n") == 2


def test_a_table_of_retraining_names_cost_and_average() -> None:
    rows = tuple(
        {"chunk": n, "last": True, "samples": s, "test_accuracy": a}
        for n, (s, a) in enumerate(((10, 0.1), (30, 0.3), (60, 0.5), (100, 0.7), (150, 1.0)))
    )
    made = cost.summary([Result("mine", "from-scratch", 1.0, 0, rows, None, "x")])
    assert made["mine-every.md"].splitlines()[2:4] == [
        "| chunk | 100 % | 52.0 |",
        "| 2 chunks | 60 % | 44.0 |",
    ]


def test_retraining_less_often_keeps_what_was_deployed() -> None:
    rows = [
        {"samples": samples, "test_accuracy": accuracy}
        for samples, accuracy in zip((10, 30, 60, 100, 150), (0.1, 0.4, 0.5, 0.8, 0.9), strict=True)
    ]
    assert cost.retrained_every(rows, 1) == pytest.approx((0.54, 150))
    # trained on the chunks 0, 2 and 4: 10 + 30 + 50 samples
    assert cost.retrained_every(rows, 2) == pytest.approx(((0.1 + 0.1 + 0.5 + 0.5 + 0.9) / 5, 90))
    assert cost.retrained_every(rows, 5) == pytest.approx((0.1, 10))


def test_curves_lie_where_their_values_are() -> None:
    def curve(name: str, *values: float) -> Curve:
        return Curve(name, [(float(x), Estimate(v, v - 0.01, v + 0.01, 3)) for x, v in enumerate(values, 1)])

    drawn = curves(
        Axes("a title", "across", "up"), [curve("rising", 0.1, 0.2, 0.4), curve("flat", 0.3, 0.3, 0.3)]
    )
    root = ElementTree.fromstring(drawn)
    space = "{http://www.w3.org/2000/svg}"
    dots = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter(f"{space}circle")]
    (x1, y1), (x2, y2), (x3, y3) = dots[:3]
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert y1 - y3 == pytest.approx(3 * (y1 - y2), abs=0.5)
    assert dots[3][1] == dots[4][1] == dots[5][1] == pytest.approx((y2 + y3) / 2, abs=0.2)
    texts = [element.text for element in root.iter(f"{space}text")]
    assert {"rising", "flat", "a title", "across", "up", "20 %"} <= set(texts)
    shares = curves(Axes("t", "x", "y", logarithmic=True), [curve("rising", 0.1, 0.2, 0.4, 0.5)])
    places = [float(c.attrib["cx"]) for c in ElementTree.fromstring(shares).iter(f"{space}circle")]
    assert places[3] - places[1] == pytest.approx(places[1] - places[0], abs=0.2)


def test_shares_are_held_against_the_best_fixed_setting_of_each_figure() -> None:
    auto = shares.method_of(0.2, 0.02)
    quick, slow = (f"hare-tortoise(decay={decay}, reset_every=100)" for decay in (0.9, 0.99))
    # accuracy of the first and of the second chunk, at three seeds; quick has the better end, slow the better average
    runs = {auto: (0.8, 0.8), quick: (0.3, 0.85), slow: (0.82, 0.82), f"{slow}+ema": (1.0, 1.0)}
    found = [
        Result(
            "r",
            method,
            1.0,
            seed,
            tuple({"last": True, "test_accuracy": accuracy + seed / 100} for accuracy in both),
        )
        for method, both in runs.items()
        for seed in range(3)
    ]
    loss, best = shares.against_best(found, auto, shares.final)
    assert (round(loss.mean, 6), loss.low, shares.fixed_of(best)) == (-0.05, loss.mean, "0.9/100")
    loss, best = shares.against_best(found, auto, shares.average)
    assert (round(loss.mean, 6), shares.fixed_of(best)) == (-0.02, "0.99/100")
    text = shares.summary(found, {(0.2, 0.02): auto})
    assert "| 20 %, 2 % (chosen) | −5.0 ± 0.0 (to 0.9/100) | −2.0 ± 0.0 (to 0.99/100) | no |" in text
    near = [r for r in found if r.method != quick]
    near = [
        r
        if r.method != auto
        else Result(
            "r",
            auto,
            1.0,
            r.seed,
            tuple({**row, "test_accuracy": row["test_accuracy"] + 0.015} for row in r.rows),
        )
        for r in near
    ]
    assert shares.summary(near, {(0.2, 0.02): auto}).endswith("| yes |\n")
