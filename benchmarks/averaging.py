"""The averaging step on a ResNet-18 (62 tensors, 11.2 million parameters) against its peers and its bound.

Run it with `python -m benchmarks.averaging`.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks import peers
from benchmarks.harness import Outcome, Row, alternate, median_row, ratio_row, script
from hare_tortoise.networks import mlp, resnet18

THREADS = 1


def measure(quick: bool) -> Outcome:
    """Time every way of averaging, in turn, on the same model."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    model: nn.Module = mlp((64,), 10) if quick else resnet18((3, 32, 32), 10)
    rounds, calls = (3, 1) if quick else (25, 10)
    rows = [*_float32(model, rounds, calls), *_bfloat16(model, rounds, calls)]
    rows += _share_of_a_step(model, quick)
    tensors = [parameter.numel() for parameter in model.parameters()]
    return Outcome(
        title="The averaging step",
        setting=(
            f"{len(tensors)} tensors, {sum(tensors):,} parameters, {THREADS} thread; medians of {rounds} "
            f"rounds of {calls} calls, the candidates taking turns. Hare & Tortoise is timed as it is "
            "used, by the hook that it registers with the optimizer, and with all buffers followed; a "
            "reset has a row of its own. `AveragedModel` copies the buffers, ema-pytorch averages the "
            "floating ones, the loops and lists hold the parameters alone."
        ),
        rows=rows,
    )


def _float32(model: nn.Module, rounds: int, calls: int) -> list[Row]:
    times = alternate(
        {
            "hare-tortoise": peers.hare_tortoise(model),
            "AveragedModel (get_ema_multi_avg_fn)": peers.averaged_model(model),
            "ema-pytorch": peers.ema_pytorch(model, foreach=False),
            "ema-pytorch (use_foreach)": peers.ema_pytorch(model, foreach=True),
            "loop of lerp_": peers.lerp_loop(model),
            "_foreach_lerp_ on ready lists": peers.ready_lists(model),
            "one lerp_ on a flat tensor": peers.flat(model),
            "a reset of the hare (once in reset_every steps)": peers.reset(copy.deepcopy(model)),
        },
        rounds=rounds,
        calls=calls,
    )
    ours = times["hare-tortoise"]
    rows = [median_row(name, [1e3 * value for value in values], "ms") for name, values in times.items()]
    for name, values in list(times.items())[1:5]:
        rows.append(ratio_row(f"{name} / hare-tortoise", values, ours, at_least=1.0))
    ready, bound = times["_foreach_lerp_ on ready lists"], times["one lerp_ on a flat tensor"]
    rows.append(ratio_row("hare-tortoise / _foreach_lerp_ on ready lists", ours, ready, at_most=1.15))
    rows.append(ratio_row("hare-tortoise / one lerp_ on a flat tensor", ours, bound))
    return rows


def _bfloat16(model: nn.Module, rounds: int, calls: int) -> list[Row]:
    narrow = copy.deepcopy(model).bfloat16()
    times = alternate(
        {
            "hare-tortoise": peers.hare_tortoise(narrow),
            "loop of lerp_ with a cast": peers.float32_lerp_loop(narrow),
            "two foreach calls on ready lists": peers.ready_mixed_lists(narrow),
        },
        rounds=rounds,
        calls=calls,
    )
    rows = [
        median_row(f"bfloat16 hare, float32 tortoise: {name}", [1e3 * value for value in values], "ms")
        for name, values in times.items()
    ]
    ours, *peers_of_ours = times
    return rows + [
        ratio_row(f"bfloat16 hare: {name} / hare-tortoise", times[name], times[ours])
        for name in peers_of_ours
    ]


def _share_of_a_step(model: nn.Module, quick: bool) -> list[Row]:
    hare = copy.deepcopy(model)
    shape = (4, 64) if quick else (256, 3, 32, 32)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(*shape, generator=generator)
    targets = torch.randint(10, (shape[0],), generator=generator)
    optimizer = torch.optim.AdamW(hare.parameters(), lr=1e-3, fused=True)

    def train() -> None:
        optimizer.zero_grad()
        cross_entropy(hare(inputs), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    times = alternate({"train": train, "average": peers.hare_tortoise(hare)}, rounds=3, calls=1, warm_up=1)
    seconds = [1e3 * value for value in times["train"]]
    shares = ratio_row("", times["average"], times["train"])
    return [
        median_row(f"a training step without averaging, batch {shape[0]}", seconds, "ms"),
        Row(what="averaging as a share of it", value=100 * shares.value, unit="%"),
    ]


if __name__ == "__main__":
    script(measure, __doc__)
