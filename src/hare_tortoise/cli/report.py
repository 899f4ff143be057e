"""`hare-tortoise report`: write the report again from finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
  hare-tortoise report results/mine.json"""

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR|FILE")]
    """The --out folder of a comparison, or its archive; the report is then written beside that."""
    margin: Annotated[float | None, *options.share("SHARE")] = None
    """What may be lost where a method "reaches" from scratch; by default as in the comparison."""

    archive: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """Also write all metrics into one JSON file, from which the report can be made without the runs."""

    def run(self, written: Sequence[str]) -> int:
        """Print, and say where the report is."""
        from hare_tortoise.cli.show import show
        from hare_tortoise.lab.archive import archive
        from hare_tortoise.lab.run import report_runs

        outcome = report_runs(self.path, margin=self.margin)
        if self.archive is not None:
            archive(self.path, self.archive)
            print(self.archive)
        return show(outcome)
