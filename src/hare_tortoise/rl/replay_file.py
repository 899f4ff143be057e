"""The frames of a replay in a file beside a checkpoint: what is new is appended, with its length and checksum."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import torch

from hare_tortoise.lab.files import DamagedFileError, canonical
from hare_tortoise.rl.ring import Ring

_TITLE = b"hare-tortoise replay "
_HEAD_BYTES = len(_TITLE) + 2 * hashlib.sha256().digest_size + 1
_PART = struct.Struct("<4sqqq")  # mark, agent, number of the first slot, how many slots
_MARK = b"part"
_OVERHEAD = _PART.size + hashlib.sha256().digest_size
_CHUNK = 1 << 24  # bytes that are copied at once


def file_bytes(
    agents: int, capacity: int, shape: Sequence[int], dtype: torch.dtype, *, slots: int | None = None
) -> int:
    """The most disk in bytes that the file of a replay ever takes, before anything is written.

    A file grows to twice the rings and is then written anew beside itself: three times the rings. If no agent writes
    more than twice its ring, it never comes to that.

    Args:
        agents: G.
        capacity: slots of a ring.
        shape: of one observation.
        dtype: of the observations.
        slots: how many slots each agent will write in all (steps and cuts); None: without end.

    Example:
        >>> atari = 1, 100_000, (84, 84), torch.uint8
        >>> [round(file_bytes(*atari, slots=slots) / 1e9, 2) for slots in (100_000, None)]
        [0.71, 2.12]
    """
    frame = prod(shape) * dtype.itemsize
    rings = _HEAD_BYTES + agents * (_OVERHEAD + capacity * frame)
    if slots is not None:
        # At worst each slot is a part of its own.
        appended = _HEAD_BYTES + agents * slots * (_OVERHEAD + frame)
        if appended <= 2 * rings:
            return appended
    return 3 * rings


class ReplayFile:
    """The frames of a replay on disk, appended at each checkpoint.

    A checkpoint is written in three steps, and a crash between any two of them loses nothing:
    `state = file.append(replay)` puts what is new behind what is there; the checkpoint is written with `state` and
    `replay.state_dict()` in it; `file.confirm()` removes the files that no checkpoint needs any more. What stands
    behind the length in the state was appended by a process that was killed before its checkpoint: it is never read,
    and overwritten by the next `append`. Slots that the ring has overwritten are superseded by later parts. Before the
    file would exceed twice the rings it is written anew, as a file of the next number.

    A file is a line that says what replay it is of, and parts: mark, agent, first slot and count; the frames as they
    are in memory; the sha256 of all that with the sum before it in front, so that each sum stands for the whole file.

    Args:
        path: what the files are called, with their number before the ending: `replay.frames` is `replay.0.frames`.

    Example:
        >>> import tempfile
        >>> from hare_tortoise.rl.replay import Replay
        >>> replay, again = (Replay(1, 9, (1,), torch.float32) for _ in range(2))
        >>> replay.append(0, torch.ones(1), 0, 1.0, first=True, terminal=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     state = ReplayFile(Path(folder) / "replay.frames").append(replay)
        ...     again.load_state_dict(replay.state_dict())
        ...     ReplayFile(Path(folder) / "replay.frames").restore(again, state)
        >>> again.frames[0, 0]
        tensor([1.])
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state: dict[str, Any] | None = None

    def append(self, replay: Ring) -> dict[str, Any]:
        """Append what the replay was given since the last time; give what the checkpoint must say of the file.

        Raises:
            DamagedFileError: the file has become shorter than what was written.
            OSError: the disk is full, or the folder cannot be written. The last checkpoint still holds.
        """
        written, capacity = replay.written, replay.capacity
        state = self._state or _nothing(0, replay)
        begins = [max(saved, now - capacity) for saved, now in zip(state["saved"], written, strict=True)]
        new = _size(replay, [now - begin for begin, now in zip(begins, written, strict=True)])
        if state["length"] + new > 2 * _size(replay, [capacity] * replay.agents):
            state = _nothing(state["generation"] + 1, replay)
            begins = [max(0, now - capacity) for now in written]
        path = self._numbered(state["generation"])
        fresh = not state["length"]
        if not fresh and path.stat().st_size < state["length"]:
            raise DamagedFileError(f"{path} has been cut short since the last checkpoint")
        with path.open("wb" if fresh else "r+b") as file:
            file.truncate(state["length"])
            file.seek(state["length"])
            checksum = bytes.fromhex(state["checksum"])
            if fresh:
                file.write(_head(replay))
                checksum = hashlib.sha256(_head(replay)).digest()
            for agent, (begin, end) in enumerate(zip(begins, written, strict=True)):
                if begin < end:
                    checksum = _write_part(file, checksum, replay, agent, begin, end)
            file.flush()
            os.fsync(file.fileno())
            length = file.tell()
        if fresh:
            _sync_folder(path.parent)
        self._state = {**state, "length": length, "checksum": checksum.hex(), "saved": written}
        return dict(self._state)

    def restore(self, replay: Ring, state: Mapping[str, Any]) -> None:
        """Put the frames of a checkpoint into a replay whose state has been loaded from it.

        Args:
            replay: after its `load_state_dict`.
            state: what `append` gave for this checkpoint.

        Raises:
            DamagedFileError: the file is cut short or altered, or of another replay. The frames are not to be used.
            FileNotFoundError: there is no such file.
            ValueError: the replay holds other slots than the state speaks of.
        """
        if replay.written != state["saved"]:
            raise ValueError(
                f"the replay has written {replay.written} slots, the file {state['saved']}: load its state "
                "from the same checkpoint first"
            )
        path, length = self._numbered(state["generation"]), state["length"]
        size = path.stat().st_size
        if size < length:
            raise DamagedFileError(
                f"{path} is cut short: it has {size} bytes, the checkpoint speaks of {length}"
            )
        with path.open("rb") as file:
            head = _head(replay)
            if file.read(_HEAD_BYTES) != head:
                raise DamagedFileError(
                    f"{path} does not begin as the file of a replay of {replay.settings()}"
                )
            checksum = hashlib.sha256(head).digest()
            while (left := length - file.tell()) > 0:
                checksum = _read_part(file, path, checksum, replay, left)
        if checksum.hex() != state["checksum"]:
            raise DamagedFileError(f"{path} does not match the checksum in the checkpoint")
        self._state = dict(state)

    @property
    def current(self) -> Path | None:
        """The file that was appended to or restored last; None: there is none."""
        return None if self._state is None else self._numbered(self._state["generation"])

    def confirm(self) -> None:
        """Remove the files that the last checkpoint does not speak of; to be called once it is written."""
        for path in self._files():
            if path != self.current:
                path.unlink()

    def remove(self) -> None:
        """Remove the files: the trial has ended."""
        self._state = None
        self.confirm()

    def _numbered(self, generation: int) -> Path:
        return self.path.with_name(f"{self.path.stem}.{generation}{self.path.suffix}")

    def _files(self) -> list[Path]:
        around = self.path.parent.glob(f"*{self.path.suffix}") if self.path.parent.exists() else ()
        numbers = (
            (path, path.name.removeprefix(f"{self.path.stem}.").removesuffix(self.path.suffix))
            for path in around
        )
        return [
            path for path, number in numbers if number.isdecimal() and path == self._numbered(int(number))
        ]


def _head(replay: Ring) -> bytes:
    return _TITLE + hashlib.sha256(canonical(replay.settings()).encode()).hexdigest().encode() + b"\n"


def _nothing(generation: int, replay: Ring) -> dict[str, Any]:
    return {"generation": generation, "length": 0, "checksum": "", "saved": [0] * replay.agents}


def _frame_bytes(replay: Ring) -> int:
    return prod(replay.shape) * replay.dtype.itemsize


def _size(replay: Ring, counts: Sequence[int]) -> int:
    """Bytes of a file with one part for each count."""
    return _HEAD_BYTES + sum(_OVERHEAD + count * _frame_bytes(replay) for count in counts)


def _chunks(replay: Ring, begin: int, end: int) -> Iterator[tuple[int, int]]:
    at_once = max(1, _CHUNK // _frame_bytes(replay))
    for low in range(begin, end, at_once):
        yield low, min(low + at_once, end)


def _write_part(file: BinaryIO, checksum: bytes, replay: Ring, agent: int, begin: int, end: int) -> bytes:
    head = _PART.pack(_MARK, agent, begin, end - begin)
    file.write(head)
    digest = hashlib.sha256(checksum + head)
    for low, high in _chunks(replay, begin, end):
        content = replay.read_frames(agent, low, high).view(torch.uint8).numpy().data
        file.write(content)
        digest.update(content)
    file.write(digest.digest())
    return digest.digest()


def _read_part(file: BinaryIO, path: Path, checksum: bytes, replay: Ring, left: int) -> bytes:
    """Read one part of a file of which `left` bytes are left; give its checksum."""
    begin, head = file.tell(), file.read(min(left, _PART.size))
    if len(head) == _PART.size:
        mark, agent, first, count = _PART.unpack(head)
        whole = mark == _MARK and 0 <= agent < replay.agents and first >= 0 < count
        if whole and _OVERHEAD + count * _frame_bytes(replay) <= left:
            digest = hashlib.sha256(checksum + head)
            for low, high in _chunks(replay, first, first + count):
                content = bytearray((high - low) * _frame_bytes(replay))
                file.readinto(content)  # type: ignore[attr-defined]
                digest.update(content)
                frames = torch.frombuffer(content, dtype=torch.uint8).view(high - low, -1)
                replay.write_frames(agent, low, frames.view(replay.dtype))
            if file.read(digest.digest_size) == digest.digest():
                return digest.digest()
    raise DamagedFileError(f"{path} is damaged in the part that begins at byte {begin}")


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)  # that the file is there must reach the disk as well
    finally:
        os.close(folder)
