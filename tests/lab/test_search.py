"""Which settings are run: draws within their ranges, once each, and halves that go on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest

from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.search import Study, rungs_of
from hare_tortoise.lab.sweep_space import Space, read_space


def space(*over: str) -> Space:
    return read_space(Recipe(name="mine", methods=("warm-start",), epochs=1), "hare-tortoise", over)


RANGES = ("decay=0.9..0.999", "reset_every=10..1000", "lr=3e-4..3e-3", "clip_norm=none,0.5")


def test_draws_lie_in_their_ranges_and_stand_once() -> None:
    settings = Study(space(*RANGES), 60).settings
    assert len({tuple(values.items()) for values in settings}) == 60
    for values in settings:
        decay, every, lr = values["decay"], values["reset_every"], values["lr"]
        assert isinstance(decay, float)
        assert 0.9 <= decay <= 0.999
        assert isinstance(every, int)
        assert 10 <= every <= 1000
        assert isinstance(lr, float)
        assert 3e-4 <= lr <= 3e-3
        assert values["clip_norm"] in (None, 0.5)


def test_draws_are_even_in_the_logarithm() -> None:
    settings = Study(space(*RANGES), 300).settings
    # of logarithmic draws about half lie below the geometric mean of the ends; of even ones 9 % and 24 %
    for name, middle in (("reset_every", 100.0), ("lr", math.sqrt(9e-7))):
        below = sum(float(str(values[name])) < middle for values in settings)
        assert 120 < below < 180
    assert 120 < sum(float(str(values["decay"])) < 0.99 for values in settings) < 180


def test_the_same_seed_draws_the_same() -> None:
    assert Study(space(*RANGES), 5).settings == Study(space(*RANGES), 5).settings
    assert Study(space(*RANGES), 5).settings != Study(space(*RANGES), 5, seed=1).settings


def test_a_grid_is_taken_whole() -> None:
    lists = space("decay=0.9,0.99", "reset_every=10,none", "lr=1e-3,3e-3")
    whole = list(lists.grid())
    for trials in (None, 8, 100):
        assert Study(lists, trials).settings == whole
    some = Study(lists, 5).settings
    assert len(some) == 5
    assert all(values in whole for values in some)


@pytest.mark.parametrize(
    ("count", "sizes"), [(16, [16, 8, 4]), (7, [7, 3, 1]), (1, [1, 1, 1]), (3, [3, 1, 1])]
)
def test_the_better_half_goes_on(count: int, sizes: list[int]) -> None:
    study, asked = Study(space(*RANGES), count), list[tuple[list[int], int]]()

    def scores(places: Sequence[int], chunks: int) -> dict[int, float]:
        asked.append((list(places), chunks))
        return {place: (7 * place) % 17 / 17 for place in places}

    pruned = study.halve((3, 5, 10), scores)
    assert [len(places) for places, _ in asked] == sizes
    assert [chunks for _, chunks in asked] == [3, 5, 10]
    for (before, _), (after, _) in itertools.pairwise(asked):
        given_up = set(before) - set(after)
        assert all((7 * worse) % 17 < (7 * better) % 17 for worse in given_up for better in after)
    assert pruned == {p: 3 for p in asked[0][0] if p not in asked[1][0]} | {
        p: 5 for p in asked[1][0] if p not in asked[2][0]
    }
    states = [trial.state.name for trial in study.study.trials]
    assert (states.count("PRUNED"), states.count("COMPLETE")) == (count - sizes[-1], sizes[-1])


def test_what_fails_never_goes_on_and_is_not_pruned() -> None:
    study = Study(space(*RANGES), 4)
    pruned = study.halve((1, 2), lambda places, _: {place: 0.5 for place in places if place != 0})
    assert pruned == {3: 1}
    assert [trial.state.name for trial in study.study.trials] == ["FAIL", "COMPLETE", "COMPLETE", "PRUNED"]


def test_rungs_are_a_quarter_a_half_and_all_of_the_stream() -> None:
    assert rungs_of(100) == (25, 50, 100)
    assert rungs_of(3) == (1, 2, 3)
    with pytest.raises(ValueError, match="2 or more"):
        rungs_of(1)
