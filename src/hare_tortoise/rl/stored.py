"""Finished agents in the run store: found by their folder, read back with their weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from hare_tortoise.lab import files
from hare_tortoise.lab.store import Run
from hare_tortoise.rl.recipes import AGENTS
from hare_tortoise.rl.trial import AgentTrial, code_of, from_json


@dataclass(frozen=True)
class Stored:
    """An agent as its run left it.

    Args:
        trial: what was run.
        online: weights of the network that was trained.
        deployed: weights of the network that plays.
    """

    trial: AgentTrial
    online: dict[str, Tensor]
    deployed: dict[str, Tensor]


def read_agent(path: str | Path) -> Stored:
    """Read an agent from the folder of its run, or from an output folder with one run in it.

    Raises:
        FileNotFoundError: There is no run, or it is not finished.
        ValueError: The run is no agent's, it failed, or the folder holds several, which are named.
    """
    folder = run_folder(Path(path))
    trial = read_trial(folder)
    run = Run(folder, {})
    then, now = files.read_json(folder / "trial.json")["code"], code_of(trial)
    if changed := [name for name in {**then, **now} if then.get(name) != now.get(name)]:
        warnings.warn(
            f"{', '.join(changed)} changed since {folder} was trained: its weights are now read by other code",
            stacklevel=3,
        )
    done = run.finished()
    if done is not None and done[1] is not None:
        raise ValueError(f"{folder} holds no agent: the run failed ({done[1]})")
    deployed = run.weights()
    content = run.load()
    assert content is not None
    return Stored(trial, content["online"], deployed)


def read_trial(folder: Path) -> AgentTrial:
    """Read what a run of an agent was, from its folder.

    Raises:
        ValueError: It is another kind of run.
    """
    content = files.read_json(folder / "trial.json")
    if "games" not in content:
        raise ValueError(
            f"{folder} is a run of a comparison, no agent: its weights are for the network that it names"
        )
    return from_json({**content, "recipe": {"name": _name(content["recipe"]), **content["recipe"]}})


def run_folder(path: Path) -> Path:
    """Find the folder of a run: the path itself, or the only run in an output folder.

    Raises:
        FileNotFoundError: There is none.
        ValueError: There are several, which are named.
    """
    if (path / "trial.json").exists():
        return path
    # a command with games of several recipes has a folder for each in its output folder
    found = [file.parent for way in ("runs/*", "*/runs/*") for file in path.glob(f"{way}/trial.json")]
    if not found:
        raise FileNotFoundError(
            f"{path} holds no run: name the folder of one, such as agents/runs/0123456789abcdef"
        )
    if len(found) > 1:
        shown = "\n".join(
            f"  {folder}  {told}" for told, folder in sorted((_told(each), each) for each in found)
        )
        raise ValueError(f"{path} holds {len(found)} runs, name one of them:\n{shown}")
    return found[0]


def _told(folder: Path) -> str:
    try:
        return read_trial(folder).label
    except ValueError as error:
        return str(error)


def _name(content: Mapping[str, Any]) -> str:
    """Name a recipe by its values, as its name is not among what a result depends on: after the one nearest to it.

    Example:
        >>> _name(AGENTS["drq"].to_json()), _name(AGENTS["vector"].replace(steps=300).to_json())
        ('drq', 'vector(steps=300)')
    """
    differing = {
        name: [key for key, value in recipe.to_json().items() if content.get(key) != value]
        for name, recipe in AGENTS.items()
    }
    name, keys = min(differing.items(), key=lambda entry: len(entry[1]))
    return f"{name}({', '.join(f'{key}={content[key]}' for key in keys)})" if keys else name
