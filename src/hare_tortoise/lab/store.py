"""The run store: a folder for each trial, named by its identity, whole after any crash."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from hare_tortoise.lab import files, state
from hare_tortoise.lab.files import DamagedFileError
from hare_tortoise.lab.trial import Result, Row, Trial, run_name


@dataclass(frozen=True)
class Run:
    """The folder of one trial: ``trial.json``, ``metrics.json`` once it is finished, ``checkpoint.safetensors``.

    ``trial.json`` holds the identity and, beside it, the scale of the recipe that the trial was first run for.

    Args:
        folder: where it is.
        identity: what the result depends on.
    """

    folder: Path
    identity: dict[str, Any]

    def open(self, scale: str | None = None) -> list[str]:
        """Make the folder, or check the one that is there. Gives a line for each file that was damaged and removed.

        Args:
            scale: of the recipe, to be written beside the identity where the folder is new.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for part in self.folder.glob(".*.part"):
            part.unlink()  # of a process that was killed while it wrote
        notes = []
        for name, check in self._checks().items():
            path = self.folder / name
            try:
                if path.exists():
                    check(path)
            except DamagedFileError as error:
                path.unlink()
                notes.append(f"{error}; removed, the run is done again from what is left")
        if not (self.folder / "trial.json").exists():
            mark = {} if scale is None else {"scale": scale}
            files.write_json(self.folder / "trial.json", {**self.identity, **mark})
        return notes

    def _checks(self) -> dict[str, Any]:
        def same_trial(path: Path) -> None:
            if _without_mark(files.read_json(path)) != self.identity:
                raise DamagedFileError(f"{path} describes another trial than its folder is named by")

        return {
            "trial.json": same_trial,
            "metrics.json": lambda _: self.finished(),
            "checkpoint.safetensors": lambda _: self.load(),
        }

    def finished(self) -> tuple[tuple[Row, ...], str | None] | None:
        """Give the rows and the failure of a finished run, or None.

        Raises:
            DamagedFileError: The metrics are not what was written.
        """
        path = self.folder / "metrics.json"
        if not path.exists():
            return None
        content = files.read_json(path)
        if content.get("run") != self.folder.name:
            raise DamagedFileError(f"{path} is that of run {content.get('run')}")
        return tuple(content["rows"]), content["failure"]

    def finish(self, rows: list[Row], failure: str | None) -> None:
        """Write the result. From here on the trial is done."""
        content = {"run": self.folder.name, "rows": rows, "failure": failure}
        files.write_json(self.folder / "metrics.json", content)

    def save(self, content: Mapping[str, Any]) -> None:
        """Replace the checkpoint by a nested state of tensors, numbers and strings."""
        tensors, rest = state.split({**content, "run": self.folder.name})
        files.write_tensors(self.folder / "checkpoint.safetensors", tensors, rest)

    def load(self) -> dict[str, Any] | None:
        """Read the checkpoint; None if there is none.

        Raises:
            DamagedFileError: It is not what was written, or is that of another run.
        """
        path = self.folder / "checkpoint.safetensors"
        if not path.exists():
            return None
        tensors, rest = files.read_tensors(path)
        content: dict[str, Any] = state.join(tensors, rest)
        if (name := content.pop("run", None)) != self.folder.name:
            raise DamagedFileError(f"{path} is that of run {name}")
        return content

    def forget(self) -> None:
        """Remove the checkpoint: what stands beside it and belongs to it is lost."""
        (self.folder / "checkpoint.safetensors").unlink(missing_ok=True)

    def weights(self) -> dict[str, Tensor]:
        """Give the deployed network's weights at the end of the stream.

        Raises:
            FileNotFoundError: The run is not finished.
            DamagedFileError: As `load`.
        """
        content = self.load()
        if content is None or "deployed" not in content:
            raise FileNotFoundError(f"{self.folder} holds no final weights: the run is not finished")
        weights: dict[str, Tensor] = content["deployed"]
        return weights


class Store:
    """All runs below one folder.

    Args:
        out: the folder; runs are in ``out/runs``.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.runs = out / "runs"

    def run(self, identity: dict[str, Any]) -> Run:
        """Give the run of a trial, whether it exists or not."""
        return Run(self.runs / run_name(identity), identity)

    def result(self, trial: Trial, run: str) -> Result | None:
        """Give the result of a trial from the folder of this name, if it is finished and whole."""
        done = self.finished(run)
        if done is None:
            return None
        rows, failure = done
        return Result(trial.recipe.name, trial.method, trial.budget, trial.seed, rows, failure, run)

    def finished(self, run: str) -> tuple[tuple[Row, ...], str | None] | None:
        """Give rows and failure from the folder of this name, if it is finished and whole."""
        try:
            return Run(self.runs / run, {}).finished()
        except DamagedFileError:
            return None  # opening the run names it, and it is done again

    def changed(self, identities: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
        """Find the runs that stand for one of these trials, but on other data, code or versions.

        Gives pairs of folder name and what differs. Such runs are never used: their identity is another.
        """
        wanted = {_apart_from_changes(identity): identity for identity in identities}
        found = []
        for path in sorted(self.runs.glob("*/trial.json")):
            try:
                other = _without_mark(files.read_json(path))
            except DamagedFileError:
                continue  # opening that run names it
            identity = wanted.get(_apart_from_changes(other))
            differs = [key for key in _MAY_CHANGE if identity and other[key] != identity[key]]
            if differs:
                found.append((path.parent.name, " and ".join(differs)))
        return found


# what a user changes without a word: the rows of a data file, a function, an installed version
_MAY_CHANGE = ("data", "code", "versions")


def _without_mark(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != "scale"}


def _apart_from_changes(identity: Mapping[str, Any]) -> str:
    return files.canonical({key: value for key, value in identity.items() if key not in _MAY_CHANGE})
