"""Files that are whole or not there: written beside, synced, renamed. JSON and safetensors, each with a checksum."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class DamagedFileError(ValueError):
    """A file is not what was written: cut short, altered, or of another form."""


def write_atomic(path: Path, content: bytes) -> None:
    """Replace a file so that a crash at any moment leaves the old one or the new one, whole.

    Raises:
        OSError: The disk is full, or the folder cannot be written. The old file is untouched.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")  # two commands may write the same file
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself must reach the disk
    finally:
        os.close(folder)


def canonical(content: Any) -> str:
    """Give the one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def write_json(path: Path, content: Any) -> None:
    """Write a value as JSON, with a checksum beside it in the file."""
    whole = {"checksum": _digest(canonical(content).encode()), "content": content}
    write_atomic(path, (json.dumps(whole, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read what `write_json` wrote.

    Raises:
        DamagedFileError: The file is cut short or altered.
        FileNotFoundError: There is no such file.
    """
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        content, checksum = whole["content"], whole["checksum"]
    except (ValueError, KeyError, TypeError):
        raise DamagedFileError(f"{path} is not whole JSON with a checksum") from None
    if _digest(canonical(content).encode()) != checksum:
        raise DamagedFileError(f"{path} does not match its checksum")
    return content


def write_tensors(path: Path, tensors: Mapping[str, Tensor], state: Any) -> None:
    """Write tensors and a JSON value as one safetensors file, with a checksum over both."""
    from safetensors.torch import save  # here, so that what reads and writes none needs nothing but torch

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = canonical(state)
    write_atomic(path, save(plain, metadata={"state": text, "checksum": _tensor_digest(plain, text)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Read what `write_tensors` wrote, onto the CPU.

    Raises:
        DamagedFileError: The file is cut short or altered.
        FileNotFoundError: There is no such file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text, checksum = metadata["state"], metadata["checksum"]
    except (SafetensorError, KeyError):
        raise DamagedFileError(f"{path} is not a whole safetensors file with a checksum") from None
    if _tensor_digest(tensors, text) != checksum:
        raise DamagedFileError(f"{path} does not match its checksum")
    return tensors, json.loads(text)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file lock: two commands on one folder do their work one after the other.

    The lock is the operating system's, so it is gone with the process that held it, however that ended.
    """
    import fcntl  # not on Windows, and needed nowhere else

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _tensor_digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
