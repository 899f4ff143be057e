"""The effective rank of a matrix of features against the bare decomposition that it needs.

Run it with `python -m benchmarks.effective_rank`.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from benchmarks.harness import Outcome, Row, alternate, median_row, ratio_row, script
from hare_tortoise.measures import effective_rank

THREADS = 1
SAMPLES, FEATURES = 4096, 512


def features(samples: int, width: int) -> Tensor:
    """Features behind a ReLU, of decaying importance, a tenth of them dead: float32, of a usual spectrum."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.logspace(0, -3, width)[torch.randperm(width, generator=generator)]
    mixed = torch.randn(samples, width, generator=generator) * scale
    mixed = mixed @ torch.randn(width, width, generator=generator)
    mixed[:, : width // 10] = -1.0
    return mixed.relu()


def measure(quick: bool) -> Outcome:
    """Time the ways of computing it in turns, and how far they are from the SVD in float64."""
    torch.set_num_threads(THREADS)
    samples, width, rounds = (64, 16, 3) if quick else (SAMPLES, FEATURES, 25)
    matrix = features(samples, width)
    candidates = {
        "effective_rank": partial(effective_rank, matrix),
        'effective_rank (method="svd")': partial(effective_rank, matrix, method="svd"),
        "torch.linalg.svdvals": partial(torch.linalg.svdvals, matrix),
        "effective_rank of the transpose": partial(effective_rank, matrix.T),
        "torch.linalg.svdvals of the transpose": partial(torch.linalg.svdvals, matrix.T),
        "effective_rank in float64": partial(effective_rank, matrix.double()),
        "torch.linalg.svdvals in float64": partial(torch.linalg.svdvals, matrix.double()),
    }
    times = alternate(candidates, rounds=rounds, calls=1)
    bare = times["torch.linalg.svdvals"]
    rows = [median_row(name, [1e3 * value for value in values], "ms") for name, values in times.items()]
    rows += [
        ratio_row("effective_rank / torch.linalg.svdvals", times["effective_rank"], bare, at_most=1.0),
        ratio_row(
            'effective_rank (method="svd") / torch.linalg.svdvals',
            times['effective_rank (method="svd")'],
            bare,
            at_most=1.2,
        ),
        ratio_row(
            "effective_rank / torch.linalg.svdvals, both of the transpose",
            times["effective_rank of the transpose"],
            times["torch.linalg.svdvals of the transpose"],
            at_most=1.2,
        ),
        ratio_row(
            "effective_rank / torch.linalg.svdvals, both in float64",
            times["effective_rank in float64"],
            times["torch.linalg.svdvals in float64"],
            at_most=1.2,
        ),
    ]
    exact = float(effective_rank(matrix.double()))
    for method in ("gram", "svd"):
        off = abs(float(effective_rank(matrix, method=method)) - exact) / exact
        rows.append(
            Row(what=f"relative error against float64, {method}", value=off, unit="", at_most=2e-6 * width)
        )
    return Outcome(
        title="Effective rank",
        setting=(
            f"Of a {samples} × {width} matrix of features in float32, {THREADS} thread; medians of {rounds} rounds, "
            f"the candidates taking turns. Its effective rank is {exact:.1f}. By default float32 is computed by the "
            "Gram matrix in float64, float64 by the SVD."
        ),
        rows=rows,
    )


if __name__ == "__main__":
    script(measure, __doc__)
