"""Aggregates of a matrix of scores, runs × games: IQM, median, mean, optimality gap, improvement, profiles.

Every function takes leading axes too, (…, runs, games), and answers with (…): a curve has its steps there, the
bootstrap (`lab.bootstrap`) its resamples. Scores are those of games after normalisation, so that games can be put
together; of supervised results the columns are tasks or streams. One run of one game may count here; an interval
needs more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scores = NDArray[np.float64]


def iqm(scores: ArrayLike) -> Scores:
    """Interquartile mean: of all runs × games together, without the lowest and the highest quarter.

    ``mean(sorted(scores)[cut : count − cut])`` with ``count = runs · games`` and ``cut = count // 4``: where 4 does
    not divide the count, fewer than a quarter go on each side. It moves less by outliers than the mean and less by
    one game than the median.

    Args:
        scores: (…, runs, games), finite.

    Returns:
        (…): one number of a matrix.

    Raises:
        ValueError: Scores that are not a full matrix of finite numbers.

    References:
        Agarwal, Schwarzer, Castro, Courville and Bellemare, "Deep Reinforcement Learning at the Edge of the
        Statistical Precipice", NeurIPS 2021, arXiv 2108.13264. So are the others of this file.

    Example:
        >>> float(iqm([[0.0, 1.0, 2.0], [3.0, 4.0, 95.0]]))  # of six, one goes on each side
        2.5
    """
    array = checked("scores", scores)
    flat = array.reshape(*array.shape[:-2], -1)
    count = flat.shape[-1]
    cut = count // 4
    inner = np.partition(flat, (cut, count - cut - 1), axis=-1)[..., cut : count - cut]
    return _mean(inner, -1)


def median(scores: ArrayLike) -> Scores:
    """Median over games of the mean over runs.

    Args:
        scores: (…, runs, games), finite.

    Returns:
        (…): one number of a matrix.

    Raises:
        ValueError: Scores that are not a full matrix of finite numbers.

    Example:
        >>> float(median([[0.0, 1.0, 5.0], [2.0, 3.0, 5.0]]))
        2.0
    """
    middle: Scores = np.median(_mean(checked("scores", scores), -2), axis=-1)
    return middle


def mean(scores: ArrayLike) -> Scores:
    """Mean over games of the mean over runs.

    Args:
        scores: (…, runs, games), finite.

    Returns:
        (…): one number of a matrix.

    Raises:
        ValueError: Scores that are not a full matrix of finite numbers.

    Example:
        >>> float(mean([[0.0, 1.0, 5.0], [2.0, 3.0, 7.0]]))
        3.0
    """
    return _mean(_mean(checked("scores", scores), -2), -1)


def optimality_gap(scores: ArrayLike, *, gamma: float = 1.0) -> Scores:
    """How far the scores stay below `gamma` on average, what is above it not counted: lower is better.

    ``gamma − mean(min(scores, gamma))`` over runs × games.

    Args:
        scores: (…, runs, games), finite.
        gamma: the score that is good enough, finite; 1 is the human one of normalised scores.

    Returns:
        (…): one number of a matrix, 0 or more.

    Raises:
        ValueError: Scores that are not a full matrix of finite numbers, or a gamma that is not finite.

    Example:
        >>> float(optimality_gap([[0.5, 3.0], [0.75, 1.0]]))
        0.1875
    """
    if not np.isfinite(gamma):
        raise ValueError(f"gamma: got {gamma!r}, expected a finite score, such as 1 for the human one")
    return gamma - _mean(np.minimum(checked("scores", scores), gamma), (-2, -1))


def average_probability_of_improvement(ours: ArrayLike, theirs: ArrayLike) -> Scores:
    """Probability that a run of ours beats a run of theirs on the same game, averaged over the games.

    Of each game the share of all pairs (a run of ours, a run of theirs) with ``ours > theirs``, ties counted half:
    Mann-Whitney's U over its number of pairs. Runs are taken as independent, each compared with each; where those of
    one seed belong together, see `statistics.probability_of_improvement`, which is another number.

    Args:
        ours: (…, runs, games), finite.
        theirs: (…, runs, games), the same games in the same order; the number of runs may differ.

    Returns:
        (…): one number of two matrices, in [0, 1]; 0.5 where the two are alike.

    Raises:
        ValueError: Scores that are not a full matrix of finite numbers, or the games differ in number.

    Example:
        >>> float(average_probability_of_improvement([[1.0, 0.0], [2.0, 0.0]], [[1.0, 5.0]]))  # (1.5 / 2 + 0) / 2
        0.375
    """
    first, second = checked("ours", ours), checked("theirs", theirs)
    check_games(first, second)
    left, right = first[..., :, None, :], second[..., None, :, :]
    return _mean((left > right) + 0.5 * (left == right), (-3, -2, -1))


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> Scores:
    """Share of all runs × games whose score is above each threshold: the distribution of the scores.

    ``profile[t] = mean(scores > thresholds[t])``. It falls from 1 to 0; where one method's lies above another's
    throughout, its mean, IQM and optimality gap are better too. (What is above is strictly above, as in the paper.)

    Args:
        scores: (…, runs, games), finite.
        thresholds: (thresholds,), finite, at least one.

    Returns:
        (…, thresholds), in [0, 1].

    Raises:
        ValueError: Scores that are not a full matrix of finite numbers, or thresholds that are not a row of them.

    Example:
        >>> performance_profile([[0.0, 1.0], [2.0, 4.0]], [0.0, 1.5, 4.0]).tolist()
        [0.75, 0.5, 0.0]
    """
    array, levels = checked("scores", scores), np.asarray(thresholds, dtype=np.float64)
    if levels.ndim != 1 or not levels.size or not np.isfinite(levels).all():
        raise ValueError(
            f"thresholds: got {np.array2string(levels, threshold=8)}, expected a row of finite scores, such as "
            "numpy.linspace(0, 8, 81)"
        )
    return np.stack([_mean(array > level, (-2, -1)) for level in levels], axis=-1)


def checked(name: str, scores: ArrayLike) -> Scores:
    """Give the scores as float64, or say what is wrong with them.

    Args:
        name: of the argument, for the error.
        scores: (…, runs, games), what the user gave.

    Raises:
        ValueError: Fewer than two axes, nothing in them, games with different numbers of runs, or a number that is
            not finite.

    Example:
        >>> checked("scores", [[1, 2]]).dtype
        dtype('float64')
    """
    try:
        array = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: got what is no matrix of numbers ({error}), expected (runs, games) with the same number of runs "
            "for each game; leave out the seeds that a game lacks"
        ) from None
    if array.ndim < 2 or not array.size:
        raise ValueError(
            f"{name}: got an array of shape {array.shape}, expected (runs, games), at least 1 of each"
        )
    if not np.isfinite(array).all():
        *_, run, game = (int(place) for place in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"{name}: got {array[~np.isfinite(array)][0]} in run {run} of game {game}, expected finite scores; leave "
            "that seed out of every game, or the game out of both methods"
        )
    return array


def check_games(ours: Scores, theirs: Scores) -> None:
    """Refuse two arrays of scores that are not of the same number of games.

    Raises:
        ValueError: They differ in their last axis.
    """
    if ours.shape[-1] != theirs.shape[-1]:
        raise ValueError(
            f"ours and theirs: got {ours.shape[-1]} and {theirs.shape[-1]} games, expected the same games in the same "
            "order; keep those that both have"
        )


def _mean(values: Scores | NDArray[np.bool_], axis: int | tuple[int, ...]) -> Scores:
    found: Scores = np.mean(values, axis=axis)
    return found
