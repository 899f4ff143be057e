"""Atari-100k on one GPU: gradient steps of a population, its games, and what a whole run would take.

Runs from a checkout without installing anything but torch, ale-py, gymnasium and their needs, in two parts of at most
nine minutes:

    python benchmarks/atari_gpu.py updates --out updates.json
    python benchmarks/atari_gpu.py games --updates updates.json

`--device cpu --seconds 2 --agents 1,2 --capacity 2000` tries the script out where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

from hare_tortoise.rl.agent import build_agent
from hare_tortoise.rl.atari import ATARI_100K
from hare_tortoise.rl.building import build_population
from hare_tortoise.rl.environments import legal_actions, make_environments
from hare_tortoise.rl.population import Graphed
from hare_tortoise.rl.recipes import find_agent
from hare_tortoise.rl.replay import Replay
from hare_tortoise.rl.ring import GOES_ON
from hare_tortoise.rl.training import Training
from hare_tortoise.rl.trial import AgentTrial, Judging
from hare_tortoise.rl.update import Draws, Loop

METHOD = "hare-tortoise(decay=0.999, reset_every=1000)"
CONVOLUTIONS = (
    (4, 8, 20),
    (32, 4, 9),
    (64, 3, 7),
)  # channels read, kernel, rows and columns given: Nature, VALID
EPISODE = 1_500  # steps of an average episode of evaluation, by which that is projected
STEPS = 100_000


def population(agents: int, given: argparse.Namespace) -> Training:
    """Agents of the 26 games in turn, with a replay full of noise."""
    recipe = find_agent("drq").replace(capacity=given.capacity, warm_up=20, epsilon=0.01)
    games = [ATARI_100K[place % len(ATARI_100K)] for place in range(agents)]
    trials = [
        AgentTrial(recipe, (f"atari:{game}",), METHOD, place, Judging(measure_every=None))
        for place, game in enumerate(games)
    ]
    training = build_population(trials, given.device)
    fill(training.replay)
    return training


def fill(replay: Replay) -> None:
    """Put frames of noise into every slot: one chain without an end."""
    agents, size = replay.agents, replay.capacity
    for row in replay.frames:
        row.random_(0, 256)
    replay.load_state_dict(
        {
            "of": replay.settings(),
            "written": [size] * agents,
            "steps": [size] * agents,
            "chain": [0] * agents,
            "age": [replay.stack - 1] * agents,
            "open": [False] * agents,
            "actions": torch.zeros(agents, size, dtype=torch.int32),
            "rewards": torch.randn(agents, size),
            "ages": torch.full((agents, size), replay.stack - 1, dtype=torch.int8),
            "kinds": torch.full((agents, size), GOES_ON, dtype=torch.uint8),
        }
    )


def wait(device: str) -> None:
    """Wait for the device."""
    if device != "cpu":
        torch.cuda.synchronize()


def rate(step: Callable[[], int], seconds: float, device: str) -> float:
    """How often per second something is done, by what each call says it has done."""
    for _ in range(24 if seconds > 1 else 3):
        step()
    wait(device)
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        count += step()
        if count % 64 < 2:
            wait(device)  # or the host would run far ahead
    wait(device)
    return count / (time.perf_counter() - begun)


def stepping(training: Training) -> Callable[[], int]:
    """The gradient steps of one step of a population, counted as the training counts them."""
    engine = training.engine

    def step() -> int:
        if isinstance(engine, Graphed):
            made = len(engine.several(training.replay, engine.count))
        else:
            generators = training.draws["sample"]
            batch = training.replay.sample(32, generators, n_step=10, discount=0.99)
            engine.update(batch, Draws(training.draws["augment"], training.draws["noise"]))
            made = 1
        for _ in range(made):
            for agent in training.agents:
                agent.keeping.after_update()
        return made

    return step


def alone(seconds: float, capacity: int, device: str, seed: int, answers: Any) -> None:
    """Gradient steps per second of one agent on plain modules, in a process of its own."""
    torch.set_num_threads(1)
    recipe = find_agent("drq").replace(capacity=capacity)
    environments = make_environments(["atari:Pong"])
    agent = build_agent(recipe, environments.spaces[0], METHOD, seed, device=device)
    replay = Replay(1, capacity, (84, 84), torch.uint8, stack=4, device=device)
    fill(replay)
    engine, draws = Loop([agent]), [torch.Generator(device).manual_seed(seed)]

    def step() -> int:
        engine.update(replay.sample(32, draws, n_step=10, discount=0.99), Draws(draws, draws))
        agent.keeping.after_update()
        return 1

    answers.put(rate(step, seconds, device))


def beside_each_other(count: int, given: argparse.Namespace) -> float:
    """Gradient steps per second of all of some processes with an agent each."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    settings = min(given.seconds, 30.0), min(given.capacity, 20_000), given.device
    workers = [context.Process(target=alone, args=(*settings, seed, answers)) for seed in range(count)]
    for worker in workers:
        worker.start()
    total = sum(answers.get() for _ in workers)
    for worker in workers:
        worker.join()
    return float(total)


