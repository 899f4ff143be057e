"""The file of a replay: it comes back whole after any crash, or says that it is damaged."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_tortoise.lab.files import DamagedFileError
from hare_tortoise.rl import replay_file
from hare_tortoise.rl.replay import Replay
from hare_tortoise.rl.replay_file import ReplayFile, file_bytes
from tests.rl.naive_replay import Feeder

Checkpoint = tuple[dict[str, Any], dict[str, Any]]


def new(agents: int = 1, capacity: int = 6, dtype: torch.dtype = torch.uint8) -> Replay:
    shape = (10,) if dtype == torch.bool else (2, 1)
    return Replay(agents, capacity, shape, dtype, stack=2)


def saved(file: ReplayFile, replay: Replay) -> Checkpoint:
    return file.append(replay), replay.state_dict()


def restored(path: Path, like: Replay, checkpoint: Checkpoint) -> tuple[ReplayFile, Replay]:
    replay = Replay(like.agents, like.capacity, like.shape, like.dtype, stack=like.stack)
    replay.load_state_dict(checkpoint[1])
    file = ReplayFile(path)
    file.restore(replay, checkpoint[0])
    return file, replay


def check_alike(one: Replay, other: Replay) -> None:
    assert str(one.state_dict()) == str(other.state_dict())
    for agent, written in enumerate(one.written):
        slots = [place % one.capacity for place in range(max(0, written - one.capacity), written)]
        assert torch.equal(one.frames[agent, slots], other.frames[agent, slots])


@settings(max_examples=30)
@given(
    data=st.data(),
    dtype=st.sampled_from([torch.uint8, torch.bool, torch.float32]),
    chunk=st.sampled_from([1, 9, 99]),
)
def test_every_checkpoint_comes_back(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, dtype: torch.dtype, chunk: int
) -> None:
    agents, capacity = data.draw(st.integers(1, 3)), data.draw(st.integers(3, 7))
    events = st.dictionaries(st.integers(0, agents - 1), st.sampled_from(["on", "end", "cut"]), min_size=1)
    replay = new(agents, capacity, dtype)
    feeder = Feeder(replay)
    path = tmp_path_factory.mktemp("replay") / "replay.frames"
    file = ReplayFile(path)
    most = file_bytes(agents, capacity, replay.shape, dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay_file, "_CHUNK", chunk)
        for batch in data.draw(st.lists(st.lists(events, max_size=12), min_size=1, max_size=5)):
            for event in batch:
                feeder.feed(event)
            checkpoint = saved(file, replay)
            assert sum(each.stat().st_size for each in path.parent.iterdir()) <= most
            file.confirm()
            assert len(list(path.parent.iterdir())) == 1
            # Sometimes the process is another one from here on.
            again, other = restored(path, replay, checkpoint)
            check_alike(replay, other)
            if data.draw(st.booleans()):
                file, replay, feeder.replay = again, other, other


def steps(feeder: Feeder, count: int) -> None:
    for _ in range(count):
        feeder.feed({0: "on"})


def test_only_what_is_new_is_appended(tmp_path: Path) -> None:
    replay = new(capacity=100)
    feeder, file = Feeder(replay), ReplayFile(tmp_path / "replay.frames")
    steps(feeder, 50)
    first = file.append(replay)["length"]
    before = (tmp_path / "replay.0.frames").read_bytes()
    assert file.append(replay)["length"] == first
    steps(feeder, 3)
    assert file.append(replay)["length"] - first == 3 * 2 + 28 + 32
    assert (tmp_path / "replay.0.frames").read_bytes()[:first] == before


def test_what_the_ring_has_overwritten_is_not_written(tmp_path: Path) -> None:
    replay = new(capacity=100)
    feeder, file = Feeder(replay), ReplayFile(tmp_path / "replay.frames")
    steps(feeder, 10)
    first = file.append(replay)["length"]
    steps(feeder, 150)
    assert file.append(replay)["length"] - first == 100 * 2 + 28 + 32


def test_every_flipped_and_every_missing_byte_is_found(tmp_path: Path) -> None:
    replay = new(agents=2)
    feeder, file = Feeder(replay), ReplayFile(tmp_path / "replay.frames")
    feeder.feed({0: "on", 1: "cut"})
    file.append(replay)
    feeder.feed({0: "end"})
    checkpoint = saved(file, replay)
    path = tmp_path / "replay.0.frames"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DamagedFileError, match=r"replay\.0\.frames"):
            restored(tmp_path / "replay.frames", replay, checkpoint)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFileError, match=r"replay\.0\.frames is cut short"):
            restored(tmp_path / "replay.frames", replay, checkpoint)
    path.write_bytes(whole)
    check_alike(restored(tmp_path / "replay.frames", replay, checkpoint)[1], replay)


def test_parts_of_another_run_are_found(tmp_path: Path) -> None:
    # Each part is whole, but the first one is not what stood there.
    texts = []
    for start in (0, 40):
        replay = new()
        feeder, file = Feeder(replay), ReplayFile(tmp_path / f"{start}.frames")
        feeder.count = start
        steps(feeder, 2)
        middle = file.append(replay)["length"]
        feeder.count = 100
        steps(feeder, 2)
        checkpoint = saved(file, replay)
        texts.append((tmp_path / f"{start}.0.frames").read_bytes())
    (tmp_path / "40.0.frames").write_bytes(texts[0][:middle] + texts[1][middle:])
    with pytest.raises(DamagedFileError, match=r"40\.0\.frames is damaged in the part"):
        restored(tmp_path / "40.frames", replay, checkpoint)
    (tmp_path / "40.0.frames").write_bytes(texts[0])
    with pytest.raises(
        DamagedFileError, match=r"40\.0\.frames does not match the checksum in the checkpoint"
    ):
        restored(tmp_path / "40.frames", replay, checkpoint)


def test_what_a_killed_process_appended_is_overwritten(tmp_path: Path) -> None:
    replay = new(capacity=20)
    feeder, file = Feeder(replay), ReplayFile(tmp_path / "replay.frames")
    steps(feeder, 3)
    checkpoint = saved(file, replay)
    path = tmp_path / "replay.0.frames"
    path.write_bytes(path.read_bytes() + b"a part that was only begun, and longer than what comes next" * 3)
    file, again = restored(tmp_path / "replay.frames", replay, checkpoint)
    check_alike(again, replay)
    steps(feeder, 2)
    expected = ReplayFile(tmp_path / "other.frames")
    other = new(capacity=20)
    feeder.replay = again
    feeder.count = 3
    steps(feeder, 2)
    length = file.append(again)["length"]
    assert path.stat().st_size == length
    check_alike(again, replay)
    fresh = Feeder(other)
    steps(fresh, 3)
    expected.append(other)
    steps(fresh, 2)
    expected.append(other)
    assert path.read_bytes() == (tmp_path / "other.0.frames").read_bytes()


def test_the_file_is_written_anew_before_it_is_twice_the_rings(tmp_path: Path) -> None:
    replay = Replay(1, 100, (10, 10), torch.uint8)
    file, observation = ReplayFile(tmp_path / "replay.frames"), torch.zeros(10, 10, dtype=torch.uint8)
    checkpoints: list[Checkpoint] = []
    for t in range(400):
        replay.append(0, observation + t % 256, 0, 0.0, first=t == 0, terminal=False)
        if t % 20 == 19:
            checkpoints.append(saved(file, replay))
            assert checkpoints[-1][0]["length"] <= 2 * 100 * 100 + 500
            if checkpoints[-1][0]["generation"] == 1:
                break
            file.confirm()
    assert (
        len(checkpoints) == 10
    )  # 20, 40, … 180 slots fit into twice the ring with what stands between; 200 do not
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"replay.0.frames", "replay.1.frames"}
    # Until the new checkpoint is confirmed the one before it can still be read.
    _, before = restored(tmp_path / "replay.frames", replay, checkpoints[-2])
    assert int(before.frames[0, 79, 0, 0]) == 179
    file.confirm()
    assert {path.name for path in tmp_path.iterdir()} == {"replay.1.frames"}
    check_alike(restored(tmp_path / "replay.frames", replay, checkpoints[-1])[1], replay)
    with pytest.raises(FileNotFoundError, match=r"replay\.0\.frames"):
        restored(tmp_path / "replay.frames", replay, checkpoints[-2])
    file.remove()
    assert list(tmp_path.iterdir()) == []


def test_other_files_stay(tmp_path: Path) -> None:
    for name in ("other.0.frames", "replay.x.frames", "replay.0.frames.json", "replay.frames"):
        (tmp_path / name).write_text("")
    file = ReplayFile(tmp_path / "replay.frames")
    replay = new()
    steps(Feeder(replay), 2)
    file.append(replay)
    file.remove()
    assert len(list(tmp_path.iterdir())) == 4
    ReplayFile(tmp_path / "no folder" / "replay.frames").remove()


@pytest.mark.parametrize("earlier", [False, True])
def test_a_full_disk_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    replay = new()
    feeder, file = Feeder(replay), ReplayFile(tmp_path / "replay.frames")
    steps(feeder, 2)
    if earlier:
        checkpoint = saved(file, replay)
        before = restored(tmp_path / "replay.frames", replay, checkpoint)[1]
        steps(feeder, 1)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        file.append(replay)
    monkeypatch.undo()
    if earlier:
        check_alike(restored(tmp_path / "replay.frames", replay, checkpoint)[1], before)
    check_alike(restored(tmp_path / "replay.frames", replay, saved(file, replay))[1], replay)


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    replay = new()
    feeder, file = Feeder(replay), ReplayFile(tmp_path / "replay.frames")
    steps(feeder, 2)
    state, _ = saved(file, replay)
    with pytest.raises(ValueError, match="load its state from the same checkpoint"):
        ReplayFile(tmp_path / "replay.frames").restore(new(), state)
    other = new(capacity=7)
    steps(Feeder(other), 2)
    with pytest.raises(DamagedFileError, match="does not begin as the file of a replay"):
        ReplayFile(tmp_path / "replay.frames").restore(other, state)
    (tmp_path / "replay.0.frames").write_bytes(b"")
    with pytest.raises(DamagedFileError, match="cut short since the last checkpoint"):
        file.append(replay)


def test_bytes_of_disk() -> None:
    atari = 1, 100_000, (84, 84), torch.uint8
    ring = 84 * 84 * 100_000
    assert ring < file_bytes(*atari, slots=100_000) < 1.01 * ring
    assert file_bytes(*atari) == pytest.approx(3 * ring, rel=1e-3)
    assert file_bytes(*atari, slots=500_000) == file_bytes(*atari)
    assert file_bytes(2, 100_000, (84, 84), torch.uint8) == pytest.approx(6 * ring, rel=1e-3)
