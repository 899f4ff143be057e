"""The averaging step on 400 small tensors, where the calls cost more than the arithmetic.

Run it with `python -m benchmarks.small_tensors`.
"""

from __future__ import annotations

import torch
from torch import nn

from benchmarks import peers
from benchmarks.harness import Outcome, alternate, median_row, ratio_row, script

THREADS = 1


def many_small_tensors(count: int) -> nn.Module:
    """A module of `count` parameters of 1 to 4096 elements each."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(1, 4097, (count,), generator=generator).tolist()
    return nn.ParameterList(nn.Parameter(torch.randn(size, generator=generator)) for size in sizes)


def measure(quick: bool) -> Outcome:
    """Time every way of averaging, in turn, on tensors of the same sizes."""
    torch.set_num_threads(THREADS)
    count, rounds, calls = (20, 3, 2) if quick else (400, 30, 30)
    model = many_small_tensors(count)
    times = alternate(
        {
            "hare-tortoise": peers.hare_tortoise(model),
            "AveragedModel (get_ema_avg_fn)": peers.averaged_model(model, foreach=False),
            "AveragedModel (get_ema_multi_avg_fn)": peers.averaged_model(model),
            "ema-pytorch": peers.ema_pytorch(model, foreach=False),
            "ema-pytorch (use_foreach)": peers.ema_pytorch(model, foreach=True),
            "loop of lerp_": peers.lerp_loop(model),
            "_foreach_lerp_ on ready lists": peers.ready_lists(model),
        },
        rounds=rounds,
        calls=calls,
    )
    rows = [median_row(name, [1e3 * value for value in values], "ms") for name, values in times.items()]
    targets = {"AveragedModel (get_ema_avg_fn)": 5.0, "ema-pytorch (use_foreach)": 1.0}
    for name in list(times)[1:]:
        ratio = ratio_row(
            f"{name} / hare-tortoise", times[name], times["hare-tortoise"], at_least=targets.get(name)
        )
        rows.append(ratio)
    sizes = [parameter.numel() for parameter in model.parameters()]
    return Outcome(
        title="Many small tensors",
        setting=(
            f"{count} tensors of 1 to {max(sizes)} elements, {sum(sizes):,} in all, {THREADS} thread; "
            f"medians of {rounds} rounds of {calls} calls, the candidates taking turns. Hare & Tortoise is "
            "timed as it is used, by the hook that it registers with the optimizer."
        ),
        rows=rows,
    )


if __name__ == "__main__":
    script(measure, __doc__)
