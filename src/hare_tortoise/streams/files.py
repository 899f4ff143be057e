"""Where data files lie, and reading them so that a broken one is named."""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from hare_tortoise.streams.download import download

ENVIRONMENT = "HARE_TORTOISE_DATA"
WHERE = f"say where the data are with root= (--data-root) or the environment variable {ENVIRONMENT}"


def data_root(root: Path | None) -> Path:
    """The folder of the data: `root`, else HARE_TORTOISE_DATA, else the user's cache folder."""
    if root is not None:
        return root
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named).expanduser()
    import pooch

    return Path(pooch.os_cache("hare-tortoise"))


def possible_places(path: Path | str, root: Path | None) -> list[Path]:
    """Where a path of the user's may lead: from where they are, then from the folder of the data; absolute."""
    here = Path(path).expanduser()
    return list(dict.fromkeys((Path.cwd() / here, Path.cwd() / data_root(root) / here)))


def corrupt(path: Path, why: object) -> ValueError:
    """The error for a file that is not what it should be."""
    return ValueError(f"{path} cannot be read: {why}. Remove it or put an intact copy in its place")


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked if it is gzipped.

    Raises:
        ValueError: the file cannot be read, or is gzipped and broken.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        raise corrupt(path, error) from error


def read_members(path: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The files in a .tar.gz archive, by their name without folders; nothing is written.

    Raises:
        ValueError: the archive cannot be read or is broken.
    """
    found = {}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                name = Path(member.name).name
                file = archive.extractfile(member) if member.isfile() and wanted(name) else None
                if file is not None:
                    found[name] = file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise corrupt(path, error) from error
    return found


def fetch(what: str, folder: Path, files: Mapping[str, str], mirror: str) -> None:
    """Download what is missing of a known data set.

    Args:
        what: the name of the data set, for the error.
        folder: where its files belong.
        files: their names and md5 checksums.
        mirror: the URL of the folder they are in.

    Raises:
        ValueError: they cannot be had; the message says which files to put where. Or a checksum is wrong.
    """
    base = mirror.rstrip("/")
    for name, md5 in files.items():
        try:
            download(f"{base}/{name}", folder / name, md5)
        except OSError as error:
            missing = [each for each in files if not (folder / each).exists()]
            raise ValueError(
                f"{what} is not there and cannot be downloaded from {base}/{name} ({error}). "
                f"Put {', '.join(missing)} into {folder}, or {WHERE}"
            ) from error
