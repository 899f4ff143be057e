"""Before a run: what does not fit into memory or onto the disk is refused with its bytes, as is what does not exist."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from hare_tortoise.rl import find_agent, room
from hare_tortoise.rl.building import try_out
from hare_tortoise.rl.priorities import Priorities
from hare_tortoise.rl.replay import Replay
from hare_tortoise.rl.room import available_memory, check_device, check_room, free_disk, room_of
from hare_tortoise.rl.trial import AgentTrial

BREAKOUT, CARTPOLE = ("minatar:breakout",), ("CartPole-v1",)


def trial(
    games: tuple[str, ...] = BREAKOUT, recipe: str = "minatar", method: str = "nothing", **changes: object
) -> AgentTrial:
    return AgentTrial(find_agent(recipe).replace(**changes), games, method, 0)


def test_the_bytes_are_those_of_the_replay_that_is_built() -> None:
    needed = room_of([trial(capacity=5_000)], 1)
    replay = Replay(1, 5_000, (4, 10, 10), torch.bool)
    frames = replay.frames.nbytes + 400  # and the row of zeros
    numbers = sum(array.nbytes for array in replay._host.values()) + replay._step_of_slot.nbytes
    assert needed.memory == frames + numbers
    drawn = room_of([trial(capacity=5_000, replay="prioritised")], 1)
    priorities = Priorities(replay, alpha=0.5)
    held = sum(value.nbytes for value in vars(priorities).values() if hasattr(value, "nbytes"))
    assert drawn.memory - needed.memory == pytest.approx(held, rel=0.02)
    assert drawn.disk == needed.disk


def test_the_largest_that_run_together_count() -> None:
    sizes = [2_000, 9_000, 4_000]
    trials = [trial(capacity=size, steps=1_500) for size in sizes]
    alone = [room_of([each], 1) for each in trials]
    assert room_of(trials, 2).memory == alone[1].memory + alone[2].memory
    assert room_of(trials, 1).memory == alone[1].memory
    assert room_of(trials, 8).memory == sum(each.memory for each in alone)
    assert room_of(trials, 8).disk == sum(each.disk for each in alone)


def test_the_file_is_as_long_as_the_steps_but_no_longer_than_three_rings() -> None:
    frame = 400
    short, long = (room_of([trial(capacity=10_000, steps=steps)], 1).disk for steps in (2_000, 1_000_000))
    assert 2_000 * frame < short < 2_100 * (frame + 200)
    assert 3 * 10_000 * frame < long < 3.1 * 10_000 * frame + 100_000
    vectors = room_of([trial(CARTPOLE, "vector", capacity=10_000, steps=2_000)], 1)
    assert vectors.memory < room_of([trial(capacity=10_000, steps=2_000)], 1).memory / 5


def test_too_large_for_the_memory(tmp_path: Path) -> None:
    trials = [trial(capacity=10**11, steps=2_000) for _ in range(3)]
    said = r"2 replays at the same time take 83,600,000,000,800 bytes of memory, and [\d,]+ are available: give fewer"
    with pytest.raises(ValueError, match=said):
        check_room(trials, out=tmp_path, at_once=2)
    with pytest.raises(
        ValueError, match=r"^the replay takes 41,800,000,000,400 bytes.*now 100,000,000,000 steps"
    ):
        check_room(trials[:1], out=tmp_path, at_once=2)


def test_too_large_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", ("total", "used", "free"))
    asked = []

    def full(path: Path) -> object:
        asked.append(path)
        return usage(10**9, 10**9 - 1_000_000, 1_000_000)

    monkeypatch.setattr(shutil, "disk_usage", full)
    small, large = trial(capacity=1_000, steps=1_000), trial(capacity=50_000, steps=50_000)
    out = tmp_path / "not" / "yet"
    assert check_room([small], out=out, at_once=1) == room_of([small], 1)
    roomy = trial(capacity=5_000, steps=1_000)  # more memory than there is disk, but few steps to write
    assert check_room([roomy], out=out, at_once=1).memory > 1_000_000
    said = (
        r"the replay takes up to [\d,]+ bytes of disk for checkpoints, and 1,000,000 are free at .*not/yet:"
    )
    with pytest.raises(ValueError, match=said):
        check_room([large], out=out, at_once=1)
    assert check_room([large], out=out, at_once=1, saved=False) == room_of([large], 1)
    assert asked == [tmp_path] * 4
    assert not (tmp_path / "not").exists()


def test_free_disk_is_that_of_the_folder_it_will_be_in(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    assert free_disk(tmp_path / "a" / "b") == pytest.approx(free, rel=0.05)


def test_available_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, group = tmp_path / "meminfo", tmp_path / "group"
    monkeypatch.setattr(room, "_MEMORY", memory)
    monkeypatch.setattr(room, "_GROUP", group)
    physical = available_memory()
    assert physical is None or physical > 2**28
    memory.write_text("MemTotal:  9000 kB\nMemFree: 100 kB\nMemAvailable:    5000 kB\nHugePages_Total: 0\n")
    assert available_memory() == 5_000 * 1024
    group.mkdir()
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("1000000\n")
    assert available_memory() == 5_000 * 1024
    (group / "memory.max").write_text("3000000\n")
    assert available_memory() == 2_000_000
    (group / "memory.current").write_text("4000000\n")
    assert available_memory() == 0


@pytest.mark.parametrize("device", ["", "gpu", "CPU", "cuda:x", "mps"])
def test_devices_that_are_none(device: str) -> None:
    with pytest.raises(ValueError, match=f"device: got '{device}', expected cpu, cuda"):
        check_device(device)


def test_a_gpu_that_is_not_there() -> None:
    check_device("cpu")
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ValueError, match=f"device: got '{missing}', and torch finds"):
        check_device(missing)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (trial(("minatar:brekout",)), "did you mean 'breakout'"),
        (trial(method="hair-tortoise"), "'hare-tortoise'"),
        (trial(target="copy", method="ema(decay=0.9)"), "copies its target network"),
        (trial(encoder="impalla"), "'impala'"),
        (trial(encoder="tests.rl.own_games:nothing"), "encoder tests.rl.own_games:nothing: "),
        (trial((*BREAKOUT, "CartPole-v1")), "the observations differ"),
        (trial(method="dash"), "dash needs"),
    ],
)
def test_what_does_not_exist_or_fit(wrong: AgentTrial, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        try_out(wrong)


def test_what_fits_passes() -> None:
    for method in (
        "nothing",
        "shrink-perturb+hare-tortoise(decay=0.9, reset_every=3)",
        "plasticity-injection",
    ):
        try_out(trial(method=method, hidden=8))
    try_out(trial(("minatar:asterix", "minatar:breakout")))
