"""Comparisons of agents: every figure against naive sums over the rows; what is refused, and what is left out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import pytest

from hare_tortoise.lab.trial import Result
from hare_tortoise.rl.recipes import find_agent
from hare_tortoise.rl.report.averaging import averagings, references
from hare_tortoise.rl.report.comparison import (
    AVERAGE,
    BACKWARD,
    FORGOTTEN,
    NORMALISED,
    TRAINING,
    AgentComparison,
    compare_agents,
)
from hare_tortoise.rl.report.figures import Finished
from tests.rl.agent_oracle import atari, figure, final, of, same, student, trained
from tests.rl.agent_results import ARMS, ASTERIX, BREAKOUT, PAIR, SEQUENCE, SLOW, experiment, results_of


def test_figures_are_means_over_seeds_with_student_intervals() -> None:
    planned = experiment([BREAKOUT, ASTERIX])
    results = results_of(planned)
    compared = compare_agents(planned, results)
    for games in (BREAKOUT, ASTERIX):
        for method in ARMS:
            mine = of(results, method, games[0])
            assert len(mine) == 5
            same(figure(compared, games, method).value, student([final(r, games[0]) for r in mine]))
            same(
                figure(compared, games, method, TRAINING).value,
                student([trained(r, 0, 10_000) for r in mine]),
            )
            assert compared.entry(games, method).figure(NORMALISED) is None
            assert compared.entry(games, method).seconds == pytest.approx(100.0)


def test_differences_are_paired_and_to_the_plain_agent_and_the_arm_without_resets() -> None:
    planned = experiment()
    results = results_of(planned)
    compared = compare_agents(planned, results)
    assert [d.reference for d in figure(compared, BREAKOUT, PAIR).differences] == ["nothing", SLOW]
    assert figure(compared, BREAKOUT, "nothing").differences == ()
    for reference in ("nothing", SLOW):
        pairs = list(zip(of(results, PAIR, BREAKOUT[0]), of(results, reference, BREAKOUT[0]), strict=True))
        gains = [final(ours, BREAKOUT[0]) - final(theirs, BREAKOUT[0]) for ours, theirs in pairs]
        against = figure(compared, BREAKOUT, PAIR).to(reference)
        assert against is not None
        expected = student(gains)
        same(against.difference, expected)
        assert against.smallest == pytest.approx((expected[2] - expected[1]) / 2)
        assert against.improvement == sum(gain > 0 for gain in gains) / 5
        trainings = figure(compared, BREAKOUT, PAIR, TRAINING).to(reference)
        assert trainings is not None
        same(trainings.difference, student([trained(a, 0, 10_000) - trained(b, 0, 10_000) for a, b in pairs]))


def test_a_shared_rise_of_a_seed_leaves_the_paired_difference() -> None:
    planned = experiment(methods=("nothing", PAIR), seeds=3)
    results = [
        result_with(result, 100.0 * result.seed + (3.0 if result.method == PAIR else 0.0))
        for result in results_of(planned)
    ]
    against = figure(compare_agents(planned, results), BREAKOUT, PAIR).to("nothing")
    assert against is not None
    assert (against.difference.low, against.difference.high, against.improvement) == (3.0, 3.0, 1.0)


def result_with(result: Result, value: float) -> Result:
    """The same with this return of every whole game."""
    rows = [dict(row) for row in result.rows]
    for row in rows:
        if row["last"]:
            row["evaluations"] = {game: [value] * 3 for game in row["evaluations"]}
    return dataclasses.replace(result, rows=tuple(rows))


def test_scores_of_atari_are_put_between_random_and_human_play() -> None:
    planned = atari([("atari:Pong",), ("atari:Adventure",)], seeds=3)
    results = results_of(planned)
    compared = compare_agents(planned, results)
    values = [(final(r, "atari:Pong") - -20.7) / (14.6 - -20.7) for r in of(results, PAIR, "atari:Pong")]
    same(figure(compared, ("atari:Pong",), PAIR, NORMALISED).value, student(values))
    assert compared.entry(("atari:Adventure",), PAIR).figure(NORMALISED) is None


def test_below_three_seeds_there_is_no_interval() -> None:
    planned = experiment([BREAKOUT, ASTERIX], seeds=2)
    compared = compare_agents(planned, results_of(planned))
    estimates = [f.value for entry in compared.entries for f in entry.figures]
    estimates += [d.difference for entry in compared.entries for f in entry.figures for d in f.differences]
    assert compared.across is not None
    estimates += [d.improvement for entry in compared.across.entries for d in entry.differences]
    assert len(estimates) == 16 + 16 + 4
    assert {(estimate.low, estimate.high, estimate.count) for estimate in estimates} == {(None, None, 2)}
    assert all(d.smallest is None for entry in compared.entries for f in entry.figures for d in f.differences)


def test_failed_and_missing_seeds_are_told_and_in_no_figure() -> None:
    planned = experiment(methods=("nothing", PAIR))
    results = results_of(planned)
    (lost,) = (r for r in results if (r.method, r.seed) == ("nothing", 1))
    (broken,) = (r for r in results if (r.method, r.seed) == (PAIR, 3))
    left = [r for r in results if r not in (lost, broken)]
    compared = compare_agents(
        planned, [*left, dataclasses.replace(broken, rows=broken.rows[:2], failure="the loss was nan")]
    )
    plain, pair = compared.entry(BREAKOUT, "nothing"), compared.entry(BREAKOUT, PAIR)
    assert (plain.seeds, plain.missing, plain.failures) == ((0, 2, 3, 4), (1,), ())
    assert (pair.seeds, pair.missing) == ((0, 1, 2, 4), ())
    assert [(f.seed, f.reason, f.run) for f in pair.failures] == [(3, "the loss was nan", broken.run)]
    same(
        figure(compared, BREAKOUT, PAIR).value,
        student([final(r, BREAKOUT[0]) for r in of(left, PAIR, BREAKOUT[0])]),
    )
    shared = [0, 2, 4]
    both = [{r.seed: final(r, BREAKOUT[0]) for r in of(left, m, BREAKOUT[0])} for m in (PAIR, "nothing")]
    against = figure(compared, BREAKOUT, PAIR).to("nothing")
    assert against is not None
    same(against.difference, student([both[0][seed] - both[1][seed] for seed in shared]))
    assert against.difference.count == 3


def test_nothing_finished_is_no_figure() -> None:
    planned = experiment(methods=("nothing", PAIR), seeds=3)
    results = [
        dataclasses.replace(r, failure="it broke") if r.method == PAIR else r for r in results_of(planned)
    ]
    entry = compare_agents(planned, results).entry(BREAKOUT, PAIR)
    assert (entry.figures, entry.seeds, len(entry.failures), entry.seconds) == ((), (), 3, None)


def test_an_episode_counts_once_and_only_in_the_second_half() -> None:
    planned = experiment(methods=("nothing",), seeds=1, steps=4_000)
    (whole,) = results_of(planned)
    written = [(1_000, 5, 100.0), (2_000, 5, 100.0), (3_000, 1, 8.0), (4_000, 3, 4.0)]
    rows = [
        {**row, "episodes": episodes, "return": value}
        for row, (step, episodes, value) in zip(whole.rows, written, strict=True)
        if row["step"] == step
    ]
    changed = dataclasses.replace(whole, rows=tuple(rows))
    assert figure(compare_agents(planned, [changed]), BREAKOUT, "nothing", TRAINING).value.mean == 5.0
    quiet = dataclasses.replace(whole, rows=tuple({**row, "episodes": 0, "return": None} for row in rows))
    assert compare_agents(planned, [quiet]).entry(BREAKOUT, "nothing").figure(TRAINING) is None


def test_bins_of_a_curve_are_wide_enough_for_an_episode_to_end_in_each() -> None:
    planned = experiment(methods=("nothing",), seeds=1, steps=8_000)
    (result,) = results_of(planned)

    def with_episodes_at(*ended: int) -> Finished:
        rows = [
            {
                **row,
                "episodes": int(row["step"] in ended),
                "return": float(row["step"]) if row["step"] in ended else None,
            }
            for row in result.rows
        ]
        return Finished(BREAKOUT, 8_000, tuple(rows))

    late = with_episodes_at(3_000, 4_000, 5_000, 6_000, 7_000, 8_000)
    assert late.training_curve(8) == {n: float(n) for n in range(3_000, 9_000, 1_000)}
    assert not late.has_gaps(8)  # where it begins is no gap
    halves = with_episodes_at(1_000, 3_000, 5_000, 8_000)
    assert halves.training_curve(4) == {2_000: 1_000.0, 4_000: 3_000.0, 6_000: 5_000.0, 8_000: 8_000.0}
    assert (halves.has_gaps(8), halves.has_gaps(4)) == (True, False)
    assert with_episodes_at(1_000, 2_000, 3_000).has_gaps(4)  # it ends early
    assert with_episodes_at().training_curve(4) == {}
    assert not with_episodes_at().has_gaps(4)


def matrix_of(result: Result, games: Sequence[str]) -> list[list[float]]:
    ends = [row for row in result.rows if row["last"]]
    return [[sum(row["evaluations"][game]) / 10 for game in games] for row in ends]


def test_a_sequence_has_its_matrix_and_what_is_kept() -> None:
    planned = experiment([SEQUENCE], methods=("nothing", PAIR), seeds=4, steps=4_000)
    results = results_of(planned)
    compared = compare_agents(planned, results)
    game = " > ".join(SEQUENCE)
    figures: dict[str, list[dict[str, float]]] = {}
    for method in ("nothing", PAIR):
        found = []
        for result in of(results, method, game):
            R = matrix_of(result, SEQUENCE)
            backward = sum(R[3][j] - R[j][j] for j in range(3)) / 3
            lost = sum(max(R[i][j] for i in range(3)) - R[3][j] for j in range(3)) / 3
            found.append({AVERAGE: sum(R[3]) / 4, BACKWARD: backward, FORGOTTEN: lost})
        figures[method] = found
    for name in (AVERAGE, BACKWARD, FORGOTTEN):
        ours = figure(compared, SEQUENCE, PAIR, name)
        same(ours.value, student([seed[name] for seed in figures[PAIR]]))
        against = ours.to("nothing")
        assert against is not None
        pairs = zip(figures[PAIR], figures["nothing"], strict=True)
        same(against.difference, student([a[name] - b[name] for a, b in pairs]))
    entry = compared.entry(SEQUENCE, PAIR)
    for i in range(4):
        for j in range(4):
            same(entry.matrix[i][j], student([matrix_of(r, SEQUENCE)[i][j] for r in of(results, PAIR, game)]))
    same(
        figure(compared, SEQUENCE, PAIR).value,
        student([final(r, SEQUENCE[-1]) for r in of(results, PAIR, game)]),
    )
    same(
        figure(compared, SEQUENCE, PAIR, TRAINING).value,
        student([trained(r, 3, 4_000) for r in of(results, PAIR, game)]),
    )


def test_a_game_that_comes_back_is_compared_with_its_first_visit() -> None:
    planned = experiment([SEQUENCE], methods=("nothing", PAIR), seeds=3, steps=4_000)
    results = results_of(planned)
    (visit,) = compare_agents(planned, results).entry(SEQUENCE, PAIR).revisits
    assert (visit.game, visit.first, visit.last) == ("minatar:space_invaders", 0, 3)
    game = " > ".join(SEQUENCE)
    changes = {
        method: [
            matrix_of(r, SEQUENCE)[3][3] - matrix_of(r, SEQUENCE)[0][0] for r in of(results, method, game)
        ]
        for method in ("nothing", PAIR)
    }
    evaluated, training = visit.figures
    same(evaluated.value, student(changes[PAIR]))
    against = evaluated.to("nothing")
    assert against is not None
    same(against.difference, student([a - b for a, b in zip(changes[PAIR], changes["nothing"], strict=True)]))
    same(
        training.value,
        student([trained(r, 3, 4_000) - trained(r, 0, 4_000) for r in of(results, PAIR, game)]),
    )


def test_references_differ_in_the_reset_alone() -> None:
    recipe = find_agent("drq")  # decay 0.99
    reset = "hare-tortoise(decay=0.999, reset_every=1000, optimizer_state=reset)"
    own = "hare-tortoise(reset_every=4000)"
    together = "head-reset+hare-tortoise(decay=0.999, reset_every=500)"
    copied = "hare-tortoise(decay=0.999, reset_every=1000, buffers=copy)"
    arms = ["nothing", SLOW, PAIR, reset, own, together, "head-reset+ema(decay=0.999)", copied, "head-reset"]
    found = references(arms, recipe)
    assert found == {
        "nothing": (),
        SLOW: ("nothing",),
        PAIR: ("nothing", SLOW),
        reset: ("nothing", SLOW),
        own: ("nothing",),
        together: ("nothing", "head-reset+ema(decay=0.999)"),
        "head-reset+ema(decay=0.999)": ("nothing",),
        copied: ("nothing",),
        "head-reset": ("nothing",),
    }
    assert references([SLOW, PAIR], recipe) == {SLOW: (), PAIR: (SLOW,)}
    assert references([own, "ema(decay=0.99)"], recipe)[own] == ("ema(decay=0.99)",)
    assert references(["head-reset", "nothing"], find_agent("dqn"))["head-reset"] == ("nothing",)


def test_the_ratio_of_horizon_to_interval() -> None:
    arms = (
        "nothing",
        SLOW,
        PAIR,
        "hare-tortoise(reset_every=4000)+head-reset",
        "hare-tortoise(decay=warmup(0.99))",
    )
    found = averagings(arms, find_agent("drq"))
    assert [each.method for each in found] == [PAIR, "hare-tortoise(reset_every=4000)+head-reset"]
    assert [each.ratio for each in found] == pytest.approx([1.0, 0.025])
    assert [each.does_little for each in found] == [False, True]
    assert averagings(["hare-tortoise(decay=0.5)"], find_agent("drq"))[0].reset_every == 1_000


def test_json_holds_everything() -> None:
    for planned, scale in (
        (experiment([BREAKOUT, ASTERIX, SEQUENCE], seeds=3, steps=2_000), 1.0),
        (atari(seeds=3), 30.0),
    ):
        compared = compare_agents(planned, results_of(planned, scale=scale))
        text = json.dumps(compared.to_json(), allow_nan=False)
        assert AgentComparison.from_json(json.loads(text)) == compared
        assert compared.across is not None
        assert any(entry.revisits or entry.figures[1].name == NORMALISED for entry in compared.entries)


def test_bad_results_are_refused() -> None:
    planned = experiment(methods=("nothing",), seeds=2)
    results = results_of(planned)
    with pytest.raises(ValueError, match="got none"):
        compare_agents(planned, [])
    for wrong in ({"method": PAIR}, {"seed": 2}, {"recipe": "minatar on minatar:asterix"}):
        with pytest.raises(ValueError, match="no trial of the experiment"):
            compare_agents(planned, [dataclasses.replace(results[0], **wrong)])
    with pytest.raises(ValueError, match="twice"):
        compare_agents(planned, [results[0], results[0]])
    with pytest.raises(ValueError, match="run it again"):
        compare_agents(planned, [dataclasses.replace(results[0], rows=results[0].rows[:-1])])
    unjudged = tuple({k: v for k, v in row.items() if k != "evaluations"} for row in results[0].rows)
    with pytest.raises(ValueError, match="run it again"):
        compare_agents(planned, [dataclasses.replace(results[0], rows=unjudged)])
