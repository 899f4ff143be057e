"""Imports point downwards only, and importing the package loads torch and nothing else of weight."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "hare_tortoise"
SOURCE = Path(__file__).parent.parent / "src" / PACKAGE
BOTTOM = frozenset({"methods", "measures", "optimizers", "networks"})
# Which parts of the package each part may import; `testing` is the contract of a method, `_version` has none.
MAY_IMPORT: dict[str, frozenset[str]] = {
    "_version": frozenset(),
    "methods": frozenset(),
    "measures": frozenset({"methods"}),
    "optimizers": frozenset({"methods"}),
    "networks": frozenset(),
    "streams": frozenset(),
    "testing": frozenset({"methods"}),
    "integrations": frozenset({"methods"}),
    "lab": BOTTOM | {"streams", "_version"},
    "rl": BOTTOM | {"streams", "lab", "_version"},
    "cli": BOTTOM | {"streams", "lab", "rl", "integrations", "_version"},
    "__init__": frozenset({"methods", "_version"}),
    "__main__": frozenset({"cli"}),
}
ONLY_TORCH = BOTTOM | {"testing", "_version", "__init__"}
# Loaded by the function that needs it, and only there.
WHEN_CALLED = {
    "measures/curvature.py": {"hessian_eigenthings"},
    "optimizers/library.py": {"pytorch_optimizer"},
}


def imports(path: Path, source: str) -> Iterator[tuple[str, str]]:
    """Each import of a file as (top-level package, part of this package or "")."""
    inside = path.relative_to(SOURCE).with_suffix("").parts
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = (node.module or "").split(".") if node.module else []
            if node.level:
                base = [PACKAGE, *inside[: len(inside) - node.level], *base]
            targets = [[*base, alias.name] for alias in node.names]
        else:
            continue
        for target in targets:
            yield target[0], (target[1] if target[0] == PACKAGE and len(target) > 1 else "")


def violations(path: Path, source: str) -> list[str]:
    """Imports of a file that point upwards, or at a library that its part does without."""
    relative = path.relative_to(SOURCE)
    part = relative.parts[0].removesuffix(".py")
    if part not in MAY_IMPORT:
        return [f"{part} has no row in MAY_IMPORT"]
    allowed = WHEN_CALLED.get(relative.as_posix(), set())
    found = []
    for package, inner in imports(path, source):
        if package == PACKAGE:
            if inner != part and inner not in MAY_IMPORT[part]:
                found.append(f"{part} imports {inner or 'the package itself'}")
        elif part in ONLY_TORCH and package not in {"torch", *sys.stdlib_module_names, *allowed}:
            found.append(f"{part} imports {package}")
    return found


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_imports_point_downwards(path: Path) -> None:
    assert violations(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("methods/ema.py", "from hare_tortoise.lab import recipe", "methods imports lab"),
        ("methods/ema.py", "from ..streams import Stream", "methods imports streams"),
        ("methods/ema.py", "from .. import lab", "methods imports lab"),
        ("methods/ema.py", "import hare_tortoise", "methods imports the package itself"),
        ("methods/ema.py", "def f():\n    import numpy as np", "methods imports numpy"),
        ("networks/mlp.py", "import hare_tortoise.methods.ema", "networks imports methods"),
        ("streams/source.py", "from hare_tortoise.networks import mlp", "streams imports networks"),
        ("lab/run.py", "from hare_tortoise import rl", "lab imports rl"),
        ("lab/run.py", "from hare_tortoise import HareTortoise", "lab imports HareTortoise"),
        ("integrations/lightning.py", "from ..lab.run import run", "integrations imports lab"),
        ("unheard_of/file.py", "import torch", "unheard_of has no row in MAY_IMPORT"),
    ],
)
def test_a_violation_is_caught(file: str, line: str, complaint: str) -> None:
    assert violations(SOURCE / file, f"import torch\n{line}\n") == [complaint]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("methods/ema.py", "from .method import Method"),
        ("methods/ema.py", "from hare_tortoise.methods.method import Method"),
        ("lab/recipes/demo.py", "from ..recipe import Recipe"),
        ("lab/run.py", "import numpy as np\nfrom hare_tortoise.streams import Stream"),
        ("measures/curvature.py", "def f():\n    import hessian_eigenthings"),
        ("__init__.py", "from .methods import EMA"),
    ],
)
def test_what_is_allowed_passes(file: str, line: str) -> None:
    assert violations(SOURCE / file, line) == []


def loaded(statement: str) -> set[str]:
    """Top-level modules outside the standard library that a statement loads in a fresh interpreter."""
    code = f"import sys\n{statement}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name for name in result.stdout.split() if name not in sys.stdlib_module_names}


def test_importing_the_package_loads_only_torch() -> None:
    ours = loaded(f"import {PACKAGE}\nfrom {PACKAGE} import *\n{PACKAGE}.HareTortoise")
    extra = {name for name in ours - loaded("import torch") if not name.startswith(("_", "torch"))}
    assert extra == {PACKAGE}


def test_a_heavy_import_would_be_seen() -> None:
    assert "rich" in loaded("import torch, rich")
