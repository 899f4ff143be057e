"""`hare-tortoise report`: write the report again from finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from hare_tortoise.cli import options


@dataclass(frozen=True)
class Report:
    """Print the comparison of finished runs and write their report again. Nothing is trained."""

    examples: ClassVar[str] = """\
  hare-tortoise report runs
  hare-tortoise report runs --margin 0.02
  hare-tortoise report runs --archive results/mine.json
  hare-tortoise report results/mine.json
  hare-tortoise report agents"""

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR|FILE")]
    """The --out folder of a comparison, of data or of agents, or its archive; the report is written beside that."""
    margin: Annotated[float | None, *options.share("SHARE")] = None
    """What may be lost where a method "reaches" from scratch; by default as in the comparison."""

    archive: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """Also write all metrics into one JSON file, from which the report can be made without the runs."""

    def run(self, written: Sequence[str]) -> int:
        """Print, and say where the report is."""
        from hare_tortoise.cli.show import show, show_agents
        from hare_tortoise.lab.archive import archive
        from hare_tortoise.lab.run import report_runs

        if self._is_of_agents():
            from hare_tortoise.rl.run import report_agents

            if self.margin is not None:
                raise ValueError("--margin: returns of agents are compared without a margin; leave it out")
            shown = partial(show_agents, report_agents(self.path))
        else:
            shown = partial(show, report_runs(self.path, margin=self.margin))
        if self.archive is not None:
            archive(self.path, self.archive)
            print(self.archive)
        return shown()

    def _is_of_agents(self) -> bool:
        from hare_tortoise.lab import archive

        try:
            return "experiment" in archive.read(self.path)[0]
        except ValueError:
            return False  # what is wrong is told where it is read as a comparison of data