def bound(training: Training, given: argparse.Namespace) -> dict[str, float]:
    """The least time of a gradient step of all: its operations, or its bytes, at the rates of this device."""
    agents = len(training.agents)
    weights = sum(parameter.numel() for parameter in training.agents[0].online.parameters())
    linear = weights - sum(
        out * read * k * k for (read, k, _), out in zip(CONVOLUTIONS, (32, 64, 64), strict=True)
    )
    convolved = sum(
        out * read * k * k * places**2
        for (read, k, places), out in zip(CONVOLUTIONS, (32, 64, 64), strict=True)
    )
    # three forwards, and a backward that counts twice
    operations = 2 * 5 * 32 * (linear + convolved) * agents
    patches = sum(read * k * k * places**2 for read, k, places in CONVOLUTIONS) * 32 * 2
    # Adam reads four and writes three, the average reads two and writes one, two casts read and write; gradients
    moved = (weights * (4 * 10 + 2 * 6 + 4 * 2) + patches * (2 * 3 + 3)) * agents
    arithmetic, bandwidth = speeds(given.device)
    return {
        "by operations, ms": 1e3 * operations / arithmetic,
        "by bytes, ms": 1e3 * moved / bandwidth,
        "arithmetic, TFLOP/s": arithmetic / 1e12,
        "bandwidth, TB/s": bandwidth / 1e12,
    }


def speeds(device: str) -> tuple[float, float]:
    """Operations per second of a large product in half precision, and bytes per second of a copy."""
    size, length = (8_192, 1 << 30) if device != "cpu" else (512, 1 << 24)
    dtype = torch.bfloat16 if device != "cpu" else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    source = torch.empty(length, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)

    def product() -> int:
        a @ b
        return 1

    def copy() -> int:
        target.copy_(source)
        return 1

    return 2 * size**3 * rate(product, 2.0, device), 2 * length * rate(copy, 2.0, device)


def updates(given: argparse.Namespace) -> dict[str, Any]:
    """Gradient steps per second of populations, against processes and against the bound."""
    found: dict[str, Any] = {}
    for agents in given.agents:
        training = population(agents, given)
        per_second = rate(stepping(training), given.seconds, given.device)
        least = bound(training, given)
        milliseconds = 1e3 / per_second
        memory = torch.cuda.max_memory_allocated() / 2**30 if given.device != "cpu" else 0.0
        found[str(agents)] = {
            "ms for a gradient step of all": milliseconds,
            "gradient steps per second, all agents together": per_second * agents,
            "memory, GiB": memory,
            **least,
            "times the bound": milliseconds / max(least["by operations, ms"], least["by bytes, ms"]),
        }
        print(agents, "agents:", json.dumps(found[str(agents)]), flush=True)
        training.close()
        del training
    count = min(8, os.cpu_count() or 1)
    together = beside_each_other(count, given)
    found["processes"] = {"count": count, "gradient steps per second, all together": together}
    print(count, "processes with an agent each:", together, "gradient steps per second", flush=True)
    return found


