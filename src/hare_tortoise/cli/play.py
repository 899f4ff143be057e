"""`hare-tortoise play`: let a trained agent play whole games."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from hare_tortoise.cli import options


@dataclass(frozen=True)
class Play:
    """Let a trained agent play whole games with the network that it deploys; print their returns, film them."""

    examples: ClassVar[str] = """\
  hare-tortoise play agents/runs/0123456789abcdef
  hare-tortoise play agents/runs/0123456789abcdef --episodes 100
  hare-tortoise play agents/runs/0123456789abcdef --episodes 1 --video game.gif"""

    agent: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of a finished run of hare-tortoise rl: DIR/runs/NAME, or a folder with one run in it."""
    episodes: Annotated[int | None, *options.whole("N")] = None
    """How many games; by default 10."""
    video: Annotated[Path | None, *options.folder("FILE")] = None
    """Film the games, one after the other: a .gif, or an .mp4 where FFmpeg is installed."""

    def run(self, written: Sequence[str]) -> int:
        """Play, and print what came of it."""
        from hare_tortoise.rl.played import play

        trial, played = play(self.agent, episodes=self.episodes or 10, video=self.video)
        print(trial.label)
        for each in played:
            print(f"{each.game}: {' '.join(f'{value:g}' for value in each.returns)}")
            score = "" if each.score is None else f", human-normalised {each.score:.3f}"
            count = len(each.returns)
            print(f"mean {each.mean:.2f} of {count} whole game{'s' * (count > 1)}{score}")
            if each.video is not None:
                print(each.video)
        return 0
