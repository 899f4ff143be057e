"""Atari-100k's protocol, on the real games."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import ale_py
import numpy as np
import pytest
import torch
from torch import Tensor

from hare_tortoise.rl.atari import ATARI_100K, Atari, find_game
from hare_tortoise.rl.environments import Arrival, Environments, legal_actions, make_environments

FIELDS = ("observation", "reward", "ended", "truncated", "lives")


def actions_of(seed: int, count: int, actions: int) -> list[int]:
    return [int(action) for action in np.random.default_rng(seed).integers(actions, size=count)]


def play(games: Environments, seed: int, actions: Sequence[int]) -> list[Arrival]:
    """One episode of the only environment, to its end or that of the actions."""
    arrivals = [games.start([0], [seed])]
    for action in actions:
        games.send(torch.tensor([action]))
        arrivals.append(games.receive())
        if arrivals[-1].ended or arrivals[-1].truncated:
            break
    return arrivals


def same(one: Arrival, other: Arrival, rows: Sequence[int] = (0,)) -> bool:
    mine = one.rows(rows)
    return all(torch.equal(getattr(mine, name), getattr(other, name)) for name in FIELDS)


# ---- what is seen and told


def area(size: int, onto: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """How much each of `size` pixels counts in each of `onto`."""
    edges = np.arange(onto + 1) * size / onto
    weights = np.zeros((onto, size))
    for row in range(onto):
        for pixel in range(size):
            weights[row, pixel] = max(0.0, min(pixel + 1, edges[row + 1]) - max(pixel, edges[row]))
    return weights * onto / size


@pytest.mark.parametrize("game", ["breakout", "assault"])
def test_what_is_seen_is_the_emulators_screen(game: str) -> None:
    plain = ale_py.ALEInterface()
    plain.setFloat("repeat_action_probability", 0.0)
    plain.setInt("random_seed", 0)
    rom = ale_py.roms.get_rom_path(game)
    assert rom is not None
    plain.loadROM(rom)
    plain.reset_game()
    minimal = plain.getMinimalActionSet()
    # fire first; Assault pays at the 20th action or so
    actions = [1, *actions_of(1, 49 if game == "assault" else 11, len(minimal))]
    games = Atari(game, noops=0)
    assert games.spaces[0].actions == len(minimal)
    arrivals = play(games, 0, actions)
    rewards, down, across = [], area(210, 84), area(160, 84).T
    for action, arrival in zip(actions, arrivals[1:], strict=True):
        screens, reward = [], 0
        for _ in range(4):
            reward += plain.act(minimal[action])
            screens.append(plain.getScreenGrayscale().astype(np.float64))
        expected = down @ np.maximum(screens[2], screens[3]) @ across
        assert np.abs(arrival.observation[0].numpy() - expected).max() <= 1
        assert (arrival.reward.item(), arrival.lives.item()) == (reward, plain.lives())
        rewards.append(reward)
    assert arrivals[-1].observation.dtype is torch.uint8
    assert arrivals[-1].observation.shape == (1, 84, 84)
    if game == "assault":
        assert max(rewards) > 1  # as the game gives it


def test_the_protocol_that_the_emulators_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}

    def made(rom: str, count: int, **settings: Any) -> None:
        told.update(settings, rom=rom, count=count)
        raise OSError("seen enough")

    monkeypatch.setattr(ale_py, "AtariVectorEnv", made)
    with pytest.raises(
        RuntimeError, match="the environment atari:MsPacman failed when it was made: OSError: seen enough"
    ):
        Atari("MsPacman", 5, num_threads=3)
    assert told == {
        "rom": "ms_pacman",
        "count": 5,
        "num_threads": 3,
        "max_num_frames_per_episode": 108_000,
        "repeat_action_probability": 0.0,
        "full_action_space": False,
        "grayscale": True,
        "img_height": 84,
        "img_width": 84,
        "stack_num": 1,
        "frameskip": 4,
        "maxpool": True,
        "noop_max": 30,
        "episodic_life": False,
        "life_loss_info": False,
        "reward_clipping": False,
        "use_fire_reset": False,
    }


# ---- episodes


@pytest.mark.parametrize("game", ["Breakout", "BankHeist", "Amidar", "Pong", "Assault", "Hero"])
def test_an_episode_repeats_whatever_came_before_and_whoever_plays_beside(game: str) -> None:
    alone = Atari(game)
    steps = 120 if game == "Amidar" else 40  # where nothing moves at first
    first_actions, second_actions = (actions_of(seed, steps, alone.spaces[0].actions) for seed in (1, 2))
    first, second = play(alone, 11, first_actions), play(alone, 2**31 - 1, second_actions)
    assert not torch.equal(first[-1].observation, second[-1].observation)
    late = 6
    games = Atari(game, 2, num_threads=2)
    assert same(games.start([1, 0], [5, 2**31 - 1]), second[0], rows=[1])
    for step in range(steps):
        if step == late:
            # begun in the middle of another episode, beside one that goes on
            assert same(games.start([1], [11]), first[0])
        other = first_actions[step - late] if step >= late else 0
        games.send(torch.tensor([second_actions[step], other]))
        arrival = games.receive()
        assert same(arrival, second[step + 1])
        if step >= late:
            assert same(arrival, first[step - late + 1], rows=[1])


def test_no_step_is_lost_after_an_episode_that_was_cut() -> None:
    games = Atari("Pong", max_steps=12)
    actions = actions_of(3, 12, 6)
    first = play(games, 4, actions)
    assert [bool(arrival.truncated) for arrival in first] == [False] * 12 + [True]
    assert not any(bool(arrival.ended) for arrival in first)
    with pytest.raises(RuntimeError, match=r"environments 0 \(atari:Pong\) are over"):
        games.send(torch.tensor([0]))
    second = play(games, 4, actions)
    assert all(same(one, other) for one, other in zip(first, second, strict=True))
    # each frame is another, so that one too many or too few would be seen
    assert len({arrival.observation.numpy().tobytes() for arrival in first[1:]}) > 8


def test_no_step_is_lost_after_an_episode_that_ended() -> None:
    games = Atari("Breakout", 2)
    games.start([0, 1], [1, 2])
    while not (arrival := step_both(games, 0, 1)).ended.any():
        pass
    assert arrival.ended.tolist() == [False, True]  # nothing is lost before the first ball is asked for
    actions = [1, *actions_of(5, 12, 4)]
    alone = play(Atari("Breakout"), 7, actions)
    assert same(games.start([1], [7]), alone[0])
    for action, expected in zip(actions, alone[1:], strict=True):
        assert same(step_both(games, 0, action), expected, rows=[1])


def step_both(games: Environments, *actions: int) -> Arrival:
    games.send(torch.tensor(actions))
    return games.receive()


def test_no_ops_depend_on_the_seed() -> None:
    def beginnings(games: Environments) -> set[bytes]:
        return {games.start([0], [seed]).observation.numpy().tobytes() for seed in range(5)}

    assert len(beginnings(Atari("Assault"))) > 1
    assert len(beginnings(Atari("Assault", noops=0))) == 1


def lives_of(game: str, choose: Callable[[int], int], limit: int) -> list[Arrival]:
    games = Atari(game)
    arrivals = play(games, 1, [choose(step) for step in range(limit)])
    assert arrivals[-1].ended, "the episode did not end"
    assert not any(bool(arrival.ended) for arrival in arrivals[:-1])
    assert not any(bool(arrival.truncated) for arrival in arrivals)
    return arrivals


def test_lives_fall_and_the_game_goes_on_in_breakout() -> None:
    arrivals = lives_of("Breakout", lambda _: 1, 300)
    lives = [arrival.lives.item() for arrival in arrivals]
    assert lives == sorted(lives, reverse=True)
    assert [lives.index(left) for left in (5, 4, 3, 2, 1)] == sorted(
        {lives.index(left) for left in (5, 4, 3, 2, 1)}
    )
    assert lives[-2:] == [1, 0]
    games = Atari("Breakout", max_steps=len(arrivals) - 1)
    assert games.spaces[0].lives
    last = play(games, 1, [1] * 300)[-1]  # over in the very step in which it would be cut
    assert (last.ended.item(), last.truncated.item()) == (True, False)


def test_bank_heist_plays_on_at_no_lives() -> None:
    actions = actions_of(0, 1_500, 18)
    arrivals = lives_of("BankHeist", lambda step: actions[step], 1_500)
    lives = [arrival.lives.item() for arrival in arrivals]
    assert lives == sorted(lives, reverse=True)
    assert sorted({*lives}) == [0, 1, 2, 3, 4]
    first = lives.index(0)
    assert len(arrivals) - first > 20
    assert len({arrival.observation.numpy().tobytes() for arrival in arrivals[first:]}) > 10


def test_lives_fall_and_the_game_goes_on_in_amidar() -> None:
    arrivals = lives_of("Amidar", lambda _: 0, 800)
    lives = [arrival.lives.item() for arrival in arrivals]
    falls = [step for step in range(1, len(lives)) if lives[step] < lives[step - 1]]
    assert len(falls) >= 3
    assert falls[-1] == len(lives) - 1
    assert lives == sorted(lives, reverse=True)


def test_pong_tells_no_lives() -> None:
    games = Atari("Pong")
    assert not games.spaces[0].lives
    assert not any(arrival.ended.item() or arrival.lives.item() for arrival in play(games, 0, [0] * 30))


# ---- names and actions


def test_the_26_games_are_in_ale_py_and_written_as_it_writes_them() -> None:
    assert len(ATARI_100K) == len({*ATARI_100K}) == 26
    assert [find_game(name) for name in ATARI_100K] == list(ATARI_100K) == sorted(ATARI_100K)
    roms = {rom.title().replace("_", "") for rom in ale_py.roms.get_all_rom_ids()}
    assert {*ATARI_100K} <= roms


@pytest.mark.parametrize(
    ("written", "game"),
    [
        ("ASSAULT", "Assault"),
        ("bank_heist", "BankHeist"),
        ("bankheist", "BankHeist"),
        ("Ms. Pac-Man", "MsPacman"),
        ("kung fu master", "KungFuMaster"),
        ("tennis", "Tennis"),
    ],
)
def test_any_spelling_of_a_game(written: str, game: str) -> None:
    assert find_game(written) == game


@pytest.mark.parametrize(
    ("written", "nearest"),
    [
        ("asault", "did you mean 'Assault'"),
        ("BankHiest", "did you mean 'BankHeist'"),
        ("xyzzy", "; There are"),
    ],
)
def test_an_unknown_game_has_its_nearest_names(written: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"unknown game of Atari '{written}'.*{nearest}.*Alien, Amidar"):
        make_environments([f"atari:{written}"])


@pytest.mark.parametrize("game", ["combat", "joust", "maze_craze", "warlords"])
def test_games_for_two_are_refused(game: str) -> None:
    # ale-py would end the process
    with pytest.raises(ValueError, match="unknown game of Atari"):
        find_game(game)


@pytest.mark.parametrize(
    "settings", [{"count": 0}, {"max_steps": 0}, {"noops": -1}, {"num_threads": 0}, {"count": True}]
)
def test_numbers_out_of_their_range(settings: dict[str, Any]) -> None:
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=f"{name} is {value}, expected a whole number of at least"):
        Atari("Pong", **settings)


def test_padded_actions_are_the_joysticks() -> None:
    minimal, padded = (
        make_environments(["Atari:Breakout"]),
        make_environments(["atari:breakout"], padded=True),
    )
    assert (minimal.spaces[0].numbers, padded.spaces[0].numbers) == ((0, 1, 2, 3), (0, 1, 3, 4))
    assert legal_actions(padded.spaces, 18).nonzero()[:, 1].tolist() == [0, 1, 3, 4]
    actions = [1, 2, 2, 3, 3, 3, 0, 2, 2, 2, 3]
    of_joystick = [(0, 1, 3, 4)[action] for action in actions]
    pairs = zip(play(minimal, 3, actions), play(padded, 3, of_joystick), strict=True)
    assert all(same(one, other) for one, other in pairs)
    with pytest.raises(ValueError, match=r"actions\[0\] is 2, expected one of \[0, 1, 3, 4\]"):
        padded.send(torch.tensor([2]))


def test_games_in_lockstep_play_what_they_play_alone() -> None:
    names = ["atari:Pong", "atari:Breakout", "atari:pong"]
    games = make_environments(names, num_threads=2)
    assert games.names == ("atari:Pong", "atari:Breakout", "atari:Pong")
    assert [space.actions for space in games.spaces] == [6, 4, 6]
    seeds = [3, 4, 5]
    actions: list[Tensor] = [
        torch.tensor(actions_of(9, 15, 4)),
        *(torch.tensor(actions_of(s, 15, 4)) for s in (7, 8)),
    ]
    together = [games.start([2, 0, 1], [seeds[2], seeds[0], seeds[1]]).rows([1, 2, 0])]
    for step in range(15):
        games.send(torch.stack([own[step] for own in actions]))
        together.append(games.receive())
    for place, name in enumerate(names):
        alone = play(make_environments([name]), seeds[place], actions[place].tolist())
        assert all(same(one, other, rows=[place]) for one, other in zip(together, alone, strict=True))
    games.close()


# ---- what goes wrong, and the end


@pytest.mark.parametrize("when", ["reset", "send", "recv"])
def test_an_emulator_that_fails_is_named(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    games = make_environments(["atari:Pong", "atari:Breakout"])
    games.start([0, 1], [1, 2])

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("stack smashed")

    monkeypatch.setattr(games._parts[1]._emulators, when, broken)  # type: ignore[attr-defined]
    again: Callable[[], Any] = lambda: games.start([0, 1], [1, 2])  # noqa: E731
    act = again if when == "reset" else lambda: step_both(games, 0, 0)
    with pytest.raises(RuntimeError, match=r"the environment atari:Breakout failed when .*stack smashed"):
        act()
    with pytest.raises(RuntimeError, match=r"the environments failed before .*atari:Breakout"):
        again()
    games.close()


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are counted in /proc")
@pytest.mark.parametrize("in_flight", [False, True])
def test_closing_ends_the_threads(in_flight: bool) -> None:
    before = threads()
    games = Atari("Pong", 3, num_threads=3)
    assert threads() > before  # ale-py starts no more than there are cores
    if in_flight:
        games.start([0, 1, 2], [1, 2, 3])
        games.send(torch.tensor([0, 0, 0]))
    games.close()
    games.close()
    assert threads() == before
    with pytest.raises(RuntimeError, match="the environments are closed"):
        games.start([0], [1])


@pytest.mark.parametrize("missing", ["ale_py", "gymnasium"])
def test_without_its_library_it_is_said_how_to_install_it(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    if missing == "gymnasium":
        monkeypatch.delattr(ale_py, "AtariVectorEnv")
    with pytest.raises(ImportError, match=r"ale-py with gymnasium.*pip install 'hare-tortoise\[rl\]'"):
        Atari("Pong")
