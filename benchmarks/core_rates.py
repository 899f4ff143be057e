"""What one core does in a second, for each kind of network: the constants of `hare_tortoise.lab.costs`.

    python -m benchmarks.core_rates

Trains warm start on generated data at two batch sizes, in this process with one thread, and takes processor time, so
that what else the machine does counts little. Of seconds a step, `beside + batch · operations / rate`, the two give
both.
"""

from __future__ import annotations

import time

import torch

from hare_tortoise.lab.building import build
from hare_tortoise.lab.costs import operations
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.training import Training
from hare_tortoise.lab.trial import Trial

NETWORKS = {
    "mlp(hidden=(100, 100, 100))": ((1, 28, 28), 10, (4, 256)),
    "mlp(hidden=(2000, 2000, 2000))": ((1, 28, 28), 10, (1, 64)),
    "narrow-resnet": ((3, 32, 32), 10, (4, 64)),
    "resnet18": ((3, 32, 32), 10, (2, 16)),
    "vgg16(head_hidden=(128, 128), width=8)": ((3, 32, 32), 200, (4, 64)),
    "vgg16": ((3, 64, 64), 200, (2, 8)),
    "vit-tiny(width=48, depth=4)": ((3, 32, 32), 100, (4, 64)),
    "vit-tiny": ((3, 32, 32), 100, (2, 16)),
}
STEPS = 20


def step_seconds(network: str, shape: tuple[int, ...], classes: int, batch: int) -> float:
    """Processor seconds of a step, the median of three trainings without their first."""
    rows = max(classes, STEPS * batch)
    recipe = Recipe(
        name="rate",
        methods=("warm-start",),
        epochs=1,
        batch_size=batch,
        source=f"generated(shape={shape}, classes={classes}, rows={rows}, test_rows=1)",
        scenario="growing(chunks=1)",
        network=network,
    )
    measured = []
    for _ in range(4):
        setup = build(Trial(recipe, "warm-start", 1.0, 0))
        begun = time.process_time()
        Training(setup).finish()
        measured.append((time.process_time() - begun) / sum(chunk.steps for chunk in setup.plan))
    return sorted(measured[1:])[1]


def main() -> None:
    """Print rate and overhead of each network."""
    torch.set_num_threads(1)
    print(f"one core, torch {torch.__version__}")
    print(f"{'network':40} {'rate, 1/s':>10} {'ms beside':>10} {'tensors':>8} {'µs a tensor':>12}")
    for network, (shape, classes, (few, many)) in NETWORKS.items():
        work = operations(network, shape, classes)
        less, more = (step_seconds(network, shape, classes, batch) for batch in (few, many))
        rate = (many - few) * work.operations / max(1e-9, more - less)
        beside = max(0.0, less - few * work.operations / rate)
        print(
            f"{network:40} {rate:10.2g} {1e3 * beside:10.2f} {work.tensors:8} {1e6 * beside / work.tensors:12.0f}"
        )


if __name__ == "__main__":
    main()
