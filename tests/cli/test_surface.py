"""The surface is frozen: a new or renamed option is a decision, and is written here too."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from hare_tortoise._version import __version__
from hare_tortoise.cli import main

SURFACE = {
    "": {"--version"},
    "compare": {
        "--source",
        "--scenario",
        "--network",
        "--methods",
        "--measures",
        "--budgets",
        "--seeds",
        "--set",
        "--out",
        "--data-root",
        "--workers",
        "--scale",
        "--margin",
        "--quiet",
    },
    "sweep": {
        "--over",
        "--source",
        "--scenario",
        "--network",
        "--method",
        "--search",
        "--trials",
        "--scale",
        "--choose",
        "--seeds",
        "--budgets",
        "--set",
        "--out",
        "--data-root",
        "--workers",
        "--quiet",
    },
    "rl": {
        "--env",
        "--sequence",
        "--recipe",
        "--methods",
        "--seeds",
        "--steps",
        "--replay-ratio",
        "--encoder",
        "--set",
        "--episodes",
        "--curve-every",
        "--out",
        "--workers",
        "--threads",
        "--device",
        "--checkpoint-every",
        "--together",
        "--videos",
        "--describe",
        "--quiet",
    },
    "play": {"--episodes", "--video"},
    "report": {"--margin", "--archive"},
    "methods": set(),
    "measures": set(),
    "streams": set(),
    "recipes": set(),
}
USAGE = {
    "": "hare-tortoise [-h] [--version] {compare,sweep,rl,play,report,methods,measures,streams,recipes}",
    "compare": "hare-tortoise compare [-h] [COMPARE OPTIONS] [RECIPE ...]",
    "sweep": "hare-tortoise sweep [-h] [SWEEP OPTIONS] [RECIPE]",
    "rl": "hare-tortoise rl [-h] [RL OPTIONS]",
    "play": "hare-tortoise play [-h] RUN [--episodes N] [--video FILE]",
    "report": "hare-tortoise report [-h] DIR|FILE [--margin SHARE] [--archive FILE]",
}


def options(text: str) -> set[str]:
    """The options that a help text lists, without -h."""
    return set(re.findall(r"^[│|\s]*(--[a-z][a-z-]*)", text.partition("\nExamples:")[0], re.MULTILINE))


@pytest.mark.parametrize("command", SURFACE)
def test_options_of_each_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert options(shown) == SURFACE[command]
    if command in USAGE:
        assert f"usage: {USAGE[command]}" in shown


@pytest.mark.parametrize("command", ["", "compare", "sweep", "rl", "play", "report"])
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--help"]) == 0
    _, heading, examples = capsys.readouterr().out.partition("\nExamples:\n")
    assert heading
    assert f"  hare-tortoise {command}" in examples


@pytest.mark.parametrize("arguments", [["--version"], ["--version", "compare"]])
def test_version(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"hare-tortoise {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["compare", "--help"], ["rl", "--help"], ["play", "--help"], ["--version"]]
)
def test_help_and_version_do_not_load_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from hare_tortoise.cli import main\n"
        f"code = main({arguments!r})\n"
        "print(code, sorted({'torch', 'numpy', 'scipy', 'plotly'} & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "0 []"


def test_as_a_module() -> None:
    command = [sys.executable, "-m", "hare_tortoise", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.endswith(
        f"{__version__}\n"
    )
    command[-1] = "compaer"
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2


@pytest.mark.parametrize("arguments", [["measures"], ["--version"], ["compare", "--help"]])
def test_a_reader_that_has_gone_is_no_error_to_tell(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        command = [sys.executable, "-m", "hare_tortoise", *arguments]
        done = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
