"""Data that arrive in parts and are kept: the paper's warm start, and its continual learning with full access."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hare_tortoise.streams.label_noise import is_number
from hare_tortoise.streams.scenarios.accumulating import Accumulating, Order
from hare_tortoise.streams.source import Source
from hare_tortoise.streams.stream import Stream

PAPER_NOISE = (0.5, 0.4, 0.4, 0.3, 0.3, 0.2, 0.2, 0.1, 0.1, 0.0)


def warm_start(
    source: Source,
    *,
    first: float = 0.1,
    label_noise: float = 0.0,
    validation: float = 0.0,
    order: Order = "random",
    seed: int = 0,
) -> Stream:
    """A part of the data first, with noisy labels if asked for, then all of it with its own labels.

    The paper's warm start takes 10 % of the data and 50 % noise: `label_noise=0.5`. In the second chunk the
    first part is there again, with clean labels.

    Args:
        source: the data.
        first: share of the training set in the first chunk, above 0 and below 1.
        label_noise: share of wrong labels in the first chunk, in [0, 1]; the second has none.
        validation: share that is set aside for choosing, in [0, 1); labelled like what is trained on.
        order: "random", or "time": as the examples came, where the source knows.
        seed: what order and noise are drawn from.

    Returns:
        A stream of two chunks.

    Raises:
        ValueError: an argument lies outside its range, or a chunk would be empty.

    Reference:
        Lee et al., "Slow and Steady Wins the Race", ICML 2024, arXiv 2406.02596; after Ash & Adams,
        "On Warm-Starting Neural Network Training", NeurIPS 2020, arXiv 1910.08475.

    Example:
        >>> from hare_tortoise.streams import load_source, warm_start
        >>> stream = warm_start(load_source("digits"), first=0.5)
        >>> [(chunk.name, len(chunk.train)) for chunk in stream]
        [('50 %', 700), ('100 %', 1400)]
    """
    if not is_number(first) or not 0 < first < 1:
        raise ValueError(
            f"first is {first!r}: give the share of data in the first chunk, above 0 and below 1"
        )
    count = len(source.train_targets)
    return Accumulating(
        source,
        name="warm-start",
        ends=(round(first * count), count),
        names=(f"{100 * first:.4g} %", "100 %"),
        noise=(label_noise, 0.0),
        validation=validation,
        order=order,
        seed=seed,
    )


def growing(
    source: Source,
    *,
    chunks: int = 10,
    label_noise: Sequence[float] | float = 0.0,
    validation: float = 0.0,
    order: Order = "random",
    seed: int = 0,
) -> Stream:
    """Data arrive in equal parts and accumulate, with noisy labels if asked for.

    The paper's continual learning with full access: ten parts, `label_noise=PAPER_NOISE`, 0.5 falling to 0.0.
    The wrong labels of old examples are drawn again in each chunk, as in the official code.

    Args:
        source: the data.
        chunks: number of parts, 1 or more.
        label_noise: share of wrong labels in each chunk, in [0, 1]; or one number for all.
        validation: share that is set aside for choosing, in [0, 1); labelled like what is trained on.
        order: "random", or "time": as the examples came, where the source knows.
        seed: what order and noise are drawn from.

    Returns:
        A stream of `chunks` chunks.

    Raises:
        ValueError: an argument lies outside its range, or a chunk would be empty.

    Reference:
        Lee et al., "Slow and Steady Wins the Race", ICML 2024, arXiv 2406.02596.

    Example:
        >>> from hare_tortoise.streams import growing, load_source
        >>> stream = growing(load_source("digits"), chunks=4)
        >>> [len(chunk.train) for chunk in stream]
        [350, 700, 1050, 1400]
    """
    return Accumulating(
        source,
        name="growing",
        **equal_parts(len(source.train_targets), chunks),
        noise=for_each_chunk(label_noise, chunks),
        validation=validation,
        order=order,
        seed=seed,
    )


def equal_parts(count: int, chunks: int) -> dict[str, Any]:
    """Where each of `chunks` equal parts of `count` examples ends, and what to call what came by then.

    Raises:
        ValueError: `chunks` is not a whole number of at least 1.
    """
    if isinstance(chunks, bool) or not isinstance(chunks, int) or chunks < 1:
        raise ValueError(f"chunks is {chunks!r}: give a whole number of at least 1")
    return {
        "ends": [round(count * (index + 1) / chunks) for index in range(chunks)],
        "names": [f"{100 * (index + 1) / chunks:.4g} %" for index in range(chunks)],
    }


def for_each_chunk(label_noise: object, chunks: int) -> tuple[float, ...]:
    """One share of noise for each chunk, of as many that are given, or of one number."""
    if isinstance(label_noise, (int, float)):
        return (label_noise,) * chunks
    if isinstance(label_noise, str) or not isinstance(label_noise, Iterable):
        raise ValueError(f"label_noise is {label_noise!r}: give a number between 0 and 1, or a tuple of them")
    noise = tuple(label_noise)
    if len(noise) != chunks:
        raise ValueError(
            f"label_noise has {len(noise)} values for {chunks} chunks: give {chunks} of them, or one number for all"
        )
    return noise
