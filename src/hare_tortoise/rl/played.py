"""Whole games that a finished agent plays, and what they are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hare_tortoise.lab import archive
from hare_tortoise.lab.store import Store
from hare_tortoise.rl.agent import Agent
from hare_tortoise.rl.door import evaluate
from hare_tortoise.rl.report.wording import file_name
from hare_tortoise.rl.scores import GAMES, human_normalised
from hare_tortoise.rl.stored import read_agent, run_folder
from hare_tortoise.rl.trial import AgentTrial
from hare_tortoise.rl.video import record

_ATARI = "atari:"


@dataclass(frozen=True)
class Played:
    """Whole games on one environment.

    Args:
        game: name of the environment.
        returns: of the games.
        video: the film of them, if there is one.
    """

    game: str
    returns: tuple[float, ...]
    video: Path | None = None

    @property
    def mean(self) -> float:
        """Of the returns."""
        return sum(self.returns) / len(self.returns)

    @property
    def score(self) -> float | None:
        """The mean, human-normalised; None where the game is not one of Atari-100k."""
        name = self.game.removeprefix(_ATARI)
        return human_normalised(name, self.mean) if self.game.startswith(_ATARI) and name in GAMES else None


def play(
    run: str | Path, *, episodes: int = 10, video: str | Path | None = None
) -> tuple[AgentTrial, list[Played]]:
    """Let a finished agent play whole games, on each environment of its run.

    Without a film they are the games that the run itself was judged on: as many of them give the same returns.

    Args:
        run: folder of the run, or an output folder with one run in it.
        episodes: on each environment, 1 or more.
        video: file of a film of the games, ``.gif`` or ``.mp4``; of several environments one each, named after them.

    Returns:
        What was run, and the games on each environment.

    Raises:
        FileNotFoundError: There is no run, or it is not finished.
        ValueError: The run is no agent's, or something cannot be filmed.
        ImportError: What writes the film is not installed.
    """
    folder = run_folder(Path(run))
    trial, agent = read_agent(folder).trial, Agent.load(folder)
    games = tuple(dict.fromkeys(trial.games))
    found = []
    for game in games:
        if video is None:
            returns = evaluate(agent, episodes, game, seed=trial.seed)
            found.append(Played(game, tuple(returns)))
            continue
        file = Path(video)
        if len(games) > 1:
            file = file.with_name(f"{file.stem}-{file_name(game)}{file.suffix}")
        found.append(Played(game, tuple(record(agent, game, file, episodes=episodes, seed=trial.seed)), file))
    return trial, found


def film(out: Path) -> Mapping[str, Path]:
    """Film one game of each method of a finished command, on its first game and with its first seed, for its report.

    Args:
        out: the output folder; the films lie in ``out/videos``.

    Returns:
        The files by their title; those of runs that are not finished are left out.

    Raises:
        ValueError: There is no comparison of agents, or the game cannot be filmed.
        ImportError: What writes films, or draws the game, is not installed.
    """
    index, _ = archive.read(out)
    first = index["trials"][0]
    chosen = [
        each for each in index["trials"] if (each["games"], each["seed"]) == (first["games"], first["seed"])
    ]
    game = first["games"][-1]
    found = {}
    for each in chosen:
        folder = Store(out).runs / each["run"]
        try:
            agent = Agent.load(folder)
        except (FileNotFoundError, ValueError):
            continue  # it failed or is not finished, which is told elsewhere
        file = out / "videos" / f"{each['run']}.gif"
        (returned,) = record(agent, game, file, seed=each["seed"])
        found[f"{each['method']} on {game}: one game, return {returned:g}"] = file
    return found
