"""The surface: one dataclass for each command, read by tyro."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import tyro

from hare_tortoise.cli.compare import Compare
from hare_tortoise.cli.measures import Measures
from hare_tortoise.cli.methods import Methods
from hare_tortoise.cli.play import Play
from hare_tortoise.cli.recipes import Recipes
from hare_tortoise.cli.report import Report
from hare_tortoise.cli.rl import Rl
from hare_tortoise.cli.streams import Streams
from hare_tortoise.cli.sweep import Sweep

Command = Compare | Sweep | Rl | Play | Report | Methods | Measures | Streams | Recipes


@dataclass(frozen=True)
class Arguments:
    """Retrain from scratch, or continue, and how? Compare the ways on your own data and network."""

    examples: ClassVar[str] = """\
  hare-tortoise compare demo-growing                  a recipe as it is
  hare-tortoise compare --source mine.npz --seeds 3   the same question on your data
  hare-tortoise report runs                           the report again, from finished runs
  hare-tortoise sweep --help                          find the settings of a method
  hare-tortoise rl --env CartPole-v1                  the same of agents that play games
  hare-tortoise methods                               what can be compared; also: measures, streams, recipes
  hare-tortoise compare --help                        all that a comparison can be told"""

    command: Annotated[Command, tyro.conf.arg(name="")]
    version: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = False
    """Show the version and leave."""


COMMANDS: dict[str, type[Command]] = {
    "compare": Compare,
    "sweep": Sweep,
    "rl": Rl,
    "play": Play,
    "report": Report,
    "methods": Methods,
    "measures": Measures,
    "streams": Streams,
    "recipes": Recipes,
}


def parse(given: Sequence[str]) -> Command:
    """Read a command and its options; wrong options leave with code 2 and say what was expected.

    Raises:
        ValueError: There is no such command.
    """
    if given and not given[0].startswith("-") and given[0] not in COMMANDS:
        near = difflib.get_close_matches(given[0], COMMANDS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"unknown command {given[0]!r}; {hint}{'There' if hint else 'there'} are: {', '.join(COMMANDS)}"
        )
    try:
        arguments = tyro.cli(
            Arguments, prog="hare-tortoise", args=given, config=(tyro.conf.FlagCreatePairsOff,)
        )
    except SystemExit as done:
        if not done.code:
            asked = COMMANDS.get(given[0]) if given else None
            if examples := getattr(asked or Arguments, "examples", ""):
                print(f"\nExamples:\n{examples}")
        raise
    return arguments.command
