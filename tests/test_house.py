"""The rules of the house that a machine can hold: sizes, imports that are never made, hosts never named."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINES_PER_FILE = 400
LINES_PER_FUNCTION = 60
# What the project writes is safetensors and JSON. A test may ask whether something can be sent to a process.
BANNED_IN_PACKAGE = {"pickle", "dill", "cloudpickle"}
BANNED = {
    "torchvision": "it ties torch to one build; augmentations are batched tensor operations",
    "timm": "heavy at import",
    "matplotlib": "the report is drawn with plotly",
}
# Written in two halves, so that this file does not name them itself.
HOSTS = (
    "pypi" + ".org",
    "python" + "hosted.org",
    "download.pytorch" + ".org",
    "registry.npmjs" + ".org",
    "deb.debian" + ".org",
    "conda.anaconda" + ".org",
)


def tracked(*endings: str) -> list[Path]:
    """Files of the project: those git knows or would take, or all of them outside a repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        names = [ROOT / line for line in listed.stdout.splitlines()]
    else:
        names = [path for path in ROOT.rglob("*") if not any(p.startswith(".venv") for p in path.parts)]
    return sorted(path for path in names if path.is_file() and (not endings or path.suffix in endings))


def too_long(source: str) -> Iterator[str]:
    """What in a file is longer than the house allows."""
    lines = source.count("\n")
    if lines > LINES_PER_FILE:
        yield f"the file has {lines} lines, at most {LINES_PER_FILE}"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LINES_PER_FUNCTION:
                yield f"{node.name} (line {node.lineno}) has {length} lines, at most {LINES_PER_FUNCTION}"


def imported(source: str) -> set[str]:
    """Top-level names of the packages that a file imports, at whatever depth the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def hosts(text: str) -> set[str]:
    """Package registries that a text names."""
    return {host for host in HOSTS if host in text}


@pytest.mark.parametrize("path", tracked(".py"), ids=lambda path: str(path.relative_to(ROOT)))
def test_file_keeps_the_rules(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert list(too_long(source)) == []
    assert imported(source) & BANNED.keys() == set()
    if path.is_relative_to(ROOT / "src"):
        assert imported(source) & BANNED_IN_PACKAGE == set()


def test_no_registry_host_is_named() -> None:
    found = {}
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if named := hosts(text):
            found[str(path.relative_to(ROOT))] = named
    assert found == {}


def test_the_rules_catch_what_they_are_for() -> None:
    body = "\n".join(f"    x = {number}" for number in range(LINES_PER_FUNCTION))
    assert list(too_long(f"def long():\n{body}\n")) == ["long (line 1) has 61 lines, at most 60"]
    assert list(too_long("x = 1\n" * 401)) == ["the file has 401 lines, at most 400"]
    assert imported("def f():\n    import pickle as p\n    from torchvision.ops import nms") == {
        "pickle",
        "torchvision",
    }
    assert hosts(f"see https://{HOSTS[0]}/project") == {HOSTS[0]}


def test_files_are_found() -> None:
    names = {str(path.relative_to(ROOT)) for path in tracked(".py")}
    assert {"tests/test_house.py", "src/hare_tortoise/__init__.py"} <= names
