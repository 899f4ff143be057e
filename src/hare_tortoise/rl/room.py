"""Before a run: the device is there, and replays fit into memory and onto the disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from hare_tortoise.rl.interface import Space
from hare_tortoise.rl.priorities import priority_bytes
from hare_tortoise.rl.recipe import AgentRecipe
from hare_tortoise.rl.replay_file import file_bytes
from hare_tortoise.rl.ring import replay_bytes
from hare_tortoise.rl.stage import stage_of
from hare_tortoise.rl.trial import AgentTrial

_GROUP = Path("/sys/fs/cgroup")
_MEMORY = Path("/proc/meminfo")


@dataclass(frozen=True)
class Room:
    """What replays take, of all trials that run at the same time.

    Args:
        memory: bytes in memory; on a GPU, of its memory.
        disk: the most bytes that their files ever take beside the checkpoints; each is removed when its trial ends.
    """

    memory: int
    disk: int


def check_device(device: str) -> None:
    """Refuse a device that there is not.

    Raises:
        ValueError: It is neither the CPU nor a GPU that torch finds.

    Example:
        >>> check_device("cpu")
    """
    name, _, number = device.partition(":")
    if name not in ("cpu", "cuda") or not (number.isdecimal() or not number):
        raise ValueError(f"device: got {device!r}, expected cpu, cuda, or cuda:1 for the second GPU")
    if name == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device: got {device!r}, and torch finds {torch.cuda.device_count()} GPUs; leave it out"
        )


def room_of(trials: Sequence[AgentTrial], at_once: int) -> Room:
    """Count the bytes that the replays of trials take, those of the largest ones where not all run at once.

    Args:
        trials: to be run.
        at_once: how many run at the same time.

    Raises:
        ValueError: There is no such game; the nearest names are in the message.

    Example:
        >>> from hare_tortoise.rl.recipes import find_agent
        >>> trials = [AgentTrial(find_agent("drq"), ("atari:Pong",), "nothing", seed) for seed in range(3)]
        >>> round(room_of(trials, at_once=2).memory / 1e9, 2)
        1.41
    """
    of = {games: next(iter(stage_of(games).spaces.values())) for games in {trial.games for trial in trials}}
    pairs = [_room(trial.recipe, of[trial.games]) for trial in trials]
    return Room(*(sum(sorted(sizes, reverse=True)[:at_once]) for sizes in zip(*pairs, strict=True)))


def _room(recipe: AgentRecipe, space: Space) -> tuple[int, int]:
    replay = 1, recipe.capacity, space.shape, space.dtype
    prioritised = priority_bytes(1, recipe.capacity) if recipe.replay == "prioritised" else 0
    # an episode that is cut takes a slot more; where most are cut, observations are small
    slots = recipe.steps + recipe.steps // 100 + 1
    return replay_bytes(*replay) + prioritised, file_bytes(*replay, slots=slots)


def check_room(
    trials: Sequence[AgentTrial], *, out: Path, at_once: int, device: str = "cpu", saved: bool = True
) -> Room:
    """Refuse trials whose replays do not fit.

    Args:
        trials: to be run.
        out: where the runs will be; it need not exist.
        at_once: how many run at the same time.
        device: where their replays are.
        saved: whether checkpoints hold the replays; False: they take no disk.

    Raises:
        ValueError: They are larger than the memory that is available, or their files than the disk.
    """
    room = room_of(trials, at_once)
    count = min(at_once, len(trials))
    what = f"{count} replays at the same time take" if count > 1 else "the replay takes"
    steps = ", ".join(f"{size:,}" for size in sorted({trial.recipe.capacity for trial in trials}))
    less = f"fewer trials at the same time (workers), or a smaller capacity (now {steps} steps)"
    memory, free = available_memory(device), free_disk(out)
    if memory is not None and room.memory > memory:
        where = "memory" if device == "cpu" else f"memory of {device}"
        raise ValueError(
            f"{what} {room.memory:,} bytes of {where}, and {memory:,} are available: give {less}"
        )
    if saved and room.disk > free:
        raise ValueError(
            f"{what} up to {room.disk:,} bytes of disk for checkpoints, and {free:,} are free at {out}: make room, or "
            f"give another folder, {less}"
        )
    return room


def available_memory(device: str = "cpu") -> int | None:
    """Bytes of memory that a new process may take, within the limit of a container; None where nobody tells."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    found = [each for each in (_of_machine(), _of_group()) if each is not None]
    return min(found, default=None)


def free_disk(path: Path) -> int:
    """Free bytes of the disk that a folder is on, or will be."""
    there = path.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def _of_machine() -> int | None:
    if _MEMORY.exists():
        lines = dict(line.split(":", 1) for line in _MEMORY.read_text().splitlines() if ":" in line)
        if "MemAvailable" in lines:
            return int(lines["MemAvailable"].split()[0]) * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None  # not there on Windows, nor by these names everywhere


def _of_group() -> int | None:
    limit, used = _GROUP / "memory.max", _GROUP / "memory.current"
    if not (limit.exists() and used.exists()):
        return None
    most = limit.read_text().strip()
    return None if most == "max" else max(0, int(most) - int(used.read_text()))
