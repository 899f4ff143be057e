"""A sweep from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hare_tortoise.cli import main
from hare_tortoise.cli.parser import parse
from hare_tortoise.cli.sweep import Sweep
from hare_tortoise.lab import obtain
from hare_tortoise.lab.executor import Inline

WORDS = ["sweep", "demo-growing", "--over", "decay=0.5,0.9", "reset-every=3,none", "--seeds", "1", "--quiet"]
WORDS += [
    "--set",
    "epochs=1",
    "source=digits(rows=200)",
    "scenario=growing(chunks=2)",
    "network=mlp(hidden=(8,))",
]


def test_data_and_network_have_options_as_in_a_comparison() -> None:
    command = parse(["sweep", "--source", "mine.npz", "--network", "resnet18", "--over", "decay=0.9,0.99"])
    assert isinstance(command, Sweep)
    recipe = command.chosen()
    assert (recipe.name, recipe.source, recipe.network) == ("own", "npz(path='mine.npz')", "resnet18")
    assert recipe.scenario == "growing(chunks=10)"
    command = parse(["sweep", "demo-growing", "--scenario", "growing(chunks=3)", "--over", "lr=1e-3"])
    assert isinstance(command, Sweep)
    assert (command.chosen().name, command.chosen().scenario) == ("demo-growing", "growing(chunks=3)")


def test_from_options_to_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # no processes: how trials are spread over them has its own tests
    monkeypatch.setattr(obtain, "Processes", lambda workers: Inline())
    assert main([*WORDS, "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == str(tmp_path / "sweep.md")
    assert "chosen of 4 settings by average validation accuracy" in " ".join(shown.split())
    assert "10% of the training rows are held out" in " ".join(shown.split())
    content = json.loads((tmp_path / "sweep.json").read_text())
    assert content["command"].startswith("hare-tortoise sweep demo-growing --over")
    assert content["recipe"]["scale"] == "own"
    assert len(content["cells"]) == 4 + 4
