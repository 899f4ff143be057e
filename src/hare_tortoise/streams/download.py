"""Downloads that go on where they stopped, and are kept only if their checksum is right."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

ATTEMPTS = 5
TIMEOUT = (10.0, 60.0)


class _InterruptedError(Exception):
    """The connection ended early, after something had come."""


class _Resumable:
    """A downloader for pooch that keeps what has come in a file beside the target, and goes on from there."""

    def __init__(self, partial: Path, console: Console) -> None:
        self.partial = partial
        self.console = console

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, disable=not self.console.is_terminal) as progress:
            bar = progress.add_task(self.partial.name.removesuffix(".part"), total=None)
            for attempt in range(ATTEMPTS):
                try:
                    self._receive(url, progress, bar)
                    break
                except _InterruptedError as interrupted:
                    if attempt == ATTEMPTS - 1:
                        raise ConnectionError(f"{interrupted} ({ATTEMPTS} times)") from interrupted.__cause__
        os.replace(self.partial, output_file)

    def _receive(self, url: str, progress: Any, bar: Any) -> None:
        import requests
        import urllib3

        have = self.partial.stat().st_size if self.partial.exists() else 0
        # A server that compresses on the way would send other bytes than those of the checksum.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code == 416:
                self._beyond_the_end(response.headers.get("Content-Range", ""), have)
                return
            response.raise_for_status()
            goes_on = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            have = have if response.status_code == 206 and goes_on else 0
            length = response.headers.get("Content-Length")
            progress.update(bar, completed=have, total=have + int(length) if length else None)
            with self.partial.open("ab" if have else "wb") as file:
                try:
                    for block in response.raw.stream(1 << 16, decode_content=False):
                        file.write(block)
                        progress.advance(bar, len(block))
                except urllib3.exceptions.HTTPError as error:
                    raise _InterruptedError(f"the connection ended early: {error}") from error

    def _beyond_the_end(self, content_range: str, have: int) -> None:
        if content_range != f"bytes */{have}":
            self.partial.unlink()
            raise _InterruptedError("what was there of an earlier download is longer than the file")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process downloads into `folder` (where the system has such locks)."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _retrieve(url: str, path: Path, md5: str, console: Console) -> None:
    import pooch

    partial = path.with_name(path.name + ".part")
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        # What an interrupted download has left may be of another file: then once more, from the start.
        for resumed in (True, False) if partial.exists() else (False,):
            try:
                downloader = _Resumable(partial, console)
                pooch.retrieve(url, f"md5:{md5}", fname=path.name, path=path.parent, downloader=downloader)
                return
            except ValueError as error:
                if isinstance(error, OSError):
                    raise
                if not resumed:
                    raise ValueError(
                        f"{url} has another checksum than the data set (md5 {md5}): it was not kept. {error}"
                    ) from error
    finally:
        logger.setLevel(level)


def download(url: str, path: Path, md5: str, *, console: Console | None = None) -> Path:
    """Fetch `url` into `path`, unless it is there.

    What has come of a file is kept beside it as `<name>.part`; an interrupted download goes on from there,
    at once up to five times and at the next call. The file appears under its own name only when it is whole
    and its checksum right. Several processes may ask for one file at the same time.

    Args:
        url: where the file is.
        path: where to put it; folders are made.
        md5: its checksum, in hexadecimal.
        console: where to draw the progress bar. None: standard error. Nothing is drawn where it is no
            terminal.

    Returns:
        `path`.

    Raises:
        ValueError: the checksum is wrong.
        OSError: there is no connection, the server refuses, or nothing can be written there.
    """
    from rich.console import Console

    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.parent):
        if not path.exists():
            _retrieve(url, path, md5, console or Console(stderr=True))
    return path
