"""A training step with kernels whose channels lie last, as the laboratory lays them out on a CPU, and first.

Run it with `python -m benchmarks.channels_last`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.harness import Outcome, alternate, median_row, ratio_row, script
from hare_tortoise.lab.building import laid_out
from hare_tortoise.networks import NETWORKS

THREADS = 1
BATCHES = {"narrow-resnet": 128, "resnet18": 16}


def stepping(network: nn.Module, batch: int) -> Callable[[], None]:
    """A training step of a network on batches of random images."""
    optimizer = torch.optim.Adam(network.parameters())
    inputs, targets = torch.randn(batch, 3, 32, 32), torch.randint(10, (batch,))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(inputs), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def measure(quick: bool) -> Outcome:
    """Time the two layouts of each network in turns."""
    torch.set_num_threads(THREADS)
    rows = []
    for name, batch in BATCHES.items():
        batch, rounds = (2, 2) if quick else (batch, 9)
        build = NETWORKS[name]
        candidates = {
            "channels last": stepping(laid_out(build((3, 32, 32), 10)), batch),
            "channels first": stepping(build((3, 32, 32), 10), batch),
        }
        times = alternate(candidates, rounds=rounds, calls=1)
        rows += [
            median_row(f"{name}, {layout}", [1e3 * value for value in values], "ms")
            for layout, values in times.items()
        ]
        rows.append(
            ratio_row(
                f"{name}, channels last / first",
                times["channels last"],
                times["channels first"],
                at_most=0.9,
            )
        )
    batches = ", ".join(f"{name} at {batch}" for name, batch in BATCHES.items())
    return Outcome(
        title="Layout of convolutions",
        setting=f"Adam on 32 x 32 images, {THREADS} thread, batches: {batches}; 9 rounds in turns.",
        rows=rows,
    )


if __name__ == "__main__":
    script(measure, __doc__)
