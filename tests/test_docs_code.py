"""The code in README and documentation runs, and the commands there are ones that the command line takes."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hare_tortoise.cli import parser
from hare_tortoise.cli.compare import Compare
from hare_tortoise.lab.plan import method_at
from hare_tortoise.lab.registry import find
from hare_tortoise.lab.spec import parse
from hare_tortoise.networks import NETWORKS
from hare_tortoise.streams import SCENARIOS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def blocks(text: str, language: str) -> Iterator[tuple[int, str]]:
    """The fenced blocks of a language, each with the number of its first line."""
    for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, match.start(1)), match[1]


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command in the console blocks, comments left out."""
    for _, block in blocks(text, "console"):
        for line in block.splitlines():
            if line.startswith("$ "):
                yield shlex.split(line[2:], comments=True)


def run(page: Path, text: str) -> None:
    """Run the Python blocks of a page one after the other, as a reader would."""
    torch.manual_seed(0)  # what is shown holds for most draws, not for each
    namespace: dict[str, Any] = {"__name__": page.stem}
    for line, block in blocks(text, "python"):
        exec(compile("\n" * line + block, str(page), "exec"), namespace)


def check_command(words: list[str]) -> None:
    """Refuse a command that the command line, the Makefile or pip would not take."""
    if words[0] == "hare-tortoise":
        command = parser.parse(words[1:])
        if isinstance(command, Compare):
            for recipe in command.recipes():
                for method in recipe.methods:
                    method_at(method, 1.0)
                find("scenario", parse(recipe.scenario), SCENARIOS)
                find("network", parse(recipe.network), NETWORKS)
    elif words[0] == "make":
        assert {word for word in words[1:] if "=" not in word} <= TARGETS
    else:
        assert words[:2] == ["pip", "install"]
        assert all(
            re.fullmatch(r"hare-tortoise(\[(lab|lab,sweep|lab,rl|optimizers|curvature)\])?", word)
            for word in words[2:]
        )


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in; modules that a page writes there are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = set(sys.modules)
    with torch.random.fork_rng():
        yield tmp_path
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)
    assert not {name for name in set(sys.modules) - before if name in {p.stem for p in tmp_path.glob("*.py")}}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page: Path, elsewhere: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("\n```") % 2 == 0
    run(page, text)
    for words in commands(text):
        check_command(words)


def test_readme_shows_what_it_should() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {("make", "demo"), ("make", "test")} <= {tuple(words) for words in commands(text)}
    assert "](docs/demo." in text
    assert "@inproceedings{lee2024slow" in text
    assert len(text.splitlines()) <= 80


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_faults_are_seen(elsewhere: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run(Path("page.md"), "```python\nx = 1\n```\ntext\n```python\nx / 0\n```\n")
    with pytest.raises(ValueError, match="unknown method"):
        check_command(["hare-tortoise", "compare", "--methods", "hair-tortoise"])
    with pytest.raises(SystemExit):
        check_command(["hare-tortoise", "compare", "--sedes", "3"])
    with pytest.raises(AssertionError):
        check_command(["make", "coffee"])
    text = "```console\n$ make demo  # takes minutes\noutput\n```"
    assert list(commands(text)) == [["make", "demo"]]
