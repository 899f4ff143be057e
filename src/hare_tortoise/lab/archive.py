"""All metrics of a comparison in one JSON file, from which its tables and its report are made again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from hare_tortoise.lab import files
from hare_tortoise.lab.store import Store
from hare_tortoise.lab.trial import Result, Row, Trial


class Results(Protocol):
    """Where finished trials are looked up."""

    def result(self, trial: Trial, run: str) -> Result | None:
        """Give the result of a trial that ran under this name, or None."""

    def finished(self, run: str) -> tuple[tuple[Row, ...], str | None] | None:
        """Give rows and failure of the run of this name, or None."""


class Archive:
    """What `archive` wrote.

    Args:
        content: of the file.
    """

    def __init__(self, content: dict[str, Any]) -> None:
        self.command: dict[str, Any] = content["command"]
        self._runs: dict[str, Any] = content["runs"]

    def result(self, trial: Trial, run: str) -> Result | None:
        """Give the result of a trial that ran under this name, or None."""
        if (done := self.finished(run)) is None:
            return None
        return Result(trial.recipe.name, trial.method, trial.budget, trial.seed, *done, run)

    def finished(self, run: str) -> tuple[tuple[Row, ...], str | None] | None:
        """Give rows and failure of the run of this name, or None."""
        if run not in self._runs:
            return None
        return tuple(self._runs[run]["rows"]), self._runs[run]["failure"]


def archive(folder: Path, path: Path) -> None:
    """Write the metrics of all finished trials of a comparison into one file.

    Args:
        folder: the comparison's output folder.
        path: the file.

    Raises:
        ValueError: The folder holds no comparison.
    """
    command, store = read(folder)
    if not isinstance(store, Store):
        raise ValueError(f"{folder} is an archive already; give the --out folder of a comparison")
    runs = {}
    for entry in command["trials"]:
        done = store.finished(entry["run"])
        if done is not None:
            runs[entry["run"]] = {"rows": done[0], "failure": done[1]}
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, {"command": command, "runs": runs})


def read(path: Path) -> tuple[dict[str, Any], Results]:
    """Read a comparison from its output folder or its archive: the command's JSON, and where results are.

    Raises:
        ValueError: There is none.
    """
    if path.is_file():
        try:
            content = files.read_json(path)
        except files.DamagedFileError:
            content = {}
        if not {"command", "runs"} <= content.keys():
            raise ValueError(
                f"{path} is no archive of a comparison; write one by: hare-tortoise report DIR --archive FILE"
            )
        found = Archive(content)
        return found.command, found
    index = path / "command.json"
    if not index.exists():
        below = ", ".join(str(file.parent) for file in sorted(path.glob("*/command.json")))
        advice = (
            f"give one of the folders below it: {below}" if below else "give the --out folder of a comparison"
        )
        raise ValueError(f"{path} holds no command.json; {advice}")
    return files.read_json(index), Store(path)
