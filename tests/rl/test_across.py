"""Agents over several games: aggregates, their intervals, curves and profiles against naive ones; others' figures."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtri, stdtrit

from hare_tortoise.lab.resampling import resample
from hare_tortoise.lab.trial import Result
from hare_tortoise.rl.report.comparison import compare_agents
from hare_tortoise.rl.scores import AGENTS, GAMES
from tests.rl.agent_oracle import ATARI, atari, final, of, same
from tests.rl.agent_results import ASTERIX, BREAKOUT, PAIR, SEQUENCE, experiment, results_of


def naive_iqm(scores: np.ndarray[Any, Any]) -> float:
    values = sorted(float(v) for row in scores for v in row)
    cut = len(values) // 4
    inner = values[cut : len(values) - cut]
    return math.fsum(inner) / len(inner)


def naive_gap(scores: np.ndarray[Any, Any]) -> float:
    values = [max(0.0, 1.0 - float(v)) for row in scores for v in row]
    return math.fsum(values) / len(values)


def scores_of(results: Sequence[Result], method: str, seeds: Sequence[int]) -> np.ndarray[Any, Any]:
    """(runs, games), from the constants of the data file itself."""
    data = json.loads((files("hare_tortoise.rl") / "atari_scores.json").read_text())["games"]
    columns = []
    for (game,) in ATARI:
        name = game.removeprefix("atari:")
        low, high = data["random"][name], data["human"][name]
        columns.append(
            [(final(r, game) - low) / (high - low) for r in of(results, method, game) if r.seed in seeds]
        )
    return np.array(columns).T


def test_aggregates_over_games_have_the_intervals_of_the_stratified_bootstrap() -> None:
    planned = atari()
    results = results_of(planned, scale=20.0)
    across = compare_agents(planned, results).across
    assert across is not None
    assert across.normalised
    assert across.games == tuple(game for (game,) in ATARI)
    ours, theirs = across.entries[1], across.entries[0]
    a, b = (scores_of(results, method, range(4)) for method in (PAIR, "nothing"))
    draws = resample(4, 3)
    drawn = [[naive_iqm(x[d, np.arange(3)]) for d in draws] for x in (a, b)]
    iqm = ours.aggregate("iqm")
    assert iqm is not None
    same(iqm, (naive_iqm(a), *np.quantile(drawn[0], (0.025, 0.975))))
    gains = np.array(drawn[0]) - np.array(drawn[1])
    (difference,) = ours.differences
    assert (difference.reference, theirs.differences) == ("nothing", ())
    gain = naive_iqm(a) - naive_iqm(b)
    by = math.sqrt(4 / 3) * stdtrit(9, 0.975) / ndtri(0.975)  # 3 games of 4 runs
    low, high = gain + (np.quantile(gains, (0.025, 0.975)) - gain) * by
    same(difference.aggregates[0].value, (gain, low, high))
    assert difference.smallest == pytest.approx((high - low) / 2, rel=1e-9)
    values = [(naive_iqm(x), float(np.median(x.mean(0))), float(x.mean()), naive_gap(x)) for x in (a, b)]
    for each, mine, other in zip(difference.aggregates, *values, strict=True):
        assert each.value.mean == pytest.approx(mine - other)
    wins = [(x > y) + (x == y) / 2 for j in range(3) for x in a[:, j] for y in b[:, j]]
    assert difference.improvement.mean == pytest.approx(sum(wins) / len(wins))
    for name, value in (
        ("median", np.median(a.mean(0))),
        ("mean", a.mean()),
        ("optimality_gap", naive_gap(a)),
    ):
        found = ours.aggregate(name)
        assert found is not None
        assert found.mean == pytest.approx(float(value))
        assert found.low is not None
    for threshold, share in zip(across.thresholds, ours.profile, strict=True):
        assert share.mean == pytest.approx(np.mean(a > threshold))
    assert across.thresholds[0] == 0.0
    assert 4.0 < max(a.max(), b.max()) <= across.thresholds[-1] == 8.0


def test_a_seed_that_lacks_a_game_is_left_out_of_all_of_them() -> None:
    planned = atari()
    results = results_of(planned, scale=30.0)
    left = [r for r in results if (r.method, r.seed, r.recipe) != (PAIR, 2, "drq on atari:Pong")]
    across = compare_agents(planned, left).across
    assert across is not None
    plain, pair = across.entries
    assert (plain.seeds, pair.seeds) == ((0, 1, 2, 3), (0, 1, 3))
    found = pair.aggregate("iqm")
    assert found is not None
    assert found.mean == pytest.approx(naive_iqm(scores_of(left, PAIR, (0, 1, 3))))
    gain = naive_iqm(scores_of(left, PAIR, (0, 1, 3))) - naive_iqm(scores_of(left, "nothing", (0, 1, 3)))
    assert pair.differences[0].aggregates[0].value.mean == pytest.approx(gain)


def test_two_seeds_have_aggregates_without_intervals() -> None:
    planned = atari(seeds=2)
    results = results_of(planned, scale=30.0)
    across = compare_agents(planned, results).across
    assert across is not None
    pair = across.entries[1]
    assert [each.value.low for each in pair.aggregates] == [None] * 4
    assert {share.low for share in pair.profile} == {None}
    assert pair.differences[0].smallest is None
    gain = pair.differences[0].aggregate("mean")
    assert gain is not None
    means = [float(scores_of(results, method, (0, 1)).mean()) for method in (PAIR, "nothing")]
    assert gain.mean == pytest.approx(means[0] - means[1])
    assert pair.aggregates[0].value.mean == pytest.approx(naive_iqm(scores_of(results, PAIR, (0, 1))))


def test_games_without_a_common_scale_have_the_probability_of_improvement_alone() -> None:
    planned = experiment([BREAKOUT, ASTERIX, SEQUENCE], methods=("nothing", PAIR), seeds=3, steps=2_000)
    results = results_of(planned)
    across = compare_agents(planned, results).across
    assert across is not None
    assert (across.games, across.normalised, across.thresholds) == ((BREAKOUT[0], ASTERIX[0]), False, ())
    (difference,) = across.entries[1].differences
    assert (across.entries[1].aggregates, across.entries[1].profile, difference.smallest) == ((), (), None)
    wins = [
        float(final(x, game) > final(y, game))
        for (game,) in (BREAKOUT, ASTERIX)
        for x in of(results, PAIR, game)
        for y in of(results, "nothing", game)
    ]
    assert difference.improvement.mean == pytest.approx(sum(wins) / len(wins))
    assert difference.improvement.low is not None
    single = experiment([BREAKOUT, SEQUENCE], methods=("nothing",), seeds=1, steps=1_000)
    assert compare_agents(single, results_of(single)).across is None


def test_the_curve_over_games_has_the_iqm_where_every_trial_has_a_number() -> None:
    planned = atari(seeds=3)
    results = results_of(planned, scale=30.0)
    across = compare_agents(planned, results).across
    assert across is not None
    assert across.curve_of == "training"
    mine = [r for r in results if r.method == PAIR]
    shared = [n for n in range(10) if all(r.rows[n]["episodes"] for r in mine)]
    assert 0 < len(shared) < 10
    assert [point.step for point in across.entries[1].curve] == [1_000 * (n + 1) for n in shared]
    data = json.loads((files("hare_tortoise.rl") / "atari_scores.json").read_text())["games"]
    for point, n in zip(across.entries[1].curve, shared, strict=True):
        scores = []
        for (game,) in ATARI:
            low, high = (data[kind][game.removeprefix("atari:")] for kind in ("random", "human"))
            scores.append([(r.rows[n]["return"] - low) / (high - low) for r in of(results, PAIR, game)])
        assert point.value.mean == pytest.approx(naive_iqm(np.array(scores)))
        assert point.value.low is not None


def test_published_scores_stand_beside_ours_and_are_marked() -> None:
    data = json.loads((files("hare_tortoise.rl") / "atari_scores.json").read_text())["agents"]
    planned = atari([*ATARI, BREAKOUT], methods=("nothing",), seeds=1)
    compared = compare_agents(
        dataclasses.replace(planned, games=ATARI), results_of(dataclasses.replace(planned, games=ATARI))
    )
    assert [each.label.split(" (published")[0] for each in compared.published] == [
        name for name in AGENTS if "scores" in data[name]
    ]
    assert all("published" in each.label for each in compared.published)
    theirs = next(each for each in compared.published if each.label.startswith("SPR ("))
    assert {each.name: each.value.mean for each in theirs.scores} == {
        game: data["SPR"]["scores"][game] for game in ("Assault", "Pong", "Breakout")
    }
    normalised = [theirs_normalised(data["SPR"]["scores"], game) for game in ("Assault", "Pong", "Breakout")]
    assert {each.name for each in theirs.aggregates} == {"median", "mean"}
    assert theirs.aggregates[0].value.mean == pytest.approx(sorted(normalised)[1])
    assert theirs.aggregates[1].value.mean == pytest.approx(sum(normalised) / 3)
    assert {each.value.count for each in theirs.scores} == {100}
    assert compare_agents(experiment(seeds=1), results_of(experiment(seeds=1))).published == ()


def theirs_normalised(scores: dict[str, float], game: str) -> float:
    data = json.loads((files("hare_tortoise.rl") / "atari_scores.json").read_text())["games"]
    return float((scores[game] - data["random"][game]) / (data["human"][game] - data["random"][game]))


def test_over_the_26_games_published_aggregates_are_those_that_were_stated() -> None:
    data = json.loads((files("hare_tortoise.rl") / "atari_scores.json").read_text())["agents"]
    planned = atari([(f"atari:{game}",) for game in GAMES], methods=("nothing",), seeds=1)
    compared = compare_agents(planned, results_of(planned, scale=100.0))
    assert len(compared.published) == len(AGENTS)
    resets = next(each for each in compared.published if each.label.startswith("SPR + resets"))
    known = {each.name: each.value for each in resets.aggregates}
    assert {name: value.mean for name, value in known.items()} == data["SPR + resets"]["aggregates"]
    assert [known["iqm"].low, known["iqm"].high] == data["SPR + resets"]["intervals"]["iqm"]
    assert known["median"].low is None
