"""The user's own code that a trial runs: found by its imports, digested, so that a change is noticed."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from hare_tortoise.lab.registry import load_external


def code_digest(paths: Iterable[str]) -> dict[str, str]:
    """Digest the files behind external names (``package.module:attribute``), by module name.

    Beside the named modules these are the modules that they import, and those in turn, as far as they lie below the
    folder that holds the named module's top-level package. Installed packages are not followed.

    Args:
        paths: external names.
    """
    digests = {}
    for path in paths:
        load_external(path)
        entry = sys.modules[path.partition(":")[0]]
        for module in _own_modules(entry):
            file = _file(module)
            if file is not None:
                digests[module.__name__] = hashlib.sha256(file.read_bytes()).hexdigest()
    return dict(sorted(digests.items()))


def _own_modules(entry: ModuleType) -> list[ModuleType]:
    """Give a module and those that it imports from below the same folder."""
    top = sys.modules[entry.__name__.partition(".")[0]]
    # a package lies in its folder; a folder without __init__.py has no file, and its path says where it is
    place = _file(top) or Path(next(iter(top.__path__))) / "__init__.py"
    root = place.parent.parent if hasattr(top, "__path__") else place.parent
    found, waiting = {entry.__name__: entry}, [entry]
    while waiting:
        for name in _imports(waiting.pop()):
            module = sys.modules.get(name)
            if module is not None and name not in found and _lies_below(module, root):
                found[name] = module
                waiting.append(module)
    return list(found.values())


def _file(module: ModuleType) -> Path | None:
    name = getattr(module, "__file__", None)  # a built-in module or a bare folder has none
    return Path(name) if name else None


def _lies_below(module: ModuleType, root: Path) -> bool:
    file = _file(module)
    if file is None or module.__name__.partition(".")[0] == "hare_tortoise":
        return False
    return file.is_relative_to(root) and not {"site-packages", "dist-packages"} & set(file.parts)


def _imports(module: ModuleType) -> Iterator[str]:
    """Name what the source of a module imports; ``from a import b`` may mean the module ``a.b``."""
    file = _file(module)
    if file is None or file.suffix != ".py":
        return
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(relative, module.__package__) if node.level else relative
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
