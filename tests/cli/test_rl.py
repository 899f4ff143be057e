"""Agents from the command line to tables, report and films, and what is made of the options on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hare_tortoise.cli import main
from hare_tortoise.cli.parser import parse
from hare_tortoise.cli.rl import Rl
from hare_tortoise.lab import files, obtain
from hare_tortoise.lab.executor import Inline
from hare_tortoise.rl.asked import METHODS, games_of
from hare_tortoise.rl.atari import ATARI_100K
from hare_tortoise.rl.experiment import AgentExperiment
from hare_tortoise.rl.recipes import find_agent
from hare_tortoise.rl.run import AgentOutcome
from hare_tortoise.rl.trial import Judging

DRAWN = "tests.rl.own_games:drawn"
SHORT = ["--steps", "1000", "--replay-ratio", "0.05", "--set", "warm_up=100", "hidden=8", "--episodes", "3"]


def asked(*words: str) -> Rl:
    command = parse(["rl", *words])
    assert isinstance(command, Rl)
    return command


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """What is said about arguments that are refused, without the line breaks and the frame of a box."""
    assert main(arguments) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    return " ".join(shown.err.translate(str.maketrans("", "", "│|╭╮╰╯─")).split())


@pytest.fixture(scope="module", autouse=True)
def no_processes() -> Iterator[None]:
    """Trials run in this process: how they are spread over others has its own tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(obtain, "Processes", lambda workers: Inline())
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two recipes, on a game of bits and on one of vectors."""
    out = tmp_path_factory.mktemp("agents") / "out"
    words = ["rl", "--env", f"minatar:breakout,{DRAWN}", "--methods", "nothing, head_reset", "--seeds", "1"]
    assert main([*words, *SHORT, "--workers", "1", "--videos", "--quiet", "--out", str(out)]) == 0
    return out


def run_of(out: Path, method: str) -> Path:
    index = files.read_json(out / "command.json")
    (name,) = [each["run"] for each in index["trials"] if each["method"] == method]
    return Path(out / "runs" / name)


def test_each_recipe_has_its_report(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {"minatar", "vector"}
    for name, game in (("minatar", "minatar:breakout"), ("vector", DRAWN)):
        report = (finished / name / "report.html").read_text(encoding="utf-8")
        assert report.count("data:image/gif;base64,") == 2
        assert f"on {game}: one game, return" in report
        assert "every value, and where it comes from" in report
        index = files.read_json(finished / name / "command.json")
        assert index["command"].startswith("hare-tortoise rl --env minatar:breakout,tests")
        assert index["experiment"]["methods"] == ["nothing", "head-reset"]


def test_report_prints_the_same_again(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = finished / "minatar"
    (out / "report.html").unlink()
    assert main(["report", str(out), "--archive", str(out / "kept.json")]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.splitlines()[-1] == str(out / "report.html")
    assert (out / "report.html").is_file()
    assert "plain agent" in shown.out
    assert "anecdotal" in shown.out
    assert main(["report", str(out / "kept.json")]) == 0
    again = capsys.readouterr().out
    assert again in shown.out.replace(f"{out / 'kept.json'}\n", "")
    assert "without a margin" in refused(["report", str(out), "--margin", "0.1"], capsys)
    said = refused(["report", str(finished)], capsys)
    assert f"give one of the folders below it: {finished / 'minatar'}, {finished / 'vector'}" in said


def test_play_gives_the_returns_of_the_run(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(finished / "minatar", "nothing")
    metrics = files.read_json(run / "metrics.json")
    (judged,) = metrics["rows"][-1]["evaluations"].values()
    assert main(["play", str(run), "--episodes", "3"]) == 0
    label, returns, mean = capsys.readouterr().out.splitlines()
    assert label.startswith("minatar(")
    assert label.endswith("· minatar:breakout · nothing · seed 0")
    assert returns == f"minatar:breakout: {' '.join(f'{value:g}' for value in judged)}"
    assert mean == f"mean {sum(judged) / 3:.2f} of 3 whole games"


def test_play_films(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, film = run_of(finished / "minatar", "head-reset"), tmp_path / "film.gif"
    assert main(["play", str(run), "--episodes", "2", "--video", str(film)]) == 0
    *_, returns, mean, path = capsys.readouterr().out.splitlines()
    assert len(returns.split()) == 3
    assert mean.endswith("of 2 whole games")
    assert path == str(film)
    assert film.read_bytes()[:6] == b"GIF89a"


def test_films_that_cannot_be_made_are_told_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["rl", "--env", "tests.rl.own_games:limited", "--videos", "--out", str(tmp_path / "out")]
    said = refused(words, capsys)
    assert "tests.rl.own_games:limited cannot be drawn: its render mode is None" in said
    assert not (tmp_path / "out").exists()


def test_play_says_which_runs_there_are(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(["play", str(finished / "vector")], capsys)
    assert "holds 2 runs, name one of them:" in said
    assert f"· {DRAWN} · head-reset · seed 0" in said
    said = refused(["play", str(finished)], capsys)  # of two recipes, each with a folder
    assert "holds 4 runs" in said
    told = re.findall(r"/[0-9a-f]{16} (.*?) · seed 0", said)
    assert len(told) == 4
    assert told == sorted(told)
    assert "nowhere holds no run" in refused(["play", str(finished / "nowhere")], capsys)
    said = refused(["play", str(run_of(finished / "vector", "nothing")), "--video", "film.avi"], capsys)
    assert "ends in .gif or .mp4" in said
    assert not Path("film.avi").exists()


def test_what_was_finished_is_not_run_again(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = finished / "minatar"
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*.*")}
    words = ["rl", "--env", "minatar:breakout", "--methods", "nothing,head-reset", "--seeds", "1", *SHORT]
    assert main([*words, "--quiet", "--out", str(out)]) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*.*")} == before
    assert len(before) == 6
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "report.html")


def test_how_it_is_run_is_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def noted(experiment: AgentExperiment, **settings: Any) -> AgentOutcome:
        given.update(settings)
        return AgentOutcome(None, ("nothing was run",), None)

    monkeypatch.setattr("hare_tortoise.rl.run.run_agents", noted)
    words = ["rl", "--env", "CartPole-v1", "--threads", "3", "--checkpoint-every", "7", "--workers", "2"]
    main([*words, "--device", "cpu", "--together", "--quiet", "--out", str(tmp_path / "out")])
    expected = {
        "threads": 3,
        "checkpoint_every": 7.0,
        "workers": 2,
        "device": "cpu",
        "together": True,
        "quiet": True,
    }
    assert {name: given[name] for name in expected} == expected
    assert given["out"] == tmp_path / "out"
    main(["rl", "--env", "CartPole-v1", "--out", str(tmp_path / "out")])
    assert (given["threads"], given["checkpoint_every"], given["together"]) == (1, 20.0, None)


def test_a_replay_that_is_too_large_is_told_before_the_first_of_several_games(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["rl", "--env", "CartPole-v1,minatar:breakout", "--set", "capacity=100000000"]
    assert "the replay takes 41," in refused([*words, "--out", str(tmp_path / "out")], capsys)
    assert not (tmp_path / "out").exists()


def test_by_default_the_control_of_the_resets_is_run_too() -> None:
    (experiment,) = asked("--env", "CartPole-v1").experiments()
    assert experiment.recipe == find_agent("vector")
    assert experiment.methods == METHODS
    assert METHODS == ("nothing", "ema(decay=0.999)", "hare-tortoise(decay=0.999, reset_every=1000)")
    assert (experiment.seeds, experiment.judging) == (5, Judging())
    (copied,) = asked("--env", "atari:pong", "--recipe", "dqn").experiments()
    assert copied.methods == ("nothing",)
    assert copied.games == (("atari:Pong",),)


def test_options_are_values_of_the_recipe() -> None:
    words = ["--steps", "3000", "--replay-ratio", "0.25", "--encoder", "impala(width=2)", "--episodes", "7"]
    words += [
        "--set",
        "lr=3e-4",
        "atoms=None",
        "--set",
        "act-every=9",
        "epsilon=constant(0.1)",
        "--seeds",
        "2",
    ]
    (found,) = asked("--env", "atari:Pong", "--curve-every", "2000", *words).experiments()
    changes = {"steps": 3_000, "replay_ratio": 0.25, "encoder": "impala(width=2)", "lr": 3e-4, "atoms": None}
    assert found.recipe == find_agent("drq").replace(**changes, act_every=9, epsilon="constant(0.1)")
    assert found.judging == Judging(episodes=7, curve_every=2_000)
    assert found.seeds == 2


def test_what_is_played() -> None:
    assert games_of("ATARI-100k") == tuple((f"atari:{game}",) for game in ATARI_100K)
    assert games_of("atari:Pong,atari-100k")[:2] == (("atari:Pong",), ("atari:Alien",))
    assert len(games_of("atari:Pong,atari-100k")) == 26
    assert games_of(None, "minatar:asterix, minatar:Breakout, minatar:asterix") == (
        ("minatar:asterix", "minatar:breakout", "minatar:asterix"),
    )
    mixed = asked("--env", "atari:Pong,minatar:breakout,atari:alien", "--seeds", "1").experiments()
    assert [(each.recipe.name, each.games) for each in mixed] == [
        ("drq", (("atari:Pong",), ("atari:Alien",))),
        ("minatar", (("minatar:breakout",),)),
    ]
    images = asked("--env", "tests.rl.own_games:picture,tests.rl.own_games:planes").experiments()
    assert [each.recipe.name for each in images] == ["minatar"]


def test_describe_runs_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["rl", "--describe"]) == 0
    assert capsys.readouterr().out.startswith("drq\n")
    words = ["rl", "--env", "minatar:breakout,CartPole-v1", "--set", "lr=0.5", "--describe"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert shown.index("minatar on minatar:breakout\n") < shown.index("vector on CartPole-v1\n")
    assert shown.count("lr                 0.5") == 2
    assert "Cut after 500 steps" in shown
    assert main(["rl", "--recipe", "spr", "--env", "atari:Pong", "--describe"]) == 0
    assert "SAME padding" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "env: got nothing, expected what is to be played: atari:Assault"),
        (["--env", ","], "env: got ',', expected what"),
        (["--env", "atari:Asault"], "unknown game of Atari 'Asault'; did you mean 'Assault'"),
        (["--env", "minatar:brekout"], "unknown game of MinAtar 'brekout'; did you mean 'breakout'?"),
        (["--env", "CartPole-v9"], "did you mean 'CartPole-v1'"),
        (["--env", "nowhere:make"], "no module named 'nowhere'"),
        (["--env", "Pendulum-v1"], "takes actions of Box(-2.0, 2.0, (1,), float32), expected Discrete"),
        (
            ["--env", "tests.rl.own_games:cannot_be_made"],
            "failed when it was made: FileNotFoundError: walk.txt",
        ),
        (["--sequence", "minatar:breakout"], "sequence: got 'minatar:breakout', expected two games or more"),
        (["--sequence", "CartPole-v1,Acrobot-v1"], "the observations differ"),
        (["--env", "CartPole-v1", "--recipe", "drk"], "did you mean 'drq'"),
        (
            ["--env", "CartPole-v1", "--recipe", "spr"],
            "recipe spr takes images (encoder nature(padding=same), and",
        ),
        (
            ["--env", "CartPole-v1", "--set", "target=copy", "acts=online", "--methods", "ema(decay=0.9)"],
            "method 'ema(decay=0.9)': vector copies its target network, so there is no tortoise; take a recipe whose",
        ),
        (["--env", "CartPole-v1", "--methods", ","], "--methods: got ',', expected one or more names"),
        (["--env", "CartPole-v1", "--methods", "hair-tortoise"], "did you mean 'hare-tortoise'"),
        (
            ["--env", "CartPole-v1", "--methods", "ema,ema"],
            "methods: got ['ema', 'ema'], expected one or more, each",
        ),
        (
            ["--env", "CartPole-v1", "--steps", "30", "--set", "steps=40"],
            "--set 'steps=40': steps is given twice",
        ),
        (["--env", "CartPole-v1", "--set", "lr"], "--set 'lr': expected name=value, as in --set lr=3e-4"),
        (["--env", "CartPole-v1", "--set", "rl=1"], "unknown value of recipe vector 'rl'; did you mean"),
        (["--env", "CartPole-v1", "--set", "lr=fast"], "lr: got 'fast', expected a number"),
        (["--env", "CartPole-v1", "--set", "name=mine"], "unknown value of recipe vector 'name'"),
        (["--env", "CartPole-v1", "--set", "target=none"], "expected average or copy"),
        (["--env", "CartPole-v1", "--encoder", "nowhere:Encoder"], "no module named 'nowhere'"),
        (["--env", "CartPole-v1", "--encoder", "mpl"], "unknown encoder 'mpl'; did you mean 'mlp'"),
        (
            ["--env", "CartPole-v1", "--curve-every", "10"],
            "curve_every: got 10 steps, expected a multiple of 1,000",
        ),
        (["--env", "CartPole-v1", "--replay-ratio", "-1"], "got '-1', expected a number of at least 0"),
        (["--env", "CartPole-v1", "--seeds", "0"], "--seeds: got '0', expected a whole number of at least 1"),
        (["--env", "CartPole-v1", "--device", "gpu"], "device: got 'gpu', expected cpu, cuda"),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    told = refused(["rl", *words, "--out", str(out)], capsys)
    assert said.replace("-", "").replace("─", "") in told.replace("-", "")
    assert not out.exists()


def test_replays_that_are_too_large_are_told_with_their_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["rl", "--env", "CartPole-v1", "--set", "capacity=100000000000", "--workers", "3"]
    said = refused([*words, "--out", str(tmp_path / "out")], capsys)
    assert "3 replays at the same time take 10,200,000,000,048 bytes of memory, and" in said
    assert not (tmp_path / "out" / "runs").exists()


def test_a_trial_that_fails_gives_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "rl",
        "--env",
        "CartPole-v1",
        "--methods",
        "nothing",
        "--seeds",
        "1",
        "--workers",
        "1",
        "--quiet",
    ]
    words += ["--set", "lr=1e30", "clip=None", "warm_up=100", "hidden=8", "--steps", "300", "--episodes", "1"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 1
    shown = capsys.readouterr()
    assert "failed: vector · CartPole-v1 · nothing · seed 0: the loss was" in shown.err
    run = run_of(tmp_path / "out", "nothing")
    assert "holds no agent: the run failed (the loss was" in refused(["play", str(run)], capsys)
