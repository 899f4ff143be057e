"""Which settings of a sweep are run: all of a grid, some at random, or fewer and fewer along the stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from hare_tortoise.lab.spec import Value
from hare_tortoise.lab.sweep_space import Axis, Range, Space, Values

if TYPE_CHECKING:
    import optuna

Search: TypeAlias = Literal["grid", "random", "halving"]
TRIALS = 16
# of the settings on a rung this share goes on to the next
KEPT = 2
_DRAWS_FOR_EACH = 100

Scores: TypeAlias = "Callable[[Sequence[int], int], Mapping[int, float]]"


class Study:
    """Settings that were drawn at random, and what became of them: an optuna study, asked and told, in memory.

    The same space and seed give the same settings, so that a sweep goes on where it was killed.

    Args:
        space: what is drawn from.
        trials: how many settings; None: all of a grid, 16 where an axis is a range. A grid of fewer is taken whole.
        seed: of the draws.

    Raises:
        ImportError: optuna is not installed.
    """

    def __init__(self, space: Space, trials: int | None = None, *, seed: int = 0) -> None:
        library = _library()
        size = space.size
        wanted = (TRIALS if size is None else size) if trials is None else trials
        wanted = wanted if size is None else min(wanted, size)
        self._states = library.trial.TrialState
        self.study = library.create_study(
            sampler=library.samplers.RandomSampler(seed=seed), direction="maximize"
        )
        self.trials: list[optuna.trial.Trial] = []
        self.settings: list[Values] = []
        if size is not None and wanted == size:
            # drawing would find the last ones late
            for values in space.grid():
                self.study.enqueue_trial({axis.name: _place(axis, values[axis.name]) for axis in space.axes})
        for _ in range(_DRAWS_FOR_EACH * wanted):
            if len(self.settings) == wanted:
                break
            trial = self.study.ask()
            values = {axis.name: _draw(trial, axis) for axis in space.axes}
            if values in self.settings:
                self.study.tell(trial, state=self._states.FAIL)
                continue
            self.trials.append(trial)
            self.settings.append(values)

    def tell(self, index: int, score: float | None) -> None:
        """Say what a setting came to; None: it failed."""
        if score is None:
            self.study.tell(self.trials[index], state=self._states.FAIL)
        else:
            self.study.tell(self.trials[index], score)

    def halve(self, rungs: Sequence[int], scores: Scores) -> dict[int, int]:
        """Run successive halving: at each rung but the last the better half of the settings goes on.

        Args:
            rungs: after how many chunks it is decided, rising; the last is the whole stream.
            scores: gives, for places of settings and a number of chunks, the score of each on validation data;
                those that failed are left out, and never go on.

        Returns:
            The settings that were given up, by place, each with the chunks that it was run for.

        References:
            Jamieson & Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
            AISTATS 2016, arXiv 1502.07943.
        """
        left, pruned = list(range(len(self.settings))), dict[int, int]()
        for rung in rungs:
            found = scores(left, rung)
            for index in left:
                if index in found:
                    self.trials[index].report(found[index], rung)
                else:
                    self.tell(index, None)
            if rung == rungs[-1]:
                for index, score in found.items():
                    self.tell(index, score)
                break
            going = better(found, max(1, len(left) // KEPT))
            for index in found:
                if index not in going:
                    pruned[index] = rung
                    self.study.tell(self.trials[index], state=self._states.PRUNED)
            left = going
        return pruned


def better(scores: Mapping[int, float], count: int) -> list[int]:
    """Give the places of the highest scores, in their own order; among equals the first.

    Example:
        >>> better({0: 0.5, 3: 0.7, 4: 0.7, 5: 0.6}, 2)
        [3, 4]
    """
    return sorted(sorted(scores, key=lambda index: (-scores[index], index))[:count])


def rungs_of(chunks: int) -> tuple[int, ...]:
    """Give the chunks after which settings are given up: a quarter and a half of the stream, then all of it.

    Example:
        >>> rungs_of(10), rungs_of(2)
        ((3, 5, 10), (1, 2))

    Raises:
        ValueError: There is only one chunk.
    """
    if chunks < 2:
        raise ValueError(
            f"--search halving: the stream has {chunks} chunk, expected 2 or more, as settings are given up "
            "between chunks; take --search random"
        )
    return tuple(sorted({math.ceil(chunks / 4), math.ceil(chunks / 2), chunks}))


def _draw(trial: optuna.trial.Trial, axis: Axis) -> Value:
    between = axis.values
    if not isinstance(between, Range):
        return between[trial.suggest_int(axis.name, 0, len(between) - 1)]
    low, high = between.low, between.high
    if between.scale == "integer":
        return trial.suggest_int(axis.name, int(low), int(high), log=True)
    if between.scale == "decay":
        # the floor keeps a decay below 1 where the rest is rounded
        rest = trial.suggest_float(f"1 - {axis.name}", 1 - high, 1 - low, log=True)
        return round(1 - max(_rounded(rest), 1e-9), 9)
    return _rounded(trial.suggest_float(axis.name, low, high, log=between.scale == "log"))


def _place(axis: Axis, value: Value) -> int:
    assert not isinstance(axis.values, Range)
    return axis.values.index(value)


def _rounded(value: float) -> float:
    """Round to three digits that a person can write down."""
    return float(f"{value:.3g}")


def _library() -> Any:
    try:
        import optuna
    except ImportError:
        raise ImportError('this search needs optuna: pip install "hare-tortoise[lab,sweep]"') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
