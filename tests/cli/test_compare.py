"""From the command line to tables and report, and what is made of the options on the way."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hare_tortoise.cli import main, show
from hare_tortoise.cli.compare import Compare
from hare_tortoise.cli.parser import parse
from hare_tortoise.lab import obtain
from hare_tortoise.lab.executor import Inline
from hare_tortoise.lab.recipes import find_recipe

TINY = ["--methods", "from-scratch,warm-start", "--scenario", "growing(chunks=2, label_noise=0.2)"]
TINY += ["--seeds", "3", "--set", "epochs=1", "network=mlp(hidden=(8,))"]


def options(*words: str) -> Compare:
    command = parse(["compare", *words])
    assert isinstance(command, Compare)
    return command


def test_a_named_recipe_stays_as_it_is() -> None:
    assert options("demo-growing", "demo-warm-start").recipes() == [
        find_recipe("demo-growing"),
        find_recipe("demo-warm-start"),
    ]
    assert options("demo_growing").recipes() == [find_recipe("demo-growing")]


def test_without_a_name_the_base_recipe_is_run() -> None:
    assert options().recipes() == [find_recipe("demo-growing")]


def test_options_change_every_recipe_that_is_named() -> None:
    words = ["--seeds", "3", "--budgets", "1, 0.1", "--set", "epochs=7", "lr=0.01", "--set", "clip-norm=None"]
    recipes = options("demo-growing", "demo-warm-start", *words).recipes()
    assert [recipe.name for recipe in recipes] == ["demo-growing", "demo-warm-start"]
    for recipe in recipes:
        assert (recipe.seeds, recipe.budgets, recipe.epochs) == (3, (0.1, 1.0), 7)
        assert (recipe.lr, recipe.clip_norm) == (0.01, None)


def test_methods_are_split_outside_parentheses() -> None:
    written = "from-scratch, shrink_perturb(shrink=0.5, perturb=0.5)+ema(decay=warmup(0.9)),warm-start"
    (recipe,) = options("--methods", written).recipes()
    assert recipe.methods == (
        "from-scratch",
        "shrink-perturb(shrink=0.5, perturb=0.5)+ema(decay=warmup(0.9))",
        "warm-start",
    )


def test_what_is_not_the_recipe_any_more_does_not_bear_its_name() -> None:
    (recipe,) = options("--source", "mine.npz", "--network", "resnet18").recipes()
    assert (recipe.name, recipe.scenario, recipe.network) == ("own", "growing(chunks=10)", "resnet18")
    assert recipe.source == "npz(path='mine.npz')"


def test_other_data_do_not_bear_the_description_of_the_recipe() -> None:
    for words in (["--source", "mine.npz"], ["--set", "source=mine.npz"]):
        (recipe,) = options("demo-growing", "--scenario", "growing(chunks=3)", *words).recipes()
        assert recipe.description == "demo-growing on npz(path='mine.npz'), growing(chunks=3)"
    assert options("demo-growing", "--seeds", "3").recipes()[0].description.startswith("digits")
    scaled = options("lee2024-continual-cifar10", "--scale", "smoke", "--source", "generated").recipes()[0]
    assert scaled.description.startswith("lee2024-continual-cifar10 on generated(")


def test_what_was_changed_does_not_pass_for_the_papers_setting() -> None:
    name = "lee2024-warm-start-cifar10"
    (recipe,) = options(name, "--seeds", "3", "--set", "epochs=(100, 11)").recipes()
    assert recipe.scale == "seeds=3; epochs=(100, 11)"
    for words in (
        [],
        ["--methods", "ema( decay=0.9990 ), warm-start", "--budgets", "0.1,1"],
        ["--seeds", "5", "--set", "lr=0.001"],
    ):
        (recipe,) = options(name, *words).recipes()
        assert recipe.scale == "paper"


@pytest.mark.parametrize(
    ("words", "scale"),
    [
        (["--budgets", "0.1"], "budgets=0.1"),
        (["--budgets", "0.3,0.1,2"], "budgets=0.1,0.3,2"),
        (
            ["--methods", "warm-start, ema(decay=0.99), l2-init"],
            "other methods: ema(decay=0.99), l2-init",
        ),
        (
            ["--methods", "ema", "--budgets", "0.5", "--seeds", "1"],
            "seeds=1; budgets=0.5; other methods: ema",
        ),
        (["--source", "photos/"], "source=image-folder(path='photos/')"),
    ],
)
def test_a_shortened_run_and_other_methods_are_not_the_papers(words: list[str], scale: str) -> None:
    (recipe,) = options("lee2024-warm-start-cifar10", *words).recipes()
    assert recipe.scale == scale


def test_what_was_no_published_setting_stays_so_and_is_marked_too() -> None:
    name = "lee2024-continual-cifar10-plain"
    assert [recipe.scale for recipe in options(name).recipes()] == ["without augmentation"]
    (recipe,) = options(name, "--seeds", "2").recipes()
    assert recipe.scale == "without augmentation; seeds=2"
    assert [recipe.scale for recipe in options("demo-growing", "--budgets", "0.1").recipes()] == ["own"]


@pytest.mark.timeout(200)
def test_compare_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "runs")
    assert main(["compare", *TINY, "--out", out, "--quiet"]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    report = Path(lines[-1])
    assert report.is_relative_to(tmp_path)
    assert report.read_text(encoding="utf-8").startswith("<!")
    assert "warm start" in shown.out
    assert any(line.startswith("own, 3 seeds") for line in lines)
    assert shown.err == ""
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    report.unlink()
    assert main(["report", out]) == 0
    assert capsys.readouterr().out == shown.out
    after = {path: path.stat().st_mtime_ns for path in before}
    written = {path.name for path in before if before[path] != after[path]}
    assert written == {"report.html", "comparison.json", "comparison.md", "own.svg"}


@pytest.mark.timeout(200)
def test_a_failed_trial_gives_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # no processes: how trials are spread over them has its own tests
    monkeypatch.setattr(obtain, "Processes", lambda workers: Inline())
    words = [
        "--set",
        "lr=1e38",
        "clip_norm=None",
        "optimizer=sgd",
        "--out",
        str(tmp_path / "runs"),
        "--quiet",
    ]
    assert main(["compare", *TINY[2:4], *words]) == 1
    shown = capsys.readouterr()
    assert "failed: " in shown.err
    assert Path(shown.out.splitlines()[-1]).is_file()


def test_what_was_written_reaches_the_laboratory(tmp_path: Path, monkeypatch: Any) -> None:
    from hare_tortoise.lab import run

    seen: dict[str, Any] = {}

    def stub(recipes: Any, **settings: Any) -> str:
        seen.update(settings, names=[recipe.name for recipe in recipes])
        return "outcome"

    monkeypatch.setattr(run, "run_recipes", stub)
    monkeypatch.setattr(show, "show", lambda outcome: 7 if outcome == "outcome" else 8)
    words = [
        "compare",
        "demo-growing",
        "--methods",
        "ema, warm-start",
        "--out",
        str(tmp_path),
        "--workers",
        "2",
    ]
    words += ["--margin", "0.02", "--data-root", "data", "--quiet"]
    assert main(words) == 7
    assert seen == {
        "names": ["demo-growing"],
        "out": tmp_path,
        "data_root": Path("data"),
        "workers": 2,
        "margin": 0.02,
        "quiet": True,
        "command": f"hare-tortoise compare demo-growing --methods 'ema, warm-start' --out {tmp_path} --workers 2"
        " --margin 0.02 --data-root data --quiet",
    }
    assert main(["compare"]) == 7
    assert (seen["out"], seen["data_root"], seen["workers"], seen["margin"]) == (
        Path("runs"),
        None,
        None,
        0.01,
    )


def test_failures_are_named_and_the_path_comes_last(capsys: pytest.CaptureFixture[str]) -> None:
    outcome: Any = SimpleNamespace(
        comparisons=(), failures=("ema, seed 0: killed",), advice=(), report=Path("runs/report.html")
    )
    assert show.show(outcome) == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == "runs/report.html"
    assert shown.err == "failed: ema, seed 0: killed\n"


def test_without_a_report_no_path_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    outcome: Any = SimpleNamespace(comparisons=(), failures=("ema, seed 0: killed",), advice=(), report=None)
    assert show.show(outcome) == 1
    assert capsys.readouterr().out == ""
