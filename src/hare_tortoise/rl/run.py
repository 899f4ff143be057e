"""From an experiment with agents to a report: run what is missing, compare, write."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from hare_tortoise.lab import archive, files
from hare_tortoise.lab.outcome import versions
from hare_tortoise.lab.trial import Engine, Result, run_name
from hare_tortoise.rl.building import build_population, small, try_out
from hare_tortoise.rl.environments import library_of
from hare_tortoise.rl.experiment import AgentExperiment
from hare_tortoise.rl.obtain import AgentBench, read
from hare_tortoise.rl.population import check_graph
from hare_tortoise.rl.recipe import AgentRecipe
from hare_tortoise.rl.report.charts_sequence import sequence_picture
from hare_tortoise.rl.report.comparison import compare_agents
from hare_tortoise.rl.report.entries import AgentComparison
from hare_tortoise.rl.report.figures import finished_of
from hare_tortoise.rl.report.page import write_report
from hare_tortoise.rl.report.picture import differences_picture, learning_picture, profile_picture
from hare_tortoise.rl.report.table import markdown
from hare_tortoise.rl.report.wording import file_name
from hare_tortoise.rl.room import check_device, check_room
from hare_tortoise.rl.trial import AgentTrial, Judging

KIND = "agents"


@dataclass(frozen=True)
class AgentOutcome:
    """What a command came to.

    Args:
        comparison: of the finished trials; None where there is none.
        failures: a line for each trial without a whole result.
        report: the HTML file; None if there is nothing to report.
    """

    comparison: AgentComparison | None
    failures: tuple[str, ...]
    report: Path | None


@dataclass(frozen=True)
class _Made:
    """What made some results: the report says so."""

    command: str
    versions: Mapping[str, str]
    protocol: str


def run_agents(
    experiment: AgentExperiment,
    *,
    out: Path,
    workers: int | None = None,
    threads: int = 1,
    device: str | None = None,
    quiet: bool = False,
    command: str = "",
    checkpoint_every: float = 20.0,
    protocol: str = "",
    videos: Mapping[str, Path] | None = None,
    together: bool | None = None,
) -> AgentOutcome:
    """Run what is missing of an experiment, compare, and write report, tables and pictures.

    Args:
        experiment: what to run.
        out: where runs and the report are kept.
        workers: trials at the same time; None: one for each core, on a GPU one; 0: in this process.
        threads: of torch in each trial. A result depends on it in its last bits.
        device: ``cpu`` or ``cuda``; None: CUDA where there is such a device, else the CPU.
        quiet: show no progress.
        command: what the user wrote, for the report.
        checkpoint_every: seconds between checkpoints.
        protocol: the recipe in words, for the report.
        videos: of agents at play, for the report: files by their title.
        together: train the seeds of a method in one process, over stacked weights, on a GPU those of all games; None:
            on a GPU, where all parts have a stacked form.

    Raises:
        ValueError: There is no such game or method, parts do not fit together, or the replays are larger than memory
            or disk; nothing has run then.
        ImportError: The library of a game is not installed.
    """
    engine = Engine(device or ("cuda" if torch.cuda.is_available() else "cpu"), threads)
    check_device(engine.device)
    check(experiment)
    as_one = together or (together is None and engine.device != "cpu")
    if as_one and (refused := check_together(experiment, engine.device)):
        if together:
            raise ValueError(refused)
        as_one = False
    bench = AgentBench(out, engine, workers, quiet, checkpoint_every, as_one)
    wanted = experiment.trials()
    known = bench.identities(wanted)
    groups = bench.missing(wanted, known)
    out.mkdir(parents=True, exist_ok=True)
    made = _Made(command, _versions(experiment), protocol)
    files.write_json(out / "command.json", _index(experiment, wanted, list(map(run_name, known)), made))
    results = bench.obtain(wanted, known, groups)
    return _conclude(experiment, list(zip(wanted, results, strict=True)), out, made, videos)


def report_agents(path: Path, *, videos: Mapping[str, Path] | None = None) -> AgentOutcome:
    """Compare again and write the report of a finished command; nothing is trained.

    Args:
        path: the output folder of `run_agents`, or its archive: the report is then written beside it.
        videos: as in `run_agents`.

    Raises:
        ValueError: There is no comparison of agents, or none of its trials is finished.
    """
    index, store = archive.read(path)
    if index.get("kind") != KIND:
        raise ValueError(f"{path} holds no comparison of agents; give the --out folder of hare-tortoise rl")
    experiment = _read_experiment(index["experiment"])
    judging = experiment.judging
    wanted = [
        AgentTrial(experiment.recipe, tuple(each["games"]), each["method"], each["seed"], judging)
        for each in index["trials"]
    ]
    results = [read(store, trial, t["run"]) for trial, t in zip(wanted, index["trials"], strict=True)]
    if all(isinstance(result, str) for result in results):
        raise ValueError(f"{path} holds no finished run; run the comparison first: {index['command']}")
    made = _Made(index["command"], index["versions"], index["protocol"])
    out = path.parent if path.is_file() else path
    return _conclude(experiment, list(zip(wanted, results, strict=True)), out, made, videos)


def is_of_agents(path: Path) -> bool:
    """Whether an output folder, or an archive, is of agents.

    Raises:
        ValueError: It holds no comparison at all.
    """
    return bool(archive.read(path)[0].get("kind") == KIND)


def check(experiment: AgentExperiment, out: Path | None = None) -> None:
    """Try out the first method on each game, and each other method on the first game.

    Args:
        experiment: what is to run.
        out: where, so that each replay must fit; None: that is looked at elsewhere.

    Raises:
        ValueError: There is no such game or method, parts do not fit together, or no step comes after the warm-up.
        ImportError: The library of a game is not installed.
    """
    trials = [
        AgentTrial(experiment.recipe, games, experiment.methods[0], 0, experiment.judging)
        for games in experiment.games
    ]
    others = [replace(trials[0], method=method) for method in experiment.methods[1:]]
    for trial in [*trials, *others]:
        try_out(trial)
    if out is not None:
        check_room(trials, out=out, at_once=1)


def check_together(experiment: AgentExperiment, device: str) -> str:
    """Say why the seeds of a method cannot be trained over stacked weights on a device; nothing where they can."""
    try:
        if device != "cpu":
            check_graph(experiment.recipe)
        for method in experiment.methods:
            trials = [
                AgentTrial(experiment.recipe, experiment.games[0], method, seed, experiment.judging)
                for seed in range(2)
            ]
            build_population([small(trial) for trial in trials]).close()
    except ValueError as error:
        return str(error)
    return ""


def _conclude(
    experiment: AgentExperiment,
    outcomes: Sequence[tuple[AgentTrial, Result | str]],
    out: Path,
    made: _Made,
    videos: Mapping[str, Path] | None,
) -> AgentOutcome:
    """Compare; write the report, and beside it tables as Markdown, figures as JSON, pictures as SVG."""
    results = [result for _, result in outcomes if isinstance(result, Result)]
    failures = tuple(
        f"{trial.label}: {reason}"
        for trial, result in outcomes
        if (reason := result if isinstance(result, str) else result.failure) is not None
    )
    report = out / "report.html"
    if not results:
        report.unlink(missing_ok=True)  # an older one would pass for this command's
        return AgentOutcome(None, failures, None)
    comparison = compare_agents(experiment, results)
    text = json.dumps(comparison.to_json(), indent=1, allow_nan=False) + "\n"
    files.write_atomic(out / "comparison.json", text.encode())
    files.write_atomic(out / "comparison.md", markdown(comparison).encode())
    for name, picture in _pictures(comparison, results).items():
        path = out / f"{name}.svg"
        if picture is not None:
            files.write_atomic(path, picture.encode())
        else:
            path.unlink(missing_ok=True)
    write_report(
        comparison,
        results,
        report,
        command=made.command,
        versions=made.versions,
        protocol=made.protocol,
        videos=videos,
    )
    return AgentOutcome(comparison, failures, report)


def _pictures(comparison: AgentComparison, results: Sequence[Result]) -> dict[str, str | None]:
    methods = comparison.methods
    finished = finished_of(comparison.recipe, comparison.steps, comparison.games, methods, results)
    found = {"differences": differences_picture(comparison), "profile": profile_picture(comparison)}
    for games in comparison.games:
        name = file_name(" > ".join(games))
        found[f"learning-{name}"] = learning_picture(comparison, games, finished)
        if len(games) > 1:
            found[f"sequence-{name}"] = sequence_picture(comparison, games)
    return found


def _versions(experiment: AgentExperiment) -> dict[str, str]:
    libraries = sorted({library_of(game) for games in experiment.games for game in games})
    return {**versions(), **{name: version(name) for name in libraries}}


def _index(
    experiment: AgentExperiment, wanted: Sequence[AgentTrial], names: Sequence[str], made: _Made
) -> dict[str, Any]:
    """Say what `report_agents` needs to find the trials of a command again."""
    return {
        "kind": KIND,
        "experiment": dataclasses.asdict(experiment),
        "trials": [
            {"games": list(trial.games), "method": trial.method, "seed": trial.seed, "run": name}
            for trial, name in zip(wanted, names, strict=True)
        ],
        **dataclasses.asdict(made),
    }


def _read_experiment(content: Mapping[str, Any]) -> AgentExperiment:
    return AgentExperiment(
        AgentRecipe(**content["recipe"]),
        tuple(tuple(games) for games in content["games"]),
        tuple(content["methods"]),
        content["seeds"],
        Judging(**content["judging"]),
    )
