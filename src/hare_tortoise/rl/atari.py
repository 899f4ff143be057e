"""Atari-100k: the games of ale-py by the benchmark's protocol, each episode a function of its seed and actions."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from hare_tortoise.rl.interface import Arrival, Space
from hare_tortoise.rl.lockstep import Lockstep, naming

ATARI_100K = (
    "Alien",
    "Amidar",
    "Assault",
    "Asterix",
    "BankHeist",
    "BattleZone",
    "Boxing",
    "Breakout",
    "ChopperCommand",
    "CrazyClimber",
    "DemonAttack",
    "Freeway",
    "Frostbite",
    "Gopher",
    "Hero",
    "Jamesbond",
    "Kangaroo",
    "Krull",
    "KungFuMaster",
    "MsPacman",
    "Pong",
    "PrivateEye",
    "Qbert",
    "RoadRunner",
    "Seaquest",
    "UpNDown",
)
ACTIONS = 18
FRAMES_PER_STEP = 4
MAX_STEPS = 27_000
# ale-py has them for two players only, and ends the process when one of them is loaded for one.
_TWO_PLAYERS = frozenset({"combat", "joust", "maze_craze", "warlords"})


class Atari(Lockstep):
    """One game of Atari, in as many emulators as wanted, by the protocol of Atari-100k.

    An action is held for 4 frames; the observation is the maximum of the last 2, grey, 84 × 84, uint8. No sticky
    actions; the minimal actions of the game; rewards as the game gives them. Before an episode the emulator makes up to
    30 no-ops, how many is a function of the seed (ale-py: 0 to 29 frames), and does not press fire. `ended` is the end
    of the game; a lost life is seen in `lives` alone, and does not restart the game. An episode is cut after 27,000
    steps (108,000 frames).

    Args:
        game: in any spelling: Assault, ms_pacman, "Ms. Pac-Man".
        count: how many, 1 or more.
        padded: take actions by their number among the 18 of the joystick, of which the minimal ones are legal.
        max_steps: after which an episode is cut, 1 or more.
        noops: how many at most, 0 or more.
        num_threads: of the emulators, 1 or more; what they do does not depend on it.

    Raises:
        ValueError: there is no such game, or a number is out of its range.
        ImportError: ale-py or gymnasium is not installed.
        RuntimeError: the emulators could not be made, or failed; the message names the game.

    References:
        Kaiser et al., "Model-Based Reinforcement Learning for Atari", ICLR 2020, arXiv 1903.00374 (the 26 games and the
        100,000 steps). Machado et al., "Revisiting the Arcade Learning Environment", JAIR 2018, arXiv 1709.06009.

    Example:
        >>> games = Atari("breakout", 2)
        >>> games.spaces[0]
        Space(shape=(84, 84), dtype=torch.uint8, actions=4, lives=True, legal=None)
        >>> games.start([0, 1], [5, 6]).lives
        tensor([5, 5])
        >>> games.close()
    """

    def __init__(
        self,
        game: str,
        count: int = 1,
        *,
        padded: bool = False,
        max_steps: int = MAX_STEPS,
        noops: int = 30,
        num_threads: int = 1,
    ) -> None:
        least = {"count": 1, "max_steps": 1, "noops": 0, "num_threads": 1}
        given = {"count": count, "max_steps": max_steps, "noops": noops, "num_threads": num_threads}
        for what, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < least[what]:
                raise ValueError(f"{what} is {value!r}, expected a whole number of at least {least[what]}")
        name, library = f"atari:{find_game(game)}", _library()
        with naming(name, "was made"):
            self._emulators: Any = library.AtariVectorEnv(
                _roms()[_folded(game)],
                count,
                num_threads=num_threads,
                max_num_frames_per_episode=FRAMES_PER_STEP * max_steps,
                repeat_action_probability=0.0,
                full_action_space=False,
                grayscale=True,
                img_height=84,
                img_width=84,
                stack_num=1,
                frameskip=FRAMES_PER_STEP,
                maxpool=True,
                noop_max=noops,
                episodic_life=False,
                life_loss_info=False,
                reward_clipping=False,
                use_fire_reset=False,
            )
            # Some can be started alone only after all were started once; and it tells whether there are lives.
            _, told = self._emulators.reset()
        minimal = tuple(int(action.value) for action in self._emulators.ale.get_action_set())
        space = Space(
            (84, 84),
            torch.uint8,
            len(minimal),
            lives=bool((told["lives"] > 0).any()),
            legal=minimal if padded else None,
        )
        super().__init__([name] * count, [space] * count)
        self._index = {number: index for index, number in enumerate(space.numbers)}

    def _start(self, which: list[int], seeds: list[int]) -> Arrival:
        mask = np.zeros(len(self.names), dtype=np.bool_)
        mask[which] = True
        seed = np.zeros(len(self.names), dtype=np.int64)
        seed[which] = seeds
        with naming(self.names[0], f"was started with the seeds {seeds}"):
            # The emulators would restart by themselves in the step after an end; started here, they do not.
            observation, told = self._emulators.reset(seed=seed[mask], options={"reset_mask": mask})
        none = np.zeros(len(self.names), dtype=np.bool_)
        return _arrival(observation, none, none, none, told["lives"]).rows(which)

    def _send(self, actions: list[int]) -> None:
        indices = [self._index[action] for action in actions]
        with naming(self.names[0], f"was sent the actions {actions}"):
            self._emulators.send(np.array(indices, dtype=np.int64))

    def _receive(self) -> Arrival:
        with naming(self.names[0], "was to answer"):
            observation, reward, ended, truncated, told = self._emulators.recv()
        return _arrival(observation, reward, ended, truncated & ~ended, told["lives"])

    def _close(self) -> None:
        self._emulators.close()
        # Their threads end with them.
        self._emulators = None


def find_game(name: str) -> str:
    """The name of a game, as the field writes it, from any spelling of it.

    Raises:
        ValueError: ale-py has no such game for one player; the nearest names are in the message.
        ImportError: ale-py is not installed.

    Example:
        >>> find_game("ms_pacman"), find_game("Up'n Down"), find_game("BANK HEIST")
        ('MsPacman', 'UpNDown', 'BankHeist')
    """
    roms = _roms()
    key = _folded(name)
    if key in roms:
        return _written(roms[key])
    near = [_written(roms[match]) for match in difflib.get_close_matches(key, roms, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise ValueError(
        f"unknown game of Atari {name!r}; {hint}There are {len(roms)} in ale-py; those of Atari-100k are: "
        f"{', '.join(ATARI_100K)}"
    )


def _folded(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _written(rom: str) -> str:
    return rom.title().replace("_", "")


@cache
def _roms() -> dict[str, str]:
    """The name of a game's file by its folded name, for all games of one player."""
    from_library: Sequence[str] = _library().roms.get_all_rom_ids()
    return {_folded(rom): rom for rom in from_library if rom not in _TWO_PLAYERS}


def _library() -> Any:
    try:
        import ale_py
        import ale_py.roms

        if not hasattr(ale_py, "AtariVectorEnv"):
            # ale-py imports without gymnasium, but has no vector of environments then.
            import gymnasium  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Atari's games are those of ale-py with gymnasium, which are not installed: pip install "
            "'hare-tortoise[rl]'"
        ) from error
    return ale_py


def _arrival(observation: Any, reward: Any, ended: Any, truncated: Any, lives: Any) -> Arrival:
    return Arrival(
        torch.from_numpy(observation[:, 0]),
        torch.from_numpy(reward).to(torch.float32),
        torch.from_numpy(ended),
        torch.from_numpy(truncated),
        torch.from_numpy(lives).to(torch.int64),
    )
