"""The lists: what there is, each with a line, written as it is written in a comparison."""

from __future__ import annotations

import inspect

import pytest

from hare_tortoise.cli import main
from hare_tortoise.cli.show import first_line, with_settings
from hare_tortoise.lab.composition import OPTIMIZERS
from hare_tortoise.lab.recipes import RECIPES
from hare_tortoise.lab.registry import METHODS
from hare_tortoise.lab.spec import parse
from hare_tortoise.measures import MEASURES
from hare_tortoise.networks import NETWORKS, TRANSFORMS
from hare_tortoise.streams import AUGMENTATIONS, SCENARIOS, SOURCES

TABLES = {
    "methods": [*METHODS, *TRANSFORMS, *OPTIMIZERS],
    "measures": list(MEASURES),
    "streams": [*SOURCES, *SCENARIOS, *NETWORKS, *AUGMENTATIONS],
    "recipes": list(RECIPES),
}


def entries(text: str) -> dict[str, str]:
    """Name and line of each entry of a list, with wrapped lines joined."""
    joined: list[str] = []
    for line in text.splitlines():
        if line.startswith("      ") and joined and joined[-1].count("(") != joined[-1].count(")"):
            joined[-1] += " " + line.strip()
        else:
            joined.append(line)
    names = [
        index for index, line in enumerate(joined) if line.startswith("  ") and not line.startswith("   ")
    ]
    return {joined[index].strip(): joined[index + 1].strip() for index in names}


@pytest.mark.parametrize("command", TABLES)
def test_every_name_has_a_line(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command]) == 0
    listed = {name.partition("(")[0]: line for name, line in entries(capsys.readouterr().out).items()}
    assert set(TABLES[command]) <= listed.keys()
    assert all(len(line) > 10 for line in listed.values())


def test_the_laboratory_gives_what_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods"]) == 0
    shown = capsys.readouterr().out
    assert "hare-tortoise(" in shown
    for hidden in ("model=", "optimizer=", "fresh=", "seed="):
        assert hidden not in shown


def test_settings_are_written_in_the_notation() -> None:
    def example(source: str, *, chunks: int = 3, path: str, seed: int = 0) -> None: ...

    written = with_settings("example", example, hidden=("source", "seed"))
    assert written == "example(chunks=3, path=…)"
    assert dict(parse(written.replace("…", "x")).settings) == {"chunks": 3, "path": "x"}


def test_first_line() -> None:
    assert first_line(first_line) == (inspect.getdoc(first_line) or "").splitlines()[0]
