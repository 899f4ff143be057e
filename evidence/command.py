"""The command line of the evidence."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from evidence import pages, run, run_agents
from evidence.agents import AGENT_LINES
from evidence.lines import LINES
from hare_tortoise.lab.executor import cores


def main(written: Sequence[str]) -> int:
    """Make docs/results again, or run what is missing of it."""
    given = parser().parse_args(written)
    if given.command is None:
        return pages.main()
    names = given.line or [*LINES, *AGENT_LINES]
    of_agents = [name for name in names if name in AGENT_LINES]
    run.main([name for name in names if name in LINES], workers=given.workers, limit=given.limit)
    return run_agents.main(of_agents, workers=given.workers, limit=given.limit)


def parser() -> argparse.ArgumentParser:
    """Give what reads the command line; its help names all lines with what they take."""
    known = {line.name: line.hours for line in LINES.values()} | {
        line.name: line.hours for line in AGENT_LINES.values()
    }
    lines = "\n".join(f"  {name:<20}{hours:>4g}" for name, hours in known.items())
    look: dict[str, Any] = {
        "epilog": f"lines, and the core-hours of the whole of each:\n{lines}",
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
    top = argparse.ArgumentParser(
        prog="python -m evidence",
        description="Without a command: make docs/results again of what is kept. Nothing is trained.",
        **look,
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    running = commands.add_parser(
        "run", help="train what is missing of the lines that are named", description=run.__doc__, **look
    )
    running.add_argument("line", nargs="*", type=_line, metavar="LINE", help="by default all of them")
    running.add_argument("--workers", type=int, default=cores(), help="trials at the same time")
    running.add_argument("--limit", type=int, help="how many trials of each line, at most")
    return top


def _line(name: str) -> str:
    if name not in LINES and name not in AGENT_LINES:
        raise argparse.ArgumentTypeError(
            f"{name!r} is no line; there are: {', '.join([*LINES, *AGENT_LINES])}"
        )
    return name
