"""The version: from the installed metadata, or from the source checkout where nothing is installed."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path


def find_version(name: str = "hare-tortoise", project: Path | None = None) -> str:
    """Return the version of the installed distribution, else the one that the checkout declares.

    Args:
        name: the distribution.
        project: the checkout's `pyproject.toml`; by default the one that this file would lie under.

    >>> find_version() == __version__
    True
    """
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        path = project or Path(__file__).parents[2] / "pyproject.toml"
        if path.is_file():
            declared = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
            if declared.get("name") == name:
                return str(declared["version"])
        return "0+unknown"


__version__ = find_version()
