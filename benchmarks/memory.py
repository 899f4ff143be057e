"""Peak memory of training with the pair and without it, each in a process of its own.

Run it with `python -m benchmarks.memory`.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from benchmarks.harness import Outcome, Row, quartiles, script
from hare_tortoise.networks import mlp

THREADS = 1
STEPS = 6
# One arena and a fixed threshold above which blocks are mapped singly and go back to the system when freed:
# by default glibc moves the threshold with what was freed before, and the peak with it.
ALLOCATOR = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
ROOT = Path(__file__).parent.parent


def network(quick: bool) -> torch.nn.Module:
    """A perceptron of 50 million parameters (of 0.2 million if quick)."""
    return mlp((784,), 10, hidden=(200, 200) if quick else (4800, 4800, 4800))


def train(with_pair: bool, quick: bool) -> None:
    """Train a few steps, with two resets, and print the peak resident size in bytes."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    model = network(quick)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    if with_pair:
        from hare_tortoise import HareTortoise

        HareTortoise(model, optimizer, decay=0.999, reset_every=STEPS // 2)
    inputs, targets = torch.randn(256, 784), torch.randint(10, (256,))
    for _ in range(STEPS):
        optimizer.zero_grad()
        cross_entropy(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    unit = 1 if sys.platform == "darwin" else 1024
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def peak(with_pair: bool, quick: bool) -> int:
    """Peak resident size in bytes of a fresh process that trains.

    The system starts a child's figure at its parent's, which is harmless as long as this process, which has
    loaded torch and trained nothing, stays below it.
    """
    command = [sys.executable, "-m", "benchmarks.memory", "--train", str(int(with_pair)), str(int(quick))]
    environment = {**os.environ, **ALLOCATOR}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"training for the peak memory failed:\n{done.stderr}")
    return int(done.stdout)


def measure(quick: bool) -> Outcome:
    """Compare the peaks of alternating processes."""
    rounds = 1 if quick else 3
    pairs = [(peak(False, quick), peak(True, quick)) for _ in range(rounds)]
    parameters = list(network(quick).parameters())
    tortoise = sum(parameter.numel() * parameter.element_size() for parameter in parameters)
    mebi = 2**20
    shares = [(with_pair - without) / tortoise for without, with_pair in pairs]
    rows = [
        Row(what="peak without", value=statistics.median(pair[0] for pair in pairs) / mebi, unit="MiB"),
        Row(what="peak with the pair", value=statistics.median(pair[1] for pair in pairs) / mebi, unit="MiB"),
        Row(what="the tortoise's tensors", value=tortoise / mebi, unit="MiB"),
        Row(
            what="difference of the peaks / the tortoise's bytes",
            value=statistics.median(shares),
            unit="x",
            spread=quartiles(shares),
            at_most=1.05,
        ),
    ]
    return Outcome(
        title="Peak memory",
        setting=(
            f"An MLP of {sum(p.numel() for p in parameters):,} parameters, {STEPS} steps of fused AdamW at "
            f"batch 256 with two resets, {THREADS} thread; peak resident sizes of processes that differ in "
            f"the pair alone, {rounds} of each in turn, medians."
        ),
        rows=rows,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        train(with_pair=sys.argv[2] == "1", quick=sys.argv[3] == "1")
    else:
        script(measure, __doc__)