def games(given: argparse.Namespace) -> dict[str, Any]:
    """Emulators, evaluation and the whole of the training at rate, and what a benchmark would take."""
    found: dict[str, Any] = {}
    names = [f"atari:{game}" for game in ATARI_100K]
    for copies in (1, 5):
        environments = make_environments(names * copies, padded=True)
        legal = legal_actions(environments.spaces).float()

        def at_random(_: torch.Tensor, legal: torch.Tensor = legal) -> torch.Tensor:
            return legal.multinomial(1).squeeze(1)

        found[f"steps of {len(names) * copies} games, per second"] = played(
            environments, at_random, given.seconds
        )
        environments.close()
    together = min(len(names), max(given.agents))
    training = population(together, given)
    agent = training.agents[0]
    environments = make_environments([f"atari:{ATARI_100K[0]}"] * 100, padded=True)
    stacks = torch.zeros(100, 4, 84, 84, dtype=torch.uint8)
    draws = torch.Generator()

    def act(observations: torch.Tensor) -> torch.Tensor:
        stacks[:, :-1] = stacks[:, 1:].clone()
        stacks[:, -1] = observations
        return agent.choose(stacks, 0.001, draws)

    judged = played(environments, act, given.seconds)
    environments.close()
    found["steps of an evaluation in 100 games, per second"] = judged

    def advance() -> int:
        training.advance()
        return 1

    def choose() -> int:
        training.engine.act(training.stacks, 0.01, training.draws["play"], training.draws["noise"])
        return 1

    acting = 1e3 / rate(choose, given.seconds, given.device)
    found[f"ms to choose the actions of {together} agents"] = acting
    whole = rate(advance, given.seconds, given.device)
    found[f"steps of {together} agents in training, per second"] = whole
    training.close()
    trained, evaluated = STEPS / whole / 60, len(names) * 100 * EPISODE / judged / 60
    found[f"projected: minutes for {together} of 26 games x 1 seed"] = trained + evaluated
    found["of that evaluation"] = evaluated
    found["and with curves"] = trained + 2 * evaluated  # ten episodes in ten places are as many as at the end
    if given.updates is not None and "130" in (known := json.loads(given.updates.read_text())):
        step = known["130"]["ms for a gradient step of all"]
        play = 130 / found["steps of 130 games, per second"] * 1e3
        chosen = 130 / together * acting
        minutes = STEPS * (chosen + max(2 * step, play)) / 6e4 + 5 * evaluated
        found["projected: minutes for 26 games x 5 seeds"] = minutes
        found["projected: the same with curves"] = minutes + 5 * evaluated
    for name, value in found.items():
        print(f"{name}: {value:,.2f}", flush=True)
    return found


def played(environments: Any, act: Callable[[torch.Tensor], torch.Tensor], seconds: float) -> float:
    """Steps per second of all environments."""
    count, done, episode = len(environments.names), 0, 0
    arrival = environments.start(list(range(count)), list(range(count)))
    observations = arrival.observation
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        environments.send(act(observations))
        arrival = environments.receive()
        observations, done = arrival.observation, done + count
        over = (arrival.ended | arrival.truncated).nonzero().flatten().tolist()
        if over:
            episode += 1
            observations[over] = environments.start(
                over, [episode * 1_000 + place for place in over]
            ).observation
    return done / (time.perf_counter() - begun)


def main(written: Sequence[str]) -> int:
    """Measure one of the two parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("updates", "games"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement")
    parser.add_argument(
        "--agents", type=lambda text: [int(part) for part in text.split(",")], default=[1, 26, 130]
    )
    parser.add_argument("--capacity", type=int, default=STEPS, help="of the replay of each agent")
    parser.add_argument("--updates", type=Path, help="what the first part has written, for the projection")
    parser.add_argument("--out", type=Path, help="write the figures to this file too")
    given = parser.parse_args(written)
    found = {"updates": updates, "games": games}[given.part](given)
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
