"""Wrong use is answered in one line with what was expected, code 2 and no traceback."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import pytest

from hare_tortoise.cli import main, parser
from hare_tortoise.cli.compare import Compare


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """What is said about arguments that are refused, with the frames of its box and line breaks taken out."""
    assert main(arguments) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    return " ".join(shown.err.translate(str.maketrans("", "", "│|╭╮╰╯─")).split())


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["compaer"], "unknown command 'compaer'; did you mean 'compare'?"),
        (
            ["zzz"],
            "unknown command 'zzz'; there are: compare, sweep, rl, play, report, methods, measures, streams, recipes",
        ),
        ([], "Expected one of {compare, sweep, rl, play, report, methods, measures, streams, recipes}"),
        (["sweep"], "--over: got nothing, expected what is swept"),
        (["sweep", "--source", "digit", "--over", "lr=1e-3"], "did you mean 'digits'?"),
        (["sweep", "demo-growing", "--over", "seeds=1,2"], "--over seeds: seeds cannot be swept"),
        (
            ["compare", "--source", "mine.npz", "--scale", "smoke"],
            "--scale smoke: got no recipe, and only those",
        ),
        (
            ["sweep", "--source", "mine.npz", "--over", "lr=1", "--scale", "desk"],
            "--scale desk: got no recipe",
        ),
        (
            ["compare", "--set", "epochs=1.5"],
            "expected a whole number, or one for each chunk, as in (200, 50)",
        ),
        (
            ["compare", "--source", "digits(rows=220)", "--scenario", "growing(chunks=500)"],
            "growing: the 220 training examples of digits cannot make 500 parts, as each needs 1 at least",
        ),
        (["sweep", "demo-growing"], "--over: got nothing, expected what is swept"),
        (["sweep", "demo-growin", "--over", "decay=0.9"], "'demo-growing'"),
        (["sweep", "demo-growing", "--over", "dekay=0.9"], "did you mean 'decay'"),
        (["sweep", "demo-growing", "--over", "decay"], "--over 'decay': expected name=values"),
        (["sweep", "demo-growing", "--over", "decay=0.9..0.99"], "ranges go with --search random or halving"),
        (
            ["sweep", "demo-growing", "--over", "decay=0.9", "--trials", "3"],
            "a grid runs all of its settings",
        ),
        (["report"], "Missing from hare-tortoise report: DIR"),
        (["compare", "--margn", "0.1"], "Perhaps you meant: --margin"),
        (["compare", "--seeds", "x"], "--seeds: got 'x', expected a whole number of at least 1"),
        (["compare", "--seeds", "0"], "--seeds: got '0', expected a whole number of at least 1"),
        (["compare", "--workers", "0"], "--workers: got '0', expected a whole number of at least 1"),
        (["compare", "--margin", "2"], "--margin: got '2', expected a share from 0 to 1"),
        (["compare", "--set"], "--set '': expected name=value"),
        (["compare", "--set", "epochs"], "--set 'epochs': expected name=value"),
        (["compare", "--set", "lr="], "--set 'lr=': expected name=value"),
        (["compare", "--set", "lr=1", "--set", "lr=2"], "--set 'lr=2': lr is given twice"),
        (["compare", "--set", "seeds=3", "--seeds", "4"], "--set 'seeds=3': seeds is given twice"),
        (["compare", "--budgets", "0.1,many"], "--budgets: got 'many', expected numbers such as 0.1,0.3,1"),
        (["compare", "demo-growin"], "'demo-growing'"),
        (["compare", "--methods", "hair-tortoise"], "'hare-tortoise'"),
        (["compare", "--methods", "ema(dekay=0.9)"], "'decay'"),
        (["compare", "--methods", "ema(decay=warmupp(0.9))"], "'warmup'"),
        (["compare", "--source", "digit"], "did you mean 'digits'?"),
        (["compare", "--scenario", "growin"], "'growing'"),
        (["compare", "--scenario", "growing(chunk=3)"], "'chunks'"),
        (["compare", "--network", "mpl"], "'mlp'"),
        (["compare", "--network", "no_such_module:build"], "no_such_module"),
        (["compare", "--set", "epoch=3"], "'epochs'"),
        (["compare", "--budgets", "-1"], "budgets"),
        (
            ["compare", "--set", "epochs=1", "--methods", "ema", "lr=1"],
            "'lr=1' is not a recipe but a value of one: ",
        ),
        (["compare", "demo-growing", "clip-norm=None"], "write --set clip-norm=None"),
        (["compare", "lee2024-warm-start-cifar10", "--set", "scale=paper"], "unknown recipe value 'scale'"),
        (["compare", "demo-growing", "--set", "description=mine"], "unknown recipe value 'description'"),
        (["compare", "--source", "npz(path=mine.npz)"], "quote it: path='mine.npz'"),
        (["compare", "--source", "./nophotos"], "/cache/nophotos: expected train/<class>/<image>"),
        (["compare", "--scenario", "growing(label_noise=abc)"], "label_noise is 'abc': give a number"),
        (["compare", "--measures", ""], "--measures: got '', expected one or more names"),
        (["compare", "--methods", " "], "--methods: got ' ', expected one or more names"),
        (["compare", "--measures", "all"], "unknown measure 'all'; there are: "),
        (["compare", "--measures", "all"], "hare-tortoise measures says what each is"),
        (
            ["compare", "--measures", "effective-rank(delta=0.1)"],
            "measures have no settings here; hare-tortoise",
        ),
        (
            ["compare", "--measures", "hare-tortoise-distance", "--methods", "warm-start,from-scratch"],
            "measure hare-tortoise-distance: got methods warm-start, from-scratch, expected one that deploys",
        ),
        (["compare", "--set", "measures=dormant-ratio,srank"], "give them by --measures a,b,c"),
        (["compare", "--set", "epochs=1 2"], "cannot read the value '1 2': invalid syntax"),
        (["compare", "--scenario", "warm-start(first=abc)"], "first is 'abc': give the share"),
    ],
)
def test_answer(
    arguments: list[str], answer: str, capsys: pytest.CaptureFixture[str], tmp_path: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARE_TORTOISE_DATA", "/cache")
    assert answer in refused(arguments, capsys)
    assert list(tmp_path.iterdir()) == []


def test_report_of_a_sweep_says_where_its_page_is(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    (tmp_path / "sweep.json").write_text("{}")
    for words in ([], ["--archive", str(tmp_path / "kept.json")]):
        said = refused(["report", str(tmp_path), *words], capsys).replace(" ", "")
        assert f"holdsasweep,notacomparison:itspageis{tmp_path}/sweep.md" in said


def test_report_of_a_folder_without_runs(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    assert "nothing-here" in refused(["report", str(tmp_path / "nothing-here")], capsys)
    assert str(tmp_path) in refused(["report", str(tmp_path)], capsys)


class Fails:
    """A command that fails."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def run(self, written: list[str]) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ValueError("decay: got 2"), 2, "decay: got 2"),
        (FileNotFoundError("put MNIST there"), 2, "put MNIST there"),
        (OSError("No space left on device"), 1, "No space left on device"),
        (KeyboardInterrupt(), 130, "the same command goes on"),
        (ModuleNotFoundError("…", name="plotly.graph_objects"), 2, 'pip install "hare-tortoise[lab]"'),
    ],
)
def test_what_a_failure_says(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(parser, "parse", lambda given: Fails(error))
    assert said in refused(["compare"], capsys, code)


def test_a_fault_of_ours_is_not_hidden(monkeypatch: Any) -> None:
    monkeypatch.setattr(
        parser, "parse", lambda given: Fails(ModuleNotFoundError("…", name="hare_tortoise.lab.nu"))
    )
    with pytest.raises(ModuleNotFoundError):
        main(["compare"])


def test_without_the_extra(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tyro" else real(name))
    assert 'pip install "hare-tortoise[lab]"' in refused(["compare"], capsys)
    assert 'pip install "hare-tortoise[lab]"' in refused(["--help"], capsys)
    assert main(["--version"]) == 0


def test_without_a_library_that_a_command_needs(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    for name in [
        name for name in sys.modules if name.partition(".")[0] == "rich" or name.endswith("cli.show")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setattr(Compare, "run", lambda self, written: __import__("rich.console") and 0)
    assert 'pip install "hare-tortoise[lab]"' in refused(["compare"], capsys)
