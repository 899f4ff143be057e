"""Resamples of the runs of each game: drawing them, taking given ones, and what a function gives on them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .aggregates import Scores

Indices = NDArray[np.integer]
REPEATS = 10_000
BLOCK = 2**21  # numbers that are worked on at once


def resample(runs: int, games: int, *, repeats: int = REPEATS, seed: int = 0) -> Indices:
    """Draw which runs make up each resample, for each game by itself, with replacement.

    Args:
        runs: of each game, at least 1.
        games: at least 1.
        repeats: resamples, at least 1.
        seed: of a generator of its own, 0 or more; the same seed gives the same resamples.

    Returns:
        (repeats, runs, games), each in [0, runs).

    Raises:
        ValueError: A number out of its range.

    Example:
        >>> resample(3, 2, repeats=4).shape, int(resample(3, 2).max())
        ((4, 3, 2), 2)
    """
    return _draw(_generator(seed), runs, games, repeats)


def draws_of(matrix: Scores, indices: Indices | None, repeats: int | None, seed: int | None) -> Indices:
    """Resamples of one matrix: those given, or new ones."""
    if indices is not None:
        _no_other(repeats, seed)
        return _fitting("indices", indices, matrix)
    return resample(*matrix.shape, repeats=REPEATS if repeats is None else repeats, seed=seed or 0)


def draws_of_two(
    matrices: tuple[Scores, Scores],
    paired: bool,
    indices: Indices | tuple[Indices, Indices] | None,
    repeats: int | None,
    seed: int | None,
) -> tuple[Indices, Indices]:
    """Resamples of two matrices: the same for both where they are paired."""
    ours, theirs = matrices
    if indices is not None:
        _no_other(repeats, seed)
        if paired == isinstance(indices, tuple):
            raise ValueError(
                "indices: expected one array for paired runs, and a tuple of two, for ours and for theirs, where runs "
                f"are not paired; got {'two' if paired else 'one'} with paired={paired}"
            )
        first, second = indices if isinstance(indices, tuple) else (indices, indices)
        first, second = (
            _fitting("indices of ours", first, ours),
            _fitting("indices of theirs", second, theirs),
        )
        if len(first) != len(second):
            raise ValueError(
                f"indices: got {len(first)} and {len(second)} resamples, expected as many of both"
            )
        return first, second
    generator, repeats = _generator(seed or 0), REPEATS if repeats is None else repeats
    first = _draw(generator, len(ours), ours.shape[1], repeats)
    if paired:
        return first, first
    return first, _draw(generator, len(theirs), theirs.shape[1], repeats)


def _no_other(repeats: int | None, seed: int | None) -> None:
    if repeats is not None or seed is not None:
        raise ValueError(
            "repeats and seed: got one with indices, which are the resamples; leave out one or the other"
        )


def _fitting(name: str, indices: Indices, matrix: Scores) -> Indices:
    array = np.asarray(indices)
    if array.ndim != 3 or not len(array) or array.shape[1:] != matrix.shape or array.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: got {array.dtype} of shape {array.shape}, expected whole numbers of shape "
            f"(resamples, {', '.join(map(str, matrix.shape))})"
        )
    if array.min() < 0 or array.max() >= len(matrix):
        raise ValueError(
            f"{name}: got numbers from {array.min()} to {array.max()}, expected runs from 0 to {len(matrix) - 1}"
        )
    return array


def replicates(
    function: Callable[..., Scores],
    matrices: tuple[Scores, ...],
    draws: tuple[Indices, ...],
    shape: tuple[int, ...] = (),
) -> Scores:
    """Values of a function of resampled matrices: (resamples, *shape), some resamples at a time."""
    games = matrices[0].shape[1]
    size = games
    for draw in draws:
        size *= draw.shape[1]
    step, results = max(1, BLOCK // size), []
    for start in range(0, len(draws[0]), step):
        blocks = [draw[start : start + step] for draw in draws]
        drawn = [matrix[block, np.arange(games)] for matrix, block in zip(matrices, blocks, strict=True)]
        result = np.asarray(function(*drawn))
        if result.shape != (len(blocks[0]), *shape):
            raise ValueError(
                f"statistic: got a result of shape {result.shape} for scores of shape {drawn[0].shape}, expected "
                f"{(len(blocks[0]), *shape)}; it takes the last two axes, runs and games, and keeps those before"
            )
        results.append(result)
    return np.concatenate(results)


def _generator(seed: int) -> np.random.Generator:
    if seed < 0:
        raise ValueError(f"seed: got {seed!r}, expected a whole number of at least 0")
    return np.random.default_rng(seed)


def _draw(generator: np.random.Generator, runs: int, games: int, repeats: int) -> Indices:
    for name, value in (("runs", runs), ("games", games), ("repeats", repeats)):
        if value < 1:
            raise ValueError(f"{name}: got {value!r}, expected a whole number of at least 1")
    return generator.integers(0, runs, (repeats, runs, games), dtype=np.int32)
